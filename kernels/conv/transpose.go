package conv

// Transpose writes columns lo … hi-1 of src [rows, columns] as rows lo … hi-1 of dst [columns, rows].
func Transpose[T any](dst, src []T, rows, columns, lo, hi int) {
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
