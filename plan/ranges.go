package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// A family is tensors that have one set of parameters: one, what nodes that only move codes make of it, and the operands of a
// Concat, which then moves codes, too.
type family struct {
	tensors []*onnx.Value
	sources []*onnx.Value // whose values these have
	known   *Activation   // that the model came with; nil: to be found
	fixed   float32       // of an operator that sets the range itself, 0…fixed; 0: none
	bound   float32       // of the least Clip that vanished into a tensor's QuantizeLinear; 0: none
	floor   bool          // a Relu or Clip did, so that codes must begin at 0
}

// families groups the layout's tensors by the ones they have their values from.
func (l *layout) families() []*family {
	var all []*family
	of := map[*onnx.Value]*family{}
	for _, v := range l.tensors {
		source := l.source(v)
		f := of[source]
		if f == nil {
			f = &family{sources: []*onnx.Value{source}}
			if a, ok := l.kept.params[source]; ok {
				f.known = &a
			}
			if n := l.maker(source); n != nil {
				follower := l.follower(n)
				f.fixed, f.bound, f.floor = l.rule(n).Range, upper(follower), follower != nil
			}
			of[source] = f
			all = append(all, f)
		}
		f.tensors = append(f.tensors, v)
	}
	return all
}

// ownRanges gives every family the range of the method asked for, and of its own values only. A tensor that has none, because it
// was never computed or holds NaN, stays float; then the result is false.
func (m *planner) ownRanges() (complete bool, err error) {
	m.params = map[*onnx.Value]Activation{}
	complete = true
	for _, f := range m.layout.families() {
		a, err := m.rangeOf(f, m.plainRange())
		switch {
		case errors.Is(err, errNoData):
			for _, v := range f.tensors {
				m.float[v], m.guarded[v] = true, Reason{ID: "stored-no-data", Text: err.Error()}
			}
			complete = false
		case errors.Is(err, quantize.ErrNonFinite), errors.Is(err, quantize.ErrNoValues):
			for _, v := range f.tensors {
				m.float[v], m.guarded[v] = true, Reason{ID: "no-range", Text: err.Error()}
			}
			complete = false
		case err != nil:
			return false, err
		default:
			m.set(f, a)
		}
	}
	return complete, nil
}

// plainRange is the rule for ranges that are not chosen by measuring.
func (m *planner) plainRange() quantize.RangeRule {
	rule := m.Range
	if rule.Method == quantize.Auto {
		rule.Method = quantize.Methods[0].Name
	}
	return rule
}

func (m *planner) set(f *family, a Activation) {
	for _, v := range f.tensors {
		m.params[v] = a
	}
}

// rangeOf returns the parameters of a family by a rule.
func (m *planner) rangeOf(f *family, rule quantize.RangeRule) (Activation, error) {
	if f.known != nil {
		return *f.known, nil
	}
	if f.fixed > 0 {
		return Activation{Type: "uint8", Scale: f.fixed / 256, Range: [2]float32{0, f.fixed}}, nil
	}
	given, ok := m.given(f)
	if ok && (given.Params != nil || given.Range != nil) {
		return given.givenTo(f, 0, 0)
	}
	c, err := m.seen(f.sources)
	if err != nil {
		return Activation{}, err
	}
	lo, hi, err := rule.SharedRange(c, quantize.Uint8)
	if err != nil {
		return Activation{}, fmt.Errorf("tensor %q: %w", f.sources[0].Name(), err)
	}
	if ok {
		return given.givenTo(f, lo, hi)
	}
	return f.activation(rule.Method, lo, hi), nil
}

// activation returns the parameters of a range. A bound cuts it from above, so that a Clip before the QuantizeLinear is redundant.
func (f *family) activation(method string, lo, hi float32) Activation {
	if f.bound > 0 {
		hi = min(hi, f.bound)
	}
	p := quantize.Uint8.Params(lo, hi)
	if _, last := ends(p); f.bound > 0 && last > f.bound {
		p.Scale = nextBelow(p.Scale) // else the largest code lies an ulp outside the Clip, and nothing fuses
	}
	return Activation{Type: "uint8", Method: method, Scale: p.Scale, ZeroPoint: p.ZeroPoint, Range: [2]float32{lo, hi}}
}

// seen returns what was seen of tensors: of a constant, its values.
func (m *planner) seen(tensors []*onnx.Value) ([]quantize.Collector, error) {
	all := make([]quantize.Collector, len(tensors))
	for i, v := range tensors {
		t := v.Const()
		if t == nil {
			if m.Calibration == nil {
				return nil, fmt.Errorf("%w of %q: --calib would give it", errNoData, v.Name())
			}
			if all[i] = m.stats[v.Name()]; all[i] == nil {
				return nil, fmt.Errorf("tensor %q was not calibrated", v.Name())
			}
			continue
		}
		var err error
		if all[i], err = m.Range.NewCollector(); err != nil {
			return nil, err
		}
		all[i].Observe(onnx.Data[float32](t))
	}
	return all, nil
}

// chooseRanges joins the families that do better with one range, and chooses ranges by measuring if the user asked for that.
func (m *planner) chooseRanges() error {
	families, err := m.join(m.layout.families())
	if err != nil {
		return err
	}
	for _, f := range families {
		rule := m.plainRange()
		if method := m.methods[f.sources[0]]; method != "" {
			rule.Method = method // measured before
		}
		a, err := m.rangeOf(f, rule)
		if err != nil {
			return err
		}
		m.set(f, a)
	}
	if m.Range.Method != quantize.Auto {
		return nil
	}
	return m.measureRanges(families)
}

// join joins the operands of each Concat with its result, where nothing else sees their codes: with one scale it only moves codes,
// and values are rounded once instead of twice.
func (m *planner) join(families []*family) ([]*family, error) {
	of := map[*onnx.Value]*family{}
	for _, f := range families {
		for _, v := range f.tensors {
			of[v] = f
		}
	}
	gone := map[*family]bool{}
	for n := range m.graph.Nodes() {
		if !m.layout.static[n] || !n.Is("Concat") || m.layout.follower(n) != nil {
			continue
		}
		into := of[n.Output(0)]
		known := func(v *onnx.Value) bool { return of[v].known != nil }
		if known(n.Output(0)) || slices.ContainsFunc(n.Inputs(), known) {
			continue
		}
		var sources []*onnx.Value
		for _, v := range n.Inputs() {
			sources = append(sources, of[v].sources...)
		}
		seen, err := m.seen(sources)
		if err != nil {
			return nil, err
		}
		var all quantize.Extremes
		for _, c := range seen {
			e := c.Seen()
			if err := all.Merge(&e); err != nil {
				return nil, err
			}
		}
		for _, v := range n.Inputs() {
			f := of[v]
			if f == into || f.fixed > 0 || f.floor && all.Min < 0 || f.bound > 0 && all.Max > f.bound || !m.onlyFor(f, n) {
				continue
			}
			into.join(f)
			gone[f] = true
			for _, v := range f.tensors {
				of[v] = into
			}
			into.sources = sources
		}
	}
	return slices.DeleteFunc(families, func(f *family) bool { return gone[f] }), nil
}

// join adds another family's tensors and what they ask of the parameters.
func (f *family) join(o *family) {
	f.tensors = append(f.tensors, o.tensors...)
	f.floor = f.floor || o.floor
	if o.bound > 0 && (f.bound == 0 || o.bound < f.bound) {
		f.bound = o.bound
	}
}

// onlyFor reports whether nothing but node n sees the codes of a family.
func (m *planner) onlyFor(f *family, n *onnx.Node) bool {
	for _, v := range f.tensors {
		if m.layout.maker(v) != nil && v.IsOutput() {
			return false
		}
		for _, u := range m.layout.readers(v) {
			if u.Node != n && !f.moves(u.Node) {
				return false
			}
		}
	}
	return true
}

// moves reports whether a node makes tensors of the family, of others of it.
func (f *family) moves(n *onnx.Node) bool {
	return slices.ContainsFunc(n.Outputs(), func(v *onnx.Value) bool { return v != nil && slices.Contains(f.tensors, v) })
}
