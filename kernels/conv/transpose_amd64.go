package conv

import (
	"unsafe"

	"github.com/zqonnx/zqonnx/kernels/cpu"
)

// transposeAVX2 transposes n tiles of 4-byte elements that lie below each other in src, and so beside each other in dst,
// n ≥ 1. Strides are in bytes.
//
//go:noescape
func transposeAVX2(n int, dst, src unsafe.Pointer, strideDst, strideSrc int)

// transposeTiles is Transpose of 4-byte elements where there is at least one tile; it reports whether it did it.
func transposeTiles(dst, src unsafe.Pointer, rows, columns, lo, hi int) bool {
	if cpu.Current() < cpu.AVX2 {
		return false
	}
	// A block of rows stays in the cache while its columns are taken. What is left of rows and columns is part of a last
	// tile, which overlaps the one before.
	const block = 8 * tile
	for i := 0; i < rows; i += block {
		for j := lo; j < hi; j += tile {
			transposeBelow(dst, src, rows, columns, i, min(i+block, rows), min(j, hi-tile))
		}
	}
	return true
}

// transposeBelow transposes rows i … end-1 of the tile of columns from j on.
func transposeBelow(dst, src unsafe.Pointer, rows, columns, i, end, j int) {
	at := func(i, n int) {
		transposeAVX2(n, unsafe.Add(dst, 4*(j*rows+i)), unsafe.Add(src, 4*(i*columns+j)), 4*rows, 4*columns)
	}
	if n := (end - i) / tile; n > 0 {
		at(i, n)
	}
	if (end-i)%tile != 0 {
		at(end-tile, 1)
	}
}
