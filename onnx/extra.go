package onnx

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// A remainder is what a protobuf message carried beyond the fields this package models, unknown fields included: the
// decoded message with the modelled fields cleared. A modelled field that is present with its zero value stays, because
// proto2 tells that from an absent one. Writing starts from the remainder and lays the modelled fields over it.
type remainder struct {
	wire    []byte    // the serialized message; raw_data of a tensor inside holds its number in tensors
	tensors []*Tensor // the tensors inside
}

// keep returns the remainder m; nil when m is empty. It changes m.
func (d *decoder) keep(m proto.Message) (*remainder, error) {
	if proto.Size(m) == 0 {
		return nil, nil
	}
	r := &remainder{}
	err := eachTensor(m.ProtoReflect(), func(p *onnxpb.TensorProto) error {
		stub := proto.Clone(p).(*onnxpb.TensorProto)
		t, err := d.tensor(stub, "a "+string(m.ProtoReflect().Descriptor().Name()))
		if err != nil {
			return err
		}
		p.RawData = tensorNumber(len(r.tensors))
		r.tensors = append(r.tensors, t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.wire, err = proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return r, err
}

// restore fills the empty message m with the remainder; nil leaves it empty.
func (r *remainder) restore(m proto.Message, e *encoder) {
	if r == nil {
		return
	}
	mustUnmarshal(r.wire, m)
	err := eachTensor(m.ProtoReflect(), func(p *onnxpb.TensorProto) error {
		t := r.tensors[tensorIndex(p)]
		proto.Reset(p)
		proto.Merge(p, e.tensor(t))
		return nil
	})
	if err != nil {
		e.fail(err)
	}
}

// mustUnmarshal decodes what this package serialized itself.
func mustUnmarshal(b []byte, m proto.Message) {
	if err := proto.Unmarshal(b, m); err != nil {
		panic("onnx: damaged remainder: " + err.Error())
	}
}

// eachTensor calls f for every TensorProto in m.
func eachTensor(m protoreflect.Message, f func(*onnxpb.TensorProto) error) (err error) {
	if p, ok := m.Interface().(*onnxpb.TensorProto); ok {
		return f(p)
	}
	// By field, not by Range, whose order is not defined.
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Message() == nil || !m.Has(fd) {
			continue
		}
		if !fd.IsList() {
			if err := eachTensor(m.Get(fd).Message(), f); err != nil {
				return err
			}
			continue
		}
		for k, list := 0, m.Get(fd).List(); k < list.Len(); k++ {
			if err := eachTensor(list.Get(k).Message(), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// take returns the value of an optional field and clears it; a zero value that is present stays.
func take[T comparable](field **T) T {
	var zero T
	if *field == nil {
		return zero
	}
	v := **field
	if v != zero {
		*field = nil
	}
	return v
}

// put sets an optional field to a value that is not zero.
func put[T comparable](field **T, v T) {
	var zero T
	if v != zero {
		*field = &v
	}
}

// takeList returns the modelled values of a list of messages. It clears the list where toProto gives it back from them.
func takeList[T any, P proto.Message](list *[]P, fromProto func(P) T, toProto func(T) P) []T {
	var out []T
	same := true
	for _, p := range *list {
		v := fromProto(p)
		out = append(out, v)
		same = same && proto.Equal(p, toProto(v))
	}
	if same {
		*list = nil
	}
	return out
}

// putList is the inverse of takeList: messages that takeList left are taken where they still stand for the same value.
func putList[T comparable, P proto.Message](list *[]P, values []T, fromProto func(P) T, toProto func(T) P) {
	old := *list
	*list = nil
	for i, v := range values {
		if i < len(old) && fromProto(old[i]) == v {
			*list = append(*list, old[i])
		} else {
			*list = append(*list, toProto(v))
		}
	}
}

func entryOf(p *onnxpb.StringStringEntryProto) Entry { return Entry{p.GetKey(), p.GetValue()} }

func entryProto(e Entry) *onnxpb.StringStringEntryProto {
	return &onnxpb.StringStringEntryProto{Key: &e.Key, Value: &e.Value}
}

func opsetOf(p *onnxpb.OperatorSetIdProto) Opset { return Opset{p.GetDomain(), p.GetVersion()} }

func opsetProto(o Opset) *onnxpb.OperatorSetIdProto {
	return &onnxpb.OperatorSetIdProto{Domain: &o.Domain, Version: &o.Version}
}

func takeEntries(list *[]*onnxpb.StringStringEntryProto) []Entry {
	return takeList(list, entryOf, entryProto)
}

func putEntries(list *[]*onnxpb.StringStringEntryProto, es []Entry) {
	putList(list, es, entryOf, entryProto)
}

func takeOpsets(list *[]*onnxpb.OperatorSetIdProto) []Opset {
	return takeList(list, opsetOf, opsetProto)
}

func putOpsets(list *[]*onnxpb.OperatorSetIdProto, os []Opset) {
	putList(list, os, opsetOf, opsetProto)
}
