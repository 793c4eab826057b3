package verify

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// holds checks a histogram against a plain count of the finite values between its bounds.
func holds(t *rapid.T, h *Histogram, x []float32) {
	finite := map[float32]int{}
	for _, v := range x {
		if v-v == 0 {
			finite[v]++
		}
	}
	n := 0
	for _, count := range finite {
		n += count
	}
	if h == nil {
		if n > 0 {
			t.Fatalf("no histogram of %d values", n)
		}
		return
	}
	if len(h.Bounds) != len(h.Counts)+1 || h.values() != uint64(n) {
		t.Fatalf("%d bounds, %d buckets with %d values of %d", len(h.Bounds), len(h.Counts), h.values(), n)
	}
	for i, count := range h.Counts {
		lo, hi := float64(h.Bounds[i]), float64(h.Bounds[i+1])
		if lo >= hi {
			t.Fatalf("bounds %v, %v do not ascend", lo, hi)
		}
		inside, touching := 0, 0
		for v, times := range finite {
			switch f := float64(v); {
			case f > lo && f < hi:
				inside += times
			case f == lo || f == hi:
				touching += times
			}
		}
		if int(count) < inside || int(count) > inside+touching {
			t.Fatalf("%d values between %v and %v; there are %d, and %d at the bounds", count, lo, hi, inside, touching)
		}
	}
}

var anyFloat32 = rapid.OneOf(
	rapid.Map(rapid.Uint32(), math.Float32frombits),
	rapid.Float32Range(-3, 3),
	rapid.SampledFrom([]float32{0, 1, -1, 2, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, float32(math.Inf(1)), float32(math.NaN())}),
)

func TestTally(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOf(anyFloat32).Draw(t, "x")
		counts := new(tally)
		counts.add(x[:len(x)/2])
		counts.add(x[len(x)/2:])
		holds(t, counts.histogram(), x)
	})
}

func TestLinear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOf(anyFloat32).Draw(t, "x")
		h := linear(x)
		if len(h.Counts) != linearBuckets {
			t.Fatalf("%d buckets", len(h.Counts))
		}
		holds(t, h, x)
	})
}

// The buckets go from the least value to the greatest, four an octave.
func TestTallyBuckets(t *testing.T) {
	for _, c := range []struct {
		x    []float32
		want *Histogram
	}{
		{[]float32{float32(math.NaN()), float32(math.Inf(-1))}, nil},
		{[]float32{1, 1.2, 1.25, 1.9, 0}, &Histogram{[]metric.Number{-1, 1, 1.25, 1.5, 1.75, 2}, []uint64{1, 2, 1, 0, 1}}},
		{[]float32{-1, 1.7, 0.5}, &Histogram{[]metric.Number{-1.25, -1, -0.875, -0.75, -0.625, -0.5, 0.5, 0.625, 0.75, 0.875, 1, 1.25, 1.5, 1.75}, []uint64{1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1}}},
	} {
		counts := new(tally)
		counts.add(c.x)
		if d := cmp.Diff(c.want, counts.histogram()); d != "" {
			t.Errorf("%v: %s", c.x, d)
		}
	}
	counts := new(tally)
	counts.add([]float32{1e30, -1e30, 1e-30})
	if n := len(counts.histogram().Counts); n > 2*(octaves+1)*perOctave+1 {
		t.Errorf("%d buckets", n)
	}
}

func TestCodeHistogram(t *testing.T) {
	for _, c := range []struct {
		codes       *onnx.Tensor
		first, last metric.Number
		at          []int // the buckets that count one code each
	}{
		{onnx.Of([]int8{-128, -1, 0, 127}), -128, 128, []int{0, 31, 32, 63}},
		{onnx.Of([]uint8{0, 4, 255}), 0, 256, []int{0, 1, 63}},
		{onnx.Of([]int16{-32768, 0, 32767}), -32768, 32768, []int{0, 32, 63}},
		{onnx.Of([]uint16{1024, 65535}), 0, 65536, []int{1, 63}},
	} {
		h := codeHistogram(c.codes)
		want := make([]uint64, linearBuckets)
		for _, i := range c.at {
			want[i]++
		}
		if d := cmp.Diff(want, h.Counts); d != "" || h.Bounds[0] != c.first || h.Bounds[len(h.Bounds)-1] != c.last {
			t.Errorf("%s: from %v to %v, %s", c.codes.Type, h.Bounds[0], h.Bounds[len(h.Bounds)-1], d)
		}
	}
	if h := codeHistogram(onnx.Of([]int64{1})); h != nil {
		t.Error("int64 are no codes")
	}
}
