package engine

import (
	"math"
	"slices"

	"github.com/zqonnx/zqonnx/kernels/quant"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// fuseIntegers finds what ONNX Runtime finds: FINDINGS e has the table.
var fuseIntegers = rewrite.Pass{
	Name: "fuse-integers",
	Doc:  "turn DequantizeLinear, operator, QuantizeLinear into one integer operator",
	Run: func(_ *rewrite.Context, m *onnx.Model) error {
		eachNode(m, func(n *onnx.Node) {
			if n.Domain != "" && n.Domain != "ai.onnx" {
				return
			}
			if fuse := integerForms[n.Op]; fuse != nil {
				fuse(m, n)
			}
		})
		for g := range rewrite.Graphs(m) {
			rewrite.RemoveDead(g)
		}
		return nil
	},
}

// integerForms has the integer form of each operator. A form turns the last node it replaces into the fused one, so that the
// result keeps its name, and does nothing where a condition fails.
var integerForms map[string]func(m *onnx.Model, n *onnx.Node)

func init() {
	integerForms = map[string]func(m *onnx.Model, n *onnx.Node){
		"Conv":              fuseConv,
		"MatMul":            fuseMatMul,
		"Gemm":              fuseGemm,
		"Add":               fuseBinary("QLinearAdd"),
		"Mul":               fuseBinary("QLinearMul"),
		"Sigmoid":           fuseUnary("QLinearSigmoid"),
		"LeakyRelu":         fuseUnary("QLinearLeakyRelu"),
		"AveragePool":       fuseUnary("QLinearAveragePool"),
		"GlobalAveragePool": fuseUnary("QLinearGlobalAveragePool"),
		"Softmax":           fuseSoftmax,
		"Concat":            fuseConcat,
		"Where":             fuseWhere,
	}
}

// finish removes n, whose result q quantizes, after turning q's node into the fused operator.
func finish(n *onnx.Node, q coded, domain, op string, attrs []*onnx.Attribute, inputs ...*onnx.Value) {
	become(q.node, domain, op, n.Name, attrs, inputs...)
	rewrite.RemoveUnused(n)
}

// result returns the quantization of n's result, if it is of the type of its operand, dt, and such as takes says.
func result(n *onnx.Node, dt onnx.DataType, takes func(coded) bool) (coded, bool) {
	q, ok := quantized(n.Output(0))
	return q, ok && q.dt == dt && takes(q)
}

func fuseConv(_ *onnx.Model, n *onnx.Node) {
	g := n.Graph()
	x, ok := dequantized(n.Input(0), g)
	if !ok || !x.activation() {
		return
	}
	q, ok := result(n, x.dt, coded.activation)
	if !ok {
		return
	}
	w, ok := dequantized(n.Input(1), g)
	if !ok {
		if w, ok = quantizeWeights(n, 1); !ok {
			return
		}
	}
	shape := rewrite.Shape(w.codes)
	if !w.is8() || !constant(w.codes) || len(shape) < 3 || !w.perChannel(0, int64(len(shape)), shape[0].Size) {
		return
	}
	b, ok := integerBias(n, n.Input(2), x, w, true)
	if !ok {
		return
	}
	inputs := []*onnx.Value{x.codes, x.scale, x.zero, w.codes, w.scale, w.zero, q.scale, q.zero}
	if b != nil {
		inputs = append(inputs, b)
	}
	finish(n, q, "", "QLinearConv", n.Attrs, inputs...)
}

// constant reports whether v is an initializer or computed from initializers only.
func constant(v *onnx.Value) bool {
	if v.Const() != nil {
		return true
	}
	n, _ := v.Producer()
	if n == nil || slices.Contains(noFold, n.Op) || len(n.Subgraphs()) > 0 {
		return false
	}
	for _, in := range n.Inputs() {
		if in != nil && !constant(in) {
			return false
		}
	}
	return true
}

// quantizeWeights gives float weights between quantized tensors codes, per tensor over their whole range, as ONNX Runtime does
// from 1.21 on.
func quantizeWeights(n *onnx.Node, input int) (coded, bool) {
	t := rewrite.Const(n.Input(input))
	if t == nil || t.Type != onnx.Float32 || t.Load() != nil {
		return coded{}, false
	}
	w := onnx.Data[float32](t)
	lo, hi := quant.MinMax(w)
	scale, zero := float32(1), int32(0)
	if lo != hi {
		scale = float32(hi-lo) / 255
		zero = int32(max(-128, min(math.RoundToEven(float64(-128-lo/scale)), 127)))
	}
	codes := onnx.Zeros(onnx.Int8, t.Dims...)
	quant.Quantize(codes.Bytes(), w, scale, zero, true)
	g := n.Graph()
	name := n.Input(input).Name()
	c := coded{
		codes: g.AddConst(name+"/codes", codes), scale: g.AddConst(name+"/scale", onnx.Scalar(scale)),
		zero: g.AddConst(name+"/zero", onnx.Scalar(int8(zero))), dt: onnx.Int8,
	}
	c.scales, c.zeros = c.scale.Const(), c.zero.Const()
	return c, true
}

// integerBias returns the int32 bias of a product of x and w. A bias with another scale than x·w prevents the fusion; a float
// one is quantized if allowed.
func integerBias(n *onnx.Node, v *onnx.Value, x, w coded, floats bool) (*onnx.Value, bool) {
	if v == nil {
		return nil, true
	}
	scale := func(i int) float32 {
		sw := onnx.Data[float32](w.scales)
		if len(sw) > 1 {
			return float32(onnx.Data[float32](x.scales)[0] * sw[i])
		}
		return float32(onnx.Data[float32](x.scales)[0] * sw[0])
	}
	if b, ok := dequantized(v, n.Graph()); ok {
		if b.dt != onnx.Int32 && rewrite.Elem(b.codes) != onnx.Int32 {
			return nil, false
		}
		for i, s := range onnx.Data[float32](b.scales) {
			if n.Op == "Gemm" { // taken whatever its scale
				break
			}
			if want := scale(i); abs32(s-want) > 0.01*want {
				return nil, false
			}
		}
		return b.codes, true
	}
	t := rewrite.Const(v)
	if !floats || t == nil || t.Type != onnx.Float32 || t.Rank() != 1 || t.Load() != nil {
		return nil, false
	}
	if c := w.scales.Len(); c > 1 && c != t.Len() {
		return nil, false
	}
	codes := onnx.Zeros(onnx.Int32, t.Dims...)
	for i, b := range onnx.Data[float32](t) {
		onnx.Data[int32](codes)[i] = int32(max(math.MinInt32, min(math.RoundToEven(float64(b/scale(i))), math.MaxInt32)))
	}
	return n.Graph().AddConst(v.Name()+"/codes", codes), true
}

// matrixWeights reports whether the integer products take b as their second operand: one scale, or one a column.
func matrixWeights(b coded, transposed bool) bool {
	if !b.is8() {
		return false
	}
	if b.perTensor() {
		return constant(b.codes) || b.activation()
	}
	shape := rewrite.Shape(b.codes)
	if len(shape) != 2 {
		return false
	}
	axis := int64(1)
	if transposed {
		axis = 0
	}
	return b.perChannel(axis, 2, shape[axis].Size)
}

func fuseMatMul(m *onnx.Model, n *onnx.Node) {
	g := n.Graph()
	a, ok := dequantized(n.Input(0), g)
	b, ok2 := dequantized(n.Input(1), g)
	if !ok || !ok2 || !a.activation() || !matrixWeights(b, false) {
		fuseWeights(n, nil)
		return
	}
	if fuseMatMulAdd(m, n, a, b) {
		return
	}
	if q, ok := result(n, a.dt, coded.activation); ok {
		finish(n, q, "", "QLinearMatMul", nil, a.codes, a.scale, a.zero, b.codes, b.scale, b.zero, q.scale, q.zero)
		return
	}
	become(n, msDomain, "MatMulIntegerToFloat", n.Name, nil, a.codes, b.codes, a.scale, b.scale, a.zero, b.zero)
}

// fuseMatMulAdd makes MatMul, Add of a constant row, QuantizeLinear one QGemm: ONNX Runtime makes a Gemm of the rows of all
// batches first.
func fuseMatMulAdd(_ *onnx.Model, n *onnx.Node, a, b coded) bool {
	add := rewrite.OnlyUse(n.Output(0))
	if add == nil || !add.Is("Add") || add.Graph() != n.Graph() || rewrite.Rank(n.Input(0)) < 2 || rewrite.Rank(n.Input(1)) != 2 {
		return false
	}
	row := add.Input(1)
	if row == n.Output(0) {
		row = add.Input(0)
	}
	q, ok := result(add, a.dt, coded.code8)
	if !ok {
		return false
	}
	bias, ok := integerBias(n, row, a, b, true)
	if !ok || bias == nil {
		return false
	}
	become(q.node, msDomain, "QGemm", n.Name, nil, a.codes, a.scale, a.zero, b.codes, b.scale, b.zero, bias, q.scale, q.zero)
	rewrite.RemoveUnused(add)
	rewrite.RemoveUnused(n)
	return true
}

func fuseGemm(_ *onnx.Model, n *onnx.Node) {
	g := n.Graph()
	transposed := n.Int("transB", 0) != 0
	a, ok := dequantized(n.Input(0), g)
	b, ok2 := dequantized(n.Input(1), g)
	if !ok || !ok2 || !a.code8() || !matrixWeights(b, transposed) || b.zero == nil {
		if !transposed && n.Int("transA", 0) == 0 && n.Float("alpha", 1) == 1 && (n.Input(2) == nil || n.Float("beta", 1) == 1) {
			fuseWeights(n, n.Input(2))
		}
		return
	}
	if n.Float("alpha", 1) != 1 || n.Input(2) != nil && n.Float("beta", 1) != 1 {
		return
	}
	q, quantizes := result(n, a.dt, coded.code8)
	bias, ok := integerBias(n, n.Input(2), a, b, quantizes)
	if !ok {
		return
	}
	attrs := slices.DeleteFunc(slices.Clone(n.Attrs), func(a *onnx.Attribute) bool { return a.Name == "beta" })
	inputs := []*onnx.Value{a.codes, a.scale, a.zero, b.codes, b.scale, b.zero, bias}
	if quantizes {
		finish(n, q, msDomain, "QGemm", attrs, append(inputs, q.scale, q.zero)...)
		return
	}
	become(n, msDomain, "QGemm", n.Name, attrs, inputs...)
}

func fuseBinary(op string) func(*onnx.Model, *onnx.Node) {
	return func(_ *onnx.Model, n *onnx.Node) {
		a, ok := dequantized(n.Input(0), n.Graph())
		b, ok2 := dequantized(n.Input(1), n.Graph())
		if !ok || !ok2 || !a.activation() || !b.activation() || a.dt != b.dt {
			return
		}
		if q, ok := result(n, a.dt, coded.activation); ok {
			finish(n, q, msDomain, op, nil, a.codes, a.scale, a.zero, b.codes, b.scale, b.zero, q.scale, q.zero)
		}
	}
}

func fuseUnary(op string) func(*onnx.Model, *onnx.Node) {
	return func(_ *onnx.Model, n *onnx.Node) { unaryInteger(n, op, n.Attrs) }
}

func unaryInteger(n *onnx.Node, op string, attrs []*onnx.Attribute) {
	x, ok := dequantized(n.Input(0), n.Graph())
	if !ok || !x.code8() || len(n.Outputs()) != 1 {
		return
	}
	if q, ok := result(n, x.dt, coded.code8); ok {
		finish(n, q, msDomain, op, attrs, x.codes, x.scale, x.zero, q.scale, q.zero)
	}
}

func fuseSoftmax(m *onnx.Model, n *onnx.Node) {
	version := m.Opset("")
	axis := int64(-1)
	if version < 13 {
		axis = 1
	}
	unaryInteger(n, "QLinearSoftmax", []*onnx.Attribute{onnx.AttrI("axis", n.Int("axis", axis)), onnx.AttrI("opset", version)})
}

func fuseConcat(_ *onnx.Model, n *onnx.Node) {
	inputs := []*onnx.Value{nil, nil}
	var dt onnx.DataType
	for i, v := range n.Inputs() {
		x, ok := dequantized(v, n.Graph())
		if !ok || !x.code8() || i > 0 && x.dt != dt {
			return
		}
		dt = x.dt
		inputs = append(inputs, x.codes, x.scale, x.zero)
	}
	if q, ok := result(n, dt, coded.code8); ok {
		inputs[0], inputs[1] = q.scale, q.zero
		finish(n, q, msDomain, "QLinearConcat", n.Attrs, inputs...)
	}
}

func fuseWhere(_ *onnx.Model, n *onnx.Node) {
	x, ok := dequantized(n.Input(1), n.Graph())
	y, ok2 := dequantized(n.Input(2), n.Graph())
	if !ok || !ok2 || !x.activation() || !y.activation() || x.dt != y.dt {
		return
	}
	if q, ok := result(n, x.dt, coded.activation); ok {
		finish(n, q, msDomain, "QLinearWhere", nil, n.Input(0), x.codes, x.scale, x.zero, y.codes, y.scale, y.zero, q.scale, q.zero)
	}
}
