package plan

import (
	"maps"
	"slices"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// A stage is the layers that see one tensor, with what is known of it in both networks.
type stage struct {
	input string
	sites []*Site
	views []*pairView // the different ways in which they see it
	of    map[*Site]*pairView
}

// A pairView is one way to see a stage's tensor.
type pairView struct {
	*source
	pairs []quantize.Pair // of each group of channels
}

// leastSequence is how many sequences of samples there must be to learn from: of fewer, what is learned is what is odd about them.
const leastSequence = 8

// solveInSequence rounds the weights that were rounded by what their inputs look like once more, layer after layer: now for the input that a
// layer has in the quantized network, towards the output that it has in the float network, so that each makes up for the
// errors of those before. Last of all, since it trusts all other decisions. A layer keeps what it had where the whole is worse on samples
// that nothing was learned from.
func (m *planner) solveInSequence() error {
	stages := m.stages()
	if len(stages) == 0 {
		return nil
	}
	sequences := m.learnFrom(float64(len(stages))/3, leastSequence) // three times the budget
	if len(sequences) < leastSequence {
		return nil
	}
	best, err := m.typicalSQNR()
	if err != nil {
		return err
	}
	for i, st := range stages {
		m.Progress("rounding in sequence", i, len(stages))
		if err := m.observePairs(st, sequences); err != nil {
			return err
		}
		back := map[*Site]*coding{}
		for _, s := range st.sites {
			back[s] = m.coding[s].clone()
			if err := m.solveOnce(s, st.of[s]); err != nil {
				return err
			}
		}
		whole, err := m.typicalSQNR()
		if err != nil {
			return err
		}
		if whole < best {
			maps.Copy(m.coding, back)
			continue
		}
		best = whole
	}
	return nil
}

// typicalSQNR measures all current decisions together, as runner.typical does.
func (m *planner) typicalSQNR() (float64, error) {
	all, err := m.simulation()
	if err != nil {
		return 0, err
	}
	return m.runner.typical(m.ctx, together(all))
}

// stages returns the layers with learned roundings of few bits by the tensors that they see, in graph order. With 8 bits most of the error is
// that of activations, which tells the next sample nothing: SQNRs stay, and fewer pictures get their old label.
func (m *planner) stages() []*stage {
	if m.Calibration == nil || m.runner == nil {
		return nil
	}
	users := map[*onnx.Value]int{}
	for _, s := range m.sites {
		users[s.Weight(0)]++
	}
	byInput := map[string]*stage{}
	var stages []*stage
	for _, s := range m.sites {
		k := m.coding[s]
		if !m.open(s) || k.learned[k.rounding] == nil && k.lowRank == nil || users[s.Weight(0)] > 1 || s.Node.Graph() != m.graph {
			continue
		}
		view, ok := viewOf(s)
		if !ok || 4*view.bytes() > maxGrams || m.form(s) == usual {
			continue
		}
		name := s.Node.Input(s.Input()).Name()
		st := byInput[name]
		if st == nil {
			st = &stage{input: name, of: map[*Site]*pairView{}}
			byInput[name] = st
			stages = append(stages, st)
		}
		src := m.source(s, view)
		key := src.key(m.scheme[s])
		i := slices.IndexFunc(st.views, func(v *pairView) bool { return v.key(m.scheme[s]) == key })
		if i < 0 {
			i = len(st.views)
			st.views = append(st.views, &pairView{source: src})
		}
		st.sites, st.of[s] = append(st.sites, s), st.views[i]
	}
	return stages
}

// observePairs runs both networks up to a stage.
func (m *planner) observePairs(st *stage, sequences []int) error {
	all, err := m.simulation()
	if err != nil {
		return err
	}
	decided := together(all)
	for _, v := range st.views {
		v.pairs = nil
		for range v.view.groups {
			v.pairs = append(v.pairs, quantize.NewPair(v.view.columns))
		}
	}
	want := []string{st.input}
	for _, k := range sequences {
		runs := len(sequences) * len(slices.Collect(m.Calibration.Sequence(k)))
		err := m.Calibration.Run(k, 0, func(_ *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			float, err := m.runner.program.Run(m.ctx, feeds, &engine.RunOptions{Outputs: append(m.Calibration.States(), st.input)})
			if err != nil {
				return nil, err
			}
			quantized, err := m.runner.program.Run(m.ctx, feeds, &engine.RunOptions{Override: decided, Outputs: want})
			if err != nil {
				return nil, err
			}
			for _, v := range st.views {
				if err := v.observe(float[st.input], quantized[st.input], v.view.limit(runs)); err != nil {
					return nil, err
				}
			}
			return float, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// observe adds rows of the stage's tensor in both networks.
func (v *pairView) observe(float, quantized *onnx.Tensor, limit int) error {
	quantized = v.seen(quantized)
	k := v.view.columns
	var scratch []float32
	both := make([][]float32, v.view.groups)
	for half, x := range []*onnx.Tensor{quantized, float} {
		err := v.view.rows(v.node, x, limit, &scratch, func(group int, rows []float32) {
			if both[group] == nil {
				both[group] = make([]float32, 2*len(rows))
			}
			for i := 0; i*k < len(rows); i++ {
				copy(both[group][(2*i+half)*k:], rows[i*k:(i+1)*k])
			}
		})
		if err != nil {
			return err
		}
	}
	for group, rows := range both {
		v.pairs[group].Observe(rows)
	}
	return nil
}

// solveOnce rounds the weights of one layer for the inputs seen; where that is no better for them than what is there, they stay.
func (m *planner) solveOnce(s *Site, v *pairView) error {
	k := m.coding[s]
	old := k.lowRank
	if old == nil {
		old = &compensated{weights: k.learned[k.rounding], rounding: k.rounding}
	}
	w := onnx.Data[float32](s.Weight(0).Const())
	groups := len(v.pairs)
	target := slices.Clone(w)
	var solvers []*quantize.Solver
	moved, err := m.blank(s)
	if err != nil {
		return err
	}
	channels, _, _ := moved.Shape()
	each := channels / groups
	centred := make([]quantize.Pair, groups)
	for i, p := range v.pairs {
		if centred[i] = p; v.centred {
			centred[i] = p.Centred()
		}
		if centred[i].Err() != nil {
			return nil
		}
		solver, err := quantize.NewSolver(centred[i].Seen())
		if err != nil {
			return err
		}
		solvers = append(solvers, solver)
		rows, err := centred[i].Target(solver, moved.Rows(w, i*each, (i+1)*each).W)
		if err != nil {
			return err
		}
		moved.SetValues(target, rows, i*each)
	}
	found, err := m.solveAnew(s, old, target, solvers)
	if err != nil {
		return err
	}
	q := found.weights
	loss := func(c *compensated) float64 {
		sum := 0.0
		values := c.values(s)
		for i, p := range centred {
			for _, l := range p.Loss(q.Rows(values, i*each, (i+1)*each).W, q.Rows(w, i*each, (i+1)*each).W) {
				sum += l
			}
		}
		return sum
	}
	if !(loss(found) < loss(old)) {
		found = old
	}
	if found.factors != nil {
		k.lowRank = found
	} else {
		k.learned = maps.Clone(k.learned)
		k.learned[k.rounding] = found.weights
	}
	k.change = nil
	if _, err := m.weights(s); err != nil {
		return err
	}
	if v.centred {
		values := found.values(s)
		correction := make([]float32, 0, channels)
		for i, p := range v.pairs {
			correction = append(correction, p.MeanError(q.Rows(values, i*each, (i+1)*each).W, q.Rows(w, i*each, (i+1)*each).W)...)
		}
		if !slices.ContainsFunc(correction, func(c float32) bool { return c-c != 0 }) {
			k.correction = correction
		}
		if k.correction != nil {
			m.simulateBias(s)
		}
	}
	return nil
}

// solveAnew finds codes, and a term where there is one, for other weights in the place of a site's.
func (m *planner) solveAnew(s *Site, old *compensated, w []float32, solvers []*quantize.Solver) (*compensated, error) {
	q, err := s.quantize(0, m.stored(s, old.rounding), w, solvers)
	if err != nil || old.factors == nil {
		return &compensated{weights: q, rounding: old.rounding}, err
	}
	c, _ := quantize.CompensationNamed(old.method)
	r, _ := quantize.RoundingNamed(old.rounding)
	found := *old // the gain is that of the term in the float network
	found.weights = q
	found.factors, err = c.Apply(q, w, len(old.factors.Scales), r, quantize.Layer{Kernel: s.kernel(0), Solvers: solvers})
	return &found, err
}
