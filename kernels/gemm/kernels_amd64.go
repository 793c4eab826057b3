package gemm

import "github.com/zqonnx/zqonnx/kernels/cpu"

var (
	kernelsF32 = []*kernelF32{
		goF32,
		{
			name: "gemmF32_6x16_avx2", rung: cpu.AVX2, tileRows: 6, tileColumns: 16, lanes: 8, group: 1, groupA: 1, groupB: 1,
			groupBlock: DefaultBlockK, multiply: gemmF32_6x16_avx2,
		},
		{
			name: "gemmF32_8x48_avx512", rung: cpu.AVX512VNNI, tileRows: 8, tileColumns: 48, lanes: 16, group: 1, groupA: 1, groupB: 1,
			groupBlock: DefaultBlockK, multiply: gemmF32_8x48_avx512,
		},
	}
	kernelsInt8 = []*kernelInt8{
		goInt8,
		{
			name: "gemmU8S8_6x16_avx2", rung: cpu.AVX2, tileRows: 6, tileColumns: 16, lanes: 8, group: 2, groupA: 4, groupB: 2,
			groupBlock: 1024, multiply: gemmU8S8_6x16_avx2,
		},
		{
			name: "gemmU8S8_8x48_avx512vnni", rung: cpu.AVX512VNNI, tileRows: 8, tileColumns: 48, lanes: 16, group: 4, groupA: 4, groupB: 4,
			groupBlock: 512, multiply: gemmU8S8_8x48_avx512vnni,
		},
	}
	kernelsBlocks = []*kernelBlocks{
		goBlocks,
		{
			kernel:    kernel[uint8, uint8, float32]{name: "gemmBlocks_4x16_avx2", rung: cpu.AVX2, tileRows: 4, tileColumns: 16, lanes: 8},
			codeGroup: 2, bytesA: 2, quantize: quantizeBlocks_avx2,
			nibbles: codesBlocks{gemmBlocks4_4x16_avx2, dequantizeBlocks4_16_avx2, floatRowBlocks4_16_avx2},
			bytes:   codesBlocks{gemmBlocks8_4x16_avx2, dequantizeBlocks8_16_avx2, floatRowBlocks8_16_avx2},
		},
		{
			kernel:    kernel[uint8, uint8, float32]{name: "gemmBlocks_6x48_avx512vnni", rung: cpu.AVX512VNNI, tileRows: 6, tileColumns: 48, lanes: 16},
			codeGroup: 4, bytesA: 1, quantize: quantizeBlocks_avx512,
			nibbles: codesBlocks{gemmBlocks4_6x48_avx512vnni, dequantizeBlocks4_48_avx512vnni, floatRowBlocks4_48_avx512vnni},
			bytes:   codesBlocks{gemmBlocks8_6x48_avx512vnni, dequantizeBlocks8_48_avx512vnni, floatRowBlocks8_48_avx512vnni},
		},
	}
)

// addScaled computes y[i] += alpha·x[i]; x and y are of one length.
func addScaled(y []int32, alpha int32, x []int32) {
	const lanes = 8
	if n := len(y) / lanes; n > 0 && cpu.Current() >= cpu.AVX2 {
		addScaled_avx2(n, &y[0], alpha, &x[:len(y)][0])
		y, x = y[n*lanes:], x[n*lanes:]
	}
	addScaledGo(y, alpha, x)
}

// widenBytes stores src[i] ^ flip as little-endian 16-bit words.
func widenBytes(dst, src []uint8, flip uint8) {
	const lanes = 16
	if n := len(src) / lanes; n > 0 && cpu.Current() >= cpu.AVX2 {
		widenBytes_avx2(n, &dst[:2*len(src)][0], &src[0], flip)
		dst, src = dst[n*2*lanes:], src[n*lanes:]
	}
	widenBytesGo(dst, src, flip)
}
