package quantize

import "math"

// octavRange is the clipping of least mean squared error by the fixed point of
// OCTAV (Sakr et al., arXiv 2206.06501). With a range of width w, an error of
// w²·k, k = 4^-b/12, is put on the share P of values that are inside and not 0,
// which have an exact code; then the best upper end fulfils
//
//	hi = (E[x; x>hi] + k·P·lo) / (k·P + P(x>hi))
//
// and the lower one its mirror image. With lo = 0 this is the paper's formula for
// unsigned numbers, c = k; with lo = −hi, as on a symmetric grid, the one for
// signed numbers, s = E[|x|; |x|>s] / (c·P + P(|x|>s)) with c = 4k. On other grids
// the two ends take turns. The extremes stand where there is no fixed point,
// as in a handful of equal values.
func octavRange(_ RangeRule, m mixture, g Grid) (lo, hi float64) {
	b := m.buckets()
	k := math.Ldexp(1, -2*g.Bits) / 12
	lo, hi = m.extremes()
	if g.Symmetric {
		above := nonzero(magnitudes(b))
		if s, _, ok := fixedPoint(above, nil, 4*k); ok {
			return -s, s
		}
		return lo, hi
	}
	var above, below []bucket // below: mirrored
	for _, x := range nonzero(b) {
		if x.hi > 0 {
			above = append(above, x)
		} else {
			below = append(below, bucket{-x.hi, -x.lo, x.n})
		}
	}
	if h, l, ok := fixedPoint(above, below, k); ok {
		return -l, h
	}
	return lo, hi
}

// fixedPoint returns the ends, in magnitude, of the values above and below 0.
func fixedPoint(above, below []bucket, k float64) (up, down float64, ok bool) {
	const rounds, tolerance = 100, 1.0 / (1 << 20)
	all := beyond(above, 0).n + beyond(below, 0).n
	cut := func(side []bucket, end, other, outside float64) (to, n float64) {
		t := beyond(side, end)
		noise := float64(k * max(all-t.n-outside, 0))
		if noise+t.n == 0 {
			return 0, 0
		}
		return max((t.sum-float64(noise*other))/(noise+t.n), 0), t.n
	}
	for range rounds {
		before := up + down
		moved := 0.0
		next, n := cut(above, up, down, beyond(below, down).n)
		moved, up = math.Abs(next-up), next
		next, _ = cut(below, down, up, n)
		moved, down = moved+math.Abs(next-down), next
		if moved <= float64(tolerance*before) {
			return up, down, true
		}
	}
	return 0, 0, false
}

// A tail is the mass and the sum of values beyond an end.
type tail struct{ n, sum float64 }

func beyond(b []bucket, end float64) (t tail) {
	for _, x := range b {
		switch {
		case x.lo >= end && x.hi > end:
			t.n += x.n
			t.sum += float64(x.n * ((x.lo + x.hi) / 2))
		case x.hi > end:
			n := float64(x.n * ((x.hi - end) / (x.hi - x.lo)))
			t.n += n
			t.sum += float64(n * ((end + x.hi) / 2))
		}
	}
	return t
}
