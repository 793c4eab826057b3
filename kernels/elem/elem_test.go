package elem

import (
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/kernels/cpu"
	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// anyFloat draws the edges often.
func anyFloat() *rapid.Generator[float32] {
	inf, zero := float32(math.Inf(1)), float32(math.Copysign(0, -1))
	return rapid.OneOf(
		rapid.SampledFrom([]float32{0, zero, 1, -1, inf, -inf, float32(math.NaN()), 1e-45, -1e-45, 1e-38, 3e38, -3e38, -3, 3}),
		rapid.Float32(), rapid.Float32Range(-4, 4),
	)
}

// guarded is n elements between two guards.
func guarded(n int) (whole, inner []float32) {
	whole = make([]float32, n+2)
	whole[0], whole[n+1] = 42, 42
	return whole, whole[1 : n+1 : n+1]
}

func compare(t *rapid.T, name string, got, want []float32) {
	for i, w := range want {
		if math.Float32bits(got[i]) != math.Float32bits(w) && (got[i] == got[i] || w == w) {
			t.Fatalf("%s: element %d of %d is %v (%#x), want %v (%#x)", name, i, len(want), got[i], math.Float32bits(got[i]), w, math.Float32bits(w))
		}
	}
}

// TestBinary holds the written-out and the vector loops to Lift, with guards around the result, in place too.
func TestBinary(t *testing.T) {
	loops := map[string][2]Binary[float32, float32]{
		"Add": {Add[float32], Lift(func(a, b float32) float32 { return a + b })},
		"Sub": {Sub[float32], Lift(func(a, b float32) float32 { return a - b })},
		"Mul": {Mul[float32], Lift(func(a, b float32) float32 { return a * b })},
		"Div": {Div[float32], Lift(func(a, b float32) float32 { return a / b })},
		"Max": {Max[float32], Lift(func(a, b float32) float32 { return max(a, b) })},
		"Min": {Min[float32], Lift(func(a, b float32) float32 { return min(a, b) })},
	}
	cputest.EachRung(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			name := rapid.SampledFrom([]string{"Add", "Sub", "Mul", "Div", "Max", "Min"}).Draw(t, "loop")
			n := rapid.IntRange(0, 40).Draw(t, "n")
			sa, sb := rapid.IntRange(0, 1).Draw(t, "sa"), rapid.IntRange(0, 1).Draw(t, "sb")
			if n > 1 && sa+sb == 0 {
				sa = 1
			}
			operand := func(stride int) []float32 {
				return rapid.SliceOfN(anyFloat(), max(n*stride, 1), max(n*stride, 1)).Draw(t, "operand")
			}
			a, b := operand(sa), operand(sb)
			_, want := guarded(n)
			loops[name][1](want, a, b, sa, sb)
			whole, got := guarded(n)
			if sa == 1 && rapid.Bool().Draw(t, "in place") {
				copy(got, a)
				a = got
			}
			loops[name][0](got, a, b, sa, sb)
			compare(t, name, got, want)
			if whole[0] != 42 || whole[n+1] != 42 {
				t.Fatalf("%s wrote past its result", name)
			}
		})
	})
}

// TestUnaryBlocks holds the vector loops to the plain Go ones.
func TestUnaryBlocks(t *testing.T) {
	loops := map[string]func(dst, src []float32, p, q float32){
		"Relu":        func(d, s []float32, _, _ float32) { Relu(d, s) },
		"LeakyRelu":   func(d, s []float32, p, _ float32) { LeakyRelu(d, s, p) },
		"Clip":        func(d, s []float32, p, q float32) { Clip(d, s, p, q) },
		"AtLeast":     func(d, s []float32, p, _ float32) { AtLeast(d, s, p) },
		"AtMost":      func(d, s []float32, p, _ float32) { AtMost(d, s, p) },
		"HardSigmoid": func(d, s []float32, p, q float32) { HardSigmoid(d, s, p, q) },
		"HardSwish":   func(d, s []float32, _, _ float32) { HardSwish(d, s) },
		"Reciprocal":  func(d, s []float32, _, _ float32) { Reciprocal(d, s) },
		"Gelu":        func(d, s []float32, _, _ float32) { Gelu(d, s) },
		"GeluTanh":    func(d, s []float32, _, _ float32) { GeluTanh(d, s) },
		"Swish":       func(d, s []float32, p, _ float32) { Swish(d, s, p) },
	}
	names := slices.Sorted(maps.Keys(loops))
	cputest.EachRung(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			name := rapid.SampledFrom(names).Draw(t, "loop")
			src := rapid.SliceOfN(anyFloat(), 0, 40).Draw(t, "x")
			p, q := anyFloat().Draw(t, "p"), anyFloat().Draw(t, "q")
			n := len(src)
			_, want := guarded(n)
			restore := cpu.Set(cpu.Go)
			loops[name](want, src, p, q)
			restore()
			whole, got := guarded(n)
			if rapid.Bool().Draw(t, "in place") {
				copy(got, src)
				src = got
			}
			loops[name](got, src, p, q)
			compare(t, name, got, want)
			if whole[0] != 42 || whole[n+1] != 42 {
				t.Fatalf("%s wrote past its result", name)
			}
		})
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
			if want := c.want(float64(v)); math.Abs(float64(y[0])-want) > 2e-7*max(1, math.Abs(float64(v))) {
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

// TestMaxMagnitude has every length of the last part of a block, with NaN and infinities.
func TestMaxMagnitude(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			x := rapid.SliceOfN(anyFloat(), 0, 40).Draw(t, "x")
			want := float32(0)
			for _, v := range x {
				want = max(want, max(v, -v))
			}
			if got := MaxMagnitude(x); got != want && (got == got || want == want) {
				t.Fatalf("the greatest magnitude of %v is %v, want %v", x, got, want)
			}
		})
	})
}

// TestNoAllocations keeps the loops off the heap: the engine runs them in every node.
func TestNoAllocations(t *testing.T) {
	x, y := make([]float32, 1000), make([]float32, 1000)
	for name, f := range map[string]func(){
		"Add":      func() { Add(y, x, x[:1], 1, 0) },
		"Clip":     func() { Clip(y, x, -1, 1) },
		"Gelu":     func() { Gelu(y, x) },
		"Swish":    func() { Swish(y, x, 1.5) },
		"GeluTanh": func() { GeluTanh(y, x) },
	} {
		if n := testing.AllocsPerRun(10, f); n > 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
