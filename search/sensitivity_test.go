package search

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/verify"
)

// The weights whose rows differ most in size suffer most, whatever figure ranks; shares add up; two threads see what one sees.
func TestRank(t *testing.T) {
	prep, o := prepared(t, uneven)
	var first *Sensitivity
	for _, name := range []string{"sqnr", "cosine", "kl", "distance"} {
		o.Threads = 1 + len(name)%2
		s, err := Rank(t.Context(), prep, o, metric.Named(name))
		if err != nil {
			t.Fatal(err)
		}
		if s.Nodes[0].Key != "second" || len(s.Nodes) != 3 || s.Data.Samples != 16 {
			t.Errorf("%s: %s is the worst of %d, on %d samples", name, s.Nodes[0].Key, len(s.Nodes), s.Data.Samples)
		}
		share, worst := 0.0, math.Inf(1)
		for _, n := range s.Nodes {
			share += float64(n.Share)
			if n.Weights == nil || n.Activations == nil || n.Both == nil || n.Type != "int8" || n.Bytes != 4*32*32 || n.MACs != 32*32 {
				t.Errorf("%s: %+v", name, n)
			}
			worst = min(worst, float64(n.Both.SQNR))
		}
		if math.Abs(share-1) > 1e-9 || float64(s.Together.SQNR) >= worst {
			t.Errorf("%s: shares of %v, together %v dB, one alone %v dB", name, share, s.Together.SQNR, worst)
		}
		if first == nil {
			first = s
		}
		byKey := func(a, b NodeDamage) int { return slices.Compare([]byte(a.Key), []byte(b.Key)) }
		a, b := slices.SortedFunc(slices.Values(first.Nodes), byKey), slices.SortedFunc(slices.Values(s.Nodes), byKey)
		if d := cmp.Diff(a, b); d != "" {
			t.Errorf("%s: other figures: %s", name, d)
		}
	}
	if _, err := Rank(t.Context(), prep, o, metric.Named("accuracy")); !errors.Is(err, verify.ErrUsage) {
		t.Errorf("accuracy without labels: %v", err)
	}
	o.Calibration, o.Probes = nil, nil
	if _, err := Rank(t.Context(), prep, o, metric.Named("sqnr")); err == nil {
		t.Error("ranked without samples")
	}
}
