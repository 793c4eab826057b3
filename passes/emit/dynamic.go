package emit

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// quantizedInput is an activation as codes: of its token-wise or per-tensor form. All products of one tensor share it.
type quantizedInput struct {
	codes *onnx.Value // per tensor: the codes; token-wise: the codes dequantized with scale 1
	scale *onnx.Value // of the tensor, or of each row
	zero  *onnx.Value // per tensor only
}

// inputKey names an activation in one graph: what is quantized inside a branch exists there only.
type inputKey struct {
	value *onnx.Value
	graph *onnx.Graph
}

// dynamic writes the products whose activations are quantized at run time.
func (e *emitter) dynamic() error {
	tokens, tensors := map[inputKey]quantizedInput{}, map[inputKey]quantizedInput{}
	err := e.each(func(s *plan.Site, d *plan.Node) error {
		return e.product(s, d, tokens, e.tokenInput, e.tokenProduct)
	}, plan.Token, plan.Product)
	if err != nil {
		return err
	}
	return e.each(func(s *plan.Site, d *plan.Node) error {
		return e.product(s, d, tensors, e.tensorInput, e.tensorProduct)
	}, plan.Dynamic, plan.Product)
}

// product replaces a MatMul or Gemm by its quantized form, and a Gemm's bias by an Add.
func (e *emitter) product(s *plan.Site, d *plan.Node, cache map[inputKey]quantizedInput,
	input func(*onnx.Node, *onnx.Value, int64) quantizedInput, form func(*onnx.Node, quantizedInput, *stored) *onnx.Value,
) error {
	n := s.Node
	st, err := e.weights(s, 0, d.Weights, s.Axes[0] == 0)
	if err != nil {
		return err
	}
	key := inputKey{n.Input(0), n.Graph()}
	x, ok := cache[key]
	if !ok {
		x = input(n, n.Input(0), st.codes.Const().Dims[0])
		cache[key] = x
	}
	y := form(n, x, st)
	if b := n.Input(2); b != nil {
		y = e.before(n, "Add", "", n.Output(0).Name()+"_biased", []*onnx.Value{y, b})
	}
	producer, _ := y.Producer()
	producer.Name = n.Name
	return e.replace(n, y)
}

// tensorInput is DynamicQuantizeLinear.
func (e *emitter) tensorInput(n *onnx.Node, x *onnx.Value, _ int64) quantizedInput {
	q := n.Graph().InsertBefore(n, onnx.NodeSpec{
		Op: "DynamicQuantizeLinear", Inputs: []*onnx.Value{x},
		Outputs: []string{x.Name() + "_quantized", x.Name() + "_scale", x.Name() + "_zero_point"},
	})
	return quantizedInput{q.Output(0), q.Output(1), q.Output(2)}
}

// tensorProduct is MatMulInteger → Cast → Mul(·, Mul(s_x, s_w)): one DynamicQuantizeMatMul in the runtime.
func (e *emitter) tensorProduct(n *onnx.Node, x quantizedInput, st *stored) *onnx.Value {
	name := n.Output(0).Name()
	acc := e.before(n, "MatMulInteger", "", name+"_int32", []*onnx.Value{x.codes, st.codes, x.zero})
	float := e.before(n, "Cast", "", name+"_cast", []*onnx.Value{acc}, onnx.AttrI("to", int64(onnx.Float32)))
	scale := e.before(n, "Mul", "", name+"_scale", []*onnx.Value{x.scale, st.scales})
	return e.before(n, "Mul", "", name+"_scaled", []*onnx.Value{float, scale})
}

// tokenInput divides every row by its scale and quantizes with scale 1 around 128: a static pair, which every version of
// the runtime fuses. From opset 21 QuantizeLinear does both with the row as a block.
func (e *emitter) tokenInput(n *onnx.Node, x *onnx.Value, k int64) quantizedInput {
	name := x.Name()
	one, zero := e.scalar("token_one", onnx.Scalar(float32(1))), e.scalar("token_zero_point", onnx.Scalar(uint8(128)))
	abs := e.before(n, "Abs", "", name+"_abs", []*onnx.Value{x})
	var top *onnx.Value
	if e.model.Opset("") >= 18 {
		top = e.before(n, "ReduceMax", "", name+"_max", []*onnx.Value{abs, e.scalar("token_axis", onnx.Of([]int64{-1}))}, onnx.AttrI("keepdims", 1))
	} else {
		top = e.before(n, "ReduceMax", "", name+"_max", []*onnx.Value{abs}, onnx.AttrIs("axes", -1), onnx.AttrI("keepdims", 1))
	}
	floor := e.before(n, "Max", "", name+"_floored", []*onnx.Value{top, e.scalar("token_floor", onnx.Scalar(quantize.RowFloor))})
	scale := e.before(n, "Div", "", name+"_row_scale", []*onnx.Value{floor, e.scalar("token_steps", onnx.Scalar(float32(127)))})
	var codes *onnx.Value
	if e.model.Opset("") >= 21 {
		shape := e.before(n, "Shape", "", name+"_row_shape", []*onnx.Value{scale})
		zeros := e.before(n, "ConstantOfShape", "", name+"_row_zero_point", []*onnx.Value{shape}, onnx.AttrT("value", onnx.Of([]uint8{128})))
		codes = e.before(n, "QuantizeLinear", "", name+"_quantized", []*onnx.Value{x, scale, zeros}, onnx.AttrI("axis", -1), onnx.AttrI("block_size", k))
	} else {
		rows := e.before(n, "Div", "", name+"_rows", []*onnx.Value{x, scale})
		codes = e.before(n, "QuantizeLinear", "", name+"_quantized", []*onnx.Value{rows, one, zero})
	}
	return quantizedInput{codes: e.before(n, "DequantizeLinear", "", name+"_codes", []*onnx.Value{codes, one, zero}), scale: scale}
}

// tokenProduct multiplies the codes with the dequantized weights, MatMulIntegerToFloat in the runtime, and scales the rows.
func (e *emitter) tokenProduct(n *onnx.Node, x quantizedInput, st *stored) *onnx.Value {
	name := n.Output(0).Name()
	y := e.before(n, "MatMul", "", name+"_product", []*onnx.Value{x.codes, e.dequantized(n, st, 1)})
	return e.before(n, "Mul", "", name+"_scaled", []*onnx.Value{y, x.scale})
}
