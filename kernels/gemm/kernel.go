package gemm

import (
	"unsafe"

	"github.com/zqonnx/zqonnx/kernels/cpu"
)

// microkernel computes a tile of C, rows × (vectors·lanes), over groups consecutive groups of k:
//
//	acc[i][j] = 0, or c[i*ldc+j] if accumulate
//	acc[i][j] += a[i, group]·b[group, j]    for each group in order
//	c[i*ldc+j] = acc[i][j] + bias[j]        (bias may be nil)
//
// A row of a is contiguous, lda elements from the next. b walks down one panel. It may have rows = 1..tileRows,
// vectors = 1..tileColumns/lanes and groups ≥ 0.
type microkernel[A, B, T any] func(rows, vectors, groups int, a *A, lda int, b *B, c *T, ldc int, accumulate bool, bias *T)

// kernel is one way to multiply: a microkernel with its tile and the packing it reads.
type kernel[A, B, T any] struct {
	name        string
	rung        cpu.Rung
	tileRows    int // rows of the largest tile
	tileColumns int // columns of the largest tile, and of a panel of B
	lanes       int // columns of a vector
	group       int // consecutive k that B interleaves: panel[group][column][k within the group]
	groupA      int // elements of prepared A in a group: wider than group where A is widened
	groupBlock  int // groups to walk before the next panel; the accumulators rest in C meanwhile
	multiply    microkernel[A, B, T]
}

// pick returns the kernel of the highest rung not above the current one. Tables run from the lowest rung up and begin with
// plain Go.
func pick[A, B, T any](table []*kernel[A, B, T]) *kernel[A, B, T] {
	best := table[0]
	for _, k := range table {
		if k.rung <= cpu.Current() {
			best = k
		}
	}
	return best
}

// groups returns how many groups cover k.
func (kn *kernel[A, B, T]) groups(k int) int { return (k + kn.group - 1) / kn.group }

// panelsLen returns the length of packed B [k, n].
func (kn *kernel[A, B, T]) panelsLen(k, n int) int {
	panels := (n + kn.tileColumns - 1) / kn.tileColumns
	return panels * kn.groups(k) * kn.group * kn.tileColumns
}

// operands of a block of rows: C[rows, nHi-nLo] = A[rows, K]·B[K, nLo:nHi] + bias[nLo:nHi].
type operands[A, B, T any] struct {
	rows, groups int
	a            *A
	lda          int
	panels       *B
	nLo, nHi     int // nLo is a multiple of tileColumns
	c            *T  // row 0, column nLo
	ldc          int
	accumulate   bool
	bias         []T // of columns nLo and up, or nil
}

// block runs the microkernel over a block of rows. A panel is used for all rows before the next one is touched.
func (kn *kernel[A, B, T]) block(o *operands[A, B, T], edge *edge[T]) {
	panelLen := o.groups * kn.group * kn.tileColumns
	for g := 0; ; g += kn.groupBlock {
		groups := min(kn.groupBlock, o.groups-g)
		last := g+groups == o.groups
		accumulate := o.accumulate || g > 0
		for n := o.nLo; n < o.nHi; n += kn.tileColumns {
			columns := min(kn.tileColumns, o.nHi-n)
			vectors := (columns + kn.lanes - 1) / kn.lanes
			ragged := columns%kn.lanes != 0
			b := at(o.panels, n/kn.tileColumns*panelLen+g*kn.group*kn.tileColumns)
			var bias *T
			if last && o.bias != nil {
				bias = &o.bias[n-o.nLo]
				if ragged {
					edge.bias = grow(edge.bias, kn.tileColumns)
					copy(edge.bias, o.bias[n-o.nLo:][:columns])
					bias = &edge.bias[0]
				}
			}
			for m := 0; m < o.rows; m += kn.tileRows {
				rows := min(kn.tileRows, o.rows-m)
				a := at(o.a, m*o.lda+g*kn.groupA)
				c := at(o.c, m*o.ldc+n-o.nLo)
				if !ragged {
					kn.multiply(rows, vectors, groups, a, o.lda, b, c, o.ldc, accumulate, bias)
					continue
				}
				tile := edge.load(kn.tileRows*kn.tileColumns, c, o.ldc, rows, columns, kn.tileColumns, accumulate)
				kn.multiply(rows, vectors, groups, a, o.lda, b, &tile[0], kn.tileColumns, accumulate, bias)
				store(c, o.ldc, tile, rows, columns, kn.tileColumns)
			}
		}
		if last {
			return
		}
	}
}

// edge is where the tiles of a last, ragged panel are computed: microkernels store whole vectors.
type edge[T any] struct {
	tile []T
	bias []T
}

// load returns a tile of the given length, filled from C if it is going to be accumulated into.
func (e *edge[T]) load(length int, c *T, ldc, rows, columns, ldTile int, accumulate bool) []T {
	e.tile = grow(e.tile, length)
	if accumulate {
		for i := range rows {
			copy(e.tile[i*ldTile:], unsafe.Slice(at(c, i*ldc), columns))
		}
	}
	return e.tile
}

// store copies the columns that exist from a tile to C.
func store[T any](c *T, ldc int, tile []T, rows, columns, ldTile int) {
	for i := range rows {
		copy(unsafe.Slice(at(c, i*ldc), columns), tile[i*ldTile:])
	}
}

// at returns the address of element i behind p.
func at[T any](p *T, i int) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(p), uintptr(i)*unsafe.Sizeof(*p)))
}

// grow returns a slice of length n, s itself if it is large enough. The elements are not cleared.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
