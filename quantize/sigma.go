package quantize

import "math"

// sigmaByBits is the k that is best for normally distributed values.
var sigmaByBits = map[int]float64{2: 1.53, 3: 2.08, 4: 2.56, 5: 2.94, 6: 3.29, 7: 3.62, 8: 3.92}

// sigmaRange is mean ± k·std.
func sigmaRange(r RangeRule, m mixture, g Grid) (lo, hi float64) {
	k := r.SigmaK
	if k == 0 {
		k = sigmaByBits[g.Bits]
	}
	mean, variance := m.moments()
	d := float64(k * math.Sqrt(variance))
	return mean - d, mean + d
}
