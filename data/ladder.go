package data

import (
	"maps"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// A role is what the size of a free dimension means.
type role int

const (
	roleBatch   role = iota
	roleLength       // of a sequence
	roleSamples      // of a signal
	roleSide         // of a picture
	roleChannel      // of a picture
	roleRest         // what only states and constants have
)

// rungs are the sizes that are tried for each role, the likeliest first. Signals begin with a second of speech, which gives
// encoders many frames; streaming models, which take one chunk, refuse it.
var rungs = []map[role]int64{
	{roleBatch: 1, roleRest: 1, roleLength: 16, roleSamples: 16000, roleSide: 224, roleChannel: 3},
	{roleBatch: 1, roleRest: 1, roleLength: 32, roleSamples: 512, roleSide: 64, roleChannel: 3},
	{roleBatch: 1, roleRest: 1, roleLength: 64, roleSamples: 1024, roleSide: 32, roleChannel: 3},
	{roleBatch: 1, roleRest: 1, roleLength: 8, roleSamples: 256, roleSide: 320, roleChannel: 3},
	{roleBatch: 1, roleRest: 1, roleLength: 128, roleSamples: 4096, roleSide: 640, roleChannel: 3},
	{roleBatch: 1, roleRest: 1, roleLength: 1, roleSamples: 64, roleSide: 224, roleChannel: 1},
	{roleBatch: 1, roleRest: 1, roleLength: 512, roleSamples: 16, roleSide: 64, roleChannel: 1},
	{roleBatch: 1, roleRest: 1, roleLength: 256, roleSamples: 128, roleSide: 256, roleChannel: 3},
	{roleBatch: 1, roleRest: 1, roleLength: 1024, roleSamples: 8, roleSide: 512, roleChannel: 3},
	{roleBatch: 1, roleRest: 1, roleLength: 2, roleSamples: 1, roleSide: 128, roleChannel: 3},
}

// ProbeLadder returns sizes for the free dimensions of a model's inputs, to be tried as Options.Dims in order until the
// model runs: no file says which lengths a model takes. Each element holds every symbol, those of o.Dims unchanged; there
// is always one, and no two are equal.
func ProbeLadder(g *onnx.Graph, o Options) []map[string]int64 {
	free := roles(g, o)
	var ladder []map[string]int64
	for _, sizes := range rungs {
		rung := maps.Clone(o.Dims)
		if rung == nil {
			rung = map[string]int64{}
		}
		for name, r := range free {
			rung[name] = sizes[r]
		}
		if !slices.ContainsFunc(ladder, func(m map[string]int64) bool { return maps.Equal(m, rung) }) {
			ladder = append(ladder, rung)
		}
	}
	return ladder
}

// roles says what each free dimension means. A symbol that stands in several places has the lowest role: the batch of one
// input is the batch of all.
func roles(g *onnx.Graph, o Options) map[string]role {
	all := map[string]role{}
	note := func(p port, role func(p port, axis int) role) {
		for i := range p.typ.Shape {
			for _, name := range atoms(p, i) {
				r := role(p, i)
				if old, seen := all[name]; seen {
					r = min(r, old)
				}
				if _, fixed := o.Dims[name]; !fixed {
					all[name] = r
				}
			}
		}
	}
	fed := slices.Collect(maps.Values(o.State))
	isGiven := func(p port) bool {
		_, isConst := o.Values[p.name]
		return isConst || slices.Contains(fed, p.name)
	}
	inputs := ports(g.Feeds())
	for _, p := range inputs {
		if !isGiven(p) {
			note(p, roleOf)
		}
	}
	for _, p := range inputs {
		if isGiven(p) {
			note(p, func(port, int) role { return roleRest })
		}
	}
	return all
}

// roleOf goes by the place of a dimension and the input's type: names are whatever the exporter chose.
func roleOf(p port, axis int) role {
	rank := len(p.typ.Shape)
	switch channels, isPicture := channelAxis(sizes(p.typ.Shape)); {
	case axis == 0 && rank > 1:
		return roleBatch
	case isPicture && axis == channels:
		return roleChannel
	case isPicture:
		return roleSide
	case rank <= 2 && kinds[p.typ.Elem] == 'f':
		return roleSamples
	}
	return roleLength
}

func sizes(shape []onnx.Dim) []int64 {
	n := make([]int64, len(shape))
	for i, d := range shape {
		n[i] = d.Size
	}
	return n
}

// channelAxis returns which axis of a picture holds its channels; a size of -1 may be any.
func channelAxis(dims []int64) (axis int, isPicture bool) {
	if len(dims) != 4 {
		return 0, false
	}
	few := []int64{1, 3, 4}
	switch {
	case slices.Contains(few, dims[1]):
		return 1, true
	case slices.Contains(few, dims[3]):
		return 3, true
	}
	return 1, dims[1] < 0
}
