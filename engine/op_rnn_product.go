package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/gemm"
	"github.com/zqonnx/zqonnx/kernels/quant"
	"github.com/zqonnx/zqonnx/onnx"
)

// gateProduct multiplies rows of k numbers by packed weights [k, n]: float ones, or integers, for which the rows are
// quantized together as DynamicQuantizeLinear does.
type gateProduct struct {
	k, n  int
	float *gemm.PanelsF32
	codes *gemm.PanelsInt8
	scale []float32 // of the codes: 1 or n
}

// packFloat packs weights stored [n, k].
func (p *gateProduct) packFloat(w []float32, k, n int) {
	if p.float == nil {
		p.float = new(gemm.PanelsF32)
	}
	p.k, p.n = k, n
	p.float.Repack(w, k, n, k, true)
}

// productTask is a product that the workers share.
type productTask struct {
	p          *gateProduct
	m          int
	a          []float32
	c          []float32
	ldc        int
	accumulate bool
	quantized  []uint8
	sums       []int32
	zero       [1]int32
	grid       gemm.Grid
	body       func(i int)
}

// worthSplitting is how many multiply-adds make a second worker pay.
const worthSplitting = 1 << 17

// multiply computes c [m, n], rows ldc apart, = a [m, k]·weights, added to c with accumulate.
func (l *layer) multiply(p *gateProduct, m int, a, c []float32, ldc int, accumulate bool) {
	t := &l.product
	parts := 1
	if m*p.k*p.n >= worthSplitting {
		parts = l.r.threads()
	}
	t.p, t.m, t.a, t.c, t.ldc, t.accumulate = p, m, a, c, ldc, accumulate
	if m == 0 {
		return
	}
	if p.codes == nil {
		t.grid = p.float.Split(m, parts)
		l.r.each(t.grid.Len(), t.body)
		t.a, t.c = nil, nil
		return
	}
	t.quantized, t.sums = grown(t.quantized, m*p.k), grown(t.sums, m*p.n)
	lo, hi := quant.MinMax(a[:m*p.k])
	scale, zero := dynamicParams(lo, hi)
	quant.Quantize(t.quantized, a[:m*p.k], scale, int32(zero), false)
	t.zero[0] = int32(zero)
	t.grid = p.codes.Split(m, parts)
	l.r.each(t.grid.Len(), t.body)
	for i := range m {
		row := c[i*ldc:][:p.n]
		for j, v := range t.sums[i*p.n:][:p.n] {
			s := p.scale[0]
			if len(p.scale) > 1 {
				s = p.scale[j]
			}
			y := float32(float32(v) * float32(scale*s))
			if accumulate {
				y = row[j] + y
			}
			row[j] = y
		}
	}
	t.a, t.c = nil, nil
}

func (t *productTask) work(i int) {
	w := takeWorker()
	if t.p.codes == nil {
		w.f32 = gemm.F32{M: t.m, A: t.a, LDA: t.p.k, B: t.p.float, C: t.c, LDC: t.ldc, Accumulate: t.accumulate}
		w.f32.Run(t.grid.Region(i), &w.gemm)
	} else {
		w.int8 = gemm.Int8{M: t.m, A: t.quantized, LDA: t.p.k, ZeroA: t.zero[:], B: t.p.codes, C: t.sums, LDC: t.p.n}
		w.int8.Run(t.grid.Region(i), &w.gemm)
	}
	w.release()
}

// makeQuantizedLSTM is com.microsoft.DynamicQuantizeLSTM: W [D, I, 4·H] and R [D, H, 4·H] are codes, followed (inputs 8 to
// 11) by their scales and zero points, one for a direction [D] or for a column [D, 4·H].
func makeQuantizedLSTM(b *builder, n *onnx.Node) (kernel, error) {
	l, err := newLayer(lstmCell{}, n)
	if err != nil {
		return nil, err
	}
	var weights [6]*onnx.Tensor
	inputs := [6]int{1, 2, 8, 9, 10, 11}
	pack := func() error {
		w, r := weights[0], weights[1]
		if err := l.checkWeights(w, r, 2); err != nil {
			return err
		}
		for i, d := range l.directions {
			if err := d.w.packCodes(w, weights[2], weights[3], i); err != nil {
				return err
			}
			d.r = []gateProduct{{}}
			if err := d.r[0].packCodes(r, weights[4], weights[5], i); err != nil {
				return err
			}
		}
		return nil
	}
	constant := true
	for k, i := range inputs {
		weights[k] = b.constant(n.Input(i))
		constant = constant && (weights[k] != nil || n.Input(i) == nil)
	}
	if constant {
		if err := pack(); err != nil {
			return nil, err
		}
	}
	return func(r *run) error {
		changed := !constant
		for k, i := range inputs {
			if t := r.in(i); t != weights[k] {
				weights[k], changed = t, true
			}
		}
		if changed {
			if weights[0] == nil || weights[1] == nil {
				return fmt.Errorf("no weights: %w", onnx.ErrBadModel)
			}
			if err := pack(); err != nil {
				return err
			}
		}
		return l.run(r)
	}, nil
}

// packCodes packs the weights of a direction, stored [D, k, n].
func (p *gateProduct) packCodes(w, scale, zero *onnx.Tensor, direction int) error {
	p.k, p.n = int(w.Dims[1]), int(w.Dims[2])
	codes, signed, err := codes8(w)
	if err != nil {
		return err
	}
	d := int(w.Dims[0])
	if scale == nil || scale.Type != onnx.Float32 || scale.Len() != d && scale.Len() != d*p.n {
		return fmt.Errorf("weights %v need a scale for each direction or column: %w", w.Dims, onnx.ErrBadModel)
	}
	each := scale.Len() / d
	p.scale = onnx.Data[float32](scale)[direction*each:][:each]
	var zeros []int32
	if zero != nil {
		if zero.Type != w.Type || zero.Len() != scale.Len() {
			return fmt.Errorf("zero points %s%v do not match the scales %v: %w", zero.Type, zero.Dims, scale.Dims, onnx.ErrBadModel)
		}
		for i := range each {
			zeros = append(zeros, codeAt(zero.Type, zero.Bytes(), direction*each+i))
		}
	}
	part := codes[direction*p.k*p.n:][:p.k*p.n]
	if signed {
		p.codes = gemm.PackS8(asInt8(part), p.k, p.n, p.n, false, zeros)
	} else {
		p.codes = gemm.PackU8(part, p.k, p.n, p.n, false, zeros)
	}
	return nil
}
