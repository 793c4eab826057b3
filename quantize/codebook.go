package quantize

import (
	"cmp"
	"math"
	"slices"
)

// A Codebook holds weights as indices into a table of levels that all rows share: Levels[index]·scale.
type Codebook struct {
	N, K, Block int
	Levels      []float32 // [at most 256]
	Indices     []uint8   // [N, K]
	Scales      []float32 // [N, ceil(K/Block)]
}

// Dequantize returns the values, [N, K].
func (b *Codebook) Dequantize() []float32 {
	w, r := make([]float32, len(b.Indices)), Rows{N: b.N, K: b.K, Block: b.Block}
	for c := range b.N {
		for i := range b.K {
			w[c*b.K+i] = float32(b.Levels[b.Indices[c*b.K+i]] * b.Scales[r.at(c, i)])
		}
	}
	return w
}

// Codebook returns r's weights as indices into r.Levels.
func (r *Rows) Codebook() *Codebook {
	b := &Codebook{N: r.N, K: r.K, Block: r.Block, Scales: slices.Clone(r.Scales)}
	var index [256]uint8 // of a code + 128
	for i, l := range r.Levels {
		b.Levels = append(b.Levels, float32(l))
		index[int(l)+128] = uint8(i)
	}
	b.Indices = make([]uint8, len(r.Codes))
	for i, c := range r.Codes {
		b.Indices[i] = index[int(c)+128]
	}
	return b
}

// FitLevels keeps r to those levels, count (1…256) of them at most, that leave the least Σ energy·(w − ŵ)². They are codes of
// r.Grid: stored as indices, computed with as integers; 0 need not be one. r starts from its scales, which are fitted along, and
// has no zero points. energy weights columns; nil: all alike. GPTQ, Descend and FitScales of a Solver then keep to the levels.
func (r *Rows) FitLevels(count int, energy []float64) {
	lo, hi := float64(r.Grid.Min), float64(r.Grid.Max)
	levels := r.fitLevels(count, energy, func(mean float64) float64 { return min(max(math.RoundToEven(mean), lo), hi) })
	r.Levels = make([]int8, len(levels))
	for i, l := range levels {
		r.Levels[i] = int8(l)
	}
	r.Round()
}

// KMeans returns the codebook of count levels, which may be any numbers, and of scales with the least Σ energy·(w − ŵ)², as
// FitLevels does. (SqueezeLLM, 2306.07629, with levels for all rows.)
func (r *Rows) KMeans(count int, energy []float64) *Codebook {
	fitted := *r
	fitted.Scales = slices.Clone(r.Scales)
	levels := fitted.fitLevels(count, energy, func(mean float64) float64 { return mean })
	b := &Codebook{N: r.N, K: r.K, Block: r.Block, Scales: fitted.Scales, Indices: make([]uint8, len(r.W))}
	for _, l := range levels {
		b.Levels = append(b.Levels, float32(l))
	}
	for c := range r.N {
		for i := range r.K {
			b.Indices[c*r.K+i] = uint8(nearestLevel(levels, float64(r.W[c*r.K+i])/fitted.scale(c, i)))
		}
	}
	return b
}

// fitRounds bounds the rounds of fitLevels, which ends when the error falls by less than fitEnough of it.
const fitRounds, fitEnough = 10, 1e-3

// fitLevels finds the best levels for the scales and the best scales for the levels, in turn. A round that gains nothing is undone.
func (r *Rows) fitLevels(count int, energy []float64, centre func(mean float64) float64) []float64 {
	best, least, scales := []float64(nil), math.Inf(1), slices.Clone(r.Scales)
	for range fitRounds {
		levels := kMeans(r.points(energy), count, centre)
		loss := r.fitToLevels(levels, energy)
		enough := loss >= least*(1-fitEnough)
		if loss < least {
			best, least = levels, loss
			copy(scales, r.Scales)
		}
		if enough {
			break
		}
	}
	copy(r.Scales, scales)
	return best
}

// fitToLevels gives every block the best scale for the levels nearest to its weights, and returns the error that is left.
func (r *Rows) fitToLevels(levels []float64, energy []float64) float64 {
	loss := 0.0
	for c := range r.N {
		for x := range r.blocks() {
			from, to := r.block(x)
			at := c*r.blocks() + x
			s := float64(r.Scales[at])
			var ww, wl, ll float64
			for i := from; i < to; i++ {
				w, e := float64(r.W[c*r.K+i]), 1.0
				if energy != nil {
					e = energy[i]
				}
				l := levels[nearestLevel(levels, w/s)]
				ww, wl, ll = ww+float64(e*w*w), wl+float64(e*w*l), ll+float64(e*l*l)
			}
			if fit := float32(wl / ll); fit >= MinScale && fit <= math.MaxFloat32 {
				r.Scales[at], s = fit, float64(fit)
			}
			loss += ww - float64(2*s*wl) + float64(s*s*ll)
		}
	}
	return loss
}

// nearestLevel returns the index of the level nearest to u; levels ascend.
func nearestLevel(levels []float64, u float64) int {
	i := 0
	for i+1 < len(levels) && 2*u > levels[i]+levels[i+1] {
		i++
	}
	return i
}

// A point is a value that occurs with a weight.
type point struct{ value, weight float64 }

// maxPoints is the number of points up to which kMeans sees every weight; more are gathered in as many bins.
const maxPoints = 1 << 12

// points returns the distinct weights in units of their scales, ascending.
func (r *Rows) points(energy []float64) []point {
	at := func(c, i int) point {
		s := r.scale(c, i)
		p := point{float64(r.W[c*r.K+i]) / s, float64(s * s)}
		if energy != nil {
			p.weight *= energy[i]
		}
		return p
	}
	if len(r.W) <= maxPoints {
		points := make([]point, 0, len(r.W))
		for c := range r.N {
			for i := range r.K {
				points = append(points, at(c, i))
			}
		}
		slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.value, b.value) })
		distinct := points[:1]
		for _, p := range points[1:] {
			if last := &distinct[len(distinct)-1]; p.value == last.value {
				last.weight += p.weight
			} else {
				distinct = append(distinct, p)
			}
		}
		return distinct
	}
	lo, hi := math.Inf(1), math.Inf(-1)
	for c := range r.N {
		for i := range r.K {
			v := at(c, i).value
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	width := max(hi-lo, float64(MinScale)) / maxPoints
	// Bins become points at the mean of what is in them, so that of a cluster's mean nothing is lost.
	bins := make([]point, maxPoints)
	for c := range r.N {
		for i := range r.K {
			p := at(c, i)
			b := &bins[min(int((p.value-lo)/width), maxPoints-1)]
			b.value += float64(p.value * p.weight)
			b.weight += p.weight
		}
	}
	points := bins[:0]
	for _, b := range bins {
		if b.weight > 0 {
			points = append(points, point{b.value / b.weight, b.weight})
		}
	}
	return points
}

// kMeans returns the at most k levels, ascending, of the least Σ weight·(value − nearest level)²; the points ascend, and a
// cluster with that mean gets the level centre(mean), the best one allowed. It is exact: the clusters are runs of points, the
// best end of the last but one moves up with the end of the last, and halving uses that: O(k·n·log n).
// (Grønlund et al., 1701.07204; the argument holds for any set of levels.)
func kMeans(points []point, k int, centre func(mean float64) float64) []float64 {
	n := len(points)
	k = min(k, n)
	s := newRuns(points, centre)
	cost, next := make([]float64, n+1), make([]float64, n+1) // of the first j points in so many clusters
	starts := make([][]int32, k)                             // [cluster][j]: where the last cluster of j points starts
	for j := 1; j <= n; j++ {
		cost[j] = s.cost(0, j)
	}
	starts[0] = make([]int32, n+1)
	for m := 1; m < k; m++ {
		starts[m] = make([]int32, n+1)
		s.split(cost, next, starts[m], m+1, n, m, n-1)
		cost, next = next, cost
	}
	levels := make([]float64, 0, k)
	for m, end := k-1, n; m >= 0; m-- {
		start := int(starts[m][end])
		levels = append(levels, s.level(start, end))
		end = start
	}
	slices.Sort(levels)
	return slices.Compact(levels)
}

// runs are prefix sums over points, in distances from their mean, which keeps them from cancelling.
type runs struct {
	points   []point
	n, x, xx []float64 // Σ weight, Σ weight·value, Σ weight·value²
	mean     float64
	centre   func(float64) float64
}

func newRuns(points []point, centre func(float64) float64) *runs {
	s := &runs{points: points, centre: centre}
	weight := 0.0
	for _, p := range points {
		s.mean += float64(p.weight * p.value)
		weight += p.weight
	}
	s.mean /= weight
	s.n, s.x, s.xx = make([]float64, len(points)+1), make([]float64, len(points)+1), make([]float64, len(points)+1)
	for i, p := range points {
		v, w := p.value-s.mean, p.weight/weight
		s.n[i+1] = s.n[i] + w
		s.x[i+1] = s.x[i] + float64(w*v)
		s.xx[i+1] = s.xx[i] + float64(w*v*v)
	}
	return s
}

// level is that of points from…to.
func (s *runs) level(from, to int) float64 {
	n := s.n[to] - s.n[from]
	if n == 0 { // next to nothing beside the others' weights
		return s.centre(s.points[from].value)
	}
	return s.centre((s.x[to]-s.x[from])/n + s.mean)
}

func (s *runs) cost(from, to int) float64 {
	n, x, xx := s.n[to]-s.n[from], s.x[to]-s.x[from], s.xx[to]-s.xx[from]
	l := s.level(from, to) - s.mean
	return max(xx-float64(2*l*x)+float64(l*l*n), 0)
}

// split fills next[j] for j in from…to, one cluster more than cost has; the last of them starts in least…most.
func (s *runs) split(cost, next []float64, starts []int32, from, to, least, most int) {
	if from > to {
		return
	}
	j := (from + to) / 2
	next[j] = math.Inf(1)
	for i := least; i <= min(most, j-1); i++ {
		if c := cost[i] + s.cost(i, j); c < next[j] {
			next[j], starts[j] = c, int32(i)
		}
	}
	s.split(cost, next, starts, from, j-1, least, int(starts[j]))
	s.split(cost, next, starts, j+1, to, int(starts[j]), most)
}
