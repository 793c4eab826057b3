package quantize

import "math"

// sigmaByBits is the k that is best for normally distributed values.
var sigmaByBits = map[int]float64{2: 1.53, 3: 2.08, 4: 2.56, 5: 2.94, 6: 3.29, 7: 3.62, 8: 3.92}

// sigmaRange is mean ± k·std.
func sigmaRange(r RangeRule, m mixture, g Grid) (lo, hi float64) {
	mean, variance := m.moments()
	d := float64(r.K(g) * math.Sqrt(variance))
	return mean - d, mean + d
}

// K returns the k of "sigma" for a grid.
func (r RangeRule) K(g Grid) float64 {
	if r.SigmaK != 0 {
		return r.SigmaK
	}
	return sigmaByBits[g.Bits]
}
