package onnx

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// An encoder turns a Model into a protobuf skeleton, in which tensors hold the number of their data.
type encoder struct {
	data     [][][]byte    // by tensor number: whole data fields, tags included
	external *externalPlan // nil: everything goes into the model file
	err      error         // the first error
}

// encode returns the pieces of the serialized model, and their total size.
func (e *encoder) encode(m *Model) (pieces [][]byte, size int64, err error) {
	p := e.model(m)
	if e.err != nil {
		return nil, 0, e.err
	}
	skeleton, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil, 0, err
	}
	pieces, size = splice(modelMessage, skeleton, e.data)
	return pieces, size, nil
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

func (e *encoder) model(m *Model) *onnxpb.ModelProto {
	p := &onnxpb.ModelProto{}
	m.extra.restore(p, e)
	put(&p.IrVersion, m.IRVersion)
	putOpsets(&p.OpsetImport, m.Opsets)
	put(&p.ProducerName, m.Producer)
	put(&p.ProducerVersion, m.ProducerVersion)
	put(&p.Domain, m.Domain)
	put(&p.ModelVersion, m.Version)
	put(&p.DocString, m.Doc)
	putEntries(&p.MetadataProps, m.Metadata)
	p.Graph = e.graph(m.Graph)
	for _, f := range m.Functions {
		p.Functions = append(p.Functions, e.function(f))
	}
	return p
}

func (e *encoder) function(f *Function) *onnxpb.FunctionProto {
	p := &onnxpb.FunctionProto{}
	f.extra.restore(p, e)
	put(&p.Name, f.Name)
	put(&p.Domain, f.Domain)
	put(&p.Overload, f.Overload)
	put(&p.DocString, f.Doc)
	putOpsets(&p.OpsetImport, f.Opsets)
	p.Attribute = f.Attributes
	putEntries(&p.MetadataProps, f.Metadata)
	for _, a := range f.Defaults {
		p.AttributeProto = append(p.AttributeProto, e.attribute(a))
	}
	for _, v := range f.Body.inputs {
		p.Input = append(p.Input, v.name)
	}
	for _, v := range f.Body.outputs {
		p.Output = append(p.Output, v.name)
	}
	p.Node = e.nodes(f.Body)
	p.ValueInfo = e.valueInfos(f.Body)
	return p
}

func (e *encoder) graph(g *Graph) *onnxpb.GraphProto {
	p := &onnxpb.GraphProto{}
	g.extra.restore(p, e)
	put(&p.Name, g.Name)
	put(&p.DocString, g.Doc)
	putEntries(&p.MetadataProps, g.Metadata)
	for _, v := range g.inputs {
		p.Input = append(p.Input, e.info(v))
	}
	for _, v := range g.consts {
		if s := v.constant.source; s != nil && s.sparse != nil {
			p.SparseInitializer = append(p.SparseInitializer, e.sparse(v))
			continue
		}
		t := e.tensor(v.constant)
		t.Name = &v.name
		p.Initializer = append(p.Initializer, t)
	}
	p.Node = e.nodes(g)
	for _, v := range g.outputs {
		p.Output = append(p.Output, e.mention(g, v, inOutputs))
	}
	p.ValueInfo = e.valueInfos(g)
	return p
}

// valueInfos lists what the file listed, as far as it still exists, then further node outputs whose type is known.
func (e *encoder) valueInfos(g *Graph) []*onnxpb.ValueInfoProto {
	var ps []*onnxpb.ValueInfoProto
	for _, i := range g.infos {
		switch {
		case i.value == nil:
			p := &onnxpb.ValueInfoProto{}
			i.orphan.restore(p, e)
			ps = append(ps, p)
		case i.value.graph == g:
			ps = append(ps, e.mention(g, i.value, inValueInfo))
		}
	}
	for n := range g.Nodes() {
		for _, v := range n.outputs {
			if v != nil && v.Type != nil && !v.listed && !v.IsOutput() {
				ps = append(ps, e.info(v))
			}
		}
	}
	return ps
}

// info returns the ValueInfo of v.
func (e *encoder) info(v *Value) *onnxpb.ValueInfoProto {
	p := &onnxpb.ValueInfoProto{}
	v.extra.restore(p, e)
	p.Name = &v.name
	put(&p.DocString, v.Doc)
	putEntries(&p.MetadataProps, v.Metadata)
	if v.Type != nil {
		p.Type = typeProto(v.Type)
	}
	return p
}

// mention returns the ValueInfo of v for one of g's lists.
func (e *encoder) mention(g *Graph, v *Value, list infoList) *onnxpb.ValueInfoProto {
	if r, ok := g.mentions[mention{v, list}]; ok && r.typ == v.Type {
		p := &onnxpb.ValueInfoProto{}
		mustUnmarshal(r.wire, p)
		p.Name = &v.name
		return p
	}
	return e.info(v)
}

func (e *encoder) nodes(g *Graph) []*onnxpb.NodeProto {
	var ps []*onnxpb.NodeProto
	for n := range g.Nodes() {
		p := &onnxpb.NodeProto{}
		n.extra.restore(p, e)
		put(&p.Name, n.Name)
		put(&p.OpType, n.Op)
		put(&p.Domain, n.Domain)
		put(&p.Overload, n.Overload)
		put(&p.DocString, n.Doc)
		putEntries(&p.MetadataProps, n.Metadata)
		p.Input, p.Output = valueNames(n.inputs), valueNames(n.outputs)
		for _, a := range n.Attrs {
			p.Attribute = append(p.Attribute, e.attribute(a))
		}
		ps = append(ps, p)
	}
	return ps
}

func valueNames(vs []*Value) []string {
	var names []string
	for _, v := range vs {
		if v == nil {
			names = append(names, "")
		} else {
			names = append(names, v.name)
		}
	}
	return names
}

func (e *encoder) attribute(a *Attribute) *onnxpb.AttributeProto {
	p := &onnxpb.AttributeProto{}
	a.extra.restore(p, e)
	put(&p.Name, a.Name)
	put(&p.RefAttrName, a.Ref)
	put(&p.DocString, a.Doc)
	if a.flags&attrUntyped == 0 {
		put(&p.Type, onnxpb.AttributeProto_AttributeType(a.Kind))
	}
	absent := a.flags&attrEmpty != 0 || a.Ref != "" // a zero value was not written, or is another attribute's to give
	switch a.Kind {
	case AttrFloat:
		if math.Float32bits(a.Float) != 0 || !absent {
			p.F = &a.Float
		}
	case AttrInt:
		if a.Int != 0 || !absent {
			p.I = &a.Int
		}
	case AttrString:
		if len(a.Bytes) > 0 || !absent {
			p.S = append([]byte{}, a.Bytes...)
		}
	case AttrTensor:
		if a.Tensor != nil {
			p.T = e.tensor(a.Tensor)
		}
	case AttrGraph:
		if a.Graph != nil {
			p.G = e.graph(a.Graph)
		}
	case AttrTypeProto:
		if a.Type != nil {
			p.Tp = typeProto(a.Type)
		}
	case AttrFloats:
		p.Floats = a.Floats
	case AttrInts:
		p.Ints = a.Ints
	case AttrStrings:
		p.Strings = a.Strings
	case AttrTensors:
		for _, t := range a.Tensors {
			p.Tensors = append(p.Tensors, e.tensor(t))
		}
	case AttrGraphs:
		for _, g := range a.Graphs {
			p.Graphs = append(p.Graphs, e.graph(g))
		}
	case AttrTypeProtos:
		for _, t := range a.Types {
			p.TypeProtos = append(p.TypeProtos, typeProto(t))
		}
	}
	return p
}

// tensor returns the TensorProto of t without elements; those are entered in e.data.
func (e *encoder) tensor(t *Tensor) *onnxpb.TensorProto {
	p := &onnxpb.TensorProto{}
	s := t.source
	if s != nil {
		mustUnmarshal(s.rest, p)
	}
	p.Dims = t.Dims
	put(&p.DataType, int32(t.Type))
	p.RawData = tensorNumber(len(e.data))
	var pieces [][]byte
	switch {
	case e.external.add(t, p, e):
	case s != nil && s.external == nil && s.sparse == nil && s.dtype == t.Type:
		pieces = s.pieces
	default:
		pieces = e.elements(t)
		p.ExternalData, p.DataLocation = nil, nil
	}
	e.data = append(e.data, pieces)
	return p
}

// elements returns the data fields for tensors that no file stored as they are now.
func (e *encoder) elements(t *Tensor) [][]byte {
	if err := t.Load(); err != nil {
		e.fail(err)
		return nil
	}
	if t.Type == String {
		var b []byte
		for _, s := range t.strs {
			b = protowire.AppendTag(b, stringData, protowire.BytesType)
			b = protowire.AppendBytes(b, s)
		}
		return [][]byte{b}
	}
	if t.Type == Undefined {
		return nil
	}
	head := protowire.AppendTag(nil, rawData, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(t.data)))
	return [][]byte{head, t.data}
}

func (e *encoder) sparse(v *Value) *onnxpb.SparseTensorProto {
	p := &onnxpb.SparseTensorProto{}
	v.constant.source.sparse.restore(p, e)
	if p.Values == nil {
		p.Values = &onnxpb.TensorProto{}
	}
	p.Values.Name = &v.name
	return p
}
