package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/norm"
	"github.com/zqonnx/zqonnx/onnx"
)

// layerNorm normalizes rows of width elements, each with scale and bias by element.
type layerNorm struct {
	x, y, scale, bias []float32
	mean, inverse     []float32 // by row; nil where they are not wanted
	width             int
	rootMeanSquare    bool // no mean is subtracted
	distributed       bool // by the formula of norm.Distributed
	epsilon           float32
	body              func(lo, hi int)
}

func (l *layerNorm) run(r *run) {
	if l.body == nil {
		l.body = l.work
	}
	if l.width > 0 {
		r.par(len(l.x)/l.width, max(4096/l.width, 1), l.body)
	}
	l.x, l.y, l.scale, l.bias, l.mean, l.inverse = nil, nil, nil, nil, nil, nil
}

func (l *layerNorm) work(lo, hi int) {
	for i := lo; i < hi; i++ {
		x := l.x[i*l.width:][:l.width]
		if l.distributed {
			norm.Distributed(l.y[i*l.width:], x, l.epsilon, l.scale, l.bias)
			continue
		}
		var mean, inverse float32
		if l.rootMeanSquare {
			inverse = norm.RootMeanSquare(x, l.epsilon)
		} else {
			mean, inverse = norm.Moments(x, l.epsilon)
		}
		norm.Affine(l.y[i*l.width:][:l.width], x, mean, inverse, l.scale, l.bias)
		if l.mean != nil {
			l.mean[i] = mean
		}
		if l.inverse != nil {
			l.inverse[i] = inverse
		}
	}
}

// rowParams returns input i, broadcast to a row of the given dims; nil where it is left out.
func (r *run) rowParams(i int, dims []int64) []float32 {
	p := r.float32In(i)
	if p == nil {
		return nil
	}
	width := int(onnx.NumElements(dims))
	if len(p) == width {
		return p
	}
	t := r.in(i)
	s := scratch[float32](r, width)
	for j := range s {
		at, step, rest := 0, 1, j
		for d := len(dims) - 1; d >= 0; d-- {
			own := int(alignedDim(t.Dims, d, len(dims)))
			if own != 1 {
				if own != int(dims[d]) {
					r.failf("input %d of shape %v does not broadcast to %v: %w", i, clone(t.Dims), clone(dims), onnx.ErrBadModel)
				}
				at += rest % own * step
			}
			step *= own
			rest /= int(dims[d])
		}
		s[j] = p[at]
	}
	return s
}

// makeLayerNorm takes X, Scale, B and gives Y, Mean, InvStdDev. With the root mean square in place of the deviation there is no B
// and no Mean.
func makeLayerNorm(rootMeanSquare bool) maker {
	return func(_ *builder, n *onnx.Node) (kernel, error) {
		attr := n.Int("axis", -1)
		l := &layerNorm{epsilon: n.Float("epsilon", 1e-5), rootMeanSquare: rootMeanSquare, distributed: n.Domain == fusedDomain}
		return func(r *run) error {
			tx := r.in(0)
			axis, _, _, err := axisOf(attr, tx.Dims)
			if err != nil {
				return err
			}
			l.width = int(onnx.NumElements(tx.Dims[axis:]))
			l.x, l.scale = r.float32In(0), r.rowParams(1, tx.Dims[axis:])
			l.y = onnx.Data[float32](r.out(0, onnx.Float32, tx.Dims...))
			if rootMeanSquare {
				l.inverse = r.rowResult(1, tx.Dims, axis)
			} else {
				l.bias = r.rowParams(2, tx.Dims[axis:])
				l.mean, l.inverse = r.rowResult(1, tx.Dims, axis), r.rowResult(2, tx.Dims, axis)
			}
			l.run(r)
			return nil
		}, nil
	}
}

// rowResult makes output i with one element a row; nil if it is not wanted.
func (r *run) rowResult(i int, dims []int64, axis int) []float32 {
	if !r.wants(i) {
		return nil
	}
	d := r.shape(len(dims))
	copy(d, dims[:axis])
	for k := axis; k < len(d); k++ {
		d[k] = 1
	}
	return onnx.Data[float32](r.out(i, onnx.Float32, d...))
}

// makeSkipNorm normalizes input + skip + bias: SkipLayerNormalization takes input, skip, gamma, beta, bias,
// SkipSimplifiedLayerNormalization input, skip, gamma, bias. Output 3 is the sum.
func makeSkipNorm(_ *builder, n *onnx.Node) (kernel, error) {
	l := &layerNorm{epsilon: n.Float("epsilon", 1e-12), rootMeanSquare: n.Op == "SkipSimplifiedLayerNormalization"}
	beta, bias := 3, 4
	if l.rootMeanSquare {
		beta, bias = -1, 3
	}
	return func(r *run) error {
		tx := r.in(0)
		if tx.Rank() == 0 || len(r.float32In(1)) == 0 || len(r.float32In(0))%len(r.float32In(1)) != 0 {
			return fmt.Errorf("input of shape %v and skip of shape %v: %w", tx.Dims, r.in(1).Dims, onnx.ErrBadModel)
		}
		row := tx.Dims[tx.Rank()-1:]
		l.width = int(row[0])
		x, skip, b := r.float32In(0), r.float32In(1), r.rowParams(bias, row)
		sum := scratch[float32](r, len(x))
		if r.wants(3) {
			sum = onnx.Data[float32](r.out(3, onnx.Float32, tx.Dims...))
		}
		for i, v := range x {
			v += skip[i%len(skip)]
			if b != nil {
				v += b[i%l.width]
			}
			sum[i] = v
		}
		l.x, l.scale = sum, r.rowParams(2, row)
		if beta >= 0 {
			l.bias = r.rowParams(beta, row)
		}
		l.y = onnx.Data[float32](r.out(0, onnx.Float32, tx.Dims...))
		l.run(r)
		return nil
	}, nil
}
