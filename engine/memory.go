package engine

import (
	"unsafe"

	"github.com/zqonnx/zqonnx/onnx"
)

func sizeOf[E onnx.Elem]() int {
	var e E
	return int(unsafe.Sizeof(e))
}

// wordsAs views words as n elements.
func wordsAs[E onnx.Elem](w []uint64, n int) []E {
	return unsafe.Slice((*E)(unsafe.Pointer(unsafe.SliceData(w))), n)
}

// asInt8 views bytes as int8 codes.
func asInt8(b []uint8) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
}

// aligned returns t itself, or a copy of a view whose elements do not lie at multiples of their size, as raw data in a mapped
// file may: kernels would copy it in every run.
func aligned(t *onnx.Tensor) *onnx.Tensor {
	if t == nil || t.Load() != nil || t.Type.Bits() < 16 {
		return t
	}
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(t.Bytes()))); at%uintptr(min(t.Type.Bits()/8, 8)) != 0 {
		return t.Clone()
	}
	return t
}

// bytesAs views bytes that are aligned for E as its elements.
func bytesAs[E onnx.Elem](b []byte) []E {
	return unsafe.Slice((*E)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/sizeOf[E]())
}
