package search

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/verify"
)

// A retreat leaves more of one node in float.
type retreat struct {
	key    string
	choice plan.Choice
	gain   float64 // noise that it takes away, for each byte that it costs; for activations, in all
}

// retreats lists what can be left in float, what gains most first: all activations before any weights, since those cost no bytes.
func (s *searcher) retreats(study *plan.Study, p *plan.Plan) ([]retreat, error) {
	parts, err := study.Parts(p)
	if err != nil {
		return nil, err
	}
	var changes []*plan.Change
	for _, part := range parts {
		changes = append(changes, part.Activations, part.Weights)
	}
	noise, err := s.noises(study, hash("retreats", s.Key, p), changes)
	if err != nil {
		return nil, err
	}
	why := plan.Reason{ID: "chosen", Text: "left in float by the search: the model would lose too much"}
	var activations, weights []retreat
	for i, part := range parts {
		if part.Activations != nil {
			c := plan.Choice{Activations: plan.ModeFloat}
			if part.Weights == nil {
				c = plan.Choice{Float: true, Why: why}
			}
			activations = append(activations, retreat{part.Key, c, noise[2*i]})
		}
		if part.Weights != nil {
			weights = append(weights, retreat{part.Key, plan.Choice{Float: true, Why: why}, noise[2*i+1] / float64(max(part.Bytes-part.Stored, 1))})
		}
	}
	most := func(a, b retreat) int { return cmp.Compare(b.gain, a.gain) }
	slices.SortStableFunc(activations, most)
	slices.SortStableFunc(weights, most)
	return append(activations, weights...), nil
}

// retreat looks for the plan that leaves the least in float and keeps to the drop; where there is none, it is the one that loses
// least.
func (s *searcher) retreat(study *plan.Study, base Candidate) (Candidate, error) {
	all, err := s.retreats(study, base.Plan)
	if err != nil {
		return base, err
	}
	best := base
	_, err = s.bisect(0, len(all)-1, func(left int) (bool, error) { // how many stay quantized
		choices := map[string]plan.Choice{}
		for _, r := range all[:len(all)-left] {
			choices[r.key] = r.choice
		}
		p, err := s.make(choices)
		if err != nil || !p.Quantizes() {
			return true, err // of a float model there is nothing to be measured
		}
		c, err := s.measure(p, fmt.Sprintf("float: the first %d of %d that do most damage", len(all)-left, len(all)))
		if err != nil {
			return false, err
		}
		if s.keeps(c) || !s.keeps(best) {
			best = s.preferred(best, c)
		}
		return s.keeps(c), nil
	})
	return best, err
}

// preferred returns the candidate that keeps to the drop, of two that do the smaller one, of two that do not the better one.
func (s *searcher) preferred(a, b Candidate) Candidate {
	switch {
	case s.keeps(a) != s.keeps(b):
		if s.keeps(b) {
			return b
		}
		return a
	case s.keeps(a):
		return smallerOf(a, b)
	}
	return s.betterOf(a, b)
}

func smallerOf(a, b Candidate) Candidate {
	if b.Bytes < a.Bytes {
		return b
	}
	return a
}

// A step writes a constant, which some nodes share, down in fewer bits.
type step struct {
	keys     []string
	to       int // the rung
	from     string
	saves    int64
	adds     float64
	previous int // the index of the step before it of the same constant; -1: none
}

// A ladder is what the weights of a plan can step down to: the plan as it is and in each form, and the steps, the least noise for a
// byte first.
type ladder struct {
	rungs []*plan.Plan
	steps []step
}

// newLadder reforms the plan and measures the weights of each site alone in each form.
func (s *searcher) newLadder(study *plan.Study, base Candidate) (*ladder, error) {
	l := &ladder{rungs: []*plan.Plan{base.Plan}}
	for i, f := range s.Ladder {
		s.plan.Progress("rounding to fewer bits: form", i, len(s.Ladder))
		p, err := s.journal.plan(hash("reform", s.Key, base.Plan, f), func() (*plan.Plan, error) { return study.Reform(f) })
		if err != nil {
			return nil, err
		}
		l.rungs = append(l.rungs, p)
	}
	byRung := make([]map[string]plan.Part, len(l.rungs))
	for i, p := range l.rungs {
		parts, err := study.Parts(p)
		if err != nil {
			return nil, err
		}
		byRung[i] = map[string]plan.Part{}
		for _, part := range parts {
			byRung[i][part.Key] = part
		}
	}
	sites := study.Sites()
	var changes []*plan.Change
	for _, keys := range sites {
		for _, parts := range byRung {
			var all []*plan.Change
			for _, key := range keys {
				all = append(all, parts[key].Weights)
			}
			changes = append(changes, plan.Together(all...))
		}
	}
	noise, err := s.noises(study, hash("ladder", s.Key, base.Plan, s.Ladder), changes)
	if err != nil {
		return nil, err
	}
	overhead, err := s.overhead(l, base.Bytes, sites, byRung)
	if err != nil {
		return nil, err
	}
	for i, keys := range sites {
		stored := make([]int64, len(l.rungs))
		for r, parts := range byRung {
			if stored[r] = parts[keys[0]].Stored; l.form(r, keys[0]) != l.form(0, keys[0]) {
				stored[r] += overhead[r]
			}
		}
		l.add(keys, stored, noise[i*len(l.rungs):][:len(l.rungs)])
	}
	l.sort()
	for _, t := range l.steps {
		s.log.Moves = append(s.log.Moves, verify.SearchMove{
			Nodes: t.keys, From: t.from, To: l.form(t.to, t.keys[0]).String(), Saves: t.saves, Noise: metric.Number(t.adds),
		})
	}
	return l, nil
}

// form returns the form that the weights of a node have on a rung.
func (l *ladder) form(rung int, key string) plan.Form { return l.rungs[rung].Node(key).Weights.Form }

// overhead returns what the nodes around the weights of a site take on each rung, on average, beyond what they take in the base, whose
// bytes are known: the models of whole rungs are written and measured for it.
func (s *searcher) overhead(l *ladder, base int64, sites [][]string, byRung []map[string]plan.Part) ([]int64, error) {
	overhead := make([]int64, len(l.rungs))
	for r, p := range l.rungs {
		n, changed := int64(0), int64(0)
		for _, keys := range sites {
			if l.form(r, keys[0]) != l.form(0, keys[0]) {
				changed++
				n += byRung[r][keys[0]].Stored - byRung[0][keys[0]].Stored
			}
		}
		if changed == 0 {
			continue
		}
		bytes, err := s.size(p)
		if err != nil {
			return nil, err
		}
		overhead[r] = (bytes - base - n) / changed
	}
	return overhead, nil
}

// size returns the bytes of a plan's model.
func (s *searcher) size(p *plan.Plan) (int64, error) {
	m, err := s.Build(p)
	if err != nil {
		return 0, err
	}
	if _, err := s.write(m); err != nil {
		return 0, err
	}
	return s.bytes()
}

// add finds the steps of one constant: down the lower hull of noise over bytes, so that each costs more for a byte than the one before.
func (l *ladder) add(keys []string, stored []int64, noise []float64) {
	at, previous := 0, -1
	for {
		best, slope := -1, 0.0
		for r := range l.rungs {
			if stored[r] >= stored[at] {
				continue
			}
			if v := (noise[r] - noise[at]) / float64(stored[at]-stored[r]); best < 0 || v < slope || v == slope && stored[r] < stored[best] {
				best, slope = r, v
			}
		}
		if best < 0 {
			return
		}
		l.steps = append(l.steps, step{keys, best, l.form(at, keys[0]).String(), stored[at] - stored[best], noise[best] - noise[at], previous})
		at, previous = best, len(l.steps)-1
	}
}

// sort puts the steps in the order in which they are taken. Those of one constant stay in theirs, since its hull is convex.
func (l *ladder) sort() {
	order := l.all()
	cost := func(i int) float64 { return l.steps[i].adds / float64(l.steps[i].saves) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(cost(a), cost(b)) })
	place := make([]int, len(order))
	sorted := make([]step, len(order))
	for at, i := range order {
		place[i], sorted[at] = at, l.steps[i]
	}
	for i := range sorted {
		if p := sorted[i].previous; p >= 0 {
			sorted[i].previous = place[p]
		}
	}
	l.steps = sorted
}

// take returns the first rung with some steps taken.
func (l *ladder) take(taken []int) *plan.Plan {
	p := *l.rungs[0]
	p.Nodes = slices.Clone(p.Nodes)
	for _, i := range taken {
		t := l.steps[i]
		for _, key := range t.keys {
			p.Node(key).Weights = l.rungs[t.to].Node(key).Weights
		}
	}
	return &p
}

// all returns the indices of the steps.
func (l *ladder) all() []int {
	all := make([]int, len(l.steps))
	for i := range all {
		all[i] = i
	}
	return all
}

// smallest looks for the smallest model that keeps to the drop: as far down the steps as it goes, and then past those that cost too
// much.
func (s *searcher) smallest(study *plan.Study, base Candidate) (Candidate, error) {
	l, err := s.newLadder(study, base)
	if err != nil {
		return base, err
	}
	best := base
	try := func(taken []int, label string) (bool, error) {
		c, err := s.measure(l.take(taken), label)
		if err == nil {
			best = s.preferred(best, c)
		}
		return s.keeps(c), err
	}
	all := l.all()
	k, err := s.bisect(0, len(all), func(k int) (bool, error) {
		return try(all[:k], fmt.Sprintf("%d of %d steps down", k, len(all)))
	})
	if err != nil {
		return best, err
	}
	// One after the other, those that are worth a trial: what is left out bars the steps of the same weights behind it.
	taken, barred := slices.Clone(all[:k]), map[int]bool{}
	for _, i := range all[k:] {
		t := l.steps[i]
		if t.previous >= 0 && barred[t.previous] || float64(t.saves) < leastSaving*float64(best.Bytes) || !s.affords() {
			barred[i] = true
			continue
		}
		with := append(slices.Clone(taken), i)
		ok, err := try(with, fmt.Sprintf("%d steps down, and step %d", len(taken), i+1))
		if err != nil {
			return best, err
		}
		if ok {
			taken = with
		} else {
			barred[i] = true
		}
	}
	return best, nil
}

// leastSaving is the share of the model's bytes that a single step must save to be tried by itself.
const leastSaving = 0.002

// fitting looks for the best model of no more than MaxBytes: as few steps down as fit, without those that later ones make superfluous.
func (s *searcher) fitting(study *plan.Study, base Candidate) (Candidate, error) {
	l, err := s.newLadder(study, base)
	if err != nil {
		return base, err
	}
	size := func(taken []int) (int64, error) { return s.size(l.take(taken)) }
	all := l.all()
	least, most := 0, len(all) // least is too large
	for most-least > 1 {
		k := (least + most) / 2
		n, err := size(all[:k])
		if err != nil {
			return base, err
		}
		if n <= s.MaxBytes {
			most = k
		} else {
			least = k
		}
	}
	taken := all[:most]
	c, err := s.measure(l.take(taken), fmt.Sprintf("%d of %d steps down", most, len(all)))
	if err != nil {
		return base, err
	}
	if c.Bytes > s.MaxBytes {
		return smallerOf(base, c), nil
	}
	// The last step may save more than was asked for: what others need not save then, they take back, the noisiest first.
	room := s.MaxBytes - c.Bytes
	back := slices.Clone(taken)
	slices.SortStableFunc(back, func(a, b int) int { return cmp.Compare(l.steps[b].adds, l.steps[a].adds) })
	kept := slices.Clone(taken)
	for _, i := range back {
		last := !slices.ContainsFunc(kept, func(k int) bool { return l.steps[k].previous == i })
		if last && l.steps[i].adds > 0 && l.steps[i].saves < room {
			without := slices.DeleteFunc(slices.Clone(kept), func(k int) bool { return k == i })
			n, err := size(without)
			if err != nil {
				return c, err
			}
			if n <= s.MaxBytes {
				kept, room = without, s.MaxBytes-n
			}
		}
	}
	if len(kept) == len(taken) || !s.affords() {
		return c, nil
	}
	d, err := s.measure(l.take(kept), fmt.Sprintf("%d of those steps", len(kept)))
	if err != nil {
		return c, err
	}
	return s.betterOf(c, d), nil
}
