package emit

import (
	"testing"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/target"
)

// A low-rank term stands beside the product in every form, or in the weights where they are float: what is written computes what
// the plan says, is nearer to float than without, and takes one product of two thin matrices more, or none.
func TestLowRankForms(t *testing.T) {
	turned := func(b *builder) {
		b.output(b.op("Gemm", "y", in(b.input("x", 5, 96), b.normal("w", 64, 96), b.normal("b", 64)), onnx.AttrI("transB", 1)))
	}
	for _, c := range []struct {
		name        string
		activations plan.Mode
		form        plan.Form
		op          string  // that the product becomes
		products    int     // MatMul and Gemm in the file
		exact       float64 // dB: where activations are rounded, the term's are not
		build       func(b *builder)
	}{
		{"native", plan.ModeFloat, plan.Form{Type: "uint4", Block: 32, Storage: plan.Native}, "MatMulNBits", 2, 90, matmul(3, 5, 96, 64)},
		{"native gemm", plan.ModeFloat, plan.Form{Type: "uint4", Block: 32, Storage: plan.Native}, "MatMulNBits", 2, 90, turned},
		{"native vector", plan.ModeFloat, plan.Form{Type: "int4", Block: 16, Storage: plan.Native}, "MatMulNBits", 2, 90, matmul(96, 64)},
		{"qdq", plan.ModeFloat, plan.Form{Type: "int4", Block: 32, Storage: plan.QDQ}, "MatMul", 3, 90, matmul(3, 5, 96, 64)},
		{"folded", plan.ModeFloat, plan.Form{Type: "uint4", Block: 32, Storage: plan.Folded}, "MatMul", 2, 90, matmul(3, 5, 96, 64)},
		{"folded, whole channels", plan.ModeFloat, plan.Form{Type: "int4"}, "MatMul", 2, 90, matmul(3, 5, 96, 64)},
		{"folded gemm", plan.ModeFloat, plan.Form{Type: "int2", Block: 16, Storage: plan.Folded}, "Gemm", 2, 90, turned},
		{"token", plan.ModeToken, plan.Form{Type: "int4"}, "MatMul", 3, 50, matmul(3, 5, 96, 64)},
		{"token gemm", plan.ModeToken, plan.Form{Type: "uint4"}, "MatMul", 3, 50, turned},
		{"dynamic", plan.ModeDynamic, plan.Form{Type: "kmeans4"}, "MatMulInteger", 2, 50, matmul(3, 5, 96, 64)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := build(21, c.build)
			feeds := feedsOf(m.Graph, nil)
			outputs := func(compensate ...string) (p *plan.Plan, db float64) {
				prep := prepared(t, m)
				probes, err := data.Probes(prep.Model.Graph, data.Options{Limit: 8, Seed: 1})
				if err != nil {
					t.Fatal(err)
				}
				p, err = plan.Make(t.Context(), prep, plan.Options{
					Target: target.Targets[0], Activations: c.activations, Weights: c.form, Compensate: compensate, Probes: probes, Threads: 1, Guard: plan.Guard{Samples: 4, Stands: -1000},
				})
				if err != nil {
					t.Fatal(err)
				}
				float := run(t, prep.Model, feeds, nil)
				meant := run(t, prep.Model, feeds, meaningOf(t, prep, p))
				file := emitted(t, prep, p)
				got := run(t, file, feeds, nil)
				if db := sqnr(t, m, meant, got); db < c.exact {
					t.Errorf("%.1f dB from what the plan says", db)
				}
				if len(compensate) > 0 {
					ops, products := map[string]int{}, 0
					for n := range file.Graph.Nodes() {
						if ops[n.Op]++; n.Is("MatMul", "Gemm") {
							products++
						}
					}
					if ops[c.op] == 0 || products != c.products {
						t.Errorf("the file has %v", ops)
					}
				}
				return p, sqnr(t, m, float, got)
			}
			p, with := outputs("lorc")
			_, without := outputs()
			w := p.Nodes[0].Weights
			if w.LowRank == nil || w.LowRank.Rank != 8 || w.LowRank.Method != "lorc" {
				t.Fatalf("no term is kept: %+v", w)
			}
			t.Logf("%.1f dB with, %.1f dB without, %.1f dB expected to be gained", with, without, w.LowRank.Gain)
			if with < without+0.5 {
				t.Errorf("%.1f dB with the term, %.1f dB without", with, without)
			}
		})
	}
}
