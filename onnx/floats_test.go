package onnx

import (
	"math"
	"slices"
	"testing"
)

func TestSetFloats(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		name     string
		to       DataType
		x        []float64
		want     []float64 // NaN stands for any
		overflow int
	}{
		{"float64", Float64, []float64{0.1, -inf, nan}, []float64{0.1, -inf, nan}, -1},
		{"float32", Float32, []float64{0.1, 1e39, inf}, []float64{float64(float32(0.1)), inf, inf}, 1},
		{"float16", Float16, []float64{0.1, 65504, inf, nan, 65520, -1e6}, []float64{0.0999755859375, 65504, inf, nan, inf, -inf}, 4},
		{"bfloat16, ties to even", BFloat16, []float64{1.00390625, 1.01171875, nan, -math.MaxFloat32}, []float64{1, 1.015625, nan, -inf}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			tensor := Zeros(c.to, int64(len(c.x)))
			if overflow := SetFloats(tensor, c.x); overflow != c.overflow {
				t.Errorf("overflow at %d, want %d", overflow, c.overflow)
			}
			var got []float64
			if c.to == Float64 {
				got = Data[float64](tensor)
			} else {
				f, err := tensor.Float32s()
				if err != nil {
					t.Fatal(err)
				}
				got = convert(f, func(v float32) float64 { return float64(v) })
			}
			if !slices.EqualFunc(got, c.want, func(a, b float64) bool { return a == b || a != a && b != b }) {
				t.Errorf("%v stored as %v, want %v", c.x, got, c.want)
			}
		})
	}
}
