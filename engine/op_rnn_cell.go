package engine

import (
	"fmt"
	"strings"

	"github.com/zqonnx/zqonnx/kernels/elem"
	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// activationFunc changes x in place.
type activationFunc func(x []float32)

// activationOf returns an activation by name. It takes its parameters from the front of alpha and beta, where there are any.
func activationOf(name string, alpha, beta *[]float32) (activationFunc, error) {
	take := func(from *[]float32, def float32) float32 {
		if len(*from) == 0 {
			return def
		}
		v := (*from)[0]
		*from = (*from)[1:]
		return v
	}
	pointwise := func(f func(float64) float64) activationFunc {
		return func(x []float32) {
			for i, v := range x {
				x[i] = float32(f(float64(v)))
			}
		}
	}
	switch strings.ToLower(name) {
	case "sigmoid":
		return func(x []float32) { mathf.Sigmoid(x, x) }, nil
	case "tanh":
		return func(x []float32) { mathf.Tanh(x, x) }, nil
	case "relu":
		return func(x []float32) { elem.Relu(x, x) }, nil
	case "leakyrelu":
		a := take(alpha, 0.01)
		return func(x []float32) { elem.LeakyRelu(x, x, a) }, nil
	case "hardsigmoid":
		a, b := take(alpha, 0.2), take(beta, 0.5)
		return func(x []float32) { elem.HardSigmoid(x, x, a, b) }, nil
	case "affine":
		a, b := float64(take(alpha, 1)), float64(take(beta, 0))
		return pointwise(func(v float64) float64 { return float64(a*v) + b }), nil
	case "scaledtanh":
		a, b := float64(take(alpha, 1)), float64(take(beta, 1))
		return pointwise(func(v float64) float64 { return a * mathf.Tanh64(b*v) }), nil
	case "thresholdedrelu":
		a := float64(take(alpha, 1))
		return pointwise(func(v float64) float64 {
			if v >= a {
				return v
			}
			return 0
		}), nil
	case "elu":
		a := float64(take(alpha, 1))
		return pointwise(func(v float64) float64 {
			if v >= 0 {
				return v
			}
			return a * mathf.Expm164(v)
		}), nil
	case "softsign":
		return pointwise(func(v float64) float64 { return v / (1 + max(v, -v)) }), nil
	case "softplus":
		return pointwise(mathf.Softplus64), nil
	}
	return nil, fmt.Errorf("activation %q is %w", name, ErrUnsupported)
}

func sumBias(dst, w, r []float32) {
	for i := range dst {
		dst[i] = w[i] + r[i]
	}
}

func (l *layer) clipped(x []float32) {
	if l.clip > 0 {
		elem.Clip(x, x, -l.clip, l.clip)
	}
}

// plainCell is RNN: H = f(X·Wᵀ + H·Rᵀ + biases).
type plainCell struct{}

func (plainCell) gates() int                         { return 1 }
func (plainCell) activations() []string              { return []string{"Tanh"} }
func (plainCell) split(*layer) []int                 { return []int{1} }
func (plainCell) bias(_ *layer, dst, w, r []float32) { sumBias(dst, w, r) }
func (plainCell) step(l *layer, d *direction, m int, gates []float32) {
	l.multiply(&d.r[0], m, d.h, gates, l.hidden, true)
	l.clipped(gates)
	d.act[0](gates)
	copy(d.h, gates)
}

// lstmCell is LSTM, gates in the order input, output, forget, cell.
type lstmCell struct{}

func (lstmCell) gates() int                         { return 4 }
func (lstmCell) activations() []string              { return []string{"Sigmoid", "Tanh", "Tanh"} }
func (lstmCell) split(*layer) []int                 { return []int{4} }
func (lstmCell) bias(_ *layer, dst, w, r []float32) { sumBias(dst, w, r) }

func (lstmCell) step(l *layer, d *direction, m int, gates []float32) {
	n := l.hidden
	l.multiply(&d.r[0], m, d.h, gates, 4*n, true)
	for b := range m {
		row, c, h := gates[b*4*n:][:4*n], d.c[b*n:][:n], d.h[b*n:][:n]
		in, out, forget, g := row[:n], row[n:2*n], row[2*n:3*n], row[3*n:]
		if p := d.peephole; p != nil {
			addProduct(in, p[:n], c)
			addProduct(forget, p[2*n:], c)
		}
		l.clipped(in)
		l.clipped(forget)
		l.clipped(g)
		d.act[0](in)
		d.act[0](forget)
		d.act[1](g)
		if l.inputForget {
			for i, v := range in {
				forget[i] = 1 - v
			}
		}
		for i := range c {
			c[i] = float32(forget[i]*c[i]) + float32(in[i]*g[i])
		}
		if p := d.peephole; p != nil {
			addProduct(out, p[n:2*n], c)
		}
		l.clipped(out)
		d.act[0](out)
		copy(h, c)
		d.act[2](h)
		for i := range h {
			h[i] *= out[i]
		}
	}
}

func addProduct(dst, a, b []float32) {
	for i := range dst {
		dst[i] += float32(a[i] * b[i])
	}
}

// gruCell is GRU, gates in the order update, reset, hidden.
type gruCell struct{}

func (gruCell) gates() int            { return 3 }
func (gruCell) activations() []string { return []string{"Sigmoid", "Tanh"} }
func (gruCell) split(*layer) []int    { return []int{2, 1} }

func (gruCell) bias(l *layer, dst, w, r []float32) {
	sumBias(dst, w, r)
	if l.linearReset { // the hidden gate's recurrent bias is inside of the product with the reset gate
		copy(dst[2*l.hidden:], w[2*l.hidden:])
	}
}

func (gruCell) step(l *layer, d *direction, m int, gates []float32) {
	n := l.hidden
	l.multiply(&d.r[0], m, d.h, gates, 3*n, true)
	t := l.tail[:m*n] // the recurrent part of the hidden gate
	if l.linearReset {
		l.multiply(&d.r[1], m, d.h, t, n, false)
		addBias(t, d.biasR[2*n:])
	}
	for b := range m {
		row := gates[b*3*n:][:3*n]
		l.clipped(row[:2*n])
		d.act[0](row[:2*n])
		reset, own := row[n:2*n], t[b*n:][:n]
		if l.linearReset {
			addProduct(row[2*n:], reset, own)
		} else {
			for i, v := range d.h[b*n:][:n] {
				own[i] = float32(v * reset[i])
			}
		}
	}
	if !l.linearReset {
		l.multiply(&d.r[1], m, t, gates[2*n:], 3*n, true)
	}
	for b := range m {
		row := gates[b*3*n:][:3*n]
		update, g, h := row[:n], row[2*n:], d.h[b*n:][:n]
		l.clipped(g)
		d.act[1](g)
		for i, z := range update {
			h[i] = float32((1-z)*g[i]) + float32(z*h[i])
		}
	}
}
