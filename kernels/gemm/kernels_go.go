package gemm

import (
	"unsafe"

	"github.com/zqonnx/zqonnx/kernels/cpu"
	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// The plain Go kernels. Their vectors are narrower than their tiles so that every machine exercises ragged edges.
var (
	goF32 = &kernelF32{
		name: "gemmF32_4x8_go", rung: cpu.Go, tileRows: 4, tileColumns: 8, lanes: 4, group: 1, groupA: 1, groupBlock: DefaultBlockK,
		multiply: gemmF32_4x8_go,
	}
	goInt8 = &kernelInt8{
		name: "gemmU8S8_4x8_go", rung: cpu.Go, tileRows: 4, tileColumns: 8, lanes: 4, group: 4, groupA: 4, groupBlock: 512,
		multiply: gemmU8S8_4x8_go,
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
