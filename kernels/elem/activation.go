package elem

import "github.com/zqonnx/zqonnx/kernels/mathf"

// chunk is how many elements the activations of several loops take at a time; a buffer of them stays in the first cache.
const chunk = 512

// Gelu stores x/2 · (1 + erf(x/√2)).
func Gelu(dst, src []float32) {
	inChunks(dst, src, func(y, x []float32) {
		Mul(y, x, []float32{0.70710678118654752440}, 1, 0)
		mathf.Erf(y, y)
		halves(y, x)
	})
}

// GeluTanh stores the approximation x/2 · (1 + tanh(x·(√(2/π)·0.044715·x² + √(2/π)))).
func GeluTanh(dst, src []float32) {
	inChunks(dst, src, func(y, x []float32) {
		Mul(y, x, []float32{0.79788456080286535588 * 0.044715}, 1, 0)
		Mul(y, y, x, 1, 1)
		Add(y, y, []float32{0.79788456080286535588}, 1, 0)
		Mul(y, x, y, 1, 1)
		mathf.Tanh(y, y)
		halves(y, x)
	})
}

// halves makes x/2 · (1 + y) of y.
func halves(y, x []float32) {
	var half [chunk]float32
	h := half[:len(y)]
	Mul(h, x, []float32{0.5}, 1, 0)
	Add(y, []float32{1}, y, 0, 1)
	Mul(y, h, y, 1, 1)
}

// Swish stores x / (1 + e^(−alpha·x)).
func Swish(dst, src []float32, alpha float32) {
	inChunks(dst, src, func(y, x []float32) {
		Mul(y, []float32{alpha}, x, 0, 1)
		mathf.Sigmoid(y, y)
		Mul(y, x, y, 1, 1)
	})
}

// inChunks calls f for parts of src with a buffer that f fills, and copies it to dst, which may be src.
func inChunks(dst, src []float32, f func(y, x []float32)) {
	var buffer [chunk]float32
	for len(dst) > 0 {
		n := min(chunk, len(dst))
		f(buffer[:n], src[:n])
		copy(dst, buffer[:n])
		dst, src = dst[n:], src[n:]
	}
}

// Mish64 returns x·tanh(log(1 + e^x)), by one exponential.
func Mish64(x float64) float64 {
	if x > 20 {
		return x
	}
	e := mathf.Exp64(x)
	n := float64(e * (e + 2))
	return float64(x*n) / (n + 2)
}
