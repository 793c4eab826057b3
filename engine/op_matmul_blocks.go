package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/gemm"
	"github.com/zqonnx/zqonnx/onnx"
)

var matmulBlocksOps = []op{
	{msDomain, "MatMulNBits", 1, 0, half(makeMatMulNBits)},
	{fusedDomain, "MatMulDequantized", 0, 0, half(makeMatMulDequantized)},
}

// blockWeights are weights [K, N] of a few bits that have a scale and a zero point for each block of consecutive k.
type blockWeights struct {
	k, n, block, bits int
	codes             []uint8   // [N, K], one a byte, never negative
	scales            []float32 // [N, ⌈K/block⌉]
	zeros             []uint8   // likewise
	floatZeros        []float32 // in place of zeros
}

func (w *blockWeights) blocks() int { return (w.k + w.block - 1) / w.block }

// readBlockWeights reads such weights from a node's inputs.
type readBlockWeights func(codes, scales, zeros *onnx.Tensor) (*blockWeights, error)

// productBlocks runs products with weights in blocks. They are packed once where they are constants.
type productBlocks struct {
	read   readBlockWeights
	level  int64
	source [3]*onnx.Tensor // the weights that packed was made of
	packed packedBlocks

	shape   matrices
	a, c    []float32
	bias    []float32
	weights packedBlocks // of this run
	grid    gemm.Grid
	body    func(i int)
}

// packedBlocks are weights ready for a product.
type packedBlocks struct {
	k, n   int
	panels *gemm.PanelsBlocks
	dense  *gemm.PanelsF32 // in place of panels: weights whose zero points are no codes
	int8   bool            // the arithmetic
}

// levelInt8 is the accuracy level at which ONNX Runtime quantizes activations to 8 bits; all others compute in float32.
const levelInt8 = 4

// pack packs w for the accuracy level. Where ONNX Runtime has no integer kernel for the length of a block, it takes the float one
// (2 bits), or blocks of 256 (4 and 8 bits).
func (w *blockWeights) pack(level int64) packedBlocks {
	p := packedBlocks{k: w.k, n: w.n}
	if w.floatZeros != nil {
		p.dense = gemm.PackF32(w.floats(), w.k, w.n, w.k, true)
		return p
	}
	p.int8 = level == levelInt8 && (w.bits > 2 || w.block >= 32 && w.block <= 128)
	split := w.split(gemm.MaxBlock)
	p.panels = gemm.PackBlocks(w.codes, split.scales, split.zeros, w.k, w.n, split.block, w.bits <= 4)
	return p
}

// floats dequantizes weights with float zero points to [N, K].
func (w *blockWeights) floats() []float32 {
	f := make([]float32, len(w.codes))
	blocks := w.blocks()
	for n := range w.n {
		for k, code := range w.codes[n*w.k:][:w.k] {
			p := n*blocks + k/w.block
			f[n*w.k+k] = float32(float32(code)-w.floatZeros[p]) * w.scales[p]
		}
	}
	return f
}

// split returns w with blocks of at most the given length.
func (w *blockWeights) split(most int) *blockWeights {
	if w.block <= most {
		return w
	}
	s := *w
	s.block = most
	was, is := w.blocks(), s.blocks()
	s.scales, s.zeros = make([]float32, w.n*is), make([]uint8, w.n*is)
	for n := range w.n {
		for b := range is {
			p := n*was + b*most/w.block
			s.scales[n*is+b], s.zeros[n*is+b] = w.scales[p], w.zeros[p]
		}
	}
	return &s
}

// prepack packs the weights if they are constants.
func (p *productBlocks) prepack(b *builder, codes, scales, zeros *onnx.Value) error {
	p.source = [3]*onnx.Tensor{b.constant(codes), b.constant(scales), b.constant(zeros)}
	if p.source[0] == nil || p.source[1] == nil || zeros != nil && p.source[2] == nil {
		p.source[0] = nil
		return nil
	}
	w, err := p.read(p.source[0], p.source[1], p.source[2])
	if err != nil {
		return err
	}
	p.packed = w.pack(p.level)
	return nil
}

// run computes the node's output from A, input 0; inputs 1 to 3 are the weights.
func (p *productBlocks) run(r *run, bias *onnx.Tensor) error {
	if p.weights = p.packed; !r.isConst(1, p.source[0]) || r.source(2) != p.source[1] || r.source(3) != p.source[2] {
		w, err := p.read(r.in(1), r.in(2), r.in(3))
		if err != nil {
			return err
		}
		p.weights = w.pack(p.level)
	}
	x := r.in(0)
	if x.Type != onnx.Float32 {
		return fmt.Errorf("A of %s is %w", x.Type, ErrUnsupported)
	}
	w, s := &p.weights, &p.shape
	if x.Rank() == 0 || x.Dims[x.Rank()-1] != int64(w.k) {
		return fmt.Errorf("A of shape %v for weights of %d rows: %w", x.Dims, w.k, onnx.ErrBadModel)
	}
	dims := append(r.shape(x.Rank())[:0], x.Dims...)
	dims[len(dims)-1] = int64(w.n)
	s.m, s.k, s.n = product(x.Dims[:x.Rank()-1]), w.k, w.n
	if bias != nil {
		if bias.Type != onnx.Float32 || bias.Len() != s.n {
			return fmt.Errorf("bias of %s%v; %d floats are needed: %w", bias.Type, bias.Dims, s.n, onnx.ErrBadModel)
		}
		p.bias = onnx.Data[float32](bias)
	}
	p.a, p.c = onnx.Data[float32](x), onnx.Data[float32](r.out(0, onnx.Float32, dims...))
	parts := 1
	if t := r.threads(); t > 1 {
		parts = 2 * t
	}
	if w.dense != nil {
		p.grid = w.dense.Split(s.m, parts)
	} else {
		p.grid = w.panels.Split(s.m, parts)
	}
	if p.body == nil {
		p.body = p.task
	}
	r.each(p.grid.Len(), p.body)
	p.a, p.c, p.bias, p.weights = nil, nil, nil, packedBlocks{}
	return nil
}

// task computes one region.
func (p *productBlocks) task(i int) {
	s, w := &p.shape, takeWorker()
	region := p.grid.Region(i)
	if p.weights.dense != nil {
		w.f32 = gemm.F32{
			M: s.m, A: p.a, LDA: s.k, B: p.weights.dense, C: p.c, LDC: s.n, BlockK: constantBlockK, Bias: p.bias,
		}
		w.f32.Run(region, &w.gemm)
	} else {
		w.blocks = gemm.Blocks{M: s.m, A: p.a, LDA: s.k, B: p.weights.panels, C: p.c, LDC: s.n, Bias: p.bias, Int8: p.weights.int8}
		w.blocks.Run(region, &w.gemm)
	}
	w.release()
}

// makeMatMulNBits is A·B of com.microsoft: inputs A, B, scales, zero_points, g_idx, bias.
func makeMatMulNBits(b *builder, n *onnx.Node) (kernel, error) {
	if n.Input(4) != nil {
		return nil, fmt.Errorf("g_idx, an order of the rows, is %w", ErrUnsupported)
	}
	f := nBits{k: n.Int("K", 0), n: n.Int("N", 0), block: n.Int("block_size", 0), bits: n.Int("bits", 4)}
	if err := f.check(); err != nil {
		return nil, err
	}
	p := &productBlocks{read: f.read, level: n.Int("accuracy_level", 0)}
	for i := range 3 {
		if n.Input(i) == nil {
			return nil, fmt.Errorf("input %d, which the operator needs, is missing: %w", i, onnx.ErrBadModel)
		}
	}
	if err := p.prepack(b, n.Input(1), n.Input(2), n.Input(3)); err != nil {
		return nil, err
	}
	return func(r *run) error { return p.run(r, r.in(5)) }, nil
}

// isBlock reports whether ONNX Runtime takes weights in blocks of this length.
func isBlock(length int64) bool { return length >= 16 && length&(length-1) == 0 }

// uintOf has the types of codes of 2, 4 and 8 bits.
var uintOf = map[int64]onnx.DataType{2: onnx.Uint2, 4: onnx.Uint4, 8: onnx.Uint8}

// nBits says how MatMulNBits stores weights: codes [N, ⌈K/block⌉, block·bits/8] with the first code in the lowest bits, zero
// points packed likewise, each column in whole bytes.
type nBits struct{ k, n, block, bits int64 }

func (f nBits) check() error {
	switch {
	case uintOf[f.bits] == onnx.Undefined:
		return fmt.Errorf("%d bits; 2, 4 and 8 are there: %w", f.bits, ErrUnsupported)
	case f.k <= 0 || f.n <= 0 || f.k > 1<<31 || f.n > 1<<31:
		return fmt.Errorf("K = %d, N = %d: %w", f.k, f.n, onnx.ErrBadModel)
	case !isBlock(f.block) || f.block > 1<<20:
		return fmt.Errorf("block_size %d is no power of two from 16 on: %w", f.block, onnx.ErrBadModel)
	}
	return nil
}

func (f nBits) read(codes, scales, zeros *onnx.Tensor) (*blockWeights, error) {
	w := &blockWeights{k: int(f.k), n: int(f.n), block: int(f.block), bits: int(f.bits)}
	blocks := w.blocks()
	column := blocks * w.block * w.bits / 8 // bytes
	if codes.Type != onnx.Uint8 || int64(codes.Len()) != f.n*int64(column) {
		return nil, fmt.Errorf("B of %s%v; uint8[%d %d %d] is needed: %w", codes.Type, codes.Dims, w.n, blocks, w.block*w.bits/8, onnx.ErrBadModel)
	}
	if !isFloat32(scales) || scales.Len() != w.n*blocks {
		return nil, fmt.Errorf("scales of %s%v; %d floats are needed: %w", scales.Type, scales.Dims, w.n*blocks, onnx.ErrBadModel)
	}
	var err error
	if w.scales, err = scales.Float32s(); err != nil {
		return nil, err
	}
	w.codes = make([]uint8, w.n*w.k)
	for n := range w.n {
		unpack(w.codes[n*w.k:][:w.k], codes.Bytes()[n*column:], w.bits)
	}
	zeroColumn := (blocks*w.bits + 7) / 8
	switch {
	case zeros == nil:
		w.zeros = make([]uint8, w.n*blocks)
		for i := range w.zeros {
			w.zeros[i] = 1 << (w.bits - 1)
		}
	case zeros.Type == onnx.Uint8 && zeros.Len() == w.n*zeroColumn:
		w.zeros = make([]uint8, w.n*blocks)
		for n := range w.n {
			unpack(w.zeros[n*blocks:][:blocks], zeros.Bytes()[n*zeroColumn:], w.bits)
		}
	case isFloat32(zeros) && zeros.Len() == w.n*blocks && w.bits == 4:
		w.floatZeros, err = zeros.Float32s()
	default:
		return nil, fmt.Errorf("zero points of %s%v with %d bits; uint8[%d %d], or floats with 4 bits, are needed: %w",
			zeros.Type, zeros.Dims, w.bits, w.n, zeroColumn, onnx.ErrBadModel)
	}
	return w, err
}

// unpack takes len(dst) codes from packed bytes, the first one in the lowest bits.
func unpack(dst, packed []uint8, bits int) {
	switch bits {
	case 8:
		copy(dst, packed)
	case 4:
		for i := range dst {
			dst[i] = packed[i/2] >> (i % 2 * 4) & 15
		}
	default:
		for i := range dst {
			dst[i] = packed[i/4] >> (i % 4 * 2) & 3
		}
	}
}

// makeMatMulDequantized is what lowering makes of A·DequantizeLinear(B): inputs A, B [K, N], scale, zero point, bias. Scales are
// per tensor, per column, or for blocks of k.
func makeMatMulDequantized(b *builder, n *onnx.Node) (kernel, error) {
	q := readAffine(n)
	p := &productBlocks{level: n.Int("accuracy_level", 0), read: func(codes, scales, zeros *onnx.Tensor) (*blockWeights, error) {
		return dequantizedWeights(q, codes, scales, zeros)
	}}
	if err := p.prepack(b, n.Input(1), n.Input(2), n.Input(3)); err != nil {
		return nil, err
	}
	return func(r *run) error { return p.run(r, r.in(4)) }, nil
}

// defaultBlock is the length of the blocks in which ONNX Runtime quantizes activations where the weights have none.
const defaultBlock = 32

// dequantizedWeights reads the operands of a DequantizeLinear.
func dequantizedWeights(q affine, codes, scales, zeros *onnx.Tensor) (*blockWeights, error) {
	if err := q.set(codes, scales, zeros); err != nil {
		return nil, err
	}
	limits, ok := codeTypes[codes.Type]
	if !ok || codes.Type.Bits() > 8 || codes.Rank() != 2 || zeros != nil && zeros.Type != codes.Type {
		return nil, fmt.Errorf("weights of %s%v are %w", codes.Type, codes.Dims, ErrUnsupported)
	}
	w := &blockWeights{k: int(codes.Dims[0]), n: int(codes.Dims[1]), block: int(q.block), bits: codes.Type.Bits()}
	if w.block == 0 {
		w.block = defaultBlock
	}
	s, err := scales.Float32s()
	if err != nil {
		return nil, err
	}
	blocks, data := w.blocks(), codes.Bytes()
	w.codes, w.scales, w.zeros = make([]uint8, w.n*w.k), make([]float32, w.n*blocks), make([]uint8, w.n*blocks)
	var zp zeroPoints
	zp.set(zeros)
	for n := range w.n {
		for b := range blocks {
			p := 0
			switch {
			case q.stepAxis == 0: // per tensor
			case q.block > 0:
				p = b*w.n + n
			default:
				p = n
			}
			w.scales[n*blocks+b], w.zeros[n*blocks+b] = s[p], uint8(zp.at(p)-limits[0])
		}
		for k := range w.k {
			w.codes[n*w.k+k] = uint8(codeAt(codes.Type, data, k*w.n+n) - limits[0])
		}
	}
	return w, nil
}
