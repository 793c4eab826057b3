package engine

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/onnx"
)

// reduceNaive folds element by element in float64.
func reduceNaive(x *onnx.Tensor, axes []int64, f func(all []float64) float64) []float64 {
	gone := make([]bool, x.Rank())
	for _, a := range axes {
		gone[(a+int64(x.Rank()))%int64(x.Rank())] = true
	}
	groups := map[int][]float64{}
	count := 1
	for i, d := range x.Dims {
		if !gone[i] {
			count *= int(d)
		}
	}
	for i, v := range numbersOf(x) {
		key, stride, rest := 0, 1, int64(i)
		for d := x.Rank() - 1; d >= 0; d-- {
			if !gone[d] {
				key += int(rest%x.Dims[d]) * stride
				stride *= int(x.Dims[d])
			}
			rest /= x.Dims[d]
		}
		groups[key] = append(groups[key], v)
	}
	out := make([]float64, count)
	for k := range out {
		out[k] = f(groups[k])
	}
	return out
}

func TestReductions(t *testing.T) {
	sum := func(f func(float64) float64) func([]float64) float64 {
		return func(x []float64) (s float64) {
			for _, v := range x {
				s += f(v)
			}
			return s
		}
	}
	same := func(v float64) float64 { return v }
	oracles := map[string]func([]float64) float64{
		"ReduceSum":  sum(same),
		"ReduceMean": func(x []float64) float64 { return sum(same)(x) / float64(len(x)) },
		"ReduceMax":  slices.Max[[]float64], "ReduceMin": slices.Min[[]float64],
		"ReduceL1": sum(math.Abs), "ReduceSumSquare": sum(func(v float64) float64 { return v * v }),
		"ReduceL2":        func(x []float64) float64 { return math.Sqrt(sum(func(v float64) float64 { return v * v })(x)) },
		"ReduceLogSumExp": func(x []float64) float64 { return math.Log(sum(math.Exp)(x)) },
	}
	names := []string{"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp"}
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.SampledFrom([]int64{1, 2, 3, 17, 70}), 1, 3).Draw(t, "dims")
		axes := rapid.SliceOfNDistinct(rapid.Int64Range(0, int64(len(dims))-1), 1, len(dims), rapid.ID[int64]).Draw(t, "axes")
		op := rapid.SampledFrom(names).Draw(t, "op")
		dt := rapid.SampledFrom([]onnx.DataType{onnx.Float32, onnx.Float64}).Draw(t, "type")
		seed := rapid.IntRange(0, 1<<20).Draw(t, "seed")
		x := onnx.Zeros(onnx.Float32, dims...)
		for i := range onnx.Data[float32](x) {
			onnx.Data[float32](x)[i] = float32((i*7919+seed)%101-50) / 16
		}
		x = castTo(x, dt)
		keep := rapid.Int64Range(0, 1).Draw(t, "keepdims")
		y := singleNode{
			op: op, opset: 13, attrs: []*onnx.Attribute{onnx.AttrIs("axes", axes...), onnx.AttrI("keepdims", keep)}, inputs: []*onnx.Tensor{x},
		}.run(t)[0]
		want := reduceNaive(x, axes, oracles[op])
		for i, g := range numbersOf(y) {
			if math.Abs(g-want[i]) > 1e-4*max(1, math.Abs(want[i])) {
				t.Fatalf("%s of %v along %v: element %d is %g, want %g", op, dims, axes, i, g, want[i])
			}
		}
	})
}

// TestSumOrder: the same bits for any number of threads and whether columns are summed in place or transposed first.
func TestSumOrder(t *testing.T) {
	const rows, columns = 301, 517
	x := onnx.Zeros(onnx.Float32, rows, columns)
	turned := onnx.Zeros(onnx.Float32, columns, rows)
	for r := range rows {
		for c := range columns {
			v := float32(math.Sin(float64(r*columns+c))) * float32(1+c%7)
			onnx.Data[float32](x)[r*columns+c] = v
			onnx.Data[float32](turned)[c*rows+r] = v
		}
	}
	for _, op := range []string{"ReduceSum", "ReduceMean"} {
		var want []float32
		for i, n := range []singleNode{
			{op: op, attrs: []*onnx.Attribute{onnx.AttrIs("axes", 1)}, inputs: []*onnx.Tensor{turned}},
			{op: op, attrs: []*onnx.Attribute{onnx.AttrIs("axes", 0)}, inputs: []*onnx.Tensor{x}},
		} {
			for _, threads := range []int{1, 2, 3} {
				n.opset = 11
				out, err := n.try(threads)
				if err != nil {
					t.Fatal(err)
				}
				if got := onnx.Data[float32](out[0]); want == nil {
					want = got
				} else if !slices.Equal(want, got) {
					t.Errorf("%s, form %d, %d threads: other bits", op, i, threads)
				}
			}
		}
	}
}

func TestSorting(t *testing.T) {
	nan := float32(math.NaN())
	x := onnx.Of([]float32{3, 1, 3, 2, -1, nan}, 2, 3)
	arg := func(op string, attrs ...*onnx.Attribute) []int64 {
		attrs = append(attrs, onnx.AttrI("axis", 1), onnx.AttrI("keepdims", 0))
		return onnx.Data[int64](singleNode{op: op, opset: 13, attrs: attrs, inputs: []*onnx.Tensor{x}}.run(t)[0])
	}
	if got := slices.Concat(arg("ArgMax"), arg("ArgMax", onnx.AttrI("select_last_index", 1)), arg("ArgMin")); !slices.Equal(got, []int64{0, 2, 2, 2, 1, 2}) {
		t.Errorf("ArgMax and ArgMin: %v", got)
	}
	out := singleNode{op: "TopK", opset: 11, outputs: 2, attrs: []*onnx.Attribute{onnx.AttrI("axis", 0)}, inputs: []*onnx.Tensor{
		onnx.Of([]int64{5, 1, 5, 7}), onnx.Of([]int64{3}),
	}}.run(t)
	if d := cmp.Diff([]int64{7, 5, 5}, onnx.Data[int64](out[0])) + cmp.Diff([]int64{3, 0, 2}, onnx.Data[int64](out[1])); d != "" {
		t.Errorf("TopK: %s", d)
	}
	y := singleNode{op: "CumSum", opset: 14, attrs: []*onnx.Attribute{onnx.AttrI("exclusive", 1), onnx.AttrI("reverse", 1)}, inputs: []*onnx.Tensor{
		onnx.Of([]int32{1, 2, 3, 4}), onnx.Scalar(int32(0)),
	}}.run(t)[0]
	if d := cmp.Diff([]int32{9, 7, 4, 0}, onnx.Data[int32](y)); d != "" {
		t.Errorf("CumSum: %s", d)
	}
}
