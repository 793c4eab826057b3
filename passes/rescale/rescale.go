// Package rescale moves scales between the constants of a float model: a tensor is divided by a scale in each channel and what
// takes it multiplied, so that the model computes the same. Quantization does not: channels of equal size lose less.
//
// Which constants take part is a closure: from one tensor on, over operators that scales pass, up to operators with a constant
// that absorbs them.
package rescale

import (
	"fmt"
	"math"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// A Scaling is a way to scale a tensor: it has a scale for each channel along one axis. Tied channels have the same.
type Scaling struct {
	Value    *onnx.Value
	Channels int
	// Values are all tensors that become smaller by the scales, Value the first.
	Values []*onnx.Value

	patterns map[*onnx.Value]pattern
	edits    []edit
	ties     []int // the channel that stands for each; of itself for most
}

// An edit multiplies a constant operand by the scales, or divides it.
type edit struct {
	node   *onnx.Node
	input  int
	divide bool
	pattern
	grouped bool // Conv weights: by input channel, pattern along axis 1 of the input
}

// maxValues bounds how far a scale may travel.
const maxValues = 24

// Find returns how v can be scaled along an axis, counted from the end; nil when it cannot, as where a graph output, an operator
// that is not linear, or weights that others share would change.
func Find(v *onnx.Value, axis int) *Scaling {
	shape := rewrite.Shape(v)
	if axis >= 0 || len(shape) < -axis || shape[len(shape)+axis].Size < 2 {
		return nil
	}
	channels := int(shape[len(shape)+axis].Size)
	s := &Scaling{Value: v, Channels: channels, patterns: map[*onnx.Value]pattern{}, ties: make([]int, channels)}
	for i := range s.ties {
		s.ties[i] = i
	}
	if !s.scale(v, along(axis, channels)) {
		return nil
	}
	for _, v := range s.Values {
		n, _ := v.Producer()
		if !s.balanced(n) || slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return !s.balanced(u.Node) }) {
			return nil
		}
	}
	return s
}

// Tied returns the channel that stands for channel i.
func (s *Scaling) Tied(i int) int {
	for s.ties[i] != i {
		i = s.ties[i]
	}
	return i
}

// same reports whether two patterns give all elements the same scales.
func (s *Scaling) same(p, q pattern) bool {
	rank := max(len(p.dims), len(q.dims))
	dims, other := p.padded(rank), q.padded(rank)
	sizes := make([]int64, rank)
	for i := range dims {
		sizes[i] = int64(max(dims[i], other[i]))
	}
	a, b := p.over(sizes), q.over(sizes)
	return a != nil && slices.EqualFunc(a, b, func(a, b int) bool { return s.Tied(a) == s.Tied(b) })
}

func (s *Scaling) tie(a, b int) {
	a, b = s.Tied(a), s.Tied(b)
	s.ties[max(a, b)] = min(a, b)
}

// Channel returns the channel of each element of a tensor of those sizes that stands for v, one of Values.
func (s *Scaling) Channel(v *onnx.Value, dims []int64) []int { return s.patterns[v].over(dims) }

// Absorbers returns the nodes whose constant input i is multiplied by the scales, in graph order of the search, with the channel
// of each element of the constant.
func (s *Scaling) Absorbers(f func(n *onnx.Node, input int, channel []int)) {
	for _, e := range s.edits {
		if !e.divide {
			f(e.node, e.input, e.channels())
		}
	}
}

// Producers does the same for constants that are divided.
func (s *Scaling) Producers(f func(n *onnx.Node, input int, channel []int)) {
	for _, e := range s.edits {
		if e.divide {
			f(e.node, e.input, e.channels())
		}
	}
}

// scale adds v to what is divided by the scales. Where it reports false, undo takes back what it did.
func (s *Scaling) scale(v *onnx.Value, p pattern) bool {
	if v == nil {
		return false
	}
	if known, ok := s.patterns[v]; ok {
		return s.same(known, p)
	}
	n, out := v.Producer()
	if n == nil || out != 0 || v.Const() != nil || v.IsInput() || v.IsOutput() || rewrite.Elem(v) != onnx.Float32 || !p.fits(v) || len(s.Values) == maxValues {
		return false
	}
	s.patterns[v] = p
	s.Values = append(s.Values, v)
	if r := rules[n.Op]; r.back == nil || !n.Is(n.Op) || !r.back(s, n, p) {
		return false
	}
	for _, u := range v.Uses() {
		if r := rules[u.Node.Op]; r.forth == nil || !u.Node.Is(u.Node.Op) || !r.forth(s, u.Node, u.Index, p) {
			return false
		}
	}
	return true
}

// A mark is a state to go back to when one of several ways does not lead anywhere.
type mark struct {
	values, edits int
	ties          []int
}

func (s *Scaling) mark() mark { return mark{len(s.Values), len(s.edits), slices.Clone(s.ties)} }

func (s *Scaling) undo(m mark) {
	for _, v := range s.Values[m.values:] {
		delete(s.patterns, v)
	}
	s.Values, s.edits, s.ties = s.Values[:m.values], s.edits[:m.edits], m.ties
}

// largestCopied is the number of elements up to which a constant that others use is copied rather than left alone.
const largestCopied = 1 << 14

// edit notes that a constant is multiplied or divided; false when it cannot be.
func (s *Scaling) edit(e edit) bool {
	v := e.node.Input(e.input)
	if v == nil || v.Const() == nil || v.IsInput() || v.Const().Type != onnx.Float32 {
		return false
	}
	if rewrite.OnlyUse(v) == nil && v.Const().Len() > largestCopied {
		return false
	}
	for _, o := range s.edits {
		if o.node == e.node && o.input == e.input {
			return o.divide == e.divide && s.same(o.pattern, e.pattern)
		}
	}
	if e.channels() == nil {
		return false
	}
	s.edits = append(s.edits, e)
	return true
}

// channels returns the channel of each element of the constant; nil when the constant has not the sizes.
func (e edit) channels() []int {
	dims := e.node.Input(e.input).Const().Dims
	if !e.grouped {
		return e.over(dims)
	}
	group := int(e.node.Int("group", 1))
	if group < 1 || len(dims) < 3 || int(dims[0])%group != 0 || int(dims[1])*group != len(e.channel) {
		return nil
	}
	inputs, taps := int(dims[1]), int(onnx.NumElements(dims[2:]))
	all := make([]int, 0, int(dims[0])*inputs*taps)
	for o := range int(dims[0]) {
		first := o / (int(dims[0]) / group) * inputs
		for i := range inputs {
			for range taps {
				all = append(all, e.channel[first+i])
			}
		}
	}
	return all
}

// Apply multiplies and divides the constants; undo puts the old ones back. It fails, with nothing changed, when scales are not
// positive or a constant would no longer be finite.
func (s *Scaling) Apply(scales []float32) (undo func(), err error) {
	if len(scales) != s.Channels {
		return nil, fmt.Errorf("%d scales for the %d channels of tensor %q", len(scales), s.Channels, s.Value.Name())
	}
	for i, x := range scales {
		if !(x > 0) || math.IsInf(float64(x), 0) || x != scales[s.Tied(i)] {
			return nil, fmt.Errorf("tensor %q cannot be scaled by %v in channel %d", s.Value.Name(), x, i)
		}
	}
	made := make([]*onnx.Tensor, len(s.edits))
	for i, e := range s.edits {
		v := e.node.Input(e.input)
		made[i] = Scaled(v.Const(), e.channels(), scales, e.divide)
		for _, x := range onnx.Data[float32](made[i]) {
			if x-x != 0 {
				return nil, fmt.Errorf("scaling tensor %q makes constant %q %v", s.Value.Name(), v.Name(), x)
			}
		}
	}
	var undos []func()
	for i, e := range s.edits {
		v := e.node.Input(e.input)
		if old := v.Const(); rewrite.OnlyUse(v) != nil {
			v.SetConst(made[i])
			undos = append(undos, func() { v.SetConst(old) })
			continue
		}
		copied := e.node.Graph().AddConst(v.Name()+"_scaled", made[i])
		e.node.SetInput(e.input, copied)
		undos = append(undos, func() {
			e.node.SetInput(e.input, v)
			e.node.Graph().DropConst(copied)
		})
	}
	return func() {
		for _, f := range undos {
			f()
		}
	}, nil
}

// Divided returns what a tensor of v, one of Values, is when it is scaled, in float32.
func (s *Scaling) Divided(v *onnx.Value, t *onnx.Tensor, scales []float32) *onnx.Tensor {
	x, err := t.Float32s()
	channel := s.Channel(v, t.Dims)
	if err != nil || len(channel) != len(x) {
		return t
	}
	return Scaled(onnx.Of(x, t.Dims...), channel, scales, true)
}

// Scaled returns a float32 tensor multiplied or divided by the scale of each element's channel.
func Scaled(t *onnx.Tensor, channel []int, scales []float32, divide bool) *onnx.Tensor {
	x := onnx.Data[float32](t)
	y := make([]float32, len(x))
	for i, c := range channel {
		if divide {
			y[i] = x[i] / scales[c]
		} else {
			y[i] = x[i] * scales[c]
		}
	}
	return onnx.Of(y, append([]int64{}, t.Dims...)...)
}
