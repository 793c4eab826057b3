package quantize

import (
	"math"

	"github.com/zqonnx/zqonnx/kernels/minifloat"
)

// Int6 is stored as four and two bits, or in int8. It is ours: the 6 bits of ZeroQuant(4+2) are floats, minifloat.Float6E3M2.
var Int6 = Grid{Name: "int8", Bits: 6, Min: -32, Max: 31, Symmetric: true}

// Binary makes every weight the mean magnitude of its block, with its own sign: the best of its kind. Codes are −1 and 1, of
// Int2. (XTC, 2206.01859; XNOR-Net, 1603.05279.)
func (r *Rows) Binary() {
	r.few([]int8{-1, 1})
	r.eachBlock(func(at int, w []float32, codes []int8) {
		r.Scales[at] = usableScale(meanAbove(w, -1), 1)
		for i, v := range w {
			codes[i] = 1
			if v < 0 {
				codes[i] = -1
			}
		}
	})
}

// ternaryThreshold is the part of the mean magnitude up to which a weight is 0: near the best for weights of any usual shape.
const ternaryThreshold = 0.7

// Ternary makes weights of at most 0.7 of the mean magnitude of their block 0, and the others the mean magnitude of those.
// Codes are −1, 0 and 1, of Int2. (XTC, 2206.01859; Ternary Weight Networks, 1605.04711.)
func (r *Rows) Ternary() {
	r.few([]int8{-1, 0, 1})
	r.eachBlock(func(at int, w []float32, codes []int8) {
		threshold := ternaryThreshold * meanAbove(w, -1)
		r.Scales[at] = usableScale(meanAbove(w, threshold), 1)
		for i, v := range w {
			codes[i] = 0
			switch {
			case float64(v) > threshold:
				codes[i] = 1
			case float64(v) < -threshold:
				codes[i] = -1
			}
		}
	})
}

func (r *Rows) few(levels []int8) { r.Grid, r.Zeros, r.Levels = Int2, nil, levels }

func (r *Rows) eachBlock(f func(at int, w []float32, codes []int8)) {
	for c := range r.N {
		for x := range r.blocks() {
			from, to := r.block(x)
			f(c*r.blocks()+x, r.W[c*r.K+from:c*r.K+to], r.Codes[c*r.K+from:c*r.K+to])
		}
	}
}

// meanAbove is the mean of the magnitudes above a threshold; 0 when there are none.
func meanAbove(w []float32, threshold float64) float64 {
	sum, n := 0.0, 0.0
	for _, v := range w {
		if a := math.Abs(float64(v)); a > threshold {
			sum, n = sum+a, n+1
		}
	}
	return sum / max(n, 1)
}

// Minifloat rounds r's weights to floats of at most 8 bits, with scales that put the extreme of each block on the largest
// finite number. Levels are the values of all codes, so that Indices are the codes themselves, as FLOAT8E4M3FN stores them.
// rule may change the scales of a row before the weights are rounded; nil: it does not. (ZeroQuant-FP, 2307.09782;
// ZeroQuant(4+2), 2312.08583.)
func (r *Rows) Minifloat(f minifloat.Format, rule func(scales []float32)) *Codebook {
	b := &Codebook{
		N: r.N, K: r.K, Block: r.Block,
		Levels:  make([]float32, 2<<(f.Exponent+f.Mantissa)),
		Indices: make([]uint8, len(r.W)), Scales: make([]float32, len(r.Scales)),
	}
	largest := 0.0
	for c := range b.Levels {
		v := f.Decode(uint16(c))
		b.Levels[c] = float32(v)
		if !math.IsInf(v, 0) && v > largest {
			largest = v
		}
	}
	r.eachBlock(func(at int, w []float32, _ []int8) {
		lo, hi := extremes(w)
		b.Scales[at] = max(float32(max(-lo, hi)/largest), MinScale)
	})
	for c := range r.N {
		if rule != nil {
			rule(b.Scales[c*r.blocks():][:r.blocks()])
		}
		for i := range r.K {
			b.Indices[c*r.K+i] = uint8(f.Encode(float64(r.W[c*r.K+i])/float64(b.Scales[r.at(c, i)]), true))
		}
	}
	return b
}

// PowersOfTwo raises every scale to the next power of two: a product with it is a shift. (M1 of ZeroQuant-FP.)
func PowersOfTwo(scales []float32) {
	for i, s := range scales {
		fraction, e := math.Frexp(float64(s))
		if fraction == 0.5 {
			e--
		}
		scales[i] = float32(math.Ldexp(1, min(e, 127)))
	}
}

// PowerOfTwoRatios raises every scale to the greatest of them divided by a power of two: one product for all and a shift for
// each. Ratios are rounded down, so that no scale falls and no block saturates. (M2 of ZeroQuant-FP.)
func PowerOfTwoRatios(scales []float32) {
	var greatest float64
	for _, s := range scales {
		greatest = max(greatest, float64(s))
	}
	for i, s := range scales {
		_, e := math.Frexp(greatest / float64(s))
		scales[i] = float32(math.Ldexp(greatest, 1-e))
	}
}
