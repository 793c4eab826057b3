package verify

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/data"
)

// A reference gives the figures that a whole verification gives, to the bit, of one model after the other.
func TestReference(t *testing.T) {
	m := chain()
	set := probes(t, m, 5)
	ref, err := NewReference(context.Background(), m, set, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if ref.Samples() != 5 {
		t.Errorf("%d samples", ref.Samples())
	}
	for _, name := range []string{"w1", "w3"} {
		q := damage(m, name)
		got, err := ref.Compare(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		want := verify(t, m, q, nil, set, Options{}).Outputs
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s damaged: %s", name, d)
		}
		r := got.Result()
		if r.SQNR != want.Pooled.SQNR || r.SQNR >= 100 || *r.KL != *want.Each[0].KL || r.Labels != nil {
			t.Errorf("as a whole: %+v", r)
		}
	}
}

func TestReferenceErrors(t *testing.T) {
	m := chain()
	if _, err := NewReference(context.Background(), m, &data.Set{}, Options{}); !errors.Is(err, data.ErrBadData) {
		t.Errorf("no samples: %v", err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := NewReference(ended, m, probes(t, m, 1), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
