package prepare

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

func TestTrimOpsets(t *testing.T) {
	b := build(t, 13)
	b.m.SetOpset("used", 1)
	b.m.SetOpset("unused", 1)
	b.g.AddOutput(b.g.Append(onnx.NodeSpec{Op: "Own", Domain: "used", Inputs: in(b.input("x", 1)), Outputs: []string{"y"}}).Output(0))
	if err := (rewrite.Pipeline{TrimOpsets}).Run(&rewrite.Context{}, b.m); err != nil {
		t.Fatal(err)
	}
	if b.m.Opset("") != 13 || b.m.Opset("used") != 1 || b.m.Opset("unused") != 0 || len(b.m.Opsets) != 2 {
		t.Errorf("imports %v", b.m.Opsets)
	}
}

// The whole pipeline on a small net with everything in it.
func TestPasses(t *testing.T) {
	b := build(t, 13)
	x := b.input("x", -1, 2, 8, 8)
	pads := b.op("Constant", "pads", nil, onnx.AttrIs("value_ints", 0, 0, 1, 1, 0, 0, 1, 1))
	conv := b.op("Conv", "conv", in(b.op("Pad", "padded", in(b.op("Identity", "i", in(x)), pads)), b.floats("w", 3, 2, 3, 3)))
	bn := b.op("BatchNormalization", "bn", in(conv, b.floats("s", 3), b.floats("t", 3), b.floats("m", 3), b.floats("v", 3)))
	mean := b.op("ReduceMean", "mean", in(b.op("Relu", "relu", in(bn))), onnx.AttrIs("axes", 2, 3))
	flat := b.op("Reshape", "flat", in(mean, b.ints("shape", 0, -1)))
	w := b.op("Transpose", "wt", in(b.floats("fc", 4, 3)))
	b.g.AddOutput(b.op("Add", "y", in(b.floats("bias", 4), b.op("MatMul", "mm", in(b.op("Dropout", "drop", in(flat)), w)))))
	b.op("Neg", "unused", in(conv))
	n, _ := b.g.Value("unused").Producer()
	b.g.Remove(n)
	c := &rewrite.Context{Trace: rewrite.NewTrace(b.m), Check: check}
	if err := Passes.Run(c, b.m); err != nil {
		t.Fatal(err)
	}
	expect(t, line(b.g), "bn=Conv(x,w,conv_bias) relu=Relu(bn) mean=GlobalAveragePool(relu) flat=Reshape(mean,shape) y=Gemm(flat,wt,bias)")
	for name, want := range map[string]string{"x": "x", "i": "x", "bn": "bn", "drop": "flat", "y": "y", "wt": "wt", "bias": "bias"} {
		if v := c.Trace.Value(name); v == nil || v.Name() != want {
			t.Errorf("%s became %v, want %s", name, v, want)
		}
	}
	for _, name := range []string{"padded", "conv", "mm", "s", "w"} {
		if v := c.Trace.Value(name); v != nil {
			t.Errorf("%s became %v, want nothing", name, v)
		}
	}
}
