package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/kernels/gemm"
	"github.com/zqonnx/zqonnx/onnx"
)

var matmulOps = []op{
	{"", "MatMul", 1, 0, half(makeMatMul)},
	{"", "Gemm", 1, 0, half(makeGemm)},
	{msDomain, "FusedGemm", 1, 0, half(makeGemm)},
	{msDomain, "FusedMatMul", 1, 0, half(makeFusedMatMul)},
}

// productF32 runs a batch of float32 products on the workers. B is packed once where it is a constant.
type productF32 struct {
	shape      matrices
	a, b, c    []float32
	lda, ldb   int
	blockK     int
	transposed bool // B is stored [N, K]
	bias       []float32
	tail       tailF32
	useTail    bool

	constant []*gemm.PanelsF32 // B by matrix, packed by the maker
	source   *onnx.Tensor      // what constant was packed from
	panels   []*gemm.PanelsF32 // B of this run; nil: each worker packs its own
	dynamic  []*gemm.PanelsF32
	grid     gemm.Grid
	body     func(i int)
}

// pack packs a constant B of count matrices [k, n], each stored transposed if p.transposed says so.
func (p *productF32) pack(t *onnx.Tensor, b []float32, count, k, n int) {
	ldb := n
	if p.transposed {
		ldb = k
	}
	p.source = t
	for i := range count {
		p.constant = append(p.constant, gemm.PackF32(b[i*k*n:][:k*n], k, n, ldb, p.transposed))
	}
}

// run computes all products of p.shape; p.a, p.b (or constant panels) and p.c are set.
func (p *productF32) run(r *run, constant bool) {
	s := &p.shape
	batches := len(s.a)
	if batches == 0 || s.m == 0 || s.n == 0 {
		return
	}
	p.lda, p.ldb = s.k, s.n
	if p.transposed {
		p.ldb = s.k
	}
	parts := 1
	if t := r.threads(); t > 1 && batches < 2*t {
		parts = (2*t + batches - 1) / batches
	}
	p.blockK = dynamicBlockK(s.k, s.n)
	switch {
	case constant:
		p.panels, p.blockK = p.constant, constantBlockK
	case parts == 1 && t1(s, batches):
		p.panels = nil
	default: // several workers share one B, or several batches do
		p.panels = p.packDynamic()
	}
	if p.panels != nil {
		p.grid = p.panels[0].Split(s.m, parts)
	} else {
		p.grid = gemm.Split(s.m, s.n, s.m, s.n, 1)
	}
	if p.body == nil {
		p.body = p.task
	}
	r.each(batches*p.grid.Len(), p.body)
	p.a, p.b, p.c, p.bias, p.tail.c = nil, nil, nil, nil, nil
}

// constantBlockK is how many products ONNX Runtime sums up in one go where B is packed ahead.
const constantBlockK = 256

// dynamicBlockK is the same where B is not: its blocks of B are as wide as B allows, and deeper the narrower they are.
func dynamicBlockK(k, n int) int {
	depth, width := 128, 128
	for n < k && width > 16 && width/2 >= n {
		depth, width = 2*depth, width/2
	}
	return depth
}

// t1 reports whether each batch has a B of its own.
func t1(s *matrices, batches int) bool { return batches == 1 || s.b[0] != s.b[batches-1] }

// packDynamic packs the matrices of B that this run gave.
func (p *productF32) packDynamic() []*gemm.PanelsF32 {
	s := &p.shape
	count := len(p.b) / max(s.k*s.n, 1)
	if s.k == 0 {
		count = 1
	}
	for len(p.dynamic) < count {
		p.dynamic = append(p.dynamic, new(gemm.PanelsF32))
	}
	for i := range count {
		p.dynamic[i].Repack(p.b[i*s.k*s.n:][:s.k*s.n], s.k, s.n, p.ldb, p.transposed)
	}
	return p.dynamic[:count]
}

// task computes one region of one batch.
func (p *productF32) task(i int) {
	s := &p.shape
	w := takeWorker()
	batch := i / p.grid.Len()
	b := s.b[batch]
	panels := &w.bF32
	if p.panels != nil {
		panels = p.panels[b/max(s.k*s.n, 1)]
	} else {
		panels.Repack(p.b[b:][:s.k*s.n], s.k, s.n, p.ldb, p.transposed)
	}
	w.f32 = gemm.F32{
		M: s.m, A: p.a[s.a[batch]:][:s.m*s.k], LDA: p.lda, B: panels,
		C: p.c[batch*s.m*s.n:][:s.m*s.n], LDC: s.n, BlockK: p.blockK, Bias: p.bias,
	}
	if p.useTail {
		w.tail = p.tail
		w.f32.Epilogue = &w.tail
	}
	w.f32.Run(p.grid.Region(i%p.grid.Len()), &w.gemm)
	w.release()
}

func makeMatMul(b *builder, n *onnx.Node) (kernel, error) {
	p := &productF32{}
	if t := b.constant(n.Input(1)); t != nil && isFloat32(t) && t.Rank() >= 2 {
		f, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		k, cols := int(t.Dims[t.Rank()-2]), int(t.Dims[t.Rank()-1])
		count := 1
		if k*cols > 0 {
			count = len(f) / (k * cols)
		}
		p.pack(t, f, count, k, cols)
	}
	return func(r *run) error {
		a, w := r.in(0), r.in(1)
		p.shape.set(r, a.Dims, w.Dims)
		dims := p.shape.dims
		if a.Type != w.Type {
			return fmt.Errorf("operands of %s and %s: %w", a.Type, w.Type, onnx.ErrBadModel)
		}
		if a.Type != onnx.Float32 {
			return plainMatMul(r, &p.shape)
		}
		constant := r.isConst(1, p.source)
		p.a, p.b, p.c = onnx.Data[float32](a), onnx.Data[float32](w), onnx.Data[float32](r.out(0, onnx.Float32, dims...))
		if r.in(2) != nil { // of MatMulBias
			p.bias = r.channelParams(2, p.shape.n)
		}
		p.shape.collapse()
		p.run(r, constant)
		return nil
	}, nil
}

// isFloat32 reports whether a float32 kernel takes t, widened if need be.
func isFloat32(t *onnx.Tensor) bool {
	return t.Type == onnx.Float32 || t.Type == onnx.Float16 || t.Type == onnx.BFloat16
}

// multiplications has the element types that no model spends time on.
var multiplications = map[onnx.DataType]func(s *matrices, a, b, y *onnx.Tensor){
	onnx.Float64: multiply[float64], onnx.Int32: multiply[int32], onnx.Uint32: multiply[uint32], onnx.Int64: multiply[int64],
	onnx.Uint64: multiply[uint64],
}

func plainMatMul(r *run, s *matrices) error {
	a, b := r.in(0), r.in(1)
	f := multiplications[a.Type]
	if f == nil {
		return fmt.Errorf("matrices of %s are %w", a.Type, ErrUnsupported)
	}
	f(s, a, b, r.out(0, a.Type, s.dims...))
	return nil
}

func multiply[T float64 | int32 | uint32 | int64 | uint64](s *matrices, ta, tb, ty *onnx.Tensor) {
	a, b, y := onnx.Data[T](ta), onnx.Data[T](tb), onnx.Data[T](ty)
	clear(y)
	for i := range s.a {
		for m := range s.m {
			row := y[(i*s.m+m)*s.n:][:s.n]
			for k, x := range a[s.a[i]+m*s.k:][:s.k] {
				for n, w := range b[s.b[i]+k*s.n:][:s.n] {
					row[n] += T(x * w)
				}
			}
		}
	}
}

// makeGemm is Y = alpha·A'·B' + beta·C, with C broadcast to [M, N].
func makeGemm(b *builder, n *onnx.Node) (kernel, error) {
	act, err := readActivation(n)
	if err != nil {
		return nil, err
	}
	transA, transB := n.Int("transA", 0) != 0, n.Int("transB", 0) != 0
	alpha, beta := n.Float("alpha", 1), n.Float("beta", 1)
	p := &productF32{transposed: transB}
	if t := b.constant(n.Input(1)); t != nil && isFloat32(t) && t.Rank() == 2 {
		f, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		k, cols := int(t.Dims[0]), int(t.Dims[1])
		if transB {
			k, cols = cols, k
		}
		p.pack(t, f, 1, k, cols)
	}
	g := &generalProduct{transA: transA, transB: transB, alpha: alpha, beta: beta}
	return func(r *run) error {
		a, w := r.in(0), r.in(1)
		if err := g.set(r, &p.shape); err != nil {
			return err
		}
		s := &p.shape
		if a.Type != onnx.Float32 {
			return g.plain(r, s)
		}
		constant := r.isConst(1, p.source)
		y := r.out(0, onnx.Float32, int64(s.m), int64(s.n))
		p.a, p.b, p.c = onnx.Data[float32](a), onnx.Data[float32](w), onnx.Data[float32](y)
		if transA {
			p.a = scratch[float32](r, s.m*s.k)
			transpose(p.a, onnx.Data[float32](a), s.k, s.m)
		}
		p.useTail, p.tail = act.kind != "", tailF32{act: act}
		var c []float32
		if r.in(2) != nil {
			c = onnx.Data[float32](r.in(2))
		}
		if alpha == 1 && beta == 1 && (c == nil || g.rowC == 0 && g.columnC == 1) {
			p.bias = c
		} else {
			p.useTail = true
			p.tail = tailF32{act: act, scaled: true, alpha: alpha, beta: beta, c: c, rowC: g.rowC, columnC: g.columnC}
		}
		p.run(r, constant)
		return nil
	}, nil
}

// generalProduct is the shape of a Gemm.
type generalProduct struct {
	transA, transB bool
	alpha, beta    float32
	rowC, columnC  int // steps in C
}

// shapes takes the dims of A and B.
func (g *generalProduct) shapes(a, b *onnx.Tensor, s *matrices) error {
	if a.Rank() != 2 || b.Rank() != 2 {
		return fmt.Errorf("operands of shapes %v and %v; Gemm takes matrices: %w", a.Dims, b.Dims, onnx.ErrBadModel)
	}
	s.m, s.k = int(a.Dims[0]), int(a.Dims[1])
	if g.transA {
		s.m, s.k = s.k, s.m
	}
	kb := int(b.Dims[0])
	s.n = int(b.Dims[1])
	if g.transB {
		kb, s.n = s.n, kb
	}
	if kb != s.k {
		return fmt.Errorf("cannot multiply %v by %v with transA %v, transB %v: %w", a.Dims, b.Dims, g.transA, g.transB, onnx.ErrBadModel)
	}
	s.a, s.b = append(s.a[:0], 0), append(s.b[:0], 0)
	return nil
}

func (g *generalProduct) set(r *run, s *matrices) error {
	if err := g.shapes(r.in(0), r.in(1), s); err != nil {
		return err
	}
	g.rowC, g.columnC = 0, 0
	c := r.in(2)
	if c == nil {
		return nil
	}
	rows, columns := alignedDim(c.Dims, 0, 2), alignedDim(c.Dims, 1, 2)
	if c.Rank() > 2 || rows != 1 && rows != int64(s.m) || columns != 1 && columns != int64(s.n) {
		return fmt.Errorf("C of shape %v does not broadcast to [%d %d]: %w", c.Dims, s.m, s.n, onnx.ErrBadModel)
	}
	if columns > 1 || s.n == 1 {
		g.columnC = 1
	}
	if rows > 1 {
		g.rowC = int(columns)
	}
	return nil
}

func (g *generalProduct) plain(r *run, s *matrices) error {
	a := r.in(0)
	f := generalProducts[a.Type]
	if f == nil {
		return fmt.Errorf("matrices of %s are %w", a.Type, ErrUnsupported)
	}
	f(g, s, r, r.out(0, a.Type, int64(s.m), int64(s.n)))
	return nil
}

var generalProducts = map[onnx.DataType]func(g *generalProduct, s *matrices, r *run, y *onnx.Tensor){
	onnx.Float64: general[float64], onnx.Int32: general[int32], onnx.Uint32: general[uint32], onnx.Int64: general[int64],
	onnx.Uint64: general[uint64],
}

func general[T float64 | int32 | uint32 | int64 | uint64](g *generalProduct, s *matrices, r *run, ty *onnx.Tensor) {
	a, b, y := onnx.Data[T](r.in(0)), onnx.Data[T](r.in(1)), onnx.Data[T](ty)
	stepMA, stepKA, stepKB, stepNB := s.k, 1, s.n, 1
	if g.transA {
		stepMA, stepKA = 1, s.m
	}
	if g.transB {
		stepKB, stepNB = 1, s.k
	}
	for m := range s.m {
		for n := range s.n {
			var sum T
			for k := range s.k {
				sum += T(a[m*stepMA+k*stepKA] * b[k*stepKB+n*stepNB])
			}
			v := float64(g.alpha) * float64(sum)
			if c := r.in(2); c != nil {
				v += float64(g.beta) * float64(onnx.Data[T](c)[m*g.rowC+n*g.columnC])
			}
			y[m*s.n+n] = T(v)
		}
	}
}

// transpose writes the transpose of src [rows, columns] to dst.
func transpose[T any](dst, src []T, rows, columns int) {
	conv.Transpose(dst, src, rows, columns, 0, columns)
}

// makeFusedMatMul is alpha·A'·B' of com.microsoft: a MatMul of operands with their last two axes swapped.
func makeFusedMatMul(_ *builder, n *onnx.Node) (kernel, error) {
	if n.Int("transBatchA", 0) != 0 || n.Int("transBatchB", 0) != 0 {
		return nil, fmt.Errorf("transBatchA and transBatchB are %w", ErrUnsupported)
	}
	act, err := readActivation(n)
	if err != nil {
		return nil, err
	}
	transA, transB, alpha := n.Int("transA", 0) != 0, n.Int("transB", 0) != 0, n.Float("alpha", 1)
	p := &productF32{transposed: transB}
	var dimsA, dimsB []int64
	return func(r *run) error {
		a, w := r.in(0), r.in(1)
		if a.Type != onnx.Float32 || w.Type != onnx.Float32 {
			return fmt.Errorf("operands of %s and %s are %w", a.Type, w.Type, ErrUnsupported)
		}
		dimsA, dimsB = swapped(dimsA, a.Dims, transA), swapped(dimsB, w.Dims, transB)
		p.shape.set(r, dimsA, dimsB)
		s := &p.shape
		p.a, p.b = onnx.Data[float32](a), onnx.Data[float32](w)
		if transA && a.Rank() > 1 {
			p.a = scratch[float32](r, a.Len())
			for i := 0; i < a.Len(); i += s.m * s.k {
				transpose(p.a[i:][:s.m*s.k], onnx.Data[float32](a)[i:], s.k, s.m)
			}
		}
		p.c = onnx.Data[float32](r.out(0, onnx.Float32, s.dims...))
		p.useTail = alpha != 1 || act.kind != ""
		p.tail = tailF32{act: act, scaled: alpha != 1, alpha: alpha}
		s.collapse()
		p.run(r, false)
		return nil
	}, nil
}

// swapped copies dims to buf, the last two swapped if yes.
func swapped(buf, dims []int64, yes bool) []int64 {
	buf = append(buf[:0], dims...)
	if k := len(buf); yes && k > 1 {
		buf[k-1], buf[k-2] = buf[k-2], buf[k-1]
	}
	return buf
}
