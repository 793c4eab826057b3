// Package onnxgo is a backend of github.com/owulveryck/onnx-go: models that onnx-go decodes run on zqonnx's engine.
//
//	model := onnx.NewModel(onnxgo.New())
//
// A quantized model, or any that the decoder of onnx-go cannot read, is packed in a carrier by Wrap, or by zqonnx --emit onnx-go,
// and then decoded like any other.
package onnxgo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	onnxgo "github.com/owulveryck/onnx-go"
	"gonum.org/v1/gonum/graph"
	"gonum.org/v1/gonum/graph/simple"
	"gorgonia.org/tensor"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/carrier"
)

// A Backend holds one model and runs it. onnx-go's decoder fills it through the methods of onnx-go's Backend; its
// ComputationBackend is what it is. A Backend, its nodes included, is used by one goroutine at a time.
type Backend struct {
	// Options of the engine, read when the model runs first. New chooses fused semantics and a worker a core.
	Options engine.Options

	graph.DirectedWeightedBuilder // the topology, from an operator's outputs to its inputs, for tools that draw or walk it

	nodes      []*Node           // by ID
	values     map[string]*value // by name
	operands   []*value          // of the operation that is being decoded
	operations []*operation
	decoding   bool  // edges have come: all declarations and initializers are there
	failed     error // what ApplyOperation returned
	closed     int   // nodes that there were when Run was first called; 0: it was not
	prog       *program
}

// New returns an empty backend, for one model.
func New() *Backend {
	return &Backend{
		Options:                 engine.Options{Semantics: engine.Fused},
		DirectedWeightedBuilder: simple.NewWeightedDirectedGraph(0, 0),
		values:                  map[string]*value{},
	}
}

var errHeld = errors.New("the backend holds a model already: onnxgo.New() makes one for another")

// A value is one tensor of the graph. Nodes of the same name share it: the decoder makes one for each mention.
type value struct {
	name     string
	tensor   tensor.Tensor // stated type, constant, what the caller gave, or what was computed
	stated   tensor.Tensor // placeholder of the type in the file; nil: none
	first    int64         // ID of its first node
	repeated bool          // it is declared more than once: an input that is an output too
	constant bool
	given    bool // by the caller
	producer *operation
	wanted   bool // asked for, though no output
	fresh    bool // computed by the last run
}

// A Node is a value of the graph, as onnx-go sees it: a graph.Node with a name and a tensor.
type Node struct {
	id       int64
	backend  *Backend
	value    *value // nil: not named yet, or an optional input or output left out, which has the name ""
	declared bool   // named before the operators
	sets     int    // calls of SetTensor until then
}

// ID returns the node's place in the order of decoding, from 0: first the graph's inputs, initializers among them included.
func (n *Node) ID() int64 { return n.id }

// SetName is called by the decoder.
func (n *Node) SetName(name string) {
	if name == "" {
		return
	}
	b := n.backend
	v := b.values[name]
	if v == nil {
		v = &value{name: name, first: n.id}
		b.values[name] = v
	} else if !b.decoding {
		v.repeated = true
	}
	n.value, n.declared = v, !b.decoding
}

// GetName returns the name of the value in the model.
func (n *Node) GetName() string {
	if n.value == nil {
		return ""
	}
	return n.value.name
}

// SetTensor gives an input. The tensor is not copied: it must not be changed during a run.
func (n *Node) SetTensor(t tensor.Tensor) error {
	v := n.value
	switch {
	case v == nil:
		return fmt.Errorf("node %d is an optional input that the model leaves out", n.id)
	case n.backend.closed > 0 && int(n.id) >= n.backend.closed:
		return errHeld
	case !n.backend.decoding:
		if n.sets++; v.stated == nil {
			v.stated = t
		}
		v.tensor = t
		return nil
	case v.producer != nil:
		return fmt.Errorf("%q is computed by the model: it cannot be set", v.name)
	}
	n.backend.classify()
	if v.constant {
		return fmt.Errorf("%q (node %d) is an initializer of the model, not an input; %s", v.name, n.id, n.backend.inputsText())
	}
	if t == nil {
		return fmt.Errorf("input %q: there is no tensor", v.name)
	}
	v.tensor, v.given = t, true
	return nil
}

// GetTensor returns what the last run computed, or what was set, or, before, a placeholder of the stated type. A tensor inside the
// model, or an output that another operator uses too, is computed when it is asked for first, by a second run on the same
// inputs; from then on by every run. It is nil when that run fails.
func (n *Node) GetTensor() tensor.Tensor {
	v, b := n.value, n.backend
	if v == nil {
		return nil
	}
	if v.producer != nil && !v.fresh && b.closed > 0 {
		v.wanted, b.prog = true, nil
		if b.Run() != nil {
			return nil
		}
	}
	return v.tensor
}

// NewNode returns a node that is not in the graph yet.
func (b *Backend) NewNode() graph.Node { return &Node{id: int64(len(b.nodes)), backend: b} }

// AddNode adds a node that NewNode returned.
func (b *Backend) AddNode(n graph.Node) {
	b.DirectedWeightedBuilder.AddNode(n)
	b.nodes = append(b.nodes, n.(*Node))
}

// SetWeightedEdge adds an operand: the edge leads from an output to the input at the position that is its weight. An operator
// that takes a value twice has two edges between the same nodes, of which the topology keeps the last.
func (b *Backend) SetWeightedEdge(e graph.WeightedEdge) {
	if !b.decoding { // the first operator: the decoder may have made a node for its output
		from := e.From().(*Node)
		b.decoding, from.declared = true, from.sets > 0
	}
	// The edges of all outputs are alike: those of the first one tell the operands.
	if int(e.Weight()) == len(b.operands) {
		b.operands = append(b.operands, e.To().(*Node).value)
	}
	if e.From().ID() != e.To().ID() {
		b.DirectedWeightedBuilder.SetWeightedEdge(e)
	}
}

// ApplyOperation adds an operator whose edges have been set. The error is an onnx-go ErrNotImplemented where the engine has no
// such operator.
func (b *Backend) ApplyOperation(o onnxgo.Operation, outputs ...graph.Node) error {
	operands := b.operands
	b.decoding, b.operands = true, nil
	if b.failed == nil {
		b.failed = b.apply(o, operands, outputs)
	}
	return b.failed
}

func (b *Backend) apply(o onnxgo.Operation, operands []*value, nodes []graph.Node) error {
	if b.closed > 0 {
		return errHeld
	}
	var outputs []*value
	for _, n := range nodes {
		outputs = append(outputs, n.(*Node).value)
	}
	op, err := newOperation(o, operands, outputs)
	if err != nil {
		return err
	}
	for _, v := range outputs {
		if v == nil {
			continue
		}
		if v.producer != nil {
			return fmt.Errorf("%w: %q is computed by %s and by %s", onnx.ErrBadModel, v.name, v.producer.name, o.Name)
		}
		v.producer = op
	}
	b.operations = append(b.operations, op)
	return nil
}

// classify tells initializers from inputs, which the decoder does not. It declares inputs, inner values and outputs in this order,
// and sets a placeholder for each; then it sets the tensors of initializers, for which it makes new nodes where they are
// not declared.
func (b *Backend) classify() {
	declared := slices.IndexFunc(b.nodes, func(n *Node) bool {
		return n.value != nil && (n.value.producer != nil || n.id != n.value.first)
	})
	for _, n := range b.nodes {
		if v := n.value; v != nil && v.producer == nil && !v.given {
			v.constant = v.constant || n.sets > 1 || n.sets == 1 && int(n.id) > declared && n.id == v.first
		}
	}
}

// inputs returns the values that the caller must give, in the order of the model.
func (b *Backend) inputs() []*value {
	b.classify()
	used := map[*value]bool{}
	for _, op := range b.operations {
		for _, v := range op.operands {
			used[v] = true
		}
	}
	var inputs []*value
	for _, n := range b.nodes {
		v := n.value
		if v != nil && v.first == n.id && v.producer == nil && !v.constant && (used[v] || v.repeated) {
			inputs = append(inputs, v)
		}
	}
	return inputs
}

func (b *Backend) inputsText() string {
	s := "the inputs are"
	for _, v := range b.inputs() {
		s += fmt.Sprintf(" %q (node %d)", v.name, v.first)
	}
	return s
}

// SetInput gives an input by its name. onnx-go's Model.SetInput takes a node ID, which is an input's position among all inputs of
// the file, initializers included.
func (b *Backend) SetInput(name string, t tensor.Tensor) error {
	v := b.values[name]
	if v == nil {
		return fmt.Errorf("the model has no %q; %s", name, b.inputsText())
	}
	return b.nodes[v.first].SetTensor(t)
}

// Run computes the outputs. The first call compiles the model. An operator, a type or an attribute that the engine cannot run
// gives onnx-go's *ErrNotImplemented; other errors wrap onnx.ErrBadModel or engine.ErrInput of zqonnx.
func (b *Backend) Run() error { return b.RunContext(context.Background()) }

// RunContext is Run, with a context that can end it.
func (b *Backend) RunContext(ctx context.Context) error {
	if b.failed != nil {
		return b.failed
	}
	if len(b.operations) == 0 {
		return fmt.Errorf("%w: there is nothing to run: no model was decoded", onnx.ErrBadModel)
	}
	if b.closed == 0 {
		b.closed = len(b.nodes)
	}
	if b.prog == nil || !b.prog.suits() {
		p, err := b.compile()
		if err != nil {
			return notImplemented(err)
		}
		b.prog = p
	}
	return notImplemented(b.prog.run(ctx))
}

// Wrap returns a carrier of an ONNX model: a model that onnx-go decodes and this backend runs with everything intact. What is a
// carrier already is returned as it is. Errors wrap onnx.ErrBadModel, or say what does not fit.
func Wrap(model []byte) ([]byte, error) {
	m, err := onnx.Parse(model)
	if err != nil {
		return nil, err
	}
	if m, err = carrier.Pack(m); err != nil {
		return nil, err
	}
	return m.Marshal()
}
