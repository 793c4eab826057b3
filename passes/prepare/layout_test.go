package prepare

import (
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

func TestFoldLayouts(t *testing.T) {
	for _, c := range []struct {
		op    string
		args  func(b *builder) []*onnx.Value
		attrs []*onnx.Attribute
		dims  []int64
		data  []float32 // nil: in order
	}{
		{"Reshape", func(b *builder) []*onnx.Value { return in(b.floats("w", 2, 3), b.ints("s", 3, -1)) }, nil, []int64{3, 2}, nil},
		{"Flatten", func(b *builder) []*onnx.Value { return in(b.floats("w", 2, 3, 1)) }, nil, []int64{2, 3}, nil},
		{"Unsqueeze", func(b *builder) []*onnx.Value { return in(b.floats("w", 2, 3), b.ints("a", 0, -1)) }, nil, []int64{1, 2, 3, 1}, nil},
		{"Squeeze", func(b *builder) []*onnx.Value { return in(b.floats("w", 1, 6, 1), b.ints("a", 0)) }, nil, []int64{6, 1}, nil},
		{"Transpose", func(b *builder) []*onnx.Value { return in(b.floats("w", 2, 3)) }, nil, []int64{3, 2}, []float32{1, 2.5, 1.5, 3, 2, 3.5}},
		{
			"Transpose", func(b *builder) []*onnx.Value { return in(b.floats("w", 1, 2, 3)) },
			[]*onnx.Attribute{onnx.AttrIs("perm", 1, 0, 2)},
			[]int64{2, 1, 3},
			nil,
		},
		{"Identity", func(b *builder) []*onnx.Value { return in(b.floats("w", 2, 3)) }, nil, []int64{2, 3}, nil},
		{
			"Slice", func(b *builder) []*onnx.Value {
				return in(b.floats("w", 2, 3), b.ints("s", -1, 1), b.ints("e", -9, 99), b.ints("a", 0, -1), b.ints("t", -1, 1))
			}, nil,
			[]int64{2, 2},
			[]float32{3, 3.5, 1.5, 2},
		},
		{"Gather", func(b *builder) []*onnx.Value { return in(b.floats("w", 3, 2), b.ints("i", -1, 0, 0)) }, nil, []int64{3, 2}, []float32{3, 3.5, 1, 1.5, 1, 1.5}},
		{
			"Gather", func(b *builder) []*onnx.Value {
				return in(b.floats("w", 2, 3), b.g.AddConst("i", onnx.Scalar(int64(2))))
			},
			[]*onnx.Attribute{onnx.AttrI("axis", 1)},
			[]int64{2},
			[]float32{2, 3.5},
		},
		{"Expand", func(b *builder) []*onnx.Value { return in(b.floats("w", 2, 1), b.ints("s", 2, 1, 3)) }, nil, []int64{2, 2, 3}, []float32{1, 1, 1, 1.5, 1.5, 1.5, 1, 1, 1, 1.5, 1.5, 1.5}},
		{"Tile", func(b *builder) []*onnx.Value { return in(b.floats("w", 1, 2), b.ints("r", 2, 2)) }, nil, []int64{2, 4}, []float32{1, 1.5, 1, 1.5, 1, 1.5, 1, 1.5}},
		{
			"Concat", func(b *builder) []*onnx.Value { return in(b.floats("v", 2, 1), b.floats("w", 2, 2)) },
			[]*onnx.Attribute{onnx.AttrI("axis", -1)},
			[]int64{2, 3},
			[]float32{1, 1, 1.5, 1.5, 2, 2.5},
		},
	} {
		t.Run(c.op, func(t *testing.T) {
			b := build(t, 13)
			k := b.op(c.op, "k", c.args(b), c.attrs...)
			b.g.AddOutput(b.op("Relu", "y", in(k)))
			expect(t, b.run(FoldLayouts), "y=Relu(k)")
			v := b.g.Value("k").Const()
			if v == nil || !slices.Equal(v.Dims, c.dims) {
				t.Fatalf("k is %v", v)
			}
			if c.data == nil {
				c.data = []float32{1, 1.5, 2, 2.5, 3, 3.5}
			}
			if got := onnx.Data[float32](v); !slices.Equal(got, c.data) {
				t.Errorf("k holds %v", got)
			}
		})
	}
	for _, c := range []struct{ op, reason string }{
		{"Slice", "computed positions"}, {"Gather", "a row that is not there"}, {"Tile", "of another rank"}, {"Expand", "too large"},
	} {
		t.Run(c.op+" "+c.reason, func(t *testing.T) {
			b := build(t, 13)
			w := b.floats("w", 2, 3)
			args := map[string][]*onnx.Value{
				"Slice":  in(w, b.op("Shape", "s", in(b.input("x", -1))), b.ints("e", 1)),
				"Gather": in(w, b.ints("i", 2)),
				"Tile":   in(w, b.ints("r", 2)),
				"Expand": in(b.floats("one", 1), b.ints("to", smallTensor+1)),
			}[c.op]
			b.g.AddOutput(b.op("Relu", "y", in(b.op(c.op, "k", args))))
			if got := b.run(FoldLayouts); !strings.Contains(got, "k="+c.op) {
				t.Errorf("folded: %s", got)
			}
		})
	}
}

// Files must not grow.
func TestFoldLayoutsOfBigConstants(t *testing.T) {
	axis0 := onnx.AttrI("axis", 0)
	for _, c := range []struct {
		name, want string
		build      func(b *builder, w *onnx.Value)
	}{
		{"used as it is too", "k=Transpose(w) y=MatMul(w,k)", func(b *builder, w *onnx.Value) {
			b.g.AddOutput(b.op("MatMul", "y", in(w, b.op("Transpose", "k", in(w)))))
		}},
		{"in two ways", "l=Slice(w,s,e,a,t) k=Transpose(w) y=MatMul(l,k)", func(b *builder, w *onnx.Value) {
			l := b.op("Slice", "l", in(w, b.ints("s", -1), b.ints("e", -99), b.ints("a", 0), b.ints("t", -1)))
			b.g.AddOutput(b.op("MatMul", "y", in(l, b.op("Transpose", "k", in(w)))))
		}},
		{"twice in one way", "y=MatMul(k,k)", func(b *builder, w *onnx.Value) {
			b.g.AddOutput(b.op("MatMul", "y", in(b.op("Transpose", "k", in(w)), b.op("Transpose", "l", in(w)))))
		}},
		{"a graph output", "k=Transpose(w) y=Relu(k)", func(b *builder, w *onnx.Value) {
			k := b.op("Transpose", "k", in(w))
			b.g.AddOutput(k)
			b.g.AddOutput(b.op("Relu", "y", in(k)))
		}},
		// What torch makes of the gates of an LSTM, which it keeps in another order than ONNX.
		{"put together anew", "y=Relu(gates)", func(b *builder, w *onnx.Value) {
			part := func(name string, from, to int64) *onnx.Value {
				return b.op("Slice", name, in(w, b.ints(name+"from", from), b.ints(name+"to", to), b.ints(name+"axis", 0)))
			}
			both := b.op("Concat", "both", in(part("i", 0, 16), part("o", 48, 64), part("fc", 16, 48)), axis0)
			b.g.AddOutput(b.op("Relu", "y", in(b.op("Unsqueeze", "gates", in(both, b.ints("zero", 0))))))
		}},
		{"two parts of three", "a,b,c=Split(w,sizes) y=MatMul(a,b)", func(b *builder, w *onnx.Value) {
			s := b.g.Append(onnx.NodeSpec{Op: "Split", Inputs: in(w, b.ints("sizes", 31, 31, 2)), Outputs: []string{"a", "b", "c"}})
			b.g.AddOutput(b.op("MatMul", "y", in(s.Output(0), s.Output(1))))
			b.g.AddOutput(b.op("Abs", "z", in(w)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, 13)
			c.build(b, b.floats("w", 64, 64))
			got := b.run(FoldLayouts)
			if c.name == "two parts of three" {
				got = strings.TrimSuffix(got, " z=Abs(w)")
			}
			expect(t, got, c.want)
		})
	}
	b := build(t, 13)
	w := b.floats("w", 64, 64)
	part := func(name string, from, to int64) *onnx.Value {
		return b.op("Slice", name, in(w, b.ints(name+"from", from), b.ints(name+"to", to)))
	}
	b.g.AddOutput(b.op("Relu", "y", in(b.op("Concat", "k", in(part("low", 32, 64), part("high", 0, 32)), axis0))))
	b.run(FoldLayouts)
	x := onnx.Data[float32](b.g.Value("k").Const())
	if len(x) != 64*64 || x[0] != 1+32*64/2 || x[32*64-1] != 1+(64*64-1)/2.0 || x[32*64] != 1 || x[64*64-1] != 1+(32*64-1)/2.0 {
		t.Errorf("halves changed places: %v ... %v %v ... %v of %d", x[0], x[32*64-1], x[32*64], x[64*64-1], len(x))
	}
}

// Two branches that make the same of a constant around them share what is stored, and it is stored once, around them.
func TestFoldLayoutsInBranches(t *testing.T) {
	b := build(t, 13)
	w, x, cond := b.floats("w", 64, 64), b.input("x", 1, 64), b.g.AddInput("cond", onnx.ScalarOf(onnx.Bool))
	perm := func(name string) *onnx.Graph {
		g := onnx.NewGraph(name)
		k := g.Append(onnx.NodeSpec{Op: "Transpose", Inputs: in(w), Outputs: []string{name + "_k"}}).Output(0)
		g.AddOutput(g.Append(onnx.NodeSpec{Op: "MatMul", Inputs: in(x, k), Outputs: []string{name + "_y"}}).Output(0))
		return g
	}
	then, otherwise := perm("then"), perm("else")
	b.g.AddOutput(b.op("If", "y", in(cond), onnx.AttrG("then_branch", then), onnx.AttrG("else_branch", otherwise)))
	expect(t, b.run(FoldLayouts), "y=If(cond)")
	consts := b.g.Consts()
	if len(consts) != 1 || consts[0] == w {
		t.Fatalf("constants %v, want the transposed one", consts)
	}
	for _, g := range []*onnx.Graph{then, otherwise} {
		expect(t, line(g), g.Name+"_y=MatMul(x,"+consts[0].Name()+")")
	}
}

// What exporters make of x.view(x.size(0), -1): sizes taken apart and put together again.
func TestFoldShapes(t *testing.T) {
	for _, c := range []struct {
		batch int64
		want  string
	}{
		{2, "y=Reshape(x,target)"},
		{-1, "s=Shape(x) n=Gather(s,zero) u=Unsqueeze(n,zero1) target=Concat(u,rest) y=Reshape(x,target)"},
	} {
		b := build(t, 13)
		x := b.input("x", c.batch, 3, 4)
		zero := b.ints("zero", 0)
		zero.SetConst(onnx.Scalar(int64(0)))
		n := b.op("Gather", "n", in(b.op("Shape", "s", in(x)), zero))
		zero1 := b.ints("zero1", 0)
		target := b.op("Concat", "target", in(b.op("Unsqueeze", "u", in(n, zero1)), b.ints("rest", -1)), onnx.AttrI("axis", 0))
		b.g.AddOutput(b.op("Reshape", "y", in(x, target)))
		expect(t, b.run(FoldShapes), c.want)
		if v := b.g.Value("target").Const(); c.batch == 2 && (v == nil || !slices.Equal(onnx.Data[int64](v), []int64{2, -1})) {
			t.Errorf("target is %v", v)
		}
		if got := b.g.Value("y").Type.String(); c.batch == 2 && got != "f32[2,12]" || c.batch < 0 && got != "f32[x0,12]" {
			t.Errorf("y is %s", got)
		}
	}
}
