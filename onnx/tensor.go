package onnx

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"unsafe"

	"github.com/x448/float16"
)

// A Tensor is a dense array. Its bytes are in ONNX's raw layout: little-endian, row-major, elements below 8 bits packed
// low bits first. They may be a view of a mapped file: treat them as read-only unless the tensor was made by New or Resize.
// One type serves initializers, attributes, engine values and npz files.
type Tensor struct {
	Type DataType
	Dims []int64

	data    []byte
	owned   bool // data was made here and may be written to and reused
	strs    [][]byte
	load    func() ([]byte, [][]byte, error) // decodes or maps the bytes on first use
	once    sync.Once
	loadErr error
	source  *tensorSource // how the file stored it; nil for tensors made here
}

// New returns a tensor over data, which must have exactly the bytes that t and dims ask for. It panics otherwise.
func New(t DataType, dims []int64, data []byte) *Tensor {
	if want := t.ByteSize(NumElements(dims)); int64(len(data)) != want {
		panic(fmt.Sprintf("onnx.New: %s%v needs %d bytes, not %d", t, dims, want, len(data)))
	}
	return &Tensor{Type: t, Dims: slices.Clone(dims), data: data}
}

// NewStrings returns a string tensor.
func NewStrings(dims []int64, s [][]byte) *Tensor {
	if n := NumElements(dims); int64(len(s)) != n {
		panic(fmt.Sprintf("onnx.NewStrings: %v needs %d strings, not %d", dims, n, len(s)))
	}
	return &Tensor{Type: String, Dims: slices.Clone(dims), strs: s}
}

// Zeros returns a new tensor filled with zeros.
func Zeros(t DataType, dims ...int64) *Tensor {
	z := &Tensor{Type: t, Dims: slices.Clone(dims), data: makeAligned(t.ByteSize(NumElements(dims))), owned: true}
	if t == String {
		z.strs = make([][]byte, NumElements(dims))
	}
	return z
}

// makeAligned returns n zero bytes, backed by 8-byte words so that every element type is aligned.
func makeAligned(n int64) []byte {
	w := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w))), len(w)*8)[:n]
}

// An Elem is a Go type that is the memory form of an element type.
type Elem interface {
	float32 | float64 | int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64 | bool
}

// typeOf returns the DataType whose memory form is E.
func typeOf[E Elem]() DataType {
	var e E
	switch any(e).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	case int8:
		return Int8
	case uint8:
		return Uint8
	case int16:
		return Int16
	case uint16:
		return Uint16
	case int32:
		return Int32
	case uint32:
		return Uint32
	case int64:
		return Int64
	case uint64:
		return Uint64
	}
	return Bool
}

// Of returns a tensor that shares v. Without dims it is one-dimensional.
func Of[E Elem](v []E, dims ...int64) *Tensor {
	if dims == nil {
		dims = []int64{int64(len(v))}
	}
	var e E
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(e)))
	return New(typeOf[E](), dims, b)
}

// Scalar returns a tensor of rank 0.
func Scalar[E Elem](v E) *Tensor { return Of([]E{v}, []int64{}...) }

// NumElements returns the product of dims. It panics on negative ones and on overflow, which the reader excludes.
func NumElements(dims []int64) int64 {
	n, ok := CountElements(dims)
	if !ok {
		panic(fmt.Sprintf("onnx: impossible dimensions %v", dims))
	}
	return n
}

// CountElements returns the product of dims, and whether the dimensions are possible: none is negative and the bits can be counted.
func CountElements(dims []int64) (int64, bool) {
	n := int64(1)
	for _, d := range dims {
		if d != 0 && (d < 0 || n > math.MaxInt64/128/d) {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// Len returns the number of elements.
func (t *Tensor) Len() int { return int(NumElements(t.Dims)) }

// Rank returns the number of dimensions.
func (t *Tensor) Rank() int { return len(t.Dims) }

// Load makes the bytes available; errors name what is wrong with the stored data. Reading calls it for nothing:
// typed fields and external files are decoded on first use.
func (t *Tensor) Load() error {
	t.once.Do(func() {
		if t.load == nil {
			return
		}
		t.data, t.strs, t.loadErr = t.load()
		t.load = nil
	})
	return t.loadErr
}

// Bytes returns the raw bytes. It panics if Load fails: call Load first where the tensor comes from a file.
func (t *Tensor) Bytes() []byte {
	if err := t.Load(); err != nil {
		panic(err)
	}
	return t.data
}

// Strings returns the elements of a string tensor.
func (t *Tensor) Strings() [][]byte {
	if err := t.Load(); err != nil {
		panic(err)
	}
	return t.strs
}

// A TypeError is what Data panics with.
type TypeError struct{ Have, Want DataType }

func (e *TypeError) Error() string {
	return fmt.Sprintf("a tensor of %s where one of %s is expected", e.Have, e.Want)
}

// Data returns the elements as a slice of their memory form, sharing the bytes where they are aligned. E must fit
// t.Type: the element type itself, or uint16 for float16 and bfloat16, uint8 for the 8-bit floats and packed types.
// It panics with a *TypeError on another type, which is a mistake of the caller, or of the model that he runs unchecked.
func Data[E Elem](t *Tensor) []E {
	var e E
	size := int(unsafe.Sizeof(e))
	want := typeOf[E]()
	if t.Type != want && !(want == Uint16 && (t.Type == Float16 || t.Type == BFloat16)) && !(want == Uint8 && t.Type.Bits() <= 8) {
		panic(&TypeError{t.Type, want})
	}
	b := t.Bytes()
	if len(b) == 0 {
		return nil
	}
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)%uintptr(size) != 0 {
		// Unaligned in the mapped file: copy. Not kept, so that concurrent readers need no lock.
		c := make([]E, len(b)/size)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(c))), len(c)*size), b)
		return c
	}
	return unsafe.Slice((*E)(p), len(b)/size)
}

// Resize turns t into a tensor of another type and shape. The contents are undefined. Memory that t made itself is reused
// where it suffices; views of a file and memory of others never are. Dims is copied into t.
func (t *Tensor) Resize(dt DataType, dims ...int64) {
	n := dt.ByteSize(NumElements(dims))
	t.Type = dt
	t.Dims = append(t.Dims[:0], dims...)
	if !t.owned || int64(cap(t.data)) < n {
		t.data, t.owned = makeAligned(n), true
	}
	t.data = t.data[:n]
	t.strs = nil
	if dt == String {
		t.strs = make([][]byte, NumElements(dims))
	}
	t.load, t.loadErr, t.source = nil, nil, nil
}

// Bind makes t a tensor over data, which must have the bytes that dt and dims ask for. Dims is copied into t.
func (t *Tensor) Bind(dt DataType, data []byte, dims ...int64) {
	if want := dt.ByteSize(NumElements(dims)); int64(len(data)) != want {
		panic(fmt.Sprintf("onnx.Tensor.Bind: %s%v needs %d bytes, not %d", dt, append([]int64{}, dims...), want, len(data)))
	}
	t.Type, t.data, t.owned, t.strs = dt, data, false, nil
	t.Dims = append(t.Dims[:0], dims...)
	t.load, t.loadErr, t.source = nil, nil, nil
}

// Reshaped returns a tensor with other dims that shares the bytes.
func (t *Tensor) Reshaped(dims ...int64) *Tensor {
	if t.Type == String {
		return NewStrings(dims, t.Strings())
	}
	return New(t.Type, dims, t.Bytes())
}

// Clone returns a deep copy in memory.
func (t *Tensor) Clone() *Tensor {
	c := Zeros(t.Type, t.Dims...)
	copy(c.data, t.Bytes())
	copy(c.strs, t.Strings())
	return c
}

// Float32s returns the elements of any real float, integer or bool tensor of 8 bits or more as float32; float32 tensors are shared, not copied.
// Errors wrap ErrBadModel.
func (t *Tensor) Float32s() ([]float32, error) {
	if err := t.Load(); err != nil {
		return nil, err
	}
	switch t.Type {
	case Float32:
		return Data[float32](t), nil
	case Float16:
		return convert(Data[uint16](t), func(b uint16) float32 { return float16.Frombits(b).Float32() }), nil
	case BFloat16:
		return convert(Data[uint16](t), func(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }), nil
	case Float64:
		return cast[float64, float32](t), nil
	case Int8:
		return cast[int8, float32](t), nil
	case Uint8:
		return cast[uint8, float32](t), nil
	case Int16:
		return cast[int16, float32](t), nil
	case Uint16:
		return cast[uint16, float32](t), nil
	case Int32:
		return cast[int32, float32](t), nil
	case Uint32:
		return cast[uint32, float32](t), nil
	case Int64:
		return cast[int64, float32](t), nil
	case Uint64:
		return cast[uint64, float32](t), nil
	case Bool:
		return convert(Data[bool](t), func(b bool) float32 {
			if b {
				return 1
			}
			return 0
		}), nil
	}
	return nil, badModel("a tensor of %s has no float32 form", t.Type)
}

// SetFloats rounds x to nearest into the elements of t, a float tensor of 16 bits or more that has as many. It returns the index of
// the first finite number that t's type holds as infinite only, -1 where there is none.
func SetFloats[F float32 | float64](t *Tensor, x []F) (overflow int) {
	switch t.Type {
	case Float16:
		return setRounded(Data[uint16](t), x, func(v float32) (uint16, float32) {
			h := float16.Fromfloat32(v)
			return h.Bits(), h.Float32()
		})
	case BFloat16:
		return setRounded(Data[uint16](t), x, func(v float32) (uint16, float32) {
			b := bfloat16(v)
			return b, math.Float32frombits(uint32(b) << 16)
		})
	case Float32:
		return setRounded(Data[float32](t), x, func(v float32) (float32, float32) { return v, v })
	}
	d := Data[float64](t)
	for i, v := range x {
		d[i] = float64(v)
	}
	return -1
}

func setRounded[E uint16 | float32, F float32 | float64](dst []E, x []F, round func(float32) (stored E, value float32)) (overflow int) {
	overflow = -1
	for i, v := range x {
		var value float32
		dst[i], value = round(float32(v))
		if overflow < 0 && math.IsInf(float64(value), 0) && !math.IsInf(float64(v), 0) {
			overflow = i
		}
	}
	return overflow
}

// bfloat16 rounds to nearest, ties to even; a NaN stays one.
func bfloat16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// Int64s returns the elements of an integer tensor of 8 bits or more as int64; int64 tensors are shared, not copied.
// Errors wrap ErrBadModel.
func (t *Tensor) Int64s() ([]int64, error) {
	if err := t.Load(); err != nil {
		return nil, err
	}
	switch t.Type {
	case Int64:
		return Data[int64](t), nil
	case Int32:
		return cast[int32, int64](t), nil
	case Int8:
		return cast[int8, int64](t), nil
	case Uint8:
		return cast[uint8, int64](t), nil
	case Int16:
		return cast[int16, int64](t), nil
	case Uint16:
		return cast[uint16, int64](t), nil
	case Uint32:
		return cast[uint32, int64](t), nil
	case Uint64:
		return cast[uint64, int64](t), nil
	case Bool:
		return convert(Data[bool](t), func(b bool) int64 {
			if b {
				return 1
			}
			return 0
		}), nil
	}
	return nil, badModel("a tensor of %s has no integer form", t.Type)
}

func convert[A Elem, B Elem](a []A, f func(A) B) []B {
	b := make([]B, len(a))
	for i, x := range a {
		b[i] = f(x)
	}
	return b
}

func cast[A, B float32 | float64 | int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64](t *Tensor) []B {
	return convert(Data[A](t), func(a A) B { return B(a) })
}
