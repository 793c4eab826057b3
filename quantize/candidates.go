package quantize

// A Candidate is a range that one of the Methods chose.
type Candidate struct {
	Method string
	Lo, Hi float32
	// Noise is the expected squared error of a value, rounding and saturation
	// included, as Histogram.Noise has it; for tensors that share a scale the mean of
	// theirs, in which each weighs as SharedRange says for mse.
	Noise float64
	// Clipping is the part of Noise that is the squared distance of values beyond the outermost codes from these.
	Clipping float64
}

// Candidates returns what each method makes of the same values, in the order of
// Methods, so that a planner can try the few that are worth it: for one tensor, or
// for all that must share a scale. The number of values times Noise is the sum of
// hist·(x − Q(x))². It takes Percentile and SigmaK from the rule and needs a
// Histogram for each tensor, so moving-average, which has no histogram, is left
// out, as is Auto, whose choices these are. Errors are those of SharedRange.
func (r RangeRule) Candidates(h []*Histogram, g Grid) ([]Candidate, error) {
	c := make([]Collector, len(h))
	for i := range h {
		c[i] = h[i]
	}
	var all []Candidate
	var b []bucket
	for _, m := range Methods {
		if m.ordered() || m.choose == nil {
			continue
		}
		r.Method = m.Name
		lo, hi, err := r.SharedRange(c, g)
		if err != nil {
			return nil, err
		}
		if b == nil {
			b = mix(h, g, byPower).buckets()
		}
		p, n := g.Params(lo, hi), mass(b)
		all = append(all, Candidate{m.Name, lo, hi, noise(b, p, g) / n, clipping(b, p, g) / n})
	}
	return all, nil
}
