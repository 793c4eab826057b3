package onnx

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// protobuf-go copies every bytes field and decodes every typed one. So that a tensor's elements are neither, reading and
// writing keep them out of its sight: cut takes them out of a file and leaves a skeleton, in which raw_data holds the
// number of the tensor; splice puts them back while writing.

// A message is a message type of the schema as the wire walk needs it.
type message struct {
	name    string
	memory  int64   // rough bytes of one decoded message
	fields  []field // by number
	tensors bool    // a TensorProto can be inside
}

type field struct {
	name     string
	wire     protowire.Type // of one element
	known    bool
	packable bool
	data     bool     // holds a tensor's elements
	sub      *message // of a message field
	memory   int64    // rough bytes of one decoded element
}

// The messages that a file can be.
const (
	modelMessage  = "ModelProto"
	tensorMessage = "TensorProto"
)

// Numbers of TensorProto's fields that hold elements.
const (
	floatData  = 4
	int32Data  = 5
	stringData = 6
	int64Data  = 7
	rawData    = 9
	doubleData = 10
	uint64Data = 11
)

// maxDepth bounds how deep messages nest: about 100 graphs in each other (graph, node, attribute).
const maxDepth = 320

// schema describes the messages by name.
var schema = sync.OnceValue(func() map[protoreflect.Name]*message {
	all := map[protoreflect.Name]*message{}
	describe((*onnxpb.ModelProto)(nil).ProtoReflect().Descriptor(), all)
	return all
})

func describe(d protoreflect.MessageDescriptor, all map[protoreflect.Name]*message) *message {
	if m := all[d.Name()]; m != nil {
		return m
	}
	m := &message{name: string(d.Name())}
	all[d.Name()] = m
	if t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName()); err == nil {
		m.memory = 16 + int64(reflect.TypeOf(t.Zero().Interface()).Elem().Size())
	}
	isTensor := d.Name() == tensorMessage
	m.tensors = isTensor
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		for len(m.fields) <= int(f.Number()) {
			m.fields = append(m.fields, field{})
		}
		w := field{name: string(f.Name()), known: true, memory: 16, wire: protowire.VarintType}
		switch f.Kind() {
		case protoreflect.MessageKind:
			w.sub = describe(f.Message(), all)
			w.wire = protowire.BytesType
		case protoreflect.StringKind, protoreflect.BytesKind:
			w.wire, w.memory = protowire.BytesType, 48
		case protoreflect.FloatKind:
			w.wire = protowire.Fixed32Type
		case protoreflect.DoubleKind:
			w.wire = protowire.Fixed64Type
		}
		w.packable = f.IsList() && w.wire != protowire.BytesType
		if isTensor {
			switch f.Number() {
			case floatData, int32Data, stringData, int64Data, rawData, doubleData, uint64Data:
				w.data = true
			}
		}
		m.fields[f.Number()] = w
	}
	// Whether tensors are inside is known only when the whole (recursive) schema is; graphs nest only where tensors do too.
	for _, f := range m.fields {
		m.tensors = m.tensors || f.sub != nil && f.sub.tensors
	}
	return m
}

func (m *message) field(num protowire.Number, typ protowire.Type) *field {
	if int(num) >= len(m.fields) {
		return nil
	}
	f := &m.fields[num]
	if !f.known || typ != f.wire && !(f.packable && typ == protowire.BytesType) {
		return nil // protobuf keeps a known number with another wire type as an unknown field
	}
	return f
}

// next splits the first field off b.
func (m *message) next(b []byte) (num protowire.Number, typ protowire.Type, tag, size int, err error) {
	num, typ, tag = protowire.ConsumeTag(b)
	if tag < 0 {
		return 0, 0, 0, 0, badModel("damaged %s: %v", m.name, protowire.ParseError(tag))
	}
	n := protowire.ConsumeFieldValue(num, typ, b[tag:])
	if n < 0 {
		name := fmt.Sprintf("field %d", num)
		if f := m.field(num, typ); f != nil {
			name = f.name
		}
		return 0, 0, 0, 0, badModel("damaged or truncated: %s of %s: %v", name, m.name, protowire.ParseError(n))
	}
	return num, typ, tag, tag + n, nil
}

// A cutter makes the skeleton of a serialized message.
type cutter struct {
	size   int      // of the file
	budget int64    // bytes of memory that the decoded skeleton may still take
	data   [][]span // of each tensor in order: its data fields
}

// A span is a part of the file: [from, to).
type span struct{ from, to int }

// cut returns the skeleton of a serialized message and, of each tensor inside, the data fields as they stand in b.
func cut(name protoreflect.Name, b []byte) (skeleton []byte, data [][][]byte, err error) {
	b = b[:len(b):len(b)] // so that the capacity of what is left tells the place
	c := &cutter{size: len(b), budget: 4*int64(len(b)) + 64<<20}
	if skeleton, err = c.cut(nil, schema()[name], b, 0); err != nil {
		return nil, nil, err
	}
	data = make([][][]byte, len(c.data))
	for i, spans := range c.data {
		for _, s := range spans {
			data[i] = append(data[i], b[s.from:s.to:s.to])
		}
	}
	return skeleton, data, nil
}

func (c *cutter) spend(n int64) error {
	if c.budget -= n; c.budget < 0 {
		return badModel("its messages and lists would take more than %d MB of memory, four times its size and 64 MB: refused", (4*c.size+64<<20)>>20)
	}
	return nil
}

func (c *cutter) cut(dst []byte, m *message, b []byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, badModel("%s nested too deep", m.name)
	}
	if err := c.spend(m.memory); err != nil {
		return nil, err
	}
	tensor := -1
	if m.name == tensorMessage {
		tensor = len(c.data)
		c.data = append(c.data, nil)
	}
	for len(b) > 0 {
		num, typ, tag, size, err := m.next(b)
		if err != nil {
			return nil, err
		}
		f, from, whole, value := m.field(num, typ), c.size-cap(b), b[:size], b[tag:size]
		b = b[size:]
		switch {
		case f != nil && f.data:
			if spans := c.data[tensor]; len(spans) > 0 && spans[len(spans)-1].to == from {
				spans[len(spans)-1].to += size
				continue
			}
			if err := c.spend(96); err != nil {
				return nil, err
			}
			c.data[tensor] = append(c.data[tensor], span{from, from + size})
			continue
		case f != nil && f.sub != nil:
			// A length of fixed width leaves room for what is not known yet.
			body, _ := protowire.ConsumeBytes(value)
			dst = append(dst, whole[:tag]...)
			at := len(dst)
			dst = append(dst, 0, 0, 0, 0, 0)
			if dst, err = c.cut(dst, f.sub, body, depth+1); err != nil {
				return nil, err
			}
			putLength(dst[at:], len(dst)-at-5)
			continue
		case f == nil:
			err = c.spend(int64(2 * size))
		case f.packable && typ == protowire.BytesType:
			err = c.spend(8 * countPacked(f.wire, value))
		case f.wire == protowire.BytesType:
			err = c.spend(f.memory + int64(size))
		default:
			err = c.spend(f.memory)
		}
		if err != nil {
			return nil, err
		}
		dst = append(dst, whole...)
	}
	if tensor >= 0 {
		dst = protowire.AppendTag(dst, rawData, protowire.BytesType)
		dst = protowire.AppendBytes(dst, tensorNumber(tensor))
	}
	return dst, nil
}

// putLength writes a varint of exactly five bytes.
func putLength(b []byte, n int) {
	for i := range 4 {
		b[i] = byte(n>>(7*i)) | 0x80
	}
	b[4] = byte(n >> 28)
}

func countPacked(elem protowire.Type, value []byte) int64 {
	b, _ := protowire.ConsumeBytes(value)
	switch elem {
	case protowire.Fixed32Type:
		return int64(len(b) / 4)
	case protowire.Fixed64Type:
		return int64(len(b) / 8)
	}
	return countVarints(b)
}

func countVarints(b []byte) int64 {
	n := int64(0)
	for _, x := range b {
		n += int64(^x >> 7) // the last byte of a varint has the high bit clear
	}
	return n
}

// tensorNumber is what stands in raw_data of a skeleton; tensorIndex reads it back.
func tensorNumber(i int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(i)) }

func tensorIndex(p *onnxpb.TensorProto) int { return int(binary.LittleEndian.Uint64(p.RawData)) }

// A splicer puts tensor data back into a skeleton. The result is a list of pieces, to be written one after the other.
type splicer struct {
	data   [][][]byte // by tensor number
	pieces [][]byte
}

// splice returns the pieces of the serialized message whose skeleton is b, and their total size.
func splice(name protoreflect.Name, b []byte, data [][][]byte) (pieces [][]byte, size int64) {
	s := &splicer{data: data}
	size, _ = s.splice(schema()[name], b)
	return s.pieces, size
}

// splice appends the pieces of a message of type m. It reports their size and whether there was data to put in.
func (s *splicer) splice(m *message, b []byte) (size int64, changed bool) {
	start := 0 // b[start:at] is copied as it is
	for at := 0; at < len(b); {
		num, typ, tag, n, err := m.next(b[at:])
		if err != nil {
			panic("onnx: damaged skeleton: " + err.Error()) // proto.Marshal made it
		}
		f := m.field(num, typ)
		next := at + n
		switch {
		case f != nil && f.data:
			number, _ := protowire.ConsumeBytes(b[at+tag : next])
			size += s.put(b[start:at])
			for _, p := range s.data[binary.LittleEndian.Uint64(number)] {
				size += s.put(p)
			}
			start, changed = next, true
		case f != nil && f.sub != nil && f.sub.tensors:
			body, _ := protowire.ConsumeBytes(b[at+tag : next])
			mark := len(s.pieces)
			s.pieces = append(s.pieces, b[start:at], nil)
			inner, put := s.splice(f.sub, body)
			if !put {
				s.pieces = s.pieces[:mark]
				break
			}
			header := protowire.AppendVarint(append([]byte{}, b[at:at+tag]...), uint64(inner))
			s.pieces[mark+1] = header
			size += int64(at-start+len(header)) + inner
			start, changed = next, true
		}
		at = next
	}
	return size + s.put(b[start:]), changed
}

func (s *splicer) put(p []byte) int64 {
	s.pieces = append(s.pieces, p)
	return int64(len(p))
}
