package gemm

import (
	"fmt"
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
)

// fenced returns n elements that end where unreadable memory begins.
func fenced[T any](t *testing.T, n int) []T {
	page := unix.Getpagesize()
	size := n * int(unsafe.Sizeof(*new(T)))
	whole := ceilDiv(size, page) * page
	memory, err := unix.Mmap(-1, 0, whole+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mprotect(memory[whole:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(memory[whole-size:]))), n)
}

// Not a byte behind an operand may be read: a tensor may end where its file's mapping ends.
func TestReadsNothingBehindOperands(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		for _, d := range [][3]int{{1, 1, 1}, {9, 49, 7}, {8, 48, 5}, {13, 17, 34}, {6, 16, 2}, {1, 100, 13}, {70, 3, 3}} {
			m, n, k := d[0], d[1], d[2]
			t.Run(fmt.Sprint(d), func(t *testing.T) {
				defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
				defer func() {
					if r := recover(); r != nil {
						t.Errorf("%v", r)
					}
				}()
				s := new(Scratch)
				for _, int8 := range []bool{false, true} {
					(&Blocks{
						M: m, A: fenced[float32](t, m*k), LDA: k, C: fenced[float32](t, m*n), LDC: n, Bias: fenced[float32](t, n), Int8: int8,
						B: PackBlocks(fenced[uint8](t, n*k), fenced[float32](t, n*ceilDiv(k, 16)), fenced[uint8](t, n*ceilDiv(k, 16)), k, n, 16, true),
					}).Run(Region{0, m, 0, n}, s)
				}
				for _, transposed := range []bool{false, true} {
					ldb := n
					if transposed {
						ldb = k
					}
					f := PackF32(fenced[float32](t, k*n), k, n, ldb, transposed)
					i := PackU8(fenced[uint8](t, k*n), k, n, ldb, transposed, nil)
					(&F32{
						M: m, A: fenced[float32](t, m*k), LDA: k, B: f, C: fenced[float32](t, m*n), LDC: n, Accumulate: transposed,
						Bias: fenced[float32](t, n),
					}).Run(Region{0, m, 0, n}, s)
					for _, signed := range []bool{false, true} {
						(&Int8{
							M: m, A: fenced[uint8](t, m*k), LDA: k, Signed: signed, B: i, C: fenced[int32](t, m*n), LDC: n,
							Accumulate: transposed, Bias: fenced[int32](t, n),
						}).Run(Region{0, m, 0, n}, s)
					}
				}
			})
		}
	})
}
