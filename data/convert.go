package data

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
)

// kinds sorts the element types that are converted into each other.
var kinds = map[onnx.DataType]int{
	onnx.Float16: 'f', onnx.BFloat16: 'f', onnx.Float32: 'f', onnx.Float64: 'f',
	onnx.Int8: 'i', onnx.Int16: 'i', onnx.Int32: 'i', onnx.Int64: 'i',
	onnx.Uint8: 'i', onnx.Uint16: 'i', onnx.Uint32: 'i', onnx.Uint64: 'i',
}

// convertible tells by the types alone whether fit can work.
func convertible(have, want onnx.DataType) error {
	if have != want && want != onnx.Undefined && (kinds[have] == 0 || kinds[have] != kinds[want]) {
		return fmt.Errorf("is %s; the model wants %s", npy.TypeName(have), npy.TypeName(want))
	}
	return nil
}

// fit returns t in the element type that the model wants: integers when every value stays what it is, floats rounded to
// nearest. The error follows the array's name.
func fit(t *onnx.Tensor, want onnx.DataType) (*onnx.Tensor, error) {
	if t.Type == want || want == onnx.Undefined {
		return t, nil
	}
	if err := convertible(t.Type, want); err != nil {
		return nil, err
	}
	if kinds[want] == 'f' {
		return fitFloat(t, want)
	}
	return fitInt(t, want)
}

// ints has a row for each integer type: the values it can take from an int64, and how it does.
var ints = map[onnx.DataType]struct {
	min, max int64
	make     func([]int64, []int64) *onnx.Tensor
}{
	onnx.Int8:   {math.MinInt8, math.MaxInt8, narrow[int8]},
	onnx.Int16:  {math.MinInt16, math.MaxInt16, narrow[int16]},
	onnx.Int32:  {math.MinInt32, math.MaxInt32, narrow[int32]},
	onnx.Int64:  {math.MinInt64, math.MaxInt64, narrow[int64]},
	onnx.Uint8:  {0, math.MaxUint8, narrow[uint8]},
	onnx.Uint16: {0, math.MaxUint16, narrow[uint16]},
	onnx.Uint32: {0, math.MaxUint32, narrow[uint32]},
	onnx.Uint64: {0, math.MaxInt64, narrow[uint64]},
}

func narrow[E int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64](v, dims []int64) *onnx.Tensor {
	e := make([]E, len(v))
	for i, x := range v {
		e[i] = E(x)
	}
	return onnx.Of(e, dims...)
}

func fitInt(t *onnx.Tensor, want onnx.DataType) (*onnx.Tensor, error) {
	if t.Type == onnx.Uint64 {
		for i, x := range onnx.Data[uint64](t) {
			if x > math.MaxInt64 {
				return nil, tooBig(strconv.FormatUint(x, 10), t.Dims, i, want)
			}
		}
	}
	v, err := t.Int64s()
	if err != nil {
		return nil, err
	}
	row := ints[want]
	for i, x := range v {
		if x < row.min || x > row.max {
			return nil, tooBig(strconv.FormatInt(x, 10), t.Dims, i, want)
		}
	}
	return row.make(v, cloneDims(t.Dims)), nil
}

// cloneDims never returns nil, which onnx.Of takes for "one-dimensional".
func cloneDims(dims []int64) []int64 { return append([]int64{}, dims...) }

func tooBig(value string, dims []int64, i int, want onnx.DataType) error {
	return fmt.Errorf("holds %s at %s, which %s, the type that the model wants, cannot hold", value, position(dims, i), npy.TypeName(want))
}

// position writes the index of element i as [0,2,1].
func position(dims []int64, i int) string {
	index := make([]int64, len(dims))
	for k := len(dims) - 1; k >= 0; k-- {
		index[k] = int64(i) % dims[k]
		i /= int(dims[k])
	}
	return npy.ShapeText(index)
}

func fitFloat(t *onnx.Tensor, want onnx.DataType) (*onnx.Tensor, error) {
	r := onnx.Zeros(want, cloneDims(t.Dims)...)
	if t.Type == onnx.Float64 {
		return r, setFloats(r, onnx.Data[float64](t))
	}
	x, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	return r, setFloats(r, x)
}

func setFloats[F float32 | float64](t *onnx.Tensor, x []F) error {
	if i := onnx.SetFloats(t, x); i >= 0 {
		return tooBig(strconv.FormatFloat(float64(x[i]), 'g', -1, 64), t.Dims, i, t.Type)
	}
	return nil
}

// finite reports the first NaN or infinity, in words that follow the array's name.
func finite(t *onnx.Tensor) error {
	i := -1
	switch t.Type {
	case onnx.Float32:
		i = slices.IndexFunc(onnx.Data[float32](t), func(x float32) bool { return math.Float32bits(x)>>23&0xff == 0xff })
	case onnx.Float64:
		i = slices.IndexFunc(onnx.Data[float64](t), func(x float64) bool { return math.Float64bits(x)>>52&0x7ff == 0x7ff })
	case onnx.Float16:
		i = slices.IndexFunc(onnx.Data[uint16](t), func(b uint16) bool { return b>>10&0x1f == 0x1f })
	case onnx.BFloat16:
		i = slices.IndexFunc(onnx.Data[uint16](t), func(b uint16) bool { return b>>7&0xff == 0xff })
	}
	if i < 0 {
		return nil
	}
	x := 0.0
	if t.Type == onnx.Float64 {
		x = onnx.Data[float64](t)[i]
	} else {
		f, err := t.Float32s()
		if err != nil {
			return err
		}
		x = float64(f[i])
	}
	return fmt.Errorf("holds %v at %s", x, position(t.Dims, i))
}

// constant makes the tensor of --value for an input: one number fills it, several are its elements in order.
func constant(p port, text string, b binding) (*onnx.Tensor, error) {
	fail := func(format string, args ...any) (*onnx.Tensor, error) {
		return nil, badOption("--value %s=%s: %s", p.name, text, fmt.Sprintf(format, args...))
	}
	if p.typ.Elem == onnx.String {
		dims := b.sizes(p)
		if err := checkSize(p, dims); err != nil {
			return nil, err
		}
		return onnx.NewStrings(dims, slices.Repeat([][]byte{[]byte(text)}, int(onnx.NumElements(dims)))), nil
	}
	words := strings.Split(text, ",")
	dims := b.sizes(p)
	switch {
	case p.typ.Shape == nil && len(words) > 1:
		dims = []int64{int64(len(words))}
	case len(dims) == 1 && p.typ.Shape[0].Size < 0 && len(words) > 1:
		if _, known := b[symbol(p, 0)]; !known {
			dims[0] = int64(len(words))
		}
	}
	if err := checkSize(p, dims); err != nil {
		return nil, err
	}
	n := int(onnx.NumElements(dims))
	if len(words) != 1 && len(words) != n {
		return fail("%d numbers for the %d elements of %s", len(words), n, npy.ShapeText(dims))
	}
	elem := func(i int) string { return strings.TrimSpace(words[i%len(words)]) }
	noSuch := func(i int) (*onnx.Tensor, error) {
		return fail("%q is no %s", elem(i), npy.TypeName(p.typ.Elem))
	}
	switch kinds[p.typ.Elem] {
	case 'f':
		v := make([]float64, n)
		for i := range v {
			x, err := strconv.ParseFloat(elem(i), 64)
			if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
				return noSuch(i)
			}
			v[i] = x
		}
		t, err := fit(onnx.Of(v, dims...), p.typ.Elem)
		if err != nil {
			return fail("%s is no %s", text, npy.TypeName(p.typ.Elem))
		}
		return t, nil
	case 'i':
		row := ints[p.typ.Elem]
		v := make([]int64, n)
		for i := range v {
			x, err := strconv.ParseInt(elem(i), 10, 64)
			if err != nil || x < row.min || x > row.max {
				return noSuch(i)
			}
			v[i] = x
		}
		return row.make(v, dims), nil
	}
	if p.typ.Elem != onnx.Bool {
		return fail("an input of %s takes no constant", p.typ.Elem)
	}
	v := make([]bool, n)
	for i := range v {
		x, err := strconv.ParseBool(elem(i))
		if err != nil {
			return noSuch(i)
		}
		v[i] = x
	}
	return onnx.Of(v, dims...), nil
}
