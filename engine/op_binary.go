package engine

import (
	"bytes"
	"fmt"
	"math"

	"github.com/zqonnx/zqonnx/kernels/elem"
	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/onnx"
)

var binaryOps = []op{
	{"", "Add", 1, 0, binary(sums)},
	{"", "Sub", 1, 0, binary(arithmetic(elem.Sub[float32], elem.Sub[float64],
		func(a, b int64) int64 { return a - b }, func(a, b uint64) uint64 { return a - b }))},
	{"", "Mul", 1, 0, binary(arithmetic(elem.Mul[float32], elem.Mul[float64],
		func(a, b int64) int64 { return a * b }, func(a, b uint64) uint64 { return a * b }))},
	{"", "Div", 1, 0, binary(arithmetic(elem.Div[float32], elem.Div[float64], divide, divide))},
	{"", "Mod", 10, 0, binaryOf(mod)},
	{"", "Pow", 1, 0, half(makePow)},
	{"", "Max", 1, 0, variadic(arithmetic(elem.Max[float32], elem.Max[float64], maxOf[int64], maxOf[uint64]), nil)},
	{"", "Min", 1, 0, variadic(arithmetic(elem.Min[float32], elem.Min[float64], minOf[int64], minOf[uint64]), nil)},
	{"", "Sum", 1, 0, variadic(sums, nil)},
	{"", "Mean", 1, 0, variadic(sums, divideBy)},
	{"", "And", 1, 0, binary(logical(func(a, b bool) bool { return a && b }))},
	{"", "Or", 1, 0, binary(logical(func(a, b bool) bool { return a || b }))},
	{"", "Xor", 1, 0, binary(logical(func(a, b bool) bool { return a != b }))},
	{"", "Equal", 1, 0, equalStrings(binary(equality()))},
	{"", "Less", 1, 0, binary(comparison(less[float64], less[int64], less[uint64]))},
	{"", "LessOrEqual", 12, 0, binary(comparison(lessOrEqual[float64], lessOrEqual[int64], lessOrEqual[uint64]))},
	{"", "Greater", 1, 0, binary(comparison(greater[float64], greater[int64], greater[uint64]))},
	{"", "GreaterOrEqual", 12, 0, binary(comparison(greaterOrEqual[float64], greaterOrEqual[int64], greaterOrEqual[uint64]))},
	{"", "BitShift", 11, 0, binaryOf(shift)},
	{"", "BitwiseAnd", 18, 0, binary(integers(func(a, b int64) int64 { return a & b }, func(a, b uint64) uint64 { return a & b }))},
	{"", "BitwiseOr", 18, 0, binary(integers(func(a, b int64) int64 { return a | b }, func(a, b uint64) uint64 { return a | b }))},
	{"", "BitwiseXor", 18, 0, binary(integers(func(a, b int64) int64 { return a ^ b }, func(a, b uint64) uint64 { return a ^ b }))},
}

var sums = arithmetic(elem.Add[float32], elem.Add[float64],
	func(a, b int64) int64 { return a + b }, func(a, b uint64) uint64 { return a + b })

type number interface {
	float32 | float64 | int8 | uint8 | int16 | uint16 | int32 | uint32 | int64 | uint64
}

func maxOf[T number](a, b T) T          { return max(a, b) }
func minOf[T number](a, b T) T          { return min(a, b) }
func less[T number](a, b T) bool        { return a < b }
func lessOrEqual[T number](a, b T) bool { return a <= b }
func greater[T number](a, b T) bool     { return a > b }

func greaterOrEqual[T number](a, b T) bool { return a >= b }

// divide truncates towards zero. The standard leaves the division by zero open: it gives 0 here.
func divide[T int64 | uint64](a, b T) T {
	if b == 0 {
		return 0
	}
	return a / b
}

// set adds a row for the element type.
func (m binaryTypes) set(operand, result onnx.DataType, body binaryBody) {
	row := m[operand]
	row.result, row.body = result, body
	m[operand] = row
}

// integers makes rows for all integer types of functions on the widest ones.
func integers(signed func(a, b int64) int64, unsigned func(a, b uint64) uint64) binaryTypes {
	m := binaryTypes{}
	m.set(onnx.Int8, onnx.Int8, narrowed[int8](signed))
	m.set(onnx.Int16, onnx.Int16, narrowed[int16](signed))
	m.set(onnx.Int32, onnx.Int32, narrowed[int32](signed))
	m.set(onnx.Int64, onnx.Int64, bodyOf(elem.Lift(signed)))
	m.set(onnx.Uint8, onnx.Uint8, narrowed[uint8](unsigned))
	m.set(onnx.Uint16, onnx.Uint16, narrowed[uint16](unsigned))
	m.set(onnx.Uint32, onnx.Uint32, narrowed[uint32](unsigned))
	m.set(onnx.Uint64, onnx.Uint64, bodyOf(elem.Lift(unsigned)))
	return m
}

// narrowed computes in W and keeps the low bits.
func narrowed[T int8 | uint8 | int16 | uint16 | int32 | uint32, W int64 | uint64](f func(a, b W) W) binaryBody {
	return bodyOf(elem.Lift(func(a, b T) T { return T(f(W(a), W(b))) }))
}

func arithmetic(f32 elem.Binary[float32, float32], f64 elem.Binary[float64, float64], signed func(a, b int64) int64, unsigned func(a, b uint64) uint64) binaryTypes {
	m := integers(signed, unsigned)
	m.set(onnx.Float32, onnx.Float32, bodyOf(f32))
	m.set(onnx.Float64, onnx.Float64, bodyOf(f64))
	return m
}

func logical(f func(a, b bool) bool) binaryTypes {
	m := binaryTypes{}
	m.set(onnx.Bool, onnx.Bool, bodyOf(elem.Lift(f)))
	return m
}

func comparison(float func(a, b float64) bool, signed func(a, b int64) bool, unsigned func(a, b uint64) bool) binaryTypes {
	m := binaryTypes{}
	m.set(onnx.Float32, onnx.Bool, compared[float32](float))
	m.set(onnx.Float64, onnx.Bool, compared[float64](float))
	m.set(onnx.Int8, onnx.Bool, compared[int8](signed))
	m.set(onnx.Int16, onnx.Bool, compared[int16](signed))
	m.set(onnx.Int32, onnx.Bool, compared[int32](signed))
	m.set(onnx.Int64, onnx.Bool, compared[int64](signed))
	m.set(onnx.Uint8, onnx.Bool, compared[uint8](unsigned))
	m.set(onnx.Uint16, onnx.Bool, compared[uint16](unsigned))
	m.set(onnx.Uint32, onnx.Bool, compared[uint32](unsigned))
	m.set(onnx.Uint64, onnx.Bool, compared[uint64](unsigned))
	return m
}

func compared[T number, W float64 | int64 | uint64](f func(a, b W) bool) binaryBody {
	return bodyOf(elem.Lift(func(a, b T) bool { return f(W(a), W(b)) }))
}

func equality() binaryTypes {
	m := comparison(func(a, b float64) bool { return a == b }, func(a, b int64) bool { return a == b }, func(a, b uint64) bool { return a == b })
	m.set(onnx.Bool, onnx.Bool, bodyOf(elem.Lift(func(a, b bool) bool { return a == b })))
	return m
}

// equalStrings adds the comparison of strings.
func equalStrings(m maker) maker {
	return func(b *builder, n *onnx.Node) (kernel, error) {
		numbers, err := m(b, n)
		if err != nil {
			return nil, err
		}
		return func(r *run) error {
			a, b := r.in(0), r.in(1)
			if a == nil || b == nil || a.Type != onnx.String || b.Type != onnx.String {
				return numbers(r)
			}
			var c broadcast
			y := onnx.Data[bool](r.out(0, onnx.Bool, c.shape(r, a, b)...))
			c.plan(a, b)
			s, t := a.Strings(), b.Strings()
			c.each(0, c.len(), func(o, n int, at [maxOperands]int) {
				for i := range n {
					y[o+i] = bytes.Equal(s[at[0]+i*c.step(0)], t[at[1]+i*c.step(1)])
				}
			})
			return nil
		}, nil
	}
}

func divideBy(y *onnx.Tensor, n int) {
	switch y.Type {
	case onnx.Float32:
		d := onnx.Data[float32](y)
		elem.Div(d, d, []float32{float32(n)}, 1, 0)
	case onnx.Float64:
		d := onnx.Data[float64](y)
		elem.Div(d, d, []float64{float64(n)}, 1, 0)
	}
}

// mod is the remainder with the sign of the divisor, or with fmod=1 of the dividend.
func mod(n *onnx.Node) (binaryTypes, error) {
	remainder := func(a, b float64) float64 { return math.Mod(a, b) }
	signed := func(a, b int64) int64 {
		if b == 0 || b == -1 {
			return 0
		}
		return a % b
	}
	unsigned := func(a, b uint64) uint64 {
		if b == 0 {
			return 0
		}
		return a % b
	}
	if n.Int("fmod", 0) == 0 {
		remainder = func(a, b float64) float64 {
			m := math.Mod(a, b)
			if m != 0 && (m < 0) != (b < 0) {
				m += b
			}
			return m
		}
		truncated := signed
		signed = func(a, b int64) int64 {
			m := truncated(a, b)
			if m != 0 && (m < 0) != (b < 0) {
				m += b
			}
			return m
		}
	}
	return arithmetic(elem.Lift(func(a, b float32) float32 { return float32(remainder(float64(a), float64(b))) }),
		elem.Lift(remainder), signed, unsigned), nil
}

func shift(n *onnx.Node) (binaryTypes, error) {
	none := func(a, _ int64) int64 { return a }
	var m binaryTypes
	switch d := n.Str("direction", ""); d {
	case "LEFT":
		m = integers(none, func(a, b uint64) uint64 { return a << b })
	case "RIGHT":
		m = integers(none, func(a, b uint64) uint64 { return a >> b })
	default:
		return nil, fmt.Errorf("direction %q: %w", d, onnx.ErrBadModel)
	}
	for _, t := range []onnx.DataType{onnx.Int8, onnx.Int16, onnx.Int32, onnx.Int64} {
		delete(m, t) // the operator is for unsigned types
	}
	return m, nil
}

// makePow takes exponents of another type than the base.
func makePow(*builder, *onnx.Node) (kernel, error) {
	types := binaryTypes{}
	types.set(onnx.Float32, onnx.Float32, bodyOf(powLoop))
	types.set(onnx.Float64, onnx.Float64, bodyOf(elem.Lift(mathf.Pow64)))
	k := &binaryRun{}
	loop := k.work
	return func(r *run) error {
		a, b := r.in(0), r.in(1)
		y := r.out(0, a.Type, k.shape(r, a, b)...)
		if a.Type == onnx.Float32 {
			k.apply(r, types[a.Type].body, y, a, castTo(b, onnx.Float32), loop)
			return nil
		}
		wide := y
		if y.Type != onnx.Float64 {
			wide = onnx.Zeros(onnx.Float64, y.Dims...)
		}
		k.apply(r, types[onnx.Float64].body, wide, castTo(a, onnx.Float64), castTo(b, onnx.Float64), loop)
		if wide != y {
			castInto(y, wide, 0, y.Len(), true)
		}
		return nil
	}, nil
}

// powLoop has short ways for the exponents of layer norms and activations; each is correctly rounded, as the long way.
func powLoop(dst, a, b []float32, sa, sb int) {
	if sb == 0 && len(dst) > 0 {
		switch a = a[:max(len(dst)*sa, 1)]; b[0] {
		case 1:
			copy(dst, a)
			return
		case 2:
			elem.Mul(dst, a, a, sa, sa)
			return
		case 3:
			for i := range dst {
				x := float64(a[i*sa])
				dst[i] = float32(float64(x*x) * x)
			}
			return
		}
	}
	for i := range dst {
		dst[i] = mathf.Pow(a[i*sa], b[i*sb])
	}
}
