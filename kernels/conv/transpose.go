package conv

import "unsafe"

// Transpose writes columns lo … hi-1 of src [rows, columns] as rows lo … hi-1 of dst [columns, rows].
func Transpose[T any](dst, src []T, rows, columns, lo, hi int) {
	var e T
	if unsafe.Sizeof(e) == 4 && rows >= tile && hi-lo >= tile {
		d, s := dst[:hi*rows], src[:rows*columns]
		if transposeTiles(unsafe.Pointer(&d[0]), unsafe.Pointer(&s[0]), rows, columns, lo, hi) {
			return
		}
	}
	if rows < tile { // long columns would be short runs below
		for i := range rows {
			at := lo*rows + i
			for _, v := range src[i*columns:][lo:hi] {
				dst[at] = v
				at += rows
			}
		}
		return
	}
	const block = 16
	for i0 := 0; i0 < rows; i0 += block {
		i1 := min(i0+block, rows)
		for j := lo; j < hi; j++ {
			to := dst[j*rows+i0 : j*rows+i1]
			at := i0*columns + j
			for i := range to {
				to[i] = src[at]
				at += columns
			}
		}
	}
}

// tile is the rows and columns of what the vector code transposes at a time.
const tile = 8
