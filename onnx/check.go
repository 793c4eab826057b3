package onnx

import (
	"errors"
	"fmt"
)

// maxProblems bounds how many problems Check tells.
const maxProblems = 20

// newestIR is the newest IR version whose messages this package knows.
const newestIR = 14

// Check reports what is wrong with a model: names and order (every value is computed once, before it is used, in a graph
// that the user can see), imports, attributes, the bytes of tensors against their types, calls of functions, and whether
// this package's own links are whole. It knows no operators: shape inference does. Every problem wraps ErrBadModel; the
// error joins the first of them.
func Check(m *Model) error {
	c := &checker{}
	c.model(m)
	if c.more > 0 {
		c.problems = append(c.problems, badModel("and %d more problems", c.more))
	}
	return errors.Join(c.problems...)
}

type checker struct {
	problems []error
	more     int
	imports  map[string]bool // domains that the graph being checked may use
	attrs    map[string]bool // attributes of the function being checked; nil outside of functions
	done     map[*Node]bool  // nodes passed so far
	open     map[*Node]bool  // nodes whose subgraphs are being checked
}

func (c *checker) add(format string, args ...any) {
	if len(c.problems) == maxProblems {
		c.more++
		return
	}
	c.problems = append(c.problems, badModel(format, args...))
}

func (c *checker) model(m *Model) {
	if m.IRVersion < 1 || m.IRVersion > newestIR {
		c.add("IR version %d is not one of 1 to %d", m.IRVersion, newestIR)
	}
	if m.IRVersion >= 3 && len(m.Opsets) == 0 {
		c.add("no operator set is imported")
	}
	c.imports = c.opsets(m.Opsets, "the model")
	if m.IRVersion < 3 {
		c.imports[""] = true // before operator sets there was one
	}
	c.mainGraph(m.Graph)
	for _, v := range m.Graph.inputs {
		if v.Type == nil || v.Type.Kind == KindTensor && v.Type.Elem == Undefined {
			c.add("graph input %s has no type", quote(v.name))
		}
	}
	for _, f := range m.Functions {
		c.imports = c.opsets(f.Opsets, "function "+quote(f.Name))
		c.attrs = map[string]bool{}
		for _, a := range f.Attributes {
			c.attrs[a] = true
		}
		for _, a := range f.Defaults {
			c.attrs[a.Name] = true
			c.attribute("function "+quote(f.Name), a)
			for _, g := range a.graphs() {
				c.mainGraph(g)
			}
		}
		c.mainGraph(f.Body)
	}
	c.calls(m.Functions)
}

func (c *checker) opsets(os []Opset, what string) map[string]bool {
	domains := map[string]bool{}
	for _, o := range os {
		d := canonicalDomain(o.Domain)
		if domains[d] {
			c.add("%s imports the domain %s twice", what, quote(o.Domain))
		}
		if o.Version < 1 {
			c.add("%s imports version %d of the domain %s", what, o.Version, quote(o.Domain))
		}
		domains[d] = true
	}
	return domains
}

func (c *checker) mainGraph(g *Graph) {
	c.done, c.open = map[*Node]bool{}, map[*Node]bool{}
	c.graph(g)
	if err := g.verify(); err != nil {
		c.add("the graph's links are broken, which is a fault of this program: %v", err)
	}
}

func (c *checker) graph(g *Graph) {
	if g.owner != nil {
		c.shadows(g)
	}
	for _, v := range g.consts {
		c.tensor("initializer "+quote(v.name), v.constant)
		c.constType(v)
	}
	for n := range g.Nodes() {
		c.node(g, n)
	}
	seen := map[*Value]bool{}
	for _, v := range g.outputs {
		if seen[v] {
			c.add("graph output %s is listed twice", quote(v.name))
		}
		seen[v] = true
		if why := c.unavailable(g, v); why != "" {
			c.add("graph output %s %s", quote(v.name), why)
		}
	}
}

// shadows reports names that g gives again although a graph around it has them: users of the name could mean either.
func (c *checker) shadows(g *Graph) {
	check := func(v *Value) {
		if v != nil && g.Parent().Lookup(v.name) != nil {
			c.add("%s, subgraph of %s: the name is defined in a graph around it too", quote(v.name), g.owner.label())
		}
	}
	for _, v := range g.inputs {
		check(v)
	}
	for _, v := range g.consts {
		if !v.input {
			check(v)
		}
	}
	for n := range g.Nodes() {
		for _, v := range n.outputs {
			check(v)
		}
	}
}

func (n *Node) label() string { return nodeLabel(n.Name, n.Op, valueNames(n.outputs)) }

// unavailable says why g cannot use v at the place where the check has arrived; "" when it can.
func (c *checker) unavailable(g *Graph, v *Value) string {
	if v.graph == nil {
		return "was removed from its graph"
	}
	if !g.inside(v.graph) {
		return "is a value of another graph, which is not around this one"
	}
	switch p := v.producer; {
	case p == nil || c.done[p]:
		return ""
	case c.open[p]:
		return "is computed by the node around this graph"
	default:
		return fmt.Sprintf("is computed only later, by %s: the nodes are in no topological order, or depend on each other", p.label())
	}
}

func (c *checker) node(g *Graph, n *Node) {
	if n.Op == "" {
		c.add("%s has no operator", n.label())
	}
	if !c.imports[canonicalDomain(n.Domain)] {
		c.add("%s: the domain %s is not imported", n.label(), quote(n.Domain))
	}
	for i, v := range n.inputs {
		if v == nil {
			continue
		}
		if why := c.unavailable(g, v); why != "" {
			c.add("%s: input %d, %s, %s", n.label(), i, quote(v.name), why)
		}
	}
	c.open[n] = true
	names := map[string]bool{}
	for _, a := range n.Attrs {
		if names[a.Name] {
			c.add("%s has two attributes %s", n.label(), quote(a.Name))
		}
		names[a.Name] = true
		c.attribute(n.label(), a)
		for _, s := range a.graphs() {
			c.graph(s)
		}
	}
	delete(c.open, n)
	c.done[n] = true
}

func (c *checker) attribute(owner string, a *Attribute) {
	what := fmt.Sprintf("%s: attribute %s", owner, quote(a.Name))
	switch {
	case a.Name == "":
		c.add("%s: an attribute without a name", owner)
	case a.Kind <= AttrUndefined || a.Kind > AttrTypeProtos:
		c.add("%s is of the unknown kind %d", what, a.Kind)
	case a.Ref != "" && c.attrs == nil:
		c.add("%s refers to attribute %s of a function, but stands in none", what, quote(a.Ref))
	case a.Ref != "" && !c.attrs[a.Ref]:
		c.add("%s refers to %s, which is no attribute of the function", what, quote(a.Ref))
	case a.Ref == "" && (a.Kind == AttrTensor && a.Tensor == nil || a.Kind == AttrGraph && a.Graph == nil || a.Kind == AttrTypeProto && a.Type == nil):
		c.add("%s has no value", what)
	}
	if a.Tensor != nil {
		c.tensor(what, a.Tensor)
	}
	for _, t := range a.Tensors {
		c.tensor(what, t)
	}
}

// tensor checks the bytes against type and dimensions. Raw and external data are not read for that.
func (c *checker) tensor(what string, t *Tensor) {
	n, ok := CountElements(t.Dims)
	switch {
	case !t.Type.Valid():
		c.add("%s is of the unknown element type %s", what, t.Type)
		return
	case !ok:
		c.add("%s has impossible dimensions %v", what, shorten(t.Dims))
		return
	}
	if err := t.Load(); err != nil {
		c.add("%v", err)
		return
	}
	if t.Type == String && int64(len(t.strs)) != n || t.Type != String && int64(len(t.data)) != t.Type.ByteSize(n) {
		c.add("%s has %d bytes and %d strings, which %s%v does not fit", what, len(t.data), len(t.strs), t.Type, shorten(t.Dims))
	}
}

// constType checks the declared type of an initializer against its tensor.
func (c *checker) constType(v *Value) {
	t := v.Type
	if t == nil {
		return
	}
	if t.Kind != KindTensor || t.Elem != v.constant.Type {
		c.add("initializer %s is declared as %s but has elements of %s", quote(v.name), t, v.constant.Type)
		return
	}
	if t.Shape == nil {
		return
	}
	fits := len(t.Shape) == len(v.constant.Dims)
	for i := 0; fits && i < len(t.Shape); i++ {
		fits = t.Shape[i].Size < 0 || t.Shape[i].Size == v.constant.Dims[i]
	}
	if !fits {
		c.add("initializer %s is declared as %s but has dimensions %v", quote(v.name), t, shorten(v.constant.Dims))
	}
}

// calls reports functions that are defined twice or that call themselves, directly or through others.
func (c *checker) calls(fs []*Function) {
	type key struct{ domain, name, overload string }
	byKey := map[key]*Function{}
	for _, f := range fs {
		k := key{canonicalDomain(f.Domain), f.Name, f.Overload}
		if byKey[k] != nil {
			c.add("function %s of domain %s is defined twice", quote(f.Name), quote(f.Domain))
		}
		byKey[k] = f
	}
	const visiting, done = 1, 2
	state := map[*Function]int{}
	var visit func(*Function)
	visit = func(f *Function) {
		state[f] = visiting
		for n := range f.Body.AllNodes() {
			callee := byKey[key{canonicalDomain(n.Domain), n.Op, n.Overload}]
			switch {
			case callee == nil || state[callee] == done:
			case state[callee] == visiting:
				c.add("function %s calls itself, at %s of function %s", quote(callee.Name), n.label(), quote(f.Name))
			default:
				visit(callee)
			}
		}
		state[f] = done
	}
	for _, f := range fs {
		if state[f] == 0 {
			visit(f)
		}
	}
}
