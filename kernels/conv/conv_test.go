package conv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
)

var geometries = []Geometry{
	{In: [3]int{1, 7, 9}, Out: [3]int{1, 7, 9}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 1, 1}, Dilation: [3]int{1, 1, 1}, Pad: [3]int{0, 1, 1}},
	{In: [3]int{1, 7, 9}, Out: [3]int{1, 4, 4}, Kernel: [3]int{1, 3, 2}, Stride: [3]int{1, 2, 3}, Dilation: [3]int{1, 1, 2}, Pad: [3]int{0, 1, 1}},
	{In: [3]int{3, 4, 5}, Out: [3]int{2, 5, 3}, Kernel: [3]int{2, 2, 3}, Stride: [3]int{1, 1, 2}, Dilation: [3]int{1, 2, 1}, Pad: [3]int{0, 2, 1}},
	{In: [3]int{1, 1, 4}, Out: [3]int{1, 1, 8}, Kernel: [3]int{1, 1, 2}, Stride: [3]int{1, 1, 1}, Dilation: [3]int{1, 1, 1}, Pad: [3]int{0, 0, 3}},
}

func eachRung(t *testing.T, f func(t *testing.T, r *rand.Rand)) {
	cputest.EachRung(t, func(t *testing.T) { f(t, rand.New(rand.NewPCG(5, 6))) })
}

func floats(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func TestDepthwiseF32(t *testing.T) {
	eachRung(t, func(t *testing.T, r *rand.Rand) {
		for i := range geometries {
			g := &geometries[i]
			for _, channels := range []int{1, 7, 8, 11, 40, 64} {
				x, w, bias := floats(r, g.Inputs()*channels), floats(r, g.Taps()*channels), floats(r, channels)
				got, want := make([]float32, g.Pixels()*channels), make([]float32, g.Pixels()*channels)
				lines := g.Out[0] * g.Out[1]
				DepthwiseF32(got, x, w, bias, channels, g, 0, lines/2)
				DepthwiseF32(got, x, w, bias, channels, g, lines/2, lines)
				for p := range g.Pixels() {
					for c := range channels {
						var sum float32
						g.Window(p, func(tap, in int) { sum += float32(x[in*channels+c] * w[tap*channels+c]) })
						want[p*channels+c] = sum + bias[c]
					}
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Fatalf("geometry %d, %d channels: %s", i, channels, d)
				}
			}
		}
	})
}

func TestDepthwiseU8(t *testing.T) {
	eachRung(t, func(t *testing.T, r *rand.Rand) {
		for i := range geometries {
			g := &geometries[i]
			for _, channels := range []int{1, 15, 16, 21, 32, 48, 69, 81} {
				for _, signed := range []bool{false, true} {
					x, w, bias := make([]uint8, g.Inputs()*channels), make([]int16, (g.Taps()+1)*channels), make([]int32, channels)
					for i := range x {
						x[i] = uint8(r.Uint32())
					}
					for i := range w[:g.Taps()*channels] {
						w[i] = int16(r.IntN(511) - 255)
					}
					for i := range bias {
						bias[i] = int32(r.Uint32()) >> 8
					}
					zero := int32(77)
					value := func(b uint8) int32 { return int32(b) - zero }
					if signed {
						value = func(b uint8) int32 { return int32(int8(b)) - zero }
					}
					lines := g.Out[0] * g.Out[1]
					half := lines / 2 * g.Out[2] * channels
					got, want := make([]int32, g.Pixels()*channels), make([]int32, g.Pixels()*channels)
					DepthwiseU8(got[:half], x, signed, zero, w, bias, channels, g, 0, lines/2)
					DepthwiseU8(got[half:], x, signed, zero, w, bias, channels, g, lines/2, lines)
					for p := range g.Pixels() {
						for c := range channels {
							sum := bias[c]
							g.Window(p, func(tap, in int) { sum += value(x[in*channels+c]) * int32(w[tap*channels+c]) })
							want[p*channels+c] = sum
						}
					}
					if d := cmp.Diff(want, got); d != "" {
						t.Fatalf("geometry %d, %d channels, signed %v: %s", i, channels, signed, d)
					}
				}
			}
		}
	})
}

// TestRows checks the matrix of windows against Window, for all channels and for a group in the middle, of sizes for each
// width of moves.
func TestRows(t *testing.T) {
	eachRung(t, func(t *testing.T, r *rand.Rand) {
		for i := range geometries {
			for _, s := range []struct{ channels, c0, c int }{{1, 0, 1}, {3, 0, 3}, {6, 2, 3}, {16, 0, 16}, {30, 5, 11}, {40, 0, 40}, {70, 1, 69}} {
				name := fmt.Sprintf("geometry %d, %+v", i, s)
				testRows[float32](t, r, name, &geometries[i], s.channels, s.c0, s.c)
				testRows[uint8](t, r, name, &geometries[i], s.channels, s.c0, s.c)
			}
		}
	})
}

func testRows[T float32 | uint8](t *testing.T, r *rand.Rand, name string, g *Geometry, channels, c0, c int) {
	t.Helper()
	x := make([]T, g.Inputs()*channels)
	for i := range x {
		x[i] = T(r.IntN(256))
	}
	k := g.Taps() * c
	ld := k + 2
	got, want := make([]T, g.Pixels()*ld), make([]T, g.Pixels()*ld)
	for i := range got {
		got[i] = 77
	}
	Rows(got, ld, x, channels, c0, c, g, 0, g.Pixels()/3, 9)
	Rows(got[g.Pixels()/3*ld:], ld, x, channels, c0, c, g, g.Pixels()/3, g.Pixels(), 9)
	for p := range g.Pixels() {
		row := want[p*ld:][:k]
		for j := range row {
			row[j] = 9
		}
		g.Window(p, func(tap, in int) { copy(row[tap*c:], x[in*channels+c0:][:c]) })
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%T, %s: %s", want, name, d)
	}
}

// TestTranspose has sizes with and without whole tiles, parts of the columns, and elements of all widths.
func TestTranspose(t *testing.T) {
	eachRung(t, func(t *testing.T, r *rand.Rand) {
		sizes := []int{1, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 71, 72, 130}
		for _, rows := range sizes {
			for _, columns := range sizes {
				for range 2 {
					lo := r.IntN(columns)
					hi := lo + 1 + r.IntN(columns-lo)
					transposes[uint8](t, rows, columns, lo, hi)
					transposes[uint16](t, rows, columns, lo, hi)
					transposes[int32](t, rows, columns, lo, hi)
					transposes[float32](t, rows, columns, lo, hi)
					transposes[uint64](t, rows, columns, lo, hi)
				}
				transposes[float32](t, rows, columns, 0, columns)
			}
		}
	})
}

func transposes[T uint8 | uint16 | int32 | float32 | uint64](t *testing.T, rows, columns, lo, hi int) {
	t.Helper()
	src, got := make([]T, rows*columns), make([]T, rows*columns)
	for i := range src {
		src[i], got[i] = T(i%251+1), 255
	}
	Transpose(got, src, rows, columns, lo, hi)
	for j := range columns {
		for i := range rows {
			want := T(255)
			if lo <= j && j < hi {
				want = src[i*columns+j]
			}
			if got[j*rows+i] != want {
				t.Fatalf("%T: columns %d to %d of [%d, %d]: element [%d, %d] is %v, want %v", want, lo, hi, rows, columns, j, i, got[j*rows+i], want)
			}
		}
	}
}

func BenchmarkTranspose(b *testing.B) {
	for _, d := range [][2]int{{3136, 128}, {3, 50176}} {
		rows, columns := d[0], d[1]
		b.Run(fmt.Sprint(rows, "x", columns), func(b *testing.B) {
			src, dst := make([]float32, rows*columns), make([]float32, rows*columns)
			b.SetBytes(int64(8 * rows * columns))
			for b.Loop() {
				Transpose(dst, src, rows, columns, 0, columns)
			}
		})
	}
}

func TestActivations(t *testing.T) {
	eachRung(t, func(t *testing.T, r *rand.Rand) {
		x := append(floats(r, 30), float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.Copysign(0, -1)))
		for n := range len(x) {
			for name, f := range map[string][2]func([]float32){
				"Relu": {Relu, reluGo},
				"Clip": {func(x []float32) { Clip(x, -0.5, 0.25) }, func(x []float32) { clipGo(x, -0.5, 0.25) }},
			} {
				got, want := append([]float32{}, x[n:]...), append([]float32{}, x[n:]...)
				f[0](got)
				f[1](want)
				if d := cmp.Diff(want, got, cmpopts.EquateNaNs()); d != "" {
					t.Errorf("%s: %s", name, d)
				}
			}
		}
	})
}

func BenchmarkDepthwise(b *testing.B) {
	g := Geometry{
		In: [3]int{1, 56, 56}, Out: [3]int{1, 56, 56}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 1, 1}, Dilation: [3]int{1, 1, 1}, Pad: [3]int{0, 1, 1},
	}
	const channels = 128
	operations := float64(2 * g.Pixels() * channels * g.Taps())
	b.Run(fmt.Sprintf("f32/%v", g.Out), func(b *testing.B) {
		x, w := make([]float32, g.Inputs()*channels), make([]float32, g.Taps()*channels)
		y := make([]float32, g.Pixels()*channels)
		for b.Loop() {
			DepthwiseF32(y, x, w, w[:channels], channels, &g, 0, g.Out[1])
		}
		b.ReportMetric(operations*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOPS")
	})
	b.Run(fmt.Sprintf("u8/%v", g.Out), func(b *testing.B) {
		x, w := make([]uint8, g.Inputs()*channels), make([]int16, (g.Taps()+1)*channels)
		y := make([]int32, g.Pixels()*channels)
		for b.Loop() {
			DepthwiseU8(y, x, false, 3, w, y[:channels], channels, &g, 0, g.Out[1])
		}
		b.ReportMetric(operations*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GOPS")
	})
}

func BenchmarkRows(b *testing.B) {
	for _, s := range []struct{ size, channels int }{{32, 16}, {32, 3}, {14, 96}} {
		g := Geometry{
			In: [3]int{1, s.size, s.size}, Out: [3]int{1, s.size, s.size}, Kernel: [3]int{1, 3, 3}, Stride: [3]int{1, 1, 1},
			Dilation: [3]int{1, 1, 1}, Pad: [3]int{0, 1, 1},
		}
		k := (g.Taps()*s.channels + 3) / 4 * 4
		b.Run(fmt.Sprintf("u8/%dx%dx%d", s.channels, s.size, s.size), func(b *testing.B) {
			x, rows := make([]uint8, g.Inputs()*s.channels), make([]uint8, g.Pixels()*k)
			b.SetBytes(int64(len(rows)))
			for b.Loop() {
				Rows(rows, k, x, s.channels, 0, s.channels, &g, 0, g.Pixels(), 1)
			}
		})
	}
}
