package gemm

import "fmt"

// Scratch is the working memory of one worker. The zero value is ready; it grows to what the largest product needs and is
// reused from then on. It serves one Run at a time.
type Scratch struct {
	aF32   []float32
	aInt8  []uint8
	aBlock []float32 // the last block of a row, completed with zeros
	panel  []float32 // of weights in blocks
	offset []int32
	f32    buffers[float32]
	int32  buffers[int32]
}

// prepareF32 returns rows of A [rows, k] as the microkernels want them.
func (s *Scratch) prepareF32(a []float32, lda, rows, k int) (*float32, int) {
	// Rows a multiple of 4 KiB apart share one set of the first-level cache, which cannot hold a tile's worth of them.
	const wayElements = 4096 / 4
	if rows == 1 || lda%wayElements != 0 {
		return &a[0], lda
	}
	stride := k + 16
	s.aF32 = grow(s.aF32, rows*stride)
	for i := range rows {
		copy(s.aF32[i*stride:], a[i*lda:][:k])
	}
	return &s.aF32[0], stride
}

// prepareInt8 returns rows of A [rows, k] as kn wants them: shifted codes, widened if the kernel says so. What completes
// the last group of a row may be anything: B has zeros there. It must only be readable.
func (s *Scratch) prepareInt8(kn *kernelInt8, a []uint8, lda, rows, k int, shift int32) (*uint8, int) {
	whole := kn.groups(k) * kn.group
	width := kn.groupA / kn.group // bytes of a code
	if shift == 0 && width == 1 && (rows-1)*lda+whole <= len(a) {
		return &a[0], lda
	}
	convert := flipBytes
	if width == 2 {
		convert = widenBytes
	}
	if span := (rows-1)*lda + k; span <= 2*rows*k { // rows lie close together: one run, with what is between them
		s.aInt8 = grow(s.aInt8, (span-k+whole)*width)
		convert(s.aInt8, a[:span], uint8(shift))
		return &s.aInt8[0], lda * width
	}
	stride := whole * width
	s.aInt8 = grow(s.aInt8, rows*stride)
	for i := range rows {
		convert(s.aInt8[i*stride:], a[i*lda:][:k], uint8(shift))
	}
	return &s.aInt8[0], stride
}

// checkMatrix panics unless a slice of the given length holds [rows, columns] with rows ld apart: the microkernels do not
// check.
func checkMatrix(name string, length, rows, columns, ld int) {
	if rows < 0 || columns < 0 {
		panic(fmt.Sprintf("gemm: %s is [%d, %d]", name, rows, columns))
	}
	if rows == 0 || columns == 0 {
		return
	}
	if rows > 1 && ld < columns {
		panic(fmt.Sprintf("gemm: %s [%d, %d] has rows only %d apart", name, rows, columns, ld))
	}
	if columns > length || (rows-1) > (length-columns)/max(ld, 1) {
		panic(fmt.Sprintf("gemm: %s [%d, %d] with rows %d apart does not fit in %d elements", name, rows, columns, ld, length))
	}
}

// checkRegion panics unless r lies in C [m, n] and starts on a panel.
func checkRegion(r Region, m, n, tileColumns int) {
	if r.M0 < 0 || r.M1 > m || r.N0 < 0 || r.N1 > n || r.N0%tileColumns != 0 {
		panic(fmt.Sprintf("gemm: region %+v of C [%d, %d] with panels of %d columns", r, m, n, tileColumns))
	}
}
