package pool

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
)

// geometry is a window with padding, stride and dilation that leaves nothing symmetric.
var geometry = conv.Geometry{
	In: [3]int{1, 7, 9}, Out: [3]int{1, 4, 4}, Kernel: [3]int{1, 3, 2}, Stride: [3]int{1, 2, 3}, Dilation: [3]int{1, 1, 2},
	Pad: [3]int{0, 1, 1}, After: [3]int{0, 1, 2},
}

// reference calls f with the values of the window of every output of channel c, in order.
func reference[T any](x []T, channels int, f func(out int, window []T)) {
	for p := range geometry.Pixels() {
		for c := range channels {
			var w []T
			geometry.Window(p, func(_, in int) { w = append(w, x[in*channels+c]) })
			f(p*channels+c, w)
		}
	}
}

func TestMax(t *testing.T) {
	eachRung(t, func(t *testing.T, r *rand.Rand) {
		for _, channels := range []int{1, 3, 8, 16, 37} {
			checkMax(t, channels, func() float32 {
				return []float32{float32(r.NormFloat64()), float32(math.NaN()), 0}[r.IntN(3)]
			})
			checkMax(t, channels, func() uint8 { return uint8(r.Uint32()) })
			checkMax(t, channels, func() int8 { return int8(r.Uint32()) })
		}
	})
}

func eachRung(t *testing.T, f func(t *testing.T, r *rand.Rand)) {
	cputest.EachRung(t, func(t *testing.T) { f(t, rand.New(rand.NewPCG(3, 4))) })
}

func checkMax[T Number](t *testing.T, channels int, value func() T) {
	t.Helper()
	x := make([]T, geometry.Inputs()*channels)
	for i := range x {
		x[i] = value()
	}
	got, want := make([]T, geometry.Pixels()*channels), make([]T, geometry.Pixels()*channels)
	Max(got, x, channels, &geometry, 0, geometry.Pixels(), 0)
	reference(x, channels, func(out int, window []T) {
		want[out] = window[0]
		for _, v := range window[1:] {
			if v > want[out] {
				want[out] = v
			}
		}
	})
	if d := cmp.Diff(want, got, cmpopts.EquateNaNs()); d != "" {
		t.Errorf("%T, %d channels: %s", x, channels, d)
	}
}

func TestAverage(t *testing.T) {
	eachRung(t, func(t *testing.T, r *rand.Rand) {
		for _, channels := range []int{1, 5, 24} {
			x := make([]float32, geometry.Inputs()*channels)
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			got, want := make([]float32, geometry.Pixels()*channels), make([]float32, geometry.Pixels()*channels)
			Average(got, x, channels, &geometry, 0, geometry.Pixels(), false)
			reference(x, channels, func(out int, window []float32) {
				for _, v := range window {
					want[out] += v
				}
				want[out] /= float32(len(window))
			})
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%d channels: %s", channels, d)
			}
		}
	})
}

func TestAverageCountsPaddingNotWhatLiesBeyond(t *testing.T) {
	g := conv.Geometry{
		In: [3]int{1, 1, 3}, Out: [3]int{1, 1, 2}, Kernel: [3]int{1, 1, 3}, Stride: [3]int{1, 1, 3}, Dilation: [3]int{1, 1, 1},
		Pad: [3]int{0, 0, 1}, After: [3]int{0, 0, 1},
	}
	got := make([]float32, 2)
	Average(got, []float32{1, 2, 3}, 1, &g, 0, 2, true)
	// Windows: padding, 1, 2 of three; 3, padding, and one column beyond the padding.
	if want := []float32{1, 1.5}; got[0] != want[0] || got[1] != want[1] {
		t.Errorf("averages %v, not %v", got, want)
	}
}
