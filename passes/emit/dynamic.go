package emit

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// quantizedInput is an activation as codes: of its token-wise or per-tensor form. All products of one tensor share it.
type quantizedInput struct {
	codes *onnx.Value // per tensor: the codes; token-wise: the codes dequantized with scale 1
	scale *onnx.Value // of the tensor, or of each row
	zero  *onnx.Value // per tensor only
}

// inputKey names an activation in one graph, quantized in one way: what is quantized inside a branch exists there only.
type inputKey struct {
	value  *onnx.Value
	graph  *onnx.Graph
	sigmaK float32 // of token-wise products, as plan.Node has it
}

// A dynamicForm writes products whose activations are quantized at run time.
type dynamicForm struct {
	input   func(e *emitter, n *onnx.Node, x inputKey, k int64) quantizedInput // x is [..., k]
	product func(e *emitter, n *onnx.Node, x quantizedInput, st *stored) *onnx.Value
}

// dynamic writes the products of every such form.
func (e *emitter) dynamic() error {
	for _, form := range []struct {
		scheme plan.Scheme
		dynamicForm
	}{
		{plan.Token, dynamicForm{(*emitter).tokenInput, (*emitter).tokenProduct}},
		{plan.Dynamic, dynamicForm{(*emitter).tensorInput, (*emitter).tensorProduct}},
	} {
		inputs := map[inputKey]quantizedInput{}
		err := e.each(func(s *plan.Site, d *plan.Node) error { return e.product(s, d, form.dynamicForm, inputs) }, form.scheme, plan.Product)
		if err != nil {
			return err
		}
	}
	return nil
}

// product replaces a MatMul or Gemm by its quantized form, and a Gemm's bias by an Add. The weights become [K, N].
func (e *emitter) product(s *plan.Site, d *plan.Node, form dynamicForm, inputs map[inputKey]quantizedInput) error {
	n, a := s.Node, asIs
	if s.Axes[0] == 0 {
		a = transposed
	}
	st, err := e.weights(s, 0, d.Weights, a)
	if err != nil {
		return err
	}
	key := inputKey{n.Input(0), n.Graph(), d.SigmaK}
	x, ok := inputs[key]
	if !ok {
		x = form.input(e, n, key, st.dims[0])
		inputs[key] = x
	}
	return e.replaceProduct(s, d.Weights, form.product(e, n, x, st))
}

// tensorInput is DynamicQuantizeLinear.
func (e *emitter) tensorInput(n *onnx.Node, of inputKey, _ int64) quantizedInput {
	x := of.value
	q := n.Graph().InsertBefore(n, onnx.NodeSpec{
		Op: "DynamicQuantizeLinear", Inputs: []*onnx.Value{x},
		Outputs: []string{x.Name() + "_quantized", x.Name() + "_scale", x.Name() + "_zero_point"},
	})
	return quantizedInput{q.Output(0), q.Output(1), q.Output(2)}
}

// tensorProduct is MatMulInteger → Cast → Mul(·, Mul(s_x, s_w)): one DynamicQuantizeMatMul in the runtime.
func (e *emitter) tensorProduct(n *onnx.Node, x quantizedInput, st *stored) *onnx.Value {
	name := n.Output(0).Name()
	acc := e.before(n, "MatMulInteger", name+"_int32", []*onnx.Value{x.codes, e.int8(n, st), x.zero})
	float := e.before(n, "Cast", name+"_cast", []*onnx.Value{acc}, onnx.AttrI("to", int64(onnx.Float32)))
	scale := e.before(n, "Mul", name+"_scale", []*onnx.Value{x.scale, st.scales})
	return e.before(n, "Mul", name+"_scaled", []*onnx.Value{float, scale})
}

// tokenInput divides every row by its scale and quantizes with scale 1 around 128: a static pair, which every version of
// the runtime fuses. From opset 21 QuantizeLinear does both with the row as a block.
func (e *emitter) tokenInput(n *onnx.Node, of inputKey, k int64) quantizedInput {
	g, x, opset := n.Graph().Root(), of.value, e.model.Opset("")
	name := x.Name()
	one, zero := e.constant(g, "token_scale", onnx.Scalar(float32(1))), e.zeroPoint(g, 128)
	magnitudes := e.largest
	if of.sigmaK > 0 {
		magnitudes = e.deviating
	}
	floor := e.before(n, "Max", name+"_floored", append(magnitudes(n, of), e.constant(g, "token_floor", onnx.Scalar(quantize.RowFloor))))
	scale := e.before(n, "Div", name+"_row_scale", []*onnx.Value{floor, e.constant(g, "token_steps", onnx.Scalar(float32(127)))})
	var codes *onnx.Value
	if opset >= 21 && rewrite.Rank(x) > 1 { // one scale for a vector is no block to ONNX Runtime
		shape := e.before(n, "Shape", name+"_row_shape", []*onnx.Value{scale})
		zeros := e.before(n, "ConstantOfShape", name+"_row_zero_point", []*onnx.Value{shape}, onnx.AttrT("value", onnx.Of([]uint8{128})))
		codes = e.before(n, "QuantizeLinear", name+"_quantized", []*onnx.Value{x, scale, zeros}, onnx.AttrI("axis", -1), onnx.AttrI("block_size", k))
	} else {
		rows := e.before(n, "Div", name+"_rows", []*onnx.Value{x, scale})
		codes = e.before(n, "QuantizeLinear", name+"_quantized", []*onnx.Value{rows, one, zero})
	}
	return quantizedInput{codes: e.before(n, "DequantizeLinear", name+"_codes", []*onnx.Value{codes, one, zero}), scale: scale}
}

// largest returns the largest magnitude of each row, as quantize.RowScale does.
func (e *emitter) largest(n *onnx.Node, of inputKey) []*onnx.Value {
	name := of.value.Name()
	return []*onnx.Value{e.reduced(n, "ReduceMax", name+"_max", e.before(n, "Abs", name+"_abs", []*onnx.Value{of.value}))}
}

// deviating returns the magnitudes of both ends of each row's mean ± k standard deviations, or of its extremes where they are less,
// by the operations of quantize.RowScale.
func (e *emitter) deviating(n *onnx.Node, of inputKey) []*onnx.Value {
	x, name := of.value, of.value.Name()
	mean := e.reduced(n, "ReduceMean", name+"_mean", x)
	d := e.before(n, "Sub", name+"_deviation", []*onnx.Value{x, mean})
	variance := e.reduced(n, "ReduceMean", name+"_variance", e.before(n, "Mul", name+"_squared", []*onnx.Value{d, d}))
	width := e.before(n, "Mul", name+"_width", []*onnx.Value{
		e.before(n, "Sqrt", name+"_sigma", []*onnx.Value{variance}), e.constant(n.Graph().Root(), "token_k", onnx.Scalar(of.sigmaK)),
	})
	var ends []*onnx.Value
	for _, end := range []struct{ suffix, move, extreme, within string }{{"_low", "Sub", "ReduceMin", "Max"}, {"_high", "Add", "ReduceMax", "Min"}} {
		at := e.before(n, end.move, name+end.suffix, []*onnx.Value{mean, width})
		extreme := e.reduced(n, end.extreme, name+end.suffix+"est", x)
		within := e.before(n, end.within, name+end.suffix+"_end", []*onnx.Value{at, extreme})
		ends = append(ends, e.before(n, "Abs", name+end.suffix+"_magnitude", []*onnx.Value{within}))
	}
	return ends
}

// reduced folds each row of x into one value.
func (e *emitter) reduced(n *onnx.Node, op, name string, x *onnx.Value) *onnx.Value {
	inputs, attrs := []*onnx.Value{x}, []*onnx.Attribute{onnx.AttrI("keepdims", 1)}
	if e.model.Opset("") >= 18 {
		inputs = append(inputs, e.constant(n.Graph().Root(), "token_axis", onnx.Of([]int64{-1})))
	} else {
		attrs = append(attrs, onnx.AttrIs("axes", -1))
	}
	return e.before(n, op, name, inputs, attrs...)
}

// tokenProduct multiplies the codes with the dequantized weights, MatMulIntegerToFloat in the runtime, and scales the rows.
func (e *emitter) tokenProduct(n *onnx.Node, x quantizedInput, st *stored) *onnx.Value {
	name := n.Output(0).Name()
	y := e.before(n, "MatMul", name+"_product", []*onnx.Value{x.codes, e.dequantized(n, st, 1)})
	return e.before(n, "Mul", name+"_scaled", []*onnx.Value{y, x.scale})
}
