package onnxgo

import (
	"errors"
	"fmt"

	"gorgonia.org/tensor"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
)

// A crossing carries tensors of one element type over the border, in both directions.
type crossing struct {
	elem onnx.DataType
	in   func(*tensor.Dense) (*onnx.Tensor, error)
	out  func(*onnx.Tensor) tensor.Tensor
}

// crossings are the types that both sides have; their memory is shared. Go's int and uint come in, but do not go out.
var crossings = map[tensor.Dtype]crossing{
	tensor.Float32: shared[float32](onnx.Float32), tensor.Float64: shared[float64](onnx.Float64),
	tensor.Int8: shared[int8](onnx.Int8), tensor.Int16: shared[int16](onnx.Int16), tensor.Int32: shared[int32](onnx.Int32),
	tensor.Int64: shared[int64](onnx.Int64), tensor.Uint8: shared[uint8](onnx.Uint8), tensor.Uint16: shared[uint16](onnx.Uint16),
	tensor.Uint32: shared[uint32](onnx.Uint32), tensor.Uint64: shared[uint64](onnx.Uint64), tensor.Bool: shared[bool](onnx.Bool),
	tensor.String: {onnx.String, stringsIn, stringsOut},
	tensor.Int:    {onnx.Int64, wide[int, int64], nil}, tensor.Uint: {onnx.Uint64, wide[uint, uint64], nil},
}

// leaving are the crossings by our element type.
var leaving = func() map[onnx.DataType]crossing {
	m := map[onnx.DataType]crossing{}
	for _, c := range crossings {
		if c.out != nil {
			m[c.elem] = c
		}
	}
	return m
}()

// elemOf returns the element type of a tensor on our side.
func elemOf(t tensor.Tensor) (onnx.DataType, error) {
	c, ok := crossings[t.Dtype()]
	if !ok {
		return 0, fmt.Errorf("elements of Go type %s have no ONNX type here", t.Dtype())
	}
	return c.elem, nil
}

// toTensor returns a tensor as the engine takes it, sharing its memory where that has the wanted type (Undefined: any) and lies
// in the order of rows. Another type of number is converted if every element keeps its value; to half precision it is
// rounded, because there is no other way to give one.
func toTensor(t tensor.Tensor, want onnx.DataType) (*onnx.Tensor, error) {
	d, ok := t.(*tensor.Dense)
	if !ok {
		return nil, fmt.Errorf("a %T is not dense", t)
	}
	if !d.IsNativelyAccessible() {
		return nil, errors.New("its memory cannot be read by Go")
	}
	if _, err := elemOf(t); err != nil {
		return nil, err
	}
	own, err := crossings[t.Dtype()].in(d)
	if err != nil || want == onnx.Undefined || own.Type == want {
		return own, err
	}
	if to, ok := conversions[want]; ok {
		return to(own)
	}
	return nil, fmt.Errorf("it is %s, the model wants %s", own.Type, want)
}

// fromTensor returns a tensor for onnx-go over the memory of t.
func fromTensor(t *onnx.Tensor) (tensor.Tensor, error) {
	if t.Type == onnx.Float16 || t.Type == onnx.BFloat16 { // gorgonia has no type for them
		v, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		t = onnx.Of(v, t.Dims...)
	}
	c, ok := leaving[t.Type]
	if !ok {
		return nil, fmt.Errorf("tensors of %s cannot be passed to onnx-go: this is %w", t.Type, engine.ErrUnsupported)
	}
	return c.out(t), nil
}

func shared[E onnx.Elem](elem onnx.DataType) crossing {
	return crossing{
		elem: elem,
		in: func(t *tensor.Dense) (*onnx.Tensor, error) {
			v, err := elements[E](t)
			if err != nil {
				return nil, err
			}
			return onnx.Of(v, dims64(t)...), nil
		},
		out: func(t *onnx.Tensor) tensor.Tensor { return dense(onnx.Data[E](t), t.Dims) },
	}
}

func wide[S int | uint, E int64 | uint64](t *tensor.Dense) (*onnx.Tensor, error) {
	v, err := elements[S](t)
	if err != nil {
		return nil, err
	}
	e := make([]E, len(v))
	for i, x := range v {
		e[i] = E(x)
	}
	return onnx.Of(e, dims64(t)...), nil
}

func stringsIn(t *tensor.Dense) (*onnx.Tensor, error) {
	s, err := elements[string](t)
	if err != nil {
		return nil, err
	}
	b := make([][]byte, len(s))
	for i, x := range s {
		b[i] = []byte(x)
	}
	return onnx.NewStrings(dims64(t), b), nil
}

func stringsOut(t *onnx.Tensor) tensor.Tensor {
	s := make([]string, t.Len())
	for i, b := range t.Strings() {
		s[i] = string(b)
	}
	return dense(s, t.Dims)
}

func dims64(t *tensor.Dense) []int64 {
	dims := make([]int64, t.Dims())
	for i, d := range t.Shape() {
		dims[i] = int64(d)
	}
	return dims
}

func dense[E any](v []E, dims []int64) tensor.Tensor {
	shape := make([]int, len(dims))
	for i, d := range dims {
		shape[i] = int(d)
	}
	if v == nil {
		v = []E{} // no memory at all it would take for no memory yet
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
}

// elements returns the elements in the order of rows: the tensor's own memory where they lie so, else a copy.
func elements[E any](t *tensor.Dense) ([]E, error) {
	var v []E
	switch data := t.Data().(type) {
	case []E:
		v = data
	case E: // of a tensor of one element
		return []E{data}, nil
	}
	shape, strides := t.Shape(), t.Strides()
	n, span, inOrder := 1, 1, true // span: from the first element to the last
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] > 1 {
			inOrder = inOrder && strides[i] == n
			span += (shape[i] - 1) * strides[i]
		}
		n *= shape[i]
	}
	switch {
	case n == 0:
		return []E{}, nil
	case span > len(v):
		return nil, fmt.Errorf("its %d elements are too few for the shape %v", len(v), shape)
	case inOrder:
		return v[:n], nil
	}
	rows := make([]E, 0, n)
	var gather func(axis, at int)
	gather = func(axis, at int) {
		if axis == len(shape) {
			rows = append(rows, v[at])
			return
		}
		for i := range shape[axis] {
			gather(axis+1, at+i*strides[axis])
		}
	}
	gather(0, 0)
	return rows, nil
}
