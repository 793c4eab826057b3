package onnx

import (
	"fmt"
	"slices"
)

// InferOptions say how InferShapes works. The zero value infers what can be known from the model alone.
type InferOptions struct {
	// Dims fixes symbolic dimensions: every dimension of that name, in every type of the main graph and its subgraphs.
	Dims map[string]int64
	// Strict makes contradictions errors: operands that do not fit, or a stated type that differs from the inferred one.
	Strict bool
	// Known, when set, is called for every integer tensor of a node whose elements follow from sizes and constants alone.
	Known func(v *Value, t *Tensor)
}

// InferShapes finds the types and shapes of all values of the main graph and its subgraphs and states them in Value.Type.
// What cannot be known stays unknown. Symbolic dimensions keep their names where a size is passed through. Files often state sizes
// of inner values that were right for one input only: those are believed for graph inputs and for operators that inference does not
// know, and else replaced by what follows; of ranks and element types what is stated fills the gaps. Stated outputs stay as they
// are, a promise to callers. Errors come only with Strict.
func InferShapes(m *Model, o InferOptions) error {
	f := newInference(m, o)
	f.graph(m.Graph)
	if o.Strict && f.err != nil {
		return f.err
	}
	f.store(m.Graph)
	return nil
}

// An inference is one run over a model. What it found lies beside the model until store.
type inference struct {
	InferOptions
	opset map[string]int64
	types map[*Value]*Type
	data  map[*Value]*ints
	err   error // the first contradiction
}

func newInference(m *Model, o InferOptions) *inference {
	f := &inference{InferOptions: o, opset: map[string]int64{}, types: map[*Value]*Type{}, data: map[*Value]*ints{}}
	for _, s := range m.Opsets {
		f.opset[canonicalDomain(s.Domain)] = s.Version
	}
	return f
}

// graph infers one graph; the types of a subgraph's inputs may have been set before.
func (f *inference) graph(g *Graph) {
	for _, v := range g.inputs {
		f.meet(v, v.Type, true)
	}
	for _, v := range g.consts {
		f.types[v] = typeOfTensor(v.constant)
		f.data[v] = intsOf(v.constant)
	}
	for n := range g.Nodes() {
		f.node(n)
	}
}

func (f *inference) node(n *Node) {
	key := n.Op
	if d := canonicalDomain(n.Domain); d != "" {
		key = d + "." + n.Op
	}
	c := &call{inference: f, n: n, opset: f.opset[canonicalDomain(n.Domain)]}
	infer := inferTable[key]
	if infer != nil {
		infer(c)
	} else {
		for _, g := range n.Subgraphs() {
			f.graph(g)
		}
	}
	for _, v := range n.outputs {
		if v != nil {
			f.meet(v, v.Type, infer == nil)
		}
	}
	if p := dataTable[key]; p != nil {
		p(c)
	}
}

// meet joins what a type stated in the file says to what was inferred for v: it fills the gaps, those of the sizes only where
// they are believed.
func (f *inference) meet(v *Value, stated *Type, believed bool) {
	stated = f.fixDims(stated)
	if !believed && stated != nil && stated.Kind == KindTensor && stated.Shape != nil && f.types[v] == nil {
		stated = &Type{Elem: stated.Elem, Shape: unknown(len(stated.Shape))}
	}
	have := f.types[v]
	if have == nil {
		if stated != nil {
			f.types[v] = stated
		}
		return
	}
	if stated == nil || have.Kind != stated.Kind {
		return
	}
	if have.Kind != KindTensor {
		if have.Inner == nil {
			f.types[v] = stated
		}
		return
	}
	t := *have
	switch {
	case t.Elem == Undefined:
		t.Elem = stated.Elem
	case stated.Elem != Undefined && stated.Elem != t.Elem:
		f.contradiction("tensor %q is stated to be %s but must be %s", v.name, stated, have)
	}
	switch {
	case t.Shape == nil && believed:
		t.Shape = stated.Shape
	case t.Shape == nil && stated.Shape != nil:
		t.Shape = unknown(len(stated.Shape))
	case stated.Shape != nil && len(stated.Shape) != len(t.Shape):
		f.contradiction("tensor %q is stated to be %s but must be %s", v.name, stated, have)
	case stated.Shape != nil:
		t.Shape = slices.Clone(t.Shape)
		for i, s := range stated.Shape {
			switch d := &t.Shape[i]; {
			case believed && d.Size < 0 && (s.Size >= 0 || d.Param == ""):
				*d = s
			case d.Size >= 0 && s.Size >= 0 && d.Size != s.Size:
				f.contradiction("tensor %q is stated to be %s but must be %s", v.name, stated, have)
			}
		}
	}
	f.types[v] = &t
}

// fixDims returns t with the dimensions fixed that the options name.
func (f *inference) fixDims(t *Type) *Type {
	if t == nil || len(f.Dims) == 0 {
		return t
	}
	t = t.Clone()
	for i, d := range t.Shape {
		if size, ok := f.Dims[d.Param]; ok && d.Size < 0 && d.Param != "" {
			t.Shape[i] = Fixed(size)
		}
	}
	t.Inner = f.fixDims(t.Inner)
	return t
}

func (f *inference) contradiction(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("shape inference: "+format, args...)
	}
}

// store states what was found in the values and reports known elements.
func (f *inference) store(g *Graph) {
	for _, v := range g.inputs {
		f.storeOne(v)
	}
	for n := range g.Nodes() {
		for _, v := range n.outputs {
			if v != nil {
				f.storeOne(v)
			}
		}
		for _, s := range n.Subgraphs() {
			f.store(s)
		}
	}
}

func (f *inference) storeOne(v *Value) {
	found := f.types[v]
	if found == nil {
		return
	}
	if d := f.data[v]; d != nil && f.Known != nil && v.producer != nil {
		if t := d.tensor(found.Elem); t != nil {
			f.Known(v, t)
		}
	}
	if v.Type == nil {
		v.Type = found.Clone()
		return
	}
	if v.IsOutput() && (found.Kind != v.Type.Kind || v.Type.Shape != nil && len(v.Type.Shape) != len(found.Shape)) {
		return
	}
	t := v.Type.Clone() // keeps the denotations
	if !v.IsOutput() || t.Elem == Undefined {
		t.Elem, t.Kind = found.Elem, found.Kind
	}
	if t.Inner == nil {
		t.Inner = found.Inner.Clone()
	}
	stated := f.fixDims(t).Shape
	t.Shape = slices.Clone(found.Shape)
	if v.IsOutput() {
		for i, d := range stated {
			if d.Size >= 0 || d.Param != "" {
				t.Shape[i] = d
			}
		}
	}
	v.Type = t
}

// A call is one node during inference.
type call struct {
	*inference
	n     *Node
	opset int64
}

func (c *call) bad(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("shape inference: %s %q: %s", c.n.Op, c.n.Key(), fmt.Sprintf(format, args...))
	}
}

// typ returns the type of input i, nil when it is unknown or left out.
func (c *call) typ(i int) *Type { return c.types[c.n.Input(i)] }

// elem returns the element type of tensor input i; Undefined when it is unknown.
func (c *call) elem(i int) DataType {
	if t := c.typ(i); t != nil && t.Kind == KindTensor {
		return t.Elem
	}
	return Undefined
}

// shape returns the shape of input i; nil when the rank is unknown.
func (c *call) shape(i int) []Dim {
	if t := c.typ(i); t != nil && t.Kind == KindTensor {
		return t.Shape
	}
	return nil
}

// set states the type of output i; a nil shape is one of unknown rank.
func (c *call) set(i int, elem DataType, shape []Dim) {
	if v := c.n.Output(i); v != nil && (elem != Undefined || shape != nil) {
		c.types[v] = &Type{Elem: elem, Shape: shape}
	}
}

// setType states a whole type.
func (c *call) setType(i int, t *Type) {
	if v := c.n.Output(i); v != nil && t != nil {
		c.types[v] = t
	}
}

// known returns the elements of integer input i where all are known.
func (c *call) known(i int) ([]int64, bool) {
	d := c.data[c.n.Input(i)]
	if d == nil {
		return nil, false
	}
	return d.values()
}

// axis returns attribute name as an axis of a tensor of that rank; false when it lies outside.
func (c *call) axis(name string, def int64, rank int) (int, bool) {
	return c.within(c.n.Int(name, def), rank)
}

func (c *call) within(axis int64, rank int) (int, bool) {
	if axis < -int64(rank) || axis >= int64(rank) {
		c.bad("axis %d of a tensor of rank %d", axis, rank)
		return 0, false
	}
	if axis < 0 {
		axis += int64(rank)
	}
	return int(axis), true
}

// axes returns the axes that attribute "axes" names before opset since and input i names from then on, as set flags over the rank.
// stated is false when none are named, ok when they cannot be known.
func (c *call) axes(i int, since int64, rank int) (flags []bool, stated, ok bool) {
	var list []int64
	if c.opset < since {
		if list = c.n.Ints("axes"); list == nil {
			return nil, false, true
		}
	} else if c.n.Input(i) == nil {
		return nil, false, true
	} else if list, ok = c.known(i); !ok {
		return nil, true, false
	}
	flags = make([]bool, rank)
	for _, a := range list {
		k, in := c.within(a, rank)
		if !in {
			return nil, true, false
		}
		flags[k] = true
	}
	return flags, true, true
}

// unknown returns a shape of that rank with nothing known about the sizes.
func unknown(rank int) []Dim {
	s := make([]Dim, rank)
	for i := range s {
		s[i] = Dim{Size: -1}
	}
	return s
}

// maxSize bounds inferred sizes: beyond it a product is unknown rather than wrong.
const maxSize = 1 << 48

// times returns the product of two dimensions.
func times(a, b Dim) Dim {
	switch {
	case a == Fixed(1):
		return b
	case b == Fixed(1):
		return a
	case a.Size < 0 || b.Size < 0 || a.Size > maxSize || b.Size > maxSize || (b.Size > 0 && a.Size > maxSize/b.Size):
		return Symbol("")
	}
	return Fixed(a.Size * b.Size)
}

// product returns the number of elements of a shape.
func product(s []Dim) Dim {
	p := Fixed(1)
	for _, d := range s {
		p = times(p, d)
	}
	return p
}

// plus returns the sum of two dimensions.
func plus(a, b Dim) Dim {
	switch {
	case a == Fixed(0):
		return b
	case b == Fixed(0):
		return a
	case a.Size < 0 || b.Size < 0 || a.Size > maxSize || b.Size > maxSize:
		return Symbol("")
	}
	return Fixed(a.Size + b.Size)
}

// same reports whether two dimensions are known to be equal.
func same(a, b Dim) bool { return a == b && (a.Size >= 0 || a.Param != "") }

// join returns the dimension of a value that is a on one path and b on another, or both at once.
func join(a, b Dim) Dim {
	if same(a, b) {
		return a
	}
	return Symbol("")
}

// broadcast returns the shape of an elementwise operation on these inputs by numpy's rules; nil when a rank is unknown.
func (c *call) broadcast(inputs ...int) []Dim {
	out := []Dim{}
	for _, i := range inputs {
		s := c.shape(i)
		if s == nil {
			return nil
		}
		if out = c.broadcastDims(out, s); out == nil {
			return nil
		}
	}
	return out
}

// broadcastDims returns the broadcast shape of two shapes; nil when they do not fit.
func (c *call) broadcastDims(a, b []Dim) []Dim {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := append([]Dim{}, a...)
	for j, d := range b {
		at := &out[len(out)-len(b)+j]
		switch {
		case *at == Fixed(1) || same(*at, d):
			*at = d
		case d == Fixed(1):
		case at.Size >= 0 && d.Size >= 0:
			c.bad("operands of sizes %d and %d do not broadcast", at.Size, d.Size)
			return nil
		case at.Size > 1: // the other is this or 1
		case d.Size > 1:
			*at = d
		default:
			*at = Symbol("")
		}
	}
	return out
}

// chain returns the dimensions of all parts in order; it is never nil.
func chain(parts ...[]Dim) []Dim {
	out := []Dim{}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
