package prepare

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

func (b *builder) halfInput(t onnx.DataType, name string, dims ...int64) *onnx.Value {
	v := b.input(name, dims...)
	v.Type.Elem = t
	return v
}

func (b *builder) halfs(t onnx.DataType, name string, dims ...int64) *onnx.Value {
	v := b.floats(name, dims...)
	half := Narrowed(v.Const(), t)
	v.SetConst(half)
	return v
}

func (b *builder) output(v *onnx.Value, t onnx.DataType, dims ...onnx.Dim) {
	v.Type = onnx.TensorOf(t, dims...)
	b.g.AddOutput(v)
}

func to(t onnx.DataType) *onnx.Attribute { return onnx.AttrI("to", int64(t)) }

// agrees reports whether types that are inferred anew from inputs and outputs contradict nothing.
func (b *builder) agrees() {
	b.t.Helper()
	m := b.m.Clone()
	for g := range rewrite.Graphs(m) {
		g.DropInnerTypes()
	}
	if err := onnx.InferShapes(m, onnx.InferOptions{Strict: true}); err != nil {
		b.t.Error(err)
	}
}

func TestWidenHalves(t *testing.T) {
	const half = onnx.Float16
	for _, c := range []struct {
		name  string
		build func(b *builder)
		want  string
	}{
		{
			"inputs and outputs keep their types", func(b *builder) {
				h := b.op("MatMul", "h", in(b.halfInput(half, "x", 2, 3), b.halfs(half, "w", 3, 4)))
				b.output(h, half, onnx.Fixed(2), onnx.Fixed(4))
				b.output(b.op("Relu", "y", in(h)), half, onnx.Fixed(2), onnx.Fixed(4))
			},
			"x_f32=Cast(x) h_f32=MatMul(x_f32,w) h=Cast(h_f32) y_f32=Relu(h_f32) y=Cast(y_f32)",
		},
		{
			"islands", func(b *builder) {
				h := b.op("Cast", "h", in(b.input("x", 2)), to(half))
				s := b.op("Cast", "s", in(b.op("Add", "a", in(h, b.halfs(half, "c", 2)))), to(onnx.Float32))
				r := b.op("Cast", "r", in(b.op("Exp", "e", in(s))), to(half))
				b.output(b.op("Cast", "y", in(b.op("Neg", "n", in(r))), to(onnx.Float32)), onnx.Float32, onnx.Fixed(2))
			},
			"a=Add(x,c) e=Exp(a) y=Neg(e)",
		},
		{
			"other domains", func(b *builder) {
				b.m.SetOpset("custom", 1)
				c := b.halfs(half, "c", 2)
				x := b.op("Add", "a", in(b.halfInput(half, "x", 2), c))
				n := b.g.Append(onnx.NodeSpec{Op: "Magic", Domain: "custom", Inputs: in(x, c), Outputs: []string{"m", "unknown"}})
				n.Output(0).Type = onnx.TensorOf(half, onnx.Fixed(2))
				b.output(b.op("Mul", "y", in(n.Output(0), c)), half, onnx.Fixed(2))
				// Of what nobody knows, the type might be half: what it meets stays as it is.
				b.g.AddOutput(b.op("Mul", "z", in(n.Output(1), c)))
			},
			"x_f32=Cast(x) a=Add(x_f32,c_f32) a_f16=Cast(a) m,unknown=Magic(a_f16,c) m_f32=Cast(m) y_f32=Mul(m_f32,c_f32) y=Cast(y_f32) z=Mul(unknown,c)",
		},
		{
			"functions", func(b *builder) {
				b.m.SetOpset("local", 1)
				f := onnx.NewGraph("f")
				f.AddOutput(f.Append(onnx.NodeSpec{Op: "Neg", Inputs: in(f.AddInput("p", nil)), Outputs: []string{"q"}}).Output(0))
				b.m.Functions = []*onnx.Function{{Name: "Negated", Domain: "local", Opsets: b.m.Opsets[:1], Body: f}}
				x := b.op("Abs", "a", in(b.halfInput(half, "x", 2)))
				n := b.g.Append(onnx.NodeSpec{Op: "Negated", Domain: "local", Inputs: in(x), Outputs: []string{"y"}})
				b.output(n.Output(0), half, onnx.Fixed(2))
			},
			"x_f32=Cast(x) a=Abs(x_f32) a_f16=Cast(a) y=Negated(a_f16)",
		},
		{
			"sequences", func(b *builder) {
				a := b.op("Abs", "a", in(b.halfInput(half, "x", 2)))
				s := b.op("SequenceConstruct", "s", in(a, a))
				b.output(b.op("Neg", "y", in(b.op("SequenceAt", "e", in(s, b.ints("i", 0))))), half, onnx.Fixed(2))
			},
			"x_f32=Cast(x) a=Abs(x_f32) a_f16=Cast(a) s=SequenceConstruct(a_f16,a_f16) e=SequenceAt(s,i) e_f32=Cast(e) y_f32=Neg(e_f32) y=Cast(y_f32)",
		},
		{
			"digits", func(b *builder) {
				b.output(b.op("Cast", "y", in(b.op("Abs", "a", in(b.halfInput(half, "x", 2)))), to(onnx.String)), onnx.String, onnx.Fixed(2))
			},
			"x_f32=Cast(x) a=Abs(x_f32) a_f16=Cast(a) y=Cast(a_f16)",
		},
		{
			"attributes", func(b *builder) {
				s := b.op("ConstantOfShape", "c", in(b.ints("shape", 2, 2)), onnx.AttrT("value", Narrowed(onnx.Of([]float32{3}), half)))
				e := b.op("EyeLike", "e", in(b.input("x", 2, 2)), onnx.AttrI("dtype", int64(half)))
				e.Type = onnx.TensorOf(half, onnx.Fixed(2), onnx.Fixed(2))
				l := b.op("CastLike", "l", in(b.input("z", 2, 2), e))
				b.output(b.op("Sum", "y", in(s, e, l)), half, onnx.Fixed(2), onnx.Fixed(2))
			},
			"c=ConstantOfShape(shape) e=EyeLike(x) l=CastLike(z,e) y_f32=Sum(c,e,l) y=Cast(y_f32)",
		},
		{
			"handed on", func(b *builder) {
				x := b.halfInput(half, "x", 2)
				b.g.AddOutput(x)
				c := b.halfs(half, "c", 2)
				b.g.AddOutput(c)
				b.output(b.op("Shape", "y", in(x)), onnx.Int64, onnx.Fixed(1))
			},
			"x_f32=Cast(x) y=Shape(x_f32)",
		},
		{
			"bfloat16", func(b *builder) {
				a := b.op("Cast", "a", in(b.halfInput(onnx.BFloat16, "x", 2)), to(half))
				b.output(b.op("Add", "y", in(a, b.halfs(half, "c", 2))), half, onnx.Fixed(2))
			},
			"x_f32=Cast(x) y_f32=Add(x_f32,c) y=Cast(y_f32)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, 18)
			c.build(b)
			ends := func() (s []string) {
				for _, v := range slices.Concat(b.g.Feeds(), b.g.Outputs()) {
					s = append(s, v.Name()+" "+v.Type.String())
				}
				return s
			}
			before := ends()
			expect(t, b.run(WidenHalves, DropNoOps), c.want)
			if d := cmp.Diff(before, ends()); d != "" {
				t.Error(d)
			}
			b.agrees()
		})
	}
}

// Inputs and outputs of branches and bodies are widened with the nodes that they belong to, and kept with those that are kept.
func TestWidenHalvesInSubgraphs(t *testing.T) {
	const half = onnx.Float16
	b := build(t, 18)
	b.m.SetOpset("custom", 1)
	x := b.op("Abs", "a", in(b.halfInput(half, "x", 2)))
	c := b.halfs(half, "c", 2)
	cond := b.g.AddInput("cond", onnx.ScalarOf(onnx.Bool))
	graph := func(name string, fill func(b *builder) *onnx.Value) *onnx.Graph {
		inner := &builder{t, b.m, onnx.NewGraph(name)}
		inner.g.AddOutput(fill(inner))
		return inner.g
	}
	y := b.op("If", "y", in(cond),
		onnx.AttrG("then_branch", graph("then", func(b *builder) *onnx.Value {
			s := b.op("ConstantOfShape", "s", in(b.ints("shape", 2)), onnx.AttrT("value", Narrowed(onnx.Of([]float32{3}), half)))
			return b.op("Add", "p", in(b.op("Mul", "xc", in(x, c)), s))
		})),
		onnx.AttrG("else_branch", graph("else", func(*builder) *onnx.Value { return x })))
	body := graph("body", func(b *builder) *onnx.Value {
		b.g.AddInput("i", onnx.ScalarOf(onnx.Int64))
		b.g.AddOutput(b.op("Identity", "on", in(b.g.AddInput("go", onnx.ScalarOf(onnx.Bool)))))
		return b.op("Mul", "next", in(b.g.AddInput("state", onnx.TensorOf(half, onnx.Fixed(2))), c))
	})
	z := b.op("Loop", "z", in(b.g.AddConst("n", onnx.Scalar(int64(3))), nil, y), onnx.AttrG("body", body))
	kept := graph("kept", func(b *builder) *onnx.Value {
		return b.op("Neg", "k", in(b.op("Add", "ac", in(b.g.AddInput("v", onnx.TensorOf(half, onnx.Fixed(2))), x))))
	})
	n := b.g.Append(onnx.NodeSpec{Op: "Map", Domain: "custom", Inputs: in(z), Outputs: []string{"m"}, Attrs: []*onnx.Attribute{onnx.AttrG("body", kept)}})
	b.output(n.Output(0), half, onnx.Fixed(2))

	expect(t, b.run(WidenHalves), "x_f32=Cast(x) a=Abs(x_f32) y=If(cond) z=Loop(n,_,y) z_f16=Cast(z) m=Map(z_f16)")
	b.agrees()
	subgraphs := map[string]string{}
	for g := range rewrite.Graphs(b.m) {
		if g.Owner() != nil {
			subgraphs[g.Name] = line(g)
			for _, v := range g.Outputs() {
				subgraphs[g.Name] += " → " + v.Name() + " " + rewrite.Elem(v).String()
			}
		}
	}
	if d := cmp.Diff(map[string]string{
		"then": "s=ConstantOfShape(shape) xc=Mul(a,c) p=Add(xc,s) → p f32",
		"else": " → a f32",
		"body": "on=Identity(go) next=Mul(state,c) → on bool → next f32",
		"kept": "v_f32=Cast(v) ac=Add(v_f32,a) k=Neg(ac) k_f16=Cast(k) → k_f16 f16",
	}, subgraphs); d != "" {
		t.Error(d)
	}
}

// The trace leads from the tensors of the model to those that are computed now: the layers of reports are found by it.
func TestWidenHalvesIsTraced(t *testing.T) {
	b := build(t, 18)
	y := b.op("Abs", "y", in(b.op("Neg", "n", in(b.halfInput(onnx.Float16, "x", 2)))))
	b.output(y, onnx.Float16, onnx.Fixed(2))
	c := &rewrite.Context{Trace: rewrite.NewTrace(b.m)}
	if err := (rewrite.Pipeline{InferShapes, WidenHalves}).Run(c, b.m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"x": "x_f32", "n": "n", "y": "y_f32"} {
		if v := c.Trace.Value(name); v == nil || v.Name() != want || rewrite.Elem(v) != onnx.Float32 {
			t.Errorf("%s is %v now", name, v)
		}
	}
}

func TestNarrowed(t *testing.T) {
	inf, negativeZero := float32(math.Inf(1)), math.Float32frombits(1<<31)
	for _, c := range []struct {
		x            float32
		half, bfloat bool
	}{
		{1, true, true},
		{negativeZero, true, true},
		{inf, true, true},
		{65504, true, false},
		{65536, false, true},
		{1.0 / 3, false, false},
		{1 + 1.0/1024, true, false},
		{math.SmallestNonzeroFloat32, false, false},
		{1.0 / (1 << 24), true, true}, // the smallest float16
		{1.0 / (1 << 25), false, true},
	} {
		x := onnx.Of([]float32{1, c.x}, 2, 1)
		for to, want := range map[onnx.DataType]bool{onnx.Float16: c.half, onnx.BFloat16: c.bfloat} {
			n := Narrowed(x, to)
			if (n != nil) != want {
				t.Errorf("%v in %s: %v, want %v", c.x, to, n != nil, want)
			}
			if n == nil {
				continue
			}
			if y, err := n.Float32s(); err != nil || n.Type != to || !slices.Equal(n.Dims, x.Dims) || math.Float32bits(y[1]) != math.Float32bits(c.x) {
				t.Errorf("%v in %s: %v %v", c.x, to, y, err)
			}
		}
	}
}
