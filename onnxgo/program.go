package onnxgo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	onnxgo "github.com/owulveryck/onnx-go"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/carrier"
)

// A program is the compiled model, with its values at both ends.
type program struct {
	*engine.Program
	inputs  []port
	outputs []port
	feeds   map[string]*onnx.Tensor
}

// A port joins a value to an input or output of the engine's graph.
type port struct {
	value  *value
	name   string
	elem   onnx.DataType
	rank   int  // of an input for which the graph was compiled; -1: any
	scalar bool // stated to be one; gorgonia has the shape (1) for scalars too
}

// compile makes the program of what was decoded.
func (b *Backend) compile() (*program, error) {
	inputs := b.inputs()
	for _, v := range inputs {
		if !v.given {
			return nil, fmt.Errorf("%w: input %q (node %d) was not set", engine.ErrInput, v.name, v.first)
		}
	}
	p := &program{feeds: map[string]*onnx.Tensor{}}
	at := slices.IndexFunc(b.operations, func(op *operation) bool { return op.model != nil })
	var m *onnx.Model
	var err error
	switch {
	case at < 0:
		m, err = b.graph(p, inputs)
	case len(b.operations) > 1:
		err = fmt.Errorf("%w: %s carries a whole model and must be the only operator, here there are %d", onnx.ErrBadModel, carrier.Operator, len(b.operations))
	default:
		m, err = carried(p, b.operations[0])
	}
	if err != nil {
		return nil, err
	}
	p.Program, err = engine.Compile(m, b.Options)
	return p, err
}

// carried joins the values to the model of a carrier.
func carried(p *program, op *operation) (*onnx.Model, error) {
	for i, v := range op.model.Graph.Feeds() {
		if op.operands[i] == nil {
			return nil, fmt.Errorf("%w: the carrier leaves out input %d of the model in it", onnx.ErrBadModel, i)
		}
		in := port{value: op.operands[i], name: v.Name(), rank: -1}
		if v.Type != nil {
			in.elem, in.scalar = v.Type.Elem, v.Type.Shape != nil && len(v.Type.Shape) == 0
		}
		p.inputs = append(p.inputs, in)
	}
	for i, v := range op.model.Graph.Outputs() {
		if op.outputs[i] != nil {
			p.outputs = append(p.outputs, port{value: op.outputs[i], name: v.Name()})
		}
	}
	return op.model, nil
}

// graph makes a model of the operations.
func (b *Backend) graph(p *program, inputs []*value) (*onnx.Model, error) {
	version, err := opset(b.operations)
	if err != nil {
		return nil, err
	}
	g := onnx.NewGraph("onnx-go")
	known := map[*value]*onnx.Value{}
	for _, v := range inputs {
		t, err := inputType(v)
		if err != nil {
			return nil, fmt.Errorf("%w: input %q: %w", engine.ErrInput, v.name, err)
		}
		known[v] = g.AddInput(v.name, t)
		p.inputs = append(p.inputs, port{value: v, name: v.name, elem: t.Elem, rank: len(t.Shape)})
	}
	for _, n := range b.nodes {
		if v := n.value; v != nil && v.constant && known[v] == nil {
			t, err := toTensor(v.tensor, onnx.Undefined)
			if err != nil {
				return nil, fmt.Errorf("initializer %q: %w", v.name, err)
			}
			known[v] = g.AddConst(v.name, t)
		}
	}
	for _, op := range b.operations {
		spec := onnx.NodeSpec{Op: op.name, Attrs: op.attrs}
		for _, v := range op.operands {
			if v != nil && known[v] == nil {
				return nil, fmt.Errorf("%w: %s takes %q before it is computed", onnx.ErrBadModel, op.name, v.name)
			}
			spec.Inputs = append(spec.Inputs, known[v])
		}
		for _, v := range op.outputs {
			name := ""
			if v != nil {
				name = v.name
			}
			spec.Outputs = append(spec.Outputs, name)
		}
		n := g.Append(spec)
		for i, v := range op.outputs {
			if v != nil {
				known[v] = n.Output(i)
			}
		}
	}
	for _, v := range b.outputs() {
		g.AddOutput(known[v])
		p.outputs = append(p.outputs, port{value: v, name: known[v].Name()})
	}
	return &onnx.Model{IRVersion: onnx.MinIR(version), Opsets: []onnx.Opset{{Version: version}}, Graph: g}, nil
}

// inputType returns the type of an input. The decoder leaves out dimensions that are not fixed, so a tensor of more dimensions
// than are stated tells the rank, and no size is known.
func inputType(v *value) (*onnx.Type, error) {
	t, err := elemOf(v.tensor)
	if err != nil {
		return nil, err
	}
	dims := make([]onnx.Dim, v.tensor.Dims())
	for i := range dims {
		dims[i] = onnx.Symbol("")
	}
	if v.stated != nil {
		if t, err = elemOf(v.stated); err != nil {
			return nil, err
		}
		if shape := v.stated.Shape(); len(shape) >= len(dims) {
			dims = make([]onnx.Dim, len(shape))
			for i, d := range shape {
				dims[i] = onnx.Fixed(int64(d))
			}
		}
	}
	return &onnx.Type{Kind: onnx.KindTensor, Elem: t, Shape: dims}, nil
}

// outputs returns the values to compute. The decoder declares inner values before outputs and does not say where these begin: at
// the latest with the first one that no operator uses. Others are computed once they were asked for.
func (b *Backend) outputs() []*value {
	used := map[*value]bool{}
	for _, op := range b.operations {
		for _, v := range op.operands {
			used[v] = true
		}
	}
	last := map[*value]int64{} // declaration
	for _, n := range b.nodes {
		if n.declared {
			last[n.value] = n.id
		}
	}
	var outputs []*value
	begun := false
	for _, n := range b.nodes {
		v := n.value
		if v == nil || v.producer == nil {
			continue
		}
		declared := n.declared && last[v] == n.id
		begun = begun || declared && !used[v]
		if begun && declared || v.wanted && v.first == n.id {
			outputs = append(outputs, v)
		}
	}
	slices.SortFunc(outputs, func(a, b *value) int { return int(a.first - b.first) })
	return slices.Compact(outputs)
}

// suits reports whether the program was compiled for tensors of the ranks that the inputs have now.
func (p *program) suits() bool {
	for _, in := range p.inputs {
		if in.rank >= 0 && in.value.tensor.Dims() != in.rank {
			return false
		}
	}
	return true
}

// run feeds the inputs and takes the outputs.
func (p *program) run(ctx context.Context) error {
	for _, o := range p.outputs {
		o.value.fresh = false
	}
	for _, in := range p.inputs {
		t, err := toTensor(in.value.tensor, in.elem)
		if err != nil {
			return fmt.Errorf("%w: input %q: %w", engine.ErrInput, in.value.name, err)
		}
		if in.scalar && t.Len() == 1 {
			t = t.Reshaped()
		}
		p.feeds[in.name] = t
	}
	out, err := p.Run(ctx, p.feeds, nil)
	if err != nil {
		return err
	}
	for _, o := range p.outputs {
		if o.value.tensor, err = fromTensor(out[o.name]); err != nil {
			return fmt.Errorf("output %q: %w", o.value.name, err)
		}
		o.value.fresh = true
	}
	return nil
}

// notImplemented turns an error that says that the engine cannot run something into onnx-go's.
func notImplemented(err error) error {
	var already *onnxgo.ErrNotImplemented
	if !errors.Is(err, engine.ErrUnsupported) || errors.As(err, &already) {
		return err
	}
	e := &onnxgo.ErrNotImplemented{Message: err.Error()}
	var node *engine.NodeError
	if errors.As(err, &node) {
		e.Operator = node.Op
	}
	return e
}
