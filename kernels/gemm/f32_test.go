package gemm

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
	"github.com/zqonnx/zqonnx/kernels/mathf"
)

func checkF32(t rapid.TB, s shape, draw func() float32) {
	t.Helper()
	const guard = 12345
	a, checkA := guarded(matrixLen(s.m, s.k, s.lda()), guard, draw)
	b, checkB := guarded(s.lenB(), guard, draw)
	c, checkC := guarded(matrixLen(s.m, s.n, s.ldc()), guard, draw)
	bias, checkBias := guarded(s.n, guard, draw)
	if !s.hasBias {
		bias = nil
	}
	want := append([]float32(nil), c...)
	blockK := []int{DefaultBlockK, 64}[s.n%2]
	for i := range s.m {
		for j := range s.n {
			sum, before := want[i*s.ldc()+j], s.accumulate
			for lo := 0; lo == 0 || lo < s.k; lo += blockK {
				acc := float32(0)
				for k := lo; k < min(lo+blockK, s.k); k++ {
					acc = mathf.FMA(a[i*s.lda()+k], b[s.indexB(k, j)], acc)
				}
				if before {
					acc += sum
				}
				sum, before = acc, true
			}
			if bias != nil {
				sum += bias[j]
			}
			want[i*s.ldc()+j] = sum
		}
	}

	product := F32{
		M: s.m, A: a, LDA: s.lda(), B: PackF32(b, s.k, s.n, s.ldb(), s.transposed), C: c, LDC: s.ldc(), BlockK: blockK,
		Accumulate: s.accumulate, Bias: bias,
	}
	if s.noC {
		product.C, product.Epilogue = nil, &gather[float32]{c: c, ldc: s.ldc(), got: map[[2]int]bool{}}
	}
	runRegions(product.B.Split(s.m, s.parts), product.Run)
	for i, v := range c {
		if !sameF32(v, want[i]) {
			t.Fatalf("%v: C[%d, %d] = %x, want %x", s, i/s.ldc(), i%s.ldc(), v, want[i])
		}
	}
	checkA(t, "A")
	checkB(t, "B")
	checkC(t, "C")
	checkBias(t, "bias")
}

func TestF32(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for _, s := range shapes() {
			checkF32(t, s, func() float32 { return float32(rng.NormFloat64()) })
		}
	})
}

// Rows 4 KiB apart are moved before they are multiplied.
func TestF32AliasingRows(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for _, k := range []int{0, 7, 1024} {
			checkF32(t, shape{m: 10, n: 9, k: k, padA: 1024 - k, parts: 1}, rng.Float32)
		}
	})
}

func TestF32Special(t *testing.T) {
	inf := float32(math.Inf(1))
	special := []float32{
		0, float32(math.Copysign(0, -1)), 1, -1, inf, -inf, float32(math.NaN()), math.MaxFloat32, -math.MaxFloat32,
		0x1p-149, -0x1p-149, 0x1p-126, 0x1.fffffep-127, 1 + 0x1p-23, 0x1p-24, 0x1p-75, 0x1p-12 + 0x1p-35,
	}
	cputest.EachRung(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		for k := range 12 {
			for _, finite := range []bool{false, true} {
				s := shape{m: 19, n: 51, k: k, hasBias: k%2 == 0, accumulate: k%3 == 0, parts: 2}
				checkF32(t, s, func() float32 {
					for {
						v := special[rng.IntN(len(special))]
						if !finite || v-v == 0 {
							return v
						}
					}
				})
			}
		}
	})
}

// A midpoint that two roundings get wrong must come out of every kernel and every column right.
func TestF32RoundsOnce(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		const m, n, k = 13, 97, 2
		a, b, c := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n)
		for i := range m {
			a[i*k], a[i*k+1] = 1, 0x1p-12+0x1p-35
		}
		for j := range n {
			b[j], b[n+j] = 1, 0x1p-12
		}
		p := F32{M: m, A: a, LDA: k, B: PackF32(b, k, n, n, false), C: c, LDC: n}
		p.Run(Region{0, m, 0, n}, new(Scratch))
		for i, v := range c {
			if v != 1+0x1p-23 {
				t.Fatalf("C[%d] = %x, want %x", i, v, 1+0x1p-23)
			}
		}
	})
}

func TestF32Property(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			scale := rapid.SampledFrom([]float64{1, 1e-20, 1e-38, 1e19}).Draw(t, "scale")
			checkF32(t, drawShape(t), func() float32 { return float32(scale * rng.NormFloat64()) })
		})
	})
}

// The same bits on every machine, with every compiler setting: one fixed product, one fixed hash.
func TestF32Golden(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		const m, n, k = 31, 107, 211
		rng := rand.New(rand.NewPCG(11, 12))
		fill := func(length int) []float32 {
			s := make([]float32, length)
			for i := range s {
				// Exponents from -15 to 0, both signs.
				s[i] = math.Float32frombits(rng.Uint32()&0x87ffffff | 0x38000000)
			}
			return s
		}
		a, b, bias, c := fill(m*k), fill(k*n), fill(n), make([]float32, m*n)
		p := F32{M: m, A: a, LDA: k, B: PackF32(b, k, n, n, false), C: c, LDC: n, Bias: bias}
		p.Run(Region{0, m, 0, n}, new(Scratch))
		hash := fnv.New64a()
		for _, v := range c {
			hash.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
		}
		const want = 0x36f7acdee39aeb23
		if got := hash.Sum64(); got != want {
			t.Errorf("hash of the result is %#x, want %#x", got, uint64(want))
		}
	})
}

func sameF32(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}
