package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

var shapeOps = []op{
	{"", "Shape", 1, 0, makeShape},
	{"", "Size", 1, 0, makeSize},
	{"", "Reshape", 1, 0, makeReshape},
	{"", "Flatten", 1, 0, makeFlatten},
	{"", "Squeeze", 1, 0, makeSqueeze},
	{"", "Unsqueeze", 1, 0, makeUnsqueeze},
	{"", "Dropout", 1, 0, makeDropout},
	{"", "Constant", 1, 0, makeConstant},
	{"", "ConstantOfShape", 9, 0, makeConstantOfShape},
	{"", "Range", 11, 0, makeRange},
	{"", "EyeLike", 9, 0, makeEyeLike},
	{"", "BitCast", 26, 0, makeBitCast},
}

func makeShape(_ *builder, n *onnx.Node) (kernel, error) {
	from := n.Int("start", 0)
	return func(r *run) error {
		x := r.in(0)
		rank := int64(x.Rank())
		first, k := span(from, n.Int("end", rank), 1, rank)
		copy(onnx.Data[int64](r.out(0, onnx.Int64, k)), x.Dims[first:])
		return nil
	}, nil
}

func makeSize(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		onnx.Data[int64](r.out(0, onnx.Int64))[0] = int64(r.in(0).Len())
		return nil
	}, nil
}

func makeReshape(_ *builder, n *onnx.Node) (kernel, error) {
	list, zeroIsZero := listOf(n, "shape", 1), n.Int("allowzero", 0) != 0
	return func(r *run) error {
		x, want := r.in(0), list.get(r)
		dims := append(r.shape(len(want))[:0], want...)
		rest := -1
		for i, d := range dims {
			switch {
			case d == 0 && !zeroIsZero:
				if i >= x.Rank() {
					return fmt.Errorf("shape %v copies dimension %d of %v, which has fewer", want, i, x.Dims)
				}
				dims[i] = x.Dims[i]
			case d == -1 && rest < 0:
				rest, dims[i] = i, 1
			case d < 0:
				return fmt.Errorf("shape %v is impossible", want)
			}
		}
		r.check(x.Type, dims)
		if rest >= 0 {
			if n := product(dims); n > 0 {
				dims[rest] = int64(x.Len() / n)
			} else {
				dims[rest] = 0
			}
		}
		if product(dims) != x.Len() {
			return fmt.Errorf("shape %v, with %d elements, cannot become %v", x.Dims, x.Len(), want)
		}
		r.alias(0, 0, dims...)
		return nil
	}, nil
}

func makeFlatten(_ *builder, n *onnx.Node) (kernel, error) {
	axis := n.Int("axis", 1)
	return func(r *run) error {
		x := r.in(0)
		a := x.Rank()
		if axis != int64(a) {
			a = r.axisOf(axis, x.Rank())
		}
		r.alias(0, 0, int64(product(x.Dims[:a])), int64(product(x.Dims[a:])))
		return nil
	}, nil
}

func makeSqueeze(_ *builder, n *onnx.Node) (kernel, error) {
	list := listOf(n, "axes", 1)
	return func(r *run) error {
		x, axes := r.in(0), list.get(r)
		gone := r.shape(x.Rank())
		clear(gone)
		for _, a := range axes {
			i := r.axisOf(a, x.Rank())
			if gone[i] = 1; x.Dims[i] != 1 {
				return fmt.Errorf("axis %d of shape %v is not 1", a, x.Dims)
			}
		}
		dims := r.shape(x.Rank())[:0]
		for i, d := range x.Dims {
			if gone[i] == 0 && (axes != nil || d != 1) {
				dims = append(dims, d)
			}
		}
		r.alias(0, 0, dims...)
		return nil
	}, nil
}

func makeUnsqueeze(_ *builder, n *onnx.Node) (kernel, error) {
	list := listOf(n, "axes", 1)
	return func(r *run) error {
		x, axes := r.in(0), list.get(r)
		if axes == nil {
			return fmt.Errorf("the axes are missing: %w", onnx.ErrBadModel)
		}
		dims := r.shape(x.Rank() + len(axes))
		clear(dims)
		for _, a := range axes {
			i := r.axisOf(a, len(dims))
			if dims[i] != 0 {
				return fmt.Errorf("axes %v name one twice: %w", axes, onnx.ErrBadModel)
			}
			dims[i] = -1
		}
		left := x.Dims
		for i := range dims {
			if dims[i] == -1 {
				dims[i] = 1
			} else {
				dims[i], left = left[0], left[1:]
			}
		}
		r.alias(0, 0, dims...)
		return nil
	}, nil
}

// makeDropout is the inference form: the identity.
func makeDropout(b *builder, n *onnx.Node) (kernel, error) {
	ratio := n.Float("ratio", 0.5)
	return func(r *run) error {
		x := r.in(0)
		if t := r.in(2); t != nil && onnx.Data[bool](t)[0] {
			if q := r.in(1); q != nil {
				v, err := q.Float32s()
				if err != nil {
					return err
				}
				ratio = v[0]
			}
			if ratio != 0 {
				return fmt.Errorf("training mode is %w", ErrUnsupported)
			}
		}
		r.alias(0, 0, x.Dims...)
		if r.wants(1) {
			t := onnx.Bool
			if b.opset(n) < 10 {
				t = x.Type
			}
			mask := r.out(1, t, x.Dims...)
			one := castTo(onnx.Of([]bool{true}), t).Bytes()
			for at := mask.Bytes(); len(at) > 0; at = at[len(one):] {
				copy(at, one)
			}
		}
		return nil
	}, nil
}

// makeConstant gives the attribute's tensor.
func makeConstant(_ *builder, n *onnx.Node) (kernel, error) {
	for _, a := range n.Attrs {
		var t *onnx.Tensor
		switch a.Name {
		case "value":
			t = a.Tensor
		case "value_float":
			t = onnx.Scalar(a.Float)
		case "value_floats":
			t = onnx.Of(a.Floats, int64(len(a.Floats)))
		case "value_int":
			t = onnx.Scalar(a.Int)
		case "value_ints":
			t = onnx.Of(a.Ints, int64(len(a.Ints)))
		case "value_string":
			t = onnx.NewStrings([]int64{}, [][]byte{a.Bytes})
		case "value_strings":
			t = onnx.NewStrings([]int64{int64(len(a.Strings))}, a.Strings)
		}
		if t == nil {
			continue
		}
		if err := t.Load(); err != nil {
			return nil, err
		}
		t = aligned(t)
		return func(r *run) error { r.set(0, t); return nil }, nil
	}
	return nil, fmt.Errorf("a constant of this kind is %w", ErrUnsupported)
}

func makeConstantOfShape(_ *builder, n *onnx.Node) (kernel, error) {
	value := onnx.Of([]float32{0})
	if a := n.Attr("value"); a != nil {
		if value = a.Tensor; value == nil || value.Len() != 1 {
			return nil, fmt.Errorf("the value must be a tensor of one element: %w", onnx.ErrBadModel)
		}
		if err := value.Load(); err != nil {
			return nil, err
		}
	}
	var m mover
	return func(r *run) error {
		y := r.out(0, value.Type, r.ints(0)...)
		m.Reset()
		m.Add(y.Len(), 1, 0)
		m.run(r, y, value)
		return nil
	}, nil
}

// makeRange counts start, start + delta, ... before limit.
func makeRange(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		start, limit, delta := r.in(0), r.in(1), r.in(2)
		for _, t := range r.inputs {
			if t == nil || t.Type != start.Type || t.Len() != 1 {
				return fmt.Errorf("start, limit and delta must be three numbers of one type: %w", onnx.ErrBadModel)
			}
		}
		if start.Type == onnx.Int64 {
			s, l, d := onnx.Data[int64](start)[0], onnx.Data[int64](limit)[0], onnx.Data[int64](delta)[0]
			if d == 0 {
				return fmt.Errorf("delta is 0")
			}
			n := int64(0)
			if (l > s) == (d > 0) && l != s {
				distance, by := uint64(l-s), uint64(d)
				if d < 0 {
					distance, by = -distance, -by
				}
				n = int64((distance-1)/by + 1)
			}
			y := onnx.Data[int64](r.out(0, onnx.Int64, n))
			for i := range y {
				y[i] = s + int64(i)*d
			}
			return nil
		}
		v := func(t *onnx.Tensor) float64 { return onnx.Data[float64](castTo(t, onnx.Float64))[0] }
		s, l, d := v(start), v(limit), v(delta)
		if d == 0 || s != s || l != l || d != d {
			return fmt.Errorf("start %g, limit %g and delta %g", s, l, d)
		}
		count := 0.0
		if q := (l - s) / d; q > 0 {
			if count = float64(int64(min(q, 1<<62))); count < q {
				count++
			}
		}
		y := r.out(0, start.Type, int64(count))
		if start.Type == onnx.Float32 { // by the element type's own arithmetic
			out := onnx.Data[float32](y)
			for i := range out {
				out[i] = float32(s) + float32(float32(i)*float32(d))
			}
			return nil
		}
		t := onnx.Zeros(onnx.Float64, y.Dims...)
		out := onnx.Data[float64](t)
		for i := range out {
			out[i] = s + float64(float64(i)*d)
		}
		castInto(y, t, 0, len(out), true)
		return nil
	}, nil
}

func makeEyeLike(_ *builder, n *onnx.Node) (kernel, error) {
	k, want := n.Int("k", 0), onnx.DataType(n.Int("dtype", 0))
	return func(r *run) error {
		x := r.in(0)
		if x.Rank() != 2 {
			return fmt.Errorf("shape %v is no matrix", x.Dims)
		}
		dt := want
		if dt == onnx.Undefined {
			dt = x.Type
		}
		if !castable(dt) || dt == onnx.String {
			return fmt.Errorf("elements of %s are %w", dt, ErrUnsupported)
		}
		y := r.out(0, dt, x.Dims...)
		ones := onnx.Zeros(onnx.Bool, slices.Clone(x.Dims)...)
		for i := range x.Dims[0] {
			if j := i + k; j >= 0 && j < x.Dims[1] {
				onnx.Data[bool](ones)[i*x.Dims[1]+j] = true
			}
		}
		clear(y.Bytes())
		castInto(y, ones, 0, y.Len(), true)
		return nil
	}, nil
}

// makeBitCast reads the bytes as another type of the same size.
func makeBitCast(_ *builder, n *onnx.Node) (kernel, error) {
	to := onnx.DataType(n.Int("to", 0))
	return func(r *run) error {
		x := r.in(0)
		if to.Bits() != x.Type.Bits() || to.Bits() == 0 {
			return fmt.Errorf("%s and %s differ in size: %w", x.Type, to, ErrUnsupported)
		}
		copy(r.out(0, to, x.Dims...).Bytes(), x.Bytes())
		return nil
	}, nil
}
