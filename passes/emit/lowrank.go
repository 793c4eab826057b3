package emit

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
)

// factors stores the low-rank term of a product and returns A and A·B's second factor as the runtime makes them when it loads the
// model: A = Cast(int8), which has no scale, and B = Cast(int8)·scales of the terms.
func (e *emitter) factors(s *plan.Site, w *plan.Weights) (a, b *onnx.Value, err error) {
	n, v := s.Node, s.Weight(0)
	dims := v.Const().Dims
	outputs := dims[s.Axes[0]]
	inputs := int64(v.Const().Len()) / outputs
	f, err := w.LowRank.Factors(int(inputs), int(outputs))
	if err != nil {
		return nil, nil, err
	}
	g, name, rank := v.Graph(), v.Name(), int64(w.LowRank.Rank)
	float := func(name string, codes []int8, dims ...int64) *onnx.Value {
		stored := e.constant(g, name, onnx.Of(codes, dims...))
		return e.before(n, "Cast", "term_float", []*onnx.Value{stored}, onnx.AttrI("to", int64(onnx.Float32)))
	}
	a = float(name+"_term_in", f.A, inputs, rank)
	b = float(name+"_term_out", f.B, rank, outputs)
	scales := e.constant(g, name+"_term_scale", onnx.Of(f.Scales, rank, 1))
	return a, e.before(n, "Mul", "term_scaled", []*onnx.Value{b, scales}), nil
}

// besideProduct adds the low-rank term of product n to y, what is left of it: (X·A)·B.
func (e *emitter) besideProduct(s *plan.Site, w *plan.Weights, y *onnx.Value) (*onnx.Value, error) {
	if w == nil || w.LowRank == nil {
		return y, nil
	}
	n := s.Node
	a, b, err := e.factors(s, w)
	if err != nil {
		return nil, err
	}
	name := n.Output(0).Name()
	few := e.before(n, "MatMul", name+"_few", []*onnx.Value{n.Input(0), a})
	term := e.before(n, "MatMul", name+"_term", []*onnx.Value{few, b})
	return e.before(n, "Add", name+"_corrected", []*onnx.Value{y, term}), nil
}

// besideWeights adds the low-rank term to the float weights of product n, which the runtime computes when it loads the model: the
// term costs no time.
func (e *emitter) besideWeights(s *plan.Site, w *plan.Weights, float *onnx.Value) (*onnx.Value, error) {
	if w == nil || w.LowRank == nil {
		return float, nil
	}
	n := s.Node
	a, b, err := e.factors(s, w)
	if err != nil {
		return nil, err
	}
	term := e.before(n, "MatMul", "term", []*onnx.Value{a, b})
	if s.Axes[0] == 0 {
		term = e.before(n, "Transpose", "term_turned", []*onnx.Value{term}, onnx.AttrIs("perm", 1, 0))
	}
	return e.before(n, "Add", "weight", []*onnx.Value{float, term}), nil
}
