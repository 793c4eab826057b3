package engine

import "github.com/zqonnx/zqonnx/kernels/quant"

// tailInt8 is what happens to a tile of an integer product while it is in the cache: it becomes codes or floats.
type tailInt8 struct {
	multiplier []float32 // by column

	codes  []uint8 // sat(rint(f32(acc·multiplier)) + zero)
	zero   int32
	signed bool

	floats   []float32 // f32(f32(acc·multiplier)·rowScale) + bias
	bias     []float32
	rowScale []float32

	ld    int // from one row of the result to the next
	plane int // not 0: the tile goes to codes transposed, column j is a plane of that many elements

	tile []uint8
}

// Tile implements gemm.EpilogueInt8.
func (t *tailInt8) Tile(m0, n0, rows, columns int, c []int32, ldc int) {
	multiplier := t.multiplier[n0:][:columns]
	switch {
	case t.floats != nil:
		bias := t.bias
		if bias != nil {
			bias = bias[n0:][:columns]
		}
		for i := range rows {
			factor := float32(1)
			if t.rowScale != nil {
				factor = t.rowScale[m0+i]
			}
			quant.Scale(t.floats[(m0+i)*t.ld+n0:][:columns], c[i*ldc:], multiplier, factor, bias)
		}
	case t.plane == 0:
		quant.RequantizeRows(t.codes[m0*t.ld+n0:], t.ld, c, ldc, rows, multiplier, t.zero, t.signed)
	default:
		const block = 64
		t.tile = grown(t.tile, block*columns)
		for i0 := 0; i0 < rows; i0 += block {
			n := min(block, rows-i0)
			quant.RequantizeRows(t.tile, columns, c[i0*ldc:], ldc, n, multiplier, t.zero, t.signed)
			for j := range columns {
				to := t.codes[(n0+j)*t.plane+m0+i0:][:n]
				for i := range to {
					to[i] = t.tile[i*columns+j]
				}
			}
		}
	}
}
