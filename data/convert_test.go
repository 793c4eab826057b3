package data

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/x448/float16"
	"github.com/zqonnx/zqonnx/onnx"
	"pgregory.net/rapid"
)

// Every pair of integer types: converted exactly where the value fits, refused where it does not.
func TestIntegersKeepTheirValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := []onnx.DataType{onnx.Int8, onnx.Int16, onnx.Int32, onnx.Int64, onnx.Uint8, onnx.Uint16, onnx.Uint32, onnx.Uint64}
		have := rapid.SampledFrom(types).Draw(t, "have")
		want := rapid.SampledFrom(types).Draw(t, "want")
		x := rapid.OneOf(rapid.Int64Range(ints[have].min, ints[have].max), rapid.SampledFrom([]int64{ints[have].min, ints[have].max, 0, 1, 127, 128})).Draw(t, "x")
		if x < ints[have].min || x > ints[have].max {
			return
		}
		got, err := fit(ints[have].make([]int64{0, x}, []int64{1, 2}), want)
		if fits := x >= ints[want].min && x <= ints[want].max; fits != (err == nil) {
			t.Fatalf("%s %d as %s: %v", have, x, want, err)
		}
		if err != nil {
			return
		}
		v, err := got.Int64s()
		if err != nil || got.Type != want || !slices.Equal(v, []int64{0, x}) || !slices.Equal(got.Dims, []int64{1, 2}) {
			t.Fatalf("%s %d as %s: got %s%v %v %v", have, x, want, got.Type, got.Dims, v, err)
		}
	})
}

func TestUint64BeyondInt64(t *testing.T) {
	_, err := fit(onnx.Of([]uint64{1, 1 << 63}), onnx.Int64)
	if want := "holds 9223372036854775808 at [1], which int64, the type that the model wants, cannot hold"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFloats(t *testing.T) {
	h := func(x float32) uint16 { return float16.Fromfloat32(x).Bits() }
	for _, c := range []struct {
		name string
		from *onnx.Tensor
		want onnx.DataType
		bits []uint16 // of 16-bit results
		f    []float64
		err  string
	}{
		{name: "f64 to f32 rounds", from: onnx.Of([]float64{0.1, -2}), want: onnx.Float32, f: []float64{float64(float32(0.1)), -2}},
		{name: "f32 to f16", from: onnx.Of([]float32{0.1, 65504}), want: onnx.Float16, bits: []uint16{0x2e66, 0x7bff}},
		{name: "f32 to f16 too big", from: onnx.Of([]float32{0, 65520}), want: onnx.Float16, err: "holds 65520 at [1], which float16, the type that the model wants, cannot hold"},
		{name: "f16 to f32", from: onnx.New(onnx.Float16, []int64{2}, []byte{0x66, 0x2e, 1, 0}), want: onnx.Float32, f: []float64{0.0999755859375, 0x1p-24}},
		{name: "f16 to f64", from: onnx.New(onnx.Float16, []int64{1}, []byte{byte(h(-1.5)), byte(h(-1.5) >> 8)}), want: onnx.Float64, f: []float64{-1.5}},
		{name: "f32 to bf16, ties to even", from: onnx.Of([]float32{1.00390625, 1.01171875, 1.005}), want: onnx.BFloat16, bits: []uint16{0x3f80, 0x3f82, 0x3f81}},
		{name: "f64 too big", from: onnx.Of([]float64{3.5e38}), want: onnx.Float32, err: "holds 3.5e+38 at [0], which float32, the type that the model wants, cannot hold"},
		{name: "bool", from: onnx.Of([]bool{true}), want: onnx.Float32, err: "is bool; the model wants float32"},
		{name: "int for float", from: onnx.Of([]int32{1}), want: onnx.Float32, err: "is int32; the model wants float32"},
		{name: "complex", from: onnx.Zeros(onnx.Complex64, 1), want: onnx.Float32, err: "is complex64; the model wants float32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := fit(c.from, c.want)
			if c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.bits != nil:
				if b := onnx.Data[uint16](got); !slices.Equal(b, c.bits) {
					t.Errorf("got %04x, want %04x", b, c.bits)
				}
			case c.want == onnx.Float64:
				if f := onnx.Data[float64](got); !slices.Equal(f, c.f) {
					t.Errorf("got %v, want %v", f, c.f)
				}
			default:
				for i, f := range onnx.Data[float32](got) {
					if float64(f) != c.f[i] {
						t.Errorf("element %d: got %v, want %v", i, f, c.f[i])
					}
				}
			}
		})
	}
}

func TestFiniteFindsEveryKind(t *testing.T) {
	f16 := func(b uint16) *onnx.Tensor {
		return onnx.New(onnx.Float16, []int64{2}, []byte{0, 0, byte(b), byte(b >> 8)})
	}
	bf16 := func(b uint16) *onnx.Tensor {
		return onnx.New(onnx.BFloat16, []int64{2}, []byte{0, 0, byte(b), byte(b >> 8)})
	}
	for _, c := range []struct {
		t    *onnx.Tensor
		want string
	}{
		{onnx.Of([]float32{0, math.MaxFloat32}), ""},
		{onnx.Of([]float64{0, math.MaxFloat64}), ""},
		{f16(0x7bff), ""},
		{bf16(0x7f7f), ""},
		{onnx.Of([]int64{-1, math.MaxInt64}), ""},
		{onnx.Of([]float32{0, float32(math.NaN())}), "NaN"},
		{onnx.Of([]float64{0, math.Inf(1)}), "+Inf"},
		{f16(0xfc00), "-Inf"},
		{f16(0x7c01), "NaN"},
		{bf16(0x7f80), "+Inf"},
	} {
		err := finite(c.t)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.t.Type, err)
		case c.want != "" && (err == nil || err.Error() != "holds "+c.want+" at [1]"):
			t.Errorf("%s: got %v, want %s at [1]", c.t.Type, err, c.want)
		}
	}
}

func TestConstants(t *testing.T) {
	sym := onnx.Symbol("n")
	for _, c := range []struct {
		typ  *onnx.Type
		text string
		dims []int64
		want []float32
		err  string
	}{
		{onnx.ScalarOf(onnx.Int64), "16000", []int64{}, []float32{16000}, ""},
		{onnx.TensorOf(onnx.Float32, onnx.Fixed(2), onnx.Fixed(2)), "0.5", []int64{2, 2}, []float32{0.5, 0.5, 0.5, 0.5}, ""},
		{onnx.TensorOf(onnx.Float16, onnx.Fixed(2)), "1, -2", []int64{2}, []float32{1, -2}, ""},
		{onnx.TensorOf(onnx.Bool, onnx.Fixed(2)), "true,0", []int64{2}, []float32{1, 0}, ""},
		{onnx.TensorOf(onnx.Int32, sym), "3,2,1", []int64{3}, []float32{3, 2, 1}, ""},
		{onnx.TensorOf(onnx.Int32, sym, onnx.Symbol("k")), "7", []int64{1, 5}, []float32{7, 7, 7, 7, 7}, ""},
		{onnx.TensorOf(onnx.Float32), "1,2", []int64{2}, []float32{1, 2}, ""},
		{onnx.TensorOf(onnx.Float32), "1", []int64{}, []float32{1}, ""},
		{onnx.ScalarOf(onnx.Uint8), "256", nil, nil, `"256" is no uint8`},
		{onnx.ScalarOf(onnx.Int64), "1.5", nil, nil, `"1.5" is no int64`},
		{onnx.ScalarOf(onnx.Float32), "nan", nil, nil, `"nan" is no float32`},
		{onnx.ScalarOf(onnx.Float16), "1e9", nil, nil, `1e9 is no float16`},
		{onnx.ScalarOf(onnx.Bool), "yes", nil, nil, `"yes" is no bool`},
		{onnx.ScalarOf(onnx.Complex64), "1", nil, nil, "an input of c64 takes no constant"},
		{onnx.TensorOf(onnx.Int32, onnx.Fixed(3)), "1,2", nil, nil, "2 numbers for the 3 elements of [3]"},
	} {
		got, err := constant(port{"v", *c.typ}, c.text, newBinding(map[string]int64{"k": 5}))
		if c.err != "" {
			if want := "--value v=" + c.text + ": " + c.err + " (bad option)"; err == nil || err.Error() != want {
				t.Errorf("%s %s: got %v, want %s", c.typ, c.text, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %s: %v", c.typ, c.text, err)
			continue
		}
		f, err := got.Float32s()
		if err != nil || got.Type != c.typ.Elem || !slices.Equal(got.Dims, c.dims) || !slices.Equal(f, c.want) {
			t.Errorf("%s %s: got %s%v %v, want %v %v", c.typ, c.text, got.Type, got.Dims, f, c.dims, c.want)
		}
	}
	s, err := constant(port{"v", *onnx.TensorOf(onnx.String, onnx.Fixed(2))}, "a,b", newBinding(nil))
	if err != nil || string(s.Strings()[0]) != "a,b" || string(s.Strings()[1]) != "a,b" {
		t.Errorf("string: got %v, %v", s, err)
	}
}

func TestCompareNames(t *testing.T) {
	sorted := strings.Fields("1 2 10 010b a a01 a1 a1b a2 a10 ab b")
	for i, a := range sorted {
		for k, b := range sorted {
			got := compareNames(a, b)
			if want := compareInts(i, k); got != want {
				t.Errorf("compareNames(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func compareInts(a, b int) int { return max(-1, min(1, a-b)) }
