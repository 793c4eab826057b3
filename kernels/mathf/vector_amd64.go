package mathf

import "github.com/zqonnx/zqonnx/kernels/cpu"

// The vector loops take n ≥ 1 blocks, of 8 elements with AVX2 and of 16 with AVX-512, and give the bits of the functions on
// one element.

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

//go:noescape
func expAVX512(n int, dst, src *float32)

//go:noescape
func sigmoidAVX512(n int, dst, src *float32)

//go:noescape
func tanhAVX512(n int, dst, src *float32)

//go:noescape
func erfAVX512(n int, dst, src *float32)

// vector computes dst; it returns how many elements it did: all, or none where there are no vector loops.
func vector(f function, dst, src []float32) int {
	if cpu.Current() < cpu.AVX2 {
		return 0
	}
	done := 0
	if n := len(dst) / 16; n > 0 && f != sqrt && cpu.Current() >= cpu.AVX512VNNI {
		wide(f, n, &dst[0], &src[0])
		done = 16 * n
	}
	if n := (len(dst) - done) / 8; n > 0 {
		narrow(f, n, &dst[done], &src[done])
		done += 8 * n
	}
	if done < len(dst) {
		var block [8]float32
		copy(block[:], src[done:])
		narrow(f, 1, &block[0], &block[0])
		copy(dst[done:], block[:])
	}
	return len(dst)
}

// The loops are called by name: arguments of a function value would escape to the heap.

func narrow(f function, n int, dst, src *float32) {
	switch f {
	case exp:
		expAVX2(n, dst, src)
	case sigmoid:
		sigmoidAVX2(n, dst, src)
	case tanh:
		tanhAVX2(n, dst, src)
	case erf:
		erfAVX2(n, dst, src)
	case sqrt:
		sqrtAVX2(n, dst, src)
	}
}

func wide(f function, n int, dst, src *float32) {
	switch f {
	case exp:
		expAVX512(n, dst, src)
	case sigmoid:
		sigmoidAVX512(n, dst, src)
	case tanh:
		tanhAVX512(n, dst, src)
	case erf:
		erfAVX512(n, dst, src)
	}
}
