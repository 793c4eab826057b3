package plan

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

// compensable is a product of correlated inputs, and one of white ones.
func compensable(b *builder) {
	x := b.input("x", 64, 8)
	mixed := b.op("MatMul", "mixed", in(x, b.normal("mix", 1, 8, 96)))
	y := b.op("MatMul", "a", in(b.op("Tanh", "h", in(mixed)), b.normal("w1", 0.2, 96, 128)))
	b.output(b.op("MatMul", "b", in(b.op("Relu", "r", in(y)), b.normal("w2", 0.2, 128, 96))))
}

// whole returns the SQNR of what a plan says of the weights, on samples that it was not made from.
func whole(t *testing.T, prep *Prepared, p *Plan) float64 {
	t.Helper()
	r, err := newRunner(t.Context(), prep.Model, nil, samplesOf(t, prep, 12), 12, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := change{}
	for _, s := range Survey(prep.Model) {
		w := p.Node(s.Key).Weights
		if w == nil {
			continue
		}
		q, err := QuantizeSite(s, 0, w)
		if err != nil {
			t.Fatal(err)
		}
		x := q.Dequantize()
		if w.LowRank != nil {
			n, k, _ := q.Shape()
			f, err := w.LowRank.Factors(k, n)
			if err != nil {
				t.Fatal(err)
			}
			f.LowRank().AddTo(x, s.Axes[0] == 0)
		}
		c[engine.Edge{Node: s.Key, Input: 1}] = constantly(onnx.Of(x, q.Dims...))
	}
	db, err := r.measure(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// What the terms are said to gain they gain: the more, the more is known of the inputs.
func TestLowRankTermsGain(t *testing.T) {
	form := Form{Type: "uint4", Block: 32}
	made := func(set func(o *Options)) (*Plan, float64) {
		prep, p := planned(t, build(compensable), func(o *Options) {
			o.Activations, o.Equalize, o.Weights = ModeFloat, EqualizeNone, form
			set(o)
		})
		return p, whole(t, prep, p)
	}
	_, rounded := made(func(o *Options) { o.Rounding = "rtn" })
	_, solved := made(func(*Options) {})
	_, lorc := made(func(o *Options) { o.Compensate, o.Rounding = []string{"lorc"}, "rtn" })
	p, lqer := made(func(o *Options) { o.Compensate = []string{"lqer"} })
	t.Logf("rounded %.1f dB, with lorc %.1f dB; solved %.1f dB, with lqer %.1f dB", rounded, lorc, solved, lqer)
	if lorc < rounded+0.5 || lqer < solved+1 || lqer < lorc+2 {
		t.Errorf("rounded %.1f dB, with lorc %.1f dB; solved %.1f dB, with lqer %.1f dB", rounded, lorc, solved, lqer)
	}
	for _, key := range []string{"MatMul_a", "MatMul_b"} {
		w := p.Node(key).Weights
		if w.LowRank == nil || w.LowRank.Method != "lqer" || w.LowRank.Rank != DefaultRank || w.LowRank.Gain < 0.5 || w.Solved == nil {
			t.Fatalf("%s: %+v", key, w.LowRank)
		}
	}
	if w := p.Node("MatMul_mixed").Weights; w.LowRank != nil {
		t.Errorf("768 weights, which keep 8 bits, have the term %+v", w.LowRank)
	}
	// Both together: each layer has the one that is better on what is held back.
	p, both := made(func(o *Options) { o.Compensate = []string{"lorc", "lqer"} })
	if both < lqer-0.3 {
		t.Errorf("%.2f dB with both, %.2f dB with lqer alone", both, lqer)
	}
	// The plan carries the terms.
	var file bytes.Buffer
	if err := p.Write(&file); err != nil {
		t.Fatal(err)
	}
	again, err := Read(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	prep, err := Prepare(build(compensable), 0)
	if err != nil {
		t.Fatal(err)
	}
	if db := whole(t, prep, again); db != both {
		t.Errorf("%v dB after JSON, %v dB before", db, both)
	}
}

// A term takes no more bytes than 8 bits would: its rank falls, or there is none.
func TestLowRankTermsPayInBytes(t *testing.T) {
	for _, c := range []struct {
		form       Form
		rank, want int
	}{
		{Form{Type: "uint4", Block: 32}, 4, 4},
		{Form{Type: "uint4", Block: 32}, 500, 20},  // (96·128 + 4·128 − 96·128/2 − 5·3·128) / (96 + 128 + 4)
		{Form{Type: "uint2", Block: 32}, 500, 34},  // 2 bits less: 96·128/4 bytes more are left
		{Form{Type: "int6", Block: 0}, 500, 13},    // (96·128·2/8) / 228
		{Form{Type: "uint4", Block: 16}, 500, 12},  // six blocks a channel
		{Form{Type: "int8", Block: 32}, 500, 0},    // more than 8 bits already
		{Form{Type: "int8", Block: 0}, 500, 0},     // 8 bits
		{Form{Type: "uint8", Block: 128}, 500, 0},  // and their zero points
		{Form{Type: "binary", Block: 0}, 5000, 47}, // (96·128·7/8) / 228
	} {
		_, p := planned(t, build(compensable), func(o *Options) {
			o.Activations, o.Equalize, o.Weights = ModeFloat, EqualizeNone, c.form
			o.Compensate, o.Rank, o.Rounding = []string{"lorc"}, c.rank, "rtn"
		})
		got := 0
		if l := p.Node("MatMul_a").Weights.LowRank; l != nil {
			got = l.Rank
		}
		if got != c.want {
			t.Errorf("%v, rank %d: a term of rank %d, want %d", c.form, c.rank, got, c.want)
		}
	}
}

// What takes less than a tenth of a layer's noise away is left out.
func TestLowRankTermsMustGain(t *testing.T) {
	white := func(b *builder) {
		b.output(b.op("MatMul", "y", in(b.input("x", 64, 256), b.normal("w", 1, 256, 256))))
	}
	for _, c := range []struct {
		rank int
		want bool
	}{{1, false}, {32, true}} {
		_, p := planned(t, build(white), func(o *Options) {
			o.Activations, o.Equalize, o.Weights = ModeFloat, EqualizeNone, Form{Type: "uint4", Block: 32}
			o.Compensate, o.Rank, o.Rounding = []string{"lorc"}, c.rank, "rtn"
		})
		if l := p.Node("MatMul_y").Weights.LowRank; (l != nil) != c.want {
			t.Errorf("rank %d of white errors: %+v", c.rank, l)
		}
	}
}

// Biases are corrected unless nothing is to be made up for.
func TestCompensateNone(t *testing.T) {
	corrections := func(compensate ...string) (n int) {
		_, p := planned(t, build(func(b *builder) { b.output(b.conv("y", b.conv("h", b.input("x", 1, 8, 12, 12)))) }), func(o *Options) { o.Compensate = compensate })
		for _, d := range p.Nodes {
			if d.Weights != nil && d.Weights.Correction != nil {
				n++
			}
		}
		return n
	}
	if corrections() == 0 || corrections(CompensateBias) == 0 || corrections(CompensateNone) != 0 {
		t.Errorf("%d, %d and %d biases are corrected", corrections(), corrections(CompensateBias), corrections(CompensateNone))
	}
}

func TestPlansWithBadTerms(t *testing.T) {
	_, p := planned(t, build(compensable), func(o *Options) {
		o.Activations, o.Equalize, o.Weights, o.Compensate = ModeFloat, EqualizeNone, Form{Type: "uint4", Block: 32}, []string{"lqer"}
	})
	for _, c := range []struct {
		name, want string
		spoil      func(w *Weights)
	}{
		{"unknown", `"magic" is unknown`, func(w *Weights) { w.LowRank.Method = "magic" }},
		{"no rank", "rank 0", func(w *Weights) { w.LowRank.Rank = 0 }},
		{"few scales", "7 scales", func(w *Weights) { w.LowRank.Scales = w.LowRank.Scales[1:] }},
		{"no scale", "is none", func(w *Weights) { w.LowRank.Scales = append([]float32{float32(math.Inf(1))}, w.LowRank.Scales[1:]...) }},
		{"no codes beside it", "solved codes: false", func(w *Weights) { w.Solved = nil }},
		{"cut", "cannot be read", func(w *Weights) { w.LowRank.Codes = w.LowRank.Codes[:9] }},
		{"of another layer", "are not those of", func(w *Weights) { w.LowRank.Codes = deflated(make([]int8, 9)) }},
		{"of too many ranks", "above the rank", func(w *Weights) { w.LowRank.Rank, w.LowRank.Scales = 97, slices.Repeat([]float32{1}, 97) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			spoilt := p.clone()
			d := spoilt.Node("MatMul_a")
			w := *d.Weights
			l := *w.LowRank
			w.LowRank, d.Weights = &l, &w
			c.spoil(&w)
			err := d.check()
			if err == nil {
				_, err = l.Factors(96, 128)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
	}
}

// A study sees the terms of a plan.
func TestStudySeesLowRankTerms(t *testing.T) {
	options := func(o *Options) {
		o.Activations, o.Equalize, o.Weights, o.Compensate = ModeFloat, EqualizeNone, Form{Type: "uint2", Block: 32}, []string{"lqer"}
	}
	prep, p := planned(t, build(compensable), options)
	o := Options{Target: target.Targets[0], Range: quantize.RangeRule{Method: "minmax"}, Calibration: samplesOf(t, prep, 4), Guard: unguarded, Threads: 1}
	options(&o)
	s, err := NewStudy(t.Context(), prep, p, o)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Reform(o.Weights)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := whole(t, prep, p), whole(t, prep, again); a != b {
		t.Errorf("%v dB in the plan, %v dB of the study's", a, b)
	}
	four, err := s.Reform(Form{Type: "uint4", Block: 32, Storage: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	if l := four.Node("MatMul_a").Weights.LowRank; l == nil || l.Key() == p.Node("MatMul_a").Weights.LowRank.Key() {
		t.Error("weights of another form have the old term or none")
	}
}

// What is found beside a low-rank term is not what stands for weights without one, in another form.
func TestPartsOfAReformWithoutLowRankTerms(t *testing.T) {
	form := Form{Type: "uint2", Block: 32}
	var o Options
	prep, p := planned(t, build(compensable), func(have *Options) {
		have.Activations, have.Equalize, have.Weights, have.Compensate, have.Rounding = ModeFloat, EqualizeNone, form, []string{"lorc"}, "rtn"
		o = *have
	})
	if p.Node("MatMul_a").Weights.LowRank == nil {
		t.Fatal("no term")
	}
	s, err := NewStudy(t.Context(), prep, p, o)
	if err != nil {
		t.Fatal(err)
	}
	eight, err := s.Reform(usual)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := s.Parts(eight)
	if err != nil {
		t.Fatal(err)
	}
	var all []*Change
	for _, part := range parts {
		all = append(all, part.Weights)
	}
	if db := measuredAlone(t, s, []*Change{Together(all...)})[0]; db < 30 {
		t.Errorf("the parts of a plan with weights in 8 bits leave %.1f dB", db)
	}
}
