package plan

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/internal/shareddata"
	"github.com/zqonnx/zqonnx/onnx"
)

// rolesOf counts the sites of a model by role.
func rolesOf(t *testing.T, path string) (map[string]Role, string) {
	t.Helper()
	m, err := onnx.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	prep, err := Prepare(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	roles := Roles(prep.Model)
	count := map[Role]int{}
	for _, r := range roles {
		count[r]++
	}
	var s []string
	for _, r := range slices.Sorted(maps.Keys(count)) {
		s = append(s, fmt.Sprint(count[r], " ", r))
	}
	return roles, strings.Join(s, ", ")
}

// Two layers of an encoder, as it was exported by torch; one matrix for queries, keys and values; no transformers.
func TestRolesOfTestModels(t *testing.T) {
	for model, want := range map[string]string{
		"encoder-chars": "2 attention-output, 2 embedding, 2 fc1, 2 fc2, 6 qkv",
		"vit-digits":    "2 attention-output, 2 fc1, 2 fc2, 2 qkv",
		"cnn-shapes":    "",
		"lstm-sines":    "",
	} {
		roles, got := rolesOf(t, filepath.Join("../testmodels", model, "model.onnx"))
		expect(t, model+": "+got, model+": "+want)
		for key, role := range roles {
			for part, of := range map[string]Role{"query": QKV, "qkv": QKV, "proj": AttentionOutput, "dense": AttentionOutput, "fc1": FC1, "intermediate": FC1, "fc2": FC2, "/output": FC2} {
				if strings.Contains(key, part) && role != of {
					t.Errorf("%s: %s is %s", model, key, role)
				}
			}
		}
	}
}

func TestRolesOfRealModels(t *testing.T) {
	for model, want := range map[string]string{
		"kwt1":                "12 attention-output, 12 fc1, 12 fc2, 36 qkv",
		"stories260k-llama":   "5 attention-output, 1 embedding, 10 fc1, 5 fc2, 15 qkv",
		"squeezenet-imagenet": "",
	} {
		path, err := shareddata.Path("models/" + model + "/model.onnx")
		if err != nil {
			t.Skip(err)
		}
		_, got := rolesOf(t, path)
		expect(t, model+": "+got, model+": "+want)
	}
}

// Presets give feed-forward blocks fewer bits, or leave the rest in float.
func TestPresets(t *testing.T) {
	m, err := onnx.Read("../testmodels/encoder-chars/model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	prep, err := Prepare(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"zq-w8a8": "", "zq-w4a8": "", "hero-m3": "",
		"zq-w4/8a8": "int4 FC", "hero-m1": "float other, float AttentionOutput, float FC2", "hero-m2": "float other, float FC2",
	} {
		p := &Presets[slices.IndexFunc(Presets, func(p Preset) bool { return p.Name == name })]
		choices, ok := p.choices(prep.Model)
		if !ok {
			t.Errorf("%s does not fit", name)
		}
		roles := Roles(prep.Model)
		for key, c := range choices {
			what := map[Role]string{"": "other", FC1: "FC1", FC2: "FC2", AttentionOutput: "AttentionOutput", QKV: "QKV", Embedding: "Embedding"}[roles[key]]
			said := "float " + what
			if !c.Float {
				said = c.Weights.Type + " " + strings.TrimRight(what, "12")
			}
			if !strings.Contains(want, said) {
				t.Errorf("%s: %s for %s (%s)", name, said, key, roles[key])
			}
		}
		if (len(choices) == 0) != (want == "") {
			t.Errorf("%s: %d choices", name, len(choices))
		}
	}
	conv, err := Prepare(build(mixed), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Presets {
		if _, ok := p.choices(conv.Model); ok != (p.Roles == nil && p.Only == nil) {
			t.Errorf("%s fits a model without roles: %v", p.Name, ok)
		}
	}
}

// Wishes for single nodes go before those for all, later ones before earlier ones, and choices before overrides.
func TestOverrides(t *testing.T) {
	prep, err := Prepare(build(chain(1)), 0)
	if err != nil {
		t.Fatal(err)
	}
	set := given(t, prep, 4, one)
	_, p := planned(t, build(chain(1)), func(o *Options) {
		o.Activations, o.Calibration, o.Equalize = ModeToken, set, EqualizeNone
		o.Overrides = []Override{
			{"MatMul_*", Choice{Activations: ModeDynamic}},
			{"third", Choice{Float: true}}, // an output
			{"MatMul_[sf]*", Choice{Weights: Form{Type: "uint4", Block: 16, Storage: QDQ}, Activations: ModeFloat}},
		}
		o.Choices = map[string]Choice{"MatMul_fourth": {Float: true, Why: Reason{ID: "chosen", Text: "x"}}}
	})
	var got []string
	for _, n := range p.Nodes {
		if n.Op == "MatMul" {
			s := fmt.Sprint(n.Key, " ", n.Scheme)
			if n.Weights != nil {
				s += " " + n.Weights.String()
			} else {
				s += " " + n.Reason.ID
			}
			got = append(got, s)
		}
	}
	expect(t, strings.Join(got, ", "), "MatMul_first weight-only uint4/16 (qdq), MatMul_second weight-only uint4/16 (qdq), MatMul_third float chosen, MatMul_fourth float chosen")
}

// A reform leaves alone what was chosen.
func TestReformKeepsChoices(t *testing.T) {
	s, p := studied(t, chain(1), ModeToken, one)
	s.m.Overrides = []Override{{"MatMul_second", Choice{Weights: usual}}}
	s.m.choose()
	q, err := s.Reform(Form{Type: "int4", Storage: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range q.Nodes {
		if w := n.Weights; w != nil && (w.Type == "int4") == (n.Key == "MatMul_second") {
			t.Errorf("%s was %s and is %s", n.Key, p.Nodes[i].Weights.Type, w.Type)
		}
	}
}
