package emit

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
)

// A correction moves every channel of the output by its number, whatever the node and the form, with a bias or without.
func TestCorrections(t *testing.T) {
	x := map[string]plan.Activation{"x": codesOf(-4, 4)}
	for _, c := range []struct {
		name string
		axis int // of the channels in the output
		choice
		build func(b *builder)
	}{
		{"Conv without bias", 1, choice{scheme: plan.Static, codes: x}, func(b *builder) {
			b.output(b.op("Conv", "y", in(b.input("x", 1, 4, 8, 8), b.normal("w", 8, 4, 3, 3))))
		}},
		{"Conv with bias, one scale", 1, choice{scheme: plan.Static, codes: x, tensor: true}, func(b *builder) {
			b.output(b.op("Conv", "y", in(b.input("x", 1, 4, 8, 8), b.normal("w", 8, 4, 3, 3), b.normal("b", 8))))
		}},
		{"stored Conv", 1, choice{scheme: plan.WeightOnly}, func(b *builder) {
			b.output(b.op("Conv", "y", in(b.input("x", 1, 4, 8, 8), b.normal("w", 8, 4, 3, 3), b.normal("b", 8))))
		}},
		{"Gemm with one bias for all", 1, choice{scheme: plan.Static, codes: x}, func(b *builder) {
			b.output(b.op("Gemm", "y", in(b.input("x", 5, 32), b.normal("w", 32, 8), b.normal("b", 1))))
		}},
		{"Gemm with a bias a row", 1, choice{scheme: plan.Token}, func(b *builder) {
			b.output(b.op("Gemm", "y", in(b.input("x", 8, 32), b.normal("w", 32, 8), b.normal("b", 8, 1))))
		}},
		{"Gemm with a computed bias", 1, choice{scheme: plan.Dynamic}, func(b *builder) {
			b.output(b.op("Gemm", "y", in(b.input("x", 8, 32), b.normal("w", 32, 8), b.input("b", 8))))
		}},
		{"MatMul of matrices", 1, choice{scheme: plan.Static, codes: x}, func(b *builder) {
			b.output(b.op("MatMul", "y", in(b.input("x", 5, 32), b.normal("w", 32, 8))))
		}},
		{"MatMul of a batch", 2, choice{scheme: plan.Static, codes: x}, func(b *builder) {
			b.output(b.op("MatMul", "y", in(b.input("x", 2, 5, 32), b.normal("w", 32, 8))))
		}},
		{"token-wise MatMul of a batch", 2, choice{scheme: plan.Token}, func(b *builder) {
			b.output(b.op("MatMul", "y", in(b.input("x", 2, 5, 32), b.normal("w", 32, 8))))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := build(13, c.build)
			feeds := feedsOf(m.Graph, c.codes)
			prep := prepared(t, m)
			want := run(t, emitted(t, prep, c.plan(prep)), feeds, nil)

			correction := []float32{1, -2, 3, -4, 5, -6, 7, -8}
			c.correct = map[string][]float32{"y": correction}
			prep = prepared(t, m)
			got := run(t, emitted(t, prep, c.plan(prep)), feeds, nil)

			y := want["y"]
			inner := int(onnx.NumElements(y.Dims[c.axis+1:]))
			for i := range onnx.Data[float32](y) {
				onnx.Data[float32](y)[i] += correction[i/inner%len(correction)]
			}
			if db := sqnr(t, m, want, got); db < 60 {
				t.Errorf("%.1f dB from the outputs with the correction added", db)
			}
		})
	}
}

// The codes of a corrected MatMul are those of the sum.
func TestCorrectedMatMulIsQuantizedBehindTheSum(t *testing.T) {
	m := build(13, func(b *builder) {
		b.output(b.op("Neg", "z", in(b.op("MatMul", "y", in(b.input("x", 2, 5, 32), b.normal("w", 32, 8))))))
	})
	prep := prepared(t, m)
	c := choice{
		scheme: plan.Static, codes: map[string]plan.Activation{"x": codesOf(-4, 4), "y": codesOf(-30, 30)},
		correct: map[string][]float32{"y": {1, 2, 3, 4, 5, 6, 7, 8}},
	}
	got := emitted(t, prep, c.plan(prep))
	q, _ := got.Graph.Value("y_q").Producer()
	add, _ := q.Input(0).Producer()
	if !add.Is("Add") || q.Input(0).Name() != "y" {
		t.Errorf("QuantizeLinear behind %s %s", add.Op, q.Input(0))
	}
	if v := prep.Trace.Value("y"); v.Name() != "y_dq" {
		t.Errorf("y became %v", v)
	}
}
