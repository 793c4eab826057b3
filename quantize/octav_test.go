package quantize

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// residual is how far s is from the right side of the paper's equation, computed
// from the values, in relation to s.
func residual(x []float32, s, c float64) float64 {
	var sum, inside, outside float64
	for _, v := range x {
		a := math.Abs(float64(v))
		switch {
		case a > s:
			sum, outside = sum+a, outside+1
		case a > 0:
			inside++
		}
	}
	return sum/(c*inside+outside)/s - 1
}

func TestOctavIsThePapersFixedPoint(t *testing.T) {
	signed := func(bits int) float64 { return math.Pow(4, -float64(bits)) / 3 }
	for _, c := range []struct {
		name string
		from string
		g    Grid
		c    float64
	}{
		{"signed", "gauss", Int8Weights, signed(8)},
		{"signed", "laplace", Int8Weights, signed(8)},
		{"signed, values on one side", "relu", Int8Weights, signed(8)},
		{"unsigned", "relu", Uint8, signed(8) / 4},
		{"unsigned", "relu", uint4, signed(4) / 4},
		{"unsigned, negative", "negative", uint4, signed(4) / 4},
	} {
		x := sample(1<<18, distributions[c.from])
		lo, hi := rangeOf(t, RangeRule{Method: "octav"}, x, c.g)
		s := max(float64(-lo), float64(hi))
		if got := residual(x, s, c.c); math.Abs(got) > 0.002 {
			t.Errorf("%s, %s in %d bits: ±%v is %v from the fixed point", c.name, c.from, c.g.Bits, s, got)
		}
	}
}

// On an asymmetric grid the ends of a symmetric distribution are those of the signed
// formula; and where one side is short, it is kept and the other one cut as if unsigned.
func TestOctavOnAsymmetricGrids(t *testing.T) {
	x := sample(1<<18, laplace)
	for i := range x[:len(x)/2] {
		x[len(x)/2+i] = -x[i]
	}
	_, want := rangeOf(t, RangeRule{Method: "octav"}, x, Grid{Bits: 4, Min: -7, Max: 7, Symmetric: true})
	lo, hi := rangeOf(t, RangeRule{Method: "octav"}, x, uint4)
	if math.Abs(float64(hi/want)-1) > 1e-4 || math.Abs(float64(lo/want)+1) > 1e-4 {
		t.Errorf("%v…%v, on a symmetric grid ±%v", lo, hi, want)
	}

	// The signed formula for a Relu tensor loses decibels.
	x = sample(1<<16, distributions["negative"])
	for _, c := range []struct {
		g    Grid
		loss float64
	}{{Uint8, 0.5}, {uint4, 0.5}} {
		b := nonzero(magnitudes(histogram(x).buckets()))
		s, _, ok := fixedPoint(b, nil, math.Ldexp(1, -2*c.g.Bits)/3)
		if !ok {
			t.Fatal("no fixed point")
		}
		wrong := sqnr(x, c.g.Params(float32(-s), 0), c.g)
		right := sqnr(x, paramsOf(t, RangeRule{Method: "octav"}, x, c.g), c.g)
		t.Logf("%d bits: %.2f dB, with the signed c %.2f dB", c.g.Bits, right, wrong)
		if right < wrong+c.loss {
			t.Errorf("%d bits: %.2f dB, with the signed c %.2f dB", c.g.Bits, right, wrong)
		}
	}
}

// Hardly worse than the best range found by search, in every distribution.
func TestOctavAgainstSearch(t *testing.T) {
	for name, from := range distributions {
		h := histogram(sample(1<<16, from))
		for _, g := range []Grid{Uint8, Int8Weights, uint4} {
			noise := func(method string) float64 {
				lo, hi, err := RangeRule{Method: method}.Range(h, g)
				if err != nil {
					t.Fatal(err)
				}
				return h.Noise(g.Params(lo, hi), g)
			}
			if octav, mse := noise("octav"), noise("mse"); octav > 1.03*mse {
				t.Errorf("%s, %s %d bits: noise %v, by search %v", name, g.Name, g.Bits, octav, mse)
			}
		}
	}
}

func TestOctavWithoutAFixedPoint(t *testing.T) {
	for _, c := range []struct {
		x      []float32
		lo, hi float32
	}{
		{[]float32{0, 0}, 0, 0},
		{[]float32{5, 5, 0}, 0, 5},
		{[]float32{-5, 5}, -5, 5},
		{[]float32{-5, -5}, -5, 0},
	} {
		if lo, hi := rangeOf(t, RangeRule{Method: "octav"}, c.x, Uint8); lo != c.lo || hi != c.hi {
			t.Errorf("%v: %v…%v, want %v…%v", c.x, lo, hi, c.lo, c.hi)
		}
	}
}

// Powers of two change nothing, and the sign of the values just mirrors the range.
func TestOctavScalesAndMirrors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.SliceOfN(rapid.Float32Range(-100, 100), 1, 200).Draw(t, "x")
		for i := range x {
			x[i] = float32(math.RoundToEven(float64(x[i])*1024)) / 1024
		}
		r := RangeRule{Method: "octav"}
		lo, hi := rangeOf(t, r, x, uint4)
		l, h := rangeOf(t, r, scaled(x, 0x1p-40), uint4)
		if l != lo*0x1p-40 || h != hi*0x1p-40 {
			t.Errorf("%v…%v, scaled %v…%v", lo, hi, l*0x1p40, h*0x1p40)
		}
		l, h = rangeOf(t, RangeRule{Method: "octav"}, scaled(x, -1), Int8Weights)
		lo, hi = rangeOf(t, r, x, Int8Weights)
		if l != lo || h != hi {
			t.Errorf("%v…%v, mirrored %v…%v", lo, hi, l, h)
		}
	})
}
