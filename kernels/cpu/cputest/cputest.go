// Package cputest runs tests and benchmarks of kernels on every rung.
package cputest

import "github.com/zqonnx/zqonnx/kernels/cpu"

// A runner is *testing.T or *testing.B: only tests may import package testing.
type runner[T any] interface {
	Run(name string, f func(T)) bool
	Skipf(format string, args ...any)
}

// EachRung runs f under the name of each rung of the ladder, on that rung; one that this machine cannot run is skipped, so that
// the test's output lists it.
func EachRung[T runner[T]](t T, f func(T)) {
	for _, rung := range cpu.All() {
		t.Run(rung.String(), func(t T) {
			if !rung.Available() {
				t.Skipf("this machine cannot run the rung %s", rung)
			}
			defer cpu.Set(rung)()
			f(t)
		})
	}
}
