package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// mixed has what every scheme is taken for: convolutions with a Relu and a sum between them, and products.
func mixed(b *builder) {
	x := b.op("Relu", "r", in(b.conv("c1", b.input("x", 1, 8, 8, 8))))
	x = b.op("Add", "sum", in(b.conv("c2", x), b.conv("c3", x)))
	x = b.op("Tanh", "t", in(b.conv("c4", x)))
	b.output(b.op("MatMul", "p", in(x, b.normal("w", 0.3, 8, 200))))
}

// studied returns a study of the plan that is made of a model with samples.
func studied(t *testing.T, f func(b *builder), mode Mode, gain func(int) float32) (*Study, *Plan) {
	t.Helper()
	prep, err := Prepare(build(f), 0)
	if err != nil {
		t.Fatal(err)
	}
	set := given(t, prep, 8, gain)
	var options Options
	_, p := planned(t, build(f), func(o *Options) {
		o.Activations, o.Calibration, o.Guard = mode, set, unguarded
		options = *o
	})
	s, err := NewStudy(t.Context(), prep, p, options)
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

func one(int) float32 { return 1 }

// distances are an observer that pools all outputs.
type distances struct{ metric.Comparison }

func (d *distances) Observe(float, quantized map[string]*onnx.Tensor, _ []int64) error {
	for name, a := range float {
		if err := d.Comparison.Observe(onnx.Data[float32](a), onnx.Data[float32](quantized[name])); err != nil {
			return err
		}
	}
	return nil
}

func measuredAlone(t *testing.T, s *Study, changes []*Change) []float64 {
	t.Helper()
	all := make([]distances, len(changes))
	var observers []Observer
	for i := range all {
		observers = append(observers, &all[i])
	}
	if err := s.Measure(t.Context(), "measuring", changes, observers); err != nil {
		t.Fatal(err)
	}
	var db []float64
	for i := range all {
		db = append(db, float64(all[i].Result().SQNR))
	}
	return db
}

// The parts of a plan are all of it: together they do what the planner simulates, to the bit.
func TestPartsAreThePlan(t *testing.T) {
	for _, c := range []struct {
		build func(b *builder)
		mode  Mode
		want  string
	}{
		{mixed, ModeStatic, "Conv_c1 wa, Conv_c2 wa, Conv_c3 wa, Add_sum a, Conv_c4 wa, MatMul_p wa"},
		{mixed, ModeAuto, ""},
		{chain(1), ModeToken, "MatMul_first wa, MatMul_second wa, MatMul_third wa, MatMul_fourth wa"},
		{chain(1), ModeDynamic, "MatMul_first wa, MatMul_second wa, MatMul_third wa, MatMul_fourth wa"},
		{chain(1), ModeFloat, "MatMul_first w, MatMul_second w, MatMul_third w, MatMul_fourth w"},
	} {
		t.Run(fmt.Sprint(c.mode, " ", c.want), func(t *testing.T) {
			s, p := studied(t, c.build, c.mode, one)
			parts, err := s.Parts(p)
			if err != nil {
				t.Fatal(err)
			}
			var all []*Change
			var names []string
			for _, part := range parts {
				name := part.Key + " "
				if part.Weights != nil {
					name += "w"
					if part.Bytes == 0 || part.MACs == 0 {
						t.Errorf("%s has %d bytes of weights and %v multiply-adds", part.Key, part.Bytes, part.MACs)
					}
				}
				if part.Activations != nil {
					name += "a"
				}
				names = append(names, name)
				all = append(all, part.Weights, part.Activations)
			}
			if c.want != "" {
				expect(t, strings.Join(names, ", "), c.want)
			}
			want, err := s.m.wholeSQNR()
			if err != nil {
				t.Fatal(err)
			}
			if got := measuredAlone(t, s, []*Change{Together(all...)})[0]; got != want || want > 60 || want < 15 {
				t.Errorf("together %.3f dB, the planner says %.3f dB", got, want)
			}
		})
	}
}

// What sticks out does so alone, too.
func TestPartsFindTheCulprit(t *testing.T) {
	s, p := studied(t, chain(0), ModeToken, outlier)
	parts, err := s.Parts(p)
	if err != nil {
		t.Fatal(err)
	}
	var changes []*Change
	for _, part := range parts {
		changes = append(changes, part.Activations)
	}
	db := measuredAlone(t, s, changes)
	if i := slices.Index(db, slices.Min(db)); parts[i].Key != "MatMul_first" || db[i] > 10 {
		t.Errorf("the worst is %s, %.1f dB", parts[i].Key, db[i])
	}
}

// A reform changes the form of weights and what goes with it, and nothing else.
func TestReform(t *testing.T) {
	for _, mode := range []Mode{ModeStatic, ModeToken, ModeFloat} {
		s, p := studied(t, mixed, mode, one)
		same, err := s.Reform(usual)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := asJSON(t, p), asJSON(t, same); a != b {
			t.Errorf("%s: the usual form is another:\n%s\n%s", mode, a, b)
		}
		before, noise := asJSON(t, p), 1000.0
		for _, f := range []Form{{Type: "int6", Storage: "auto"}, {Type: "kmeans4", Storage: "auto"}, {Type: "kmeans2", Storage: "auto"}} {
			q, err := s.Reform(f)
			if err != nil {
				t.Fatal(err)
			}
			parts, err := s.Parts(q)
			if err != nil {
				t.Fatal(err)
			}
			var weights []*Change
			for i, n := range q.Nodes {
				if err := n.check(); err != nil {
					t.Errorf("%s: %v", n.Key, err)
				}
				if was := p.Nodes[i]; n.Scheme != was.Scheme || len(n.Activations) != len(was.Activations) || (n.Weights == nil) != (was.Weights == nil) {
					t.Errorf("%s is %s with other activations, was %s", n.Key, n.Scheme, was.Scheme)
				}
				if w := n.Weights; n.Op == "MatMul" && w.Type != f.Type {
					t.Errorf("%s: %s is stored as %s, want %s", mode, n.Key, w.Type, f.Type)
				}
			}
			for _, part := range parts {
				weights = append(weights, part.Weights)
			}
			db := measuredAlone(t, s, []*Change{Together(weights...)})[0]
			if db >= noise || db < 3 {
				t.Errorf("%s: the weights in %s leave %.1f dB, those with more bits %.1f", mode, f.Type, db, noise)
			}
			noise = db
		}
		if asJSON(t, p) != before {
			t.Errorf("%s: the studied plan changed", mode)
		}
	}
}

// Nodes that share their weights are one site.
func TestSitesShareWeights(t *testing.T) {
	s, _ := studied(t, func(b *builder) {
		w := b.normal("w", 0.2, 32, 32)
		x := b.op("MatMul", "first", in(b.input("x", 4, 32), w))
		x = b.op("MatMul", "second", in(b.op("Tanh", "t", in(x)), w))
		b.output(b.op("MatMul", "third", in(b.op("Tanh", "t2", in(x)), b.normal("v", 0.2, 32, 32))))
	}, ModeFloat, one)
	expect(t, fmt.Sprint(s.Sites()), "[[MatMul_first MatMul_second] [MatMul_third]]")
	if s.Samples(1) < 1 || s.Work() < 4*32*32*3 || !slices.Equal(s.Outputs(), []string{"third"}) {
		t.Errorf("%d samples, %v multiply-adds, outputs %v", s.Samples(1), s.Work(), s.Outputs())
	}
}

func TestStudyErrors(t *testing.T) {
	prep, err := Prepare(build(mixed), 0)
	if err != nil {
		t.Fatal(err)
	}
	var o Options
	_, p := planned(t, build(mixed), func(have *Options) { o = *have })
	empty := *p
	empty.Nodes = nil
	if _, err := NewStudy(t.Context(), prep, &empty, o); err == nil || !strings.Contains(err.Error(), "has no node") {
		t.Errorf("a plan without nodes: %v", err)
	}
	o.Calibration, o.Probes = nil, nil
	if _, err := NewStudy(t.Context(), prep, p, o); err == nil || !strings.Contains(err.Error(), "without samples") {
		t.Errorf("without samples: %v", err)
	}
}

func asJSON(t *testing.T, p *Plan) string {
	t.Helper()
	var b strings.Builder
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
