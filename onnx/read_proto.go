package onnx

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// A decoder turns the decoded skeleton of a file into a Model. What it takes from a message it clears there: what is left
// is the remainder.
type decoder struct {
	src      *source
	data     [][][]byte            // by tensor number
	attached int                   // how many tensors have got their data
	nodes    [][]*onnxpb.NodeProto // of the graphs being read, outermost first, to tell a late definition from none
}

func (d *decoder) model(p *onnxpb.ModelProto) (*Model, error) {
	if p.Graph == nil {
		return nil, badModel("no graph inside: this is no ONNX model")
	}
	m := &Model{
		IRVersion:       take(&p.IrVersion),
		Opsets:          takeOpsets(&p.OpsetImport),
		Producer:        take(&p.ProducerName),
		ProducerVersion: take(&p.ProducerVersion),
		Domain:          take(&p.Domain),
		Version:         take(&p.ModelVersion),
		Doc:             take(&p.DocString),
		Metadata:        takeEntries(&p.MetadataProps),
		Graph:           NewGraph(""),
	}
	if err := d.graph(m.Graph, p.Graph); err != nil {
		return nil, err
	}
	for _, f := range p.Functions {
		fn, err := d.function(f)
		if err != nil {
			return nil, err
		}
		m.Functions = append(m.Functions, fn)
	}
	p.Graph, p.Functions = nil, nil
	var err error
	if m.extra, err = d.keep(p); err != nil {
		return nil, err
	}
	if d.attached != len(d.data) {
		return nil, badModel("a tensor is given in pieces")
	}
	return m, nil
}

func (d *decoder) function(p *onnxpb.FunctionProto) (*Function, error) {
	f := &Function{
		Name:       take(&p.Name),
		Domain:     take(&p.Domain),
		Overload:   take(&p.Overload),
		Doc:        take(&p.DocString),
		Opsets:     takeOpsets(&p.OpsetImport),
		Attributes: p.Attribute,
		Metadata:   takeEntries(&p.MetadataProps),
	}
	f.Body = NewGraph(f.Name)
	fail := func(err error) (*Function, error) {
		return nil, fmt.Errorf("function %s: %w", quote(f.Name), err)
	}
	for _, a := range p.AttributeProto {
		def, err := d.attribute(f.Body, nil, a)
		if err != nil {
			return fail(err)
		}
		f.Defaults = append(f.Defaults, def)
	}
	// The body is read as a graph whose inputs and outputs are bare names.
	g := &onnxpb.GraphProto{Node: p.Node, Input: bareInfos(p.Input), Output: bareInfos(p.Output), ValueInfo: p.ValueInfo}
	p.Attribute, p.AttributeProto, p.Node, p.Input, p.Output, p.ValueInfo = nil, nil, nil, nil, nil, nil
	name := f.Body.Name
	if err := d.graph(f.Body, g); err != nil {
		return fail(err)
	}
	f.Body.Name = name
	var err error
	f.extra, err = d.keep(p)
	return f, err
}

func bareInfos(names []string) []*onnxpb.ValueInfoProto {
	infos := make([]*onnxpb.ValueInfoProto, len(names))
	for i := range names {
		infos[i] = &onnxpb.ValueInfoProto{Name: &names[i]}
	}
	return infos
}

// graph fills the empty graph g, whose owner is set where it is a subgraph.
func (d *decoder) graph(g *Graph, p *onnxpb.GraphProto) error {
	g.Name, g.Doc, g.Metadata = take(&p.Name), take(&p.DocString), takeEntries(&p.MetadataProps)
	if err := d.graphContents(g, p); err != nil {
		if g.owner != nil || g.Name == "" {
			return err
		}
		return fmt.Errorf("graph %s: %w", quote(g.Name), err)
	}
	var err error
	g.extra, err = d.keep(p)
	return err
}

func (d *decoder) graphContents(g *Graph, p *onnxpb.GraphProto) error {
	described := map[*Value]bool{} // values that have got their ValueInfo
	for _, in := range p.Input {
		if err := d.free(g, in.GetName(), "graph input"); err != nil {
			return err
		}
		v := g.AddInput(in.GetName(), nil)
		if err := d.describe(v, in); err != nil {
			return err
		}
		described[v] = true
	}
	for _, init := range p.Initializer {
		name := init.GetName()
		init.Name = nil
		t, err := d.tensor(init, "initializer "+quote(name))
		if err != nil {
			return err
		}
		if err := d.initializer(g, name, t); err != nil {
			return err
		}
	}
	for _, init := range p.SparseInitializer {
		name := init.GetValues().GetName()
		t, err := d.sparse(init, name)
		if err != nil {
			return err
		}
		if err := d.initializer(g, name, t); err != nil {
			return err
		}
	}
	d.nodes = append(d.nodes, p.Node)
	for _, n := range p.Node {
		if err := d.node(g, n); err != nil {
			return err
		}
	}
	d.nodes = d.nodes[:len(d.nodes)-1]
	for _, out := range p.Output {
		v := g.Lookup(out.GetName())
		if v == nil {
			return badModel("graph output %s is defined by nothing", quote(out.GetName()))
		}
		g.AddOutput(v)
		if err := d.mention(g, v, inOutputs, out, described); err != nil {
			return err
		}
	}
	for _, vi := range p.ValueInfo {
		v := g.values[vi.GetName()]
		if v == nil || v.listed {
			name := vi.GetName()
			orphan, err := d.keep(vi)
			if err != nil {
				return err
			}
			g.infos = append(g.infos, info{name: name, orphan: orphan})
			continue
		}
		v.listed = true
		g.infos = append(g.infos, info{value: v})
		if err := d.mention(g, v, inValueInfo, vi, described); err != nil {
			return err
		}
	}
	p.Input, p.Initializer, p.SparseInitializer, p.Node, p.Output, p.ValueInfo = nil, nil, nil, nil, nil, nil
	return nil
}

// free checks that a name can be given to a new value of g.
func (d *decoder) free(g *Graph, name, what string) error {
	switch {
	case name == "":
		return badModel("%s without a name", what)
	case g.values[name] != nil:
		return badModel("%s %s: the name is defined twice", what, quote(name))
	}
	return nil
}

func (d *decoder) initializer(g *Graph, name string, t *Tensor) error {
	v := g.values[name]
	if v == nil || v.constant != nil {
		if err := d.free(g, name, "initializer"); err != nil {
			return err
		}
		v = g.define(&Value{name: name, Type: typeOfTensor(t)})
	}
	v.constant = t
	g.consts = append(g.consts, v)
	return nil
}

// describe gives v what a ValueInfo says. It clears p.
func (d *decoder) describe(v *Value, p *onnxpb.ValueInfoProto) error {
	p.Name = nil
	v.Doc, v.Metadata = take(&p.DocString), takeEntries(&p.MetadataProps)
	if t := describedType(p.Type); t != nil {
		v.Type = t
		p.Type = nil
	}
	var err error
	v.extra, err = d.keep(p)
	return err
}

// The lists of a graph that a value can stand in beside its definition.
type infoList int

const (
	inOutputs infoList = iota
	inValueInfo
)

// A mention is a value's place in a list of a graph.
type mention struct {
	value *Value
	list  infoList
}

// A restated value is one whose ValueInfo in a second list differs from that in the first. It counts while the value
// keeps its type.
type restated struct {
	wire []byte // the ValueInfoProto
	typ  *Type
}

// An info is an entry of value_info: a value, or the remainder of an entry that no value of the graph owns.
type info struct {
	value  *Value
	name   string // of an orphan
	orphan *remainder
}

// mention handles a further ValueInfo of v: the first describes it, later ones are kept where they differ.
func (d *decoder) mention(g *Graph, v *Value, list infoList, p *onnxpb.ValueInfoProto, described map[*Value]bool) error {
	if v.graph == g && !described[v] {
		described[v] = true
		original := proto.Clone(p).(*onnxpb.ValueInfoProto)
		if err := d.describe(v, p); err != nil || v.constant == nil {
			return err
		}
		p = original // an initializer has a type of its own even where the list gives none
	}
	if !proto.Equal(p, (&encoder{}).info(v)) {
		wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if err != nil {
			return err
		}
		if g.mentions == nil {
			g.mentions = map[mention]restated{}
		}
		g.mentions[mention{v, list}] = restated{wire, v.Type}
	}
	return nil
}

func (d *decoder) node(g *Graph, p *onnxpb.NodeProto) error {
	label := nodeLabel(p.GetName(), p.GetOpType(), p.Output)
	n := &Node{
		Name:     take(&p.Name),
		Op:       take(&p.OpType),
		Domain:   take(&p.Domain),
		Overload: take(&p.Overload),
		Doc:      take(&p.DocString),
		Metadata: takeEntries(&p.MetadataProps),
		graph:    g,
	}
	for i, name := range p.Input {
		if name == "" {
			n.inputs = append(n.inputs, nil)
			continue
		}
		v := g.Lookup(name)
		if v == nil {
			return fmt.Errorf("%s: input %d takes %s, %w", label, i, quote(name), d.undefined(name))
		}
		n.SetInput(i, v)
	}
	g.link(n, g.last)
	for _, a := range p.Attribute {
		attr, err := d.attribute(g, n, a)
		if err != nil {
			return fmt.Errorf("%s: %w", label, err)
		}
		n.Attrs = append(n.Attrs, attr)
	}
	for i, name := range p.Output {
		if name == "" {
			n.outputs = append(n.outputs, nil)
			continue
		}
		if err := d.free(g, name, "output"); err != nil {
			return fmt.Errorf("%s: %w", label, err)
		}
		n.outputs = append(n.outputs, g.define(&Value{name: name, producer: n, index: i}))
	}
	p.Input, p.Output, p.Attribute = nil, nil, nil
	var err error
	n.extra, err = d.keep(p)
	return err
}

// undefined says why a name is not known to a node that takes it.
func (d *decoder) undefined(name string) error {
	for _, nodes := range d.nodes {
		for _, n := range nodes {
			for _, o := range n.Output {
				if o == name {
					return badModel("which only the later %s computes: the nodes are in no topological order, or depend on each other",
						nodeLabel(n.GetName(), n.GetOpType(), n.Output))
				}
			}
		}
	}
	return badModel("which nothing defines")
}

// attrFlags tell what a file left out of an attribute.
type attrFlags uint8

const (
	attrUntyped attrFlags = 1 << iota // no type: Kind was told from the value
	attrEmpty                         // no value
)

func (d *decoder) attribute(g *Graph, n *Node, p *onnxpb.AttributeProto) (*Attribute, error) {
	a := &Attribute{Name: take(&p.Name), Ref: take(&p.RefAttrName), Doc: take(&p.DocString), Kind: AttrKind(take(&p.Type))}
	if a.Kind == AttrUndefined && p.Type == nil {
		// IR version 1 knew no types.
		if k := kindOf(p); k != AttrUndefined {
			a.Kind = k
			a.flags |= attrUntyped
		}
	}
	fail := func(err error) (*Attribute, error) { return nil, fmt.Errorf("attribute %s: %w", quote(a.Name), err) }
	subgraph := func(p *onnxpb.GraphProto) (*Graph, error) {
		s := NewGraph("")
		s.owner = n // nil where the attribute is a function's default: such a graph sees nothing around it
		return s, d.graph(s, p)
	}
	var err error
	empty := false
	switch a.Kind {
	case AttrFloat:
		empty = p.F == nil
		if a.Float = p.GetF(); a.Float != 0 || a.Ref == "" {
			p.F = nil
		}
	case AttrInt:
		empty = p.I == nil
		if a.Int = p.GetI(); a.Int != 0 || a.Ref == "" {
			p.I = nil
		}
	case AttrString:
		empty = p.S == nil
		if a.Bytes = p.S; len(a.Bytes) > 0 || a.Ref == "" {
			p.S = nil
		}
	case AttrTensor:
		if empty = p.T == nil; !empty {
			if a.Tensor, err = d.tensor(p.T, "tensor"); err != nil {
				return fail(err)
			}
			p.T = nil
		}
	case AttrGraph:
		if empty = p.G == nil; !empty {
			if a.Graph, err = subgraph(p.G); err != nil {
				return fail(err)
			}
			p.G = nil
		}
	case AttrTypeProto:
		if empty = describedType(p.Tp) == nil; !empty {
			a.Type, p.Tp = describedType(p.Tp), nil
		}
	case AttrFloats:
		a.Floats, p.Floats = p.Floats, nil
	case AttrInts:
		a.Ints, p.Ints = p.Ints, nil
	case AttrStrings:
		a.Strings, p.Strings = p.Strings, nil
	case AttrTensors:
		for _, t := range p.Tensors {
			x, err := d.tensor(t, "tensor")
			if err != nil {
				return fail(err)
			}
			a.Tensors = append(a.Tensors, x)
		}
		p.Tensors = nil
	case AttrGraphs:
		for _, q := range p.Graphs {
			s, err := subgraph(q)
			if err != nil {
				return fail(err)
			}
			a.Graphs = append(a.Graphs, s)
		}
		p.Graphs = nil
	case AttrTypeProtos:
		for _, t := range p.TypeProtos {
			a.Types = append(a.Types, typeOfProto(t))
		}
		p.TypeProtos = nil
	}
	if empty {
		a.flags |= attrEmpty
	}
	if a.extra, err = d.keep(p); err != nil {
		return fail(err)
	}
	return a, nil
}

// kindOf tells an attribute's kind from the field that is set.
func kindOf(p *onnxpb.AttributeProto) AttrKind {
	for _, f := range []struct {
		set  bool
		kind AttrKind
	}{
		{p.F != nil, AttrFloat},
		{p.I != nil, AttrInt},
		{p.S != nil, AttrString},
		{p.T != nil, AttrTensor},
		{p.G != nil, AttrGraph},
		{p.SparseTensor != nil, AttrSparseTensor},
		{p.Tp != nil, AttrTypeProto},
		{len(p.Floats) > 0, AttrFloats},
		{len(p.Ints) > 0, AttrInts},
		{len(p.Strings) > 0, AttrStrings},
		{len(p.Tensors) > 0, AttrTensors},
		{len(p.Graphs) > 0, AttrGraphs},
		{len(p.SparseTensors) > 0, AttrSparseTensors},
		{len(p.TypeProtos) > 0, AttrTypeProtos},
	} {
		if f.set {
			return f.kind
		}
	}
	return AttrUndefined
}
