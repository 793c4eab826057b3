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
			g.Defaults = append(g.Defaults, (&cloner{}).attribute(a, nil))
		}
		c.Functions = append(c.Functions, &g)
	}
	return &c
}

// A cloner copies a main graph with everything inside.
type cloner struct {
	values map[*Value]*Value
	nodes  map[*Node]*Node
}

func cloneGraph(g *Graph) *Graph {
	c := &cloner{values: map[*Value]*Value{}, nodes: map[*Node]*Node{}}
	copied := c.graph(g, nil)
	for old, v := range c.values {
		v.uses = make([]Use, len(old.uses))
		for i, u := range old.uses {
			v.uses[i] = Use{c.nodes[u.Node], u.Index}
		}
	}
	return copied
}

func (c *cloner) graph(g *Graph, owner *Node) *Graph {
	n := NewGraph(g.Name)
	n.Doc, n.Metadata, n.owner, n.extra = g.Doc, slices.Clone(g.Metadata), owner, g.extra
	n.taken, n.next = maps.Clone(g.taken), maps.Clone(g.next)
	for _, v := range g.inputs {
		n.inputs = append(n.inputs, c.value(v, n))
	}
	for _, v := range g.consts {
		n.consts = append(n.consts, c.value(v, n))
	}
	for old := range g.Nodes() {
		k := &Node{
			Name: old.Name, Op: old.Op, Domain: old.Domain, Overload: old.Overload, Doc: old.Doc,
			Metadata: slices.Clone(old.Metadata), extra: old.extra, graph: n,
		}
		c.nodes[old] = k
		n.link(k, n.last)
		k.inputs = c.all(old.inputs)
		for _, a := range old.Attrs {
			k.Attrs = append(k.Attrs, c.attribute(a, k))
		}
		for _, v := range old.outputs {
			if v == nil {
				k.outputs = append(k.outputs, nil)
				continue
			}
			w := c.value(v, n)
			w.producer = k
			k.outputs = append(k.outputs, w)
		}
	}
	for _, v := range c.all(g.outputs) {
		n.AddOutput(v)
	}
	for _, i := range g.infos {
		switch {
		case i.value == nil:
			n.infos = append(n.infos, i)
		case i.value.graph == g:
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
	return n
}

// value returns the copy of v, which is defined in n.
func (c *cloner) value(v *Value, n *Graph) *Value {
	w := c.values[v]
	if w == nil {
		k := *v
		k.Type, k.Metadata, k.graph, k.producer, k.uses = v.Type.Clone(), slices.Clone(v.Metadata), n, nil, nil
		k.outputIn = nil
		w = &k
		c.values[v] = w
		n.values[w.name] = w
	}
	return w
}

// all maps values that are copied already.
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
	k.Bytes, k.Floats, k.Ints, k.Tensors = slices.Clone(a.Bytes), slices.Clone(a.Floats), slices.Clone(a.Ints), slices.Clone(a.Tensors)
	k.Strings, k.Graphs, k.Types = slices.Clone(a.Strings), nil, nil
	k.Type = a.Type.Clone()
	for _, t := range a.Types {
		k.Types = append(k.Types, t.Clone())
	}
	if a.Graph != nil {
		k.Graph = c.graph(a.Graph, n)
	}
	for _, g := range a.Graphs {
		k.Graphs = append(k.Graphs, c.graph(g, n))
	}
	return &k
}
