//go:build !amd64

package pool

// maxInto computes dst[i] = x[i] where that is greater.
func maxInto[T Number](dst, x []T) { maxIntoGo(dst, x) }

// addInto computes dst[i] += x[i].
func addInto(dst, x []float32) { addIntoGo(dst, x) }
