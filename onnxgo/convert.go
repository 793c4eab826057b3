package onnxgo

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
)

type number interface {
	float32 | float64 | int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// conversions make a tensor of another type of number.
var conversions = map[onnx.DataType]func(*onnx.Tensor) (*onnx.Tensor, error){
	onnx.Float32: exact[float32], onnx.Float64: exact[float64],
	onnx.Int8: exact[int8], onnx.Int16: exact[int16], onnx.Int32: exact[int32], onnx.Int64: exact[int64],
	onnx.Uint8: exact[uint8], onnx.Uint16: exact[uint16], onnx.Uint32: exact[uint32], onnx.Uint64: exact[uint64],
	onnx.Float16: halved(onnx.Float16), onnx.BFloat16: halved(onnx.BFloat16),
}

// exact converts t to E; the error names the first element that E cannot hold.
func exact[E number](t *onnx.Tensor) (*onnx.Tensor, error) {
	switch t.Type {
	case onnx.Float32:
		return recast[float32, E](t)
	case onnx.Float64:
		return recast[float64, E](t)
	case onnx.Int8:
		return recast[int8, E](t)
	case onnx.Int16:
		return recast[int16, E](t)
	case onnx.Int32:
		return recast[int32, E](t)
	case onnx.Int64:
		return recast[int64, E](t)
	case onnx.Uint8:
		return recast[uint8, E](t)
	case onnx.Uint16:
		return recast[uint16, E](t)
	case onnx.Uint32:
		return recast[uint32, E](t)
	case onnx.Uint64:
		return recast[uint64, E](t)
	}
	var e E
	return nil, fmt.Errorf("it is %s, the model wants %T", t.Type, e)
}

func recast[S, E number](t *onnx.Tensor) (*onnx.Tensor, error) {
	v := onnx.Data[S](t)
	e := make([]E, len(v))
	for i, x := range v {
		y := E(x)
		nan := x != x && y != y
		if !nan && S(y) != x || (x < 0) != (y < 0) {
			return nil, fmt.Errorf("it is %T, the model wants %T, which cannot hold element %d, %v", x, y, i, x)
		}
		e[i] = y
	}
	return onnx.Of(e, t.Dims...), nil
}

func halved(want onnx.DataType) func(*onnx.Tensor) (*onnx.Tensor, error) {
	return func(t *onnx.Tensor) (*onnx.Tensor, error) {
		t, err := exact[float32](t)
		if err != nil {
			return nil, err
		}
		half := onnx.Zeros(want, t.Dims...)
		onnx.SetFloats(half, onnx.Data[float32](t))
		return half, nil
	}
}
