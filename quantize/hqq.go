package quantize

import (
	"math"

	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// HQQ's constants: the norm of the errors, the weight of the coupling and its growth, and the most rounds.
const (
	hqqNorm   = 0.7
	hqqBeta   = 10.0
	hqqGrowth = 1.01
	hqqRounds = 20
)

// HQQ makes the errors of every block sparse, Σ|w − ŵ|^0.7, so that outliers cost the rest of their block less. It needs no
// data. (Badri & Shaji, Half-Quadratic Quantization, 2023; errors are measured in steps here, so that scaled weights get the
// same codes.) A whole zero point cannot do that alone, since all codes move with it: scales are fitted along. Of all
// rounds the one with the least Σ|w − ŵ| is taken: no block gets worse in that. Rows without zero points stay as they are.
func (r *Rows) HQQ() {
	if r.Zeros == nil {
		return
	}
	r.hqq(true, func(at int, a affine) {
		r.Scales[at], r.Zeros[at] = float32(a.scale), int8(a.zero)
	})
	r.Round()
}

// HQQReal is HQQ as published: scales stay, and the zero points returned, as many as there are scales, are real numbers, as
// MatMulNBits takes them. The codes belong to these, ŵ = (code − zero)·scale; r.Zeros is left alone.
func (r *Rows) HQQReal() []float32 {
	zeros := make([]float32, len(r.Scales))
	r.hqq(false, func(at int, a affine) { zeros[at] = float32(a.zero) })
	for c := range r.N {
		for i := range r.K {
			at := r.at(c, i)
			r.Codes[c*r.K+i] = int8(r.Grid.code(float64(r.W[c*r.K+i])/float64(r.Scales[at]), float64(zeros[at])))
		}
	}
	return zeros
}

// affine maps codes to numbers: (code − zero)·scale, with a zero that may be no code.
type affine struct{ scale, zero float64 }

func (r *Rows) hqq(whole bool, set func(at int, a affine)) {
	for c := range r.N {
		for x := range r.blocks() {
			from, to := r.block(x)
			at := c*r.blocks() + x
			start := affine{r.scale(c, from), r.zero(c, from)}
			set(at, r.Grid.hqq(r.W[c*r.K+from:c*r.K+to], start, whole))
		}
	}
}

// hqq alternates between the errors that the norm accepts as outliers, in closed form, and the least squares fit to the rest.
func (g Grid) hqq(w []float32, best affine, whole bool) affine {
	least := g.absolute(w, best)
	n, beta := float64(len(w)), hqqBeta
	a := best
	for range hqqRounds {
		last := a
		var q1, q2, y1, qy float64 // sums of codes, their squares, of the weights without outliers' errors, of both
		for _, v := range w {
			u := float64(v) / a.scale
			q := g.code(u, a.zero)
			y := float64(v) - float64(a.scale*softThreshold(u-(q-a.zero), beta))
			q1, q2, y1, qy = q1+q, q2+float64(q*q), y1+y, qy+float64(q*y)
		}
		if whole {
			a.scale = (qy - float64(q1*y1)/n) / (q2 - float64(q1*q1)/n)
			if !(a.scale >= float64(MinScale) && a.scale <= math.MaxFloat32) {
				break // all codes are alike, or fall where the weights rise
			}
			a.scale = float64(usableScale(a.scale, g.Max-g.Min))
		}
		a.zero = min(max((q1-y1/a.scale)/n, float64(g.Min)), float64(g.Max))
		if whole {
			a.zero = math.RoundToEven(a.zero)
		} else {
			a.zero = float64(float32(a.zero))
		}
		if a == last {
			break
		}
		if l := g.absolute(w, a); l < least {
			best, least = a, l
		}
		beta *= hqqGrowth
	}
	return best
}

// code is the nearest code of u, in steps.
func (g Grid) code(u, zero float64) float64 {
	return min(max(math.RoundToEven(u+zero), float64(g.Min)), float64(g.Max))
}

// absolute is Σ|w − ŵ|.
func (g Grid) absolute(w []float32, a affine) float64 {
	sum := 0.0
	for _, v := range w {
		sum += math.Abs(float64(v) - float64((g.code(float64(v)/a.scale, a.zero)-a.zero)*a.scale))
	}
	return sum
}

// softThreshold is the generalised soft threshold sign(e)·max(0, |e| − |e|^(p−1)/β), which is 0 at 0.
func softThreshold(e, beta float64) float64 {
	a := math.Abs(e)
	if a == 0 {
		return 0
	}
	return math.Copysign(max(0, a-mathf.Pow64(a, hqqNorm-1)/beta), e)
}
