package pool

import "github.com/zqonnx/zqonnx/kernels/cpu"

// The vector loops take n ≥ 1 blocks, of 8 floats or 16 codes.

//go:noescape
func maxF32AVX2(n int, dst, x *float32)

//go:noescape
func maxU8AVX2(n int, dst, x *uint8)

//go:noescape
func maxS8AVX2(n int, dst, x *int8)

//go:noescape
func addF32AVX2(n int, dst, x *float32)

// maxInto computes dst[i] = x[i] where that is greater.
func maxInto[T Number](dst, x []T) {
	x = x[:len(dst)]
	n := 0
	if cpu.Current() >= cpu.AVX2 {
		switch d := any(dst).(type) {
		case []float32:
			if n = len(d) &^ 7; n > 0 {
				maxF32AVX2(n/8, &d[0], &any(x).([]float32)[0])
			}
		case []uint8:
			if n = len(d) &^ 15; n > 0 {
				maxU8AVX2(n/16, &d[0], &any(x).([]uint8)[0])
			}
		case []int8:
			if n = len(d) &^ 15; n > 0 {
				maxS8AVX2(n/16, &d[0], &any(x).([]int8)[0])
			}
		}
	}
	maxIntoGo(dst[n:], x[n:])
}

// addInto computes dst[i] += x[i].
func addInto(dst, x []float32) {
	x = x[:len(dst)]
	n := 0
	if cpu.Current() >= cpu.AVX2 {
		if n = len(dst) &^ 7; n > 0 {
			addF32AVX2(n/8, &dst[0], &x[0])
		}
	}
	addIntoGo(dst[n:], x[n:])
}
