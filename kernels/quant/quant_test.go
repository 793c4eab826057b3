package quant

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
)

// The special values: ties, limits, what overflows, and what is no number.
var special = []float32{
	0, float32(math.Copysign(0, -1)), 0.5, -0.5, 1.5, 2.5, 126.5, 127.5, -128.5, 255.5, 1e9, -1e9, float32(math.Inf(1)),
	float32(math.Inf(-1)), float32(math.NaN()), math.SmallestNonzeroFloat32, math.MaxFloat32,
}

func values(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		switch r.IntN(3) {
		case 0:
			x[i] = special[r.IntN(len(special))]
		case 1:
			x[i] = float32(r.IntN(600)-300) / 2
		default:
			x[i] = float32(r.NormFloat64() * 50)
		}
	}
	return x
}

func codes(r *rand.Rand, n int) []uint8 {
	x := make([]uint8, n)
	for i := range x {
		x[i] = uint8(r.Uint32())
	}
	return x
}

// TestRungs holds every rung to the plain Go loops, at lengths around the vectors'.
func TestRungs(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, n := range append(lengths(70), 255, 256, 300, 700) {
			for _, signed := range []bool{false, true} {
				checkRung(t, r, n, signed)
			}
		}
	})
}

func lengths(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func checkRung(t *testing.T, r *rand.Rand, n int, signed bool) {
	t.Helper()
	zero := int32(r.IntN(256))
	if signed {
		zero -= 128
	}
	scale := []float32{1, 0.25, 0.0371}[r.IntN(3)]
	x, a, b := values(r, n), codes(r, n), codes(r, n)
	acc := make([]int32, n)
	for i := range acc {
		acc[i] = int32(r.Uint32()) >> r.IntN(32)
	}
	multiplier, bias := values(r, n), values(r, n)
	sum := NewSum(scale, zero, 0.5, -zero/2, 0.0441, zero/2, signed)
	product := NewProduct(scale, zero, 0.5, -zero/2, 0.9, zero/2, signed)

	same := func(what string, got, want any) {
		t.Helper()
		if d := cmp.Diff(want, got, cmpopts.EquateNaNs()); d != "" {
			t.Fatalf("%s, %d elements, signed %v, zero %d, scale %v: %s", what, n, signed, zero, scale, d)
		}
	}
	bytes := func(what string, f, plain func(dst []uint8)) {
		t.Helper()
		got, want := make([]uint8, n), make([]uint8, n)
		f(got)
		plain(want)
		same(what, got, want)
	}
	floats := func(what string, f, plain func(dst []float32)) {
		t.Helper()
		got, want := make([]float32, n), make([]float32, n)
		f(got)
		plain(want)
		same(what, got, want)
	}
	bytes("Quantize", func(d []uint8) { Quantize(d, x, scale, zero, signed) }, func(d []uint8) { quantizeGo(d, x, scale, zero, signed) })
	bytes("Requantize", func(d []uint8) { Requantize(d, acc, multiplier, zero, signed) },
		func(d []uint8) { requantizeGo(d, acc, multiplier, zero, signed) })
	// Three rows of some columns, with elements between that stay as they are.
	columns := max(n/4-1, 0)
	rows := func(f func(d []uint8, c []int32)) func([]uint8) {
		return func(d []uint8) {
			for i := range 3 {
				if columns > 0 {
					f(d[i*(columns+1):][:columns], acc[i*columns:])
				}
			}
		}
	}
	bytes("RequantizeRows", func(d []uint8) { RequantizeRows(d, columns+1, acc, columns, 3, multiplier[:columns], zero, signed) },
		rows(func(d []uint8, c []int32) { requantizeGo(d, c[:columns], multiplier[:columns], zero, signed) }))
	bytes("Add", func(d []uint8) { sum.Add(d, a, b, 1, 1) }, func(d []uint8) { sum.addGo(d, a, b, 1, 1) })
	if n > 0 {
		bytes("Add of one code", func(d []uint8) { sum.Add(d, a, b, 1, 0) }, func(d []uint8) { sum.addGo(d, a, b, 1, 0) })
		bytes("Mul of one code", func(d []uint8) { product.Mul(d, a, b, 0, 1) }, func(d []uint8) { product.mulGo(d, a, b, 0, 1) })
	}
	bytes("Mul", func(d []uint8) { product.Mul(d, a, b, 1, 1) }, func(d []uint8) { product.mulGo(d, a, b, 1, 1) })
	floats("Dequantize", func(d []float32) { Dequantize(d, a, scale, zero, signed) },
		func(d []float32) { dequantizeGo(d, a, scale, zero, signed) })
	floats("Scale", func(d []float32) { Scale(d, acc, multiplier, 0.3, bias) }, func(d []float32) { scaleGo(d, acc, multiplier, 0.3, bias) })
	floats("Scale without bias", func(d []float32) { Scale(d, acc, multiplier, 0.3, nil) },
		func(d []float32) { scaleGo(d, acc, multiplier, 0.3, nil) })
	var table [256]uint8
	for i := range table {
		table[i] = uint8(r.Uint32())
	}
	bytes("Map", func(d []uint8) { Map(d, a, &table) }, func(d []uint8) { mapGo(d, a, &table) })
	lo, hi := MinMax(x)
	wantLo, wantHi := minMaxGo(x)
	same("MinMax", [2]float32{lo, hi}, [2]float32{wantLo, wantHi})
}

// TestQuantizeIsTheDefinition checks the plain loop against the formula in float64.
func TestQuantizeIsTheDefinition(t *testing.T) {
	for _, scale := range []float32{1, 0.5, 0.0371, 3} {
		for i := -4000; i <= 4000; i++ {
			x := float32(i) / 8
			got := make([]uint8, 1)
			quantizeGo(got, []float32{x}, scale, 7, false)
			want := max(0, min(math.RoundToEven(float64(x/scale))+7, 255))
			if float64(got[0]) != want {
				t.Fatalf("x %v, scale %v: code %d, not %v", x, scale, got[0], want)
			}
		}
	}
}
