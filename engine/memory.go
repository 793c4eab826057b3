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
