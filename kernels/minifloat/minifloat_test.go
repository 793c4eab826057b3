package minifloat

import (
	"math"
	"testing"

	"github.com/x448/float16"
	"pgregory.net/rapid"
)

var formats = map[string]Format{
	"float16": Float16, "bfloat16": BFloat16, "e4m3fn": Float8E4M3FN, "e4m3fnuz": Float8E4M3FNUZ, "e5m2": Float8E5M2,
	"e5m2fnuz": Float8E5M2FNUZ, "e2m1": Float4E2M1, "e2m3": Float6E2M3, "e3m2": Float6E3M2,
}

func TestLargest(t *testing.T) {
	want := map[string]float64{
		"float16": 65504, "bfloat16": 0x1.fep127, "e4m3fn": 448, "e4m3fnuz": 240, "e5m2": 57344, "e5m2fnuz": 57344, "e2m1": 6, "e2m3": 7.5, "e3m2": 28,
	}
	for name, f := range formats {
		if got := f.Decode(f.Encode(1e300, true)); got != want[name] {
			t.Errorf("%s: the largest number is %g, want %g", name, got, want[name])
		}
	}
}

// TestEveryCode: decoding and encoding is the identity but for NaN payloads.
func TestEveryCode(t *testing.T) {
	for name, f := range formats {
		for c := range int(f.sign()) * 2 {
			v := f.Decode(uint16(c))
			got := f.Encode(v, false)
			if w := f.Decode(got); v != v && w != w {
				continue
			}
			if got != uint16(c) {
				t.Errorf("%s: code %#x is %g, which encodes to %#x", name, c, v, got)
			}
		}
	}
}

// TestNearest: no other code is nearer, and of two equally near ones it is the even one.
func TestNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"float16", "bfloat16", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e2m1", "e3m2"}).Draw(t, "format")
		f := formats[name]
		var x float64
		if rapid.Bool().Draw(t, "halfway") {
			c := rapid.IntRange(0, int(f.largest())-1).Draw(t, "code")
			x = (f.Decode(uint16(c)) + f.Decode(uint16(c+1))) / 2
		} else {
			x = f.Decode(f.largest()) * rapid.Float64Range(-1, 1).Draw(t, "x")
		}
		c := f.Encode(x, false)
		d := math.Abs(f.Decode(c) - x)
		for o := range int(f.sign()) * 2 {
			e := math.Abs(f.Decode(uint16(o)) - x)
			if e < d || e == d && c&1 == 1 && o&1 == 0 && f.Decode(uint16(o)) != f.Decode(c) {
				t.Fatalf("%s: %g became %#x (%g), %#x (%g) is nearer or even", name, x, c, f.Decode(c), o, f.Decode(uint16(o)))
			}
		}
	})
}

func TestOverflow(t *testing.T) {
	for _, c := range []struct {
		f        Format
		x        float64
		saturate bool
		want     uint16
	}{
		{Float8E4M3FN, 1e6, false, 0x7f},
		{Float8E4M3FN, -1e6, true, 0xfe},
		{Float8E4M3FN, math.Inf(-1), false, 0xff},
		{Float8E5M2, 1e6, false, 0x7c},
		{Float8E5M2, math.Inf(1), true, 0x7b},
		{Float8E5M2FNUZ, 1e6, false, 0x80},
		{Float16, 65519, false, 0x7bff},
		{Float16, 65520, false, 0x7c00},
		{Float4E2M1, -100, false, 0xf},
		{Float8E4M3FNUZ, -1e-9, false, 0},
	} {
		if got := c.f.Encode(c.x, c.saturate); got != c.want {
			t.Errorf("%v: %g (saturate %v) became %#x, want %#x", c.f, c.x, c.saturate, got, c.want)
		}
	}
}

func TestFloat16(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float32().Draw(t, "x")
		if got, want := Float16.Encode(float64(x), false), float16.Fromfloat32(x).Bits(); got != want {
			t.Fatalf("%g: %#x, want %#x", x, got, want)
		}
	})
}
