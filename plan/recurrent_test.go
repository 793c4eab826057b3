package plan

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// Each direction of a recurrent node has scales of its own: one of small weights keeps its eight bits beside one of large.
func TestDirectionsHaveScalesOfTheirOwn(t *testing.T) {
	const directions, rows, k = 2, 24, 8
	w := make([]float32, directions*rows*k)
	for i := range w {
		w[i] = float32(i%13-6) / 6
		if i >= rows*k {
			w[i] /= 1000
		}
	}
	m := build(func(b *builder) {
		b.output(b.op("GRU", "y", in(b.input("x", 4, 1, k), b.g.AddConst("w", onnx.Of(w, directions, rows, k)), b.normal("r", 0.1, directions, rows, k)),
			onnx.AttrI("hidden_size", rows/3), onnx.AttrS("direction", "bidirectional")))
	})
	sites := Survey(m)
	if len(sites) != 1 || sites[0].Refused.ID != "" {
		t.Fatalf("sites %v", sites)
	}
	q, err := QuantizeSite(sites[0], 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(q.Scales) != directions*rows {
		t.Fatalf("%d scales, want %d", len(q.Scales), directions*rows)
	}
	got := q.Dequantize()
	for i, x := range w {
		if limit := q.Scales[i/k] * 0.5001; got[i]-x > limit || x-got[i] > limit || q.Scales[i/k] > 1.01/127/max(1, float32(i/(rows*k))*1000) {
			t.Fatalf("weight %d: %v became %v with scale %v", i, x, got[i], q.Scales[i/k])
		}
	}
}
