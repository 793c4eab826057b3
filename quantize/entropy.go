package quantize

import (
	"math"

	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// entropyBins is how many bins of equal width the magnitudes are counted in.
const entropyBins = 2048

// entropyRange is the clipping ±t after which the distribution of magnitudes
// loses least information (Migacz, 8-bit Inference with TensorRT, 2017). The
// levels are the codes of one sign: 128 for 8 bits. Zeros do not take part:
// they have a code of their own whatever the range, and where a Relu made half of
// the values 0 they would make the least t look best.
func entropyRange(_ RangeRule, m mixture, g Grid) (lo, hi float64) {
	lo, hi = m.extremes()
	greatest := max(-lo, hi)
	if greatest == 0 {
		return 0, 0
	}
	h := linearBins(nonzero(magnitudes(m.buckets())), greatest, entropyBins)
	kept := leastDivergence(h, 1<<(g.Bits-1))
	t := greatest * (float64(kept) / entropyBins)
	return -t, t
}

// linearBins counts the magnitudes of 0…greatest in bins of equal width. What a
// bucket spreads over several bins is rounded down to whole values from the least
// bin on, so that one value stays one value.
func linearBins(b []bucket, greatest float64, bins int) []uint64 {
	r := make([]uint64, bins)
	scale := float64(bins) / greatest
	for _, x := range b {
		from, to := float64(x.lo*scale), float64(x.hi*scale)
		var before uint64
		for i := min(int(from), bins-1); ; i++ {
			if i == bins-1 || to <= float64(i+1) {
				r[i] += uint64(x.n) - before
				break
			}
			upTo := uint64(x.n * ((float64(i+1) - from) / (to - from)))
			r[i] += upTo - before
			before = upTo
		}
	}
	return r
}

// leastDivergence returns the number i of bins to keep, levels ≤ i ≤ len(h), for
// which KL(P‖Q) is least: P is h[:i] with the tail h[i:] added to its last bin,
// Q is h[:i] without the tail, merged into levels, each spread evenly over
// those of its bins that are not empty; both are normalised. Where P has values
// in a bin and Q has none, the divergence is infinite. Of equal ones the
// greatest i wins.
func leastDivergence(h []uint64, levels int) int {
	bins := len(h)
	// Prefix sums make the cost of a candidate that of its levels.
	count, filled, entropy := make([]uint64, bins+1), make([]int, bins+1), make([]float64, bins+1)
	for i, n := range h {
		count[i+1], filled[i+1], entropy[i+1] = count[i]+n, filled[i], entropy[i]+xLogX(n)
		if n > 0 {
			filled[i+1]++
		}
	}
	all := count[bins]
	least, best := math.Inf(1), bins
	for i := bins; i >= levels; i-- {
		tail := all - count[i]
		if h[i-1] == 0 && tail > 0 {
			continue
		}
		// all·KL(P‖Q), but for what is the same for every i: Σ p·log p − Σ p·log q
		divergence := entropy[i-1] + xLogX(h[i-1]+tail)
		for l := range levels {
			from, to := l*i/levels, (l+1)*i/levels
			n := count[to] - count[from]
			if n == 0 {
				continue
			}
			q := float64(n) / float64(filled[to]-filled[from]) / float64(count[i])
			if l == levels-1 {
				n += tail
			}
			divergence -= float64(float64(n) * mathf.Log64(q))
		}
		if divergence < least {
			least, best = divergence, i
		}
	}
	return best
}

func xLogX(n uint64) float64 {
	if n == 0 {
		return 0
	}
	return float64(float64(n) * mathf.Log64(float64(n)))
}
