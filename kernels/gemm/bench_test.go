package gemm

import (
	"fmt"
	"testing"
	"time"

	"github.com/zqonnx/zqonnx/kernels/cpu"
	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
	"github.com/zqonnx/zqonnx/kernels/gemm/internal/peak"
)

// The products to measure: a large one, then layers of a transformer, a classifier head, and attention.
var benchShapes = []struct{ m, k, n int }{
	{512, 1024, 1024},
	{128, 768, 768},
	{16, 768, 3072},
	{1, 768, 3072},
	{98, 64, 64},
}

// fastest keeps the least time of several tries: what the machine does when nobody disturbs it.
type fastest time.Duration

func (f *fastest) time(run func()) {
	start := time.Now()
	run()
	if d := fastest(time.Since(start)); *f == 0 || d < *f {
		*f = d
	}
}

// benchmark times run, operations long, in turns with the peak loop of the current rung, and reports the rate at the best
// time and its share of the peak. One thread.
func benchmark(b *testing.B, loops []peak.Loop, operations int, unit string, run func()) {
	var product, register fastest
	var loop *peak.Loop
	for i := range loops {
		if loops[i].Rung == cpu.Current() {
			loop = &loops[i]
		}
	}
	const turns = 20000
	for b.Loop() {
		product.time(run)
		if loop != nil {
			b.StopTimer()
			register.time(func() { loop.Run(turns) })
			b.StartTimer()
		}
	}
	rate := float64(operations) / float64(product)
	b.ReportMetric(rate, unit)
	if loop != nil {
		b.ReportMetric(100*rate*float64(register)/float64(turns*loop.Operations), "%peak")
	}
}

func benchEach(b *testing.B, f func(b *testing.B, m, k, n int)) {
	cputest.EachRung(b, func(b *testing.B) {
		for _, s := range benchShapes {
			b.Run(fmt.Sprintf("%dx%dx%d", s.m, s.k, s.n), func(b *testing.B) { f(b, s.m, s.k, s.n) })
		}
	})
}

// ramp returns n small values that are not zero: zeros are slow in plain Go.
func ramp[T float32 | uint8 | int8](n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = T(1 + i%17)
	}
	return s
}

func BenchmarkF32(b *testing.B) {
	benchEach(b, func(b *testing.B, m, k, n int) {
		p := F32{
			M: m, A: ramp[float32](m * k), LDA: k, B: PackF32(ramp[float32](k*n), k, n, n, false),
			C: make([]float32, m*n), LDC: n,
		}
		s := new(Scratch)
		benchmark(b, peak.F32, 2*m*k*n, "GFLOPS", func() { p.Run(Region{0, m, 0, n}, s) })
	})
}

func BenchmarkInt8(b *testing.B) {
	benchEach(b, func(b *testing.B, m, k, n int) {
		p := Int8{
			M: m, A: ramp[uint8](m * k), LDA: k, ZeroA: []int32{117}, B: PackS8(ramp[int8](k*n), k, n, n, false, nil),
			C: make([]int32, m*n), LDC: n,
		}
		s := new(Scratch)
		benchmark(b, peak.U8S8, 2*m*k*n, "GOPS", func() { p.Run(Region{0, m, 0, n}, s) })
	})
}

// Packing happens once for weights, but at every run for the operands of attention.
func BenchmarkPack(b *testing.B) {
	const k, n = 512, 512
	f, i := make([]float32, k*n), make([]int8, k*n)
	fp, ip := new(PanelsF32), new(PanelsInt8)
	for _, transposed := range []bool{false, true} {
		b.Run(fmt.Sprintf("f32/transposed=%v", transposed), func(b *testing.B) {
			benchmark(b, nil, k*n*4, "GB/s", func() { fp.Repack(f, k, n, k, transposed) })
		})
		b.Run(fmt.Sprintf("s8/transposed=%v", transposed), func(b *testing.B) {
			benchmark(b, nil, k*n, "GB/s", func() { ip.RepackS8(i, k, n, k, transposed, nil) })
		})
	}
}
