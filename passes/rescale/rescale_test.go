package rescale

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
)

// A builder writes a test graph so that it reads like the graph.
type builder struct {
	m      *onnx.Model
	g      *onnx.Graph
	random *rand.Rand
}

func build(f func(b *builder)) *onnx.Model {
	g := onnx.NewGraph("test")
	b := &builder{&onnx.Model{IRVersion: 10, Opsets: []onnx.Opset{{Version: 23}}, Graph: g}, g, rand.New(rand.NewPCG(1, 2))}
	f(b)
	if err := onnx.InferShapes(b.m, onnx.InferOptions{}); err != nil {
		panic(err)
	}
	return b.m
}

func (b *builder) input(dims ...int64) *onnx.Value {
	var shape []onnx.Dim
	for _, d := range dims {
		shape = append(shape, onnx.Fixed(d))
	}
	return b.g.AddInput(b.g.FreshName("input"), onnx.TensorOf(onnx.Float32, shape...))
}

// weights adds a constant of numbers around 1 in either sign.
func (b *builder) weights(dims ...int64) *onnx.Value {
	x := make([]float32, onnx.NumElements(dims))
	for i := range x {
		x[i] = float32(b.random.NormFloat64()) + 0.5
	}
	return b.g.AddConst(b.g.FreshName("w"), onnx.Of(x, append([]int64{}, dims...)...))
}

func (b *builder) ints(x ...int64) *onnx.Value {
	return b.g.AddConst(b.g.FreshName("i"), onnx.Of(x, int64(len(x))))
}

func (b *builder) op(op string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	out := b.g.FreshName(op)
	return b.g.Append(onnx.NodeSpec{Op: op, Name: out, Inputs: in, Outputs: []string{out}, Attrs: attrs}).Output(0)
}

func in(v ...*onnx.Value) []*onnx.Value { return v }

// outputs runs a model on numbers that depend on the seed.
func outputs(t testing.TB, m *onnx.Model, seed uint64) map[string][]float32 {
	t.Helper()
	p, err := engine.Compile(m, engine.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	feeds := map[string]*onnx.Tensor{}
	for _, v := range m.Graph.Feeds() {
		var dims []int64
		for _, d := range v.Type.Shape {
			dims = append(dims, d.Size)
		}
		if v.Type.Elem == onnx.Bool {
			feeds[v.Name()] = onnx.Scalar(seed%2 == 0)
			continue
		}
		x := make([]float32, onnx.NumElements(dims))
		for i := range x {
			x[i] = float32(random.NormFloat64())
		}
		feeds[v.Name()] = onnx.Of(x, dims...)
	}
	out, err := p.Run(context.Background(), feeds, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]float32{}
	for name, y := range out {
		all[name] = slices.Clone(onnx.Data[float32](y))
	}
	return all
}

// same fails unless all outputs agree to 1e-4 of their size.
func same(t interface{ Errorf(string, ...any) }, what string, want, got map[string][]float32) {
	for name, a := range want {
		noise, energy := 0.0, 0.0
		for i, x := range a {
			d := float64(got[name][i]) - float64(x)
			noise, energy = noise+d*d, energy+float64(x)*float64(x)
		}
		if !(math.Sqrt(noise) <= 1e-4*math.Sqrt(energy)) {
			t.Errorf("%s: output %s is off by %g of its size", what, name, math.Sqrt(noise/energy))
		}
	}
}

// randomScales are between 1/8 and 8, equal for tied channels.
func randomScales(s *Scaling, random *rand.Rand) []float32 {
	x := make([]float32, s.Channels)
	for i := range x {
		x[i] = float32(math.Exp2(6*random.Float64() - 3))
	}
	for i := range x {
		x[i] = x[s.Tied(i)]
	}
	return x
}

// edits lists what a scaling does to constants: "OP*INPUT" is multiplied, "OP/INPUT" divided.
func edits(s *Scaling) string {
	var all []string
	s.Producers(func(n *onnx.Node, input int, _ []int) { all = append(all, fmt.Sprintf("%s/%d", n.Op, input)) })
	s.Absorbers(func(n *onnx.Node, input int, _ []int) { all = append(all, fmt.Sprintf("%s*%d", n.Op, input)) })
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestFind(t *testing.T) {
	product := func(b *builder, v *onnx.Value, k, n int64) *onnx.Value {
		return b.op("MatMul", in(v, b.weights(k, n)))
	}
	for _, c := range []struct {
		name string
		axis int
		make func(b *builder) *onnx.Value // the tensor to scale
		want string                       // "": it cannot be
	}{
		{"LayerNormalization, several products", -1, func(b *builder) *onnx.Value {
			v := b.op("LayerNormalization", in(b.input(2, 8), b.weights(8), b.weights(8)))
			b.g.AddOutput(product(b, v, 8, 3))
			b.g.AddOutput(b.op("Gemm", in(v, b.weights(5, 8), b.weights(5)), onnx.AttrI("transB", 1)))
			return v
		}, "Gemm*1 LayerNormalization/1 LayerNormalization/2 MatMul*1"},
		{"RMSNormalization", -1, func(b *builder) *onnx.Value {
			v := b.op("RMSNormalization", in(b.input(2, 8), b.weights(8)))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, "MatMul*1 RMSNormalization/1"},
		{"gain and shift of a chain", -1, func(b *builder) *onnx.Value {
			x := b.op("Tanh", in(b.input(2, 8)))
			v := b.op("Add", in(b.weights(8), b.op("Mul", in(x, b.weights(8)))))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, "Add/0 MatMul*1 Mul/1"},
		{"columns of a product and their bias", -1, func(b *builder) *onnx.Value {
			v := b.op("Relu", in(b.op("Add", in(product(b, b.input(2, 4), 4, 8), b.weights(8)))))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, "Add/1 MatMul*1 MatMul/1"},
		{"columns of a Gemm", -1, func(b *builder) *onnx.Value {
			v := b.op("Gemm", in(b.input(2, 4), b.weights(8, 4), b.weights(8)), onnx.AttrI("transB", 1))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, "Gemm/1 Gemm/2 MatMul*1"},
		{"a gate: through the factor that is linear", -1, func(b *builder) *onnx.Value {
			x := b.input(2, 4)
			gate := product(b, x, 4, 8)
			gate = b.op("Mul", in(gate, b.op("Sigmoid", in(gate))))
			v := b.op("Mul", in(gate, product(b, x, 4, 8)))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, "MatMul*1 MatMul/1"},
		{"Conv, Relu, MaxPool, grouped Conv", -3, func(b *builder) *onnx.Value {
			v := b.op("Conv", in(b.input(1, 3, 6, 6), b.weights(8, 3, 3, 3), b.weights(8)))
			v = b.op("MaxPool", in(b.op("Relu", in(v))), onnx.AttrIs("kernel_shape", 2, 2))
			b.g.AddOutput(b.op("Conv", in(v, b.weights(4, 4, 1, 1)), onnx.AttrI("group", 2)))
			return v
		}, "Conv*1 Conv/1 Conv/2"},
		{"depthwise Conv and the mean of its channels", -3, func(b *builder) *onnx.Value {
			v := b.op("Conv", in(b.input(1, 8, 5, 5), b.weights(8, 1, 3, 3)), onnx.AttrI("group", 8))
			b.g.AddOutput(product(b, b.op("Flatten", in(b.op("GlobalAveragePool", in(v)))), 8, 3))
			return v
		}, "Conv/1 MatMul*1"},
		{"values of attention, whose heads are repeated", -1, func(b *builder) *onnx.Value {
			x, a := b.input(1, 5, 6), b.op("Softmax", in(b.input(1, 4, 5, 5)))
			v := b.op("Unsqueeze", in(b.op("Reshape", in(product(b, x, 6, 6), b.ints(1, 5, 2, 3))), b.ints(3)))
			v = b.op("Reshape", in(b.op("Tile", in(v, b.ints(1, 1, 1, 2, 1))), b.ints(1, 5, 4, 3)))
			v = b.op("MatMul", in(a, b.op("Transpose", in(v), onnx.AttrIs("perm", 0, 2, 1, 3))))
			v = b.op("Reshape", in(b.op("Transpose", in(v), onnx.AttrIs("perm", 0, 2, 1, 3)), b.ints(1, 5, 12)))
			b.g.AddOutput(product(b, v, 12, 3))
			return v
		}, "MatMul*1 MatMul/1"},
		{"a product inside a branch", -1, func(b *builder) *onnx.Value {
			v := b.op("LayerNormalization", in(b.input(2, 8), b.weights(8)))
			condition := b.g.AddInput("condition", onnx.ScalarOf(onnx.Bool))
			branch := func(name, op string) *onnx.Attribute {
				s := &builder{b.m, onnx.NewGraph(name), b.random}
				s.g.AddOutput(s.op(op, in(product(s, v, 8, 3))))
				return onnx.AttrG(name, s.g)
			}
			b.g.AddOutput(b.op("If", in(condition), branch("then_branch", "Relu"), branch("else_branch", "Abs")))
			return v
		}, "LayerNormalization/1 MatMul*1 MatMul*1"},
		{"residual sum of two products", -1, func(b *builder) *onnx.Value {
			x := b.input(2, 4)
			v := b.op("Add", in(product(b, x, 4, 8), product(b, x, 4, 8)))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, "MatMul*1 MatMul/1 MatMul/1"},

		{"a graph output", -1, func(b *builder) *onnx.Value {
			v := product(b, b.input(2, 4), 4, 8)
			b.g.AddOutput(v)
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, ""},
		{"an output of a branch", -1, func(b *builder) *onnx.Value {
			condition := b.g.AddInput("condition", onnx.ScalarOf(onnx.Bool))
			branch := func(name string) *onnx.Attribute {
				s := &builder{b.m, onnx.NewGraph(name), b.random}
				s.g.AddOutput(s.op("Relu", in(s.weights(2, 8))))
				return onnx.AttrG(name, s.g)
			}
			v := b.op("If", in(condition), branch("then_branch"), branch("else_branch"))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, ""},
		{"a taker that is not linear", -1, func(b *builder) *onnx.Value {
			v := product(b, b.input(2, 4), 4, 8)
			b.g.AddOutput(product(b, v, 8, 3))
			b.g.AddOutput(b.op("Softmax", in(v)))
			return v
		}, ""},
		{"a square", -1, func(b *builder) *onnx.Value {
			x := product(b, b.input(2, 4), 4, 8)
			v := b.op("Mul", in(x, x))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, ""},
		{"both factors from one tensor", -1, func(b *builder) *onnx.Value {
			x := product(b, b.input(2, 4), 4, 8)
			v := b.op("Mul", in(b.op("Relu", in(x)), b.op("Abs", in(x))))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, ""},
		{"an input", -1, func(b *builder) *onnx.Value {
			v := b.input(2, 8)
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, ""},
		{"large weights that others share", -1, func(b *builder) *onnx.Value {
			w := b.weights(8, 1<<12)
			v := b.op("LayerNormalization", in(b.input(2, 8), b.weights(8)))
			b.g.AddOutput(b.op("MatMul", in(v, w)))
			b.g.AddOutput(b.op("Gather", in(w, b.ints(1))))
			return v
		}, ""},
		{"a bias for each element of the output", -1, func(b *builder) *onnx.Value {
			v := b.op("Add", in(product(b, b.input(2, 4), 4, 8), b.weights(1)))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, ""},
		{"a row that broadcasts over the channels", -1, func(b *builder) *onnx.Value {
			x := b.input(2, 4)
			v := b.op("Add", in(product(b, x, 4, 8), product(b, x, 4, 1)))
			b.g.AddOutput(product(b, v, 8, 3))
			return v
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v *onnx.Value
			m := build(func(b *builder) { v = c.make(b) })
			s := Find(v, c.axis)
			if s == nil {
				if c.want != "" {
					t.Fatal("it cannot be scaled")
				}
				return
			}
			if got := edits(s); got != c.want {
				t.Fatalf("scales %s, want %s", got, c.want)
			}
			for seed := range uint64(2) {
				before := m.Clone()
				scales := randomScales(s, rand.New(rand.NewPCG(seed, 1)))
				undo, err := s.Apply(scales)
				if err != nil {
					t.Fatal(err)
				}
				same(t, c.name, outputs(t, before, seed), outputs(t, m, seed))
				undo()
				if a, b := before.Text(), m.Text(); a != b {
					t.Errorf("undone it is not what it was:\n%s\n%s", a, b)
				}
			}
		})
	}
}

// Small shared constants are copied for the node that scales them; the others keep theirs.
func TestSharedConstant(t *testing.T) {
	var v *onnx.Value
	m := build(func(b *builder) {
		gain := b.weights(8)
		v = b.op("LayerNormalization", in(b.input(2, 8), gain))
		b.g.AddOutput(b.op("MatMul", in(v, b.weights(8, 3))))
		b.g.AddOutput(b.op("Mul", in(b.input(2, 8), gain)))
	})
	before := m.Clone()
	s := Find(v, -1)
	if _, err := s.Apply(randomScales(s, rand.New(rand.NewPCG(1, 1)))); err != nil {
		t.Fatal(err)
	}
	same(t, "shared gain", outputs(t, before, 1), outputs(t, m, 1))
}

func TestApplyRefuses(t *testing.T) {
	var v *onnx.Value
	m := build(func(b *builder) {
		v = b.op("LayerNormalization", in(b.input(2, 2), b.weights(2)))
		b.g.AddOutput(b.op("MatMul", in(v, b.weights(2, 3))))
	})
	s, text := Find(v, -1), m.Text()
	for _, scales := range [][]float32{{1}, {1, 0}, {1, -1}, {1, float32(math.NaN())}, {1, float32(math.Inf(1))}, {1, 1e-45}} {
		if _, err := s.Apply(scales); err == nil {
			t.Errorf("scaled by %v", scales)
		}
	}
	if m.Text() != text {
		t.Error("a refused scaling changed the model")
	}
}

// Whatever Find allows in random graphs leaves what the model computes.
func TestEquivalence(t *testing.T) {
	found := 0
	property := func(rt *rapid.T) {
		var all []*onnx.Value
		m := build(func(b *builder) {
			b.random = rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
			pick := func() *onnx.Value { return all[rapid.IntRange(0, len(all)-1).Draw(rt, "operand")] }
			all = append(all, b.input(1, 4, 6, 6))
			for range rapid.IntRange(3, 12).Draw(rt, "nodes") {
				x := pick()
				var y *onnx.Value
				switch rapid.IntRange(0, 13).Draw(rt, "op") {
				case 0:
					y = b.op("Conv", in(x, b.weights(4, 4, 1, 1), b.weights(4)))
				case 1:
					y = b.op("Conv", in(x, b.weights(4, 1, 3, 3)), onnx.AttrI("group", 4), onnx.AttrIs("pads", 1, 1, 1, 1))
				case 2:
					y = b.op("MatMul", in(x, b.weights(6, 6)))
				case 3:
					y = b.op("LayerNormalization", in(x, b.weights(6), b.weights(6)))
				case 4:
					y = b.op("Mul", in(x, b.weights(4, 1, 1)))
				case 5:
					y = b.op("Div", in(x, b.weights(6)))
				case 6:
					y = b.op("Add", in(b.weights(4, 6, 6), x))
				case 7:
					y = b.op("Mul", in(x, pick()))
				case 8:
					y = b.op("Add", in(x, pick()))
				case 9:
					y = b.op("Relu", in(x))
				case 10:
					y = b.op("Transpose", in(x), onnx.AttrIs("perm", 0, 1, 3, 2))
				case 11:
					y = b.op("MatMul", in(x, pick()))
				case 12:
					y = b.op("Reshape", in(b.op("Reshape", in(x, b.ints(1, 4, 36))), b.ints(1, 4, 6, 6)))
				case 13:
					y = b.op("MaxPool", in(x), onnx.AttrIs("kernel_shape", 3, 3), onnx.AttrIs("pads", 1, 1, 1, 1))
				}
				all = append(all, y)
			}
			for _, v := range all[1:] {
				if len(v.Uses()) == 0 {
					b.g.AddOutput(v)
				}
			}
		})
		for _, v := range all {
			for _, axis := range []int{-1, -2, -3} {
				s := Find(v, axis)
				if s == nil {
					continue
				}
				found++
				before := m.Clone()
				undo, err := s.Apply(randomScales(s, rand.New(rand.NewPCG(1, 1))))
				if err != nil {
					continue
				}
				a, b := outputs(t, before, 3), outputs(t, m, 3)
				if slices.ContainsFunc(slices.Collect(valuesOf(a)), func(x float32) bool { return !(x*x < 1e12) }) {
					undo() // deep products of sums overflow: nothing to compare
					continue
				}
				same(rt, fmt.Sprintf("%s axis %d, %s", v, axis, edits(s)), a, b)
				undo()
			}
		}
	}
	for range 3 { // of a hundred random graphs some have only a handful
		rapid.Check(t, property)
	}
	if found < 20 {
		t.Errorf("only %d scalings were tried", found)
	}
}

func valuesOf(all map[string][]float32) func(yield func(float32) bool) {
	return func(yield func(float32) bool) {
		for _, x := range all {
			for _, v := range x {
				if !yield(v) {
					return
				}
			}
		}
	}
}
