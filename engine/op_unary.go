package engine

import (
	"fmt"
	"math"

	"github.com/zqonnx/zqonnx/kernels/elem"
	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/onnx"
)

// unaryBody computes elements lo … hi-1 of y from those of x.
type unaryBody func(y, x *onnx.Tensor, lo, hi int)

// unaryTypes says what an operator does for each element type.
type unaryTypes map[onnx.DataType]struct {
	result onnx.DataType
	body   unaryBody
}

func (m unaryTypes) set(operand, result onnx.DataType, body unaryBody) {
	row := m[operand]
	row.result, row.body = result, body
	m[operand] = row
}

// over makes a body of a loop on slices.
func over[T, R onnx.Elem](loop func(dst []R, src []T)) unaryBody {
	return func(y, x *onnx.Tensor, lo, hi int) { loop(onnx.Data[R](y)[lo:hi], onnx.Data[T](x)[lo:hi]) }
}

// mapped makes a body of a function on elements.
func mapped[T, R onnx.Elem](f func(T) R) unaryBody {
	return over(func(dst []R, src []T) {
		for i, x := range src {
			dst[i] = f(x)
		}
	})
}

// unary makes the kernels of a unary elementwise operator; cost is how much dearer an element is than an addition.
func unary(types unaryTypes, cost int) maker {
	return unaryOf(func(*onnx.Node) unaryTypes { return types }, cost)
}

// unaryOf makes the kernels of a unary operator with attributes.
func unaryOf(types func(n *onnx.Node) unaryTypes, cost int) maker {
	return half(func(_ *builder, n *onnx.Node) (kernel, error) {
		types := types(n)
		var x, y *onnx.Tensor
		var body unaryBody
		loop := func(lo, hi int) { body(y, x, lo, hi) }
		return func(r *run) error {
			x = r.in(0)
			t, ok := types[x.Type]
			if !ok {
				return fmt.Errorf("elements of %s are %w", x.Type, ErrUnsupported)
			}
			y, body = r.out(0, t.result, x.Dims...), t.body
			r.par(x.Len(), grain/cost, loop)
			x, y = nil, nil
			return nil
		}, nil
	})
}

// floats makes rows for float32 and float64.
func floats(f32 func(dst, src []float32), f64 func(float64) float64) unaryTypes {
	m := unaryTypes{}
	m.set(onnx.Float32, onnx.Float32, over(f32))
	m.set(onnx.Float64, onnx.Float64, mapped(f64))
	return m
}

// wide makes rows that compute in float64 and round once.
func wide(f func(float64) float64) unaryTypes {
	m := unaryTypes{}
	m.set(onnx.Float32, onnx.Float32, mapped(func(x float32) float32 { return float32(f(float64(x))) }))
	m.set(onnx.Float64, onnx.Float64, mapped(f))
	return m
}

// signed adds rows for the signed integers.
func signed(m unaryTypes, f func(int64) int64) unaryTypes {
	m.set(onnx.Int8, onnx.Int8, mapped(func(x int8) int8 { return int8(f(int64(x))) }))
	m.set(onnx.Int16, onnx.Int16, mapped(func(x int16) int16 { return int16(f(int64(x))) }))
	m.set(onnx.Int32, onnx.Int32, mapped(func(x int32) int32 { return int32(f(int64(x))) }))
	m.set(onnx.Int64, onnx.Int64, mapped(f))
	return m
}

// unsigned adds rows for the unsigned integers.
func unsigned(m unaryTypes, f func(uint64) uint64) unaryTypes {
	m.set(onnx.Uint8, onnx.Uint8, mapped(func(x uint8) uint8 { return uint8(f(uint64(x))) }))
	m.set(onnx.Uint16, onnx.Uint16, mapped(func(x uint16) uint16 { return uint16(f(uint64(x))) }))
	m.set(onnx.Uint32, onnx.Uint32, mapped(func(x uint32) uint32 { return uint32(f(uint64(x))) }))
	m.set(onnx.Uint64, onnx.Uint64, mapped(f))
	return m
}

func same[T any](x T) T { return x }

// cheap and dear are costs of unary operators.
const (
	cheap = 1
	dear  = 8
)

var unaryOps = []op{
	{"", "Abs", 1, 0, unary(unsigned(signed(floats(elem.Abs, math.Abs), func(x int64) int64 { return max(x, -x) }), same[uint64]), cheap)},
	{"", "Neg", 1, 0, unary(signed(floats(elem.Neg, func(x float64) float64 { return -x }), func(x int64) int64 { return -x }), cheap)},
	{"", "Sign", 9, 0, unary(unsigned(signed(wide(sign[float64]), sign[int64]), func(x uint64) uint64 { return min(x, 1) }), cheap)},
	{"", "Sqrt", 1, 0, unary(floats(mathf.Sqrt, math.Sqrt), cheap)},
	{"", "Reciprocal", 1, 0, unary(floats(elem.Reciprocal, func(x float64) float64 { return 1 / x }), cheap)},
	{"", "Exp", 1, 0, unary(floats(mathf.Exp, mathf.Exp64), dear)},
	{"", "Log", 1, 0, unary(floats(mathf.Log, mathf.Log64), dear)},
	{"", "Erf", 9, 0, unary(floats(mathf.Erf, mathf.Erf64), dear)},
	{"", "Tanh", 1, 0, unary(floats(mathf.Tanh, mathf.Tanh64), dear)},
	{"", "Sigmoid", 1, 0, unary(floats(mathf.Sigmoid, mathf.Sigmoid64), dear)},
	{"", "Sin", 7, 0, unary(wide(mathf.Sin64), dear)},
	{"", "Cos", 7, 0, unary(wide(mathf.Cos64), dear)},
	{"", "Tan", 7, 0, unary(wide(mathf.Tan64), dear)},
	{"", "Asin", 7, 0, unary(wide(mathf.Asin64), dear)},
	{"", "Acos", 7, 0, unary(wide(mathf.Acos64), dear)},
	{"", "Atan", 7, 0, unary(wide(mathf.Atan64), dear)},
	{"", "Sinh", 9, 0, unary(wide(mathf.Sinh64), dear)},
	{"", "Cosh", 9, 0, unary(wide(mathf.Cosh64), dear)},
	{"", "Asinh", 9, 0, unary(wide(mathf.Asinh64), dear)},
	{"", "Acosh", 9, 0, unary(wide(mathf.Acosh64), dear)},
	{"", "Atanh", 9, 0, unary(wide(mathf.Atanh64), dear)},
	{"", "Ceil", 1, 0, unary(wide(math.Ceil), cheap)},
	{"", "Floor", 1, 0, unary(wide(math.Floor), cheap)},
	{"", "Round", 11, 0, unary(wide(math.RoundToEven), cheap)},
	{"", "Relu", 1, 0, unary(signed(relu(), func(x int64) int64 { return max(x, 0) }), cheap)},
	{"", "Softplus", 1, 0, unary(wide(mathf.Softplus64), dear)},
	{"", "Softsign", 1, 0, unary(wide(func(x float64) float64 { return x / (1 + math.Abs(x)) }), cheap)},
	{"", "HardSwish", 14, 0, unary(hardSwish(), cheap)},
	{"", "Mish", 18, 0, unary(wide(elem.Mish64), dear)},
	{"", "Gelu", 20, 0, unaryOf(gelu, dear)},
	{msDomain, "Gelu", 1, 0, unaryOf(gelu, dear)},
	{msDomain, "QuickGelu", 1, 0, unaryOf(func(n *onnx.Node) unaryTypes { return swish(n.Float("alpha", 1.702)) }, dear)},
	{"", "Swish", 24, 0, unaryOf(func(n *onnx.Node) unaryTypes { return swish(n.Float("alpha", 1)) }, dear)},
	{"", "LeakyRelu", 1, 0, unaryOf(leakyRelu, cheap)},
	{"", "HardSigmoid", 1, 0, unaryOf(hardSigmoid, cheap)},
	{"", "ThresholdedRelu", 10, 0, unaryOf(thresholdedRelu, cheap)},
	{"", "Elu", 1, 0, unaryOf(func(n *onnx.Node) unaryTypes { return elu(1, float64(n.Float("alpha", 1)), 1) }, dear)},
	{"", "Celu", 12, 0, unaryOf(func(n *onnx.Node) unaryTypes {
		a := float64(n.Float("alpha", 1))
		return elu(1, a, 1/a)
	}, dear)},
	{"", "Selu", 1, 0, unaryOf(func(n *onnx.Node) unaryTypes {
		return elu(float64(n.Float("gamma", 1.05070102214813232421875)), float64(n.Float("alpha", 1.67326319217681884765625)), 1)
	}, dear)},
	{"", "Shrink", 9, 0, unaryOf(shrink, cheap)},
	{"", "Not", 1, 0, unary(not(), cheap)},
	{"", "BitwiseNot", 18, 0, unary(unsigned(signed(unaryTypes{}, func(x int64) int64 { return ^x }), func(x uint64) uint64 { return ^x }), cheap)},
	{"", "IsNaN", 9, 0, unary(tests(func(x float64) bool { return x != x }), cheap)},
	{"", "IsInf", 10, 0, unaryOf(func(n *onnx.Node) unaryTypes {
		up, down := n.Int("detect_positive", 1) != 0, n.Int("detect_negative", 1) != 0
		return tests(func(x float64) bool { return up && x > math.MaxFloat64 || down && x < -math.MaxFloat64 })
	}, cheap)},
}

func sign[T float64 | int64](x T) T {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x // 0 or NaN
}

func relu() unaryTypes {
	m := unaryTypes{}
	m.set(onnx.Float32, onnx.Float32, over(elem.Relu[float32]))
	m.set(onnx.Float64, onnx.Float64, over(elem.Relu[float64]))
	return m
}

func hardSwish() unaryTypes {
	m := unaryTypes{}
	m.set(onnx.Float32, onnx.Float32, over(elem.HardSwish[float32]))
	m.set(onnx.Float64, onnx.Float64, over(elem.HardSwish[float64]))
	return m
}

func leakyRelu(n *onnx.Node) unaryTypes {
	alpha := n.Float("alpha", 0.01)
	m := unaryTypes{}
	m.set(onnx.Float32, onnx.Float32, over(func(dst, src []float32) { elem.LeakyRelu(dst, src, alpha) }))
	m.set(onnx.Float64, onnx.Float64, over(func(dst, src []float64) { elem.LeakyRelu(dst, src, float64(alpha)) }))
	return m
}

func hardSigmoid(n *onnx.Node) unaryTypes {
	alpha, beta := n.Float("alpha", 0.2), n.Float("beta", 0.5)
	m := unaryTypes{}
	m.set(onnx.Float32, onnx.Float32, over(func(dst, src []float32) { elem.HardSigmoid(dst, src, alpha, beta) }))
	m.set(onnx.Float64, onnx.Float64, over(func(dst, src []float64) { elem.HardSigmoid(dst, src, float64(alpha), float64(beta)) }))
	return m
}

func thresholdedRelu(n *onnx.Node) unaryTypes {
	alpha := float64(n.Float("alpha", 1))
	return wide(func(x float64) float64 {
		if x > alpha || x != x {
			return x
		}
		return 0
	})
}

// elu is gamma·x above 0 and gamma·alpha·(e^(x·slope) − 1) below.
func elu(gamma, alpha, slope float64) unaryTypes {
	return wide(func(x float64) float64 {
		if x > 0 {
			return float64(gamma * x)
		}
		return float64(float64(gamma*alpha) * mathf.Expm164(float64(x*slope)))
	})
}

func swish(alpha float32) unaryTypes {
	return floats(func(dst, src []float32) { elem.Swish(dst, src, alpha) },
		func(x float64) float64 { return x * mathf.Sigmoid64(float64(float64(alpha)*x)) })
}

func gelu(n *onnx.Node) unaryTypes {
	if n.Str("approximate", "none") == "tanh" {
		return floats(elem.GeluTanh, func(x float64) float64 {
			inner := x + float64(0.044715*float64(float64(x*x)*x))
			return float64(x/2) * (1 + mathf.Tanh64(float64(math.Sqrt(2/math.Pi)*inner)))
		})
	}
	return floats(elem.Gelu, func(x float64) float64 { return float64(x/2) * (1 + mathf.Erf64(x/math.Sqrt2)) })
}

// shrink moves numbers beyond lambd by bias towards 0; the rest becomes 0.
func shrink(n *onnx.Node) unaryTypes {
	bias, lambd := float64(n.Float("bias", 0)), float64(n.Float("lambd", 0.5))
	f := func(x float64) float64 {
		switch {
		case x < -lambd:
			return x + bias
		case x > lambd:
			return x - bias
		}
		return 0
	}
	return unsigned(signed(wide(f), func(x int64) int64 { return int64(f(float64(x))) }), func(x uint64) uint64 { return uint64(max(f(float64(x)), 0)) })
}

func not() unaryTypes {
	m := unaryTypes{}
	m.set(onnx.Bool, onnx.Bool, mapped(func(x bool) bool { return !x }))
	return m
}

func tests(f func(float64) bool) unaryTypes {
	m := unaryTypes{}
	m.set(onnx.Float32, onnx.Bool, mapped(func(x float32) bool { return f(float64(x)) }))
	m.set(onnx.Float64, onnx.Bool, mapped(f))
	return m
}
