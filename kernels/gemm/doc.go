// Package gemm multiplies matrices: float32 by float32, 8-bit integers by 8-bit integers into int32, and float32 by weights in
// blocks of 4- or 8-bit codes.
//
// # Definition to the bit
//
// Float: k is cut into blocks of BlockK. In each, an accumulator starts at 0 and takes
// acc = mathf.FMA(A[m,k], B[k,n], acc), rounded once, in the order of k; then the sum of the blocks before (the value of C
// when accumulating) is added by one float32 addition, and after the last block the bias. Nothing else is rounded, so tile sizes, instruction sets, and how the work is split cannot be seen in
// the result. A NaN is a NaN; its sign and payload are not defined.
//
// Integer: int32 sums, exact modulo 2^32; nothing saturates.
//
// Weights in blocks: [Blocks] says how A is quantized; sums of integers are exact, sums over blocks rounded in order.
//
// # Use
//
// B is packed once into panels for the current rung of package cpu ([PackF32], [PackS8], [PackU8], [PackBlocks]). A product
// ([F32], [Int8], [Blocks]) is a plain value that names its operands; Run computes one region of C. [Split] cuts C into regions for a pool of
// workers, each of which owns a [Scratch]. Run allocates nothing once the scratch has grown.
package gemm

//go:generate go run -C ../../tools ./gemmasm -pkg gemm -out ../kernels/gemm/gemm_amd64.s -stubs ../kernels/gemm/gemm_amd64.go
