package mathf

import "github.com/zqonnx/zqonnx/kernels/cpu"

// The vector loops take n ≥ 1 blocks of 8 elements and give the bits of the functions on one element.

//go:noescape
func expAVX2(n int, dst, src *float32)

//go:noescape
func sigmoidAVX2(n int, dst, src *float32)

//go:noescape
func tanhAVX2(n int, dst, src *float32)

//go:noescape
func erfAVX2(n int, dst, src *float32)

//go:noescape
func sqrtAVX2(n int, dst, src *float32)

// vector computes whole blocks of dst; it returns how many elements it did.
func vector(f function, dst, src []float32) int {
	n := len(dst) / 8
	if n == 0 || cpu.Current() < cpu.AVX2 {
		return 0
	}
	switch f {
	case exp:
		expAVX2(n, &dst[0], &src[0])
	case sigmoid:
		sigmoidAVX2(n, &dst[0], &src[0])
	case tanh:
		tanhAVX2(n, &dst[0], &src[0])
	case erf:
		erfAVX2(n, &dst[0], &src[0])
	case sqrt:
		sqrtAVX2(n, &dst[0], &src[0])
	}
	return n * 8
}
