package gemm

import (
	"math"
	"unsafe"

	"github.com/zqonnx/zqonnx/kernels/cpu"
	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// The plain Go kernels. Their vectors are narrower than their tiles so that every machine exercises ragged edges.
var (
	goF32 = &kernelF32{
		name: "gemmF32_4x8_go", rung: cpu.Go, tileRows: 4, tileColumns: 8, lanes: 4, group: 1, groupA: 1, groupB: 1, groupBlock: DefaultBlockK,
		multiply: gemmF32_4x8_go,
	}
	goInt8 = &kernelInt8{
		name: "gemmU8S8_4x8_go", rung: cpu.Go, tileRows: 4, tileColumns: 8, lanes: 4, group: 4, groupA: 4, groupB: 4, groupBlock: 512,
		multiply: gemmU8S8_4x8_go,
	}
	goBlocks = &kernelBlocks{
		kernel:    kernel[uint8, uint8, float32]{name: "gemmBlocks_4x8_go", rung: cpu.Go, tileRows: 4, tileColumns: 8, lanes: 4},
		codeGroup: 4, bytesA: 1, quantize: quantizeBlocksGo,
		nibbles: codesBlocks{multiply: gemmBlocks4_4x8_go, dequantize: dequantizeBlocks4_8_go},
		bytes:   codesBlocks{multiply: gemmBlocks8_4x8_go, dequantize: dequantizeBlocks8_8_go},
	}
)

func gemmF32_4x8_go(rows, vectors, groups int, a *float32, lda int, b *float32, c *float32, ldc int, accumulate bool, bias *float32) {
	columns := vectors * 4
	panel := unsafe.Slice(b, groups*8)
	for i := range rows {
		var acc [8]float32
		for k, x := range unsafe.Slice(at(a, i*lda), groups) {
			for j, y := range panel[k*8:][:columns] {
				acc[j] = mathf.FMA(x, y, acc[j])
			}
		}
		out := unsafe.Slice(at(c, i*ldc), columns)
		if accumulate {
			for j := range out {
				acc[j] += out[j]
			}
		}
		if bias != nil {
			for j, v := range unsafe.Slice(bias, columns) {
				acc[j] += v
			}
		}
		copy(out, acc[:])
	}
}

func gemmU8S8_4x8_go(rows, vectors, groups int, a *uint8, lda int, b *int8, c *int32, ldc int, accumulate bool, bias *int32) {
	columns := vectors * 4
	panel := unsafe.Slice(b, groups*4*8)
	for i := range rows {
		out := unsafe.Slice(at(c, i*ldc), columns)
		if !accumulate {
			clear(out)
		}
		for k, x := range unsafe.Slice(at(a, i*lda), groups*4) {
			for j := range out {
				out[j] += int32(x) * int32(panel[(k/4*8+j)*4+k%4])
			}
		}
		if bias != nil {
			for j, v := range unsafe.Slice(bias, columns) {
				out[j] += v
			}
		}
	}
}

// addScaledGo computes y[i] += alpha·x[i].
func addScaledGo(y []int32, alpha int32, x []int32) {
	for i, v := range x {
		y[i] += alpha * v
	}
}

// widenBytesGo stores src[i] ^ flip as little-endian 16-bit words.
func widenBytesGo(dst, src []uint8, flip uint8) {
	for i, v := range src {
		dst[2*i], dst[2*i+1] = v^flip, 0
	}
}

func gemmBlocks4_4x8_go(rows, vectors, blocks, steps int, a *uint8, lda int, b *uint8, c *float32, ldc int, bias *float32) {
	gemmBlocksGo(rows, vectors, blocks, steps*stepBlocks, a, lda, b, c, ldc, bias, true)
}

func gemmBlocks8_4x8_go(rows, vectors, blocks, steps int, a *uint8, lda int, b *uint8, c *float32, ldc int, bias *float32) {
	gemmBlocksGo(rows, vectors, blocks, steps*stepBlocks, a, lda, b, c, ldc, bias, false)
}

// columnBlocks reads a block of a column from a panel of the plain Go kernels.
type columnBlocks struct {
	codes   []uint8 // from the column's first one on
	nibbles bool
	zero    uint8
	scale   float32
}

const lanesBlocksGo, perPanelGo = 4, 2 // columns of a vector, vectors of a panel

// blockOf returns block n of column j.
func blockOf(b *uint8, n, j, block int, nibbles bool) columnBlocks {
	bytes := block
	if nibbles {
		bytes /= 2
	}
	chunk := lanesBlocksGo * (blockHeaderB + bytes)
	w := unsafe.Slice(at(b, (n*perPanelGo+j/lanesBlocksGo)*chunk), chunk)
	lane := j % lanesBlocksGo
	return columnBlocks{
		codes: w[lanesBlocksGo*blockHeaderB+4*lane:], nibbles: nibbles, zero: w[lane],
		scale: math.Float32frombits(le.Uint32(w[lanesBlocksGo+4*lane:])),
	}
}

func (c *columnBlocks) code(k int) int32 {
	if c.nibbles {
		return int32(c.codes[k/8*lanesBlocksGo*4+k%4] >> (k / 4 % 2 * 4) & 15)
	}
	return int32(c.codes[k/4*lanesBlocksGo*4+k%4])
}

func gemmBlocksGo(rows, vectors, blocks, block int, a *uint8, lda int, b *uint8, c *float32, ldc int, bias *float32, nibbles bool) {
	rowLen := blockHeaderA + block
	for i := range rows {
		row := unsafe.Slice(at(a, i*lda), blocks*rowLen)
		for j := range vectors * lanesBlocksGo {
			acc := float32(0)
			for n := range blocks {
				x, w := row[n*rowLen:][:rowLen], blockOf(b, n, j, block, nibbles)
				sum := int32(le.Uint32(x[4:])) * int32(w.zero)
				for k, q := range x[blockHeaderA:] {
					sum += int32(int8(q)) * w.code(k)
				}
				acc = mathf.FMA(float32(sum), float32(math.Float32frombits(le.Uint32(x))*w.scale), acc)
			}
			if bias != nil {
				acc += *at(bias, j)
			}
			*at(c, i*ldc+j) = acc
		}
	}
}

func dequantizeBlocks4_8_go(blocks, steps int, b *uint8, dst *float32) {
	dequantizeBlocksGo(blocks, steps*stepBlocks, b, dst, true)
}

func dequantizeBlocks8_8_go(blocks, steps int, b *uint8, dst *float32) {
	dequantizeBlocksGo(blocks, steps*stepBlocks, b, dst, false)
}

func dequantizeBlocksGo(blocks, block int, b *uint8, dst *float32, nibbles bool) {
	const width = lanesBlocksGo * perPanelGo
	out := unsafe.Slice(dst, blocks*block*width)
	for n := range blocks {
		for j := range width {
			w := blockOf(b, n, j, block, nibbles)
			for k := range block {
				out[(n*block+k)*width+j] = float32(w.code(k)-int32(w.zero)) * w.scale
			}
		}
	}
}

// quantizeBlocksGo turns floats into the blocks of A that [Blocks] defines.
func quantizeBlocksGo(blocks, steps int, x *float32, dst *uint8) {
	block := steps * stepBlocks
	all := unsafe.Slice(x, blocks*block)
	out := unsafe.Slice(dst, blocks*(blockHeaderA+block))
	for len(all) > 0 {
		var most uint32 // bits of a magnitude: those of a NaN are the greatest
		for _, v := range all[:block] {
			most = max(most, math.Float32bits(v)&^(1<<31))
		}
		amax := math.Float32frombits(most)
		inverse := float32(0)
		if amax != 0 {
			inverse = min(127/amax, math.MaxFloat32) // finite, so that zeros get code 0
		}
		sum := int32(0)
		for k, v := range all[:block] {
			code := float32(v * inverse)
			if !(code > -127) {
				code = -127
			}
			q := int32(math.RoundToEven(float64(min(code, 127))))
			out[blockHeaderA+k] = uint8(q)
			sum += q
		}
		le.PutUint32(out, math.Float32bits(amax/127))
		le.PutUint32(out[4:], uint32(-sum))
		all, out = all[block:], out[blockHeaderA+block:]
	}
}
