package quantize

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var inf, nan = float32(math.Inf(1)), float32(math.NaN())

// uint4 stands for the grids that later issues add.
var uint4 = Grid{Name: "uint4", Bits: 4, Min: 0, Max: 15}

// The codes are ONNX Runtime's (1.32, x64).
func TestQuantizeAsOnnxRuntime(t *testing.T) {
	x := []float32{
		float32(math.Copysign(0, -1)), 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 128.5, 254.5, 255.5, 300, -300,
		inf, -inf, nan, 1e-45, 3e38, -3e38, 0.49999997,
	}
	for _, c := range []struct {
		zeroPoint int32
		want      []uint8
	}{
		{0, []uint8{0, 0, 2, 2, 0, 0, 126, 128, 128, 254, 255, 255, 0, 255, 0, 0, 0, 255, 0, 0}},
		{128, []uint8{128, 128, 130, 130, 128, 126, 254, 255, 255, 255, 255, 255, 0, 255, 0, 0, 128, 255, 0, 128}},
	} {
		got := make([]uint8, len(x))
		Quantize(got, x, Params{1, c.zeroPoint}, Uint8)
		if !slices.Equal(got, c.want) {
			t.Errorf("zero point %d:\ngot  %v\nwant %v", c.zeroPoint, got, c.want)
		}
	}
	for _, c := range []struct {
		zeroPoint int32
		want      []int8
	}{
		{0, []int8{0, 0, 2, 2, 0, -2, 126, 127, 127, 127, 127, 127, -128, 127, -128, -128, 0, 127, -128, 0}},
		{-3, []int8{-3, -3, -1, -1, -3, -5, 123, 125, 125, 127, 127, 127, -128, 127, -128, -128, -3, 127, -128, -3}},
	} {
		got := make([]int8, len(x))
		Quantize(got, x, Params{1, c.zeroPoint}, Int8)
		if !slices.Equal(got, c.want) {
			t.Errorf("zero point %d:\ngot  %v\nwant %v", c.zeroPoint, got, c.want)
		}
	}
}

// quantizeOne is the formula of the package, in float64 where that is exact.
func quantizeOne(x float32, p Params, g Grid) int32 {
	q := math.RoundToEven(float64(x/p.Scale)) + float64(p.ZeroPoint)
	return int32(min(max(q, float64(g.Min)), float64(g.Max)))
}

func TestQuantizeIsTheFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Params{Scale: rapid.Float32Range(MinScale, 1e6).Draw(t, "scale"), ZeroPoint: rapid.Int32Range(0, 255).Draw(t, "zero point")}
		near := rapid.Custom(func(t *rapid.T) float32 { // around the ties of the grid
			return (float32(rapid.IntRange(-600, 600).Draw(t, "half steps")) + rapid.Float32Range(-1e-4, 1e-4).Draw(t, "off")) * p.Scale / 2
		})
		x := rapid.SliceOf(rapid.OneOf(rapid.Float32(), near)).Draw(t, "x")
		u, i := make([]uint8, len(x)), make([]int8, len(x))
		Quantize(u, x, p, Uint8)
		p8 := Params{p.Scale, p.ZeroPoint - 128}
		Quantize(i, x, p8, Int8)
		for k, v := range x {
			if want := quantizeOne(v, p, Uint8); int32(u[k]) != want {
				t.Errorf("%v: uint8 code %d, want %d", v, u[k], want)
			}
			if want := quantizeOne(v, p8, Int8); int32(i[k]) != want {
				t.Errorf("%v: int8 code %d, want %d", v, i[k], want)
			}
		}
	})
}

func TestQuantizeRefusesATypeTooSmall(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("uint8 codes were put into int8")
		}
	}()
	Quantize(make([]int8, 1), []float32{1}, Params{1, 0}, Uint8)
}

// Codes survive a round trip, whatever the parameters.
func TestDequantizedCodesQuantizeToThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Float32Range(-1e30, 1e30).Draw(t, "lo")
		hi := rapid.Float32Range(-1e30, 1e30).Draw(t, "hi")
		p := Uint8.Params(min(lo, hi), max(lo, hi))
		codes, again, x := make([]uint8, 256), make([]uint8, 256), make([]float32, 256)
		for i := range codes {
			codes[i] = uint8(i)
		}
		Dequantize(x, codes, p)
		Quantize(again, x, p, Uint8)
		if !slices.Equal(codes, again) {
			t.Errorf("%+v: %v", p, again)
		}
	})
}

func TestParams(t *testing.T) {
	for _, c := range []struct {
		name   string
		g      Grid
		lo, hi float32
		want   Params
	}{
		{"Relu", Uint8, 0, 255, Params{1, 0}},
		{"range without 0 below", Uint8, 3, 255, Params{1, 0}},
		{"range without 0 above", Uint8, -255, -3, Params{1, 255}},
		{"both signs", Uint8, -1, 2, Params{float32(3.0 / 255), 85}},
		{"zero point on a tie goes to even", Uint8, -127.5, 127.5, Params{1, 128}},
		{"Softmax", Uint8, 0, 255.0 / 256, Params{1.0 / 256, 0}},
		{"all zero", Uint8, 0, 0, Params{1, 0}},
		{"all zero int8", Int8, 0, 0, Params{1, -128}},
		{"all zero symmetric", Int8Weights, 0, 0, Params{1, 0}},
		{"int8 both signs", Int8, -1, 2, Params{float32(3.0 / 255), -43}},
		{"int8 Relu", Int8, 0, 255, Params{1, -128}},
		{"int8 negative", Int8, -255, 0, Params{1, 127}},
		{"symmetric", Int8Weights, -254, 3, Params{2, 0}},
		{"subnormal", Uint8, 0, 1e-45, Params{MinScale, 0}},
		{"subnormal negative", Uint8, -1e-45, 0, Params{MinScale, 255}},
		{"subnormal symmetric", Int8Weights, -1e-45, 0, Params{MinScale, 0}},
		{"whole float32", Uint8, -math.MaxFloat32, math.MaxFloat32, Params{math.MaxFloat32 / 128, 128}},
		{"attention mask", Uint8, -math.MaxFloat32, 0, Params{math.MaxFloat32 / 255, 255}},
		{"4 bits", uint4, -5, 10, Params{1, 5}},
	} {
		if got := c.g.Params(c.lo, c.hi); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// What Params promises for any range.
func TestParamsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := rapid.SampledFrom([]Grid{Uint8, Int8, Int8Weights, uint4}).Draw(t, "grid")
		a, b := rapid.Float32().Draw(t, "a"), rapid.Float32().Draw(t, "b")
		lo, hi := min(a, b), max(a, b)
		p := g.Params(lo, hi)
		if !(p.Scale >= MinScale && p.Scale <= math.MaxFloat32) {
			t.Errorf("scale %v", p.Scale)
		}
		if p.ZeroPoint < g.Min || p.ZeroPoint > g.Max {
			t.Errorf("zero point %d outside the grid", p.ZeroPoint)
		}
		if !g.Symmetric && lo >= 0 && p.ZeroPoint != g.Min || !g.Symmetric && hi <= 0 && lo < 0 && p.ZeroPoint != g.Max {
			t.Errorf("zero point %d of a range of one sign", p.ZeroPoint)
		}
		ends := []float32{float32(g.Min-p.ZeroPoint) * p.Scale, float32(g.Max-p.ZeroPoint) * p.Scale}
		if ends[0]-ends[0] != 0 || ends[1]-ends[1] != 0 {
			t.Errorf("%+v: the outermost codes stand for %v", p, ends)
		}
		// The range is covered up to the rounding of scale and zero point.
		slack := float64(p.Scale) * (1 + 1e-4)
		l, h := p.Limits(g)
		if float64(lo) < l-slack/2 || float64(hi) > h+slack/2 {
			t.Errorf("%+v covers %v…%v, not %v…%v", p, l, h, lo, hi)
		}
	})
}

func TestLimitsAreWhereCodesSaturate(t *testing.T) {
	p := Params{0.5, 10}
	lo, hi := p.Limits(Uint8)
	if lo != -5.25 || hi != 122.75 {
		t.Errorf("limits %v…%v", lo, hi)
	}
}

// Scales and zero points are ONNX Runtime's (1.32), given as bits.
func TestDynamicParamsAsOnnxRuntime(t *testing.T) {
	for _, c := range []struct {
		x         []float32
		scale     uint32
		zeroPoint int32
	}{
		{[]float32{0, 0}, 0x3f800000, 0},
		{nil, 0x3f800000, 0},
		{[]float32{1, 2, 5}, 0x3ca0a0a1, 0},
		{[]float32{-1, -2, -5}, 0x3ca0a0a1, 255},
		{[]float32{-1, 2}, 0x3c40c0c1, 85},
		{[]float32{-0.1, 0.3, 0.7}, 0x3b4d9a67, 32},
		{[]float32{1e-45}, 0, 255},
		{[]float32{-1e-45}, 0, 255},
		{[]float32{3e38, -3e38}, 0x7f800000, 0},
		{[]float32{127.5, -127.5}, 0x3f800000, 128},
		{[]float32{nan, 1, -1}, 0x3c008081, 127},
	} {
		p := DynamicParams(c.x)
		if math.Float32bits(p.Scale) != c.scale || p.ZeroPoint != c.zeroPoint {
			t.Errorf("%v: scale %#x, zero point %d, want %#x and %d", c.x, math.Float32bits(p.Scale), p.ZeroPoint, c.scale, c.zeroPoint)
		}
	}
}

func TestRowScale(t *testing.T) {
	for _, c := range []struct {
		row    []float32
		sigmaK float32
		want   float32
	}{
		{nil, 0, MinScale},
		{[]float32{0, 0}, 0, MinScale},
		{[]float32{-254, 3}, 0, 2},
		{[]float32{nan, 127}, 0, 1},
		{[]float32{1e-45}, 0, MinScale},
		{[]float32{-inf, 1}, 0, inf},
		{[]float32{0.1}, 0, float32(float32(0.1) / 127)},
		{[]float32{0, 0}, 3, MinScale},
		{[]float32{-254, 254}, 0.5, 1},
		{[]float32{-254, 254}, 3, 2},
		{[]float32{127, 381}, 0.5, 2.5},
		{[]float32{-127, -381}, 0.5, 2.5},
		{[]float32{-381, 127}, 0.5, 2},
		{[]float32{5}, 3, float32(float32(5) / 127)},
	} {
		if got := RowScale(c.row, c.sigmaK); got != c.want {
			t.Errorf("%v, k %v: %v, want %v", c.row, c.sigmaK, got, c.want)
		}
	}
}

func BenchmarkQuantize(b *testing.B) {
	x, codes := sample(1<<20, gauss), make([]uint8, 1<<20)
	for b.Loop() {
		Quantize(codes, x, Params{0.03, 128}, Uint8)
	}
	perSecond(b, len(x))
}

func perSecond(b *testing.B, n int) {
	b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds()/1e6, "Mvalues/s")
}
