// Package emit carries a plan out: it writes the quantized forms into a prepared model. It decides nothing.
//
// The forms are those that ONNX Runtime fuses and computes exactly (the project's "What to emit for ONNX Runtime").
package emit

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/passes/prepare"
	"github.com/zqonnx/zqonnx/plan"
)

// Apply carries p out on a prepared model, whose trace records where tensors went. Where p does not fit the model it says
// why, and nothing was changed.
func Apply(prep *plan.Prepared, p *plan.Plan) error {
	return Passes(p, prep).Run(&rewrite.Context{Trace: prep.Trace}, prep.Model)
}

// Passes is the table of passes that carry out a plan on one model, in order.
func Passes(p *plan.Plan, prep *plan.Prepared) rewrite.Pipeline {
	e := &emitter{plan: p, prepared: prep}
	return rewrite.Pipeline{
		// First: it knows nodes and tensors by the names that prepare gave them.
		e.pass("read-plan", "find the plan's nodes and tensors in the model; refuse a plan that does not fit", (*emitter).match),
		// Before anything reads the constants.
		e.pass("equalise", "divide channels of tensors by the plan's scales, in constants before and behind them: the float model computes the same", (*emitter).equalise),
		// Before biases are quantized or become an Add.
		e.pass("correct-biases", "add the plan's corrections to the biases", (*emitter).correct),
		// Before quantize-dynamic, which then takes dequantized tensors.
		e.pass("quantize-static", "QuantizeLinear and DequantizeLinear with fixed parameters around integer nodes, int32 biases", (*emitter).static),
		// These stand in any order: a node has one form.
		e.pass("quantize-dynamic", "products whose activations are quantized per token or per tensor at run time", (*emitter).dynamic),
		e.pass("quantize-lstm", "LSTM to com.microsoft.DynamicQuantizeLSTM", (*emitter).recurrent),
		e.pass("quantize-tables", "constant tables of Gather as int8 rows, scaled after they are gathered", (*emitter).tables),
		// Before store-weights, which takes the rest.
		e.pass("quantize-products", "products with weights of few bits: com.microsoft.MatMulNBits, or DequantizeLinear in blocks", (*emitter).inFewBits),
		e.pass("store-weights", "other constant weights as Mul(Cast(int8), scale), which the runtime folds when it loads the model", (*emitter).storeWeights),
		e.pass("keep-constants", "constants that the model has as codes, where nothing else became of them, as DequantizeLinear again", (*emitter).keepConstants),
		// Once all others are there.
		e.pass("merge-codes", "what is quantized again as it was, as the codes that are there", (*emitter).mergeCodes),
		prepare.RemoveDead, // the float weights
		// After remove-dead: what is stored in 8 bits needs no other form.
		e.pass("store-halves", "float32 constants in the float16 or bfloat16 that they came in, where that loses nothing, behind a Cast that the runtime folds", (*emitter).storeHalves),
		// After the passes that know tensors by name.
		e.pass("rename-scaled", "give scaled tensors new names: they are not what the float model has under the old ones", (*emitter).renameScaled),
		DropTypes,          // after the passes that ask for types
		prepare.TrimOpsets, // last: it looks at the operators there are
	}
}

// DropTypes forgets what is known of tensors inside the graphs.
var DropTypes = rewrite.Pass{
	Name: "drop-types",
	Doc:  "drop the types of all tensors but inputs and outputs: runtimes infer them, and stale ones make them complain",
	Run: func(_ *rewrite.Context, m *onnx.Model) error {
		for g := range rewrite.Graphs(m) {
			g.DropInnerTypes()
		}
		return nil
	},
}

func (e *emitter) pass(name, doc string, run func(*emitter) error) rewrite.Pass {
	return rewrite.Pass{Name: name, Doc: doc, Run: func(c *rewrite.Context, m *onnx.Model) error {
		e.context, e.model = c, m
		return run(e)
	}}
}

// emitter is what the passes of one run share.
type emitter struct {
	plan     *plan.Plan
	prepared *plan.Prepared
	context  *rewrite.Context
	model    *onnx.Model

	nodes     map[*onnx.Node]*plan.Node
	sites     []*plan.Site  // those that the plan quantizes, in the order of the nodes of each graph
	coded     []*coded      // the tensors that become codes, in graph order
	smaller   []string      // the tensors that equalise made smaller
	floats    []*onnx.Value // the float32 constants of the model
	stored    map[storedKey]*stored
	constants map[constantKey]*onnx.Value
	wides     map[wideKey]*onnx.Value
	widened   map[*onnx.Value]*onnx.Value // weights as they come out of float16
	heads     map[*onnx.Graph]*onnx.Node  // the last of the nodes at the start of a graph, which unpack constants
}

// scheme returns the planned scheme of a node.
func (e *emitter) scheme(n *onnx.Node) plan.Scheme {
	if d := e.nodes[n]; d != nil {
		return d.Scheme
	}
	return plan.Float
}

// each calls f for every site with that scheme and, where kinds are given, one of them.
func (e *emitter) each(f func(*plan.Site, *plan.Node) error, scheme plan.Scheme, kinds ...plan.Kind) error {
	for _, s := range e.sites {
		replaced := s.Node.Graph() == nil
		if replaced || e.scheme(s.Node) != scheme || len(kinds) > 0 && !slices.Contains(kinds, s.Kind) {
			continue
		}
		if err := f(s, e.nodes[s.Node]); err != nil {
			return fmt.Errorf("node %q (%s): %w", s.Key, s.Node.Op, err)
		}
	}
	return nil
}

// before inserts a node with one output in front of n.
func (e *emitter) before(n *onnx.Node, op, out string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	return n.Graph().InsertBefore(n, onnx.NodeSpec{Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs}).Output(0)
}

// replace puts v in the place of n's output and removes n, whose name the producer of v takes over.
func (e *emitter) replace(n *onnx.Node, v *onnx.Value) error {
	out := n.Output(0)
	if !onnx.Replace(out, v) {
		return fmt.Errorf("output %q cannot be replaced", out.Name())
	}
	e.context.Trace.Became(out, v)
	producer, _ := v.Producer()
	producer.Name = n.Name
	n.Graph().Remove(n)
	return nil
}
