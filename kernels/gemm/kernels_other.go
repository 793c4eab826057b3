//go:build !amd64

package gemm

var (
	kernelsF32  = []*kernelF32{goF32}
	kernelsInt8 = []*kernelInt8{goInt8}

	kernelsBlocks = []*kernelBlocks{goBlocks}
)

func addScaled(y []int32, alpha int32, x []int32) { addScaledGo(y, alpha, x) }

func widenBytes(dst, src []uint8, flip uint8) { widenBytesGo(dst, src, flip) }
