package gemm

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
)

// codes describes the integer operands of a product.
type codes struct {
	signedA, signedB bool
	zerosA, zerosB   int // how many zero points: 0, 1 or one for each row or column
}

func checkInt8(t rapid.TB, s shape, q codes, draw func() uint8, zero func() int32) {
	t.Helper()
	const guard = 77
	a, checkA := guarded(matrixLen(s.m, s.k, s.lda()), guard, draw)
	b, checkB := guarded(s.lenB(), guard, draw)
	c, checkC := guarded(matrixLen(s.m, s.n, s.ldc()), guard, zero)
	bias, checkBias := guarded(s.n, guard, zero)
	if !s.hasBias {
		bias = nil
	}
	zerosA, _ := guarded(min(q.zerosA, max(s.m, 1)), guard, zero)
	zerosB, _ := guarded(min(q.zerosB, max(s.n, 1)), guard, zero)
	value := func(code uint8, signed bool) int32 {
		if signed {
			return int32(int8(code))
		}
		return int32(code)
	}
	zeroOf := func(zeros []int32, i int) int32 {
		switch len(zeros) {
		case 0:
			return 0
		case 1:
			return zeros[0]
		}
		return zeros[i]
	}
	want := append([]int32(nil), c...)
	for i := range s.m {
		for j := range s.n {
			acc := int32(0)
			if s.accumulate {
				acc = want[i*s.ldc()+j]
			}
			for k := range s.k {
				acc += (value(a[i*s.lda()+k], q.signedA) - zeroOf(zerosA, i)) * (value(b[s.indexB(k, j)], q.signedB) - zeroOf(zerosB, j))
			}
			if bias != nil {
				acc += bias[j]
			}
			want[i*s.ldc()+j] = acc
		}
	}

	var panels *PanelsInt8
	if q.signedB {
		signed := make([]int8, len(b))
		for i, v := range b {
			signed[i] = int8(v)
		}
		panels = PackS8(signed, s.k, s.n, s.ldb(), s.transposed, zerosB)
	} else {
		panels = PackU8(b, s.k, s.n, s.ldb(), s.transposed, zerosB)
	}
	product := Int8{
		M: s.m, A: a, LDA: s.lda(), Signed: q.signedA, ZeroA: zerosA, B: panels, C: c, LDC: s.ldc(),
		Accumulate: s.accumulate, Bias: bias,
	}
	if s.noC {
		product.C, product.Epilogue = nil, &gather[int32]{c: c, ldc: s.ldc(), got: map[[2]int]bool{}}
	}
	runRegions(panels.Split(s.m, s.parts), product.Run)
	for i, v := range c {
		if v != want[i] {
			t.Fatalf("%v %+v: C[%d, %d] = %d, want %d", s, q, i/s.ldc(), i%s.ldc(), v, want[i])
		}
	}
	checkA(t, "A")
	checkB(t, "B")
	checkC(t, "C")
	checkBias(t, "bias")
}

const perLine = math.MaxInt // zero points for each row or column

func TestInt8(t *testing.T) {
	variants := []codes{
		{signedB: true},
		{signedA: true, signedB: true},
		{signedB: true, zerosA: 1},
		{signedA: true, signedB: true, zerosA: perLine},
		{zerosA: 1, zerosB: 1},
		{signedA: true, zerosA: 1, zerosB: perLine},
		{signedB: true, zerosA: perLine, zerosB: perLine},
	}
	cputest.EachRung(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 6))
		for i, s := range shapes() {
			checkInt8(t, s, variants[i%len(variants)], func() uint8 { return uint8(rng.Uint32()) }, func() int32 { return rng.Int32N(511) - 255 })
		}
	})
}

// The largest sums: an instruction that saturates, or a lane that overflows, shows here.
func TestInt8Extremes(t *testing.T) {
	cases := []struct {
		start      int32 // of C, bias and all zero points
		q          codes
		accumulate bool
	}{
		{0, codes{signedB: true}, false},
		{0, codes{signedA: true, signedB: true}, false},
		{math.MaxInt32, codes{signedB: true}, true},
		{math.MinInt32, codes{signedB: true}, true},
		{255, codes{zerosA: perLine, zerosB: perLine}, false},
		{-128, codes{signedA: true, signedB: true, zerosA: 1, zerosB: 1}, false},
	}
	cputest.EachRung(t, func(t *testing.T) {
		for _, c := range cases {
			for _, k := range []int{1, 2, 3, 4, 64, 1100} {
				s := shape{m: 9, n: 51, k: k, parts: 1, accumulate: c.accumulate}
				for _, pair := range [][2]uint8{{255, 128}, {255, 127}, {255, 255}, {128, 128}, {127, 128}, {0, 128}, {128, 0}} {
					// A is all pair[0], then B all pair[1].
					left := matrixLen(s.m, s.k, s.lda())
					draw := func() uint8 {
						left--
						if left >= 0 {
							return pair[0]
						}
						return pair[1]
					}
					checkInt8(t, s, c.q, draw, func() int32 { return c.start })
				}
			}
		}
	})
}

func TestInt8Property(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			count := rapid.SampledFrom([]int{0, 1, perLine})
			q := codes{
				signedA: rapid.Bool().Draw(t, "signedA"), signedB: rapid.Bool().Draw(t, "signedB"),
				zerosA: count.Draw(t, "zerosA"), zerosB: count.Draw(t, "zerosB"),
			}
			edge := rapid.Bool().Draw(t, "edge")
			draw := func() uint8 {
				if edge {
					return []uint8{0, 127, 128, 255}[rng.IntN(4)]
				}
				return uint8(rng.Uint32())
			}
			checkInt8(t, drawShape(t), q, draw, func() int32 { return int32(rng.Uint32()) >> rng.IntN(32) })
		})
	})
}

func TestFoldZeroA(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	const m, n, k, zero = 5, 19, 23, 131
	a, b, bias := make([]uint8, m*k), make([]uint8, k*n), make([]int32, n)
	for i := range a {
		a[i] = uint8(rng.Uint32())
	}
	for i := range b {
		b[i] = uint8(rng.Uint32())
	}
	for i := range bias {
		bias[i] = rng.Int32N(1000)
	}
	panels := PackU8(b, k, n, n, false, []int32{117})
	direct, folded := make([]int32, m*n), make([]int32, m*n)
	p := Int8{M: m, A: a, LDA: k, ZeroA: []int32{zero}, B: panels, C: direct, LDC: n, Bias: bias}
	p.Run(Region{0, m, 0, n}, new(Scratch))
	p.ZeroA, p.Bias, p.C = nil, panels.FoldZeroA(bias, zero), folded
	p.Run(Region{0, m, 0, n}, new(Scratch))
	for i, v := range folded {
		if v != direct[i] {
			t.Fatalf("C[%d] = %d, want %d", i, v, direct[i])
		}
	}
}
