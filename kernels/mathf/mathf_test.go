package mathf

import (
	"math"
	"testing"

	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
)

// ulps returns the distance of got from the real value want, in units of the last place of float32 at want or least.
func ulps(got float32, want, least float64) float64 {
	w := float32(want)
	switch {
	case want != want:
		if got != got {
			return 0
		}
		return math.Inf(1)
	case got == w:
		return 0
	case got-got != 0 || w-w != 0:
		return math.Inf(1)
	}
	_, e := math.Frexp(max(math.Abs(want), least))
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e-24, -149))
}

var float32Functions = []struct {
	name  string
	got   func(float32) float32
	want  func(float64) float64
	limit float64 // ulp
	least float64 // the error of lesser results is in units of the last place of this
}{
	{"exp", ExpOf, math.Exp, 1, 0},
	{"log", LogOf, math.Log, 3, 0},
	{"tanh", TanhOf, math.Tanh, 5, 0x1p-100},
	{"sigmoid", SigmoidOf, func(x float64) float64 {
		if x < 0 {
			return math.Exp(x) / (1 + math.Exp(x))
		}
		return 1 / (1 + math.Exp(-x))
	}, 3, 0.5},
	{"erf", ErfOf, math.Erf, 1, 0},
}

func TestFloat32Functions(t *testing.T) {
	special := []float32{
		0, float32(math.Copysign(0, -1)), inf, -inf, nan, 1, -1, 1e-45, -1e-45, 1.1754942e-38, 88.7228, 88.7229, -87.3366, -103.9, -104,
		-104.1, 3.4e38, -3.4e38, 0.625, 9, 9.1, 4, 3.9999, 0.70710677, 0.7071068, 88.37, 88.4, -88, -95,
	}
	for _, f := range float32Functions {
		worst, at := 0.0, float32(0)
		check := func(x float32) {
			if u := ulps(f.got(x), f.want(float64(x)), f.least); u > worst {
				worst, at = u, x
			}
		}
		for _, x := range special {
			check(x)
		}
		for b := uint32(0); b < 0xff000000; b += 4001 { // all exponents and both signs
			check(math.Float32frombits(b))
		}
		for x := float32(-12); x < 12; x += 0.0003 {
			check(x)
			check(10 * x)
		}
		t.Logf("%s: at most %.2f ulp", f.name, worst)
		if worst > f.limit {
			t.Errorf("%s(%g) = %g is %.2f ulp off %g; allowed %g", f.name, at, f.got(at), worst, f.want(float64(at)), f.limit)
		}
	}
	if x := TanhOf(float32(math.Copysign(0, -1))); !math.Signbit(float64(x)) {
		t.Error("tanh(-0) lost its sign")
	}
}

func TestFloat64Functions(t *testing.T) {
	for _, f := range []struct {
		name      string
		got, want func(float64) float64
		lo, hi    float64
		limit     float64 // relative
	}{
		{"exp", Exp64, math.Exp, -740, 709, 1e-15},
		{"expm1", Expm164, math.Expm1, -40, 40, 1e-15},
		{"log", Log64, math.Log, 1e-300, 1e3, 1e-15},
		{"log1p", Log1p64, math.Log1p, -0.999, 1e3, 1e-15},
		{"sigmoid", Sigmoid64, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }, -30, 40, 1e-15},
		{"tanh", Tanh64, math.Tanh, -22, 22, 2e-15},
		{"sinh", Sinh64, math.Sinh, -709, 709, 2e-13},
		{"cosh", Cosh64, math.Cosh, -709, 709, 2e-13},
		{"asinh", Asinh64, math.Asinh, -1e9, 1e9, 2e-15},
		{"acosh", Acosh64, math.Acosh, 1, 50, 2e-15},
		{"atanh", Atanh64, math.Atanh, -0.9999, 0.9999, 5e-15},
		{"erf", Erf64, math.Erf, -7, 7, 2e-15},
		{"sin", Sin64, math.Sin, -1e3, 1e3, 2e-14},
		{"cos", Cos64, math.Cos, -1e3, 1e3, 2e-14},
		{"tan", Tan64, math.Tan, -1e3, 1e3, 2e-12},
		{"sin", Sin64, math.Sin, -1e300, 1e300, 1e-12},
		{"cos", Cos64, math.Cos, 1 << 20, 1e9, 1e-12},
		{"atan", Atan64, math.Atan, -50, 50, 5e-16},
		{"asin", Asin64, math.Asin, -1, 1, 2e-15},
		{"acos", Acos64, func(x float64) float64 { return math.Atan2(math.Sqrt((1-x)*(1+x)), x) }, -1, 1, 5e-15},
	} {
		const n = 20000
		for i := range n {
			x := f.lo + (f.hi-f.lo)*float64(i)/n
			got, want := f.got(x), f.want(x)
			if d := math.Abs(got - want); d > f.limit*math.Abs(want)+1e-17 && d > 0 {
				t.Errorf("%s(%g) = %g, want %g", f.name, x, got, want)
				break
			}
		}
	}
}

func TestPow(t *testing.T) {
	values := []float64{
		0, math.Copysign(0, -1), 1, -1, 2, -2, 0.5, -0.5, 3, -3, 2.5, -2.5, 1e10, 1e-10, -1e10, 1e308, 1e-300, 1.0000001, 0.1, 33.3,
		1074, -1074, math.Inf(1), math.Inf(-1), math.NaN(), 64, 65, -65, 0.9999999,
	}
	for _, x := range values {
		for _, y := range values {
			got, want := Pow64(x, y), math.Pow(x, y)
			same := got == want && math.Signbit(got) == math.Signbit(want) || got != got && want != want
			if !same && !(math.Abs(got-want) <= 1e-13*math.Abs(want)+5e-324) {
				t.Errorf("pow(%g, %g) = %g, want %g", x, y, got, want)
			}
		}
	}
	if got, want := Pow64(1e-308, 0.1), 1.584893192461113e-31; math.Abs(got-want) > 1e-14*want { // math.Pow fails on subnormals
		t.Errorf("pow(1e-308, 0.1) = %g, want %g", got, want)
	}
}

// TestSlices holds the loops to the functions on one element, to the bit, on every rung: in place and not, of all lengths, with
// guards around the result.
func TestSlices(t *testing.T) {
	sqrtOf := func(x float32) float32 { return float32(math.Sqrt(float64(x))) }
	for _, f := range []struct {
		name  string
		slice func(dst, src []float32)
		one   func(float32) float32
	}{{"Exp", Exp, ExpOf}, {"Tanh", Tanh, TanhOf}, {"Sigmoid", Sigmoid, SigmoidOf}, {"Erf", Erf, ErfOf}, {"Sqrt", Sqrt, sqrtOf}} {
		t.Run(f.name, func(t *testing.T) {
			cputest.EachRung(t, func(t *testing.T) {
				const guard = 0x7fc0beef
				check := func(bits []uint32, inPlace bool) {
					t.Helper()
					n := len(bits)
					src, dst := make([]float32, n+2), make([]float32, n+2)
					for i := range dst {
						dst[i] = math.Float32frombits(guard)
					}
					src[0], src[n+1] = dst[0], dst[0]
					for i, b := range bits {
						src[i+1] = math.Float32frombits(b)
					}
					if inPlace {
						dst = src
					}
					f.slice(dst[1:n+1], src[1:n+1])
					for i, b := range bits {
						x := math.Float32frombits(b)
						if got, want := math.Float32bits(dst[i+1]), math.Float32bits(f.one(x)); got != want {
							t.Fatalf("element %d of %d: %s(%g = %#x) = %#x, want %#x", i, n, f.name, x, b, got, want)
						}
					}
					if math.Float32bits(dst[0]) != guard || math.Float32bits(dst[n+1]) != guard {
						t.Fatal("the loop wrote past the slice")
					}
				}
				special := []uint32{0x7fc00001, 0xffc12345, 0x7f800001, 0xff812345, 0x80000000, 1, 0x80000001, 0x7f7fffff, 0xff7fffff, 0x80800000}
				for _, x := range []float32{
					0, 1, -1, inf, -inf, 0.921875, 0.9218749, 9, 9.000001, 18, 18.000002, 17.999998, 3.925, 3.9250002, -87, -87.00001, -87.3366,
					-103.97, -104, -104.1, -105, -105.1, 88.72283, 88.72284, 88.722847, 88.9, 89, 89.1, 1e-30, -1e30, 44.361, 44.4, 17, 104,
				} {
					special = append(special, math.Float32bits(x), math.Float32bits(-x))
				}
				for n := range len(special) {
					check(special[n:], n%2 == 0)
				}
				var run []uint32
				flush := func() {
					check(run, true)
					run = run[:0]
				}
				for b := uint32(0); b < 0xff800000; b += 10007 { // all exponents and both signs
					if run = append(run, b); len(run) == 4096 {
						flush()
					}
				}
				for x := float32(-110); x < 110; x += 0.00171 { // where the results are not trivial
					if run = append(run, math.Float32bits(x), math.Float32bits(x/16)); len(run) >= 4096 {
						flush()
					}
				}
				flush()
			})
		})
	}
}

func BenchmarkSlices(b *testing.B) {
	src, dst := make([]float32, 4096), make([]float32, 4096)
	for i := range src {
		src[i] = float32(i-2048) / 400
	}
	for _, f := range []struct {
		name string
		f    func(dst, src []float32)
	}{{"Exp", Exp}, {"Log", Log}, {"Tanh", Tanh}, {"Sigmoid", Sigmoid}, {"Erf", Erf}, {"Sqrt", Sqrt}} {
		b.Run(f.name, func(b *testing.B) {
			b.SetBytes(4 * 4096)
			for b.Loop() {
				f.f(dst, src)
			}
		})
	}
}
