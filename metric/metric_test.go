package metric

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var inf, nan = float32(math.Inf(1)), float32(math.NaN())

// Three samples of two rows of four classes; the figures are numpy's.
var golden = []struct{ ref, got []float32 }{
	{
		[]float32{0.001, 0.299, -0.274, -0.891, -0.455, -0.992, 0.06, 1.34},
		[]float32{-0.147, 0.113, -0.127, -0.784, -0.423, -1.271, 0.051, 1.549},
	},
	{
		[]float32{-1.344, -0.458, -1.901, -1.29, -1.842, -0.235, -1.267, 0.271},
		[]float32{-1.297, -0.514, -2.656, -1.452, -1.857, -0.201, -1.726, 0.128},
	},
	{
		[]float32{-0.979, -0.809, 1.061, -0.808, -0.033, 0.884, -0.584, -0.112},
		[]float32{-0.946, -0.79, 0.693, -0.785, 0.475, 0.42, -0.326, -0.076},
	},
}

func near(got Number, want float64) bool { return math.Abs(float64(got)/want-1) < 1e-13 }

func TestFiguresAgreeWithNumpy(t *testing.T) {
	c := Comparison{Classes: 4}
	for _, s := range golden {
		if err := c.Observe(s.ref, s.got); err != nil {
			t.Fatal(err)
		}
	}
	r := c.Result()
	for _, f := range []struct {
		name string
		got  Number
		want float64
	}{
		{"sqnr", r.SQNR, 10.833163295128843},
		{"cosine", r.Cosine, 0.9650431583631742},
		{"cosine_min", r.CosineMin, 0.9269566316691916},
		{"max_abs", r.MaxAbs, 0.7549998760223389},
		{"mean_abs", r.MeanAbs, 0.18737499174797753},
		{"top1", *r.Top1, 5.0 / 6},
		{"kl", *r.KL, 0.025131414238095718},
	} {
		if !near(f.got, f.want) {
			t.Errorf("%s = %v, want %v", f.name, f.got, f.want)
		}
	}
	if r.Samples != 3 || r.Values != 24 || r.NonFinite != 0 {
		t.Errorf("counted %d samples, %d values, %d not finite", r.Samples, r.Values, r.NonFinite)
	}
}

func TestSpecialOutputs(t *testing.T) {
	none := math.NaN()
	for _, c := range []struct {
		name                       string
		ref, got                   []float32
		sqnr, cosine, maxAbs, top1 float64
		nonFinite                  uint64
	}{
		{"identical", []float32{1, 2}, []float32{1, 2}, 200, 1, 0, 1, 0},
		{"both zero", []float32{0, 0}, []float32{0, 0}, 200, 1, 0, 1, 0},
		{"reference zero", []float32{0, 0}, []float32{0, 1}, -200, 0, 1, 0, 0},
		{"output zero", []float32{3, 0}, []float32{0, 0}, 0, 0, 3, 1, 0},
		{"empty", nil, nil, 200, 1, 0, none, 0},
		{"opposite", []float32{1, 0}, []float32{-1, 0}, -10 * math.Log10(4), -1, 2, 0, 0},
		{"NaN", []float32{1, 2}, []float32{nan, 2}, none, none, none, 0, 1},
		{"Inf", []float32{1, 2}, []float32{1, inf}, -200, none, math.Inf(1), 1, 1},
		{"both Inf", []float32{1, inf}, []float32{1, inf}, none, none, none, 1, 1},
		{"subnormal", []float32{1e-45, 0}, []float32{0, 0}, 0, 0, 1.401298464324817e-45, 1, 0},
		{"huge", []float32{math.MaxFloat32, 0}, []float32{-math.MaxFloat32, 0}, -10 * math.Log10(4), -1, 2 * math.MaxFloat32, 0, 0},
	} {
		k := Comparison{Classes: 2}
		if err := k.Observe(c.ref, c.got); err != nil {
			t.Fatal(err)
		}
		r := k.Result()
		for _, f := range []struct {
			name      string
			got, want float64
		}{
			{"sqnr", float64(r.SQNR), c.sqnr},
			{"cosine", float64(r.Cosine), c.cosine},
			{"cosine_min", float64(r.CosineMin), c.cosine},
			{"max_abs", float64(r.MaxAbs), c.maxAbs},
			{"top1", float64(*r.Top1), c.top1},
		} {
			if f.got != f.want && !(math.IsNaN(f.got) && math.IsNaN(f.want)) && !(math.Abs(f.got-f.want) < 1e-13) {
				t.Errorf("%s: %s = %v, want %v", c.name, f.name, f.got, f.want)
			}
		}
		if r.NonFinite != c.nonFinite {
			t.Errorf("%s: %d values not finite, want %d", c.name, r.NonFinite, c.nonFinite)
		}
	}
}

func TestNothingComparedIsNotGood(t *testing.T) {
	r := new(Comparison).Result()
	for _, m := range Metrics {
		if v := m.Of(r); !math.IsNaN(v) {
			t.Errorf("%s of no samples = %v, want NaN", m.Name, v)
		}
	}
}

func TestNaNInOneSampleStaysInTheWhole(t *testing.T) {
	c := Comparison{Classes: 2}
	for _, got := range [][]float32{{1, 2}, {nan, 2}, {1, 2}} {
		if err := c.Observe([]float32{1, 2}, got); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range Metrics {
		if v := m.Of(c.Result()); m.Name != "top1" && !math.IsNaN(v) {
			t.Errorf("%s = %v, want NaN", m.Name, v)
		}
	}
}

func TestUnequalLengthsAreRefused(t *testing.T) {
	for _, c := range []struct {
		ref, got [][]float32
		text     string
	}{
		{[][]float32{{1, 2}}, [][]float32{{1}}, "1 values cannot be compared with 2"},
		{[][]float32{{1, 2}}, nil, "0 tensors cannot be compared with 1"},
		{[][]float32{{1, 2, 3}}, [][]float32{{1, 2, 3}}, "3 values are not rows of 2 classes"},
	} {
		k := Comparison{Classes: 2}
		err := k.ObserveAll(c.ref, c.got)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("error %v, want %q", err, c.text)
		}
		if k.samples != 0 {
			t.Errorf("%s: the refused sample was counted", c.text)
		}
	}
	if err := new(Comparison).Merge(&Comparison{Classes: 2}); err == nil {
		t.Error("comparisons of different classes were merged")
	}
}

func TestDivergence(t *testing.T) {
	for _, c := range []struct {
		name     string
		ref, got []float32
		want     float64
	}{
		{"probabilities with zeros", []float32{.5, .25, .25, 0}, []float32{.5, .5, 0, 0}, 5.236602346641495},
		{"equal probabilities", []float32{.5, .5}, []float32{.5, .5}, 0},
		{"probabilities need not sum to 1 after rounding", []float32{.5, .5}, []float32{.25, .25}, 0},
		{"logits moved by a constant", []float32{1, 2, 4}, []float32{11, 12, 14}, 0},
		{"two logits", []float32{0, 2}, []float32{2, 0}, 2 * math.Tanh(1)},
		{"masked logits", []float32{0, 2, -inf}, []float32{2, 0, -inf}, 2 * math.Tanh(1)},
		{"huge logits", []float32{3e38, -3e38}, []float32{3e38, -3e38}, 0},
		{"class excluded by the output", []float32{0, 2}, []float32{-inf, 2}, math.Inf(1)},
		{"NaN", []float32{0, 2}, []float32{nan, 2}, math.NaN()},
		{"NaN probability", []float32{.5, .5}, []float32{nan, 1}, math.NaN()},
	} {
		got := Divergence(c.ref, c.got)
		if got != c.want && !(math.Abs(got-c.want) < 1e-12) && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDivergenceIsNotNegative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		row := rapid.SliceOfN(rapid.Float32Range(-50, 50), n, n)
		if d := Divergence(row.Draw(t, "ref"), row.Draw(t, "got")); !(d >= -1e-13) {
			t.Errorf("divergence %v", d)
		}
	})
}

func TestMergingSamplesInOrderGivesTheSameBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes := rapid.IntRange(0, 3).Draw(t, "classes")
		whole, merged := Comparison{Classes: classes}, Comparison{Classes: classes}
		for range rapid.IntRange(0, 6).Draw(t, "samples") {
			n := max(classes, 1) * rapid.IntRange(0, 5).Draw(t, "rows")
			values := rapid.SliceOfN(rapid.Float32(), n, n)
			ref, got := values.Draw(t, "ref"), values.Draw(t, "got")
			one := Comparison{Classes: classes}
			for _, c := range []*Comparison{&whole, &one} {
				if err := c.Observe(ref, got); err != nil {
					t.Fatal(err)
				}
			}
			if err := merged.Merge(&one); err != nil {
				t.Fatal(err)
			}
		}
		if whole != merged && !sameButNaN(whole, merged) {
			t.Errorf("in one %+v, merged %+v", whole, merged)
		}
	})
}

func sameButNaN(a, b Comparison) bool {
	fields := func(c Comparison) []float64 {
		return []float64{float64(c.samples), float64(c.values), c.signal, c.noise, c.absolute, c.largest, c.cosine, c.leastCosine, float64(c.rows), float64(c.same), c.divergence}
	}
	return slices.EqualFunc(fields(a), fields(b), func(x, y float64) bool { return x == y || x != x && y != y })
}

// Several outputs are one vector, as the judge has it.
func TestSeveralTensorsAreOneVector(t *testing.T) {
	s := golden[0]
	var whole, parts Comparison
	if err := whole.Observe(s.ref, s.got); err != nil {
		t.Fatal(err)
	}
	if err := parts.ObserveAll([][]float32{s.ref[:3], nil, s.ref[3:]}, [][]float32{s.got[:3], nil, s.got[3:]}); err != nil {
		t.Fatal(err)
	}
	if whole != parts {
		t.Errorf("whole %+v, parts %+v", whole, parts)
	}
}

func TestResultAsJSON(t *testing.T) {
	c := Comparison{Classes: 2}
	if err := c.Observe([]float32{1, 2}, []float32{1, nan}); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c.Result())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"samples":1,"values":2,"nonfinite_values":1,"sqnr":null,"cosine":null,"cosine_min":null,"max_abs":null,"mean_abs":null,"top1":1,"kl":null}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if !math.IsNaN(float64(r.SQNR)) || *r.Top1 != 1 {
		t.Errorf("read back as %+v", r)
	}
}

func TestClip(t *testing.T) {
	var c Clip
	c.Observe([]float32{-1.5, -1, 0, 1, 1.5, inf, nan, 0.5}, -1, 1)
	c.Merge(Clip{Clipped: 0, Values: 8})
	if c.Clipped != 4 || c.Values != 16 || c.Share() != 0.25 {
		t.Errorf("%+v, share %v", c, c.Share())
	}
	if s := (Clip{}).Share(); s != 0 {
		t.Errorf("share of nothing is %v", s)
	}
}

func FuzzDivergence(f *testing.F) {
	f.Add(float32(0), float32(1), float32(.5), float32(.5))
	f.Add(inf, -inf, nan, float32(1e-45))
	f.Fuzz(func(t *testing.T, a, b, c, d float32) {
		v := Divergence([]float32{a, b}, []float32{c, d})
		finite := a-a == 0 && b-b == 0 && c-c == 0 && d-d == 0
		if finite && !(v >= -1e-12) {
			t.Errorf("divergence %v", v)
		}
	})
}

func BenchmarkObserve(b *testing.B) {
	ref, got := make([]float32, 1<<20), make([]float32, 1<<20)
	for i := range ref {
		ref[i] = float32(i%1013) - 500
		got[i] = ref[i] + float32(i%7)
	}
	for _, c := range []struct {
		name    string
		classes int
	}{{"plain", 0}, {"1024 classes", 1024}} {
		b.Run(c.name, func(b *testing.B) {
			k := Comparison{Classes: c.classes}
			for b.Loop() {
				if err := k.Observe(ref, got); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(ref))/b.Elapsed().Seconds()/1e6, "Mvalues/s")
		})
	}
}

// The same bits on every machine and with every GOAMD64.
func TestFigureBits(t *testing.T) {
	c := Comparison{Classes: 4}
	for _, s := range golden {
		if err := c.ObserveLabelled(s.ref, s.got, []int64{1, -1}); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]uint64{
		"cosine":   0x3feee1a2308cbf8c,
		"sqnr":     0x4025aa9461219ca8,
		"max_abs":  0x3fe828f580000000,
		"mean_abs": 0x3fc7fbe75ad2aaab,
		"top1":     0x3feaaaaaaaaaaaab,
		"kl":       0x3f99bc0ca904f758,
		"distance": 0x3fa1e5dcf7340740, "accuracy": 0x3fe5555555555555, "cross-entropy": 0x3ff3fae8bbd5ce1c,
	}
	for _, m := range Metrics {
		if got := math.Float64bits(m.Of(c.Result())); got != want[m.Name] {
			t.Errorf("%s: %#x, want %#x", m.Name, got, want[m.Name])
		}
	}
}

func TestNoiseIsTheInverseOfSQNR(t *testing.T) {
	for _, c := range []struct {
		ref, got []float32
		want     float64
	}{
		{[]float32{3, 4}, []float32{3, 4}, 0},
		{[]float32{3, 4}, []float32{3, 3}, 1.0 / 25},
		{[]float32{0, 0}, []float32{0, 0}, 0},
		{[]float32{0, 0}, []float32{0, 1}, 1e20},
		{[]float32{1, 1}, []float32{nan, 1}, math.NaN()},
	} {
		var k Comparison
		if err := k.Observe(c.ref, c.got); err != nil {
			t.Fatal(err)
		}
		if n := k.Noise(); n != c.want && (n == n || c.want == c.want) {
			t.Errorf("%v against %v: %v, want %v", c.got, c.ref, n, c.want)
		}
	}
}
