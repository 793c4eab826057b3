package plan

import (
	"testing"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/testmodel"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

// Weights rounded in sequence make up for what those before them do: the whole is better on samples that nothing was learned from, by a
// margin. The plan holds the codes.
func TestSolveInSequence(t *testing.T) {
	for _, c := range []struct {
		model string
		form  Form
		gain  float64 // dB at least
	}{
		{"cnn-shapes", Form{Type: "int4"}, 1},
		{"vit-digits", Form{Type: "uint4", Block: 16}, 0.3},
	} {
		t.Run(c.model+" "+c.form.Type, func(t *testing.T) {
			model, err := testmodel.Open("..", c.model, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			prep, err := Prepare(model.ONNX, 0)
			if err != nil {
				t.Fatal(err)
			}
			set, _, err := model.Samples("calib", 200)
			if err != nil {
				t.Fatal(err)
			}
			p, err := engine.Compile(prep.Model, engine.Options{Semantics: engine.Literal})
			if err != nil {
				t.Fatal(err)
			}
			guard := DefaultGuard
			guard.Stands = 0
			m := newPlanner(t.Context(), prep, Options{
				Target: target.Targets[0], Activations: ModeAuto, Range: quantize.RangeRule{Method: "minmax"}, Calibration: set, Program: p,
				Guard: guard, Weights: c.form, Equalize: EqualizeNone,
			})
			for _, decide := range making[:len(making)-1] {
				if err := decide(m); err != nil {
					t.Fatal(err)
				}
			}
			before, err := m.typicalSQNR()
			if err != nil {
				t.Fatal(err)
			}
			if err := m.solveInSequence(); err != nil {
				t.Fatal(err)
			}
			after, err := m.typicalSQNR()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.2f dB before, %.2f after", before, after)
			if after < before+c.gain {
				t.Errorf("%.2f dB before, %.2f after", before, after)
			}
			for _, s := range m.sites {
				q := m.coding[s].learned[m.coding[s].rounding]
				if q == nil {
					continue
				}
				again, err := QuantizeSite(s, 0, m.plan().Node(s.Key).Weights)
				if err != nil {
					t.Fatal(err)
				}
				if a, b := onnx.Of(again.Dequantize()).Bytes(), onnx.Of(q.Dequantize()).Bytes(); string(a) != string(b) {
					t.Errorf("%s: the plan has other codes", s.Key)
				}
			}
		})
	}
}
