package emit

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// castOpset is the opset from which on every runtime that loads a model also casts int4: there two nodes less unpack it.
const castOpset = 24

// planes says of how many bits the parts are that codes of so many bits are stored in: each part lies in bytes of its own.
var planes = map[int][]int{1: {1}, 2: {2}, 3: {2, 1}, 4: {4}, 6: {4, 2}}

// packed are codes of few bits, which the file has as indices of levels: rows of so many codes, each padded to whole bytes, in one
// tensor a plane.
type packed struct {
	codes  []int8
	levels []int8
	bits   int
	width  int // codes in a row
}

// pack packs rows of codes of q.
func pack(q *quantize.Weights, bits int, codes []int8, width int) *packed {
	p := &packed{bits: bits, width: width, levels: q.Levels, codes: codes}
	if p.levels == nil {
		for c := q.Grid.Min; c <= q.Grid.Max; c++ {
			p.levels = append(p.levels, int8(c))
		}
	}
	return p
}

// dense packs the low bits of what number makes of codes into bytes, the first in the lowest bits; rows of so many codes each begin
// a byte.
func dense(codes []int8, width, bits int, number func(int8) uint8) []uint8 {
	per := 8 / bits
	size := (width + per - 1) / per
	b := make([]uint8, len(codes)/max(width, 1)*size)
	for i, c := range codes {
		b[i/width*size+i%width/per] |= number(c) & (1<<bits - 1) << (i % width % per * bits)
	}
	return b
}

// A placer inserts a node with one output.
type placer func(op, out string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value

// atStart inserts nodes one behind the other at the start of g: what is constant is there for all.
func (e *emitter) atStart(g *onnx.Graph) placer {
	return func(op, out string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
		n := g.InsertAfter(e.heads[g], onnx.NodeSpec{Op: op, Inputs: in, Outputs: []string{out}, Attrs: attrs})
		e.heads[g] = n
		return n.Output(0)
	}
}

// inFrontOf inserts nodes before n.
func (e *emitter) inFrontOf(n *onnx.Node) placer {
	return func(op, out string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
		return e.before(n, op, out, in, attrs...)
	}
}

// unpack computes int8 codes [.., width], or [.., bytes, codes of a byte], from the bytes of the planes, each [.., bytes] with so many
// axes before the last; the caller gives them a shape. Constants lie in g, and nodes in the graph of n. Names in between are short:
// in a small model long ones would take a twentieth of the file. (Every ONNX Runtime folds it where the bytes are constant; see ort.md 20.)
func (e *emitter) unpack(n *onnx.Node, place placer, g *onnx.Graph, p *packed, bytes []*onnx.Value, axes int) *onnx.Value {
	split := planes[p.bits]
	var sum *onnx.Value
	shift := p.bits
	for i, plane := range split {
		shift -= plane
		per := 8 / plane
		table := make([]int8, 256*per)
		for b := range 256 {
			for j := range per {
				v := b >> (j * plane) & (1<<plane - 1)
				switch {
				case len(split) > 1:
					table[b*per+j] = int8(v << shift)
				case v < len(p.levels):
					table[b*per+j] = p.levels[v]
				}
			}
		}
		at := place("Cast", "bytes", []*onnx.Value{bytes[i]}, onnx.AttrI("to", int64(onnx.Int32)))
		name := fmt.Sprintf("codes_%d", plane)
		if len(split) > 1 {
			name = fmt.Sprintf("bits_%d_%d", plane, shift)
		}
		values := e.constant(g, name, onnx.Of(table, 256, int64(per)))
		if len(split) > 1 { // Add knows no int8
			values = e.wide(n.Graph(), values)
		}
		v := place("Gather", "codes", []*onnx.Value{values, at})
		if p.width%per == 0 && len(split) == 1 {
			return v
		}
		padded := int64((p.width + per - 1) / per * per)
		v = place("Reshape", "row", []*onnx.Value{v, e.constant(g, "shape", onnx.Of(append(make([]int64, axes), padded)))})
		if p.width%per != 0 {
			v = e.slice(place, g, v, int64(p.width))
		}
		if sum != nil {
			v = place("Add", "index", []*onnx.Value{sum, v})
		}
		sum = v
	}
	if len(split) == 1 {
		return sum
	}
	return place("Gather", "level", []*onnx.Value{e.constant(g, fmt.Sprintf("levels_%d", p.bits), onnx.Of(p.levels)), sum})
}

// wide returns a table in int32, for the nodes of g: in the file it lies as int8.
func (e *emitter) wide(g *onnx.Graph, table *onnx.Value) *onnx.Value {
	key := wideKey{g, table}
	if e.wides[key] == nil {
		e.wides[key] = e.atStart(g)("Cast", table.Name()+"_wide", []*onnx.Value{table}, onnx.AttrI("to", int64(onnx.Int32)))
	}
	return e.wides[key]
}

// wideKey names a table in one graph.
type wideKey struct {
	graph *onnx.Graph
	table *onnx.Value
}

// slice takes the first elements of the last axis.
func (e *emitter) slice(place placer, g *onnx.Graph, v *onnx.Value, size int64) *onnx.Value {
	return place("Slice", "whole", []*onnx.Value{
		v, e.constant(g, "slice_start", onnx.Of([]int64{0})), e.constant(g, "slice_end", onnx.Of([]int64{size})), e.constant(g, "slice_axis", onnx.Of([]int64{-1})),
	})
}

// packedBytes returns the initializers of the planes: [rows.., bytes].
func (st *stored) packedBytes() []*onnx.Value {
	if st.bytes == nil {
		p := st.packed
		var index [256]uint8
		for i, l := range p.levels {
			index[int(l)+128] = uint8(i)
		}
		shift := p.bits
		for _, plane := range planes[p.bits] { // the high bits first
			shift -= plane
			part := dense(p.codes, p.width, plane, func(c int8) uint8 { return index[int(c)+128] >> shift })
			bytes := int64(len(part)) / onnx.NumElements(st.rows)
			st.bytes = append(st.bytes, st.graph.AddConst(st.packedName, onnx.Of(part, append(slices.Clone(st.rows), bytes)...)))
		}
	}
	return st.bytes
}

// int8 returns the codes of stored weights, as nodes in the graph of n see them: [dims of the arrangement].
func (e *emitter) int8(n *onnx.Node, st *stored) *onnx.Value {
	if st.packed == nil {
		return st.codes
	}
	g := n.Graph()
	if v := st.unpacked[g]; v != nil {
		return v
	}
	place, root := e.atStart(g), st.graph
	var v *onnx.Value
	if st.packed.bits == 4 && st.weights.Levels == nil && e.model.Opset("") >= castOpset {
		if st.codes == nil {
			st.codes = root.AddConst(st.packedName, tensorOf(st.weights.Grid, st.packed.codes, st.dims...))
		}
		v = place("Cast", st.name, []*onnx.Value{st.codes}, onnx.AttrI("to", int64(onnx.Int8)))
	} else {
		v = e.unpack(n, place, root, st.packed, st.packedBytes(), len(st.rows))
		v = place("Reshape", st.name, []*onnx.Value{v, e.constant(root, "shape", onnx.Of(slices.Clone(st.dims)))})
	}
	st.unpacked[g] = v
	return v
}
