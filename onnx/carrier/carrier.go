// Package carrier packs a whole model into one attribute of a one-node graph, and takes it out again.
//
// The decoder of github.com/owulveryck/onnx-go reads no initializers of 8 bits or half precision, and drops opsets, domains,
// symbolic dimensions and subgraphs. A string attribute it hands over as it is:
//
//	y = zqonnx.ZQGraph(x) model="…the bytes of the model…"
//
// The node's inputs and outputs are those of the model inside, in order.
package carrier

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
)

// The names of a carrier's only node: its domain, its operator, and the attribute that holds the model.
const (
	Domain    = "zqonnx"
	Operator  = "ZQGraph"
	Attribute = "model"
)

// Pack returns a carrier of m, with external data taken in; m itself if it is one. Errors say what in m does not fit: more
// than 2 GB, or an input or output that is no tensor.
func Pack(m *onnx.Model) (*onnx.Model, error) {
	if node(m) != nil {
		return m, nil
	}
	b, err := m.Marshal()
	if err != nil {
		return nil, err
	}
	g := onnx.NewGraph(m.Graph.Name)
	n := onnx.NodeSpec{Op: Operator, Domain: Domain, Attrs: []*onnx.Attribute{{Name: Attribute, Kind: onnx.AttrString, Bytes: b}}}
	for _, v := range m.Graph.Feeds() {
		if !carried(v.Type) {
			return nil, fmt.Errorf("input %q is %s: onnx-go passes tensors only", v.Name(), v.Type)
		}
		n.Inputs = append(n.Inputs, g.AddInput(v.Name(), placeholder(v.Type)))
	}
	for _, v := range m.Graph.Outputs() {
		if !carried(v.Type) {
			return nil, fmt.Errorf("output %q is %s: onnx-go passes tensors only", v.Name(), v.Type)
		}
		n.Outputs = append(n.Outputs, v.Name()) // made unique where the model hands an input through
	}
	call := g.Append(n)
	for i, v := range m.Graph.Outputs() {
		call.Output(i).Type = placeholder(v.Type)
		g.AddOutput(call.Output(i))
	}
	return &onnx.Model{
		IRVersion: m.IRVersion, Opsets: []onnx.Opset{{Domain: Domain, Version: 1}},
		Producer: m.Producer, ProducerVersion: m.ProducerVersion, Graph: g,
	}, nil
}

func carried(t *onnx.Type) bool { return t == nil || t.Kind == onnx.KindTensor }

// mostPlaceholder is the most elements of a stated type: the decoder makes a tensor of each.
const mostPlaceholder = 1 << 28

// placeholder returns t where onnx-go's decoder can make a tensor of it, else nil, which it passes over.
func placeholder(t *onnx.Type) *onnx.Type {
	if t == nil {
		return nil
	}
	switch t.Elem {
	case onnx.Float32, onnx.Float64, onnx.Int8, onnx.Int16, onnx.Int32, onnx.Int64, onnx.Uint8, onnx.Uint16, onnx.Uint32, onnx.Uint64,
		onnx.Bool, onnx.String:
	default:
		return nil
	}
	n := int64(1)
	for _, d := range t.Shape {
		switch {
		case d.Size < 0: // not fixed; the decoder leaves it out
		case d.Size == 0 || n > mostPlaceholder/d.Size:
			return nil
		default:
			n *= d.Size
		}
	}
	return t.Clone()
}

// Unpack returns the model inside if m is a carrier, else m. The errors of a damaged carrier wrap onnx.ErrBadModel.
func Unpack(m *onnx.Model) (*onnx.Model, error) {
	n := node(m)
	if n == nil {
		return m, nil
	}
	a := n.Attr(Attribute)
	switch {
	case m.Graph.Len() != 1:
		return nil, fmt.Errorf("%w: %s carries a whole model and must be the only node, here there are %d", onnx.ErrBadModel, Operator, m.Graph.Len())
	case a == nil || a.Kind != onnx.AttrString:
		return nil, fmt.Errorf("%w: %s has no string attribute %q with the model", onnx.ErrBadModel, Operator, Attribute)
	}
	inner, err := Parse(a.Bytes)
	if err != nil {
		return nil, err
	}
	return inner, CheckArity(inner, len(n.Inputs()), len(n.Outputs()))
}

// Parse reads the model in the attribute of a carrier. It shares b, as onnx.Parse does.
func Parse(b []byte) (*onnx.Model, error) {
	m, err := onnx.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("the model in the carrier: %w", err)
	}
	if node(m) != nil {
		return nil, fmt.Errorf("%w: there is a carrier in the carrier", onnx.ErrBadModel)
	}
	return m, nil
}

// CheckArity reports a model that does not fit a carrier whose node has that many inputs and outputs.
func CheckArity(m *onnx.Model, inputs, outputs int) error {
	if in, out := len(m.Graph.Feeds()), len(m.Graph.Outputs()); in != inputs || out != outputs {
		return fmt.Errorf("%w: the carrier has %d inputs and %d outputs, the model in it %d and %d", onnx.ErrBadModel, inputs, outputs, in, out)
	}
	return nil
}

// node returns the first node of m that carries a model.
func node(m *onnx.Model) *onnx.Node {
	for n := range m.Graph.Nodes() {
		if n.Domain == Domain && n.Op == Operator {
			return n
		}
	}
	return nil
}
