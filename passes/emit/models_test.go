package emit

import (
	"context"
	"testing"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/testmodel"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

// Trained models in every mode: the graph that is written computes what the plan means on the float graph, and decides as
// the float model does.
func TestModels(t *testing.T) {
	for _, name := range testmodel.Names {
		for _, mode := range plan.Modes {
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				m, err := testmodel.Open("../..", name, t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				calibration, _, err := m.Samples("calib", 16)
				if err != nil {
					t.Fatal(err)
				}
				prep := prepared(t, m.ONNX)
				p, err := plan.Make(context.Background(), prep, plan.Options{
					Target: target.Targets[0], Activations: mode, Range: quantize.RangeRule{Method: "minmax"},
					Calibration: calibration, Threads: 1, Guard: plan.DefaultGuard,
				})
				if err != nil {
					t.Fatal(err)
				}
				if !p.Quantizes() {
					t.Fatal("nothing is quantized")
				}
				test, _, err := m.Samples("test", 24)
				if err != nil {
					t.Fatal(err)
				}
				float := outputs(t, prep.Model, m.Output, test, nil)
				equal := prep.Model.Clone()
				if _, err := plan.CarryOut(p.Equalised, equal); err != nil {
					t.Fatal(err)
				}
				if c := compare(t, float, outputs(t, equal, m.Output, test, nil)); c.SQNR < 80 {
					t.Errorf("equalised, the float model is off: %.1f dB", float64(c.SQNR))
				}
				means := meaningOf(t, &plan.Prepared{Model: equal}, p)
				meant := outputs(t, equal, m.Output, test, means)
				got := outputs(t, emitted(t, prep, p), m.Output, test, nil)
				if c := compare(t, float, got); c.SQNR < 30 || *c.Top1 < 0.95 {
					t.Errorf("%.1f dB from the float model, %.3f of its answers", float64(c.SQNR), *c.Top1)
				}
				if means == nil {
					return
				}
				if c := compare(t, meant, got); c.SQNR < 60 {
					t.Errorf("%.1f dB from the plan's meaning", float64(c.SQNR))
				}
			})
		}
	}
}

// outputs returns the named output for every step of every sample.
func outputs(t *testing.T, m *onnx.Model, name string, set *data.Set, means *meaning) [][]float32 {
	t.Helper()
	p, err := engine.Compile(m, engine.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	o := &engine.RunOptions{}
	if means != nil {
		o.Override = means.edges
	}
	var all [][]float32
	for i := range set.Len() {
		var out map[string]*onnx.Tensor
		for s := range set.Sequence(i) {
			feeds, err := s.Feeds(out)
			if err != nil {
				t.Fatal(err)
			}
			if out, err = p.Run(context.Background(), feeds, o); err != nil {
				t.Fatal(err)
			}
			if means != nil {
				for name, f := range means.outputs {
					out[name] = f(out[name])
				}
			}
			all = append(all, onnx.Data[float32](out[name]))
		}
	}
	return all
}

func compare(t *testing.T, want, got [][]float32) metric.Result {
	t.Helper()
	c := metric.Comparison{Classes: len(want[0])}
	for i := range want {
		if err := c.Observe(want[i], got[i]); err != nil {
			t.Fatal(err)
		}
	}
	return c.Result()
}
