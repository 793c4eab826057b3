package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// inline puts the bodies of m's local functions in the place of their calls.
func inline(m *onnx.Model) error {
	if len(m.Functions) == 0 {
		return nil
	}
	in := &inliner{functions: map[functionKey]*onnx.Function{}}
	for _, f := range m.Functions {
		for _, o := range f.Opsets {
			switch v := m.Opset(o.Domain); {
			case v == 0:
				m.SetOpset(o.Domain, o.Version)
			case v != o.Version:
				return fmt.Errorf("function %q is written for opset %d of domain %q, the model for %d: such a mixture is %w",
					f.Name, o.Version, o.Domain, v, ErrUnsupported)
			}
		}
		in.functions[functionKey{f.Domain, f.Name, f.Overload}] = f
	}
	return in.graph(m.Graph, 0)
}

type functionKey struct{ domain, name, overload string }

type inliner struct {
	functions map[functionKey]*onnx.Function
	nodes     int // inserted so far
}

// Limits against functions that call themselves, or that double with every level.
const (
	maxCallDepth   = 100
	maxInlineNodes = 1 << 20
)

func (in *inliner) graph(g *onnx.Graph, depth int) error {
	for n := range g.Nodes() {
		if err := in.node(n, depth); err != nil {
			return err
		}
	}
	return nil
}

// node inlines a call, or the calls inside a node's subgraphs.
func (in *inliner) node(n *onnx.Node, depth int) error {
	f := in.functions[functionKey{n.Domain, n.Op, n.Overload}]
	if f == nil {
		for _, s := range n.Subgraphs() {
			if err := in.graph(s, depth); err != nil {
				return err
			}
		}
		return nil
	}
	if depth == maxCallDepth || in.nodes > maxInlineNodes {
		return fmt.Errorf("function %q calls itself, or functions call each other too often: %w", f.Name, onnx.ErrBadModel)
	}
	if len(n.Inputs()) > len(f.Body.Inputs()) || len(n.Outputs()) > len(f.Body.Outputs()) {
		return fmt.Errorf("node %q calls function %q with %d inputs and %d outputs, it has %d and %d: %w", n.Key(), f.Name,
			len(n.Inputs()), len(n.Outputs()), len(f.Body.Inputs()), len(f.Body.Outputs()), onnx.ErrBadModel)
	}
	c := &call{in: in, values: map[*onnx.Value]*onnx.Value{}, attrs: map[string]*onnx.Attribute{}}
	for _, a := range slices.Concat(f.Defaults, n.Attrs) {
		c.attrs[a.Name] = a
	}
	for i, v := range f.Body.Inputs() {
		c.values[v] = n.Input(i)
	}
	g := n.Graph()
	for _, v := range f.Body.Consts() {
		c.values[v] = g.AddConst(v.Name(), v.Const())
	}
	inserted := c.nodes(f.Body, func(s onnx.NodeSpec) *onnx.Node { return g.InsertBefore(n, s) })
	for i, old := range n.Outputs() {
		if old == nil {
			continue
		}
		y := g.InsertBefore(n, onnx.NodeSpec{
			Op: "Identity", Inputs: []*onnx.Value{c.values[f.Body.Outputs()[i]]}, Outputs: []string{old.Name() + "_inlined"},
		}).Output(0)
		if !onnx.Replace(old, y) {
			return fmt.Errorf("output %q of function %q cannot be replaced", old.Name(), f.Name)
		}
	}
	g.Remove(n)
	for _, n := range inserted {
		if err := in.node(n, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// call is one function body on its way into a graph.
type call struct {
	in     *inliner
	values map[*onnx.Value]*onnx.Value // of the body → of the graph
	attrs  map[string]*onnx.Attribute  // what the body's attributes refer to
}

// nodes copies the nodes of g, a body or a subgraph inside it.
func (c *call) nodes(g *onnx.Graph, insert func(onnx.NodeSpec) *onnx.Node) []*onnx.Node {
	var made []*onnx.Node
	for n := range g.Nodes() {
		s := onnx.NodeSpec{Op: n.Op, Domain: n.Domain, Name: n.Name}
		for _, v := range n.Inputs() {
			s.Inputs = append(s.Inputs, c.values[v]) // nil stays nil
		}
		for _, v := range n.Outputs() {
			name := ""
			if v != nil {
				name = v.Name()
			}
			s.Outputs = append(s.Outputs, name)
		}
		for _, a := range n.Attrs {
			if b := c.attribute(a); b != nil {
				s.Attrs = append(s.Attrs, b)
			}
		}
		k := insert(s)
		k.Overload = n.Overload
		for i, v := range n.Outputs() {
			if v != nil {
				c.values[v] = k.Output(i)
				k.Output(i).Type = v.Type.Clone()
			}
		}
		made = append(made, k)
		c.in.nodes++
	}
	return made
}

// attribute returns a copy, with what a reference stands for; nil when the caller left it out.
func (c *call) attribute(a *onnx.Attribute) *onnx.Attribute {
	if a.Ref != "" {
		given := c.attrs[a.Ref]
		if given == nil {
			return nil
		}
		b := *given
		b.Name = a.Name
		return &b
	}
	b := *a
	if a.Graph != nil {
		b.Graph = c.subgraph(a.Graph)
	}
	b.Graphs = nil
	for _, g := range a.Graphs {
		b.Graphs = append(b.Graphs, c.subgraph(g))
	}
	return &b
}

func (c *call) subgraph(g *onnx.Graph) *onnx.Graph {
	s := onnx.NewGraph(g.Name)
	for _, v := range g.Inputs() {
		c.values[v] = s.AddInput(v.Name(), v.Type.Clone())
	}
	for _, v := range g.Consts() {
		c.values[v] = s.AddConst(v.Name(), v.Const())
	}
	c.nodes(g, s.Append)
	for _, v := range g.Outputs() {
		s.AddOutput(c.values[v])
	}
	return s
}
