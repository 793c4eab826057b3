package onnx

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// tensorSource says how a file stored a tensor, so that it can be written back alike.
type tensorSource struct {
	rest     []byte     // the serialized TensorProto without dims, type and elements: name, doc, metadata, ...
	dtype    DataType   // the type that pieces hold
	elements int64      // their number
	pieces   [][]byte   // the data fields as they stand in the file
	external *external  // nil when the elements are in the model file
	sparse   *remainder // of a sparse initializer: the whole SparseTensorProto
}

// tensor builds the tensor of a TensorProto of the skeleton, which it changes. what names the tensor in errors.
func (d *decoder) tensor(p *onnxpb.TensorProto, what string) (*Tensor, error) {
	if len(p.RawData) != 8 || tensorIndex(p) >= len(d.data) {
		return nil, badModel("%s: a tensor given in pieces", what)
	}
	s := &tensorSource{pieces: d.data[tensorIndex(p)]}
	d.attached++
	p.RawData = nil
	t := &Tensor{Type: DataType(take(&p.DataType)), Dims: p.Dims, source: s}
	p.Dims = nil
	if t.Dims == nil {
		t.Dims = []int64{}
	}
	fail := func(err error) (*Tensor, error) { return nil, fmt.Errorf("%s: %w", what, err) }
	s.dtype = t.Type
	var ok bool
	if s.elements, ok = CountElements(t.Dims); !ok {
		return fail(badModel("impossible dimensions %v", shorten(t.Dims)))
	}
	var err error
	if s.rest, err = (proto.MarshalOptions{Deterministic: true}).Marshal(p); err != nil {
		return nil, err
	}
	want := t.Type.ByteSize(s.elements)
	if p.GetDataLocation() == onnxpb.TensorProto_EXTERNAL {
		if t.Type.Bits() == 0 {
			return fail(badModel("a tensor of %s cannot have external data", t.Type))
		}
		if s.external, err = d.src.external(p.ExternalData, want); err != nil {
			return fail(err)
		}
		t.load = s.loader(what, s.external.bytes)
		return t, nil
	}
	if raw, ok := s.raw(); ok {
		if t.Type.Bits() == 0 {
			return fail(badModel("raw data of element type %s", t.Type))
		}
		if int64(len(raw)) != want {
			return fail(badModel("%d bytes of data, but %s%v asks for %d", len(raw), t.Type, shorten(t.Dims), want))
		}
		if t.Type != Bool {
			t.data = raw
			return t, nil
		}
		t.load = s.loader(what, func() ([]byte, error) { return raw, nil })
		return t, nil
	}
	if len(s.pieces) == 0 && s.elements > 0 && t.Type != Undefined {
		return fail(badModel("no data for %s%v", t.Type, shorten(t.Dims)))
	}
	if t.Type == String {
		t.load = func() (_ []byte, strs [][]byte, err error) {
			err = Guard(func() error { strs, err = s.strings(); return err })
			if err != nil {
				err = fmt.Errorf("%s: %w", what, err)
			}
			return nil, strs, err
		}
		return t, nil
	}
	t.load = s.loader(what, s.typed)
	return t, nil
}

// loader wraps what brings the raw bytes for Tensor.load.
func (s *tensorSource) loader(what string, bytes func() ([]byte, error)) func() ([]byte, [][]byte, error) {
	return func() (b []byte, _ [][]byte, err error) {
		err = Guard(func() error {
			if b, err = bytes(); err == nil && s.dtype == Bool {
				b = truths(b)
			}
			return err
		})
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", what, err)
		}
		return b, nil, nil
	}
}

// truths returns b with every byte 0 or 1, which a Go bool must be; a copy where the file holds others.
func truths(b []byte) []byte {
	for i, x := range b {
		if x > 1 {
			b = append([]byte{}, b...)
			for k := i; k < len(b); k++ {
				b[k] = min(b[k], 1)
			}
			return b
		}
	}
	return b
}

// raw returns the raw_data field, and whether there is one. Where it is given several times the last counts.
func (s *tensorSource) raw() (raw []byte, ok bool) {
	_ = s.each(func(num protowire.Number, _ protowire.Type, value []byte) error { // what is returned here: nil
		if num == rawData {
			raw, _ = protowire.ConsumeBytes(value)
			raw, ok = raw[:len(raw):len(raw)], true
		}
		return nil
	})
	return raw, ok
}

// each calls f for every data field. The walk that cut them out has seen to it that the pieces are whole fields.
func (s *tensorSource) each(f func(num protowire.Number, typ protowire.Type, value []byte) error) error {
	for _, p := range s.pieces {
		for len(p) > 0 {
			num, typ, tag := protowire.ConsumeTag(p)
			n := tag + protowire.ConsumeFieldValue(num, typ, p[tag:])
			if err := f(num, typ, p[tag:n]); err != nil {
				return err
			}
			p = p[n:]
		}
	}
	return nil
}

// A typedField says how the elements of a type are stored in a typed data field.
type typedField struct {
	num  protowire.Number
	wire protowire.Type
}

// typedFieldOf returns the data field for elements of type t other than strings.
func typedFieldOf(t DataType) typedField {
	switch t {
	case Float32, Complex64:
		return typedField{floatData, protowire.Fixed32Type}
	case Float64, Complex128:
		return typedField{doubleData, protowire.Fixed64Type}
	case Int64:
		return typedField{int64Data, protowire.VarintType}
	case Uint32, Uint64:
		return typedField{uint64Data, protowire.VarintType}
	}
	return typedField{int32Data, protowire.VarintType}
}

// typed decodes a typed data field to the raw layout.
func (s *tensorSource) typed() ([]byte, error) {
	field, bits := typedFieldOf(s.dtype), int64(s.dtype.Bits())
	if bits == 0 {
		if s.dtype == Undefined && len(s.pieces) == 0 {
			return nil, nil
		}
		return nil, badModel("unknown element type %s", s.dtype)
	}
	// One entry of the field holds one element, half a complex number, or a byte of packed ones (float6: one each).
	width, want := (bits+7)/8, s.elements
	switch {
	case s.dtype == Complex64 || s.dtype == Complex128:
		width, want = width/2, want*2
	case bits == 4 || bits == 2:
		want = s.dtype.ByteSize(want)
	}
	got := int64(0)
	err := s.each(func(num protowire.Number, typ protowire.Type, value []byte) error {
		n, err := countField(num, typ, value, field)
		got += n
		return err
	})
	if err != nil {
		return nil, err
	}
	if got != want {
		return nil, badModel("%d stored values where %s and %d elements ask for %d", got, s.dtype, s.elements, want)
	}
	out := makeAligned(want * width)[:0]
	err = s.each(func(_ protowire.Number, typ protowire.Type, value []byte) error {
		if typ == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		if field.wire != protowire.VarintType {
			out = append(out, value...)
			return nil
		}
		for len(value) > 0 {
			v, n := protowire.ConsumeVarint(value)
			if n < 0 {
				return badModel("damaged typed data")
			}
			value = value[n:]
			switch width {
			case 1:
				out = append(out, byte(v))
			case 2:
				out = binary.LittleEndian.AppendUint16(out, uint16(v))
			case 4:
				out = binary.LittleEndian.AppendUint32(out, uint32(v))
			case 8:
				out = binary.LittleEndian.AppendUint64(out, v)
			}
		}
		return nil
	})
	if bits == 6 {
		out = pack6(out)
	}
	return out, err
}

// countField returns the number of values in a data field, which must be the expected one unless it is empty.
func countField(num protowire.Number, typ protowire.Type, value []byte, want typedField) (int64, error) {
	b := value
	if typ == protowire.BytesType {
		b, _ = protowire.ConsumeBytes(value)
	}
	if len(b) == 0 {
		return 0, nil
	}
	if num != want.num {
		return 0, badModel("elements in the wrong data field, number %d instead of %d", num, want.num)
	}
	var width int
	switch want.wire {
	case protowire.Fixed32Type:
		width = 4
	case protowire.Fixed64Type:
		width = 8
	default:
		if b[len(b)-1] >= 0x80 {
			return 0, badModel("truncated typed data")
		}
		return countVarints(b), nil
	}
	if len(b)%width != 0 {
		return 0, badModel("truncated typed data")
	}
	return int64(len(b) / width), nil
}

// pack6 packs elements of 6 bits, one a byte, into a stream of bits, low bits first.
func pack6(elems []byte) []byte {
	out := make([]byte, (len(elems)*6+7)/8)
	for i, e := range elems {
		bit := i * 6
		w := uint16(e&0x3f) << (bit % 8)
		out[bit/8] |= byte(w)
		if w > 0xff {
			out[bit/8+1] |= byte(w >> 8)
		}
	}
	return out
}

// strings returns the elements of string_data.
func (s *tensorSource) strings() ([][]byte, error) {
	var strs [][]byte
	err := s.each(func(num protowire.Number, _ protowire.Type, value []byte) error {
		b, _ := protowire.ConsumeBytes(value)
		if num != stringData {
			if len(b) == 0 {
				return nil
			}
			return badModel("a string tensor with elements in data field %d", num)
		}
		if int64(len(strs)) == s.elements {
			return badModel("more strings than the %d of its dimensions", s.elements)
		}
		strs = append(strs, b[:len(b):len(b)])
		return nil
	})
	if err == nil && int64(len(strs)) != s.elements {
		err = badModel("%d strings where the dimensions ask for %d", len(strs), s.elements)
	}
	return strs, err
}

// maxSparse bounds the bytes of a sparse initializer made dense: 64 MB and a thousand times what is stored.
func maxSparse(stored int64) int64 { return 64<<20 + 1000*stored }

// sparse builds the dense form of a sparse initializer. The elements are filled in on first use.
func (d *decoder) sparse(p *onnxpb.SparseTensorProto, name string) (*Tensor, error) {
	what := "sparse initializer " + quote(name)
	if p.Values == nil || p.Indices == nil {
		return nil, badModel("%s: values or indices are missing", what)
	}
	dims := append([]int64{}, p.Dims...)
	n, ok := CountElements(dims)
	rest, err := d.keep(p)
	if err != nil {
		return nil, err
	}
	values, indices := rest.tensors[0], rest.tensors[1]
	bits := int64(values.Type.Bits())
	if !ok || bits == 0 || bits%8 != 0 || n > maxSparse(values.Type.ByteSize(values.source.elements))/(bits/8) {
		return nil, badModel("%s: dimensions %v of %s are too large or impossible", what, shorten(dims), values.Type)
	}
	t := &Tensor{Type: values.Type, Dims: dims, source: &tensorSource{dtype: values.Type, elements: n, sparse: rest}}
	t.load = t.source.loader(what, func() ([]byte, error) { return densify(dims, n, int(bits/8), values, indices) })
	return t, nil
}

// densify scatters values to the places that indices name: linear ones of shape [NNZ], or [NNZ, rank].
func densify(dims []int64, n int64, width int, values, indices *Tensor) ([]byte, error) {
	if err := values.Load(); err != nil {
		return nil, err
	}
	at, err := indices.Int64s()
	if err != nil {
		return nil, err
	}
	nnz, rank := values.Len(), len(dims)
	linear := indices.Rank() == 1
	if indices.Type != Int64 || linear && len(at) != nnz || !linear && (indices.Rank() != 2 || len(at) != nnz*rank) {
		return nil, badModel("indices of type %s%v do not fit %d values of rank %d", indices.Type, shorten(indices.Dims), nnz, rank)
	}
	out, in := makeAligned(n*int64(width)), values.Bytes()
	for i := range nnz {
		k := int64(0)
		if linear {
			k = at[i]
		} else {
			for r, d := range dims {
				x := at[i*rank+r]
				if x < 0 || x >= d {
					return nil, badModel("index %d outside of dimension %d", x, d)
				}
				k = k*d + x
			}
		}
		if k < 0 || k >= n {
			return nil, badModel("index %d outside of %d elements", k, n)
		}
		copy(out[k*int64(width):], in[i*width:(i+1)*width])
	}
	return out, nil
}

// shorten cuts a hostile list of dimensions down for a message.
func shorten(dims []int64) []int64 { return dims[:min(len(dims), 16)] }
