package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

var gatherBlocksOps = []op{
	{msDomain, "GatherBlockQuantized", 1, 0, half(makeGatherBlockQuantized)},
}

// gatherBlocks gathers rows of a table of codes that have a scale and a zero point for each block along an axis, and dequantizes
// what it took.
type gatherBlocks struct {
	q                    affine
	gatherAxis, quantize int64
	bits                 int64

	elem     onnx.DataType // of the codes, which lie one behind the other
	codes    []uint8
	scales   []float32
	zeros    []uint8
	none     int32 // the zero point where none is given
	rowScale int   // scales of a row, whose zero points are in whole bytes
	rowZero  int   // zero points that there is room for in those bytes

	size int     // elements of a row
	rows []int64 // by number, or absent
	y    []float32
	body func(lo, hi int)
}

// absent is the number of a row that an index outside of the table names: ONNX Runtime gives zeros for it.
const absent = -1

// makeGatherBlockQuantized is com.microsoft's: inputs data, indices, scales, zero_points. Data are int4, uint4, or uint8 that hold
// codes of 2, 4 or 8 bits, the first one lowest; then the last dimension counts bytes.
func makeGatherBlockQuantized(_ *builder, n *onnx.Node) (kernel, error) {
	g := &gatherBlocks{gatherAxis: n.Int("gather_axis", 0), quantize: n.Int("quantize_axis", 1), bits: n.Int("bits", 4)}
	g.q.block = n.Int("block_size", 128)
	if !isBlock(g.q.block) {
		return nil, fmt.Errorf("block_size %d is no power of two from 16 on: %w", g.q.block, onnx.ErrBadModel)
	}
	g.body = g.work
	return g.run, nil
}

func (g *gatherBlocks) run(r *run) error {
	data, scales, zeros := r.in(0), r.in(2), r.in(3)
	if data == nil || scales == nil || r.in(1) == nil {
		return fmt.Errorf("data, indices and scales are needed: %w", onnx.ErrBadModel)
	}
	gather := r.axisOf(g.gatherAxis, data.Rank())
	g.q.axis = int64(r.axisOf(g.quantize, data.Rank()))
	dims := slices.Clone(data.Dims)
	g.none, g.elem = 0, data.Type
	perByte := int64(1)
	if data.Type == onnx.Uint8 {
		if g.elem = uintOf[g.bits]; g.elem == onnx.Undefined {
			return fmt.Errorf("%d bits; 2, 4 and 8 are there: %w", g.bits, ErrUnsupported)
		}
		if gather != 0 || int(g.q.axis) != data.Rank()-1 || data.Rank() < 2 {
			return fmt.Errorf("data of uint8 with gather_axis %d and quantize_axis %d, which must be the first and the last, is %w", gather, g.q.axis, ErrUnsupported)
		}
		g.none, perByte = 1<<(g.bits-1), 8/g.bits
		dims[len(dims)-1] *= perByte
	} else if data.Type != onnx.Int4 && data.Type != onnx.Uint4 {
		return fmt.Errorf("data of %s is %w", data.Type, ErrUnsupported)
	}
	if scales.Type != onnx.Float32 || scales.Rank() != data.Rank() {
		return fmt.Errorf("scales of %s%v for data of shape %v are %w", scales.Type, scales.Dims, data.Dims, ErrUnsupported)
	}
	logical := &onnx.Tensor{Type: g.elem, Dims: dims}
	if err := g.q.set(logical, scales, nil); err != nil {
		return err
	}
	g.codes, g.scales = data.Bytes(), onnx.Data[float32](scales)
	if err := g.setZeros(zeros, data.Type, scales, perByte); err != nil {
		return err
	}
	out := append(slices.Clone(dims[:gather]), r.in(1).Dims...)
	g.y = onnx.Data[float32](r.out(0, onnx.Float32, append(out, dims[gather+1:]...)...))
	outer, d := product(dims[:gather]), dims[gather]
	g.size = product(dims[gather+1:])
	g.rows = g.rows[:0]
	for o := range int64(outer) {
		for _, i := range r.ints(1) {
			if i < -d || i >= d {
				g.rows = append(g.rows, absent)
				continue
			}
			g.rows = append(g.rows, o*d+r.index(i, d))
		}
	}
	r.par(len(g.rows), max(1, grain/max(g.size, 1)), g.body)
	g.codes, g.scales, g.zeros, g.y = nil, nil, nil, nil
	return nil
}

// setZeros takes the zero points; those of uint8 data are packed as the data are.
func (g *gatherBlocks) setZeros(zeros *onnx.Tensor, dt onnx.DataType, scales *onnx.Tensor, perByte int64) error {
	g.zeros = nil
	if zeros == nil {
		return nil
	}
	want := slices.Clone(scales.Dims)
	g.rowScale = int(want[len(want)-1])
	want[len(want)-1] = (want[len(want)-1] + perByte - 1) / perByte
	g.rowZero = int(want[len(want)-1] * perByte)
	if zeros.Type != dt || !slices.Equal(zeros.Dims, want) {
		return fmt.Errorf("zero points of %s%v; %s%v are needed: %w", zeros.Type, zeros.Dims, dt, want, onnx.ErrBadModel)
	}
	g.zeros = zeros.Bytes()
	return nil
}

func (g *gatherBlocks) zero(p int) int32 {
	if g.zeros == nil {
		return g.none
	}
	return codeAt(g.elem, g.zeros, p/g.rowScale*g.rowZero+p%g.rowScale)
}

func (g *gatherBlocks) work(lo, hi int) {
	q := &g.q
	for i := lo; i < hi; i++ {
		y := g.y[i*g.size:][:g.size]
		if g.rows[i] == absent {
			clear(y)
			continue
		}
		at := int(g.rows[i]) * g.size
		for len(y) > 0 {
			outer, a, inner := at/(q.along*q.inner), at/q.inner%q.along, at%q.inner
			p := outer*q.stepOuter + a/int(q.block)*q.stepAxis + inner*q.stepInner
			run := 1 // elements with one scale
			if q.inner == 1 {
				run = min(len(y), q.along-a, int(q.block)-a%int(q.block))
			}
			scale, zero := g.scales[p], g.zero(p)
			for k := range y[:run] {
				y[k] = float32(codeAt(g.elem, g.codes, at+k)-zero) * scale
			}
			y, at = y[run:], at+run
		}
	}
}
