package onnx

import (
	"fmt"
	"maps"
	"slices"
)

// A Node is one operator call.
type Node struct {
	Name     string
	Op       string
	Domain   string
	Overload string
	Doc      string
	Metadata []Entry
	Attrs    []*Attribute

	inputs     []*Value // nil: an optional input left out
	outputs    []*Value // nil: an optional output left out
	graph      *Graph
	prev, next *Node
	extra      *remainder
}

// Graph returns the graph the node is in; nil after it was removed.
func (n *Node) Graph() *Graph { return n.graph }

// Prev and Next return the neighbours in the order of the graph.
func (n *Node) Prev() *Node { return n.prev }

// Next returns the following node.
func (n *Node) Next() *Node { return n.next }

// Inputs returns the inputs; an optional input left out is nil. Do not change it.
func (n *Node) Inputs() []*Value { return n.inputs }

// Outputs returns the outputs; an optional output left out is nil. Do not change it.
func (n *Node) Outputs() []*Value { return n.outputs }

// Input returns input i, nil when the node has fewer or leaves it out.
func (n *Node) Input(i int) *Value {
	if i < 0 || i >= len(n.inputs) {
		return nil
	}
	return n.inputs[i]
}

// Output returns output i, nil when the node has fewer or leaves it out.
func (n *Node) Output(i int) *Value {
	if i < 0 || i >= len(n.outputs) {
		return nil
	}
	return n.outputs[i]
}

// SetInput makes input i take v (nil: left out), growing the list where needed.
func (n *Node) SetInput(i int, v *Value) {
	for len(n.inputs) <= i {
		n.inputs = append(n.inputs, nil)
	}
	if old := n.inputs[i]; old != nil {
		old.dropUse(Use{n, i})
	}
	n.inputs[i] = v
	if v != nil {
		v.uses = append(v.uses, Use{n, i})
	}
}

// dropUse takes a use out; of a new slice where somebody may be going through the old one.
func (v *Value) dropUse(u Use) {
	k := len(v.uses) - 1
	for k >= 0 && v.uses[k] != u {
		k--
	}
	if k < 0 {
		return
	}
	if v.lent.Swap(false) {
		v.uses = slices.Clone(v.uses)
	}
	v.uses = slices.Delete(v.uses, k, k+1)
}

// TrimInputs drops inputs from position i on.
func (n *Node) TrimInputs(i int) {
	for k := len(n.inputs) - 1; k >= i; k-- {
		n.SetInput(k, nil)
	}
	n.inputs = n.inputs[:min(i, len(n.inputs))]
}

// Is reports whether the node is that operator of the standard domain.
func (n *Node) Is(ops ...string) bool {
	return canonicalDomain(n.Domain) == "" && slices.Contains(ops, n.Op)
}

// Key returns the node's key (formats.md): its name where it has one that is unique in its graph, else OPERATOR:FIRST_OUTPUT,
// with #2, #3, ... behind it where that is taken; inside subgraphs the keys of the owners stand in front:
// If_3/then_branch/KEY. It looks through the whole graph: for many nodes use Graph.Keys.
func (n *Node) Key() string {
	if n.graph == nil {
		return n.plainKey()
	}
	return n.graph.keyPrefix() + n.graph.LocalKeys()[n]
}

// Keys returns the keys of all nodes of g and its subgraphs.
func (g *Graph) Keys() map[*Node]string {
	keys := map[*Node]string{}
	g.addKeys(keys, g.keyPrefix())
	return keys
}

func (g *Graph) addKeys(keys map[*Node]string, prefix string) {
	for n, key := range g.LocalKeys() {
		keys[n] = prefix + key
		for _, s := range n.Subgraphs() {
			s.addKeys(keys, keys[n]+"/"+s.role()+"/")
		}
	}
}

// LocalKeys returns the keys of g's own nodes without those of the owners in front. No two are equal.
func (g *Graph) LocalKeys() map[*Node]string {
	count := map[string]int{}
	for n := range g.Nodes() {
		count[n.Name]++
	}
	keys, taken, more := map[*Node]string{}, map[string]bool{}, map[string]int{}
	for n := range g.Nodes() {
		if n.Name != "" && count[n.Name] == 1 {
			keys[n], taken[n.Name] = n.Name, true
		}
	}
	for n := range g.Nodes() {
		if keys[n] != "" {
			continue
		}
		plain := n.plainKey()
		key := plain
		for taken[key] {
			more[plain]++
			key = fmt.Sprintf("%s#%d", plain, more[plain]+1)
		}
		keys[n], taken[key] = key, true
	}
	return keys
}

// plainKey returns the key of a node whose name is none, as long as nothing else has it.
func (n *Node) plainKey() string {
	for _, v := range n.outputs {
		if v != nil {
			return n.Op + ":" + v.name
		}
	}
	return n.Op + ":"
}

func (g *Graph) keyPrefix() string {
	if g.owner == nil {
		return ""
	}
	return g.owner.Key() + "/" + g.role() + "/"
}

// role returns the name of the attribute that a subgraph is, with its place in a list of graphs.
func (g *Graph) role() string {
	for _, a := range g.owner.Attrs {
		if a.Graph == g {
			return a.Name
		}
		if i := slices.Index(a.Graphs, g); i >= 0 {
			return fmt.Sprintf("%s[%d]", a.Name, i)
		}
	}
	return "?"
}

// Subgraphs returns the graphs among the attributes.
func (n *Node) Subgraphs() []*Graph {
	var gs []*Graph
	for _, a := range n.Attrs {
		gs = append(gs, a.graphs()...)
	}
	return gs
}

// A NodeSpec says what Insert builds. Outputs are names, made unique; "" leaves an optional output out.
type NodeSpec struct {
	Op, Domain, Name string
	Inputs           []*Value
	Outputs          []string
	Attrs            []*Attribute
}

// Append adds a node at the end.
func (g *Graph) Append(s NodeSpec) *Node { return g.InsertAfter(g.last, s) }

// InsertBefore adds a node in front of mark; at the end when mark is nil.
func (g *Graph) InsertBefore(mark *Node, s NodeSpec) *Node {
	if mark == nil {
		return g.InsertAfter(g.last, s)
	}
	if mark.graph != g {
		panic("onnx: insert before a node of another graph: " + mark.Op)
	}
	return g.insert(mark.prev, s)
}

// InsertAfter adds a node behind mark; at the beginning when mark is nil.
func (g *Graph) InsertAfter(mark *Node, s NodeSpec) *Node { return g.insert(mark, s) }

func (g *Graph) insert(prev *Node, s NodeSpec) *Node {
	if prev != nil && prev.graph != g {
		panic("onnx: insert beside a node of another graph: " + prev.Op)
	}
	n := &Node{Op: s.Op, Domain: s.Domain, Name: s.Name, Attrs: slices.Clone(s.Attrs), graph: g}
	g.link(n, prev)
	g.reserve(n.Name)
	for i, v := range s.Inputs {
		n.SetInput(i, v)
	}
	n.inputs = n.inputs[:len(s.Inputs)]
	for i, name := range s.Outputs {
		if name == "" {
			n.outputs = append(n.outputs, nil)
			continue
		}
		n.outputs = append(n.outputs, g.define(&Value{name: g.FreshName(name), producer: n, index: i}))
	}
	for _, a := range s.Attrs {
		a.adopt(n)
	}
	return n
}

func (g *Graph) link(n, prev *Node) {
	n.prev = prev
	if prev == nil {
		n.next, g.first = g.first, n
	} else {
		n.next, prev.next = prev.next, n
	}
	if n.next == nil {
		g.last = n
	} else {
		n.next.prev = n
	}
}

// Remove takes n, whose outputs nothing uses, out of its graph. It panics if something does.
func (g *Graph) Remove(n *Node) {
	for _, v := range n.outputs {
		if v != nil && v.inUse() {
			panic("onnx: Remove of " + n.Op + " whose output is in use: " + v.name)
		}
	}
	for i := len(n.inputs) - 1; i >= 0; i-- {
		n.SetInput(i, nil)
	}
	for _, a := range n.Attrs {
		a.disown(n)
	}
	for _, v := range n.outputs {
		if v != nil {
			g.undefine(v)
		}
	}
	g.unlink(n)
	n.graph = nil // prev and next stay, for iterators standing on n
}

// release drops all uses that nodes inside a removed subgraph make of outer values.
func (g *Graph) release() {
	for n := range g.AllNodes() {
		for i, v := range n.inputs {
			if v != nil && !v.graph.inside(g) {
				n.SetInput(i, nil)
			}
		}
		for _, s := range n.Subgraphs() {
			s.releaseOutputs(g)
		}
	}
	g.releaseOutputs(g)
}

func (g *Graph) releaseOutputs(top *Graph) {
	for _, o := range g.outputs {
		if !o.graph.inside(top) {
			o.leave(g)
		}
	}
}

// inside reports whether g is top or a graph inside it.
func (g *Graph) inside(top *Graph) bool {
	for ; g != nil; g = g.Parent() {
		if g == top {
			return true
		}
	}
	return false
}

// MoveAfter moves n behind mark (to the front when mark is nil) in the same graph. An iteration that stands on n goes on
// from n's new place.
func (n *Node) MoveAfter(mark *Node) {
	g := n.graph
	if mark == n {
		return
	}
	if mark != nil && mark.graph != g {
		panic("onnx: MoveAfter a node of another graph: " + mark.Op)
	}
	g.unlink(n)
	g.link(n, mark)
}

func (g *Graph) unlink(n *Node) {
	if n.prev == nil {
		g.first = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		g.last = n.prev
	} else {
		n.next.prev = n.prev
	}
}

// An AttrKind is the type of an attribute. The numbers are those of AttributeProto.AttributeType.
type AttrKind int32

// The kinds of attribute.
const (
	AttrUndefined AttrKind = iota
	AttrFloat
	AttrInt
	AttrString
	AttrTensor
	AttrGraph
	AttrFloats
	AttrInts
	AttrStrings
	AttrTensors
	AttrGraphs
	AttrSparseTensor
	AttrSparseTensors
	AttrTypeProto
	AttrTypeProtos
)

// An Attribute is a named parameter of a node. Only the field that Kind names is set; sparse tensors are kept but not modelled.
type Attribute struct {
	Name    string
	Kind    AttrKind
	Ref     string // inside a function: the name of the function's attribute that gives the value
	Doc     string
	Float   float32
	Int     int64
	Bytes   []byte
	Tensor  *Tensor
	Graph   *Graph
	Type    *Type
	Floats  []float32
	Ints    []int64
	Strings [][]byte
	Tensors []*Tensor
	Graphs  []*Graph
	Types   []*Type

	flags attrFlags
	extra *remainder
}

func (a *Attribute) graphs() []*Graph {
	if a.Graph == nil {
		return a.Graphs
	}
	return append([]*Graph{a.Graph}, a.Graphs...)
}

// adopt makes n the owner of the graphs in a. Their values get other names where a graph around has the same.
func (a *Attribute) adopt(n *Node) {
	for _, g := range a.graphs() {
		g.owner = n
		g.taken, g.next = nil, nil
		if root := g.Root(); root.taken != nil {
			g.collectNames(root.taken)
		}
		g.unshadow()
	}
}

// unshadow renames the values of g and its subgraphs whose name a graph around has too.
func (g *Graph) unshadow() {
	for _, name := range slices.Sorted(maps.Keys(g.values)) {
		if g.Parent().Lookup(name) != nil {
			g.values[name].Rename(g.FreshName(name))
		}
	}
	for n := range g.Nodes() {
		for _, s := range n.Subgraphs() {
			s.unshadow()
		}
	}
}

// disown drops what the graphs in a use of the graphs around, as far as they still belong to n.
func (a *Attribute) disown(n *Node) {
	for _, g := range a.graphs() {
		if g.owner == n {
			g.release()
			g.owner = nil
		}
	}
}

// AttrI, AttrF, AttrS, AttrIs, AttrFs, AttrT and AttrG build attributes.
func AttrI(name string, v int64) *Attribute { return &Attribute{Name: name, Kind: AttrInt, Int: v} }

// AttrF builds a float attribute.
func AttrF(name string, v float32) *Attribute {
	return &Attribute{Name: name, Kind: AttrFloat, Float: v}
}

// AttrS builds a string attribute.
func AttrS(name, v string) *Attribute {
	return &Attribute{Name: name, Kind: AttrString, Bytes: []byte(v)}
}

// AttrIs builds an attribute of integers.
func AttrIs(name string, v ...int64) *Attribute {
	return &Attribute{Name: name, Kind: AttrInts, Ints: v}
}

// AttrFs builds an attribute of floats.
func AttrFs(name string, v ...float32) *Attribute {
	return &Attribute{Name: name, Kind: AttrFloats, Floats: v}
}

// AttrT builds a tensor attribute.
func AttrT(name string, t *Tensor) *Attribute {
	return &Attribute{Name: name, Kind: AttrTensor, Tensor: t}
}

// AttrG builds a graph attribute.
func AttrG(name string, g *Graph) *Attribute {
	return &Attribute{Name: name, Kind: AttrGraph, Graph: g}
}

// Attr returns the attribute of that name, nil when the node has none.
func (n *Node) Attr(name string) *Attribute {
	for _, a := range n.Attrs {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// SetAttr adds or replaces an attribute.
func (n *Node) SetAttr(a *Attribute) {
	for i, b := range n.Attrs {
		if b.Name == a.Name {
			if b != a {
				b.disown(n)
			}
			n.Attrs[i] = a
			a.adopt(n)
			return
		}
	}
	n.Attrs = append(n.Attrs, a)
	a.adopt(n)
}

// DropAttr removes an attribute if the node has it.
func (n *Node) DropAttr(name string) {
	n.Attrs = slices.DeleteFunc(n.Attrs, func(a *Attribute) bool {
		if a.Name == name {
			a.disown(n)
		}
		return a.Name == name
	})
}

// Int returns an integer attribute, or the default.
func (n *Node) Int(name string, def int64) int64 {
	if a := n.Attr(name); a != nil && a.Kind == AttrInt {
		return a.Int
	}
	return def
}

// Float returns a float attribute, or the default.
func (n *Node) Float(name string, def float32) float32 {
	if a := n.Attr(name); a != nil && a.Kind == AttrFloat {
		return a.Float
	}
	return def
}

// Str returns a string attribute, or the default.
func (n *Node) Str(name, def string) string {
	if a := n.Attr(name); a != nil && a.Kind == AttrString {
		return string(a.Bytes)
	}
	return def
}

// Ints returns an attribute of integers; nil when the node has none.
func (n *Node) Ints(name string) []int64 {
	if a := n.Attr(name); a != nil && a.Kind == AttrInts {
		return a.Ints
	}
	return nil
}

// Floats returns an attribute of floats; nil when the node has none.
func (n *Node) Floats(name string) []float32 {
	if a := n.Attr(name); a != nil && a.Kind == AttrFloats {
		return a.Floats
	}
	return nil
}

// Strs returns an attribute of strings; nil when the node has none.
func (n *Node) Strs(name string) []string {
	a := n.Attr(name)
	if a == nil || a.Kind != AttrStrings {
		return nil
	}
	s := make([]string, len(a.Strings))
	for i, b := range a.Strings {
		s[i] = string(b)
	}
	return s
}
