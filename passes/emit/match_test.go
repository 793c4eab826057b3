package emit

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
)

// A plan that does not fit is an error that says why, and leaves the model alone.
func TestPlansThatDoNotFit(t *testing.T) {
	find := func(p *plan.Plan, op string) *plan.Node {
		for i := range p.Nodes {
			if p.Nodes[i].Op == op {
				return &p.Nodes[i]
			}
		}
		return nil
	}
	for _, c := range []struct {
		name, model string
		spoil       func(p *plan.Plan)
		want        string
	}{
		{"another node", "gemm-static", func(p *plan.Plan) { p.Nodes[0].Key = "elsewhere" }, `names node "elsewhere" (Gemm), which the model does not have`},
		{"another operator", "gemm-static", func(p *plan.Plan) { p.Nodes[0].Op = "Conv" }, `names node "Gemm_h" (Conv), which the model does not have`},
		{"axis of the inputs", "gemm-static", func(p *plan.Plan) { p.Nodes[0].Weights.Axis = 1 }, `node "Gemm_h" (Gemm): weights along axis 1: its channels lie along axis 0`},
		{"axis outside", "conv-static", func(p *plan.Plan) { p.Nodes[0].Weights.Axis = 9 }, "weights along axis 9"},
		{"rounding of another axis", "matmul-static", func(p *plan.Plan) { p.Nodes[0].Weights.Rounding = "squant" }, `rounding "squant" needs channels along axis 0`},
		{"channels of another node", "conv-static", func(p *plan.Plan) { p.Nodes[0].Weights.Correction = []float32{1, 2} }, "corrects the biases of 2 channels, the node has 8"},
		{"no bias", "gather-stored", func(p *plan.Plan) { find(p, "Gather").Weights.Correction = make([]float32, 40) }, "no bias that could be corrected"},
		{"no input", "conv-static", func(p *plan.Plan) { delete(p.Nodes[0].Activations, "x") }, `no parameters for its input "x"`},
		{"foreign tensor", "conv-static", func(p *plan.Plan) { p.Nodes[0].Activations["sum"] = codesOf(0, 1) }, `parameters for tensor "sum", which is none of its inputs and outputs`},
		{"contradiction", "conv-static", func(p *plan.Plan) { find(p, "Add").Activations["pool"] = codesOf(0, 1) }, `tensor "pool" has other parameters than at another node`},
		{"codes of a float node", "matmul-token-13", func(p *plan.Plan) { p.Nodes[0].Activations = map[string]plan.Activation{"x": codesOf(0, 1)} }, `scheme "token" takes no parameters of activations`},
		{"codes of integers", "gather-stored", func(p *plan.Plan) {
			*find(p, "Neg") = plan.Node{Key: "Neg_minus", Op: "Neg", Scheme: plan.Static, Activations: map[string]plan.Activation{"i": codesOf(0, 1)}}
		}, `tensor "i" is i64[2,3]; only float32 becomes codes`},
		{"token-wise Conv", "conv-stored", func(p *plan.Plan) { p.Nodes[0].Scheme = plan.Token }, `no form of it for scheme "token"; possible are ["static" "weight-only"]`},
		{"token-wise Add", "conv-static", func(p *plan.Plan) { d := find(p, "Add"); d.Scheme, d.Activations = plan.Token, nil }, `scheme "token" needs constant weights`},
		{"weights of a float node", "conv-stored", func(p *plan.Plan) { p.Nodes[0].Scheme = plan.Float }, `scheme "float" quantizes no weights`},
		{"static inside a branch", "branches-token", func(p *plan.Plan) { find(p, "MatMul").Scheme = plan.Static }, "is for nodes of the main graph"},
		{"blocks of one scale", "gemm-qdq-uint4", func(p *plan.Plan) { p.Nodes[0].Weights.Axis = -1 }, `storage "qdq" in blocks of 16 needs channels`},
		{"table of one scale", "gather-int4", func(p *plan.Plan) { p.Nodes[0].Weights.Axis = -1 }, `storage "folded" in blocks of 0 needs channels`},
		{"Conv in MatMulNBits", "conv-stored-uint4-blocks", func(p *plan.Plan) { p.Nodes[0].Weights.Storage = plan.Native }, `storage "native" is for MatMul`},
		{"blocks in an old opset", "gemm-native-uint4", func(p *plan.Plan) { p.Nodes[0].Weights.Storage = plan.QDQ }, `storage "qdq" needs opset 21, the model has 13`},
		{"integer LSTM of one scale", "lstm-dynamic", func(p *plan.Plan) { find(p, "LSTM").Weights.Axis = -1 }, "weights along axis 1 only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			prep, p := tinyPlan(t, c.model)
			c.spoil(p)
			before := prep.Model.Text()
			err := Apply(prep, p)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %s", err, c.want)
			}
			if prep.Model.Text() != before {
				t.Error("the model was changed")
			}
		})
	}
}

func tinyPlan(t testing.TB, name string) (*plan.Prepared, *plan.Plan) {
	t.Helper()
	for _, c := range tinies {
		if c.name == name {
			prep := prepared(t, build(c.opset, c.build))
			return prep, c.plan(prep)
		}
	}
	t.Fatalf("no tiny graph %q", name)
	return nil, nil
}

// Weights that no integer form exists for are refused, whatever a plan says; those that are only not worth it are not.
func TestRefusedWeights(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(w *onnx.Tensor)
		want  string
	}{
		{"infinite", func(w *onnx.Tensor) { onnx.Data[float32](w)[7] = float32(math.Inf(1)) }, `cannot be quantized: the weights "w" hold NaN or infinite values`},
		{"small", func(*onnx.Tensor) {}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			prep := prepared(t, build(13, func(b *builder) {
				w := b.normal("w", 4, 8)
				c.spoil(w.Const())
				b.output(b.op("MatMul", "y", in(b.input("x", 2, 4), w)))
			}))
			p := choice{schemes: map[string]plan.Scheme{"y": plan.Token}}.plan(prep)
			err := Apply(prep, p)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// What a plan leaves out stays float.
func TestEmptyPlanChangesNoNode(t *testing.T) {
	prep, _ := tinyPlan(t, "conv-static")
	before := slices.Collect(prep.Model.Graph.Nodes())
	if err := Apply(prep, &plan.Plan{Schema: plan.Schema}); err != nil {
		t.Fatal(err)
	}
	if after := slices.Collect(prep.Model.Graph.Nodes()); !slices.Equal(before, after) || len(after) != 6 {
		t.Errorf("%d nodes became %d", len(before), len(after))
	}
}

// No plan that can be read makes Apply panic, or a model that is not whole.
func FuzzApply(f *testing.F) {
	for i, c := range tinies {
		prep := prepared(f, build(c.opset, c.build))
		var b bytes.Buffer
		if err := c.plan(prep).Write(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), b.Bytes())
		f.Add(uint8(i+1), b.Bytes())
	}
	f.Fuzz(func(t *testing.T, which uint8, text []byte) {
		p, err := plan.Read(text)
		if err != nil {
			return
		}
		c := tinies[int(which)%len(tinies)]
		prep := prepared(t, build(c.opset, c.build))
		if Apply(prep, p) != nil {
			return
		}
		if err := onnx.Check(prep.Model); err != nil {
			t.Error(err)
		}
	})
}

// Nor does any plan of another model, or one with fields changed at random.
func TestSpoiledPlans(t *testing.T) {
	schemes := []plan.Scheme{plan.Float, plan.Static, plan.Fused, plan.Dynamic, plan.Token, plan.WeightOnly}
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.IntRange(0, len(tinies)-1)
		c := tinies[at.Draw(t, "model")]
		prep, err := plan.Prepare(build(c.opset, c.build), 0)
		if err != nil {
			t.Fatal(err)
		}
		p := c.plan(prep)
		tensors := []string{"x", "y", "w", "b", "i", "h"}
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			d := &p.Nodes[rapid.IntRange(0, len(p.Nodes)-1).Draw(t, "node")]
			switch rapid.IntRange(0, 4).Draw(t, "field") {
			case 0:
				d.Scheme = rapid.SampledFrom(schemes).Draw(t, "scheme")
			case 1:
				d.Weights = &plan.Weights{Form: plan.Form{Type: "int8"}, Axis: rapid.IntRange(-1, 3).Draw(t, "axis"), Rounding: rapid.SampledFrom([]string{"rtn", "squant"}).Draw(t, "rounding")}
			case 2:
				if d.Weights != nil {
					d.Weights.Correction = make([]float32, rapid.SampledFrom([]int{0, 1, 8, 16, 32}).Draw(t, "channels"))
				}
			case 3:
				d.Activations = nil
			case 4:
				if d.Activations == nil {
					d.Activations = map[string]plan.Activation{}
				}
				d.Activations[rapid.SampledFrom(tensors).Draw(t, "tensor")] = codesOf(-1, rapid.SampledFrom([]float32{0, 1, 1e30, 3e38, 1e-40}).Draw(t, "hi"))
			}
		}
		if Apply(prep, p) != nil {
			return
		}
		if err := onnx.Check(prep.Model); err != nil {
			t.Error(err)
		}
	})
}
