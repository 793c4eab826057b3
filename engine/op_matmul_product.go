package engine

import (
	"sync"

	"github.com/zqonnx/zqonnx/kernels/gemm"
	"github.com/zqonnx/zqonnx/onnx"
)

// worker is the private memory of one goroutine of a parallel loop over products.
type worker struct {
	gemm   gemm.Scratch
	f32    gemm.F32
	blocks gemm.Blocks
	int8   gemm.Int8
	bF32   gemm.PanelsF32
	tail   tailF32
	out    tailInt8
	rows   []float32
	row    []float32
	codes  []uint8
	sums   []int32
}

// workers are shared by all programs, as the goroutines are. There are as many as ever ran at once.
var workers struct {
	sync.Mutex
	free []*worker
}

func takeWorker() *worker {
	workers.Lock()
	defer workers.Unlock()
	if k := len(workers.free); k > 0 {
		w := workers.free[k-1]
		workers.free = workers.free[:k-1]
		return w
	}
	return new(worker)
}

func (w *worker) release() {
	// What refers to tensors must not outlive the run.
	w.f32, w.int8, w.blocks, w.tail, w.out = gemm.F32{}, gemm.Int8{}, gemm.Blocks{}, tailF32{}, tailInt8{tile: w.out.tile}
	workers.Lock()
	workers.free = append(workers.free, w)
	workers.Unlock()
}

// grown returns a slice of length n, s itself where it suffices. The elements are undefined.
func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// isConst reports whether input i is the constant t that the maker saw: not overridden, not given.
func (r *run) isConst(i int, t *onnx.Tensor) bool { return t != nil && r.source(i) == t }

// matrices is the shape of a batched product [.., M, K]·[.., K, N], with the offsets of the matrices under broadcasting.
type matrices struct {
	m, k, n int
	a, b    []int   // by batch: offset of the matrix in elements
	dims    []int64 // of the result
}

// set takes the shapes of the operands as MatMul has them: a vector is a row on the left and a column on the right.
func (p *matrices) set(r *run, a, b []int64) {
	if len(a) == 0 || len(b) == 0 {
		r.failf("a scalar cannot be multiplied as a matrix")
	}
	vectorA, vectorB := len(a) == 1, len(b) == 1
	p.m, p.k, p.n = 1, int(a[len(a)-1]), 1
	kb := b[0]
	var batchA, batchB []int64
	if !vectorA {
		p.m, batchA = int(a[len(a)-2]), a[:len(a)-2]
	}
	if !vectorB {
		kb, p.n, batchB = b[len(b)-2], int(b[len(b)-1]), b[:len(b)-2]
	}
	if int64(p.k) != kb {
		r.failf("cannot multiply %v by %v: %d columns meet %d rows", clone(a), clone(b), p.k, kb)
	}
	rank := max(len(batchA), len(batchB))
	p.dims = p.dims[:0]
	batches := 1
	for i := range rank {
		da, db := alignedDim(batchA, i, rank), alignedDim(batchB, i, rank)
		if da != db && da != 1 && db != 1 {
			r.failf("cannot multiply %v by %v: their batches do not broadcast", clone(a), clone(b))
		}
		d := max(da, db)
		if da == 0 || db == 0 {
			d = 0
		}
		p.dims = append(p.dims, d)
		batches *= int(d)
	}
	p.a = p.offsets(p.a, batches, batchA, p.m*p.k)
	p.b = p.offsets(p.b, batches, batchB, p.k*p.n)
	if !vectorA {
		p.dims = append(p.dims, int64(p.m))
	}
	if !vectorB {
		p.dims = append(p.dims, int64(p.n))
	}
}

// offsets fills o with where each batch finds its matrix in an operand with these batch dims.
func (p *matrices) offsets(o []int, batches int, dims []int64, size int) []int {
	o = grown(o, batches)
	rank := len(p.dims)
	for i := range o {
		at, step, rest := 0, 1, i
		for d := rank - 1; d >= 0; d-- {
			own := int(alignedDim(dims, d, rank))
			pos := rest % int(p.dims[d])
			rest /= int(p.dims[d])
			if own > 1 {
				at += pos * step
			}
			step *= own
		}
		o[i] = at * size
	}
	return o
}

// alignedDim returns dimension i of rank under right-aligned broadcasting.
func alignedDim(dims []int64, i, rank int) int64 {
	if j := i - (rank - len(dims)); j >= 0 {
		return dims[j]
	}
	return 1
}

// collapse makes all batches one product where they share B and lie one behind the other in A.
func (p *matrices) collapse() {
	for i := range p.a {
		if p.b[i] != 0 || p.a[i] != i*p.m*p.k {
			return
		}
	}
	p.m *= len(p.a)
	p.a, p.b = p.a[:min(1, len(p.a))], p.b[:min(1, len(p.b))]
}

// clone copies dims for an error message, so that dims themselves need not escape.
func clone(dims []int64) []int64 { return append([]int64{}, dims...) }
