package metric

import (
	"math"
	"strings"
	"testing"
)

// Logits whose softmax is known: ln 1, ln 3 gives 1/4 and 3/4.
func TestLabels(t *testing.T) {
	ln3 := float32(math.Log(3))
	c := Comparison{Classes: 2}
	// Float is right twice and unsure by ¾ each time; the other is right once: once sure by ¾, once by ¼.
	for _, s := range []struct {
		ref, got []float32
		labels   []int64
	}{
		{[]float32{0, ln3, 7, 7}, []float32{0, ln3, 1, 2}, []int64{1, -100}},
		{[]float32{ln3, 0, 0, ln3}, []float32{0, ln3, 5, 5}, []int64{0, -1}},
	} {
		if err := c.ObserveLabelled(s.ref, s.got, s.labels); err != nil {
			t.Fatal(err)
		}
	}
	r := c.Result()
	if r.Labels == nil || r.Labels.Rows != 2 {
		t.Fatalf("labels %+v", r.Labels)
	}
	loss := -(math.Log(0.75) + math.Log(0.25)) / 2
	for _, f := range []struct {
		name      string
		got, want float64
	}{
		{"accuracy", Named("accuracy").Of(r), 0.5},
		{"drop of accuracy", Named("accuracy").Drop(r), 0.5},
		{"cross-entropy", Named("cross-entropy").Of(r), loss},
		{"drop of cross-entropy", Named("cross-entropy").Drop(r), loss + math.Log(0.75)},
	} {
		if math.Abs(f.got-f.want) > 1e-7 {
			t.Errorf("%s is %v, want %v", f.name, f.got, f.want)
		}
	}
	var half, all Comparison
	half.Classes, all.Classes = 2, 2
	for range 2 {
		if err := half.ObserveLabelled([]float32{0, 1}, []float32{1, 0}, []int64{1}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := all.Merge(&half); err != nil {
			t.Fatal(err)
		}
	}
	if l := all.Result().Labels; l.Rows != 4 || l.Accuracy != 0 || l.FloatAccuracy != 1 {
		t.Errorf("merged %+v", l)
	}
}

// Probabilities stay probabilities, even where 8-bit codes no longer sum to 1.
func TestLabelsOfProbabilities(t *testing.T) {
	c := Comparison{Classes: 2}
	if err := c.ObserveLabelled([]float32{0.75, 0.25}, []float32{0.5, 0.25}, []int64{0}); err != nil {
		t.Fatal(err)
	}
	l := c.Result().Labels
	if math.Abs(float64(l.FloatCrossEntropy)+math.Log(0.75)) > 1e-9 || math.Abs(float64(l.CrossEntropy)+math.Log(2.0/3)) > 1e-9 {
		t.Errorf("%+v", l)
	}
}

func TestLabelsThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		classes int
		labels  []int64
		want    string
	}{
		{2, []int64{2, 0}, "label 2 is none of 2 classes"},
		{2, []int64{0}, "1 labels are not one for each"},
		{0, []int64{0, 0}, "rows of 0 classes"},
	} {
		k := Comparison{Classes: c.classes}
		if err := k.ObserveLabelled(make([]float32, 4), make([]float32, 4), c.labels); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.labels, err, c.want)
		}
	}
}

// A figure without what it needs is NaN, and says what that is; an exact copy has dropped nothing.
func TestMetricsSayWhatTheyNeed(t *testing.T) {
	var bare, full Comparison
	full.Classes = 2
	x := []float32{1, 2}
	if err := bare.Observe(x, x); err != nil {
		t.Fatal(err)
	}
	if err := full.ObserveLabelled(x, x, []int64{1}); err != nil {
		t.Fatal(err)
	}
	for _, m := range Metrics {
		if in := m.In(bare.Result()); in != (m.Needs == "") || in == math.IsNaN(m.Of(bare.Result())) {
			t.Errorf("%s: in %v, needs %q, is %v", m.Name, in, m.Needs, m.Of(bare.Result()))
		}
		if !m.In(full.Result()) {
			t.Errorf("%s is missing", m.Name)
		}
		if m.Drop != nil && math.Abs(m.Drop(full.Result())) > 1e-15 {
			t.Errorf("%s: a copy drops %v", m.Name, m.Drop(full.Result()))
		}
	}
	if Named("sqnr").Drop != nil || Named("none") != nil {
		t.Error("a ratio in decibels has no drop")
	}
}
