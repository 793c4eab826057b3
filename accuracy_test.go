package zqonnx

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/testmodel"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
)

// The models of this repository keep their accuracy on the real task: float as measured by ONNX Runtime when they were made,
// quantized within a hundredth of it, in the file that is written and on the integer kernels that the file runs on.
func TestAccuracy(t *testing.T) {
	for _, name := range testmodel.Names {
		t.Run(name, func(t *testing.T) {
			scratch := t.TempDir()
			m, err := testmodel.Open(".", name, scratch)
			if err != nil {
				t.Fatal(err)
			}
			tests, labels, err := m.Samples("test", 1000)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := m.Samples("calib", 64); err != nil {
				t.Fatal(err)
			}
			if got := accuracy(t, m, m.ONNX, tests, labels); got != m.Accuracy {
				t.Errorf("float accuracy is %.4f, the model's makers measured %.4f", got, m.Accuracy)
			}
			for _, c := range []struct {
				name  string
				calib bool
				mode  plan.Mode
			}{
				{"no data", false, plan.ModeAuto},
				{"calibrated", true, plan.ModeAuto},
				{"token", false, plan.ModeToken},
				{"dynamic", false, plan.ModeDynamic},
			} {
				o := Options{Activations: c.mode, Feeding: data.Options{State: m.State}}
				if c.calib {
					o.Calib = filepath.Join(scratch, "calib")
				}
				r, err := Quantize(context.Background(), m.ONNX, o)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				b, err := r.Model.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				written, err := onnx.Parse(b)
				if err != nil {
					t.Fatal(err)
				}
				got := accuracy(t, m, written, tests, labels)
				t.Logf("%s: %.4f of %.4f, %d bytes", c.name, got, m.Accuracy, len(b))
				if got < m.Accuracy-0.01 {
					t.Errorf("%s: accuracy falls from %.4f to %.4f", c.name, m.Accuracy, got)
				}
			}
		})
	}
}

// accuracy is the share of samples whose best class is their label, computed with fused semantics. Of a sequence the last
// step counts.
func accuracy(t *testing.T, m *testmodel.Model, model *onnx.Model, set *data.Set, labels []int64) float64 {
	t.Helper()
	p, err := engine.Compile(model, engine.Options{Semantics: engine.Fused})
	if err != nil {
		t.Fatal(err)
	}
	right := 0
	for i, label := range labels {
		var out map[string]*onnx.Tensor
		for s := range set.Sequence(i) {
			feeds, err := s.Feeds(out)
			if err != nil {
				t.Fatal(err)
			}
			if out, err = p.Run(context.Background(), feeds, nil); err != nil {
				t.Fatal(err)
			}
		}
		scores := onnx.Data[float32](out[m.Output])
		best := 0
		for k, s := range scores {
			if s > scores[best] {
				best = k
			}
		}
		if int64(best) == label {
			right++
		}
	}
	return float64(right) / float64(len(labels))
}
