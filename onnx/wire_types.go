package onnx

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// typeOfProto returns the Type of a TypeProto; nil for nil.
func typeOfProto(p *onnxpb.TypeProto) *Type {
	if p == nil {
		return nil
	}
	t := modelledType(p)
	if !proto.Equal(regenerated(t), p) {
		t.origin, _ = proto.MarshalOptions{Deterministic: true}.Marshal(p) // it was unmarshalled a moment ago
	}
	return t
}

// modelledType returns what a Type models of p.
func modelledType(p *onnxpb.TypeProto) *Type {
	t := &Type{Denotation: p.GetDenotation()}
	switch v := p.GetValue().(type) {
	case *onnxpb.TypeProto_TensorType:
		t.Elem, t.Shape = DataType(v.TensorType.GetElemType()), shapeOfProto(v.TensorType.GetShape())
	case *onnxpb.TypeProto_SparseTensorType:
		t.Kind = KindSparse
		t.Elem, t.Shape = DataType(v.SparseTensorType.GetElemType()), shapeOfProto(v.SparseTensorType.GetShape())
	case *onnxpb.TypeProto_SequenceType:
		t.Kind, t.Inner = KindSequence, typeOfProto(v.SequenceType.GetElemType())
	case *onnxpb.TypeProto_OptionalType:
		t.Kind, t.Inner = KindOptional, typeOfProto(v.OptionalType.GetElemType())
	case *onnxpb.TypeProto_MapType:
		t.Kind, t.Elem, t.Inner = KindMap, DataType(v.MapType.GetKeyType()), typeOfProto(v.MapType.GetValueType())
	default:
		t.Kind = KindOpaque
	}
	return t
}

func shapeOfProto(p *onnxpb.TensorShapeProto) []Dim {
	if p == nil {
		return nil
	}
	dims := make([]Dim, len(p.Dim))
	for i, d := range p.Dim {
		switch v := d.GetValue().(type) {
		case *onnxpb.TensorShapeProto_Dimension_DimValue:
			dims[i] = Dim{Size: max(v.DimValue, -1)}
		case *onnxpb.TensorShapeProto_Dimension_DimParam:
			dims[i] = Symbol(v.DimParam)
		default:
			dims[i] = Symbol("")
		}
	}
	return dims
}

// typeProto returns the TypeProto of t: the one it came from while that still says the same, else a new one.
func typeProto(t *Type) *onnxpb.TypeProto {
	if t == nil {
		return nil
	}
	if t.origin != nil {
		p := &onnxpb.TypeProto{}
		mustUnmarshal(t.origin, p)
		if sameType(modelledType(p), t) {
			return p
		}
	}
	return regenerated(t)
}

func regenerated(t *Type) *onnxpb.TypeProto {
	p := &onnxpb.TypeProto{}
	put(&p.Denotation, t.Denotation)
	switch t.Kind {
	case KindTensor:
		v := &onnxpb.TypeProto_Tensor{Shape: shapeProto(t.Shape)}
		put(&v.ElemType, int32(t.Elem))
		p.Value = &onnxpb.TypeProto_TensorType{TensorType: v}
	case KindSparse:
		v := &onnxpb.TypeProto_SparseTensor{Shape: shapeProto(t.Shape)}
		put(&v.ElemType, int32(t.Elem))
		p.Value = &onnxpb.TypeProto_SparseTensorType{SparseTensorType: v}
	case KindSequence:
		p.Value = &onnxpb.TypeProto_SequenceType{SequenceType: &onnxpb.TypeProto_Sequence{ElemType: typeProto(t.Inner)}}
	case KindOptional:
		p.Value = &onnxpb.TypeProto_OptionalType{OptionalType: &onnxpb.TypeProto_Optional{ElemType: typeProto(t.Inner)}}
	case KindMap:
		v := &onnxpb.TypeProto_Map{ValueType: typeProto(t.Inner)}
		put(&v.KeyType, int32(t.Elem))
		p.Value = &onnxpb.TypeProto_MapType{MapType: v}
	}
	return p
}

func shapeProto(dims []Dim) *onnxpb.TensorShapeProto {
	if dims == nil {
		return nil
	}
	p := &onnxpb.TensorShapeProto{}
	for _, d := range dims {
		q := &onnxpb.TensorShapeProto_Dimension{}
		switch {
		case d.Size >= 0:
			q.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d.Size}
		case d.Param != "":
			q.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: d.Param}
		}
		p.Dim = append(p.Dim, q)
	}
	return p
}

// sameType reports whether a and b say the same, as far as Type models it.
func sameType(a, b *Type) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Kind == b.Kind && a.Elem == b.Elem && a.Denotation == b.Denotation && (a.Shape == nil) == (b.Shape == nil) &&
		slices.Equal(a.Shape, b.Shape) && sameType(a.Inner, b.Inner)
}

// describedType returns the Type of a TypeProto that names a kind; nil where it says nothing.
func describedType(p *onnxpb.TypeProto) *Type {
	if p.GetValue() == nil {
		return nil
	}
	return typeOfProto(p)
}
