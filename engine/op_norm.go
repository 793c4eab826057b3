package engine

import (
	"fmt"
	"math"

	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/kernels/norm"
	"github.com/zqonnx/zqonnx/onnx"
)

var normOps = []op{
	{"", "BatchNormalization", 1, 0, half(makeBatchNorm)},
	{"", "InstanceNormalization", 1, 0, half(makeInstanceNorm)},
	{"", "GroupNormalization", 18, 0, half(makeGroupNorm)},
	{"", "LayerNormalization", 1, 0, half(makeLayerNorm(false))},
	{"", "RMSNormalization", 23, 0, half(makeLayerNorm(true))},
	{"", "SimplifiedLayerNormalization", 1, 0, half(makeLayerNorm(true))},
	{msDomain, "SkipLayerNormalization", 1, 0, half(makeSkipNorm)},
	{msDomain, "SkipSimplifiedLayerNormalization", 1, 0, half(makeSkipNorm)},
	{"", "LRN", 1, 0, half(makeLRN)},
	{"", "LpNormalization", 1, 0, half(makeLpNorm)},
	{"", "MeanVarianceNormalization", 9, 0, half(makeMVN)},
	{"", "Softmax", 1, 0, half(rowwise(norm.Softmax))},
	{"", "LogSoftmax", 1, 0, half(rowwise(nil))},
	{"", "Hardmax", 1, 0, half(rowwise(norm.Hardmax))},
}

// float32In returns input i as float32 elements.
func (r *run) float32In(i int) []float32 {
	t := r.in(i)
	if t == nil {
		return nil
	}
	if t.Type != onnx.Float32 {
		r.failf("input %d of %s is %w", i, t.Type, ErrUnsupported)
	}
	return onnx.Data[float32](t)
}

// channelParams returns input i, which must have one element a channel.
func (r *run) channelParams(i, channels int) []float32 {
	p := r.float32In(i)
	if len(p) != channels {
		r.failf("input %d has %d elements for %d channels: %w", i, len(p), channels, onnx.ErrBadModel)
	}
	return p
}

// makeBatchNorm computes f32(x·a) + b with a = scale/√(var + epsilon) and b = bias - mean·a.
func makeBatchNorm(b *builder, n *onnx.Node) (kernel, error) {
	version := b.opset(n)
	trains := version < 7 && n.Int("is_test", 0) == 0 && len(n.Outputs()) > 1 || n.Int("training_mode", 0) != 0
	if trains {
		return nil, fmt.Errorf("training mode is %w", ErrUnsupported)
	}
	if n.Int("spatial", 1) == 0 {
		return nil, fmt.Errorf("spatial=0 is %w", ErrUnsupported)
	}
	epsilon := n.Float("epsilon", 1e-5)
	last := b.channelsLast(n.Input(0))
	var x, y, factor, offset []float32
	var pixels int
	body := func(lo, hi int) { // planes
		for i := lo; i < hi; i++ {
			c := i % len(factor)
			f, o := factor[c], offset[c]
			to := y[i*pixels:][:pixels]
			for j, v := range x[i*pixels:][:pixels] {
				to[j] = float32(v*f) + o
			}
		}
	}
	rows := func(lo, hi int) { // pixels
		for i := lo; i < hi; i++ {
			to := y[i*len(factor):][:len(factor)]
			for c, v := range x[i*len(factor):][:len(factor)] {
				to[c] = float32(v*factor[c]) + offset[c]
			}
		}
	}
	return func(r *run) error {
		tx := r.in(0)
		if tx.Rank() < 1 {
			return fmt.Errorf("X is a scalar: %w", onnx.ErrBadModel)
		}
		dims := r.firstDims(tx.Dims, last)
		channels := 1
		if len(dims) > 1 {
			channels = int(dims[1])
			pixels = int(onnx.NumElements(dims[2:]))
		} else {
			pixels = 1
		}
		x = r.float32In(0)
		scale, bias := r.channelParams(1, channels), r.channelParams(2, channels)
		mean, variance := r.channelParams(3, channels), r.channelParams(4, channels)
		factor, offset = scratch[float32](r, channels), scratch[float32](r, channels)
		for c := range factor {
			factor[c] = scale[c] / float32(math.Sqrt(float64(variance[c]+epsilon)))
			offset[c] = bias[c] - float32(mean[c]*factor[c])
		}
		y = onnx.Data[float32](r.out(0, onnx.Float32, tx.Dims...))
		if last || pixels == 1 {
			r.par(len(x)/max(channels, 1), max(8192/max(channels, 1), 1), rows)
		} else {
			r.par(len(x)/max(pixels, 1), max(8192/max(pixels, 1), 1), body)
		}
		x, y, factor, offset = nil, nil, nil, nil
		return nil
	}, nil
}

// planes is a normalization of groups of planes, each with a scale and a bias a channel.
type planes struct {
	x, y, scale, bias []float32
	perGroup, pixels  int // channels of a group, elements of a plane
	groups            int // of a picture
	epsilon           float32
	body              func(lo, hi int)
}

func (p *planes) run(r *run) {
	p.y = onnx.Data[float32](r.out(0, onnx.Float32, r.in(0).Dims...))
	if p.body == nil {
		p.body = p.work
	}
	if size := p.perGroup * p.pixels; size > 0 {
		r.par(len(p.x)/size, max(4096/size, 1), p.body)
	}
	p.x, p.y, p.scale, p.bias = nil, nil, nil, nil
}

func (p *planes) work(lo, hi int) {
	size := p.perGroup * p.pixels
	for i := lo; i < hi; i++ {
		mean, inverse := norm.Moments(p.x[i*size:][:size], p.epsilon)
		for c := range p.perGroup {
			channel := i%p.groups*p.perGroup + c
			scale, bias := p.scale[channel], p.bias[channel]
			at := i*size + c*p.pixels
			to := p.y[at:][:p.pixels]
			for j, v := range p.x[at:][:p.pixels] {
				to[j] = float32(float32((v-mean)*inverse)*scale) + bias
			}
		}
	}
}

func makeInstanceNorm(_ *builder, n *onnx.Node) (kernel, error) {
	p := &planes{epsilon: n.Float("epsilon", 1e-5)}
	return func(r *run) error {
		dims := r.in(0).Dims
		if len(dims) < 3 {
			return fmt.Errorf("X of shape %v: %w", dims, onnx.ErrBadModel)
		}
		p.groups, p.perGroup, p.pixels = int(dims[1]), 1, int(onnx.NumElements(dims[2:]))
		p.x, p.scale, p.bias = r.float32In(0), r.channelParams(1, p.groups), r.channelParams(2, p.groups)
		p.run(r)
		return nil
	}, nil
}

// makeGroupNorm has a scale and bias a group in opset 18, a channel from 21 on.
func makeGroupNorm(b *builder, n *onnx.Node) (kernel, error) {
	p := &planes{epsilon: n.Float("epsilon", 1e-5), groups: int(n.Int("num_groups", 0))}
	perGroup := b.opset(n) < 21
	return func(r *run) error {
		dims := r.in(0).Dims
		if len(dims) < 2 || p.groups < 1 || int(dims[1])%p.groups != 0 {
			return fmt.Errorf("X of shape %v with num_groups %d: %w", dims, p.groups, onnx.ErrBadModel)
		}
		channels := int(dims[1])
		p.perGroup, p.pixels = channels/p.groups, int(onnx.NumElements(dims[2:]))
		p.x = r.float32In(0)
		if perGroup {
			p.scale, p.bias = r.spread(1, p.groups, p.perGroup), r.spread(2, p.groups, p.perGroup)
		} else {
			p.scale, p.bias = r.channelParams(1, channels), r.channelParams(2, channels)
		}
		p.run(r)
		return nil
	}, nil
}

// spread returns input i, which has n elements, with each repeated.
func (r *run) spread(i, n, repeat int) []float32 {
	p, s := r.channelParams(i, n), scratch[float32](r, n*repeat)
	for j := range s {
		s[j] = p[j/repeat]
	}
	return s
}

// makeMVN normalizes over the given axes: (x - mean) / (deviation + 1e-9).
func makeMVN(_ *builder, n *onnx.Node) (kernel, error) {
	axesAttr := n.Ints("axes")
	if axesAttr == nil {
		axesAttr = []int64{0, 2, 3}
	}
	return func(r *run) error {
		tx := r.in(0)
		x := r.float32In(0)
		y := onnx.Data[float32](r.out(0, onnx.Float32, tx.Dims...))
		// Number the groups that share a mean: those with equal indices on the axes that are kept.
		steps := make([]int, tx.Rank())
		groups := 1
		for i := tx.Rank() - 1; i >= 0; i-- {
			kept := true
			for _, a := range axesAttr {
				if a == int64(i) || a+int64(tx.Rank()) == int64(i) {
					kept = false
				}
			}
			if kept {
				steps[i] = groups
				groups *= int(tx.Dims[i])
			}
		}
		sum, squares, count := make([]float64, groups), make([]float64, groups), 0
		if groups > 0 {
			count = len(x) / groups
		}
		group := func(i int) int {
			g := 0
			for d := tx.Rank() - 1; d >= 0; d-- {
				g += i % int(tx.Dims[d]) * steps[d]
				i /= int(tx.Dims[d])
			}
			return g
		}
		for i, v := range x {
			sum[group(i)] += float64(v)
		}
		for i, v := range x {
			g := group(i)
			d := float64(v) - sum[g]/float64(count)
			squares[g] += float64(d * d)
		}
		for i, v := range x {
			g := group(i)
			y[i] = float32((float64(v) - sum[g]/float64(count)) / (math.Sqrt(squares[g]/float64(count)) + 1e-9))
		}
		return nil
	}, nil
}

// makeLRN divides by (bias + alpha/size·Σ of squares over size channels around)^beta.
func makeLRN(_ *builder, n *onnx.Node) (kernel, error) {
	size := int(n.Int("size", 1))
	alpha, beta, bias := n.Float("alpha", 1e-4), n.Float("beta", 0.75), n.Float("bias", 1)
	if size < 1 {
		return nil, fmt.Errorf("size %d: %w", size, onnx.ErrBadModel)
	}
	var x, y []float32
	var channels, pixels int
	body := func(lo, hi int) {
		for i := lo; i < hi; i++ {
			c := i % channels
			from, to := max(c-(size-1)/2, 0), min(c+size/2, channels-1)
			for p := range pixels {
				var sum float32
				for k := from; k <= to; k++ {
					v := x[(i-c+k)*pixels+p]
					sum += float32(v * v)
				}
				y[i*pixels+p] = x[i*pixels+p] * mathf.Pow(bias+float32(alpha/float32(size)*sum), -beta)
			}
		}
	}
	return func(r *run) error {
		dims := r.in(0).Dims
		if len(dims) < 3 {
			return fmt.Errorf("X of shape %v: %w", dims, onnx.ErrBadModel)
		}
		channels, pixels = int(dims[1]), int(onnx.NumElements(dims[2:]))
		x, y = r.float32In(0), onnx.Data[float32](r.out(0, onnx.Float32, dims...))
		if pixels > 0 {
			r.par(len(x)/pixels, max(1024/pixels, 1), body)
		}
		x, y = nil, nil
		return nil
	}, nil
}

func makeLpNorm(_ *builder, n *onnx.Node) (kernel, error) {
	attr, p := n.Int("axis", -1), n.Int("p", 2)
	if p != 1 && p != 2 {
		return nil, fmt.Errorf("p %d: %w", p, onnx.ErrBadModel)
	}
	return func(r *run) error {
		tx := r.in(0)
		_, length, inner, err := axisOf(attr, tx.Dims)
		if err != nil {
			return err
		}
		x, y := r.float32In(0), onnx.Data[float32](r.out(0, onnx.Float32, tx.Dims...))
		for i := range len(x) / max(length, 1) {
			at := i/inner*length*inner + i%inner
			sum := 0.0
			for k := range length {
				v := float64(x[at+k*inner])
				if p == 1 {
					sum += math.Abs(v)
				} else {
					sum += float64(v * v)
				}
			}
			if p == 2 {
				sum = math.Sqrt(sum)
			}
			for k := range length {
				v := float32(0)
				if sum != 0 {
					v = float32(float64(x[at+k*inner]) / sum)
				}
				y[at+k*inner] = v
			}
		}
		return nil
	}, nil
}

// axisOf resolves an axis attribute: the axis, its length, and the elements between neighbours along it.
func axisOf(attr int64, dims []int64) (axis, length, inner int, err error) {
	axis = int(attr)
	if axis < 0 {
		axis += len(dims)
	}
	if axis < 0 || axis >= len(dims) {
		return 0, 0, 0, fmt.Errorf("axis %d of shape %v: %w", attr, clone(dims), onnx.ErrBadModel)
	}
	return axis, int(dims[axis]), int(onnx.NumElements(dims[axis+1:])), nil
}

// rowwise makes Softmax and its relatives from a function of one row; nil is LogSoftmax. Before opset 13 a row is all
// elements from axis on.
func rowwise(f func(dst, x []float32)) maker {
	return func(b *builder, n *onnx.Node) (kernel, error) {
		coerced := b.opset(n) < 13
		def := int64(-1)
		if coerced {
			def = 1
		}
		attr := n.Int("axis", def)
		var x, y []float32
		var length, inner int
		body := func(lo, hi int) {
			w := takeWorker()
			defer w.release()
			for i := lo; i < hi; i++ {
				if inner == 1 {
					row(f, y[i*length:][:length], x[i*length:][:length], w)
					continue
				}
				at := i/inner*length*inner + i%inner
				w.rows = grown(w.rows, length)
				for k := range w.rows {
					w.rows[k] = x[at+k*inner]
				}
				row(f, w.rows, w.rows, w)
				for k, v := range w.rows {
					y[at+k*inner] = v
				}
			}
		}
		return func(r *run) error {
			tx := r.in(0)
			if tx.Rank() == 0 {
				return fmt.Errorf("X is a scalar: %w", onnx.ErrBadModel)
			}
			axis, l, in, err := axisOf(attr, tx.Dims)
			if err != nil {
				return err
			}
			length, inner = l, in
			if coerced {
				length, inner = int(onnx.NumElements(tx.Dims[axis:])), 1
			}
			x, y = r.float32In(0), onnx.Data[float32](r.out(0, onnx.Float32, tx.Dims...))
			if length > 0 {
				r.par(len(x)/length, max(2048/length, 1), body)
			}
			x, y = nil, nil
			return nil
		}, nil
	}
}

func row(f func(dst, x []float32), dst, x []float32, w *worker) {
	if f == nil {
		w.row = grown(w.row, len(x))
		norm.LogSoftmax(dst, x, w.row)
		return
	}
	f(dst, x)
}
