package engine

import (
	"fmt"
	"math"

	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/kernels/reduce"
	"github.com/zqonnx/zqonnx/onnx"
)

// reduction says what becomes of a row, for each kind of number. Kinds without an integer form go by float64.
type reduction struct {
	f32  func(row []float32) float32
	f64  func(row []float64) float64
	i64  func(row []int64) int64
	u64  func(row []uint64) uint64
	sums bool // f32 is divisor(n)·sum, so that columns need no transpose
	mean bool
}

var reduceOps = []op{
	{"", "ReduceSum", 1, 0, reducer(reduction{f32: reduce.Sum, f64: sumOf[float64], i64: sumOf[int64], u64: sumOf[uint64], sums: true})},
	{"", "ReduceMean", 1, 0, reducer(reduction{f32: meanOf, f64: func(x []float64) float64 { return sumOf(x) / float64(len(x)) }, sums: true, mean: true})},
	{"", "ReduceMax", 1, 0, reducer(reduction{f32: reduce.Max, f64: folded(math.Inf(-1), maxOf[float64]), i64: folded(math.MinInt64, maxOf[int64]), u64: folded(0, maxOf[uint64])})},
	{"", "ReduceMin", 1, 0, reducer(reduction{f32: reduce.Min, f64: folded(math.Inf(1), minOf[float64]), i64: folded(math.MaxInt64, minOf[int64]), u64: folded(math.MaxUint64, minOf[uint64])})},
	{"", "ReduceProd", 1, 0, reducer(reduction{f32: folded(1, times[float32]), f64: folded(1, times[float64]), i64: folded(1, times[int64]), u64: folded(1, times[uint64])})},
	{"", "ReduceL1", 1, 0, reducer(reduction{
		f32: func(x []float32) float32 { return foldOf(x, func(v float32) float32 { return max(v, -v) }) },
		f64: func(x []float64) float64 { return foldOf(x, math.Abs) },
		i64: func(x []int64) int64 { return foldOf(x, func(v int64) int64 { return max(v, -v) }) }, u64: sumOf[uint64],
	})},
	{"", "ReduceL2", 1, 0, reducer(reduction{
		f32: func(x []float32) float32 { return float32(math.Sqrt(float64(reduce.SumSquares(x)))) },
		f64: func(x []float64) float64 { return math.Sqrt(foldOf(x, square[float64])) },
	})},
	{"", "ReduceSumSquare", 1, 0, reducer(reduction{
		f32: reduce.SumSquares, f64: func(x []float64) float64 { return foldOf(x, square[float64]) },
		i64: func(x []int64) int64 { return foldOf(x, square[int64]) }, u64: func(x []uint64) uint64 { return foldOf(x, square[uint64]) },
	})},
	{"", "ReduceLogSum", 1, 0, reducer(reduction{
		f32: func(x []float32) float32 { return mathf.LogOf(reduce.Sum(x)) },
		f64: func(x []float64) float64 { return mathf.Log64(sumOf(x)) },
	})},
	{"", "ReduceLogSumExp", 1, 0, reducer(reduction{f32: logSumExp, f64: logSumExp64})},
}

func sumOf[T number](x []T) T { return reduce.Fold(x, 0, func(a, b T) T { return a + b }) }
func square[T number](v T) T  { return T(v * v) }
func times[T number](a, b T) T {
	return T(a * b)
}

func meanOf(x []float32) float32 { return reduce.Sum(x) / float32(len(x)) }

// foldOf sums f over x.
func foldOf[T number](x []T, f func(T) T) T {
	var s [reduce.Lanes]T
	for i, v := range x {
		s[i%reduce.Lanes] += f(v)
	}
	return sumOf(s[:])
}

func folded[T number](empty T, f func(a, b T) T) func([]T) T {
	return func(x []T) T { return reduce.Fold(x, empty, f) }
}

func logSumExp(x []float32) float32 {
	m := reduce.Max(x)
	if m-m != 0 { // infinite or NaN
		return m
	}
	return m + mathf.LogOf(foldOf(x, func(v float32) float32 { return mathf.ExpOf(v - m) }))
}

func logSumExp64(x []float64) float64 {
	m := folded(math.Inf(-1), maxOf[float64])(x)
	if m-m != 0 {
		return m
	}
	return m + mathf.Log64(foldOf(x, func(v float64) float64 { return mathf.Exp64(v - m) }))
}

// columnBlock is how many columns a worker sums at a time.
const columnBlock = 64

// reduceRun is a reduction kernel.
type reduceRun struct {
	reduction
	m          mover
	rows       onnx.Tensor // the input, transposed so that reduced elements are neighbours
	x, y       *onnx.Tensor
	row        int // elements folded into one
	inner      int // columns, when the reduced dimensions are followed by others
	workRows   func(lo, hi int)
	workBlocks func(lo, hi int)
}

func reducer(f reduction) maker {
	return half(func(_ *builder, n *onnx.Node) (kernel, error) {
		k := &reduceRun{reduction: f}
		k.workRows, k.workBlocks = k.fold, k.columns
		list, keep, noop := listOf(n, "axes", 1), n.Int("keepdims", 1) != 0, n.Int("noop_with_empty_axes", 0) != 0
		return func(r *run) error { return k.run(r, list.get(r), keep, noop) }, nil
	})
}

func (k *reduceRun) run(r *run, axes []int64, keep, noop bool) error {
	x := r.in(0)
	rank := x.Rank()
	gone := r.shape(rank)
	all := int64(0)
	if len(axes) == 0 && !noop {
		all = 1
	}
	for i := range gone {
		gone[i] = all
	}
	for _, a := range axes {
		gone[r.axisOf(a, rank)] = 1
	}
	dims := r.shape(rank)[:0]
	first, last := rank, -1 // of the reduced dimensions that are not 1
	rows, row := 1, 1
	for i, d := range x.Dims {
		if gone[i] == 0 {
			dims = append(dims, d)
			rows *= int(d)
			continue
		}
		if keep {
			dims = append(dims, 1)
		}
		row *= int(d)
		if d != 1 {
			first, last = min(first, i), i
		}
	}
	y := r.out(0, x.Type, dims...)
	if rows == 0 {
		return nil
	}
	k.x, k.y, k.row = x, y, row
	together := true
	for i := first; i < last; i++ {
		together = together && (gone[i] == 1 || x.Dims[i] == 1)
	}
	k.inner = 1
	if last >= 0 {
		k.inner = product(x.Dims[last+1:])
	}
	switch {
	case together && k.inner == 1:
	case together && k.sums && x.Type == onnx.Float32 && row > 0:
		blocks := (k.inner + columnBlock - 1) / columnBlock
		r.par(rows/k.inner*blocks, max(1, grain/(row*min(k.inner, columnBlock))), k.workBlocks)
		return nil
	default:
		k.transpose(r, gone, rows)
	}
	if x.Type == onnx.Bool || k.f32 != nil && k.supports(x.Type) {
		r.par(rows, max(1, grain/max(row, 1)), k.workRows)
		return nil
	}
	return fmt.Errorf("elements of %s are %w", x.Type, ErrUnsupported)
}

// supports reports whether fold takes rows of the type.
func (k *reduceRun) supports(t onnx.DataType) bool {
	return castable(t) && t != onnx.String && t.Bits() >= 8 && smallFormats[t] == nil && t != onnx.Float8E8M0
}

// transpose makes k.x a copy whose reduced dimensions come last.
func (k *reduceRun) transpose(r *run, gone []int64, rows int) {
	x := k.x
	k.rows.Resize(x.Type, int64(rows), int64(k.row))
	k.m.Reset()
	own := x.Len()
	for pass := range int64(2) {
		stride := x.Len()
		for i, d := range x.Dims {
			stride /= max(int(d), 1)
			if gone[i] == pass {
				own /= max(int(d), 1)
				k.m.Add(int(d), own, stride)
			}
		}
	}
	k.m.run(r, &k.rows, x)
	k.x = &k.rows
}

// fold reduces rows lo … hi-1.
func (k *reduceRun) fold(lo, hi int) {
	n := k.row
	switch k.x.Type {
	case onnx.Float32:
		x, y := onnx.Data[float32](k.x), onnx.Data[float32](k.y)
		for i := lo; i < hi; i++ {
			y[i] = k.f32(x[i*n:][:n])
		}
	case onnx.Float64:
		x, y := onnx.Data[float64](k.x), onnx.Data[float64](k.y)
		for i := lo; i < hi; i++ {
			y[i] = k.f64(x[i*n:][:n])
		}
	case onnx.Uint64:
		x, y := onnx.Data[uint64](k.x), onnx.Data[uint64](k.y)
		for i := lo; i < hi && k.u64 != nil; i++ {
			y[i] = k.u64(x[i*n:][:n])
		}
	default:
		k.foldInts(lo, hi)
	}
}

func (k *reduceRun) foldInts(lo, hi int) {
	row := make([]int64, k.row)
	var result [1]int64
	for i := lo; i < hi; i++ {
		loadInts(row, k.x, i*k.row)
		if k.i64 != nil {
			result[0] = k.i64(row)
			if k.row == 0 {
				result[0] = emptyInt(result[0], k.x.Type)
			}
		} else {
			wide := make([]float64, len(row))
			for j, v := range row {
				wide[j] = float64(v)
			}
			result[0] = truncate(k.f64(wide), k.x.Type)
		}
		storeInts(k.y, i, result[:])
	}
}

// emptyInt is the extreme of a narrow type in place of int64's.
func emptyInt(v int64, t onnx.DataType) int64 {
	bits := t.Bits()
	low, high := -int64(1)<<(bits-1), int64(1)<<(bits-1)-1
	switch t {
	case onnx.Uint8, onnx.Uint16, onnx.Uint32:
		low, high = 0, int64(1)<<bits-1
	case onnx.Bool:
		low, high = 0, 1
	}
	return min(max(v, low), high)
}

// columns sums blocks lo … hi-1 of columns.
func (k *reduceRun) columns(lo, hi int) {
	var scratch [reduce.Lanes * columnBlock]float32
	x, y := onnx.Data[float32](k.x), onnx.Data[float32](k.y)
	blocks := (k.inner + columnBlock - 1) / columnBlock
	for u := lo; u < hi; u++ {
		outer, c := u/blocks, u%blocks*columnBlock
		dst := y[outer*k.inner+c:][:min(columnBlock, k.inner-c)]
		reduce.Columns(dst, x[outer*k.row*k.inner+c:], k.row, k.inner, scratch[:])
		if k.mean {
			for i := range dst {
				dst[i] /= float32(k.row)
			}
		}
	}
}
