package quant

import (
	"math"

	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// Sum adds codes as ONNX Runtime's QLinearAdd does, in one rounding from raw codes.
type Sum struct {
	ratioA, ratioB, fixed float32
	signed                bool
}

// NewSum returns the sum for two operands and a result with these scales and zero points.
func NewSum(sa float32, za int32, sb float32, zb int32, sc float32, zc int32, signed bool) Sum {
	s := Sum{ratioA: sa / sc, ratioB: sb / sc, signed: signed}
	s.fixed = float32(zc) - mathf.FMA(s.ratioA, float32(za), float32(s.ratioB*float32(zb)))
	return s
}

func (s *Sum) addGo(dst, a, b []uint8, stepA, stepB int) {
	lo, hi := Limits(s.signed)
	l, h := float32(lo), float32(hi)
	for i := range dst {
		x, y := code(a[i*stepA], s.signed), code(b[i*stepB], s.signed)
		dst[i] = uint8(round(mathf.FMA(float32(x), s.ratioA, mathf.FMA(float32(y), s.ratioB, s.fixed)), l, h))
	}
}

// Product multiplies codes as ONNX Runtime's QLinearMul does.
type Product struct {
	za, zb     int32
	multiplier float32
	zc         float32
	signed     bool
}

// NewProduct returns the product for two operands and a result with these scales and zero points.
func NewProduct(sa float32, za int32, sb float32, zb int32, sc float32, zc int32, signed bool) Product {
	return Product{za: za, zb: zb, multiplier: float32(sa*sb) / sc, zc: float32(zc), signed: signed}
}

func (p *Product) mulGo(dst, a, b []uint8, stepA, stepB int) {
	lo, hi := Limits(p.signed)
	l, h := float32(lo), float32(hi)
	for i := range dst {
		x, y := code(a[i*stepA], p.signed)-p.za, code(b[i*stepB], p.signed)-p.zb
		v := float32(float32(x*y)*p.multiplier) + p.zc
		dst[i] = uint8(round(v, l, h))
	}
}

func code(b uint8, signed bool) int32 {
	if signed {
		return int32(int8(b))
	}
	return int32(b)
}

// Params are the scale and zero point of a tensor of 8-bit codes.
type Params struct {
	Scale  float32
	Zero   int32
	Signed bool
}

// Value returns f32(f32(code-zero)·scale).
func (p Params) Value(b uint8) float32 { return float32(code(b, p.Signed)-p.Zero) * p.Scale }

// Code returns sat(rint(f32(v/scale)) + zero).
func (p Params) Code(v float32) uint8 {
	lo, hi := Limits(p.Signed)
	return uint8(round(v/p.Scale, float32(lo-p.Zero), float32(hi-p.Zero)) + p.Zero)
}

// CodeTies is Code with the zero point added before rounding: sat(rint(f32(f32(v/scale) + zero))).
func (p Params) CodeTies(v float32) uint8 {
	lo, hi := Limits(p.Signed)
	return uint8(round(float32(v/p.Scale)+float32(p.Zero), float32(lo), float32(hi)))
}

// Table fills t so that t[code under from] is the code under to of f applied to the value.
func Table(t *[256]uint8, from, to Params, f func(float32) float32) {
	for b := range t {
		t[b] = to.Code(f(from.Value(uint8(b))))
	}
}

// SoftmaxTable fills t for rows of n codes of the given scale: exponentials scaled up as far as their sum stays finite.
func SoftmaxTable(t *[256]float32, scale float32, n int, exp, log func(float64) float64) {
	s := float64(scale)
	shift := max(0, log(math.MaxFloat32/float64(n))-5) / s
	for i := range t {
		t[i] = float32(exp((float64(i) - 255 + shift) * s))
	}
}

// Softmax computes a row as ONNX Runtime's QLinearSoftmax does: sat(rint(f32(f32(e·floor(1/scale))/Σe)) + zero), where e
// is the table's entry for the distance from the greatest code. step is the distance of neighbours in dst and x.
func Softmax(dst, x []uint8, n, step int, signed bool, t *[256]float32, to Params) {
	greatest := int32(-128)
	for i := range n {
		greatest = max(greatest, code(x[i*step], signed))
	}
	var sum float32
	for i := range n {
		sum += t[255-greatest+code(x[i*step], signed)]
	}
	inverse := float32(math.Floor(float64(1 / to.Scale)))
	lo, hi := Limits(to.Signed)
	l, h := float32(lo-to.Zero), float32(hi-to.Zero)
	for i := range n {
		e := t[255-greatest+code(x[i*step], signed)]
		dst[i*step] = uint8(round(float32(e*inverse)/sum, l, h) + to.Zero)
	}
}
