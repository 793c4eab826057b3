package quantize

import "math"

// Noise estimates the mean squared error that quantization with p puts on the
// values seen, saturation included: exact where the values of every bucket are
// spread evenly over it.
func (h *Histogram) Noise(p Params, g Grid) float64 {
	if h.extremes.Count == 0 {
		return 0
	}
	return noise(h.buckets(), p, g) / float64(h.extremes.Count)
}

// noise is Σ n·E[(x − x̂)²] over the buckets.
func noise(b []bucket, p Params, g Grid) float64 {
	n := noiseIntegral{step: float64(p.Scale), lo: float64(g.Min - p.ZeroPoint), hi: float64(g.Max - p.ZeroPoint)}
	sum := 0.0
	// Neighbouring buckets share an end.
	end, atEnd := math.NaN(), 0.0
	for _, x := range b {
		lo, hi := x.lo/n.step, x.hi/n.step
		if hi <= lo {
			sum += float64(x.n * n.at(lo))
			continue
		}
		from := atEnd
		if lo != end {
			from = n.upTo(lo)
		}
		end, atEnd = hi, n.upTo(hi)
		sum += float64(x.n * ((atEnd - from) / (hi - lo)))
	}
	return sum * n.step * n.step
}

// clipping is Σ n·E[d²] over the buckets, d the distance from the outermost codes where a value is beyond them.
func clipping(b []bucket, p Params, g Grid) float64 {
	lo, hi := float64(g.Min-p.ZeroPoint)*float64(p.Scale), float64(g.Max-p.ZeroPoint)*float64(p.Scale)
	sum := 0.0
	for _, x := range b {
		sum += float64(x.n * (squareAbove(x.lo-hi, x.hi-hi) + squareAbove(lo-x.hi, lo-x.lo)))
	}
	return sum
}

// squareAbove is the mean of max(u, 0)² for u from a to b.
func squareAbove(a, b float64) float64 {
	switch {
	case b <= 0:
		return 0
	case a == b:
		return b * b
	}
	c := max(a, 0)
	return (float64(b*b*b) - float64(c*c*c)) / (3 * (b - a))
}

// noiseIntegral works in units of the step, where codes are integers lo…hi.
type noiseIntegral struct{ step, lo, hi float64 }

func (n noiseIntegral) code(u float64) float64 {
	return min(max(math.RoundToEven(u), n.lo), n.hi)
}

// at is the squared error of one value.
func (n noiseIntegral) at(u float64) float64 {
	d := u - n.code(u)
	return float64(d * d)
}

// upTo is the integral of the squared error from 0 to u: 1/12 for each whole
// code on the way, and the cube of what is left.
func (n noiseIntegral) upTo(u float64) float64 {
	r := n.code(u)
	d := u - r
	return r/12 + float64(d*d*d)/3
}

// mseRange searches the range of least noise among ends that are the extremes
// times the fractions of shrink, one end after the other (both as one for a
// symmetric grid), first in coarse steps, then in fine ones.
func mseRange(_ RangeRule, m mixture, g Grid) (lo, hi float64) {
	b := m.buckets()
	// Both ends at 0 would say nothing about the scale.
	lo, hi = m.extremes()
	ends := [2]float64{lo, hi}
	if g.Symmetric {
		a := max(-ends[0], ends[1])
		ends = [2]float64{0, a}
	}
	at := [2]int{}
	loss := func(at [2]int) float64 {
		return noise(b, g.Params(float32(ends[0]*shrink(at[0])), float32(ends[1]*shrink(at[1]))), g)
	}
	least := loss(at)
	for _, sweep := range []struct{ step, reach int }{{octave / 8, shrinks}, {1, octave / 8}} {
		for improved := true; improved; {
			improved = false
			for side := range ends {
				if ends[side] == 0 {
					continue
				}
				centre := at[side]
				for i := max(centre-sweep.reach, 0); i <= min(centre+sweep.reach, shrinks); i += sweep.step {
					try := at
					try[side] = i
					if l := loss(try); l < least {
						least, at, improved = l, try, true
					}
				}
			}
		}
	}
	lo, hi = ends[0]*shrink(at[0]), ends[1]*shrink(at[1])
	if g.Symmetric {
		lo = -hi
	}
	return lo, hi
}

// shrink(i) falls from 1 to 2^-8, with octave values between powers of two.
const (
	octave  = 64
	shrinks = 8 * octave
)

func shrink(i int) float64 {
	return math.Ldexp(float64(2*octave-i%octave), -7-i/octave)
}
