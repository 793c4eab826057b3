package gemm

import (
	"unsafe"

	"github.com/zqonnx/zqonnx/kernels/cpu"
)

// microkernel computes a tile of C, rows × (vectors·lanes), over groups consecutive groups of k:
//
//	acc[i][j] = 0
//	acc[i][j] += a[i, group]·b[group, j]    for each group in order
//	acc[i][j] += c[i*ldc+j]                 if accumulate
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
	groupB      int // elements of packed B in a group of a column
	groupBlock  int // groups to take before C is left and taken up again: what keeps A in the cache
	multiply    microkernel[A, B, T]
}

// pick returns the kernel of the highest rung not above the current one. Tables run from the lowest rung up and begin with
// plain Go.
func pick[K interface{ on() cpu.Rung }](table []K) K {
	best := table[0]
	for _, k := range table {
		if k.on() <= cpu.Current() {
			best = k
		}
	}
	return best
}

// on returns the rung that the kernel needs.
func (kn *kernel[A, B, T]) on() cpu.Rung { return kn.rung }

// groups returns how many groups cover k.
func (kn *kernel[A, B, T]) groups(k int) int { return ceilDiv(k, kn.group) }

// panelLen returns the length of a panel of packed B [k, ...].
func (kn *kernel[A, B, T]) panelLen(k int) int { return kn.groups(k) * kn.groupB * kn.tileColumns }

// panelsLen returns the length of packed B [k, n].
func (kn *kernel[A, B, T]) panelsLen(k, n int) int {
	return ceilDiv(n, kn.tileColumns) * kn.panelLen(k)
}

// rowBlock returns how many rows of A [..., k] to compute together: a multiple of tileRows whose part of A, and of C if it is
// used again at once, fills some of the second-level cache.
func (kn *kernel[A, B, T]) rowBlock(k, columns int, keepC bool) int {
	const budget = 128 << 10
	var a A
	var c T
	rowBytes := min(kn.groups(k), kn.groupBlock) * kn.groupA * int(unsafe.Sizeof(a))
	if keepC {
		rowBytes += columns * int(unsafe.Sizeof(c))
	}
	rows := budget / max(rowBytes, 1)
	return max(rows/kn.tileRows, 1) * kn.tileRows
}

// product is what run computes: C[M, N] = A·B[K, N] + bias, A coming from a function.
type product[B, T any] struct {
	k          int
	kBlock     int // of k to take before C is left and taken up again: whole groups
	panels     []B
	c          []T // nil if results live in the buffers
	ldc        int
	accumulate bool
	bias       []T  // of the columns of the region, or nil
	keepC      bool // finish uses the results again
}

// run computes region r in blocks of rows and of k. prepare returns A[m:m+rows, k:k+depth] as the microkernel wants it;
// finish gets rows of C when they are done.
func (kn *kernel[A, B, T]) run(r Region, p *product[B, T], buf *buffers[T],
	prepare func(m, k, rows, depth int) (a *A, lda int), finish func(m, rows int, c []T, ldc int),
) {
	columns := r.N1 - r.N0
	step := kn.rowBlock(p.k, columns, p.keepC)
	kBlock := p.kBlock
	o := block[A, B, T]{panelLen: kn.panelLen(p.k), nLo: r.N0, nHi: r.N1, ldc: p.ldc}
	if p.c == nil {
		o.ldc, o.padded = ceilDiv(columns, kn.lanes)*kn.lanes, true
	}
	for m := r.M0; m < r.M1; m += step {
		o.rows = min(step, r.M1-m)
		var c []T
		if o.padded {
			buf.c = grow(buf.c, o.rows*o.ldc)
			c = buf.c
		} else {
			c = p.c[m*p.ldc+r.N0:][:(o.rows-1)*p.ldc+columns]
		}
		o.c = &c[0]
		for k := 0; k == 0 || k < p.k; k += kBlock {
			depth := min(kBlock, p.k-k)
			if depth > 0 {
				o.a, o.lda = prepare(m, k, o.rows, depth)
				o.panels = &p.panels[k/kn.group*kn.groupB*kn.tileColumns]
			}
			o.groups = kn.groups(depth)
			o.accumulate = p.accumulate || k > 0
			o.bias = nil
			if k+depth == p.k {
				o.bias = p.bias
			}
			kn.block(&o, buf)
		}
		finish(m, o.rows, c, o.ldc)
	}
}

// block of a product: C[rows, nHi-nLo] = A[rows, groups]·B[groups, nLo:nHi] + bias[nLo:nHi].
type block[A, B, T any] struct {
	rows, groups int
	a            *A
	lda          int
	panels       *B // the first group of the first panel
	panelLen     int
	nLo, nHi     int // nLo is a multiple of tileColumns
	c            *T  // row 0, column nLo
	ldc          int
	padded       bool // rows of C have room for whole vectors
	accumulate   bool
	bias         []T // of columns nLo and up, or nil
}

// block runs the microkernel over a block of rows. A panel is used for all rows before the next one is touched.
func (kn *kernel[A, B, T]) block(o *block[A, B, T], buf *buffers[T]) {
	tiles := ceilDiv(o.rows, kn.tileRows)
	for n := o.nLo; n < o.nHi; n += kn.tileColumns {
		columns := min(kn.tileColumns, o.nHi-n)
		vectors := ceilDiv(columns, kn.lanes)
		ragged := vectors*kn.lanes != columns
		b := at(o.panels, n/kn.tileColumns*o.panelLen)
		var bias *T
		if o.bias != nil {
			bias = &o.bias[n-o.nLo]
			if ragged {
				buf.bias = grow(buf.bias, kn.tileColumns)
				copy(buf.bias, o.bias[n-o.nLo:][:columns])
				bias = &buf.bias[0]
			}
		}
		for tile := range tiles {
			// Tiles of about equal height: a last one of a single row would wait for its own additions.
			m := tile * o.rows / tiles
			rows := (tile+1)*o.rows/tiles - m
			a := at(o.a, m*o.lda)
			c := at(o.c, m*o.ldc+n-o.nLo)
			if !ragged || o.padded {
				kn.multiply(rows, vectors, o.groups, a, o.lda, b, c, o.ldc, o.accumulate, bias)
				continue
			}
			whole := buf.load(kn.tileRows*kn.tileColumns, c, o.ldc, rows, columns, kn.tileColumns, o.accumulate)
			kn.multiply(rows, vectors, o.groups, a, o.lda, b, &whole[0], kn.tileColumns, o.accumulate, bias)
			store(c, o.ldc, whole, rows, columns, kn.tileColumns)
		}
	}
}

// buffers of a worker. Tiles of a last, ragged panel are computed apart, since microkernels store whole vectors.
type buffers[T any] struct {
	c    []T // rows of C that nobody else keeps
	tile []T
	bias []T
}

// load returns a tile of the given length, filled from C if it is going to be accumulated into.
func (buf *buffers[T]) load(length int, c *T, ldc, rows, columns, ldTile int, accumulate bool) []T {
	buf.tile = grow(buf.tile, length)
	if accumulate {
		for i := range rows {
			copy(buf.tile[i*ldTile:], unsafe.Slice(at(c, i*ldc), columns))
		}
	}
	return buf.tile
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
