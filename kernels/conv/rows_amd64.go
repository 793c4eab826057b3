package conv

import (
	"unsafe"

	"github.com/zqonnx/zqonnx/kernels/cpu"
)

// copyRowsAVX2 copies n rows of size bytes, n ≥ 1 and size ≥ 4; rows begin ldDst and ldSrc bytes apart.
//
//go:noescape
func copyRowsAVX2(n, size int, dst unsafe.Pointer, ldDst int, src unsafe.Pointer, ldSrc int)

// copyRows is copyRowsGo.
func copyRows[T float32 | uint8](dst []T, ldDst int, src []T, ldSrc, n, size int) {
	bytes := int(unsafe.Sizeof(dst[0]))
	if size*bytes < 4 || cpu.Current() < cpu.AVX2 {
		copyRowsGo(dst, ldDst, src, ldSrc, n, size)
		return
	}
	dst, src = dst[:(n-1)*ldDst+size], src[:(n-1)*ldSrc+size]
	copyRowsAVX2(n, size*bytes, unsafe.Pointer(&dst[0]), ldDst*bytes, unsafe.Pointer(&src[0]), ldSrc*bytes)
}
