package plan

import "github.com/zqonnx/zqonnx/onnx"

// A Choice is what is wished for a single node, before what Options say for all.
type Choice struct {
	Float       bool `json:"float,omitempty"`       // it stays as it is
	Weights     Form `json:"weights,omitzero"`      // zero: as for all
	Activations Mode `json:"activations,omitempty"` // "": as for all
	// Why is the reason in the plan of a node that stays float; it has one of its own where it is empty.
	Why Reason `json:"-"`
}

// An Override is a wish for all nodes whose key, or one of whose outputs, a glob matches.
type Override struct {
	Glob string
	Choice
}

// over returns a choice in which what is said in o counts first.
func (c Choice) over(o Choice) Choice {
	if o.Float {
		return o
	}
	if o.Weights != (Form{}) {
		c.Weights, c.Float = o.Weights, false
	}
	if o.Activations != "" {
		c.Activations, c.Float = o.Activations, false
	}
	return c
}

// choose takes the wishes for single nodes over: of overrides the later ones count, and Choices before them.
func (m *planner) choose() {
	m.wishes = map[*onnx.Node]Choice{}
	for n := range m.graph.AllNodes() {
		var c Choice
		for _, o := range m.Overrides {
			if matches([]string{o.Glob}, m.keys[n], n) {
				c = c.over(o.Choice)
			}
		}
		c = c.over(m.Choices[m.keys[n]])
		m.wishes[n] = c
		switch {
		case c.Float && c.Why.ID != "":
			m.why[n] = c.Why
		case c.Float:
			m.why[n] = Reason{ID: "chosen", Text: "float was chosen for it"}
		case c.Weights != (Form{}) && m.site[n] != nil:
			f := c.Weights
			if f.Storage == Plain {
				f.Storage = "auto"
			}
			m.asked[m.site[n]] = f
		}
	}
}

// mode says how the activations of a site are to be quantized.
func (m *planner) mode(s *Site) Mode {
	if c := m.wishes[s.Node]; c.Activations != "" {
		return c.Activations
	}
	return m.Activations
}

// wished returns the form that is asked for at a site.
func (m *planner) wished(s *Site) Form {
	f, ok := m.asked[s]
	switch {
	case s.Kept != nil:
		return usual
	case ok:
		return f
	case s.Kind == Table:
		return usual // nothing makes up for a table's errors, and few bits of it are seldom worth them
	}
	return m.Weights
}
