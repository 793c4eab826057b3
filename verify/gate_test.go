package verify

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/metric"
)

func TestParseGate(t *testing.T) {
	for _, c := range []struct {
		text string
		want Gate
	}{
		{"sqnr < 20", Gate{"sqnr", "<", 20, "outputs"}},
		{"sqnr<20@layers", Gate{"sqnr", "<", 20, "layers"}},
		{"  cosine <= .99 @ outputs ", Gate{"cosine", "<=", 0.99, "outputs"}},
		{"max_abs >= 1e-3 @/net/conv_*", Gate{"max_abs", ">=", 1e-3, "/net/conv_*"}},
		{"mean_abs>-1 @a b@c", Gate{"mean_abs", ">", -1, "a b@c"}},
		{"top1 < 1", Gate{"top1", "<", 1, "outputs"}},
		{"kl > 0.5 @y", Gate{"kl", ">", 0.5, "y"}},
	} {
		g, err := ParseGate(c.text)
		if err != nil || g != c.want {
			t.Errorf("%q: %+v, %v; want %+v", c.text, g, err, c.want)
		}
	}
	for _, c := range []struct{ text, problem string }{
		{"", "no comparison"},
		{"sqnr 20", "no comparison"},
		{"sqnr = 20", "no comparison"},
		{"snr < 20", `unknown metric "snr", there are cosine, sqnr, max_abs, mean_abs, top1, kl`},
		{"< 20", `unknown metric ""`},
		{"sqnr <", `"" is no number`},
		{"sqnr << 20", `"< 20" is no number`},
		{"sqnr <> 20", `"> 20" is no number`},
		{"sqnr < 20 dB", `"20 dB" is no number`},
		{"sqnr < NaN", `"NaN" is no number`},
		{"sqnr < inf", `"inf" is no number`},
		{"sqnr < 1e999", `"1e999" is no number`},
		{"sqnr < 20 @", "nothing stands behind @"},
	} {
		g, err := ParseGate(c.text)
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%q: %+v, error %v; want %s", c.text, g, err, c.problem)
		}
	}
}

func FuzzParseGate(f *testing.F) {
	for _, s := range []string{"sqnr < 20", "cosine<=.99@layers", "kl >= 1e-3 @/a/b_*", "top1 > 0x1p-2 @\x00", "max_abs <> 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseGate(s)
		if err != nil {
			if !errors.Is(err, ErrUsage) || g != (Gate{}) {
				t.Fatalf("%+v, %v", g, err)
			}
			return
		}
		if again, err := ParseGate(g.String()); err != nil || again != g {
			t.Fatalf("%q is %+v, printed %q and read again %+v, %v", s, g, g.String(), again, err)
		}
	})
}

// gateReport has two outputs, of which one has classes, and three layers, of which one was not measured.
func gateReport() *Report {
	num := func(v float64) *metric.Number { n := metric.Number(v); return &n }
	r := NotVerified("")
	r.Outputs.Each = []OutputError{
		{Name: "y", Classes: 10, Result: &metric.Result{SQNR: 30, Cosine: 0.99, MaxAbs: 1, MeanAbs: 0.1, Top1: num(0.9), KL: num(0.2)}},
		{Name: "boxes", Result: &metric.Result{SQNR: 40, Cosine: 0.98, MaxAbs: 3, MeanAbs: 0.01}},
		{Name: "names", NotMeasured: "it holds string"},
	}
	r.Layers = []LayerError{
		{Key: "/a/conv", Tensor: "a_out", Accumulated: &Measurement{Result: metric.Result{SQNR: 25, Cosine: 0.97, MaxAbs: metric.Number(math.Inf(1)), MeanAbs: 0.5}}},
		{Key: "/a/relu", Tensor: "r_out", Accumulated: &Measurement{Result: metric.Result{SQNR: metric.Number(math.NaN()), Cosine: 1, MaxAbs: 0.5, MeanAbs: 0.2}}},
		{Key: "/b/conv", Tensor: "b_out", NotAccumulated: "gone"},
	}
	return r
}

func TestGates(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		expr  string
		value float64
		where string
		pass  bool
	}{
		// The worst of the outputs counts, in the metric's own sense of worse.
		{"sqnr < 30", 30, "y", true},
		{"sqnr <= 30", 30, "y", false},
		{"sqnr > 35", 30, "y", true},
		{"cosine < 0.985", 0.98, "boxes", false},
		{"max_abs > 2", 3, "boxes", false},
		{"max_abs >= 3", 3, "boxes", false},
		{"mean_abs > 0.1", 0.1, "y", true},
		{"top1 < 0.95", 0.9, "y", false},
		{"kl > 0.1", 0.2, "y", false},
		// Layers: NaN is the worst, and fails whatever the comparison.
		{"sqnr < 0 @layers", nan, "/a/relu", false},
		{"sqnr > 0 @layers", nan, "/a/relu", false},
		{"max_abs > 1e9 @layers", inf, "/a/conv", false},
		{"cosine < 0.9 @layers", 0.97, "/a/conv", true},
		// Globs match keys, and tensors, of layers and of outputs.
		{"sqnr < 20 @/a/conv", 25, "/a/conv", true},
		{"mean_abs > 0.3 @/*/conv", 0.5, "/a/conv", false},
		{"mean_abs > 0.3 @?_out", 0.5, "/a/conv", false},
		{"sqnr < 50 @box*", 40, "boxes", false},
		{"mean_abs > 0.15 @[ry]*", 0.2, "/a/relu", false},
	} {
		g, err := ParseGate(c.expr)
		if err != nil {
			t.Fatal(err)
		}
		r := gateReport()
		if err := r.Evaluate([]Gate{g}); err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		got := r.Gates[0]
		v := float64(got.Value)
		if v != c.value && !(v != v && c.value != c.value) || got.Where != c.where || got.Pass != c.pass || r.Pass() != c.pass {
			t.Errorf("%s: %+v, want %v at %s, pass %v", c.expr, got, c.value, c.where, c.pass)
		}
	}
	for _, c := range []struct{ expr, problem string }{
		{"sqnr < 1 @nothing*", "matches no output and no layer"},
		{"sqnr < 1 @a[", "matches no output and no layer"},
		{"top1 < 1 @layers", "nothing that it matches has the figure top1"},
		{"sqnr < 1 @names", "nothing that it matches has the figure sqnr"},
		{"sqnr < 1 @/b/*", "nothing that it matches has the figure sqnr"},
	} {
		g, err := ParseGate(c.expr)
		if err != nil {
			t.Fatal(err)
		}
		if err := gateReport().Evaluate([]Gate{g}); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %v", c.expr, err)
		}
	}
	if r := gateReport(); r.Evaluate(nil) != nil || !r.Pass() {
		t.Error("a report without gates does not pass")
	}
}

func TestAnyFailingGateFails(t *testing.T) {
	r := gateReport()
	if err := r.Evaluate([]Gate{{"sqnr", "<", 10, "outputs"}, {"cosine", "<", 0.985, "outputs"}}); err != nil {
		t.Fatal(err)
	}
	if !r.Gates[0].Pass || r.Gates[1].Pass || r.Pass() {
		t.Errorf("%+v", r.Gates)
	}
}
