package elem

import "github.com/zqonnx/zqonnx/kernels/mathf"

// Gelu stores x/2 · (1 + erf(x/√2)).
func Gelu(dst, src []float32) {
	const rootHalf = 0.70710678118654752440
	src = src[:len(dst)]
	for i, x := range src {
		dst[i] = float32(0.5*x) * (1 + mathf.ErfOf(float32(x*rootHalf)))
	}
}

// GeluTanh stores the approximation x/2 · (1 + tanh(√(2/π)·(x + 0.044715·x³))).
func GeluTanh(dst, src []float32) {
	const a, b = 0.79788456080286535588, 0.044715
	src = src[:len(dst)]
	for i, x := range src {
		cube := float32(float32(x*x) * x)
		dst[i] = float32(0.5*x) * (1 + mathf.TanhOf(float32(a*(x+float32(b*cube)))))
	}
}

// Swish stores x / (1 + e^(−alpha·x)).
func Swish(dst, src []float32, alpha float32) {
	src = src[:len(dst)]
	for i, x := range src {
		dst[i] = x * mathf.SigmoidOf(float32(alpha*x))
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
