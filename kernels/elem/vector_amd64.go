package elem

import (
	"slices"

	"github.com/zqonnx/zqonnx/kernels/cpu"
)

// The vector loops take n ≥ 1 blocks and give the bits of the plain Go loops of the same names.

// binaryAVX2 takes steps from one block of an operand to the next, in bytes.
//
//go:noescape
func binaryAVX2(op operation, n int, dst, a, b *float32, stepA, stepB int)

//go:noescape
func clipAVX2(n int, dst, src *float32, lo, hi float32)

//go:noescape
func leakyReluAVX2(n int, dst, src *float32, alpha float32)

// hardSigmoidAVX2 multiplies by x where mask has all bits set, by 1 where it has none.
//
//go:noescape
func hardSigmoidAVX2(n int, dst, src *float32, alpha, beta float32, mask uint32)

//go:noescape
func magnitudeAVX2(n int, src *float32, lane *[block]uint32)

// binaryBlocks is a Binary loop over whole blocks; it and those below return how many elements of dst they did.
func binaryBlocks(op operation, dst, a, b []float32, sa, sb int) int {
	n := blocks(dst)
	if n == 0 {
		return 0
	}
	var repeatedA, repeatedB [block]float32
	fromA, fromB := operand(a, sa, &repeatedA, n), operand(b, sb, &repeatedB, n)
	binaryAVX2(op, n, &dst[0], fromA, fromB, 4*block*sa, 4*block*sb)
	return n * block
}

// operand returns where the blocks of an operand begin: one element for all is repeated.
func operand(x []float32, step int, repeated *[block]float32, n int) *float32 {
	if step == 0 {
		for i := range repeated {
			repeated[i] = x[0]
		}
		return &repeated[0]
	}
	return &x[:n*block][0]
}

func clipBlocks(dst, src []float32, lo, hi float32) int {
	n := blocks(dst)
	if n > 0 {
		clipAVX2(n, &dst[0], &src[0], lo, hi)
	}
	return n * block
}

func leakyReluBlocks(dst, src []float32, alpha float32) int {
	n := blocks(dst)
	if n > 0 {
		leakyReluAVX2(n, &dst[0], &src[0], alpha)
	}
	return n * block
}

// hardSigmoidBlocks multiplies by x if times says so.
func hardSigmoidBlocks(dst, src []float32, alpha, beta float32, times bool) int {
	n := blocks(dst)
	if n > 0 {
		var mask uint32
		if times {
			mask = 1<<32 - 1
		}
		hardSigmoidAVX2(n, &dst[0], &src[0], alpha, beta, mask)
	}
	return n * block
}

// magnitudeBlocks returns the bits of the greatest magnitude in whole blocks, and how many elements these are.
func magnitudeBlocks(x []float32) (m uint32, done int) {
	n := blocks(x)
	if n > 0 {
		var lane [block]uint32
		magnitudeAVX2(n, &x[0], &lane)
		m = slices.Max(lane[:])
	}
	return m, n * block
}

func blocks(dst []float32) int {
	if cpu.Current() < cpu.AVX2 {
		return 0
	}
	return len(dst) / block
}
