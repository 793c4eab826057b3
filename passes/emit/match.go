package emit

import (
	"fmt"
	"maps"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// forms has the schemes that each kind of site can be written in.
var forms = map[plan.Kind][]plan.Scheme{
	plan.Product:   {plan.Static, plan.Token, plan.Dynamic, plan.WeightOnly},
	plan.Conv:      {plan.Static, plan.WeightOnly},
	plan.Table:     {plan.WeightOnly},
	plan.Recurrent: {plan.Dynamic, plan.WeightOnly},
	plan.Stored:    {plan.WeightOnly},
}

// match finds the plan's nodes and tensors in the model and checks that it can be carried out.
func (e *emitter) match() error {
	e.nodes, e.stored, e.constants = map[*onnx.Node]*plan.Node{}, map[storedKey]*stored{}, map[constantKey]*onnx.Value{}
	e.heads, e.wides, e.widened = map[*onnx.Graph]*onnx.Node{}, map[wideKey]*onnx.Value{}, map[*onnx.Value]*onnx.Value{}
	e.sites, e.coded, e.floats = nil, nil, nil
	byKey := map[string]*onnx.Node{}
	for n, key := range e.model.Graph.Keys() {
		byKey[key] = n
	}
	sites := map[*onnx.Node]*plan.Site{}
	for _, s := range e.prepared.Survey() {
		sites[s.Node] = s
	}
	tensors := map[*onnx.Value]*coded{}
	for i := range e.plan.Nodes {
		d := &e.plan.Nodes[i]
		n := byKey[d.Key]
		if n == nil || n.Op != d.Op {
			return fmt.Errorf("the plan names node %q (%s), which the model does not have: was it made for another model or version?", d.Key, d.Op)
		}
		if err := e.fits(n, sites[n], d); err != nil {
			return fmt.Errorf("node %q (%s): %w", d.Key, d.Op, err)
		}
		e.nodes[n] = d
		if err := e.tensors(n, d, tensors); err != nil {
			return fmt.Errorf("node %q (%s): %w", d.Key, d.Op, err)
		}
	}
	for g := range rewrite.Graphs(e.model) {
		for _, v := range g.Consts() {
			if v.Const().Type == onnx.Float32 {
				e.floats = append(e.floats, v)
			}
		}
		for n := range g.Nodes() {
			if s := sites[n]; s != nil && e.scheme(n) != plan.Float && e.scheme(n) != plan.Fused {
				e.sites = append(e.sites, s)
			}
		}
	}
	return nil
}

// fits reports why a node cannot become what the plan says. s is nil for a node without constant weights.
func (e *emitter) fits(n *onnx.Node, s *plan.Site, d *plan.Node) error {
	switch {
	case d.Scheme == plan.Float || d.Scheme == plan.Fused:
		if d.Weights != nil {
			return fmt.Errorf("scheme %q quantizes no weights", d.Scheme)
		}
		return nil
	case d.Scheme == plan.Static && n.Graph() != e.model.Graph:
		return fmt.Errorf("scheme %q is for nodes of the main graph", d.Scheme)
	case s == nil && d.Scheme == plan.Static && d.Weights == nil:
		return nil // integers in between
	case s == nil:
		return fmt.Errorf("scheme %q needs constant weights, which the node does not have", d.Scheme)
	case s.Refused.ID != "" && !s.Small():
		return fmt.Errorf("it cannot be quantized: %s", s.Refused.Text)
	case !slices.Contains(forms[s.Kind], d.Scheme):
		return fmt.Errorf("there is no form of it for scheme %q; possible are %q", d.Scheme, forms[s.Kind])
	}
	if d.Scheme == plan.Static {
		in := n.Input(s.Input())
		if in == nil {
			return fmt.Errorf("%w: it has no input", onnx.ErrBadModel)
		}
		if _, ok := d.Activations[in.Name()]; !ok {
			return fmt.Errorf("the plan has no parameters for its input %q", in.Name())
		}
	}
	if w := d.Weights; w != nil {
		return e.weightsFit(s, d)
	}
	return nil
}

func (e *emitter) weightsFit(s *plan.Site, d *plan.Node) error {
	w := d.Weights
	switch kept := w.Rounding == plan.Keeps; {
	case kept != (s.Kept != nil):
		return fmt.Errorf("rounding %q is for weights that the model has as codes", plan.Keeps)
	case kept && (w.Axis != s.Kept.Axis || w.Form != plan.Form{Type: "int8"} || len(w.Correction) > 0):
		return fmt.Errorf("weights of type %q along axis %d: the model has them as int8 along axis %d, which are kept", w.Type, w.Axis, s.Kept.Axis)
	case w.Axis != quantize.PerTensor && w.Axis != s.Axes[0]:
		return fmt.Errorf("weights along axis %d: its channels lie along axis %d (%d: one scale for all)", w.Axis, s.Axes[0], quantize.PerTensor)
	case w.Axis == quantize.PerTensor && w.Storage != plan.Plain && (w.Block > 0 || s.Kind == plan.Table || w.Storage != plan.Folded):
		return fmt.Errorf("storage %q in blocks of %d needs channels, which one scale for all does not have", w.Storage, w.Block)
	case w.Storage == plan.QDQ && s.Kind != plan.Product, w.Storage == plan.Native && s.Kind != plan.Product && s.Kind != plan.Table:
		return fmt.Errorf("storage %q is for MatMul with a constant matrix behind and for Gemm without factors", w.Storage)
	case w.Storage == plan.QDQ && e.model.Opset("") < blocksOpset:
		return fmt.Errorf("storage %q needs opset %d, the model has %d", w.Storage, blocksOpset, e.model.Opset(""))
	case w.Rounding == "squant" && w.Axis != 0:
		return fmt.Errorf("rounding %q needs channels along axis 0", w.Rounding)
	case w.LowRank != nil && (s.Kind != plan.Product || d.Scheme == plan.Static):
		return fmt.Errorf("a low-rank term is for products that are not static")
	case len(w.Correction) == 0:
		return nil
	case s.Kind != plan.Conv && s.Kind != plan.Product:
		return fmt.Errorf("it has no bias that could be corrected")
	}
	if c := s.Weight(0).Const().Dims[s.Axes[0]]; int64(len(w.Correction)) != c {
		return fmt.Errorf("the plan corrects the biases of %d channels, the node has %d", len(w.Correction), c)
	}
	return nil
}

// A coded is a tensor that becomes codes.
type coded struct {
	value  *onnx.Value
	params plan.Activation
	made   bool       // a static node computes it: its float form is seen by nobody
	takers []onnx.Use // by static nodes, as codes
}

// tensors notes the tensors that node n takes or gives as codes.
func (e *emitter) tensors(n *onnx.Node, d *plan.Node, known map[*onnx.Value]*coded) error {
	if (d.Scheme == plan.Token || d.Scheme == plan.Dynamic) && len(d.Activations) > 0 {
		return fmt.Errorf("scheme %q takes no parameters of activations", d.Scheme)
	}
	missing := maps.Clone(d.Activations)
	note := func(v *onnx.Value) (*coded, error) {
		a, ok := d.Activations[v.String()]
		if v == nil || !ok {
			return nil, nil
		}
		delete(missing, v.Name())
		c := known[v]
		if c == nil {
			if t := rewrite.Elem(v); t != onnx.Float32 && (t != onnx.Undefined || v.Type != nil) {
				return nil, fmt.Errorf("tensor %q is %s; only float32 becomes codes", v.Name(), v.Type)
			}
			c = &coded{value: v, params: a}
			known[v] = c
			e.coded = append(e.coded, c)
		}
		if c.params.Params() != a.Params() {
			return nil, fmt.Errorf("tensor %q has other parameters than at another node", v.Name())
		}
		return c, nil
	}
	for i, v := range n.Inputs() {
		c, err := note(v)
		if err != nil {
			return err
		}
		if c != nil && d.Scheme != plan.Static && v.Const() != nil {
			return fmt.Errorf("scheme %q takes no codes of the constant %q", d.Scheme, v.Name())
		}
		if c != nil && d.Scheme != plan.Fused {
			c.takers = append(c.takers, onnx.Use{Node: n, Index: i})
		}
	}
	for _, v := range n.Outputs() {
		c, err := note(v)
		if err != nil {
			return err
		}
		if c != nil && d.Scheme != plan.Static && d.Scheme != plan.Fused {
			return fmt.Errorf("scheme %q makes no codes of %q", d.Scheme, v.Name())
		}
		if c != nil {
			c.made = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		return fmt.Errorf("the plan has parameters for tensor %q, which is none of its inputs and outputs", name)
	}
	return nil
}
