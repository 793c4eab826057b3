package data

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
)

// How many probes there are where Options.Limit does not say. Stateful models need sequences long enough to fill the state.
const (
	plainProbes    = 16
	statefulProbes = 40
	probeSteps     = 8 // samples of a sequence

	// maxProbe is the size of a sample up to which it is made up: a number in a model is no reason to fill the memory.
	maxProbe = 128 << 20
)

// Probes makes synthetic samples for a model that no data are given for. They are structured, so that activations look more
// like those of real inputs than white noise does, but they say nothing about ranges. What an input gets:
//
//   - floats of rank 1 to 3: sines, 1/f noise, an impulse, decaying noise, a little noise, in turn, along the longest axis;
//   - pictures (rank 4, 1, 3 or 4 channels) of floats or bytes: gradients, edges, blobs, 1/f noise, in turn;
//   - other floats of rank 4 and more: smooth 1/f noise over the last two axes;
//   - what indexes a table: values spread over the smallest table's rows, the first one small; zeros for 4 rows and less;
//   - one integer that is compared with constants: in turn, over the sequences, values with which the comparisons hold or fail;
//   - everything else (masks, lengths, flags, scalars): ones;
//   - inputs of Options.State and Options.Values: as with real data, so states are zero first and then fed back.
//
// Free dimensions are those of Options.Dims, else of the first rung of ProbeLadder. The same options give the same bits
// everywhere. Errors wrap ErrBadOption, onnx.ErrBadModel when an input is no tensor or of unknown rank, or ErrBadData when a
// sample would be too large to be made up.
func Probes(g *onnx.Graph, o Options) (*Set, error) {
	o.Dims = ProbeLadder(g, o)[0]
	model, err := newSignature(g, o)
	if err != nil {
		return nil, err
	}
	var made []prober
	variants, size := 1, int64(0)
	for _, p := range model.needed() {
		if p.typ.Shape == nil || p.typ.Elem == onnx.Undefined {
			return nil, fmt.Errorf("input %q has no known rank and type: no probe can be made for it (%w)", p.name, onnx.ErrBadModel)
		}
		dims := newBinding(o.Dims).sizes(p)
		if err := checkSize(p, dims); err != nil {
			return nil, err
		}
		if size += onnx.NumElements(dims) * max(1, int64(p.typ.Elem.Bits()+7)/8); size > maxProbe {
			return nil, fmt.Errorf("%w: with input %q of shape %s a synthetic sample would take more than %d MB: give data, or smaller sizes with --dim", ErrBadData, p.name, npy.ShapeText(dims), maxProbe>>20)
		}
		pr := newProber(p, dims, g.Value(p.name), o.Seed)
		made = append(made, pr)
		variants = max(variants, pr.variants)
	}
	count, steps := plainProbes, 1
	if len(o.State) > 0 {
		count, steps = statefulProbes, probeSteps
	}
	if o.Limit > 0 {
		count = o.Limit
	}
	set := &Set{Source: Synthetic, variants: min(variants, (count+steps-1)/steps)}
	for i := range count {
		sequence, step := i/steps, i%steps
		s := &Sample{Name: fmt.Sprintf("probe %d", i), model: model}
		s.read = func() (map[string]*onnx.Tensor, error) {
			feeds := map[string]*onnx.Tensor{}
			for _, m := range made {
				t, err := m.make(sequence, step)
				if err != nil {
					return nil, &Error{File: s.Name, Array: m.name, Problem: err.Error(), Err: err}
				}
				feeds[m.name] = t
			}
			return feeds, nil
		}
		if step == 0 {
			set.sequences = append(set.sequences, nil)
		}
		set.sequences[sequence] = append(set.sequences[sequence], s)
	}
	return set, nil
}

// A prober makes the probes of one input.
type prober struct {
	name     string
	make     func(sequence, step int) (*onnx.Tensor, error)
	variants int // how many sequences differ in more than their numbers
}

// fewRows is the size of a table, such as that of token types, up to which row 0 is the plain case.
const fewRows = 4

func newProber(p port, dims []int64, v *onnx.Value, seed uint64) prober {
	pr := prober{name: p.name, variants: 1}
	key := mix(seed, textKey(p.name))
	elem := p.typ.Elem
	draw := func(shape func(f []float32, sequence, step int)) {
		pr.make = func(sequence, step int) (*onnx.Tensor, error) {
			f := make([]float32, onnx.NumElements(dims))
			if len(f) > 0 {
				shape(f, sequence, step)
			}
			if kinds[elem] != 'i' {
				return fit(onnx.Of(f, cloneDims(dims)...), elem)
			}
			return fitInt(onnx.Of(toBytes(f, elem), cloneDims(dims)...), elem)
		}
	}
	isFloat := kinds[elem] == 'f'
	isByte := elem == onnx.Uint8 || elem == onnx.Int8
	channels, isPicture := channelAxis(dims)
	rows := rowsIndexed(v)
	var compared []int64
	if rows == 0 && kinds[elem] == 'i' && len(dims) <= 1 && onnx.NumElements(dims) == 1 {
		compared = slices.DeleteFunc(valuesCompared(v), func(x int64) bool {
			_, err := fit(onnx.Scalar(x), elem)
			return err != nil // the comparison holds for all values of the type, or for none
		})
	}
	switch {
	case len(compared) > 0:
		pr.variants = len(compared)
		pr.make = func(sequence, _ int) (*onnx.Tensor, error) {
			return fit(onnx.Of(compared[sequence%len(compared):][:1], cloneDims(dims)...), elem)
		}
	case rows > 0 && (isFloat || kinds[elem] == 'i'):
		pr.make = func(sequence, step int) (*onnx.Tensor, error) {
			return fit(indices(dims, rows, isFloat, mix(key, uint64(sequence), uint64(step))), elem)
		}
	case isPicture && (isFloat || isByte):
		draw(func(f []float32, sequence, step int) {
			picture(f, dims, channels, sequence+step, mix(key, uint64(sequence), uint64(step)))
			if isFloat {
				normalise(f, (sequence+step)/len(pictures))
			}
		})
	case isFloat && len(dims) > 3:
		draw(func(f []float32, sequence, step int) { field(f, dims, mix(key, uint64(sequence), uint64(step))) })
	case isFloat && len(dims) > 0:
		draw(func(f []float32, sequence, step int) {
			signal(f, dims, sequence, step, mix(key, uint64(sequence)))
		})
	default:
		pr.make = func(int, int) (*onnx.Tensor, error) { return ones(elem, dims), nil }
	}
	return pr
}

// ones is zero for the types that have no number one here: strings, complex numbers, and those below 16 bits that are no
// integers of 8.
func ones(t onnx.DataType, dims []int64) *onnx.Tensor {
	n := onnx.NumElements(dims)
	switch one := slices.Repeat([]int64{1}, int(n)); {
	case t == onnx.Bool:
		return onnx.Of(slices.Repeat([]bool{true}, int(n)), cloneDims(dims)...)
	case kinds[t] == 'i':
		return ints[t].make(one, cloneDims(dims))
	case kinds[t] == 'f':
		f, err := fit(onnx.Of(slices.Repeat([]float32{1}, int(n)), cloneDims(dims)...), t)
		if err == nil { // 1 fits every float type
			return f
		}
	}
	return zeros(t, cloneDims(dims))
}

// toBytes maps [0, 1] to the 256 values of a byte type.
func toBytes(f []float32, t onnx.DataType) []int64 {
	v := make([]int64, len(f))
	for i, x := range f {
		v[i] = int64(min(255, max(0, x*255)))
		if t == onnx.Int8 {
			v[i] -= 128
		}
	}
	return v
}

// indices spreads values over [0, rows): one in each of equal parts, in random order, the first one in the lowest part.
func indices(dims []int64, rows int64, isFloat bool, key uint64) *onnx.Tensor {
	n := onnx.NumElements(dims)
	v := make([]int64, n)
	if rows > fewRows {
		r := rand.New(rand.NewPCG(key, 0))
		for i := range v {
			low := part(int64(i), n, rows)
			v[i] = low + r.Int64N(max(1, part(int64(i)+1, n, rows)-low))
		}
		r.Shuffle(len(v)-min(1, len(v)), func(i, j int) { v[i+1], v[j+1] = v[j+1], v[i+1] })
		if n > 0 {
			v[0] = min(v[0], 1)
		}
	}
	if !isFloat {
		return onnx.Of(v, cloneDims(dims)...)
	}
	f := make([]float64, n)
	for i, x := range v {
		f[i] = float64(x)
	}
	return onnx.Of(f, cloneDims(dims)...)
}

// part returns where part i of n begins when rows are divided; the quotient first, since i*rows may overflow.
func part(i, n, rows int64) int64 { return i*(rows/n) + i*(rows%n)/n }
