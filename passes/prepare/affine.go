package prepare

import (
	"math"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// FoldAffine folds what scales and shifts output channels into the weights.
var FoldAffine = rewrite.Pass{
	Name: "fold-affine",
	Doc:  "fold BatchNormalization and Mul, Div, Add, Sub by a constant a channel into the Conv, ConvTranspose or Gemm before it",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		opset := m.Opset("")
		for g := range rewrite.Graphs(m) {
			for n := range g.Nodes() {
				for {
					folded, err := foldNext(c, n, opset)
					if err != nil {
						return err
					}
					if !folded {
						break
					}
				}
			}
		}
		return nil
	},
}

// An affine is y = scale[channel]·x + shift[channel]. A nil scale is one everywhere, a nil shift zero.
type affine struct{ scale, shift []float64 }

// A linear is what folding has to know of a Conv, ConvTranspose or Gemm with constant weights.
type linear struct {
	n        *onnx.Node
	w        *onnx.Tensor
	channels int
	rank     int             // of the output
	channel  func(i int) int // the output channel that element i of the weights belongs to
	bias     []float64       // as the operator adds it, Gemm's beta included; nil: none
}

// foldNext folds the only consumer of n's output into n, if that can be done.
func foldNext(c *rewrite.Context, n *onnx.Node, opset int64) (bool, error) {
	if !n.Is("Conv", "ConvTranspose", "Gemm") {
		return false, nil
	}
	out := n.Output(0)
	next := rewrite.OnlyUse(out)
	if next == nil || next.Graph() != n.Graph() || opset < 7 {
		return false, nil
	}
	l, err := linearOf(n)
	if l == nil {
		return false, err
	}
	a, err := affineOf(next, out, l)
	if a == nil {
		return false, err
	}
	if folded, err := l.fold(c, a); !folded {
		return false, err
	}
	rewrite.Absorb(c, next, out)
	return true, nil
}

// linearOf returns nil for a node that is not understood or whose weights or bias are not constant.
func linearOf(n *onnx.Node) (*linear, error) {
	w := rewrite.Const(n.Input(1))
	if w == nil || !foldable[w.Type] || w.Len() == 0 {
		return nil, nil
	}
	l := &linear{n: n, w: w, rank: w.Rank()}
	switch n.Op {
	case "Conv":
		if w.Rank() < 3 {
			return nil, nil
		}
		l.channels = int(w.Dims[0])
		each := w.Len() / l.channels
		l.channel = func(i int) int { return i / each }
	case "ConvTranspose": // [C, M/group, k...]: input channel c belongs to group c / (C/group)
		group := n.Int("group", 1)
		if w.Rank() < 3 || group < 1 || w.Dims[0]%group != 0 {
			return nil, nil
		}
		inputs, outputs := int(w.Dims[0]/group), int(w.Dims[1])
		each := w.Len() / int(w.Dims[0]*w.Dims[1])
		l.channels = outputs * int(group)
		l.channel = func(i int) int {
			return i/(each*outputs)/inputs*outputs + i/each%outputs
		}
	case "Gemm":
		if w.Rank() != 2 {
			return nil, nil
		}
		columns := int(w.Dims[1])
		if l.channels = columns; n.Int("transB", 0) != 0 {
			l.channels = int(w.Dims[0])
			l.channel = func(i int) int { return i / columns }
		} else {
			l.channel = func(i int) int { return i % columns }
		}
	}
	if n.Input(2) == nil {
		return l, nil
	}
	t := rewrite.Const(n.Input(2))
	if t == nil || !isRow(t.Dims, int64(l.channels)) {
		return nil, nil
	}
	b, err := float64s(t)
	if err != nil {
		return nil, badTensor(n, n.Input(2), err)
	}
	l.bias = spread(b, l.channels)
	if n.Op == "Gemm" {
		for i := range l.bias {
			l.bias[i] *= float64(n.Float("beta", 1))
		}
	}
	return l, nil
}

// affineOf returns what next does to x, the output of l; nil when it is nothing affine in each channel.
func affineOf(next *onnx.Node, x *onnx.Value, l *linear) (*affine, error) {
	if next.Is("BatchNormalization") {
		return batchNormalization(next, x, l.channels)
	}
	if !next.Is("Mul", "Div", "Add", "Sub") {
		return nil, nil
	}
	first := next.Input(0) == x
	other := next.Input(0)
	if first {
		other = next.Input(1)
	}
	t := rewrite.Const(other)
	if t == nil || !isPerChannel(t.Dims, int64(l.channels), l.rank) {
		return nil, nil
	}
	v, err := float64s(t)
	if err != nil {
		return nil, badTensor(next, other, err)
	}
	k := spread(v, l.channels)
	switch {
	case next.Op == "Mul":
		return &affine{scale: k}, nil
	case next.Op == "Div" && first:
		return &affine{scale: each(k, func(v float64) float64 { return 1 / v })}, nil
	case next.Op == "Add":
		return &affine{shift: k}, nil
	case next.Op == "Sub" && first:
		return &affine{shift: each(k, func(v float64) float64 { return -v })}, nil
	case next.Op == "Sub":
		return &affine{scale: each(k, func(float64) float64 { return -1 }), shift: k}, nil
	}
	return nil, nil
}

// batchNormalization is (x − mean) / sqrt(var + epsilon) · scale + bias in each channel, at inference.
func batchNormalization(n *onnx.Node, x *onnx.Value, channels int) (*affine, error) {
	if n.Input(0) != x || n.Int("training_mode", 0) != 0 || n.Int("spatial", 1) == 0 {
		return nil, nil
	}
	for _, v := range n.Outputs()[1:] {
		if rewrite.Used(v) {
			return nil, nil
		}
	}
	var p [4][]float64 // scale, bias, mean, variance
	for i := range p {
		t := rewrite.Const(n.Input(i + 1))
		if t == nil || t.Len() != channels {
			return nil, nil
		}
		var err error
		if p[i], err = float64s(t); err != nil {
			return nil, badTensor(n, n.Input(i+1), err)
		}
	}
	a := &affine{make([]float64, channels), make([]float64, channels)}
	epsilon := float64(n.Float("epsilon", 1e-5))
	for i := range a.scale {
		a.scale[i] = p[0][i] / math.Sqrt(p[3][i]+epsilon)
		a.shift[i] = p[1][i] - float64(p[2][i]*a.scale[i])
	}
	return a, nil
}

// fold computes in float64 and rounds once. It reports false, with nothing changed, when a number would not be finite.
func (l *linear) fold(c *rewrite.Context, a *affine) (bool, error) {
	bias := make([]float64, l.channels)
	copy(bias, l.bias)
	for i := range bias {
		if a.scale != nil {
			bias[i] *= a.scale[i]
		}
		if a.shift != nil {
			bias[i] += a.shift[i]
		}
	}
	var w *onnx.Tensor
	if a.scale != nil {
		x, err := float64s(l.w)
		if err != nil {
			return false, badTensor(l.n, l.n.Input(1), err)
		}
		for i := range x {
			x[i] *= a.scale[l.channel(i)]
		}
		if w = fromFloat64s(l.w.Type, x, l.w.Dims); w == nil {
			return false, nil
		}
	}
	b := fromFloat64s(l.w.Type, bias, []int64{int64(l.channels)})
	if b == nil {
		return false, nil
	}
	if w != nil && !setConst(l.n, 1, w, l.n.Input(1).Name()) {
		c.Trace.Gone(l.n.Input(1)) // no tensor of the original model has these numbers
	}
	if l.bias != nil || a.shift != nil {
		if !setConst(l.n, 2, b, l.n.Output(0).Name()+"_bias") {
			c.Trace.Gone(l.n.Input(2))
		}
		l.n.DropAttr("beta")
	}
	return true, nil
}

// isPerChannel reports whether dims broadcast over [N, channels, ...] of that rank with one number a channel, or one for all.
func isPerChannel(dims []int64, channels int64, rank int) bool {
	if len(dims) > rank {
		return false
	}
	axis := len(dims) - rank + 1 // of the channels; below 0: there is none
	for i, d := range dims {
		if d != 1 && (i != axis || d != channels) {
			return false
		}
	}
	return true
}

// spread repeats a single number for all channels.
func spread(x []float64, channels int) []float64 {
	if len(x) == channels {
		return x
	}
	all := make([]float64, channels)
	for i := range all {
		all[i] = x[0]
	}
	return all
}

func each(x []float64, f func(float64) float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = f(v)
	}
	return y
}
