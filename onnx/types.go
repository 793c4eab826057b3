package onnx

import (
	"strconv"
	"strings"
)

// A Dim is one dimension of a shape: a size, a symbol, or unknown.
type Dim struct {
	Size  int64  // ≥ 0, or -1 when it is not fixed
	Param string // symbolic name; may be empty when Size is -1
}

// Fixed returns a Dim of the given size.
func Fixed(n int64) Dim { return Dim{Size: n} }

// Symbol returns a Dim that is not fixed, with a name (may be empty).
func Symbol(name string) Dim { return Dim{Size: -1, Param: name} }

func (d Dim) String() string {
	switch {
	case d.Size >= 0:
		return strconv.FormatInt(d.Size, 10)
	case d.Param != "":
		return d.Param
	}
	return "?"
}

// Kind says which of ONNX's kinds of type a Type is.
type Kind int

// The kinds of type.
const (
	KindTensor Kind = iota
	KindSparse
	KindSequence
	KindMap
	KindOptional
	KindOpaque // or of a kind this package does not know: kept, not modelled
)

// A Type is the type of a Value. Shape is nil when the rank is unknown; an empty, non-nil Shape is a scalar's.
type Type struct {
	Kind       Kind
	Elem       DataType // element type of a tensor, key type of a map
	Shape      []Dim
	Inner      *Type // element of a sequence or optional, value of a map
	Denotation string
	origin     []byte // the TypeProto it came from, where that holds more than this
}

// TensorOf returns a tensor type. Without dims it has no known rank; use Scalar for rank 0.
func TensorOf(t DataType, dims ...Dim) *Type { return &Type{Elem: t, Shape: dims} }

// ScalarOf returns the type of a tensor of rank 0.
func ScalarOf(t DataType) *Type { return &Type{Elem: t, Shape: []Dim{}} }

// Clone returns a deep copy; nil stays nil.
func (t *Type) Clone() *Type {
	if t == nil {
		return nil
	}
	c := *t
	if t.Shape != nil {
		c.Shape = append([]Dim{}, t.Shape...)
	}
	c.Inner = t.Inner.Clone()
	return &c
}

// String is the text form: f32[N,3,224,224], seq(f32[?]), f32 with unknown rank as f32[...].
func (t *Type) String() string {
	if t == nil {
		return "?"
	}
	switch t.Kind {
	case KindSequence:
		return "seq(" + t.Inner.String() + ")"
	case KindOptional:
		return "optional(" + t.Inner.String() + ")"
	case KindMap:
		return "map(" + t.Elem.String() + "," + t.Inner.String() + ")"
	case KindOpaque:
		return "opaque"
	}
	var b strings.Builder
	if t.Kind == KindSparse {
		b.WriteString("sparse ")
	}
	b.WriteString(t.Elem.String())
	if t.Shape == nil {
		b.WriteString("[...]")
		return b.String()
	}
	b.WriteByte('[')
	for i, d := range t.Shape {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(d.String())
	}
	b.WriteByte(']')
	return b.String()
}
