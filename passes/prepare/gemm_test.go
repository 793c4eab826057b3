package prepare

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

func TestMakeGemms(t *testing.T) {
	for _, c := range []struct {
		name  string
		opset int64
		x     []int64
		bias  []int64
		swap  bool
		want  string
	}{
		{"matrix", 13, []int64{-1, 4}, []int64{3}, false, "y=Gemm(x,w,b)"},
		{"bias first", 13, []int64{-1, 4}, []int64{3}, true, "y=Gemm(x,w,b)"},
		{"row", 13, []int64{-1, 4}, []int64{1, 3}, false, "y=Gemm(x,w,b)"},
		{"scalar", 13, []int64{-1, 4}, []int64{}, false, "y=Gemm(x,w,b)"},
		{"a bias that repeats the only row", 13, []int64{1, 4}, []int64{2, 3}, false, "m=MatMul(x,w) y=Add(m,b)"},
		{"more than a matrix", 13, []int64{-1, 5, 4}, []int64{3}, true, "m=MatMul(x,w) y=Add(m,b)"},
		{"old", 6, []int64{-1, 4}, []int64{3}, false, "m=MatMul(x,w) y=Add(m,b)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, c.opset)
			m := b.op("MatMul", "m", in(b.input("x", c.x...), b.floats("w", 4, 3)))
			args := in(m, b.floats("b", c.bias...))
			if c.swap {
				args[0], args[1] = args[1], args[0]
			}
			y := b.op("Add", "y", args)
			b.g.AddOutput(y)
			expect(t, b.run(MakeGemms), c.want)
			v := b.g.Value("y")
			if n, _ := v.Producer(); n.Op == "Gemm" && n.Name != "MatMul_m" {
				t.Errorf("the Gemm is named %q", n.Name)
			} else if n.Op == "Gemm" && c.name == "row" && n.Input(2).Const().Rank() != 1 {
				t.Errorf("bias of shape %v", n.Input(2).Const().Dims)
			}
		})
	}
}

// What else reads the product keeps it.
func TestMakeGemmsKeepsSharedProducts(t *testing.T) {
	b := build(t, 13)
	m := b.op("MatMul", "m", in(b.input("x", -1, 4), b.floats("w", 4, 3)))
	b.g.AddOutput(b.op("Add", "y", in(m, b.floats("b", 3))))
	b.g.AddOutput(b.op("Relu", "z", []*onnx.Value{m}))
	expect(t, b.run(MakeGemms), "m=MatMul(x,w) y=Add(m,b) z=Relu(m)")
}
