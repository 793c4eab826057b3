package quantize

import (
	"errors"
	"math"
	"math/big"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func means(t rapid.TB, m *ChannelMean) []float64 {
	r, err := m.Means()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestChannelMean(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6, 7, 8}
	for _, c := range []struct {
		dims []int64
		axis int
		want []float64
	}{
		{[]int64{8}, 0, []float64{1, 2, 3, 4, 5, 6, 7, 8}},
		{[]int64{4, 2}, 1, []float64{4, 5}},
		{[]int64{2, 4}, 0, []float64{2.5, 6.5}},
		{[]int64{2, 2, 2}, 1, []float64{3.5, 5.5}},
		{[]int64{8, 1}, 1, []float64{4.5}},
	} {
		var m ChannelMean
		// Twice: the mean stays.
		for range 2 {
			if err := m.Observe(x, c.dims, c.axis); err != nil {
				t.Fatal(err)
			}
		}
		if got := means(t, &m); !slices.Equal(got, c.want) || m.count != uint64(16/len(c.want)) {
			t.Errorf("%v axis %d: %v of %d, want %v", c.dims, c.axis, got, m.count, c.want)
		}
	}
}

// Samples of any shapes, any order, any shards: the exact mean, the same bits.
func TestChannelMeanIsAnExactMonoid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		channels := rapid.Int64Range(1, 3).Draw(t, "channels")
		type tensor struct {
			x    []float32
			dims []int64
		}
		var tensors []tensor
		sums, count := make([]*big.Rat, channels), int64(0)
		for c := range sums {
			sums[c] = new(big.Rat)
		}
		for range rapid.IntRange(1, 6).Draw(t, "tensors") {
			dims := []int64{rapid.Int64Range(0, 3).Draw(t, "outer"), channels, rapid.Int64Range(1, 3).Draw(t, "inner")}
			n := int(dims[0] * dims[1] * dims[2])
			x := rapid.SliceOfN(rapid.OneOf(rapid.Float32(), rapid.Float32Range(-1, 1)), n, n).Draw(t, "x")
			for i, v := range x {
				c := int64(i) / dims[2] % channels
				sums[c].Add(sums[c], new(big.Rat).SetFloat64(float64(v)))
			}
			count += dims[0] * dims[2]
			tensors = append(tensors, tensor{x, dims})
		}
		var whole ChannelMean
		for _, k := range tensors {
			if err := whole.Observe(k.x, k.dims, 1); err != nil {
				t.Fatal(err)
			}
		}
		shards := make([]ChannelMean, 3)
		for _, k := range rapid.Permutation(tensors).Draw(t, "order") {
			if err := shards[rapid.IntRange(0, 2).Draw(t, "shard")].Observe(k.x, k.dims, 1); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range shards[1:] {
			if err := shards[0].Merge(&s); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(shards[0], whole) {
			t.Errorf("merged %+v, whole %+v", shards[0], whole)
		}
		if count == 0 {
			return
		}
		for c, got := range means(t, &whole) {
			want, _ := sums[c].Quo(sums[c], big.NewRat(count, 1)).Float64()
			if math.Float64bits(got) != math.Float64bits(want) {
				t.Errorf("channel %d: %v, want %v", c, got, want)
			}
		}
	})
}

func TestChannelMeanErrors(t *testing.T) {
	var m ChannelMean
	if _, err := m.Means(); !errors.Is(err, ErrNoValues) {
		t.Errorf("nothing observed: %v", err)
	}
	for _, c := range []struct {
		x    []float32
		dims []int64
		axis int
	}{
		{[]float32{1}, []int64{1}, 1},
		{[]float32{1}, []int64{1}, -1},
		{[]float32{1}, []int64{2}, 0},
	} {
		if err := m.Observe(c.x, c.dims, c.axis); err == nil {
			t.Errorf("%v axis %d was accepted", c.dims, c.axis)
		}
	}
	if err := m.Observe([]float32{1, 2}, []int64{2}, 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Observe([]float32{1, 2, 3}, []int64{3}, 0); err == nil {
		t.Error("another number of channels was accepted")
	}
	var three ChannelMean
	if err := three.Observe([]float32{1, inf, nan}, []int64{3}, 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Merge(&three); err == nil {
		t.Error("another number of channels was merged")
	}
	if _, err := three.Means(); !errors.Is(err, ErrNonFinite) {
		t.Errorf("NaN observed: %v", err)
	}
}

func BenchmarkChannelMean(b *testing.B) {
	x := sample(1<<20, gauss)
	for _, c := range []struct {
		name string
		dims []int64
		axis int
	}{{"NCHW", []int64{1, 64, 128, 128}, 1}, {"MatMul", []int64{1 << 11, 1 << 9}, 1}} {
		b.Run(c.name, func(b *testing.B) {
			var m ChannelMean
			for b.Loop() {
				if err := m.Observe(x, c.dims, c.axis); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, len(x))
		})
	}
}
