package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/kernels/cpu"
	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
	"github.com/zqonnx/zqonnx/kernels/gemm/internal/peak"
	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// weightsBlocks are weights in blocks before they are packed.
type weightsBlocks struct {
	k, n, block int
	nibbles     bool
	codes       []uint8 // [n, k]
	scales      []float32
	zeros       []uint8 // [n, blocks]
}

func (w *weightsBlocks) blocks() int { return ceilDiv(w.k, w.block) }

func (w *weightsBlocks) pack() *PanelsBlocks {
	return PackBlocks(w.codes, w.scales, w.zeros, w.k, w.n, w.block, w.nibbles)
}

func drawWeights(k, n, block int, nibbles bool, draw func() uint32) *weightsBlocks {
	w := &weightsBlocks{k: k, n: n, block: block, nibbles: nibbles, codes: make([]uint8, n*k)}
	w.scales, w.zeros = make([]float32, n*w.blocks()), make([]uint8, n*w.blocks())
	mask := uint8(255)
	if nibbles {
		mask = 15
	}
	for i := range w.codes {
		w.codes[i] = uint8(draw()) & mask
	}
	for i := range w.scales {
		w.scales[i], w.zeros[i] = float32(draw()%1000)/997, uint8(draw())&mask
	}
	return w
}

// productFloat is the float arithmetic, as the comment of Blocks defines it.
func productFloat(w *weightsBlocks, a []float32, lda, m, n int, bias []float32) float32 {
	c := float32(0)
	for k0 := 0; k0 == 0 || k0 < w.k; k0 += 256 {
		acc := float32(0)
		for k := k0; k < min(k0+256, w.k); k++ {
			p := n*w.blocks() + k/w.block
			acc = mathf.FMA(a[m*lda+k], float32(int(w.codes[n*w.k+k])-int(w.zeros[p]))*w.scales[p], acc)
		}
		if k0 > 0 {
			acc += c
		}
		c = acc
	}
	if bias != nil {
		c += bias[n]
	}
	return c
}

// productInt8 is the arithmetic of integers, word for word.
func productInt8(w *weightsBlocks, a []float32, lda, m, n int, bias []float32) float32 {
	acc := float32(0)
	for b := range w.blocks() {
		end := min((b+1)*w.block, w.k)
		x := a[m*lda+b*w.block : m*lda+end]
		amax := float32(0)
		for _, v := range x {
			amax = max(amax, float32(math.Abs(float64(v)))) // a NaN wins
		}
		inverse := float32(0)
		if amax != 0 {
			inverse = min(127/amax, math.MaxFloat32)
		}
		sum := int64(0)
		for i, v := range x {
			q := math.RoundToEven(float64(float32(v * inverse)))
			switch {
			case math.IsNaN(q) || q < -127:
				q = -127
			case q > 127:
				q = 127
			}
			sum += int64(q) * (int64(w.codes[n*w.k+b*w.block+i]) - int64(w.zeros[n*w.blocks()+b]))
		}
		acc = mathf.FMA(float32(sum), float32(float32(amax/127)*w.scales[n*w.blocks()+b]), acc)
	}
	if bias != nil {
		acc += bias[n]
	}
	return acc
}

func checkBlocks(t rapid.TB, w *weightsBlocks, s shape, value func() float32) {
	t.Helper()
	const guard = 1234.5
	a, checkA := guarded(matrixLen(s.m, s.k, s.lda()), guard, value)
	c, checkC := guarded(matrixLen(s.m, s.n, s.ldc()), guard, func() float32 { return guard })
	bias, checkBias := guarded(s.n, guard, value)
	if !s.hasBias {
		bias = nil
	}
	panels := w.pack()
	p := Blocks{M: s.m, A: a, LDA: s.lda(), B: panels, C: c, LDC: s.ldc(), Bias: bias}
	for _, arithmetic := range []func(*weightsBlocks, []float32, int, int, int, []float32) float32{productFloat, productInt8} {
		runRegions(panels.Split(s.m, s.parts), p.Run)
		for i := range s.m {
			for j := range s.n {
				got, want := c[i*s.ldc()+j], arithmetic(w, a, s.lda(), i, j, bias)
				if math.Float32bits(got) != math.Float32bits(want) && !(got != got && want != want) {
					t.Fatalf("%s, %v, block %d, nibbles %v, int8 %v: C[%d,%d] is %v, not %v",
						panels.Kernel(), s, w.block, w.nibbles, p.Int8, i, j, got, want)
				}
			}
		}
		p.Int8 = true
	}
	checkA(t, "A")
	checkC(t, "C")
	checkBias(t, "bias")
}

func TestBlocks(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		for i, s := range shapes() {
			if s.k > 300 && cpu.Current() == cpu.Go {
				continue
			}
			block := []int{16, 32, 64, 128, 256}[i%5]
			w := drawWeights(s.k, s.n, block, i%3 != 0, rng.Uint32)
			checkBlocks(t, w, s, func() float32 { return float32(rng.NormFloat64()) })
		}
	})
}

// The greatest codes of either sign, and floats on which the instructions and Go's operators might disagree.
func TestBlocksExtremes(t *testing.T) {
	inf := float32(math.Inf(1))
	odd := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 0.5, 1e-45, -1e-40, 3e38, -3e38, inf, -inf, float32(math.NaN())}
	cputest.EachRung(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		for _, nibbles := range []bool{false, true} {
			for _, a := range []float32{0, 1, -1, 1e-45, inf, float32(math.NaN())} {
				w := drawWeights(300, 50, 256, nibbles, func() uint32 { return 1<<32 - 1 })
				clear(w.zeros[:len(w.zeros)/2])
				checkBlocks(t, w, shape{m: 7, n: 50, k: 300, parts: 1}, func() float32 { return a })
			}
			w := drawWeights(40, 50, 16, nibbles, rng.Uint32)
			for range 20 {
				checkBlocks(t, w, shape{m: 7, n: 50, k: 40, parts: 1}, func() float32 { return odd[rng.IntN(len(odd)-3)] })
				checkBlocks(t, w, shape{m: 7, n: 50, k: 40, parts: 1}, func() float32 { return odd[rng.IntN(len(odd))] })
			}
		}
	})
}

// Single rows of whole blocks have a kernel of their own.
func TestBlocksOfOneRow(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(7, 8))
		for _, n := range []int{1, 16, 17, 48, 49, 100} {
			for _, block := range []int{16, 32, 64, 128, 256} {
				for _, k := range []int{0, block, 256, 512, 768} {
					w := drawWeights(k, n, block, n%2 == 0, rng.Uint32)
					s := shape{m: 1, n: n, k: k, parts: 1 + n%3, hasBias: k%512 == 0}
					checkBlocks(t, w, s, func() float32 { return float32(rng.NormFloat64()) })
					checkBlocks(t, w, s, func() float32 { return math.Float32frombits(rng.Uint32()) })
				}
			}
		}
	})
}

func TestBlocksProperty(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			s := drawShape(t)
			block := 16 << rapid.IntRange(0, 4).Draw(t, "block")
			rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			w := drawWeights(s.k, s.n, block, rapid.Bool().Draw(t, "nibbles"), rng.Uint32)
			checkBlocks(t, w, s, func() float32 { return math.Float32frombits(rng.Uint32()) })
		})
	})
}

func BenchmarkBlocks(b *testing.B) {
	for _, s := range []struct{ m, k, n int }{{1, 4096, 4096}, {128, 768, 3072}} {
		for _, nibbles := range []bool{true, false} {
			for _, block := range []int{32, 128} {
				w := drawWeights(s.k, s.n, block, nibbles, rand.New(rand.NewPCG(5, 6)).Uint32)
				b.Run(fmt.Sprintf("%dx%dx%d/block=%d/nibbles=%v", s.m, s.k, s.n, block, nibbles), func(b *testing.B) {
					cputest.EachRung(b, func(b *testing.B) {
						if cpu.Current() == cpu.Go {
							b.Skip("plain Go only defines the result")
						}
						p := Blocks{M: s.m, A: ramp[float32](s.m * s.k), LDA: s.k, B: w.pack(), C: make([]float32, s.m*s.n), LDC: s.n}
						scratch := new(Scratch)
						run := func() { p.Run(Region{0, s.m, 0, s.n}, scratch) }
						b.Run("float", func(b *testing.B) { benchmark(b, peak.F32, 2*s.m*s.k*s.n, "GOPS", run) })
						p.Int8 = true
						b.Run("int8", func(b *testing.B) { benchmark(b, peak.U8S8, 2*s.m*s.k*s.n, "GOPS", run) })
					})
				})
			}
		}
	}
}
