package quantize

import "math"

// Grids of few bits, in ONNX's types. The signed ones are used whole: a block whose extreme is negative has it on the lowest
// code, so that its scale is finer by 1/8 (int4) or by half (int2).
var (
	Int4  = Grid{Name: "int4", Bits: 4, Min: -8, Max: 7, Symmetric: true}
	Uint4 = Grid{Name: "uint4", Bits: 4, Min: 0, Max: 15}
	Int3  = Grid{Name: "int3", Bits: 3, Min: -4, Max: 3, Symmetric: true} // no type of ONNX
	Uint3 = Grid{Name: "uint3", Bits: 3, Min: 0, Max: 7}
	Int2  = Grid{Name: "int2", Bits: 2, Min: -2, Max: 1, Symmetric: true}
	Uint2 = Grid{Name: "uint2", Bits: 2, Min: 0, Max: 3}
)

// NewRows returns the matrix w [N, K], quantized to g, whose codes fit int8, in blocks of consecutive weights of a row that share a scale, and a zero
// point unless g is symmetric. The scales are those that hold the extremes of each block, the codes the nearest ones.
func NewRows(w []float32, n, k, block int, g Grid) *Rows {
	r := &Rows{N: n, K: k, Grid: g, Block: block, W: w, Codes: make([]int8, n*k)}
	r.Scales = make([]float32, n*r.blocks())
	if !g.Symmetric {
		r.Zeros = make([]int8, len(r.Scales))
	}
	r.hold()
	return r
}

// hold gives every block the scale that holds its extremes, and rounds it.
func (r *Rows) hold() {
	for c := range r.N {
		for x := range r.blocks() {
			from, to := r.block(x)
			lo, hi := extremes(r.W[c*r.K+from : c*r.K+to])
			r.setParams(c*r.blocks()+x, r.Grid.within(lo, hi))
		}
	}
	r.Round()
}

func extremes(w []float32) (lo, hi float64) {
	for _, v := range w {
		lo, hi = min(lo, float64(v)), max(hi, float64(v))
	}
	return lo, hi
}

// within is the finest scale under which lo ≤ 0 and hi ≥ 0 do not saturate, and its zero point. Unlike Params it uses a
// symmetric grid to both its ends. A block of zeros has the finest scale of all, as a dead channel of QuantizeWeights has.
func (g Grid) within(lo, hi float64) Params {
	switch {
	case lo == 0 && hi == 0:
		return Params{Scale: MinScale, ZeroPoint: g.zero()}
	case !g.Symmetric:
		return g.Params(float32(lo), float32(hi))
	}
	return Params{Scale: usableScale(max(lo/float64(g.Min), hi/float64(g.Max)), max(-g.Min, g.Max))}
}

func (r *Rows) setParams(at int, p Params) {
	r.Scales[at] = p.Scale
	if r.Zeros != nil {
		r.Zeros[at] = int8(p.ZeroPoint)
	}
}

// clipSteps are the ranges that Clip tries: 1.05, 1.035, … 0.45 of a block's; a little more than the whole may suit the codes better.
// clipShifts is how far from the middle zero points are tried.
const clipSteps, clipShifts = 40, 2

func clipped(i int) float64 { return 1.05 - 0.015*float64(i) }

// Clip gives every block the scale and zero point with the least error, and rounds its codes: what saturates is paid for by the
// finer step of the rest. (The clip search of AWQ, 2306.00978, with zero points tried besides.) energy weights the squared errors of a column, K of them; nil: all alike. See Solver.Energy.
//
// With negative set, scales may be negative: the far code of Int4 and Int2 then serves extremes of either sign, which takes 11 %
// off the energy of int4's errors in blocks of 32, and 20 % of int2's. DequantizeLinear and MatMulNBits can do that in ONNX Runtime.
func (r *Rows) Clip(energy []float64, negative bool) {
	for c := range r.N {
		for x := range r.blocks() {
			from, to := r.block(x)
			w := r.W[c*r.K+from : c*r.K+to]
			var e []float64
			if energy != nil {
				e = energy[from:to]
			}
			best, least := r.Grid.clip(w, e, 1)
			if negative && r.Grid.Symmetric && -r.Grid.Min != r.Grid.Max {
				if p, l := r.Grid.clip(w, e, -1); l < least {
					best = p
				}
			}
			r.setParams(c*r.blocks()+x, best)
		}
	}
	r.Round()
}

// clip searches the scale, of the given sign, and the zero point near the one that puts the range in the middle of the grid.
func (g Grid) clip(w []float32, energy []float64, sign float32) (best Params, least float64) {
	lo, hi := extremes(w)
	if sign < 0 {
		lo, hi = -hi, -lo
	}
	best = g.within(lo, hi)
	best.Scale *= sign
	least = g.loss(w, energy, best, math.Inf(1))
	if lo == hi {
		return best, least
	}
	try := func(p Params) {
		p.Scale *= sign
		if l := g.loss(w, energy, p, least); l < least {
			best, least = p, l
		}
	}
	for i := range clipSteps + 1 {
		p := g.within(lo*clipped(i), hi*clipped(i))
		try(p)
		if g.Symmetric {
			continue
		}
		for z := max(p.ZeroPoint-clipShifts, g.Min); z <= min(p.ZeroPoint+clipShifts, g.Max); z++ {
			if z != p.ZeroPoint {
				try(Params{Scale: p.Scale, ZeroPoint: z})
			}
		}
	}
	return best, least
}

// loss is the energy of what p does to w, or part of it that is above limit.
func (g Grid) loss(w []float32, energy []float64, p Params, limit float64) float64 {
	s, z := float64(p.Scale), float64(p.ZeroPoint)
	lo, hi := float64(g.Min)-z, float64(g.Max)-z
	sum := 0.0
	for i, v := range w {
		d := float64(v) - float64(min(max(math.RoundToEven(float64(v)/s), lo), hi)*s)
		d = float64(d * d)
		if energy != nil {
			d = float64(d * energy[i])
		}
		if sum += d; sum > limit {
			break
		}
	}
	return sum
}

// Energy is the diagonal of H: how much the squared error of each input's weights counts.
func (s *Solver) Energy() []float64 {
	e := make([]float64, s.k)
	for i := range e {
		e[i] = s.h[i*s.k+i]
	}
	return e
}
