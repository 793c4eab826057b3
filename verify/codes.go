package verify

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
)

// codes are the integers that a DequantizeLinear with one constant scale turns into a tensor. A fused program has them
// where it has no use for the floats.
type codes struct {
	tensor string
	kind   onnx.DataType // Undefined: not stated in the model
	scale  float32
	zero   int64
}

// codesOf returns the codes of v; nil when it is not made so.
func codesOf(v *onnx.Value) *codes {
	n, _ := v.Producer()
	if n == nil || n.Op != "DequantizeLinear" || n.Input(0) == nil {
		return nil
	}
	scale := constant(n.Input(1))
	if scale == nil || scale.Len() != 1 || !scale.Type.IsFloat() {
		return nil
	}
	s, err := scale.Float32s()
	if err != nil {
		return nil
	}
	c := &codes{tensor: n.Input(0).Name(), scale: s[0]}
	if t := n.Input(0).Type; t != nil {
		c.kind = t.Elem
	}
	if n.Input(2) == nil {
		return c
	}
	zero := constant(n.Input(2))
	if zero == nil || zero.Len() != 1 {
		return nil
	}
	z, err := zero.Int64s()
	if err != nil {
		return nil
	}
	c.zero, c.kind = z[0], zero.Type
	return c
}

// constant returns the tensor of an initializer or a Constant node; nil of anything else, or one that cannot be read.
func constant(v *onnx.Value) *onnx.Tensor {
	if v == nil {
		return nil
	}
	t := v.Const()
	if n, _ := v.Producer(); n != nil {
		t = n.Constant()
	}
	if t == nil || t.Load() != nil {
		return nil
	}
	return t
}

// limits returns the least and the greatest value that do not saturate: the outermost codes reach half a step beyond their
// own value.
func (c *codes) limits() (lo, hi float64, ok bool) {
	t, ok := codeTypes[c.kind]
	if !ok {
		return 0, 0, false
	}
	s := float64(c.scale)
	return (float64(t.least-c.zero) - 0.5) * s, (float64(t.greatest-c.zero) + 0.5) * s, true
}

// codeTypes are the types of codes that saturate.
var codeTypes = map[onnx.DataType]struct {
	name            string
	least, greatest int64
}{
	onnx.Uint8:  {"uint8", 0, 1<<8 - 1},
	onnx.Int8:   {"int8", -1 << 7, 1<<7 - 1},
	onnx.Uint16: {"uint16", 0, 1<<16 - 1},
	onnx.Int16:  {"int16", -1 << 15, 1<<15 - 1},
}

// dequantize returns what DequantizeLinear makes of the codes.
func (c *codes) dequantize(t *onnx.Tensor) (*onnx.Tensor, error) {
	q, err := t.Int64s()
	if err != nil {
		return nil, fmt.Errorf("codes %q: %w", c.tensor, err)
	}
	x := make([]float32, len(q))
	for i, v := range q {
		x[i] = float32(v-c.zero) * c.scale
	}
	return onnx.Of(x, t.Dims...), nil
}
