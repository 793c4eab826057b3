// Package npy reads and writes NumPy's .npy files (format versions 1 to 3) and .npz archives of them, as onnx.Tensor.
//
// Files are not trusted: no length in a file makes the package allocate more than the file can hold, and Python objects
// are refused, never unpickled. Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
package npy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/zqonnx/zqonnx/onnx"
)

// ErrFormat is wrapped by every error about the contents of a file.
var ErrFormat = errors.New("not a readable array")

const (
	magic     = "\x93NUMPY"
	maxHeader = 64 << 10 // bytes; NumPy writes 118 for most arrays
	maxRank   = 64       // NumPy's own
)

// MaxBytes is the largest array that is read, as the file stores it.
const MaxBytes = 4 << 30

// A Header says what an array is, before its elements are read.
type Header struct {
	Type onnx.DataType
	Dims []int64

	order   binary.ByteOrder
	fortran bool // first index fastest
	width   int  // bytes of one element in the file
	unicode bool // strings of UTF-32, not of bytes
}

// dtypes has a row for each NumPy type of fixed size: its ONNX type and the unit that a byte order swaps.
var dtypes = map[string]struct {
	typ  onnx.DataType
	word int // bytes; a complex number has two words
}{
	"b1": {onnx.Bool, 1},
	"i1": {onnx.Int8, 1}, "i2": {onnx.Int16, 2}, "i4": {onnx.Int32, 4}, "i8": {onnx.Int64, 8},
	"u1": {onnx.Uint8, 1}, "u2": {onnx.Uint16, 2}, "u4": {onnx.Uint32, 4}, "u8": {onnx.Uint64, 8},
	"f2": {onnx.Float16, 2}, "f4": {onnx.Float32, 4}, "f8": {onnx.Float64, 8},
	"c8": {onnx.Complex64, 4}, "c16": {onnx.Complex128, 8},
}

// TypeName returns NumPy's name of an element type, such as "float32"; the ONNX name where NumPy has none.
func TypeName(t onnx.DataType) string {
	if n, ok := typeNames[t]; ok {
		return n
	}
	return t.String()
}

var typeNames = map[onnx.DataType]string{
	onnx.Bool: "bool", onnx.Int8: "int8", onnx.Int16: "int16", onnx.Int32: "int32", onnx.Int64: "int64",
	onnx.Uint8: "uint8", onnx.Uint16: "uint16", onnx.Uint32: "uint32", onnx.Uint64: "uint64",
	onnx.Float16: "float16", onnx.Float32: "float32", onnx.Float64: "float64", onnx.BFloat16: "bfloat16",
	onnx.Complex64: "complex64", onnx.Complex128: "complex128", onnx.String: "string",
}

func bad(format string, args ...any) error {
	return fmt.Errorf(format+" (%w)", append(args, ErrFormat)...)
}

// truncated turns an end of file inside an array into a message for people; other errors (of the disk, of the archive) stay.
func truncated(err error, what string) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return bad("the file ends inside %s", what)
	}
	return err
}

// ReadHeader reads up to the first element.
func ReadHeader(r io.Reader) (*Header, error) {
	var pre [8]byte
	if _, err := io.ReadFull(r, pre[:]); err != nil {
		return nil, truncated(err, "the header")
	}
	if string(pre[:6]) != magic {
		return nil, bad("no .npy array: it does not begin with NumPy's signature")
	}
	size := make([]byte, 4)
	switch major := pre[6]; major {
	case 1:
		size = size[:2]
	case 2, 3:
	default:
		return nil, bad(".npy format version %d.%d is unknown", major, pre[7])
	}
	if _, err := io.ReadFull(r, size); err != nil {
		return nil, truncated(err, "the header")
	}
	n := uint32(binary.LittleEndian.Uint16(size))
	if len(size) == 4 {
		n = binary.LittleEndian.Uint32(size)
	}
	if n > maxHeader {
		return nil, bad("a header of %d bytes; at most %d are read", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, truncated(err, "the header")
	}
	return parseHeader(string(text))
}

// parseHeader reads the Python literal {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }.
func parseHeader(text string) (*Header, error) {
	p := &literal{rest: text}
	h := &Header{}
	seen := map[string]bool{}
	p.expect("{")
	for p.err == nil && !p.accept("}") {
		key := p.str()
		p.expect(":")
		if p.err == nil && seen[key] {
			return nil, bad("the header gives %q twice", key)
		}
		seen[key] = true
		switch key {
		case "descr":
			if p.peek("[") {
				return nil, bad("records (structured dtype) have no ONNX type: save each field as an array of its own")
			}
			if d := p.str(); p.err == nil {
				if err := h.setType(d); err != nil {
					return nil, err
				}
			}
		case "fortran_order":
			h.fortran = p.boolean()
		case "shape":
			h.Dims = p.tuple()
		default:
			p.fail()
		}
		if !p.accept(",") && !p.peek("}") {
			p.fail()
		}
	}
	if p.err == nil && strings.TrimSpace(p.rest) != "" {
		p.fail()
	}
	if p.err != nil {
		return nil, p.err
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return nil, bad("the header lacks %q", key)
		}
	}
	return h, h.checkSize()
}

func (h *Header) setType(descr string) error {
	order, kind := binary.ByteOrder(binary.LittleEndian), descr
	if kind != "" && strings.ContainsRune("<>=|", rune(kind[0])) {
		if kind[0] == '>' {
			order = binary.BigEndian
		}
		kind = kind[1:]
	}
	if t, ok := dtypes[kind]; ok {
		h.Type, h.order, h.width = t.typ, order, t.typ.Bits()/8
		return nil
	}
	switch {
	case kind == "":
		return bad("the header's dtype is empty")
	case kind[0] == 'O':
		return bad("it holds Python objects (dtype object, pickled), which are never loaded: save numbers, for example np.asarray(x, dtype=np.float32)")
	case kind[0] == 'S' || kind[0] == 'U':
		n, err := strconv.ParseUint(kind[1:], 10, 20)
		if err != nil {
			return bad("dtype %q is malformed", descr)
		}
		h.Type, h.order, h.width = onnx.String, order, int(n)
		if kind[0] == 'U' {
			h.unicode, h.width = true, 4*int(n)
		}
		return nil
	}
	return bad("dtype %q has no ONNX type", descr)
}

// checkSize refuses shapes whose size overflows or exceeds MaxBytes. Dimensions of 0 do not excuse the others.
func (h *Header) checkSize() error {
	if len(h.Dims) > maxRank {
		return bad("%d dimensions; NumPy allows %d", len(h.Dims), maxRank)
	}
	// A string costs memory even where it has no bytes in the file.
	unit := int64(h.width)
	if h.Type == onnx.String {
		unit = max(unit, int64(stringCost))
	}
	n, empty := unit, false
	for _, d := range h.Dims {
		if d == 0 {
			empty = true
			continue
		}
		if n > math.MaxInt64/32/d {
			return bad("impossible shape %s", ShapeText(h.Dims))
		}
		n *= d
	}
	if n > MaxBytes && !empty {
		return bad("shape %s of %s takes %d bytes; at most %d are read", ShapeText(h.Dims), TypeName(h.Type), n, int64(MaxBytes))
	}
	return nil
}

// stringCost is the memory of an element of a string tensor besides its bytes.
const stringCost = 24

// Size returns the bytes of the elements in the file.
func (h *Header) Size() int64 { return onnx.NumElements(h.Dims) * int64(h.width) }

// ShapeText writes dims as [2,3].
func ShapeText(dims []int64) string {
	s := make([]string, len(dims))
	for i, d := range dims {
		s[i] = strconv.FormatInt(d, 10)
	}
	return "[" + strings.Join(s, ",") + "]"
}

// A literal is what is left of a Python literal; after the first error every method does nothing.
type literal struct {
	rest string
	err  error
}

func (p *literal) fail() {
	if p.err == nil {
		at := p.rest
		if len(at) > 20 {
			at = at[:20] + "..."
		}
		p.err = bad("the header is malformed at %q", at)
	}
}

func (p *literal) peek(tok string) bool {
	p.rest = strings.TrimLeft(p.rest, " \t\n\r")
	return p.err == nil && strings.HasPrefix(p.rest, tok)
}

func (p *literal) accept(tok string) bool {
	if !p.peek(tok) {
		return false
	}
	p.rest = p.rest[len(tok):]
	return true
}

func (p *literal) expect(tok string) {
	if !p.accept(tok) {
		p.fail()
	}
}

func (p *literal) str() string {
	for _, quote := range []string{"'", `"`} {
		if !p.accept(quote) {
			continue
		}
		s, rest, ok := strings.Cut(p.rest, quote)
		if !ok || strings.ContainsRune(s, '\\') {
			break
		}
		p.rest = rest
		return s
	}
	p.fail()
	return ""
}

func (p *literal) boolean() bool {
	if p.accept("True") {
		return true
	}
	p.expect("False")
	return false
}

// tuple reads (), (3,), (3, 4) with the L that Python 2 put behind long integers.
func (p *literal) tuple() []int64 {
	dims := []int64{}
	p.expect("(")
	for p.err == nil && !p.accept(")") {
		p.peek("")
		end := strings.IndexFunc(p.rest, func(r rune) bool { return r < '0' || r > '9' })
		n, err := strconv.ParseInt(p.rest[:max(end, 0)], 10, 64)
		if err != nil {
			p.fail()
			break
		}
		p.rest = p.rest[end:]
		p.accept("L")
		dims = append(dims, n)
		if !p.accept(",") && !p.peek(")") {
			p.fail()
		}
	}
	return dims
}

// write writes a version 1 header, padded as NumPy does so that the elements begin at a multiple of 64.
func (h *Header) write(w io.Writer, descr string) error {
	shape := make([]string, len(h.Dims))
	for i, d := range h.Dims {
		shape[i] = strconv.FormatInt(d, 10)
	}
	tuple := strings.Join(shape, ", ")
	if len(shape) == 1 {
		tuple += ","
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, tuple)
	pad := 64 - (len(magic)+4+len(text)+1)%64
	text += strings.Repeat(" ", pad%64) + "\n"
	if len(text) > math.MaxUint16 {
		return fmt.Errorf("an array of %d dimensions cannot be written as .npy", len(h.Dims))
	}
	b := slices.Concat([]byte(magic), []byte{1, 0}, binary.LittleEndian.AppendUint16(nil, uint16(len(text))), []byte(text))
	_, err := io.Copy(w, bytes.NewReader(b))
	return err
}
