package onnx

import (
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
)

// An Opset is one entry of a model's opset imports.
type Opset struct {
	Domain  string // "" is ai.onnx
	Version int64
}

// An Entry is a key and a value of the metadata.
type Entry struct{ Key, Value string }

// A Model is a whole ONNX file.
type Model struct {
	IRVersion       int64
	Opsets          []Opset
	Producer        string
	ProducerVersion string
	Domain          string
	Version         int64
	Doc             string
	Metadata        []Entry
	Graph           *Graph
	Functions       []*Function

	extra *remainder // what the file held beyond this
	file  *source
}

// Opset returns the imported version of a domain, 0 when it is not imported. "" and "ai.onnx" are the same domain.
func (m *Model) Opset(domain string) int64 {
	for _, o := range m.Opsets {
		if canonicalDomain(o.Domain) == canonicalDomain(domain) {
			return o.Version
		}
	}
	return 0
}

// SetOpset imports a version of a domain, replacing an earlier import of it.
func (m *Model) SetOpset(domain string, version int64) {
	for i, o := range m.Opsets {
		if canonicalDomain(o.Domain) == canonicalDomain(domain) {
			m.Opsets[i].Version = version
			return
		}
	}
	m.Opsets = append(m.Opsets, Opset{domain, version})
}

func canonicalDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

// A Function is a model-local function: its body is a graph whose inputs and outputs have no types.
type Function struct {
	Name, Domain, Overload string
	Doc                    string
	Opsets                 []Opset
	Attributes             []string     // attributes without default
	Defaults               []*Attribute // attributes with default
	Metadata               []Entry
	Body                   *Graph

	extra *remainder
}

// A Graph is a list of nodes in topological order, with inputs, outputs and initializers. It may be a subgraph: the
// value of a node's attribute; then nodes inside may use values of the enclosing graphs.
type Graph struct {
	Name     string
	Doc      string
	Metadata []Entry

	inputs  []*Value
	outputs []*Value
	consts  []*Value // initializers, in order; a value may be input and initializer at once (IR 3)

	first, last *Node
	values      map[string]*Value // every value defined in this graph, by name
	taken       map[string]bool   // on a main graph: every name in use in it and its subgraphs; nil until FreshName needs it
	next        map[string]int    // the number that FreshName tries next, by base
	owner       *Node             // the node whose attribute this graph is; nil for a model's main graph
	infos       []info            // value_info as the file listed it
	mentions    map[mention]restated
	extra       *remainder
}

// NewGraph returns an empty graph.
func NewGraph(name string) *Graph {
	return &Graph{Name: name, values: map[string]*Value{}}
}

// A Value is one edge of the graph: a graph input, an initializer, or a node's output. Names are unique in a graph.
type Value struct {
	Type     *Type // nil when unknown
	Doc      string
	Metadata []Entry

	name     string
	graph    *Graph
	producer *Node
	index    int // of the producer's outputs
	constant *Tensor
	input    bool
	listed   bool     // the file's value_info has it
	outputIn []*Graph // the graphs it is an output of, once for each time
	uses     []Use
	lent     atomic.Bool // somebody may be going through uses
	extra    *remainder
}

// A Use is a place where a node takes a value.
type Use struct {
	Node  *Node
	Index int // of the node's inputs
}

// Name returns the value's name.
func (v *Value) Name() string { return v.name }

// Graph returns the graph that defines the value.
func (v *Value) Graph() *Graph { return v.graph }

// Producer returns the node that computes the value and which of its outputs it is; nil for inputs and initializers.
func (v *Value) Producer() (*Node, int) { return v.producer, v.index }

// Uses returns the node inputs that take the value, those inside subgraphs included. Do not change it; it stays as it is when
// uses are added and dropped.
func (v *Value) Uses() []Use {
	v.lent.Store(true)
	return v.uses
}

// Const returns the initializer's tensor, nil when the value is not one. An initializer that is also a graph input
// (IR 3) may be overridden by the caller by the letter of the standard; zqonnx treats it as constant, as runtimes do.
func (v *Value) Const() *Tensor { return v.constant }

// SetConst replaces the tensor of an initializer.
func (v *Value) SetConst(t *Tensor) {
	if v.constant == nil {
		panic("onnx: SetConst on a value that is no initializer: " + v.name)
	}
	v.constant = t
	if v.Type != nil {
		v.Type = typeOfTensor(t)
	}
}

// IsInput reports whether v is an input of its graph.
func (v *Value) IsInput() bool { return v.input }

// IsOutput reports whether v is an output of its graph, or of a graph inside that hands it on.
func (v *Value) IsOutput() bool { return len(v.outputIn) > 0 }

// inUse reports whether a node or a graph output takes v.
func (v *Value) inUse() bool { return len(v.uses) > 0 || len(v.outputIn) > 0 }

// leave takes one mention among g's outputs back.
func (v *Value) leave(g *Graph) {
	i := slices.Index(v.outputIn, g)
	v.outputIn = slices.Delete(v.outputIn, i, i+1)
}

func (v *Value) String() string {
	if v == nil {
		return `""`
	}
	return v.name
}

func typeOfTensor(t *Tensor) *Type {
	dims := make([]Dim, len(t.Dims))
	for i, d := range t.Dims {
		dims[i] = Fixed(d)
	}
	return &Type{Elem: t.Type, Shape: dims}
}

// Inputs returns the graph's inputs, initializers listed as inputs included. Do not change it.
func (g *Graph) Inputs() []*Value { return g.inputs }

// Feeds returns the inputs that a caller must give: those that are no initializers.
func (g *Graph) Feeds() []*Value {
	return slices.DeleteFunc(slices.Clone(g.inputs), func(v *Value) bool { return v.constant != nil })
}

// Outputs returns the graph's outputs. Do not change it.
func (g *Graph) Outputs() []*Value { return g.outputs }

// Consts returns the initializers in order. Do not change it.
func (g *Graph) Consts() []*Value { return g.consts }

// Value returns the value of that name defined in g itself; nil when there is none.
func (g *Graph) Value(name string) *Value { return g.values[name] }

// Lookup returns the value that a node of g means by the name: g's own or that of the nearest enclosing graph.
func (g *Graph) Lookup(name string) *Value {
	for ; g != nil; g = g.Parent() {
		if v := g.values[name]; v != nil {
			return v
		}
	}
	return nil
}

// Owner returns the node whose subgraph g is; nil for a main graph.
func (g *Graph) Owner() *Node { return g.owner }

// Parent returns the enclosing graph; nil for a main graph.
func (g *Graph) Parent() *Graph {
	if g.owner == nil {
		return nil
	}
	return g.owner.graph
}

// Root returns the outermost graph.
func (g *Graph) Root() *Graph {
	for g.Parent() != nil {
		g = g.Parent()
	}
	return g
}

// Nodes iterates over the nodes in order. Nodes may be inserted and removed meanwhile: removing the current node is safe,
// nodes inserted behind it are visited.
func (g *Graph) Nodes() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for n := g.first; n != nil; n = n.next {
			if n.graph == nil {
				continue // removed meanwhile; its old successor is still known
			}
			if !yield(n) {
				return
			}
		}
	}
}

// AllNodes iterates over the nodes of g and of all subgraphs, a node before the nodes inside it.
func (g *Graph) AllNodes() iter.Seq[*Node] {
	return func(yield func(*Node) bool) { g.walk(yield) }
}

func (g *Graph) walk(yield func(*Node) bool) bool {
	for n := range g.Nodes() {
		if !yield(n) {
			return false
		}
		if n.graph == nil {
			continue // removed meanwhile, with its subgraphs
		}
		for _, s := range n.Subgraphs() {
			if !s.walk(yield) {
				return false
			}
		}
	}
	return true
}

// Len returns the number of nodes of g itself.
func (g *Graph) Len() int {
	k := 0
	for range g.Nodes() {
		k++
	}
	return k
}

// define gives name to v in g. The caller has seen to it that the name is free.
func (g *Graph) define(v *Value) *Value {
	if g.values[v.name] != nil {
		panic(fmt.Sprintf("onnx: graph %q has two values named %q", g.Name, v.name))
	}
	v.graph = g
	g.values[v.name] = v
	g.reserve(v.name)
	return v
}

// FreshName returns base, or base with a number behind it, such that no value or node of g, its parents and its subgraphs
// has it, and reserves it. What is assigned to Node.Name directly is not seen once the first name was given.
func (g *Graph) FreshName(base string) string {
	root := g.Root()
	if root.taken == nil {
		root.taken, root.next = map[string]bool{}, map[string]int{}
		root.collectNames(root.taken)
	}
	name := base
	for root.taken[name] || name == "" {
		root.next[base]++
		name = fmt.Sprintf("%s_%d", base, root.next[base])
	}
	root.taken[name] = true
	return name
}

// reserve keeps FreshName from giving the name.
func (g *Graph) reserve(name string) {
	if root := g.Root(); root.taken != nil {
		root.taken[name] = true
	}
}

// collectNames adds every name in use in g and its subgraphs.
func (g *Graph) collectNames(taken map[string]bool) {
	for name := range g.values {
		taken[name] = true
	}
	for _, i := range g.infos {
		taken[i.name] = true
	}
	for n := range g.Nodes() {
		taken[n.Name] = true
		for _, s := range n.Subgraphs() {
			s.collectNames(taken)
		}
	}
}

// AddInput adds a graph input. The name must be free.
func (g *Graph) AddInput(name string, t *Type) *Value {
	v := g.define(&Value{name: name, Type: t, input: true})
	g.inputs = append(g.inputs, v)
	return v
}

// AddConst adds an initializer under a name that is made unique.
func (g *Graph) AddConst(name string, t *Tensor) *Value {
	v := g.define(&Value{name: g.FreshName(name), constant: t, Type: typeOfTensor(t)})
	g.consts = append(g.consts, v)
	return v
}

// AddOutput makes v, defined in g or, in a subgraph, in an enclosing graph, the next output of g.
func (g *Graph) AddOutput(v *Value) {
	g.outputs = append(g.outputs, v)
	v.outputIn = append(v.outputIn, g)
}

// SetOutput replaces an output. The output's name becomes v's: use Replace where names must stay.
func (g *Graph) SetOutput(i int, v *Value) {
	g.outputs[i].leave(g)
	g.outputs[i] = v
	v.outputIn = append(v.outputIn, g)
}

// DropInput removes an input from the list; an initializer that was listed stays an initializer. Any other must be unused.
func (g *Graph) DropInput(v *Value) {
	if v.constant == nil && v.inUse() {
		panic("onnx: DropInput on an input in use: " + v.name)
	}
	g.inputs = slices.DeleteFunc(g.inputs, func(w *Value) bool { return w == v })
	v.input = false
	if v.constant == nil {
		g.undefine(v)
	}
}

func (g *Graph) undefine(v *Value) {
	delete(g.values, v.name)
	v.graph = nil
}

// DropConst removes an initializer that nothing uses.
func (g *Graph) DropConst(v *Value) {
	if v.inUse() {
		panic("onnx: DropConst on an initializer in use: " + v.name)
	}
	g.consts = slices.DeleteFunc(g.consts, func(w *Value) bool { return w == v })
	v.constant = nil
	if !v.input {
		g.undefine(v)
	}
}

// DropInnerTypes forgets the types of the values that nodes of g compute, but for outputs, and what the file's value_info listed.
func (g *Graph) DropInnerTypes() {
	g.infos = nil
	for n := range g.Nodes() {
		for _, v := range n.outputs {
			if v == nil {
				continue
			}
			v.listed = false
			if !v.IsOutput() {
				v.Type = nil
			}
		}
	}
}

// Rename gives v another name, which must be free in its graph.
func (v *Value) Rename(name string) {
	if name == v.name {
		return
	}
	if v.graph.values[name] != nil {
		panic(fmt.Sprintf("onnx: rename %q to %q: the name is taken", v.name, name))
	}
	delete(v.graph.values, v.name)
	v.name = name
	v.graph.values[name] = v
	v.graph.reserve(name)
}

// ReplaceUses makes every node that takes old take v instead; nodes that compute v from old too, so take their uses first
// where such exist. Graph outputs are left alone: see Replace.
func ReplaceUses(old, v *Value) {
	if old == v {
		return
	}
	for _, u := range old.uses {
		u.Node.inputs[u.Index] = v
	}
	v.uses = append(v.uses, old.uses...)
	old.uses = nil
}

// Replace puts v in old's place everywhere. Where old is an output of its graph, v becomes the output and takes over
// old's name, so that callers of the model see no change; old gets a fresh name. That asks for v to be a node's output in
// the same graph that is no output itself: Replace reports false, with nothing changed, when it is not.
func Replace(old, v *Value) bool {
	if old == v {
		return true
	}
	isOutput := slices.Contains(old.outputIn, old.graph)
	if isOutput && (v.producer == nil || v.graph != old.graph || slices.Contains(v.outputIn, v.graph)) {
		return false
	}
	ReplaceUses(old, v)
	for _, g := range slices.Clone(old.outputIn) {
		g.SetOutput(slices.Index(g.outputs, old), v)
	}
	if !isOutput {
		return true
	}
	name := old.name
	old.Rename(old.graph.FreshName(name))
	v.Rename(name)
	if v.Type == nil || old.Type != nil && v.Type.Shape == nil && v.Type.Kind == old.Type.Kind && v.Type.Elem == old.Type.Elem {
		v.Type = old.Type.Clone()
	}
	v.Doc, v.Metadata, v.extra = old.Doc, old.Metadata, old.extra
	return true
}
