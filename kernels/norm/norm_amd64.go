package norm

import "github.com/zqonnx/zqonnx/kernels/cpu"

// The vector loops take n ≥ 1 blocks: of 16 elements for sumAVX2, else of 8.

//go:noescape
func sumAVX2(n int, x *float32, partial *[sumLanes]float32)

//go:noescape
func meanAVX2(n int, x *float32, partial *[momentLanes]float64)

//go:noescape
func squaredDeviationAVX2(n int, x *float32, mean float32, partial *[momentLanes]float32)

//go:noescape
func affineAVX2(n int, dst, x *float32, mean, inverse float32, scale, bias *float32)

//go:noescape
func distributedAVX2(n int, dst, x *float32, mean, inverse float32, scale, bias *float32)

//go:noescape
func maxAVX2(n int, x *float32, lane *[8]float32)

// blocks returns how many blocks of that size the vector loops take of n elements.
func blocks(n, size int) int {
	if cpu.Current() < cpu.AVX2 {
		return 0
	}
	return n / size
}

// sums puts the partial sums of whole blocks of x in s and returns the rest of x.
func sums(s *[sumLanes]float32, x []float32) []float32 {
	n := blocks(len(x), sumLanes)
	if n > 0 {
		sumAVX2(n, &x[0], s)
	}
	return x[n*sumLanes:]
}

// means is sums in float64.
func means(s *[momentLanes]float64, x []float32) []float32 {
	n := blocks(len(x), momentLanes)
	if n > 0 {
		meanAVX2(n, &x[0], s)
	}
	return x[n*momentLanes:]
}

// squares is sums for (x - mean)².
func squares(s *[momentLanes]float32, x []float32, mean float32) []float32 {
	n := blocks(len(x), momentLanes)
	if n > 0 {
		squaredDeviationAVX2(n, &x[0], mean, s)
	}
	return x[n*momentLanes:]
}

// affine is Affine for whole blocks; it returns how many elements it did.
func affine(dst, x []float32, mean, inverse float32, scale, bias []float32) int {
	n := blocks(len(dst), 8)
	if n == 0 {
		return 0
	}
	var s, b *float32
	if scale != nil {
		s = &scale[:len(dst)][0]
	}
	if bias != nil {
		b = &bias[:len(dst)][0]
	}
	affineAVX2(n, &dst[0], &x[:len(dst)][0], mean, inverse, s, b)
	return n * 8
}

// distributed is the last step of Distributed for whole blocks; it returns how many elements it did.
func distributed(dst, x []float32, mean, inverse float32, scale, bias []float32) int {
	n := blocks(len(dst), 8)
	if n > 0 {
		distributedAVX2(n, &dst[0], &x[0], mean, inverse, &scale[0], &bias[0])
	}
	return n * 8
}

// maxima returns the greatest of the elements of whole blocks, NaN if the first is one, and how many these are; without any
// block, the first.
func maxima(x []float32) (m float32, done int) {
	n := blocks(len(x), 8)
	m = x[0]
	if n == 0 {
		return m, 0
	}
	var lane [8]float32
	maxAVX2(n, &x[0], &lane)
	for _, v := range lane {
		if v > m {
			m = v
		}
	}
	return m, n * 8
}
