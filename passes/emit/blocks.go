package emit

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// blocksOpset is the one whose DequantizeLinear knows blocks and 4 bits.
const blocksOpset = 21

// A blocked is weights in blocks as a matrix with a row for each channel: [channels, blocks, block].
type blocked struct {
	*stored
	channels, blocks, block int64
	weights                 int64   // of a channel; the last block is padded
	modelDims               []int64 // as the model has them
}

// blocked stores constant operand i of a site as rows.
func (e *emitter) blocked(s *plan.Site, i int, w *plan.Weights) (*blocked, error) {
	v := s.Weight(i)
	st, err := e.once(keyOf(s, i, w, rows), func() (*stored, error) {
		q, err := plan.QuantizeSite(s, i, w)
		if err != nil {
			return nil, err
		}
		b := blockedOf(q)
		g := v.Graph()
		st := &stored{graph: g, name: v.Name(), weights: q, dims: []int64{b.channels, b.blocks, b.block}}
		if w.Storage == plan.Native {
			e.storeNative(st, b, w, s.Kind == plan.Table)
			return st, nil
		}
		st.hold(q.Matrix(int(b.blocks*b.block)), bitsOf(w), b.channels)
		st.scales = g.AddConst(v.Name()+"_scale", onnx.Of(q.Scales, b.channels, b.blocks, 1))
		if q.Zeros != nil {
			st.zeros = g.AddConst(v.Name()+"_zero_point", onnx.Of(q.Zeros, b.channels, b.blocks, 1))
		}
		return st, nil
	})
	if err != nil {
		return nil, err
	}
	b := blockedOf(st.weights)
	b.stored, b.modelDims = st, v.Const().Dims
	return b, nil
}

func blockedOf(q *quantize.Weights) *blocked {
	n, k, blocks := q.Shape()
	b := &blocked{channels: int64(n), weights: int64(k), blocks: int64(blocks), block: int64(q.Block)}
	if b.block == 0 {
		b.block = b.weights
	}
	return b
}

// float computes the weights in the layout of the model, from constants only, in the graph of n.
func (e *emitter) float(n *onnx.Node, b *blocked) *onnx.Value {
	g, q := n.Graph(), b.stored.weights
	root := b.graph
	shape := func(dims ...int64) *onnx.Value { return e.constant(root, "shape", onnx.Of(dims)) }
	place := e.atStart(g)
	v := e.scaledBlocks(place, e.int8(n, b.stored), b.zeros, b.scales)
	if b.blocks*b.block != b.weights {
		v = place("Reshape", "rows", []*onnx.Value{v, shape(b.channels, b.blocks*b.block)})
		v = e.slice(place, root, v, b.weights)
	}
	if outer, inner := q.Split(); outer > 1 {
		v = place("Reshape", "channels", []*onnx.Value{v, shape(b.channels, int64(outer), int64(inner))})
		v = place("Transpose", "turned", []*onnx.Value{v}, onnx.AttrIs("perm", 1, 0, 2))
	}
	return place("Reshape", b.name+"_float", []*onnx.Value{v, e.constant(root, "shape", onnx.Of(append([]int64{}, b.modelDims...)))})
}

// scaledBlocks is (codes − zeros)·scales.
func (e *emitter) scaledBlocks(place placer, codes, zeros, scales *onnx.Value) *onnx.Value {
	v := place("Cast", "cast", []*onnx.Value{codes}, onnx.AttrI("to", int64(onnx.Float32)))
	if zeros != nil {
		z := place("Cast", "zero_cast", []*onnx.Value{zeros}, onnx.AttrI("to", int64(onnx.Float32)))
		v = place("Sub", "centred", []*onnx.Value{v, z})
	}
	return place("Mul", "blocks", []*onnx.Value{v, scales})
}

// blockedTable replaces Gather(table, i) by gathered bytes, which are unpacked and scaled: the table is never float, nor int8, in memory.
func (e *emitter) blockedTable(s *plan.Site, d *plan.Node) error {
	n := s.Node
	b, err := e.blocked(s, 0, d.Weights)
	if err != nil {
		return err
	}
	axes := rewrite.Rank(n.Input(1))
	if axes < 0 {
		return fmt.Errorf("the rank of its indices %q is not known", n.Input(1))
	}
	g, name := b.graph, n.Output(0).Name()
	place := e.inFrontOf(n)
	gather := func(name string, v *onnx.Value) *onnx.Value {
		if v == nil {
			return nil
		}
		return place("Gather", name, []*onnx.Value{v, n.Input(1)})
	}
	lead := make([]int64, axes) // zeros: as they are
	var codes *onnx.Value
	if b.packed == nil {
		codes = gather(name+"_rows", b.codes)
	} else {
		var bytes []*onnx.Value
		for _, v := range b.packedBytes() {
			bytes = append(bytes, gather(name+"_rows", v))
		}
		codes = e.unpack(n, place, g, b.packed, bytes, axes)
		codes = place("Reshape", name+"_in_blocks", []*onnx.Value{codes, e.constant(g, "shape", onnx.Of(append(lead[:axes:axes], b.blocks, b.block)))})
	}
	v := e.scaledBlocks(place, codes, gather(name+"_row_zero_point", b.zeros), gather(name+"_row_scale", b.scales))
	v = place("Reshape", name+"_row", []*onnx.Value{v, e.constant(g, "shape", onnx.Of(append(lead[:axes:axes], b.blocks*b.block)))})
	if b.blocks*b.block != b.weights {
		v = e.slice(place, g, v, b.weights)
	}
	return e.replace(n, v)
}

// storeNative makes the operands of MatMulNBits: codes [channels, blocks, bytes] counted from their least, the first in the low
// bits, scales [channels·blocks], and zero points packed as the codes are, [channels·bytes]; or, for a table, those of
// GatherBlockQuantized, which are matrices with a row for each channel.
func (e *emitter) storeNative(st *stored, b *blocked, w *plan.Weights, table bool) {
	q, bits, g := st.weights, bitsOf(w), st.graph
	least := int8(q.Grid.Min)
	if bits == 8 {
		least = -128
	}
	fromLeast := func(c int8) uint8 { return uint8(c - least) }
	per := int64(8 / bits)
	width := b.blocks * int64(w.Block) // a channel shorter than its block has one, padded
	dims, rows := []int64{b.channels, b.blocks, int64(w.Block) / per}, []int64{b.channels * b.blocks}
	if table {
		width = (b.weights + per - 1) / per * per
		dims, rows = []int64{b.channels, width / per}, []int64{b.channels, b.blocks}
	}
	st.codes = g.AddConst(st.name+"_quantized", onnx.Of(dense(q.Matrix(int(width)), int(width), bits, fromLeast), dims...))
	st.scales = g.AddConst(st.name+"_scale", onnx.Of(q.Scales, rows...))
	if q.Zeros != nil {
		zeros := dense(q.Zeros, int(b.blocks), bits, fromLeast)
		rows[len(rows)-1] = int64(len(zeros)) / (onnx.NumElements(rows) / rows[len(rows)-1])
		st.zeros = g.AddConst(st.name+"_zero_point", onnx.Of(zeros, rows...))
	}
}

// gatherBlocks replaces Gather(table, i) by GatherBlockQuantized, which knows codes of 4 and 8 bits.
func (e *emitter) gatherBlocks(s *plan.Site, d *plan.Node) error {
	n := s.Node
	b, err := e.blocked(s, 0, d.Weights)
	if err != nil {
		return err
	}
	e.model.SetOpset("com.microsoft", 1)
	in := []*onnx.Value{b.codes, n.Input(1), b.scales}
	if b.zeros != nil {
		in = append(in, b.zeros)
	}
	bits := int64(bitsOf(d.Weights))
	v := n.Graph().InsertBefore(n, onnx.NodeSpec{
		Op: "GatherBlockQuantized", Domain: "com.microsoft", Inputs: in, Outputs: []string{n.Output(0).Name() + "_rows"},
		Attrs: []*onnx.Attribute{
			onnx.AttrI("bits", bits), onnx.AttrI("block_size", int64(d.Weights.Block)), onnx.AttrI("gather_axis", 0), onnx.AttrI("quantize_axis", 1),
		},
	}).Output(0)
	if b.weights*bits%8 != 0 {
		v = e.slice(e.inFrontOf(n), b.graph, v, b.weights)
	}
	return e.replace(n, v)
}

// nbits replaces a product by MatMulNBits, and a Gemm's bias by an Add.
func (e *emitter) nbits(s *plan.Site, d *plan.Node) error {
	n := s.Node
	b, err := e.blocked(s, 0, d.Weights)
	if err != nil {
		return err
	}
	e.model.SetOpset("com.microsoft", 1)
	in := []*onnx.Value{n.Input(0), b.codes, b.scales}
	if b.zeros != nil {
		in = append(in, b.zeros)
	}
	name := n.Output(0).Name()
	y := n.Graph().InsertBefore(n, onnx.NodeSpec{
		Op: "MatMulNBits", Domain: "com.microsoft", Inputs: in, Outputs: []string{name + "_product"},
		Attrs: []*onnx.Attribute{
			onnx.AttrI("K", b.weights), onnx.AttrI("N", b.channels), onnx.AttrI("bits", int64(bitsOf(d.Weights))),
			onnx.AttrI("block_size", int64(d.Weights.Block)), onnx.AttrI("accuracy_level", int64(d.Weights.AccuracyLevel)),
		},
	}).Output(0)
	return e.replaceProduct(s, d.Weights, y)
}

// inBlocks replaces a product by MatMul with a DequantizeLinear in blocks along K, of its own: a shared one is not fused.
func (e *emitter) inBlocks(s *plan.Site, d *plan.Node) error {
	n := s.Node
	v := s.Weight(0)
	st, err := e.once(keyOf(s, 0, d.Weights, transposed), func() (*stored, error) {
		q, err := plan.QuantizeSite(s, 0, d.Weights)
		if err != nil {
			return nil, err
		}
		b, g := blockedOf(q), v.Graph()
		perBlock := []int64{b.channels, b.blocks}
		codes, dims := transpose(q.Matrix(int(b.weights)), []int64{b.channels, b.weights})
		scales, blockDims := transpose(q.Scales, perBlock)
		zeros := make([]int8, len(q.Scales))
		if q.Zeros != nil {
			zeros, _ = transpose(q.Zeros, perBlock)
		}
		st := &stored{graph: g, name: v.Name(), weights: q, dims: dims}
		st.codes = g.AddConst(v.Name()+"_quantized", tensorOf(q.Grid, codes, dims...))
		st.scales = g.AddConst(v.Name()+"_scale", onnx.Of(scales, blockDims...))
		st.zeros = g.AddConst(v.Name()+"_zero_point", tensorOf(q.Grid, zeros, blockDims...))
		return st, nil
	})
	if err != nil {
		return err
	}
	w := e.before(n, "DequantizeLinear", "weight", []*onnx.Value{st.codes, st.scales, st.zeros}, onnx.AttrI("axis", 0), onnx.AttrI("block_size", int64(d.Weights.Block)))
	return e.replaceProduct(s, d.Weights, e.before(n, "MatMul", n.Output(0).Name()+"_product", []*onnx.Value{n.Input(0), w}))
}

// tensorOf returns codes in the type that ONNX has for the grid.
func tensorOf(g quantize.Grid, codes []int8, dims ...int64) *onnx.Tensor {
	if t, ok := shortTypes[g.Name]; ok {
		return onnx.New(t, dims, dense(codes, len(codes), g.Bits, func(c int8) uint8 { return uint8(c) }))
	}
	return onnx.Of(codes, dims...)
}

// shortTypes are the types of fewer than 8 bits that ONNX has for grids.
var shortTypes = map[string]onnx.DataType{"int4": onnx.Int4, "uint4": onnx.Uint4, "int2": onnx.Int2, "uint2": onnx.Uint2}

// replaceProduct puts y, the product with the codes alone, in the place of a MatMul, or of a Gemm with its bias.
func (e *emitter) replaceProduct(s *plan.Site, w *plan.Weights, y *onnx.Value) error {
	n := s.Node
	y, err := e.besideProduct(s, w, y)
	if err != nil {
		return err
	}
	if c := n.Input(2); c != nil {
		y = e.before(n, "Add", n.Output(0).Name()+"_biased", []*onnx.Value{y, c})
	}
	return e.replace(n, y)
}
