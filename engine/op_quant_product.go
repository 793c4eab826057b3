package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/gemm"
	"github.com/zqonnx/zqonnx/onnx"
)

// codes8 returns the codes of an 8-bit integer tensor as bytes and whether they are signed.
func codes8(t *onnx.Tensor) (codes []uint8, signed bool, err error) {
	if t.Type != onnx.Uint8 && t.Type != onnx.Int8 {
		return nil, false, fmt.Errorf("codes of %s are %w", t.Type, ErrUnsupported)
	}
	return t.Bytes(), t.Type == onnx.Int8, nil
}

// zeros32 returns zero points as int32 in buf; none for nil or when all are 0.
func zeros32(buf []int32, t *onnx.Tensor) []int32 {
	buf = buf[:0]
	if t == nil {
		return buf
	}
	b, n, any := t.Bytes(), t.Len(), false
	for i := range n {
		z := codeAt(t.Type, b, i)
		any = any || z != 0
		buf = append(buf, z)
	}
	if !any {
		return buf[:0]
	}
	return buf
}

// productInt8 runs a batch of integer products on the workers. B is packed once where it and its zero points are constants.
type productInt8 struct {
	shape      matrices
	a          []uint8
	signed     bool
	zeroA      []int32 // none, one, one a row, or one a row of each batch
	transposed bool    // B is stored [N, K]
	bias       []int32
	c          []int32 // the sums; nil: the tail takes them
	tail       tailInt8

	constant         []*gemm.PanelsInt8
	sourceB, sourceZ *onnx.Tensor
	b                []uint8 // B of this run
	signedB          bool
	zeroB            []int32
	panels, dynamic  []*gemm.PanelsInt8
	perMatrix        int // zero points of B for each matrix of B, 0: all take zeroB
	perBatch         int // zero points of A for each batch
	grid             gemm.Grid
	body             func(i int)
}

// prepack packs constant B, stored as [.., K, N] or transposed, with constant zero points; it does nothing when either is no
// constant.
func (p *productInt8) prepack(b *builder, vb, vz *onnx.Value) error {
	t, z := b.constant(vb), b.constant(vz)
	if t == nil || vz != nil && z == nil || t.Rank() < 2 {
		return nil
	}
	if _, _, err := codes8(t); err != nil {
		return err
	}
	p.sourceB, p.sourceZ = t, z
	if err := p.load(t, z); err != nil {
		return err
	}
	k, n := int(t.Dims[t.Rank()-2]), int(t.Dims[t.Rank()-1])
	if p.transposed {
		k, n = n, k
	}
	p.constant = p.pack(nil, k, n)
	p.b = nil
	return nil
}

// load reads B and its zero points for pack.
func (p *productInt8) load(t, z *onnx.Tensor) (err error) {
	if p.b, p.signedB, err = codes8(t); err != nil {
		return err
	}
	p.zeroB = zeros32(p.zeroB, z)
	n := int(t.Dims[t.Rank()-1])
	if p.transposed {
		n = int(t.Dims[t.Rank()-2])
	}
	p.perMatrix = 0
	if c := len(p.zeroB); c > 1 && c != n {
		if n == 0 || c%n != 0 || t.Rank() < 3 || c/n*int(t.Dims[t.Rank()-2])*n != t.Len() {
			return fmt.Errorf("%d zero points for B of shape %v: %w", c, t.Dims, onnx.ErrBadModel)
		}
		p.perMatrix = n
	}
	return nil
}

// pack packs all matrices [k, n] of B, reusing panels.
func (p *productInt8) pack(panels []*gemm.PanelsInt8, k, n int) []*gemm.PanelsInt8 {
	count := 1
	if k*n > 0 {
		count = len(p.b) / (k * n)
	}
	for len(panels) < count {
		panels = append(panels, new(gemm.PanelsInt8))
	}
	ldb := n
	if p.transposed {
		ldb = k
	}
	for i := range count {
		zeros := p.zeroB
		if p.perMatrix > 0 {
			zeros = zeros[i*n:][:n]
		}
		codes := p.b[i*k*n:][:k*n]
		if p.signedB {
			panels[i].RepackS8(asInt8(codes), k, n, ldb, p.transposed, zeros)
		} else {
			panels[i].RepackU8(codes, k, n, ldb, p.transposed, zeros)
		}
	}
	return panels
}

// operandB takes B and its zero points, inputs i and z of the node, for this run. A run may override a constant.
func (p *productInt8) operandB(r *run, i, z int) error {
	if r.isConst(i, p.sourceB) && r.in(z) == p.sourceZ {
		p.panels = p.constant
		return nil
	}
	p.panels = nil
	return p.load(r.in(i), r.in(z))
}

// operandA takes A and its zero points. p.shape is set.
func (p *productInt8) operandA(a, zero *onnx.Tensor) (err error) {
	if p.a, p.signed, err = codes8(a); err != nil {
		return err
	}
	p.zeroA = zeros32(p.zeroA, zero)
	p.perBatch = 0
	c, m := len(p.zeroA), p.shape.m
	switch {
	case c <= 1 || c == m:
	case m > 0 && c == m*len(p.shape.a):
		p.perBatch = m
	default:
		return fmt.Errorf("%d zero points for A of shape %v: %w", c, a.Dims, onnx.ErrBadModel)
	}
	return nil
}

// run computes all products. It collapses the batches where that is possible.
func (p *productInt8) run(r *run) {
	s := &p.shape
	if len(p.zeroA) <= 1 {
		s.collapse()
	}
	batches := len(s.a)
	if batches == 0 || s.m == 0 || s.n == 0 {
		return
	}
	if p.panels == nil {
		p.dynamic = p.pack(p.dynamic, s.k, s.n)
		p.panels = p.dynamic
	}
	parts := 1
	if t := r.threads(); t > 1 && batches < 2*t {
		parts = (2*t + batches - 1) / batches
	}
	p.grid = p.panels[0].Split(s.m, parts)
	if p.body == nil {
		p.body = p.task
	}
	r.each(batches*p.grid.Len(), p.body)
	p.a, p.b, p.c, p.bias, p.tail = nil, nil, nil, nil, tailInt8{}
}

func (p *productInt8) task(i int) {
	s := &p.shape
	w := takeWorker()
	batch := i / p.grid.Len()
	w.int8 = gemm.Int8{
		M: s.m, A: p.a[s.a[batch]:][:s.m*s.k], LDA: s.k, Signed: p.signed, ZeroA: p.zeroA,
		B: p.panels[s.b[batch]/max(s.k*s.n, 1)], Bias: p.bias,
	}
	if p.perBatch > 0 {
		w.int8.ZeroA = p.zeroA[batch*p.perBatch:][:p.perBatch]
	}
	if p.c != nil {
		w.int8.C, w.int8.LDC = p.c[batch*s.m*s.n:][:s.m*s.n], s.n
	} else {
		t := &w.out
		tile := t.tile
		*t = p.tail
		t.tile, t.ld = tile, s.n
		if t.codes != nil {
			t.codes = t.codes[batch*s.m*s.n:]
		} else {
			t.floats = t.floats[batch*s.m*s.n:]
		}
		if t.rowScale != nil {
			t.rowScale = t.rowScale[batch*s.m:]
		}
		w.int8.Epilogue = t
	}
	w.int8.Run(p.grid.Region(i%p.grid.Len()), &w.gemm)
	w.release()
}

// scales returns one float32 a column: f32(a·b[n]), divided by y where y is not 0.
func (r *run) multipliers(n int, a float32, b []float32, y float32) []float32 {
	m := scratch[float32](r, n)
	for j := range m {
		s := b[0]
		if len(b) > 1 {
			s = b[j]
		}
		m[j] = float32(a * s)
		if y != 0 {
			m[j] /= y
		}
	}
	return m
}
