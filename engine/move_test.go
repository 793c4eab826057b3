package engine

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/onnx"
)

// numbered returns a tensor whose elements are 0, 1, 2, ...
func numbered(dims ...int64) *onnx.Tensor {
	t := onnx.Zeros(onnx.Int32, dims...)
	for i := range onnx.Data[int32](t) {
		onnx.Data[int32](t)[i] = int32(i)
	}
	return t
}

// checkIndexed holds y to a definition by coordinates: element c of y is the element of x at from(c).
func checkIndexed(t *rapid.T, y, x *onnx.Tensor, from func(c []int64) []int64) {
	c := make([]int64, y.Rank())
	for i, got := range onnx.Data[int32](y) {
		rest := int64(i)
		for d := y.Rank() - 1; d >= 0; d-- {
			c[d], rest = rest%y.Dims[d], rest/y.Dims[d]
		}
		at := int64(0)
		for d, k := range from(c) {
			at = at*x.Dims[d] + k
		}
		if got != int32(at) {
			t.Fatalf("%v → %v: element %v is %d, want %d", x.Dims, y.Dims, c, got, at)
		}
	}
}

func TestTranspose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.SampledFrom([]int64{1, 2, 3, 7, 40}), 1, 4).Draw(t, "dims")
		perm := rapid.Permutation([]int64{0, 1, 2, 3}[:len(dims)]).Draw(t, "perm")
		x := numbered(dims...)
		y := singleNode{op: "Transpose", opset: 13, attrs: []*onnx.Attribute{onnx.AttrIs("perm", perm...)}, inputs: []*onnx.Tensor{x}}.run(t)[0]
		checkIndexed(t, y, x, func(c []int64) []int64 {
			from := make([]int64, len(c))
			for i, p := range perm {
				from[p] = c[i]
			}
			return from
		})
	})
}

func TestSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.Int64Range(0, 6), 1, 3).Draw(t, "dims")
		bound := rapid.OneOf(rapid.Int64Range(-8, 8), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64}))
		axis := rapid.IntRange(0, len(dims)-1).Draw(t, "axis")
		from, to := bound.Draw(t, "from"), bound.Draw(t, "to")
		step := rapid.SampledFrom([]int64{1, 2, 3, -1, -2, -7, math.MinInt64, math.MaxInt64}).Draw(t, "step")
		x := numbered(dims...)
		y := singleNode{op: "Slice", opset: 13, inputs: []*onnx.Tensor{
			x, onnx.Of([]int64{from}), onnx.Of([]int64{to}), onnx.Of([]int64{int64(axis)}), onnx.Of([]int64{step}),
		}}.run(t)[0]
		var picked []int64 // by the rules of Python's slices, index by index
		d := dims[axis]
		clamp := func(i, lo, hi int64) int64 {
			if i < 0 {
				i += d
			}
			return min(max(i, lo), hi)
		}
		if step > 0 {
			for i := clamp(from, 0, d); i < clamp(to, 0, d); i += min(step, d+1) {
				picked = append(picked, i)
			}
		} else {
			for i := clamp(from, -1, d-1); i > clamp(to, -1, d-1); i += max(step, -d-1) {
				picked = append(picked, i)
			}
		}
		if y.Dims[axis] != int64(len(picked)) {
			t.Fatalf("%d elements, want %v", y.Dims[axis], picked)
		}
		checkIndexed(t, y, x, func(c []int64) []int64 {
			f := slices.Clone(c)
			f[axis] = picked[c[axis]]
			return f
		})
	})
}

func TestGatherAndScatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.Int64Range(1, 5), 1, 3).Draw(t, "dims")
		axis := rapid.IntRange(0, len(dims)-1).Draw(t, "axis")
		index := rapid.SliceOfN(rapid.Int64Range(-dims[axis], dims[axis]-1), 1, 6).Draw(t, "index")
		x := numbered(dims...)
		y := singleNode{op: "Gather", opset: 13, attrs: []*onnx.Attribute{onnx.AttrI("axis", int64(axis))}, inputs: []*onnx.Tensor{x, onnx.Of(index)}}.run(t)[0]
		checkIndexed(t, y, x, func(c []int64) []int64 {
			f := slices.Clone(c)
			f[axis] = (index[c[axis]] + dims[axis]) % dims[axis]
			return f
		})
		// GatherElements of all positions reversed along the axis, scattered back, gives x.
		reversed := onnx.Zeros(onnx.Int64, dims...)
		stride := product(dims[axis+1:])
		for i := range onnx.Data[int64](reversed) {
			onnx.Data[int64](reversed)[i] = -1 - int64(i/stride)%dims[axis]
		}
		attr := []*onnx.Attribute{onnx.AttrI("axis", int64(axis))}
		g := singleNode{op: "GatherElements", opset: 13, attrs: attr, inputs: []*onnx.Tensor{x, reversed}}.run(t)[0]
		checkIndexed(t, g, x, func(c []int64) []int64 {
			f := slices.Clone(c)
			f[axis] = dims[axis] - 1 - c[axis]
			return f
		})
		attr = []*onnx.Attribute{onnx.AttrI("axis", int64(axis))}
		s := singleNode{op: "ScatterElements", opset: 18, attrs: attr, inputs: []*onnx.Tensor{onnx.Zeros(onnx.Int32, dims...), reversed, g}}.run(t)[0]
		if d := cmp.Diff(onnx.Data[int32](x), onnx.Data[int32](s)); d != "" {
			t.Fatalf("scattering back: %s", d)
		}
	})
}

func TestMovement(t *testing.T) {
	is := func(v ...int64) *onnx.Tensor { return onnx.Of(v) }
	x := numbered(2, 3)
	for _, c := range []struct {
		node singleNode
		dims []int64
		want []int32
	}{
		{singleNode{op: "Pad", inputs: []*onnx.Tensor{x, is(0, 1, 1, 2), onnx.Of([]int32{9})}}, []int64{3, 6}, []int32{9, 0, 1, 2, 9, 9, 9, 3, 4, 5, 9, 9, 9, 9, 9, 9, 9, 9}},
		{singleNode{op: "Pad", inputs: []*onnx.Tensor{x, is(0, -1, 0, 1)}}, []int64{2, 3}, []int32{1, 2, 0, 4, 5, 0}},
		{singleNode{op: "Pad", attrs: []*onnx.Attribute{onnx.AttrS("mode", "reflect")}, inputs: []*onnx.Tensor{x, is(0, 2, 0, 1)}}, []int64{2, 6}, []int32{2, 1, 0, 1, 2, 1, 5, 4, 3, 4, 5, 4}},
		{singleNode{op: "Pad", attrs: []*onnx.Attribute{onnx.AttrS("mode", "edge")}, inputs: []*onnx.Tensor{x, is(1, 2), nil, is(1)}}, []int64{2, 6}, []int32{0, 0, 1, 2, 2, 2, 3, 3, 4, 5, 5, 5}},
		{singleNode{op: "Pad", attrs: []*onnx.Attribute{onnx.AttrS("mode", "wrap")}, inputs: []*onnx.Tensor{x, is(2, 1), nil, is(-1)}}, []int64{2, 6}, []int32{1, 2, 0, 1, 2, 0, 4, 5, 3, 4, 5, 3}},
		{singleNode{op: "Tile", inputs: []*onnx.Tensor{x, is(2, 2)}}, []int64{4, 6}, []int32{0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5}},
		{singleNode{op: "Expand", inputs: []*onnx.Tensor{numbered(2, 1), is(2, 1, 2)}}, []int64{2, 2, 2}, []int32{0, 0, 1, 1, 0, 0, 1, 1}},
		{singleNode{op: "Concat", attrs: []*onnx.Attribute{onnx.AttrI("axis", -1)}, inputs: []*onnx.Tensor{x, numbered(2, 1)}}, []int64{2, 4}, []int32{0, 1, 2, 0, 3, 4, 5, 1}},
		{singleNode{op: "Trilu", attrs: []*onnx.Attribute{onnx.AttrI("upper", 0)}, inputs: []*onnx.Tensor{numbered(3, 3), onnx.Scalar(int64(-1))}}, []int64{3, 3}, []int32{0, 0, 0, 3, 0, 0, 6, 7, 0}},
		{singleNode{op: "Trilu", inputs: []*onnx.Tensor{numbered(2, 2), onnx.Scalar(int64(math.MaxInt64))}}, []int64{2, 2}, []int32{0, 0, 0, 0}},
		{singleNode{op: "Compress", attrs: []*onnx.Attribute{onnx.AttrI("axis", 1)}, inputs: []*onnx.Tensor{x, onnx.Of([]bool{false, true, true})}}, []int64{2, 2}, []int32{1, 2, 4, 5}},
		{singleNode{op: "ReverseSequence", inputs: []*onnx.Tensor{numbered(3, 2), is(3, 2)}}, []int64{3, 2}, []int32{4, 3, 2, 1, 0, 5}},
		{singleNode{op: "DepthToSpace", attrs: []*onnx.Attribute{onnx.AttrI("blocksize", 2)}, inputs: []*onnx.Tensor{numbered(1, 4, 1, 2)}}, []int64{1, 1, 2, 4}, []int32{0, 2, 1, 3, 4, 6, 5, 7}},
		{singleNode{op: "GatherND", attrs: []*onnx.Attribute{onnx.AttrI("batch_dims", 1)}, inputs: []*onnx.Tensor{x, onnx.Of([]int64{2, -3}, 2, 1)}}, []int64{2}, []int32{2, 3}},
		{singleNode{op: "ScatterND", attrs: []*onnx.Attribute{onnx.AttrS("reduction", "add")}, inputs: []*onnx.Tensor{numbered(4), onnx.Of([]int64{1, 1, -1}, 3, 1), onnx.Of([]int32{10, 20, 30})}}, []int64{4}, []int32{0, 31, 2, 33}},
		{singleNode{op: "OneHot", attrs: []*onnx.Attribute{onnx.AttrI("axis", 0)}, inputs: []*onnx.Tensor{is(1, -1, 7), onnx.Scalar(int64(3)), onnx.Of([]int32{5, 6})}}, []int64{3, 3}, []int32{5, 5, 5, 6, 5, 5, 5, 6, 5}},
		{singleNode{op: "Reshape", inputs: []*onnx.Tensor{numbered(2, 3, 2), is(0, -1)}}, []int64{2, 6}, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
	} {
		c.node.opset = 19
		y := c.node.run(t)[0]
		if d := cmp.Diff(c.dims, y.Dims) + cmp.Diff(c.want, onnx.Data[int32](y)); d != "" {
			t.Errorf("%s: %s", c.node.op, d)
		}
	}
}

// TestBadShapes: impossible requests are errors, not panics, and do not allocate the world.
func TestBadShapes(t *testing.T) {
	is := func(v ...int64) *onnx.Tensor { return onnx.Of(v) }
	x := numbered(2, 3)
	for _, n := range []singleNode{
		{op: "Reshape", inputs: []*onnx.Tensor{x, is(4, -1)}},
		{op: "Reshape", inputs: []*onnx.Tensor{x, is(1<<62, 1<<62, -1)}},
		{op: "Tile", inputs: []*onnx.Tensor{x, is(1<<62, 1<<62)}},
		{op: "Tile", inputs: []*onnx.Tensor{x, is(-1, 1)}},
		{op: "Expand", inputs: []*onnx.Tensor{x, is(2, 4)}},
		{op: "Expand", inputs: []*onnx.Tensor{onnx.Scalar(int32(1)), is(1<<40, 1<<40)}},
		{op: "ConstantOfShape", inputs: []*onnx.Tensor{is(1<<40, 1<<40)}},
		{op: "Range", inputs: []*onnx.Tensor{onnx.Scalar(int64(0)), onnx.Scalar(int64(math.MaxInt64)), onnx.Scalar(int64(1))}},
		{op: "Range", inputs: []*onnx.Tensor{onnx.Scalar(float32(0)), onnx.Scalar(float32(math.Inf(1))), onnx.Scalar(float32(1))}},
		{op: "Gather", inputs: []*onnx.Tensor{x, is(2)}},
		{op: "GatherND", inputs: []*onnx.Tensor{x, onnx.Of([]int64{0, 3}, 1, 2)}},
		{op: "ScatterND", inputs: []*onnx.Tensor{x, onnx.Of([]int64{5}, 1, 1), numbered(1, 3)}},
		{op: "Transpose", attrs: []*onnx.Attribute{onnx.AttrIs("perm", 0, 0)}, inputs: []*onnx.Tensor{x}},
		{op: "Concat", attrs: []*onnx.Attribute{onnx.AttrI("axis", 0)}, inputs: []*onnx.Tensor{x, numbered(2, 2)}},
		{op: "Split", attrs: []*onnx.Attribute{onnx.AttrI("num_outputs", 1)}, inputs: []*onnx.Tensor{x, is(1, 2)}},
		{op: "Pad", inputs: []*onnx.Tensor{x, is(1, 2, 3)}},
		{op: "Pad", inputs: []*onnx.Tensor{x, is(-3, 0, 0, 0)}},
		{op: "OneHot", inputs: []*onnx.Tensor{is(1), onnx.Scalar(int64(-1)), is(0, 1)}},
		{op: "Squeeze", inputs: []*onnx.Tensor{x, is(0)}},
		{op: "TopK", outputs: 2, inputs: []*onnx.Tensor{x, is(9)}},
	} {
		n.opset = 18
		if out, err := n.try(1); err == nil {
			t.Errorf("%s gave %v without an error", n.op, out[0].Dims)
		}
	}
}
