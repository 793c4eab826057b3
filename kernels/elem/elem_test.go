package elem

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// TestBinary holds the written-out loops to Lift, with guards behind the result.
func TestBinary(t *testing.T) {
	loops := map[string][2]Binary[float32, float32]{
		"Add": {Add[float32], Lift(func(a, b float32) float32 { return a + b })},
		"Sub": {Sub[float32], Lift(func(a, b float32) float32 { return a - b })},
		"Mul": {Mul[float32], Lift(func(a, b float32) float32 { return a * b })},
		"Div": {Div[float32], Lift(func(a, b float32) float32 { return a / b })},
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"Add", "Sub", "Mul", "Div"}).Draw(t, "loop")
		n := rapid.IntRange(0, 20).Draw(t, "n")
		sa, sb := rapid.IntRange(0, 1).Draw(t, "sa"), rapid.IntRange(0, 1).Draw(t, "sb")
		if n > 1 && sa+sb == 0 {
			sa = 1
		}
		operand := func(stride int) []float32 {
			return rapid.SliceOfN(rapid.Float32(), max(n*stride, 1), -1).Draw(t, "operand")
		}
		a, b := operand(sa), operand(sb)
		got, want := make([]float32, n+1), make([]float32, n+1)
		loops[name][0](got[:n], a, b, sa, sb)
		loops[name][1](want[:n], a, b, sa, sb)
		for i, w := range want {
			if math.Float32bits(got[i]) != math.Float32bits(w) && (got[i] == got[i] || w == w) {
				t.Fatalf("%s: element %d is %v, want %v", name, i, got[i], w)
			}
		}
	})
}

// TestUnary has the edges: limits, signed zeros, NaN.
func TestUnary(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	x := []float32{-inf, -4, -3, -0.5, 0, 0.5, 3, 4, inf, nan}
	for _, c := range []struct {
		name string
		f    func(dst, src []float32)
		want []float32
	}{
		{"Relu", Relu[float32], []float32{0, 0, 0, 0, 0, 0.5, 3, 4, inf, nan}},
		{"LeakyRelu", func(d, s []float32) { LeakyRelu(d, s, 0.5) }, []float32{-inf, -2, -1.5, -0.25, 0, 0.5, 3, 4, inf, nan}},
		{"Clip", func(d, s []float32) { Clip(d, s, -1, 3.5) }, []float32{-1, -1, -1, -0.5, 0, 0.5, 3, 3.5, 3.5, nan}},
		{"AtLeast", func(d, s []float32) { AtLeast(d, s, -1) }, []float32{-1, -1, -1, -0.5, 0, 0.5, 3, 4, inf, nan}},
		{"AtMost", func(d, s []float32) { AtMost(d, s, 1) }, []float32{-inf, -4, -3, -0.5, 0, 0.5, 1, 1, 1, nan}},
		{"HardSigmoid", func(d, s []float32) { HardSigmoid(d, s, 0.25, 0.5) }, []float32{0, 0, 0, 0.375, 0.5, 0.625, 1, 1, 1, nan}},
		{"HardSwish", HardSwish[float32], []float32{nan, 0, 0, -0.20833333, 0, 0.29166666, 3, 4, inf, nan}},
		{"Abs", Abs, []float32{inf, 4, 3, 0.5, 0, 0.5, 3, 4, inf, nan}},
		{"Neg", Neg, []float32{inf, 4, 3, 0.5, 0, -0.5, -3, -4, -inf, nan}},
		{"Reciprocal", Reciprocal, []float32{0, -0.25, -1.0 / 3, -2, inf, 2, 1.0 / 3, 0.25, 0, nan}},
	} {
		got := make([]float32, len(x))
		c.f(got, x)
		for i, w := range c.want {
			if got[i] != w && (got[i] == got[i] || w == w) {
				t.Errorf("%s(%v) = %v, want %v", c.name, x[i], got[i], w)
			}
		}
	}
}

// TestActivations compares with the formulas in float64.
func TestActivations(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(dst, src []float32)
		want func(x float64) float64
	}{
		{"Gelu", Gelu, func(x float64) float64 { return x / 2 * (1 + mathf.Erf64(x/math.Sqrt2)) }},
		{"GeluTanh", GeluTanh, func(x float64) float64 {
			return x / 2 * (1 + mathf.Tanh64(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}},
		{"Swish", func(d, s []float32) { Swish(d, s, 1.702) }, func(x float64) float64 { return x * mathf.Sigmoid64(1.702*x) }},
	} {
		var x, y [1]float32
		for v := float32(-12); v < 12; v += 0.01 {
			x[0] = v
			c.f(y[:], x[:])
			if want := c.want(float64(v)); math.Abs(float64(y[0])-want) > 5e-7*max(1, math.Abs(want)) {
				t.Fatalf("%s(%v) = %v, want %v", c.name, v, y[0], want)
			}
		}
	}
	for x := -30.0; x < 40; x += 0.1 {
		if got, want := Mish64(x), x*math.Tanh(math.Log1p(math.Exp(x))); math.Abs(got-want) > 1e-14*max(1, math.Abs(want)) {
			t.Fatalf("mish(%v) = %v, want %v", x, got, want)
		}
	}
}
