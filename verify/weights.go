package verify

import (
	"slices"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// WeightsOf returns the greatest constant float operand of a node; nil when it has none of two axes and more.
func WeightsOf(n *onnx.Node) *onnx.Tensor {
	var w *onnx.Tensor
	for _, v := range n.Inputs() {
		if t := constant(v); t != nil && t.Type.IsFloat() && t.Rank() > 1 && (w == nil || t.Len() > w.Len()) {
			w = t
		}
	}
	return w
}

// Weights are a layer's greatest constant operand before and after.
type Weights struct {
	Type   string     `json:"type"`             // of the codes
	Scales *Scales    `json:"scales,omitempty"` // nil where they were not found
	Range  *Span      `json:"range,omitempty"`  // that does not saturate, with the greatest scale
	Float  *Histogram `json:"float"`
	Codes  *Histogram `json:"codes"`
}

// Scales are those of a tensor's channels.
type Scales struct {
	Count    int           `json:"count"`
	Least    metric.Number `json:"least"`
	Greatest metric.Number `json:"greatest"`
}

// Activations are the values of a layer's output in the float model.
type Activations struct {
	Range *Span          `json:"range,omitempty"` // that does not saturate; nil without fixed codes
	Scale *metric.Number `json:"scale,omitempty"` // of the fixed codes
	Float *Histogram     `json:"float"`
}

// A Span is the values from Low to High.
type Span struct {
	Low  metric.Number `json:"low"`
	High metric.Number `json:"high"`
}

// distributions adds the histograms of the layers that reports for people list: the culprits and the worst.
func (s *session) distributions(r *Report, float, quant *onnx.Model) {
	var listed []string
	for _, l := range r.worst() {
		listed = append(listed, l.Key)
	}
	for _, c := range r.Culprits {
		listed = append(listed, c.Key)
	}
	nodes := map[string]*onnx.Node{}
	for n, key := range float.Graph.Keys() {
		nodes[key] = n
	}
	for i, l := range s.layers {
		if !slices.Contains(listed, l.Key) {
			continue
		}
		w := l.Layer.Weights
		if n := nodes[l.Key]; w == nil && n != nil {
			w = WeightsOf(n)
		}
		r.Layers[i].Weights = l.weights(w, quant.Graph)
		r.Layers[i].Activations = l.activations()
	}
}

func (l *layer) activations() *Activations {
	h := l.values.histogram()
	if h == nil {
		return nil
	}
	a := &Activations{Float: h}
	if l.clip.known {
		a.Range = &Span{metric.Number(l.clip.lo), metric.Number(l.clip.hi)}
		scale := metric.Number(l.views[len(l.views)-1].codes.scale)
		a.Scale = &scale
	}
	return a
}

// weights compares the float weights with their codes; nil where these are not found.
func (l *layer) weights(float *onnx.Tensor, quant *onnx.Graph) *Weights {
	if float == nil {
		return nil
	}
	v := l.storedCodes(float.Len(), quant)
	if v == nil {
		return nil
	}
	x, err := float.Float32s()
	if err != nil {
		return nil
	}
	t := constant(v)
	w := &Weights{Type: codeTypes[t.Type].name, Float: linear(x), Codes: codeHistogram(t)}
	scale, zero := scaleOf(v)
	if scale == nil {
		return w
	}
	s, err := scale.Float32s()
	if err != nil || len(s) == 0 {
		return w
	}
	least, greatest := slices.Min(s), slices.Max(s)
	w.Scales = &Scales{len(s), metric.Number(least), metric.Number(greatest)}
	if z, ok := single(zero); ok {
		c := codes{kind: t.Type, scale: greatest, zero: z}
		if lo, hi, ok := c.limits(); ok {
			w.Range = &Span{metric.Number(lo), metric.Number(hi)}
		}
	}
	return w
}

// storedCodes finds the constant codes of so many weights that the layer's tensor is computed from.
func (l *layer) storedCodes(weights int, quant *onnx.Graph) *onnx.Value {
	seen := map[*onnx.Value]bool{}
	for _, in := range l.Inputs {
		seen[quant.Value(in.Quant)] = true // the search ends there
	}
	near := []*onnx.Value{quant.Value(l.Quant)}
	for i := 0; i < len(near) && i < 16*largestBody; i++ {
		v := near[i]
		if v == nil || seen[v] {
			continue
		}
		seen[v] = true
		if t := constant(v); t != nil {
			if _, ok := codeTypes[t.Type]; ok && t.Len() == weights {
				return v
			}
			continue
		}
		if n, _ := v.Producer(); n != nil {
			near = append(near, n.Inputs()...)
		}
	}
	return nil
}

// scaleOf follows codes to what multiplies them: the scales and zero points of DequantizeLinear, or the constant of the Mul
// behind MatMulInteger, Gather and Cast. Nil where it is not found.
func scaleOf(v *onnx.Value) (scale, zero *onnx.Tensor) {
	for range largestBody {
		if v == nil || len(v.Uses()) == 0 {
			return nil, nil
		}
		u := v.Uses()[0]
		switch n := u.Node; n.Op {
		case "DequantizeLinear":
			return constant(n.Input(1)), constant(n.Input(2))
		case "MatMulInteger":
			if u.Index == 1 {
				zero = constant(n.Input(3))
			}
		case "Mul":
			return multiplier(n.Input(1 - u.Index)), zero
		case "Cast", "Gather", "Reshape", "Transpose":
		default:
			return nil, nil
		}
		v = u.Node.Output(0)
	}
	return nil, nil
}

// multiplier returns the constant that a scale is made of: itself, rows of it, or times the scale of the other operand.
func multiplier(v *onnx.Value) *onnx.Tensor {
	if v == nil {
		return nil
	}
	n, _ := v.Producer()
	if n == nil || n.Op == "Constant" {
		return constant(v)
	}
	for _, in := range n.Inputs() {
		if t := constant(in); t != nil && t.Type.IsFloat() && (n.Op == "Mul" || n.Op == "Gather") {
			return t
		}
	}
	return nil
}

// single returns the one zero point that all channels have; none is 0.
func single(zero *onnx.Tensor) (int64, bool) {
	if zero == nil {
		return 0, true
	}
	z, err := zero.Int64s()
	if err != nil || len(z) == 0 || slices.Min(z) != slices.Max(z) {
		return 0, false
	}
	return z[0], true
}
