package onnx

import "slices"

// ifNode gives each output what both branches agree on.
func ifNode(c *call) {
	var branches []*Graph
	for _, name := range []string{"then_branch", "else_branch"} {
		if a := c.n.Attr(name); a != nil && a.Graph != nil {
			c.graph(a.Graph)
			branches = append(branches, a.Graph)
		}
	}
	if len(branches) != 2 {
		return
	}
	for i := range c.n.outputs {
		if i < len(branches[0].outputs) && i < len(branches[1].outputs) {
			c.setType(i, agree(c.types[branches[0].outputs[i]], c.types[branches[1].outputs[i]]))
		}
	}
}

// agree returns what two types have in common; nil when that is nothing.
func agree(a, b *Type) *Type {
	switch {
	case a == nil || b == nil || a.Kind != b.Kind:
		return nil
	case a.Kind != KindTensor:
		inner := agree(a.Inner, b.Inner)
		if inner == nil || a.Elem != b.Elem {
			return nil
		}
		return &Type{Kind: a.Kind, Elem: a.Elem, Inner: inner}
	case a.Elem != b.Elem || a.Elem == Undefined:
		return nil
	case a.Shape == nil || b.Shape == nil || len(a.Shape) != len(b.Shape):
		return &Type{Elem: a.Elem}
	}
	t := &Type{Elem: a.Elem, Shape: make([]Dim, len(a.Shape))}
	for i := range t.Shape {
		t.Shape[i] = join(a.Shape[i], b.Shape[i])
	}
	return t
}

// loop has a trip count, a condition and carried values; the body takes the iteration number, the condition and the carried values
// and gives the condition, the carried values and what is stacked over the iterations.
func loop(c *call) {
	a := c.n.Attr("body")
	if a == nil || a.Graph == nil {
		return
	}
	body := a.Graph
	carried := max(len(c.n.inputs)-2, 0)
	for i, v := range body.inputs {
		switch {
		case i == 0:
			c.types[v] = ScalarOf(Int64)
		case i == 1:
			c.types[v] = ScalarOf(Bool)
		case i-2 < carried:
			if t := c.typ(i); t != nil {
				c.types[v] = anyShape(t) // the shape may change from one iteration to the next
			}
		}
	}
	c.graph(body)
	trips := Symbol("")
	if cond := body.outputs; len(cond) > 0 {
		// The count is known when nothing can end the loop early.
		n, counted := c.known(0)
		first, always := c.known(1)
		always = always && len(first) == 1 && first[0] != 0 || c.n.Input(1) == nil
		if d := c.data[cond[0]]; counted && len(n) == 1 && always && d != nil {
			if x, ok := d.values(); ok && len(x) == 1 && x[0] != 0 {
				trips = Fixed(max(n[0], 0))
			}
		}
	}
	for i := range c.n.outputs {
		if i+1 >= len(body.outputs) {
			break
		}
		t := c.types[body.outputs[i+1]]
		switch {
		case t == nil:
		case i < carried:
			c.setType(i, agree(t, c.typ(i+2))) // with no iteration it is the initial value
		case t.Kind == KindTensor && t.Shape != nil:
			c.set(i, t.Elem, chain([]Dim{trips}, t.Shape))
		case t.Kind == KindTensor:
			c.set(i, t.Elem, nil)
		}
	}
}

// anyShape returns t without what it says about sizes.
func anyShape(t *Type) *Type {
	t = t.Clone()
	for u := t; u != nil; u = u.Inner {
		u.Shape = nil
	}
	return t
}

// scan (opset 9) has states and scanned inputs; the body takes states and slices, gives states and what is stacked.
func scan(c *call) {
	a := c.n.Attr("body")
	if a == nil || a.Graph == nil {
		return
	}
	body := a.Graph
	states := len(c.n.inputs) - int(min(max(c.n.Int("num_scan_inputs", 0), 0), int64(len(c.n.inputs))))
	if c.opset < 9 {
		c.graph(body) // opset 8 had a batch axis and sequence lengths
		return
	}
	axisOf := func(name string, k int) int64 {
		if l := c.n.Ints(name); k < len(l) {
			return l[k]
		}
		return 0
	}
	length := Symbol("")
	for i, v := range body.inputs {
		t := c.typ(i)
		switch {
		case t == nil || i >= len(c.n.inputs):
		case i < states:
			c.types[v] = t
		case t.Shape == nil:
			c.types[v] = &Type{Elem: t.Elem}
		default:
			axis, ok := c.within(axisOf("scan_input_axes", i-states), len(t.Shape))
			if !ok {
				return
			}
			if length.Size < 0 {
				length = t.Shape[axis]
			}
			c.types[v] = &Type{Elem: t.Elem, Shape: slices.Delete(slices.Clone(t.Shape), axis, axis+1)}
		}
	}
	c.graph(body)
	for i := range c.n.outputs {
		if i >= len(body.outputs) {
			break
		}
		t := c.types[body.outputs[i]]
		switch {
		case t == nil:
		case i < states:
			c.setType(i, agree(t, c.typ(i)))
		case t.Shape == nil:
			c.set(i, t.Elem, nil)
		default:
			if axis, ok := c.within(axisOf("scan_output_axes", i-states), len(t.Shape)+1); ok {
				c.set(i, t.Elem, slices.Insert(slices.Clone(t.Shape), axis, length))
			}
		}
	}
}

func sequenceConstruct(c *call) {
	t := c.typ(0)
	for i := range c.n.inputs {
		t = agree(t, c.typ(i))
	}
	if t != nil {
		c.setType(0, &Type{Kind: KindSequence, Inner: t})
	}
}

func sequenceAt(c *call) {
	if t := c.typ(0); t != nil && t.Kind == KindSequence {
		c.setType(0, t.Inner)
	}
}

// sequenceOnly returns the sequence type without what it says about sizes: other elements may have come in.
func sequenceOnly(t *Type) *Type {
	if t == nil || t.Kind != KindSequence {
		return nil
	}
	return anyShape(t)
}
