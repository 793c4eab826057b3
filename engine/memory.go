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
