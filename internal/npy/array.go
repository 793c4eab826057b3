package npy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/zqonnx/zqonnx/onnx"
)

// Read reads one array from r, which holds size bytes and nothing but the array.
func Read(r io.Reader, size int64) (*onnx.Tensor, error) {
	c := &counter{r: r}
	h, err := ReadHeader(c)
	if err != nil {
		return nil, err
	}
	return h.ReadData(c, size-c.n)
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ReadData reads the elements. r holds size bytes: it is an error when that is not what the header announces, found before
// anything is allocated.
func (h *Header) ReadData(r io.Reader, size int64) (*onnx.Tensor, error) {
	if want := h.Size(); size < want {
		return nil, bad("%d bytes are missing: %s of %s takes %d and the file has %d", want-size, ShapeText(h.Dims), TypeName(h.Type), want, size)
	} else if size > want {
		return nil, bad("%d bytes stand behind the array", size-want)
	}
	dims := slices.Clone(h.Dims)
	var t *onnx.Tensor
	var put func(i int64, elem []byte) error
	if h.Type == onnx.String {
		strs := make([][]byte, onnx.NumElements(dims))
		t = onnx.NewStrings(dims, strs)
		put = func(i int64, elem []byte) (err error) {
			strs[i], err = h.decodeString(elem)
			return err
		}
	} else {
		t = onnx.Zeros(h.Type, dims...)
		data := t.Bytes()
		if !h.fortran || len(dims) < 2 {
			if _, err := io.ReadFull(r, data); err != nil {
				return nil, truncated(err, "the elements")
			}
			h.littleEndian(data)
			return t, finish(t, r)
		}
		w := int64(h.width)
		put = func(i int64, elem []byte) error {
			copy(data[i*w:], elem)
			return nil
		}
	}
	if err := h.scatter(r, put); err != nil {
		return nil, err
	}
	return t, finish(t, r)
}

// scatter reads the elements through a small buffer and hands each to put with its row-major position.
func (h *Header) scatter(r io.Reader, put func(i int64, elem []byte) error) error {
	left := onnx.NumElements(h.Dims)
	next := h.positions()
	per := max(1, int64(64<<10/max(1, h.width)))
	buf := make([]byte, min(per, left)*int64(h.width))
	for left > 0 {
		n := min(per, left)
		b := buf[:n*int64(h.width)]
		if _, err := io.ReadFull(r, b); err != nil {
			return truncated(err, "the elements")
		}
		h.littleEndian(b)
		for range n {
			if err := put(next(), b[:h.width]); err != nil {
				return err
			}
			b = b[h.width:]
		}
		left -= n
	}
	return nil
}

// positions returns the row-major position of each element in the order of the file.
func (h *Header) positions() func() int64 {
	index := make([]int64, len(h.Dims))
	stride := make([]int64, len(h.Dims))
	step := int64(1)
	for i := len(h.Dims) - 1; i >= 0; i-- {
		stride[i] = step
		step *= h.Dims[i]
	}
	axes := make([]int, len(h.Dims)) // fastest first
	for i := range axes {
		axes[i] = i
		if !h.fortran {
			axes[i] = len(axes) - 1 - i
		}
	}
	pos := int64(0)
	return func() int64 {
		at := pos
		for _, a := range axes {
			index[a]++
			pos += stride[a]
			if index[a] < h.Dims[a] {
				break
			}
			pos -= index[a] * stride[a]
			index[a] = 0
		}
		return at
	}
}

// finish checks what follows the last byte: an archive notices a wrong checksum only there.
func finish(t *onnx.Tensor, r io.Reader) error {
	var one [1]byte
	if n, err := io.ReadFull(r, one[:]); n > 0 {
		return bad("bytes stand behind the array")
	} else if err != io.EOF {
		return err
	}
	if t.Type == onnx.Bool {
		for i, b := range t.Bytes() {
			if b > 1 {
				return bad("element %d is the byte %d, no bool", i, b)
			}
		}
	}
	return nil
}

// littleEndian turns the elements in b from the file's byte order into ONNX's.
func (h *Header) littleEndian(b []byte) {
	word := 4
	if h.Type != onnx.String {
		word = wordOf(h.Type)
	} else if !h.unicode {
		return
	}
	if h.order == binary.LittleEndian || word == 1 {
		return
	}
	for ; len(b) >= word; b = b[word:] {
		slices.Reverse(b[:word])
	}
}

func wordOf(t onnx.DataType) int {
	for _, d := range dtypes {
		if d.typ == t {
			return d.word
		}
	}
	return 1
}

// decodeString drops the zeros that fill an element up and turns UTF-32 into UTF-8.
func (h *Header) decodeString(elem []byte) ([]byte, error) {
	if !h.unicode {
		return bytes.Clone(bytes.TrimRight(elem, "\x00")), nil
	}
	s := []byte{}
	for end := len(elem); end > 0; end -= 4 {
		if binary.LittleEndian.Uint32(elem[end-4:]) != 0 {
			elem = elem[:end]
			break
		}
		elem = elem[:end-4]
	}
	for ; len(elem) > 0; elem = elem[4:] {
		c := binary.LittleEndian.Uint32(elem)
		if c > utf8.MaxRune || !utf8.ValidRune(rune(c)) {
			return nil, bad("a string holds the code point %#x", c)
		}
		s = utf8.AppendRune(s, rune(c))
	}
	return s, nil
}

// Write writes t as one array, row-major and little-endian. bfloat16 is widened to float32, which loses nothing; the other
// types that NumPy lacks are an error.
func Write(w io.Writer, t *onnx.Tensor) error {
	if err := t.Load(); err != nil {
		return err
	}
	switch t.Type {
	case onnx.BFloat16:
		f, err := t.Float32s()
		if err != nil {
			return err
		}
		t = onnx.Of(f, append([]int64{}, t.Dims...)...)
	case onnx.String:
		return writeStrings(w, t)
	}
	descr, ok := descrOf(t.Type)
	if !ok {
		return fmt.Errorf("a tensor of %s cannot be written as .npy: NumPy has no such type", t.Type)
	}
	h := Header{Dims: t.Dims}
	if err := h.write(w, descr); err != nil {
		return err
	}
	_, err := w.Write(t.Bytes())
	return err
}

func descrOf(t onnx.DataType) (string, bool) {
	for kind, d := range dtypes {
		if d.typ != t {
			continue
		}
		if d.word == 1 {
			return "|" + kind, true
		}
		return "<" + kind, true
	}
	return "", false
}

// writeStrings writes UTF-32 of the longest element's length, as NumPy does for str.
func writeStrings(w io.Writer, t *onnx.Tensor) error {
	width := 1
	for _, s := range t.Strings() {
		if !utf8.Valid(s) {
			return fmt.Errorf("the string %q is no UTF-8 and cannot be written as .npy", s)
		}
		width = max(width, utf8.RuneCount(s))
	}
	h := Header{Dims: t.Dims}
	if err := h.write(w, fmt.Sprintf("<U%d", width)); err != nil {
		return err
	}
	elem := make([]byte, 0, 4*width)
	for _, s := range t.Strings() {
		elem = elem[:0]
		for _, c := range string(s) {
			elem = binary.LittleEndian.AppendUint32(elem, uint32(c))
		}
		if _, err := w.Write(append(elem, make([]byte, 4*width-len(elem))...)); err != nil {
			return err
		}
	}
	return nil
}
