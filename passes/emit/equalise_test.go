package emit

import (
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
)

// A scaled tensor gets another name, under which its meaning in the trace goes on; what the model computes stays.
func TestEqualise(t *testing.T) {
	m := build(17, func(b *builder) {
		x := b.op("LayerNormalization", "x", in(b.input("input", 4, 32), b.normal("gain", 32)))
		x.Type = onnx.TensorOf(onnx.Float32, fixed([]int64{4, 32})...)
		b.output(b.op("MatMul", "y", in(x, b.normal("w", 32, 16))))
	})
	scales := make([]float32, 32)
	for i := range scales {
		scales[i] = 1 + float32(i)/4
	}
	p := func(prep *plan.Prepared) *plan.Plan {
		p := choice{scheme: plan.Token}.plan(prep)
		p.Equalised = []plan.Equalisation{{Tensor: "x", Axis: -1, Scales: scales}}
		return p
	}
	prep := prepared(t, m)
	got := emitted(t, prep, p(prep))
	if got.Graph.Value("x") != nil || prep.Trace.Value("x") != got.Graph.Value("x_scaled") {
		t.Errorf("x became %v", prep.Trace.Value("x"))
	}
	n, _ := prep.Trace.Value("x").Producer()
	was, is := onnx.Data[float32](m.Graph.Value("gain").Const()), onnx.Data[float32](n.Input(1).Const())
	for i, s := range scales {
		if is[i] != was[i]/s {
			t.Fatalf("gain %d is %v, was %v", i, is[i], was[i])
		}
	}

	prep = prepared(t, m)
	bad := p(prep)
	bad.Equalised[0].Tensor = "y"
	if err := Apply(prep, bad); err == nil || !strings.Contains(err.Error(), `tensor "y", which the model does not allow`) {
		t.Errorf("%v", err)
	}
}
