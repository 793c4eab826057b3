package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// A Study looks at a finished plan: what each of its quantizations does to the outputs alone, and what becomes of the plan with
// weights in other forms. Everything is simulated on the float model.
type Study struct {
	m    *planner
	plan *Plan
}

// NewStudy makes ready to study a plan of a prepared model. Options are those that the plan was made with; they must have samples.
func NewStudy(ctx context.Context, prep *Prepared, p *Plan, o Options) (*Study, error) {
	o.Equalize = EqualizeNone // but for what the plan says
	private := *prep
	if len(p.Equalised) > 0 {
		private.Model = prep.Model.Clone() // whose constants are scaled
	}
	m := newPlanner(ctx, &private, o)
	m.choose()
	if err := m.takeOver(p); err != nil {
		return nil, err
	}
	if err := m.measureShapes(); err != nil {
		return nil, err
	}
	if m.runner == nil {
		return nil, fmt.Errorf("a plan cannot be studied without samples: %w", engine.ErrUnsupported)
	}
	return &Study{m, p}, nil
}

// takeOver makes the planner's decisions those of a plan.
func (m *planner) takeOver(p *Plan) error {
	if _, err := CarryOut(p.Equalised, m.prep.Model); err != nil {
		return err
	}
	if len(p.Equalised) > 0 {
		m.Program = nil // of the model before
	}
	m.equalised = p.Equalised
	l := &layout{target: m.Target, kept: &m.kept, float: m.float, static: map[*onnx.Node]bool{}, fused: map[*onnx.Node]*onnx.Node{}}
	for n := range m.graph.AllNodes() {
		d := p.Node(m.keys[n])
		if d == nil {
			return fmt.Errorf("the plan has no node %q", m.keys[n])
		}
		switch d.Scheme {
		case Float:
			m.why[n] = d.Reason
		case Static:
			l.static[n] = true
		case Token:
			m.sigmaK = d.SigmaK
		case Fused:
			l.fused[n], _ = n.Input(0).Producer()
		}
		if s := m.site[n]; s != nil && d.Scheme != Float {
			if err := m.takeOverWeights(s, d); err != nil {
				return err
			}
		}
		for _, v := range slices.Concat(n.Inputs(), n.Outputs()) {
			if v == nil {
				continue
			}
			if a, ok := d.Activations[v.Name()]; ok {
				if _, seen := m.params[v]; !seen {
					l.tensors = append(l.tensors, v)
				}
				m.params[v] = a
			}
		}
	}
	if m.Calibration != nil || m.kept.Reference != nil {
		m.layout, m.stats = l, statistics{}
	}
	return nil
}

func (m *planner) takeOverWeights(s *Site, d *Node) error {
	w := d.Weights
	if w == nil {
		return fmt.Errorf("the plan does not say how the weights of node %q are stored", d.Key)
	}
	if err := d.check(); err != nil {
		return fmt.Errorf("node %q: %w", d.Key, err)
	}
	m.scheme[s], m.asked[s] = d.Scheme, w.Form
	k := &coding{form: m.form(s), rounding: w.Rounding, correction: w.Correction, settled: true}
	m.coding[s] = k
	if w.Solved != nil {
		q, err := QuantizeSite(s, 0, w)
		if err != nil {
			return err
		}
		k.learned = map[string]*quantize.Weights{w.Rounding: q}
	}
	if w.LowRank != nil {
		q := k.learned[w.Rounding]
		rows, columns, _ := q.Shape()
		f, err := w.LowRank.Factors(columns, rows)
		if err != nil {
			return err
		}
		k.lowRank = &compensated{weights: q, factors: f, method: w.LowRank.Method, rounding: w.Rounding, gain: w.LowRank.Gain}
	}
	if _, err := m.weights(s); err != nil {
		return err
	}
	if w.Correction != nil {
		m.simulateBias(s)
	}
	return nil
}

// Reform returns the plan with the weights of all sites written down in another form, as far as it fits each and no form was chosen for it, and rounded anew;
// everything else stays as it is. A Study may be asked for many.
func (s *Study) Reform(f Form) (*Plan, error) {
	m := s.m.clone()
	p := s.plan.clone()
	for _, site := range m.sites {
		// Weights in float16 have been found to bear no codes.
		if _, ok := m.scheme[site]; ok && m.open(site) && m.form(site) != half && m.wishes[site.Node].Weights == (Form{}) {
			m.asked[site] = f
			m.refresh(site)
		}
	}
	if err := m.chooseRoundings(); err != nil {
		return nil, err
	}
	if err := m.correctNew(); err != nil {
		return nil, err
	}
	for _, site := range m.sites {
		if d := p.Node(site.Key); d.Weights != nil {
			d.Weights = m.decided(site)
		}
	}
	return p, nil
}

// clone returns a plan whose nodes can be exchanged.
func (p *Plan) clone() *Plan {
	c := *p
	c.Nodes = slices.Clone(p.Nodes)
	return &c
}

// A Part is a quantization of one node in a plan.
type Part struct {
	Key    string
	Op     string
	Bytes  int64   // of the node's weights in float; 0 without
	Stored int64   // of their codes, scales and zero points, as the plan has them
	MACs   float64 // multiply-adds of the node with its weights, in one sample
	// Weights and Activations are what it does; nil: nothing.
	Weights, Activations *Change
}

// A Change is a quantization simulated on the float model.
type Change struct{ change }

// Together returns the change that makes all of some; nil ones are passed over.
func Together(all ...*Change) *Change {
	c := change{}
	for _, one := range all {
		if one != nil {
			c.add(one.change)
		}
	}
	return &Change{c}
}

// Parts returns the quantizations of each node that the plan does not leave in float, in the order of the graph. The plan must be
// the studied one or a reform of it.
func (s *Study) Parts(p *Plan) ([]Part, error) {
	m := s.m.clone()
	var parts []Part
	for n := range m.graph.AllNodes() {
		d := p.Node(m.keys[n])
		if d == nil || d.Scheme == Float {
			continue
		}
		part := Part{Key: d.Key, Op: d.Op}
		site := m.site[n]
		if site != nil && d.Weights != nil {
			part.Bytes, part.Stored, part.MACs = site.Bytes(), d.Weights.bytes(site), m.siteMACs(site)
			if err := m.takeOverWeights(site, d); err != nil {
				return nil, err
			}
			part.Weights = &Change{m.coding[site].change}
		}
		c := change{}
		if m.layout != nil {
			c = m.layout.around(n, m.keys, func(v *onnx.Value) func(*onnx.Tensor) *onnx.Tensor {
				if a, ok := m.params[v]; ok {
					return simulate(static(a.Params()))
				}
				return nil
			})
		}
		if site != nil && (d.Scheme == Token || d.Scheme == Dynamic) {
			c.add(m.dynamicChange(site, d.Scheme))
		}
		if len(c) > 0 {
			part.Activations = &Change{c}
		}
		if part.Weights != nil || part.Activations != nil {
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// around returns the edges at which codes stand for the tensors that node n takes, and for those that it gives where they do not
// go on to another node as codes.
func (l *layout) around(n *onnx.Node, keys map[*onnx.Node]string, fake func(*onnx.Value) func(*onnx.Tensor) *onnx.Tensor) change {
	c := change{}
	if l.static[n] {
		for _, i := range l.operands(n) {
			if f := fake(n.Input(i)); f != nil {
				c[engine.Edge{Node: keys[n], Input: i}] = f
			}
		}
	}
	if !l.static[n] && l.fused[n] == nil {
		return c
	}
	for _, v := range n.Outputs() {
		if v == nil || l.maker(v) == nil {
			continue
		}
		f := fake(v)
		if f == nil {
			continue
		}
		for e := range l.overrides(v, keys, f) {
			c[e] = f
		}
		for _, u := range v.Uses() {
			if l.takes(u) {
				delete(c, engine.Edge{Node: keys[u.Node], Input: u.Index})
			}
		}
	}
	return c
}

// An Observer sees the outputs of the float model for a sample, those under a change, and the sample's labels, if it has any.
type Observer interface {
	Observe(float, quantized map[string]*onnx.Tensor, labels []int64) error
}

// Outputs returns the names of the model's outputs.
func (s *Study) Outputs() []string { return s.m.runner.program.Outputs() }

// Samples returns the number of samples that so many changes are measured on within the budget of the guard.
func (s *Study) Samples(changes int) int {
	return s.m.affordable(float64(changes)/2, 1, len(s.m.runner.trials))
}

// Work returns what running the float model on one sample costs, in multiply-adds.
func (s *Study) Work() float64 { return s.m.macs() + workPerValue*s.m.runner.values }

// Measure makes each change alone, on the samples that Samples says, and shows the i-th observer what comes of the i-th.
func (s *Study) Measure(ctx context.Context, what string, changes []*Change, observers []Observer) error {
	plain := make([]change, len(changes))
	for i, c := range changes {
		plain[i] = c.change
	}
	n := s.Samples(len(changes))
	report := func(i int) { s.m.Progress(what, i, n*len(changes)) }
	return s.m.runner.runEach(ctx, plain, n, report, func(i int, t trial, out map[string]*onnx.Tensor) error {
		return observers[i].Observe(t.outputs, out, t.labels)
	})
}

// Sites returns, for each constant that the plan quantizes, the keys of the nodes that take it: they share its form.
func (s *Study) Sites() [][]string {
	byWeight := map[*onnx.Value][]string{}
	var order []*onnx.Value
	for _, site := range s.m.sites {
		if d := s.plan.Node(site.Key); d == nil || d.Weights == nil {
			continue
		}
		w := site.Weight(0)
		if byWeight[w] == nil {
			order = append(order, w)
		}
		byWeight[w] = append(byWeight[w], site.Key)
	}
	all := make([][]string, len(order))
	for i, w := range order {
		all[i] = byWeight[w]
	}
	return all
}
