package search

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/passes/emit"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/verify"
)

// wide is a chain of products that are large enough for few bits to pay.
func wide() *onnx.Model { return chain(64, 4) }

// options are those of a search on a model by a metric.
func options(t testing.TB, model func() *onnx.Model, by string, goals Goals) (*plan.Prepared, plan.Options, Options) {
	t.Helper()
	prep, o := prepared(t, model)
	m := model()
	return prep, o, Options{
		Goals: goals, Metric: metric.Named(by), Check: []*data.Set{o.Probes}, Model: m, Key: "test",
		Ladder: []plan.Form{{Type: "int6", Storage: "auto"}, {Type: "int4", Storage: "auto"}, {Type: "int2", Storage: "auto"}},
		Build: func(p *plan.Plan) (*onnx.Model, error) {
			prep, err := plan.Prepare(m, p.Opset)
			if err != nil {
				return nil, err
			}
			return prep.Model, emit.Apply(prep, p)
		},
	}
}

func drop(x float64) Goals { return Goals{MaxDrop: &x} }

func found(t testing.TB, model func() *onnx.Model, by string, goals Goals) *Result {
	t.Helper()
	prep, po, o := options(t, model, by, goals)
	r, err := Run(t.Context(), prep, po, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What is found keeps to the goal, is in the log as chosen, and is the smallest there that does: from float weights, where almost
// nothing may be lost, down to two bits.
func TestMaxDrop(t *testing.T) {
	var types []string
	for _, x := range []float64{3e-5, 1e-3, 0.5} {
		r := found(t, wide, "cosine", drop(x))
		if r.Unmet != "" || !(r.Drop <= x) {
			t.Errorf("%v: drop %v, unmet %q", x, r.Drop, r.Unmet)
		}
		chosen := 0
		for _, p := range r.Log.Points {
			if p.Chosen {
				chosen++
				if p.Bytes != r.Bytes || float64(p.Metric) != r.Value {
					t.Errorf("%v: the chosen point is %+v", x, p)
				}
			}
			if float64(*p.Drop) <= x && p.Bytes < r.Bytes {
				t.Errorf("%v: %d bytes would do: %+v", x, p.Bytes, p)
			}
		}
		if chosen != 1 || float64(*r.Log.MaxDrop) != x || r.Log.Metric != "cosine" || len(r.Log.Data) != 1 || r.Log.Data[0].Samples != 16 {
			t.Errorf("%v: %d points are chosen; log %+v", x, chosen, r.Log)
		}
		types = append(types, weightTypes(r.Plan))
	}
	if first, last := types[0], types[len(types)-1]; !strings.Contains(first, "float") || last != "int2 int2 int2" {
		t.Errorf("weights %q", types)
	}
}

// weightTypes lists how the weights of the products are stored.
func weightTypes(p *plan.Plan) string {
	var types []string
	for _, n := range p.Nodes {
		if n.Op == "MatMul" && n.Weights != nil {
			types = append(types, n.Weights.Type)
		} else if n.Op == "MatMul" {
			types = append(types, "float")
		}
	}
	return strings.Join(types, " ")
}

// Of several sets of samples the worst figure counts.
func TestSeveralSets(t *testing.T) {
	prep, po, o := options(t, wide, "cosine", Goals{MaxBytes: 1 << 30})
	few, err := data.Probes(prep.Model.Graph, data.Options{Limit: 3, Seed: 9})
	if err != nil {
		t.Fatal(err)
	}
	first := o.Check[0]
	var values []float64
	for _, sets := range [][]*data.Set{{first}, {few}, {first, few}, {few, first}} {
		o.Check = sets
		r, err := Run(t.Context(), prep, po, o)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, r.Drop)
	}
	if worst := max(values[0], values[1]); values[0] == values[1] || values[2] != worst || values[3] != worst {
		t.Errorf("drops %v", values)
	}
}

// The site that suffers most keeps the most bits.
func TestStepsFollowTheDamage(t *testing.T) {
	r := found(t, wide, "cosine", drop(1e-3))
	if len(r.Log.Moves) < 4 {
		t.Fatalf("steps %+v", r.Log.Moves)
	}
	cost := func(m verify.SearchMove) float64 { return float64(m.Noise) / float64(m.Saves) }
	last := map[string]string{}
	for i, m := range r.Log.Moves {
		if i > 0 && cost(m) < cost(r.Log.Moves[i-1]) {
			t.Errorf("step %d costs less than the one before: %+v", i, r.Log.Moves)
		}
		if was, ok := last[m.Nodes[0]]; ok && was != m.From || !ok && m.From != "int8" {
			t.Errorf("step %d begins at %s, not at %s", i, m.From, was)
		}
		last[m.Nodes[0]] = m.To
	}
	if first := r.Log.Moves[0].Nodes[0]; first == "second" {
		t.Errorf("the noisiest weights lose bits first: %+v", r.Log.Moves)
	}
}

// The best model of a size is no larger, and none that was measured is better; a size that nothing reaches gives the smallest.
func TestTargetSize(t *testing.T) {
	whole := found(t, wide, "sqnr", Goals{MaxBytes: 1 << 30})
	if len(whole.Log.Points) != 1 || weightTypes(whole.Plan) != "int8 int8 int8" {
		t.Errorf("a size that is kept anyway: %s after %d points", weightTypes(whole.Plan), len(whole.Log.Points))
	}
	value := whole.Value
	for _, share := range []float64{0.95, 0.8, 0.7} {
		goal := int64(share * float64(whole.Bytes))
		r := found(t, wide, "sqnr", Goals{MaxBytes: goal})
		if r.Unmet != "" || r.Bytes > goal || r.Value > value || r.Value < 1 {
			t.Errorf("%.2f: %d bytes of %d, %v dB after %v dB, unmet %q", share, r.Bytes, goal, r.Value, value, r.Unmet)
		}
		value = r.Value
		for _, p := range r.Log.Points {
			if p.Bytes <= goal && float64(p.Metric) > r.Value {
				t.Errorf("%.2f: %+v is better than %v dB", share, p, r.Value)
			}
		}
	}
	r := found(t, wide, "sqnr", Goals{MaxBytes: 100})
	for _, p := range r.Log.Points {
		if p.Bytes < r.Bytes {
			t.Errorf("%+v is smaller", p)
		}
	}
	if !strings.Contains(r.Unmet, "more than 100") || r.Log.Unmet != r.Unmet {
		t.Errorf("unmet %q, log %q", r.Unmet, r.Log.Unmet)
	}
}

// Goals that nothing reaches give the model that loses least.
func TestImpossibleDrop(t *testing.T) {
	r := found(t, wide, "cosine", drop(0))
	if !strings.Contains(r.Unmet, "no model was found that loses at most 0 (cosine)") {
		t.Errorf("unmet %q", r.Unmet)
	}
	for _, p := range r.Log.Points {
		if float64(*p.Drop) < r.Drop {
			t.Errorf("%+v loses less than %v", p, r.Drop)
		}
	}
	x := 1e-3
	both := found(t, wide, "cosine", Goals{&x, 1000})
	if !strings.Contains(both.Unmet, "more than 1000") || both.Drop > x {
		t.Errorf("drop %v, unmet %q", both.Drop, both.Unmet)
	}
}

// The same search gives the same plan on any number of threads, and within any budget keeps to the goal.
func TestSearchIsDeterministic(t *testing.T) {
	prep, po, o := options(t, wide, "cosine", drop(1e-3))
	var want string
	for i, threads := range []int{1, 2, 1} {
		po.Threads = threads
		o.Work = map[bool]string{true: t.TempDir()}[i == 2]
		r, err := Run(t.Context(), prep, po, o)
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = asJSON(t, r.Plan)
		}
		if d := cmp.Diff(want, asJSON(t, r.Plan)); d != "" {
			t.Errorf("%d threads: %s", threads, d)
		}
	}
	for _, budget := range []float64{1, 1e6} {
		o.Budget = budget
		r, err := Run(t.Context(), prep, po, o)
		if err != nil || r.Unmet != "" {
			t.Errorf("budget %v: %v, unmet %q", budget, err, r.Unmet)
		}
	}
}

func asJSON(t testing.TB, p *plan.Plan) string {
	t.Helper()
	var b strings.Builder
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A search that was interrupted, at whatever candidate, and goes on gives what an uninterrupted one gives, and measures nothing twice.
func TestResume(t *testing.T) {
	prep, po, o := options(t, wide, "cosine", drop(1e-4))
	builds := 0
	build := o.Build
	var stop context.CancelFunc
	limit := -1
	o.Build = func(p *plan.Plan) (*onnx.Model, error) {
		if builds++; builds == limit {
			stop()
		}
		return build(p)
	}
	want, err := Run(t.Context(), prep, po, o)
	if err != nil {
		t.Fatal(err)
	}
	all := builds
	for limit = 1; limit <= all; limit += 3 {
		o.Work, builds = filepath.Join(t.TempDir(), "work"), 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stop = cancel
		if _, err := Run(ctx, prep, po, o); !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at build %d: %v", limit, err)
		}
		name := filepath.Join(o.Work, journalName)
		before, _ := os.ReadFile(name)
		if err := os.WriteFile(name, append(before, `{"key":"cut`...), 0o666); err != nil { // as if it had died while writing
			t.Fatal(err)
		}
		limitWas := limit
		limit = -1
		got, err := Run(t.Context(), prep, po, o)
		limit = limitWas
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.Log, got.Log); d != "" || asJSON(t, got.Plan) != asJSON(t, want.Plan) {
			t.Errorf("stopped at build %d: another result: %s", limit, d)
		}
		after, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(after), string(before)) || strings.Contains(string(after), "cut") {
			t.Errorf("stopped at build %d: the journal was not gone on with: %v", limit, err)
		}
		if left, _ := filepath.Glob(filepath.Join(o.Work, "candidate-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	// Once more: nothing is measured.
	lines := func() int {
		b, err := os.ReadFile(filepath.Join(o.Work, journalName))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "\n")
	}
	n := lines()
	if _, err := Run(t.Context(), prep, po, o); err != nil || lines() != n {
		t.Errorf("%d lines in the journal, then %d: %v", n, lines(), err)
	}
}

func TestWorkThatCannotBeUsed(t *testing.T) {
	prep, po, o := options(t, wide, "cosine", drop(1e-4))
	o.Work = filepath.Join(t.TempDir(), "work")
	if err := os.WriteFile(o.Work, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), prep, po, o); !errors.Is(err, ErrWork) {
		t.Errorf("a file: %v", err)
	}
	o.Work = t.TempDir()
	if err := os.WriteFile(filepath.Join(o.Work, journalName), []byte("no journal\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), prep, po, o); !errors.Is(err, ErrWork) || !strings.Contains(err.Error(), "line 1 is not of a search") {
		t.Errorf("another file: %v", err)
	}
}

// A search finds the last k for which something holds, and any one where that changes more than once.
func TestBisect(t *testing.T) {
	for last := range 40 {
		s := &searcher{Options: Options{Budget: math.Inf(1)}}
		asked := 0
		k, err := s.bisect(0, 39, func(k int) (bool, error) { asked++; return k <= last, nil })
		if err != nil || k != last || asked > 7 {
			t.Errorf("%d: %d after %d, %v", last, k, asked, err)
		}
	}
	s := &searcher{Options: Options{Budget: math.Inf(1)}}
	odd := func(k int) (bool, error) { return k%2 == 0, nil }
	if k, _ := s.bisect(0, 39, odd); k%2 != 0 {
		t.Errorf("%d", k)
	}
	s.Budget, s.work = 0, 1
	if k, _ := s.bisect(3, 39, odd); k != 3 {
		t.Errorf("without a budget %d", k)
	}
}

// Steps go down the lower hull: a form that another beats is not taken, and no step costs less for a byte than the one before.
func TestHull(t *testing.T) {
	p := func(types ...string) []*plan.Plan {
		var all []*plan.Plan
		for _, name := range types {
			all = append(all, &plan.Plan{Nodes: []plan.Node{{Key: "n", Weights: &plan.Weights{Form: plan.Form{Type: name}}}}})
		}
		return all
	}
	for _, c := range []struct {
		stored []int64
		noise  []float64
		want   []int
	}{
		{[]int64{100, 75, 50, 25}, []float64{0, 1, 4, 20}, []int{1, 2, 3}},
		{[]int64{100, 75, 50, 25}, []float64{0, 5, 4, 20}, []int{2, 3}},
		{[]int64{100, 75, 50, 50}, []float64{0, 1, 4, 3}, []int{1, 3}},
		{[]int64{100, 120, 100}, []float64{0, 0, 0}, nil},
		{[]int64{100, 50, 25}, []float64{3, 2, 1}, []int{2}},
	} {
		l := &ladder{rungs: p("int8", "int6", "int4", "int2")[:len(c.stored)]}
		l.add([]string{"n"}, c.stored, c.noise)
		l.sort()
		var got []int
		for i, s := range l.steps {
			got = append(got, s.to)
			if s.previous != i-1 {
				t.Errorf("%v: step %d follows %d", c.noise, i, s.previous)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("bytes %v, noise %v: rungs %v, want %v", c.stored, c.noise, got, c.want)
		}
	}
}
