// Package peak has register-only loops: what a core reaches when no memory is involved. Benchmarks of package gemm measure
// themselves against it.
package peak

import "github.com/zqonnx/zqonnx/kernels/cpu"

//go:generate go run -C ../../../../tools ./gemmasm -peak -pkg peak -out ../kernels/gemm/internal/peak/peak_amd64.s -stubs ../kernels/gemm/internal/peak/peak_amd64.go

// Loop is a loop of independent multiply-adds, each as the kernels of a rung do them.
type Loop struct {
	Rung       cpu.Rung
	Operations int // in one turn; a multiply-add counts as two
	Run        func(turns int)
}
