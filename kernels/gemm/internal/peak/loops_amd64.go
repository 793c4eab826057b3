package peak

import "github.com/zqonnx/zqonnx/kernels/cpu"

// The loops of the rungs above plain Go.
var (
	F32 = []Loop{
		{cpu.AVX2, 2 * 12 * 8, f32AVX2},
		{cpu.AVX512VNNI, 2 * 24 * 16, f32AVX512},
	}
	U8S8 = []Loop{
		{cpu.AVX2, 2 * 12 * 16, u8s8AVX2},
		{cpu.AVX512VNNI, 2 * 24 * 64, u8s8AVX512VNNI},
	}
)
