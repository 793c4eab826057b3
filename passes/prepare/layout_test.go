package prepare

import (
	"slices"
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
	t.Run("big and shared", func(t *testing.T) {
		b := build(t, 13)
		w := b.floats("w", 64, 64)
		b.g.AddOutput(b.op("MatMul", "y", in(w, b.op("Transpose", "k", in(w)))))
		expect(t, b.run(FoldLayouts), "k=Transpose(w) y=MatMul(w,k)")
	})
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
