// Package emit carries a plan out: it writes the quantized forms into a prepared model. It decides nothing.
//
// The forms are those that ONNX Runtime fuses and computes exactly (the project's "What to emit for ONNX Runtime").
package emit

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/passes/prepare"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// Apply carries p out on a prepared model, whose trace records where tensors went.
func Apply(prep *plan.Prepared, p *plan.Plan) error {
	return Passes(p).Run(&rewrite.Context{Trace: prep.Trace}, prep.Model)
}

// Passes is the table of passes that carry out a plan, in order.
func Passes(p *plan.Plan) rewrite.Pipeline {
	e := &emitter{plan: p}
	return rewrite.Pipeline{
		e.pass("quantize-static", "QuantizeLinear and DequantizeLinear with fixed parameters around integer nodes, int32 biases", (*emitter).static), // first: it looks tensors up by the names the plan knows
		e.pass("quantize-dynamic", "products whose activations are quantized per token or per tensor at run time", (*emitter).dynamic),
		e.pass("quantize-lstm", "LSTM to com.microsoft.DynamicQuantizeLSTM", (*emitter).recurrent),
		e.pass("quantize-tables", "constant tables of Gather as int8 rows, scaled after they are gathered", (*emitter).tables),
		e.pass("store-weights", "other constant weights as Mul(Cast(int8), scale), folded when the runtime loads them", (*emitter).store), // behind the others: what is left over
		prepare.RemoveDead,
		prepare.TrimOpsets, // last: it looks at the operators there are
	}
}

func (e *emitter) pass(name, doc string, run func(*emitter) error) rewrite.Pass {
	return rewrite.Pass{Name: name, Doc: doc, Run: func(c *rewrite.Context, m *onnx.Model) error {
		e.context, e.model = c, m
		if e.sites == nil {
			if err := e.match(); err != nil {
				return err
			}
		}
		return run(e)
	}}
}

// emitter is what the passes of one run share.
type emitter struct {
	plan    *plan.Plan
	context *rewrite.Context
	model   *onnx.Model

	nodes   map[*onnx.Node]*plan.Node
	byKey   map[string]*onnx.Node
	sites   []*plan.Site
	stored  map[storedKey]*stored
	scalars map[string]*onnx.Value // of the main graph, shared
}

// match finds the plan's nodes in the model.
func (e *emitter) match() error {
	e.nodes, e.stored, e.scalars = map[*onnx.Node]*plan.Node{}, map[storedKey]*stored{}, map[string]*onnx.Value{}
	e.byKey = map[string]*onnx.Node{}
	for g := range rewrite.Graphs(e.model) {
		for n, key := range g.Keys() {
			e.byKey[key] = n
		}
	}
	for i := range e.plan.Nodes {
		d := &e.plan.Nodes[i]
		n := e.byKey[d.Key]
		if n == nil || n.Op != d.Op {
			return fmt.Errorf("the plan names node %q (%s), which the model does not have", d.Key, d.Op)
		}
		e.nodes[n] = d
	}
	e.sites = plan.Survey(e.model)
	return nil
}

// scheme returns the planned scheme of a node.
func (e *emitter) scheme(n *onnx.Node) plan.Scheme {
	if d := e.nodes[n]; d != nil {
		return d.Scheme
	}
	return plan.Float
}

// each calls f for every site with that scheme and one of these kinds.
func (e *emitter) each(f func(*plan.Site, *plan.Node) error, scheme plan.Scheme, kinds ...plan.Kind) error {
	for _, s := range e.sites {
		for _, k := range kinds {
			if s.Kind == k && e.scheme(s.Node) == scheme {
				if err := f(s, e.nodes[s.Node]); err != nil {
					return fmt.Errorf("node %q (%s): %w", s.Key, s.Node.Op, err)
				}
			}
		}
	}
	return nil
}

// storedKey names one way to store one constant: shared weights are stored once.
type storedKey struct {
	value     *onnx.Value
	axis      int
	transpose bool
}

// stored is a constant as codes, scales and zero points, and the float tensors computed from it by the graph they are in.
type stored struct {
	codes, scales, zeros *onnx.Value
	weights              *quantize.Weights
	dequantized, scaled  map[*onnx.Graph]*onnx.Value
}

// weights stores constant operand i of a site; transposed: a Gemm's [N,K] as [K,N].
func (e *emitter) weights(s *plan.Site, i int, w *plan.Weights, transpose bool) (*stored, error) {
	v := s.Weight(i)
	key := storedKey{value: v, axis: s.Axes[i], transpose: transpose}
	if w != nil {
		key.axis = min(key.axis, max(w.Axis, quantize.PerTensor))
	}
	if st := e.stored[key]; st != nil {
		return st, nil
	}
	q, err := plan.QuantizeSite(s, i, w)
	if err != nil {
		return nil, err
	}
	st := e.add(v, q, transpose)
	e.stored[key] = st
	return st, nil
}

// add makes the initializers of quantized weights, in the graph that holds the float ones.
func (e *emitter) add(v *onnx.Value, q *quantize.Weights, transpose bool) *stored {
	g, name := v.Graph(), v.Name()
	codes, dims := q.Codes, q.Dims
	if transpose {
		codes, dims = transposed(codes, dims[0], dims[1]), []int64{dims[1], dims[0]}
	}
	st := &stored{
		codes:   g.AddConst(name+"_quantized", onnx.Of(codes, dims...)),
		weights: q, dequantized: map[*onnx.Graph]*onnx.Value{}, scaled: map[*onnx.Graph]*onnx.Value{},
	}
	if q.Axis == quantize.PerTensor {
		st.scales = g.AddConst(name+"_scale", onnx.Scalar(q.Scales[0]))
		st.zeros = g.AddConst(name+"_zero_point", onnx.Scalar(int8(0)))
	} else {
		st.scales = g.AddConst(name+"_scale", onnx.Of(q.Scales))
		st.zeros = g.AddConst(name+"_zero_point", onnx.Of(make([]int8, len(q.Scales))))
	}
	return st
}

func transposed(codes []int8, rows, cols int64) []int8 {
	t := make([]int8, len(codes))
	for i := range rows {
		for j := range cols {
			t[j*rows+i] = codes[i*cols+j]
		}
	}
	return t
}

// dequantized puts DequantizeLinear behind stored weights, for n; axis is that of the channels in the stored tensor.
func (e *emitter) dequantized(n *onnx.Node, st *stored, axis int) *onnx.Value {
	g := n.Graph()
	if v := st.dequantized[g]; v != nil {
		return v
	}
	var attrs []*onnx.Attribute
	if st.weights.Axis != quantize.PerTensor {
		attrs = append(attrs, onnx.AttrI("axis", int64(axis)))
	}
	v := e.before(n, "DequantizeLinear", "", st.codes.Name()+"_float", []*onnx.Value{st.codes, st.scales, st.zeros}, attrs...)
	st.dequantized[g] = v
	return v
}

// before inserts a node with one output in front of n.
func (e *emitter) before(n *onnx.Node, op, domain, out string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	return n.Graph().InsertBefore(n, onnx.NodeSpec{Op: op, Domain: domain, Inputs: in, Outputs: []string{out}, Attrs: attrs}).Output(0)
}

// scalar returns a shared constant of the main graph.
func (e *emitter) scalar(name string, t *onnx.Tensor) *onnx.Value {
	v := e.scalars[name]
	if v == nil {
		v = e.model.Graph.AddConst(name, t)
		e.scalars[name] = v
	}
	return v
}

// replace puts v in the place of n's output and removes n.
func (e *emitter) replace(n *onnx.Node, v *onnx.Value) error {
	out := n.Output(0)
	if !onnx.Replace(out, v) {
		return fmt.Errorf("output %q cannot be replaced", out.Name())
	}
	if v.Type == nil {
		v.Type = out.Type.Clone()
	}
	e.context.Trace.Became(out, v)
	n.Graph().Remove(n)
	return nil
}
