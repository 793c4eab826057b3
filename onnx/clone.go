package onnx

import (
	"maps"
	"slices"
)

// Clone returns a deep copy of the model's structure. Tensors are shared: those inside a model are never changed in place.
func (m *Model) Clone() *Model {
	c := *m
	c.Opsets = slices.Clone(m.Opsets)
	c.Metadata = slices.Clone(m.Metadata)
	if m.file != nil {
		m.file.refs.Add(1)
	}
	c.Graph = cloneGraph(m.Graph)
	c.Functions = nil
	for _, f := range m.Functions {
		g := *f
		g.Opsets = slices.Clone(f.Opsets)
		g.Attributes = slices.Clone(f.Attributes)
		g.Metadata = slices.Clone(f.Metadata)
		g.Body = cloneGraph(f.Body)
		g.Defaults = nil
		for _, a := range f.Defaults {
			g.Defaults = append(g.Defaults, cloneDefault(a))
		}
		c.Functions = append(c.Functions, &g)
	}
	return &c
}

// A cloner copies a main graph with everything inside: first what can be referred to, then the references, because a graph
// that is being edited may refer to what comes later.
type cloner struct {
	graphs []clonedGraph
	values map[*Value]*Value
	nodes  map[*Node]*Node
}

type clonedGraph struct{ old, copy *Graph }

func newCloner() *cloner { return &cloner{values: map[*Value]*Value{}, nodes: map[*Node]*Node{}} }

func cloneGraph(g *Graph) *Graph {
	c := newCloner()
	defer c.connect()
	return c.declare(g, nil)
}

// cloneDefault copies an attribute that belongs to no node.
func cloneDefault(a *Attribute) *Attribute {
	c := newCloner()
	defer c.connect()
	return c.attribute(a, nil)
}

// connect makes the references between what was declared.
func (c *cloner) connect() {
	for _, p := range c.graphs {
		c.connectGraph(p.old, p.copy)
	}
	for old, v := range c.values {
		v.uses = make([]Use, len(old.uses))
		for i, u := range old.uses {
			v.uses[i] = Use{c.nodes[u.Node], u.Index}
		}
	}
}

// declare copies g with its values and nodes, without the references between them.
func (c *cloner) declare(g *Graph, owner *Node) *Graph {
	n := NewGraph(g.Name)
	n.Doc, n.Metadata, n.owner, n.extra = g.Doc, slices.Clone(g.Metadata), owner, g.extra
	n.taken, n.next = maps.Clone(g.taken), maps.Clone(g.next)
	c.graphs = append(c.graphs, clonedGraph{g, n})
	for _, v := range g.values {
		w := &Value{
			Type: v.Type.Clone(), Doc: v.Doc, Metadata: slices.Clone(v.Metadata), name: v.name, graph: n, index: v.index,
			constant: v.constant, input: v.input, listed: v.listed, extra: v.extra,
		}
		c.values[v], n.values[w.name] = w, w
	}
	for old := range g.Nodes() {
		k := &Node{
			Name: old.Name, Op: old.Op, Domain: old.Domain, Overload: old.Overload, Doc: old.Doc,
			Metadata: slices.Clone(old.Metadata), extra: old.extra, graph: n,
		}
		c.nodes[old] = k
		n.link(k, n.last)
		for _, a := range old.Attrs {
			k.Attrs = append(k.Attrs, c.attribute(a, k))
		}
	}
	return n
}

func (c *cloner) connectGraph(g, n *Graph) {
	n.inputs, n.consts = c.all(g.inputs), c.all(g.consts)
	for old := range g.Nodes() {
		k := c.nodes[old]
		k.inputs, k.outputs = c.all(old.inputs), c.all(old.outputs)
		for _, v := range k.outputs {
			if v != nil {
				v.producer = k
			}
		}
	}
	for _, v := range c.all(g.outputs) {
		n.AddOutput(v)
	}
	for _, i := range g.infos {
		if i.value == nil {
			n.infos = append(n.infos, i)
		} else if i.value.graph == g {
			n.infos = append(n.infos, info{value: c.values[i.value]})
		}
	}
	for m, r := range g.mentions {
		if v := c.values[m.value]; v != nil && r.typ == m.value.Type {
			if n.mentions == nil {
				n.mentions = map[mention]restated{}
			}
			n.mentions[mention{v, m.list}] = restated{r.wire, v.Type}
		}
	}
}

// all returns the copies of values.
func (c *cloner) all(vs []*Value) []*Value {
	ws := make([]*Value, len(vs))
	for i, v := range vs {
		if v != nil {
			ws[i] = c.values[v]
		}
	}
	return ws
}

func (c *cloner) attribute(a *Attribute, n *Node) *Attribute {
	k := *a
	k.Bytes, k.Floats, k.Ints = slices.Clone(a.Bytes), slices.Clone(a.Floats), slices.Clone(a.Ints)
	k.Strings, k.Tensors, k.Graphs, k.Types = slices.Clone(a.Strings), slices.Clone(a.Tensors), nil, nil
	k.Type = a.Type.Clone()
	for _, t := range a.Types {
		k.Types = append(k.Types, t.Clone())
	}
	if a.Graph != nil {
		k.Graph = c.declare(a.Graph, n)
	}
	for _, g := range a.Graphs {
		k.Graphs = append(k.Graphs, c.declare(g, n))
	}
	return &k
}
