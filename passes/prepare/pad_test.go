package prepare

import (
	"slices"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

func TestFoldPads(t *testing.T) {
	const folded, kept = "y=Conv(x,w)", "p=Pad(x,pads) y=Conv(p,w)"
	for _, c := range []struct {
		name string
		pads []int64
		attr []*onnx.Attribute // of the Conv
		mode string
		want string
		sum  []int64
	}{
		{"spatial", []int64{0, 0, 1, 2, 0, 0, 3, 4}, nil, "constant", folded, []int64{1, 2, 3, 4}},
		{"with own", []int64{0, 0, 1, 2, 0, 0, 3, 4}, []*onnx.Attribute{onnx.AttrIs("pads", 1, 1, 1, 1)}, "constant", folded, []int64{2, 3, 4, 5}},
		{"channels", []int64{0, 1, 1, 2, 0, 0, 3, 4}, nil, "constant", kept, nil},
		{"crops", []int64{0, 0, -1, 2, 0, 0, 3, 4}, nil, "constant", kept, nil},
		{"crops before pads", []int64{0, 0, -1, 2, 0, 0, 3, 4}, []*onnx.Attribute{onnx.AttrIs("pads", 1, 1, 1, 1)}, "constant", kept, []int64{1, 1, 1, 1}},
		{"reflect", []int64{0, 0, 1, 2, 0, 0, 3, 4}, nil, "reflect", kept, nil},
		{"auto", []int64{0, 0, 1, 2, 0, 0, 3, 4}, []*onnx.Attribute{onnx.AttrS("auto_pad", "SAME_UPPER")}, "constant", kept, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, 13)
			p := b.op("Pad", "p", in(b.input("x", 1, 2, 8, 8), b.ints("pads", c.pads...)), onnx.AttrS("mode", c.mode))
			y := b.op("Conv", "y", in(p, b.floats("w", 3, 2, 3, 3)), c.attr...)
			b.g.AddOutput(y)
			expect(t, b.run(FoldPads), c.want)
			if n, _ := y.Producer(); !slices.Equal(n.Ints("pads"), c.sum) {
				t.Errorf("pads %v, want %v", n.Ints("pads"), c.sum)
			}
		})
	}
}

func TestFoldPadsInEveryForm(t *testing.T) {
	for _, c := range []struct {
		name  string
		opset int64
		pad   func(b *builder, x *onnx.Value) *onnx.Value
		want  string
	}{
		{"attributes", 10, func(b *builder, x *onnx.Value) *onnx.Value {
			return b.op("Pad", "p", in(x), onnx.AttrIs("pads", 0, 0, 1, 1, 0, 0, 1, 1))
		}, "y=Conv(x,w)"},
		{"attribute with a value", 10, func(b *builder, x *onnx.Value) *onnx.Value {
			return b.op("Pad", "p", in(x), onnx.AttrIs("pads", 0, 0, 1, 1, 0, 0, 1, 1), onnx.AttrF("value", 1))
		}, "p=Pad(x) y=Conv(p,w)"},
		{"a value of zero", 13, func(b *builder, x *onnx.Value) *onnx.Value {
			return b.op("Pad", "p", in(x, b.ints("n", 0, 0, 1, 1, 0, 0, 1, 1), b.g.AddConst("v", onnx.Scalar(float32(0)))))
		}, "y=Conv(x,w)"},
		{"a value of one", 13, func(b *builder, x *onnx.Value) *onnx.Value {
			return b.op("Pad", "p", in(x, b.ints("n", 0, 0, 1, 1, 0, 0, 1, 1), b.g.AddConst("v", onnx.Scalar(float32(1)))))
		}, "p=Pad(x,n,v) y=Conv(p,w)"},
		{"axes", 18, func(b *builder, x *onnx.Value) *onnx.Value {
			return b.op("Pad", "p", in(x, b.ints("n", 1, 2, 1, 2), nil, b.ints("axes", -1, 2)))
		}, "y=Conv(x,w)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, c.opset)
			y := b.op("Conv", "y", in(c.pad(b, b.input("x", 1, 2, 8, 8)), b.floats("w", 3, 2, 3, 3)))
			b.g.AddOutput(y)
			expect(t, b.run(FoldPads), c.want)
			if n, _ := y.Producer(); c.name == "axes" && !slices.Equal(n.Ints("pads"), []int64{2, 1, 2, 1}) {
				t.Errorf("pads %v", n.Ints("pads"))
			}
		})
	}
}
