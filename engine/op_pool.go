package engine

import (
	"fmt"
	"math"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/kernels/pool"
	"github.com/zqonnx/zqonnx/onnx"
)

var poolOps = []op{
	{"", "MaxPool", 1, 0, half(makeMaxPool)},
	{"", "AveragePool", 1, 0, half(floatPool(averagePool))},
	{"", "MaxUnpool", 9, 0, half(makeMaxUnpool)},
	{"", "LpPool", 1, 0, half(floatPool(lpPool))},
	{"", "GlobalMaxPool", 1, 0, half(globalPool(func(*onnx.Node) func([]float32, int, int) float32 { return greatest }))},
	{"", "GlobalAveragePool", 1, 0, half(globalPool(func(*onnx.Node) func([]float32, int, int) float32 { return pool.Mean }))},
	{"", "GlobalLpPool", 1, 0, half(globalPool(globalNorm))},
}

// pooling is the operands of a pool in a run. With channels first every plane is an image of one channel.
type pooling struct {
	conv.Geometry
	images, channels int
	dims             []int64
}

func (p *pooling) set(r *run, w *window, last bool) error {
	x := r.in(0)
	if x.Rank() < 3 {
		return fmt.Errorf("X of shape %v; batch, channels and spatial axes are needed: %w", x.Dims, onnx.ErrBadModel)
	}
	if w.kernel == nil {
		return fmt.Errorf("kernel_shape is missing: %w", onnx.ErrBadModel)
	}
	dims := r.firstDims(x.Dims, last)
	p.Geometry = w.geometry(r, dims[2:], w.kernel)
	p.dims = r.lastDims(r.spatialOut(dims[0], dims[1], &p.Geometry, len(dims)-2), last)
	p.images, p.channels = int(dims[0]*dims[1]), 1
	if last {
		p.images, p.channels = int(dims[0]), int(dims[1])
	}
	return nil
}

// floatPool makes the kernel of a pool of float32; of gives the loop for an image.
func floatPool(of func(n *onnx.Node) (func(y, x []float32, channels int, g *conv.Geometry, lo, hi int), error)) maker {
	return func(b *builder, n *onnx.Node) (kernel, error) {
		w, err := readWindow(n)
		if err != nil {
			return nil, err
		}
		loop, err := of(n)
		if err != nil {
			return nil, err
		}
		last := b.channelsLast(n.Input(0))
		var p pooling
		var x, y []float32
		body := func(lo, hi int) {
			p.ranges(lo, hi, func(i, lo, hi int) {
				loop(y[i*p.Pixels()*p.channels:], x[i*p.Inputs()*p.channels:], p.channels, &p.Geometry, lo, hi)
			})
		}
		return func(r *run) error {
			if r.in(0).Type != onnx.Float32 {
				return fmt.Errorf("X of %s is %w", r.in(0).Type, ErrUnsupported)
			}
			if err := p.set(r, &w, last); err != nil {
				return err
			}
			x, y = onnx.Data[float32](r.in(0)), onnx.Data[float32](r.out(0, onnx.Float32, p.dims...))
			r.par(p.images*p.Pixels(), p.grain(), body)
			x, y = nil, nil
			return nil
		}, nil
	}
}

// grain is how many outputs are worth a worker.
func (p *pooling) grain() int { return max(4096/(p.channels*p.Taps()), 1) }

// ranges calls f for the parts of images that make up output pixels lo … hi-1 of all images.
func (p *pooling) ranges(lo, hi int, f func(image, lo, hi int)) {
	for n := p.Pixels(); lo < hi; {
		i := lo / n
		end := min((i+1)*n, hi)
		f(i, lo-i*n, end-i*n)
		lo = end
	}
}

func averagePool(n *onnx.Node) (func(y, x []float32, channels int, g *conv.Geometry, lo, hi int), error) {
	includePad := n.Int("count_include_pad", 0) != 0
	return func(y, x []float32, channels int, g *conv.Geometry, lo, hi int) {
		pool.Average(y, x, channels, g, lo, hi, includePad)
	}, nil
}

func lpPool(n *onnx.Node) (func(y, x []float32, channels int, g *conv.Geometry, lo, hi int), error) {
	power, root := powers(n)
	return func(y, x []float32, channels int, g *conv.Geometry, lo, hi int) {
		pool.Norm(y, x, channels, g, lo, hi, power, root)
	}, nil
}

// powers returns |v|^p and its inverse for the attribute p, which opset 1 had as a float.
func powers(n *onnx.Node) (power, root func(float32) float32) {
	p := n.Float("p", float32(n.Int("p", 2)))
	switch p {
	case 1:
		return abs32, identity
	case 2:
		return func(v float32) float32 { return v * v }, func(v float32) float32 { return float32(math.Sqrt(float64(v))) }
	}
	return func(v float32) float32 { return mathf.Pow(abs32(v), p) }, func(v float32) float32 { return mathf.Pow(v, 1/p) }
}

func abs32(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

// makeMaxPool takes floats and 8-bit integers, and gives the indices of the maxima as output 1.
func makeMaxPool(b *builder, n *onnx.Node) (kernel, error) {
	w, err := readWindow(n)
	if err != nil {
		return nil, err
	}
	last := b.channelsLast(n.Input(0))
	columnMajor := n.Int("storage_order", 0) != 0
	kernels := map[onnx.DataType]kernel{
		onnx.Float32: maxPool(&w, last, columnMajor, float32(math.Inf(-1))),
		onnx.Float64: maxPool(&w, last, columnMajor, math.Inf(-1)),
		onnx.Int8:    maxPool(&w, last, columnMajor, int8(-128)),
		onnx.Uint8:   maxPool(&w, last, columnMajor, uint8(0)),
	}
	return func(r *run) error {
		k := kernels[r.in(0).Type]
		if k == nil {
			return fmt.Errorf("X of %s is %w", r.in(0).Type, ErrUnsupported)
		}
		return k(r)
	}, nil
}

func maxPool[T pool.Number](w *window, last, columnMajor bool, lowest T) kernel {
	var p pooling
	var x, y []T
	part := func(i, lo, hi int) {
		pool.Max(y[i*p.Pixels()*p.channels:], x[i*p.Inputs()*p.channels:], p.channels, &p.Geometry, lo, hi, lowest)
	}
	body := func(lo, hi int) { p.ranges(lo, hi, part) }
	return func(r *run) error {
		if err := p.set(r, w, last); err != nil {
			return err
		}
		tx := r.in(0)
		x, y = onnx.Data[T](tx), onnx.Data[T](r.out(0, tx.Type, p.dims...))
		if !r.wants(1) {
			r.par(p.images*p.Pixels(), p.grain(), body)
			x, y = nil, nil
			return nil
		}
		at := onnx.Data[int64](r.out(1, onnx.Int64, p.dims...))
		for i := range p.images {
			in, out := p.Inputs(), p.Pixels()
			plane := at[i*out:][:out]
			pool.MaxAt(y[i*out:], plane, x[i*in:], &p.Geometry, lowest)
			for j, v := range plane {
				if columnMajor {
					d, h, w := int(v)/(p.In[1]*p.In[2]), int(v)/p.In[2]%p.In[1], int(v)%p.In[2]
					v = int64((w*p.In[1]+h)*p.In[0] + d)
				}
				plane[j] = int64(i*in) + v
			}
		}
		x, y = nil, nil
		return nil
	}
}

// globalPool makes the kernel of a function of whole planes; of gives the function of n elements step apart.
func globalPool(of func(n *onnx.Node) func(x []float32, n, step int) float32) maker {
	return func(b *builder, n *onnx.Node) (kernel, error) {
		f := of(n)
		last, lastOut := b.channelsLast(n.Input(0)), b.channelsLast(n.Output(0))
		var x, y []float32
		var channels, pixels int
		body := func(lo, hi int) {
			for i := lo; i < hi; i++ {
				if last {
					y[i] = f(x[i/channels*pixels*channels+i%channels:], pixels, channels)
				} else {
					y[i] = f(x[i*pixels:], pixels, 1)
				}
			}
		}
		return func(r *run) error {
			tx := r.in(0)
			if tx.Type != onnx.Float32 {
				return fmt.Errorf("X of %s is %w", tx.Type, ErrUnsupported)
			}
			if tx.Rank() < 2 {
				return fmt.Errorf("X of shape %v: %w", tx.Dims, onnx.ErrBadModel)
			}
			dims := r.shape(tx.Rank())
			copy(dims, r.firstDims(tx.Dims, last))
			channels, pixels = int(dims[1]), int(onnx.NumElements(dims[2:]))
			if pixels == 0 {
				return fmt.Errorf("X of shape %v has empty planes: %w", tx.Dims, onnx.ErrBadModel)
			}
			for i := range dims[2:] {
				dims[2+i] = 1
			}
			x, y = onnx.Data[float32](tx), onnx.Data[float32](r.out(0, onnx.Float32, r.lastDims(dims, lastOut)...))
			r.par(len(y), max(4096/pixels, 1), body)
			x, y = nil, nil
			return nil
		}, nil
	}
}

func greatest(x []float32, n, step int) float32 {
	m := x[0]
	for i := 1; i < n; i++ {
		if v := x[i*step]; v > m {
			m = v
		}
	}
	return m
}

func globalNorm(n *onnx.Node) func(x []float32, n, step int) float32 {
	power, root := powers(n)
	return func(x []float32, n, step int) float32 {
		var sum float32
		for i := range n {
			sum += power(x[i*step])
		}
		return root(sum)
	}
}
