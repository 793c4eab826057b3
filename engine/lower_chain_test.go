package engine

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/onnx"
)

// chains writes chains of operators.
type chains struct{ *net }

func (c chains) node(op string, in ...*onnx.Value) *onnx.Value {
	return c.op(op, fmt.Sprintf("%s_%d", strings.ToLower(op), c.r.Uint32()), in)
}

func (c chains) number(x float32) *onnx.Value   { return c.con(onnx.Scalar(x)) }
func (c chains) row(n int64) *onnx.Value        { return c.con(randomFloats(c.r, n)) }
func (c chains) rows(dims ...int64) *onnx.Value { return c.con(randomFloats(c.r, dims...)) }
func (c chains) mean(v *onnx.Value) *onnx.Value { return c.meanAlong(v, -1, 1) }
func (c chains) named(v *onnx.Value, name string) *onnx.Value {
	v.Rename(name)
	return v
}

func (c chains) meanAlong(v *onnx.Value, axis, keep int64) *onnx.Value {
	return c.op("ReduceMean", fmt.Sprintf("mean_%d", c.r.Uint32()), []*onnx.Value{v}, onnx.AttrIs("axes", axis), onnx.AttrI("keepdims", keep))
}

func (c chains) root(squares *onnx.Value) *onnx.Value {
	return c.node("Sqrt", c.node("Add", c.mean(squares), c.number(1e-5)))
}

// norm is the common spelling, without scale and bias.
func (c chains) norm(x *onnx.Value) *onnx.Value {
	d := c.node("Sub", x, c.mean(x))
	return c.node("Div", d, c.named(c.root(c.node("Pow", d, c.number(2))), "root"))
}

// distributed is TensorFlow's spelling.
func (c chains) distributed(x *onnx.Value) *onnx.Value {
	m := c.meanAlong(x, 2, 1)
	d := c.node("Sub", x, m)
	g := c.node("Mul", c.node("Reciprocal", c.root(c.node("Mul", d, d))), c.row(40))
	return c.node("Add", c.node("Mul", x, g), c.node("Sub", c.row(40), c.node("Mul", m, g)))
}

func (c chains) tanhGate(x *onnx.Value, factor float32) *onnx.Value {
	cube := c.node("Pow", x, c.number(3))
	inner := c.node("Add", x, c.node("Mul", cube, c.number(0.044715)))
	return c.node("Add", c.node("Tanh", c.node("Mul", inner, c.number(factor))), c.number(1))
}

func (c chains) erfGate(x *onnx.Value) *onnx.Value {
	return c.node("Add", c.node("Erf", c.named(c.node("Div", x, c.number(math.Sqrt2)), "argument")), c.number(1))
}

// integerProduct multiplies x, quantized, by int8 codes.
func (c chains) integerProduct(x *onnx.Value, scale *onnx.Value) *onnx.Value {
	q := c.Append(onnx.NodeSpec{Op: "DynamicQuantizeLinear", Inputs: []*onnx.Value{x}, Outputs: []string{"q", "q_scale", "q_zero"}})
	acc := c.node("MatMulInteger", q.Output(0), c.con(randomCodes(c.r, onnx.Int8, 40, 24)), q.Output(2))
	cast := c.op("Cast", "cast", []*onnx.Value{acc}, onnx.AttrI("to", int64(onnx.Float32)))
	return c.node("Mul", cast, c.node("Mul", q.Output(1), scale))
}

// rowProduct quantizes each row of x for itself and multiplies it by int8 codes; in blocks, QuantizeLinear takes the scales.
func (c chains) rowProduct(x *onnx.Value, blocks bool) *onnx.Value {
	greatest := c.op("ReduceMax", "greatest", []*onnx.Value{c.node("Abs", x)}, onnx.AttrIs("axes", -1))
	scale := c.node("Div", c.node("Max", greatest, c.number(1e-9)), c.number(127))
	zero := c.con(onnx.Scalar(uint8(128)))
	var codes *onnx.Value
	if blocks {
		zeros := c.op("ConstantOfShape", "zeros", []*onnx.Value{c.node("Shape", scale)}, onnx.AttrT("value", onnx.Of([]uint8{128})))
		codes = c.op("QuantizeLinear", "codes", []*onnx.Value{x, scale, zeros}, onnx.AttrI("axis", -1), onnx.AttrI("block_size", 40))
	} else {
		codes = c.node("QuantizeLinear", c.node("Div", x, scale), c.number(0.5), zero)
	}
	a := c.node("DequantizeLinear", codes, c.number(0.5), zero)
	scales := randomFloats(c.r, 24)
	for j, s := range onnx.Data[float32](scales) {
		onnx.Data[float32](scales)[j] = abs32(s)
	}
	w := c.op("DequantizeLinear", "w", []*onnx.Value{c.con(randomCodes(c.r, onnx.Int8, 40, 24)), c.con(scales), c.con(onnx.Zeros(onnx.Int8, 24))}, onnx.AttrI("axis", 1))
	return c.node("Add", c.node("Mul", c.node("MatMul", a, w), scale), c.row(24))
}

// TestChainsFuse holds the lowering of chains to what it should make of them, and the results to those of the graph as
// written: to the bit where no rounding changes.
func TestChainsFuse(t *testing.T) {
	const exact, close = 0, 2e-6
	for _, c := range []struct {
		name      string
		build     func(c chains) *onnx.Value
		want      string
		tolerance float64 // of the greatest result
	}{
		{"layer norm", func(c chains) *onnx.Value {
			return c.node("Add", c.node("Mul", c.norm(c.x), c.row(40)), c.row(40))
		}, "LayerNormalization", close},
		{"layer norm, rows first and of rank 3", func(c chains) *onnx.Value {
			return c.node("Add", c.rows(1, 1, 40), c.node("Mul", c.rows(1, 40), c.norm(c.x)))
		}, "LayerNormalization", close},
		{"layer norm without scale", func(c chains) *onnx.Value { return c.node("Add", c.norm(c.x), c.row(40)) }, "LayerNormalization", close},
		{"layer norm without scale and bias", func(c chains) *onnx.Value { return c.norm(c.x) }, "LayerNormalization", close},
		{"layer norm, scaled by a matrix", func(c chains) *onnx.Value { return c.node("Mul", c.norm(c.x), c.rows(7, 40)) }, "LayerNormalization Mul", close},
		{"layer norm by reciprocals", func(c chains) *onnx.Value {
			d := c.node("Sub", c.x, c.mean(c.x))
			r := c.node("Div", c.number(1), c.root(c.node("Mul", d, d)))
			return c.node("Add", c.node("Mul", d, c.node("Mul", r, c.row(40))), c.row(40))
		}, "LayerNormalization", close},
		{"layer norm, deviation computed twice", func(c chains) *onnx.Value {
			m := c.mean(c.x)
			d := c.node("Sub", c.x, m)
			return c.node("Div", c.node("Sub", c.x, m), c.root(c.node("Mul", d, d)))
		}, "LayerNormalization", close},
		{"layer norm, distributed", func(c chains) *onnx.Value { return c.distributed(c.x) }, "DistributedNorm", exact},
		{"root mean square", func(c chains) *onnx.Value {
			return c.node("Mul", c.node("Div", c.x, c.root(c.node("Pow", c.x, c.number(2)))), c.row(40))
		}, "SimplifiedLayerNormalization", close},
		{"root mean square and a sum", func(c chains) *onnx.Value {
			n := c.node("Mul", c.x, c.node("Reciprocal", c.root(c.node("Mul", c.x, c.x))))
			return c.node("Add", n, c.row(40))
		}, "Add SimplifiedLayerNormalization", close},
		{"deviation used elsewhere", func(c chains) *onnx.Value {
			d := c.node("Sub", c.x, c.mean(c.x))
			return c.node("Add", c.node("Abs", d), c.node("Div", d, c.root(c.node("Mul", d, d))))
		}, "Abs Add Add Div Mul ReduceMean ReduceMean Sqrt Sub", exact},
		{"mean along another axis", func(c chains) *onnx.Value {
			d := c.node("Sub", c.x, c.meanAlong(c.x, 1, 1))
			return c.node("Div", d, c.node("Sqrt", c.node("Add", c.meanAlong(c.node("Mul", d, d), 1, 1), c.number(1e-5))))
		}, "Add Div Mul ReduceMean ReduceMean Sqrt Sub", exact},
		{"a cube is no variance", func(c chains) *onnx.Value {
			return c.node("Div", c.x, c.root(c.node("Pow", c.node("Abs", c.x), c.number(3))))
		}, "Abs Add Div Pow ReduceMean Sqrt", exact},
		{"root over the deviation", func(c chains) *onnx.Value {
			return c.node("Div", c.root(c.node("Mul", c.x, c.x)), c.x)
		}, "Add Div Mul ReduceMean Sqrt", exact},

		{"gelu", func(c chains) *onnx.Value {
			return c.node("Mul", c.node("Mul", c.x, c.erfGate(c.x)), c.number(0.5))
		}, "Gelu", close},
		{"gelu, half first", func(c chains) *onnx.Value {
			return c.node("Mul", c.node("Mul", c.number(0.5), c.x), c.erfGate(c.x))
		}, "Gelu", close},
		{"gelu by products", func(c chains) *onnx.Value {
			e := c.node("Erf", c.node("Mul", c.number(0.70710677), c.x))
			return c.node("Mul", c.x, c.node("Mul", c.node("Add", c.number(1), e), c.number(0.5)))
		}, "Gelu", close},
		{"gelu by tanh", func(c chains) *onnx.Value {
			return c.node("Mul", c.node("Mul", c.x, c.number(0.5)), c.tanhGate(c.x, 0.7978846))
		}, "Gelu", close},
		{"gelu by tanh and products", func(c chains) *onnx.Value {
			cube := c.node("Mul", c.node("Mul", c.x, c.x), c.x)
			inner := c.node("Add", c.node("Mul", c.number(0.044715), cube), c.x)
			gate := c.node("Add", c.node("Tanh", c.node("Mul", inner, c.number(0.7978846))), c.number(1))
			return c.node("Mul", c.node("Mul", gate, c.x), c.number(0.5))
		}, "Gelu", close},
		{"another factor", func(c chains) *onnx.Value {
			return c.node("Mul", c.node("Mul", c.x, c.number(0.5)), c.tanhGate(c.x, 0.8))
		}, "Add Add Mul Mul Mul Mul Pow Tanh", exact},
		{"gate of another tensor", func(c chains) *onnx.Value {
			return c.node("Mul", c.node("Mul", c.x, c.erfGate(c.node("Neg", c.x))), c.number(0.5))
		}, "Add Div Erf Mul Mul Neg", exact},

		{"bias", func(c chains) *onnx.Value { return c.node("Add", c.row(24), c.node("MatMul", c.x, c.rows(40, 24))) }, "MatMulBias", exact},
		{"bias of rows", func(c chains) *onnx.Value { return c.node("Add", c.node("MatMul", c.x, c.rows(40, 24)), c.rows(7, 1)) }, "Add MatMul", exact},
		{"integer product", func(c chains) *onnx.Value {
			return c.node("Add", c.integerProduct(c.x, c.row(24)), c.row(24))
		}, "DynamicQuantizeLinear MatMulIntegerToFloat", exact},
		{"integer product of one scale", func(c chains) *onnx.Value {
			return c.integerProduct(c.x, c.number(0.01))
		}, "DynamicQuantizeLinear MatMulIntegerToFloat", exact},
		{"product by rows", func(c chains) *onnx.Value { return c.rowProduct(c.x, false) }, "Div MatMulIntegerToFloat QuantizeLinear RowScale", close},
		{
			"product by rows in blocks", func(c chains) *onnx.Value { return c.rowProduct(c.x, true) },
			"ConstantOfShape MatMulIntegerToFloat QuantizeLinear RowScale", close,
		},
		{"product by rows of another tensor", func(c chains) *onnx.Value {
			y := c.rowProduct(c.node("Neg", c.x), false)
			scale := c.Value("greatest").Uses()[0].Node.Output(0).Uses()[0].Node.Output(0)
			return c.node("Mul", c.node("MatMul", y, c.rows(24, 5)), scale)
		}, "Div MatMul MatMulIntegerToFloat Mul Neg QuantizeLinear RowScale", close},
		{"scale of rows without a floor", func(c chains) *onnx.Value {
			return c.node("Div", c.op("ReduceMax", "greatest", []*onnx.Value{c.node("Abs", c.x)}, onnx.AttrIs("axes", -1)), c.number(127))
		}, "Abs Div ReduceMax", exact},
		{"scale of rows", func(c chains) *onnx.Value {
			greatest := c.op("ReduceMax", "greatest", []*onnx.Value{c.node("Abs", c.x)}, onnx.AttrIs("axes", 2))
			return c.node("Div", c.node("Max", c.number(2), greatest), c.number(127))
		}, "RowScale", exact},
		{"integer product, scale by rows", func(c chains) *onnx.Value {
			return c.integerProduct(c.x, c.rows(7, 1))
		}, "Cast DynamicQuantizeLinear MatMulInteger Mul Mul", exact},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNet(2, 7, 40)
			y := c.build(chains{n})
			m := n.model(y)
			low, _, err := lower(m, Options{Semantics: Fused})
			if err != nil {
				t.Fatal(err)
			}
			var ops []string
			for n := range low.Graph.Nodes() {
				ops = append(ops, n.Op)
			}
			slices.Sort(ops)
			if d := cmp.Diff(c.want, strings.Join(ops, " ")); d != "" {
				t.Errorf("operators: %s", d)
			}
			feeds := map[string]*onnx.Tensor{"x": randomFloats(rand.New(rand.NewPCG(1, 2)), 2, 7, 40)}
			got, want := ran(t, compiled(t, m, Options{Semantics: Fused}), feeds, nil)[y.Name()], ran(t, compiled(t, m, Options{}), feeds, nil)[y.Name()]
			if d := cmp.Diff(want.Dims, got.Dims); d != "" {
				t.Fatal(d)
			}
			if c.tolerance == exact {
				if !bytes.Equal(got.Bytes(), want.Bytes()) {
					t.Error("the results are not those of the graph as written")
				}
				return
			}
			greatest, worst := 0.0, 0.0
			for i, w := range onnx.Data[float32](want) {
				greatest = max(greatest, math.Abs(float64(w)))
				worst = max(worst, math.Abs(float64(w)-float64(onnx.Data[float32](got)[i])))
			}
			if !(worst <= c.tolerance*greatest) {
				t.Errorf("the results differ by %g; the greatest is %g", worst, greatest)
			}
		})
	}
}

// TestKeptTensorsOfChains: a chain whose inside is to be tapped stays, with the same bits as in the graph as written.
func TestKeptTensorsOfChains(t *testing.T) {
	n := newNet(2, 7, 40)
	c := chains{n}
	y := c.norm(c.node("Mul", c.node("Mul", c.x, c.erfGate(c.x)), c.number(0.5)))
	product := c.integerProduct(y, c.row(24))
	m := n.model(product, c.rowProduct(c.x, false))
	feeds := map[string]*onnx.Tensor{"x": randomFloats(rand.New(rand.NewPCG(3, 4)), 2, 7, 40)}
	keep := []string{"root", "argument", "cast", "greatest"}
	p := compiled(t, m, Options{Semantics: Fused, Keep: keep})
	want := ran(t, compiled(t, m, Options{}), feeds, &RunOptions{Outputs: keep})
	got := ran(t, p, feeds, &RunOptions{Outputs: keep})
	for _, name := range keep {
		if compiled(t, m, Options{Semantics: Fused}).Has(name) {
			t.Errorf("%s was meant to be fused away where nobody asks for it", name)
		}
		if got[name] == nil || !bytes.Equal(got[name].Bytes(), want[name].Bytes()) {
			t.Errorf("%s is not what the graph as written gives", name)
		}
	}
}
