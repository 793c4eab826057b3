package engine

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

var sortOps = []op{
	{"", "ArgMax", 1, 0, half(makeArg(1))},
	{"", "ArgMin", 1, 0, half(makeArg(-1))},
	{"", "TopK", 1, 0, half(makeTopK)},
	{"", "CumSum", 11, 0, half(makeCumulative(false))},
	{"", "CumProd", 26, 0, half(makeCumulative(true))},
	{"", "Unique", 11, 0, makeUnique},
}

// lines walks a tensor along an axis: line l begins at at(l) and has d elements, stride apart.
type lines struct{ count, d, stride int }

func linesOf(dims []int64, axis int) lines {
	stride := product(dims[axis+1:])
	return lines{product(dims[:axis]) * stride, int(dims[axis]), stride}
}

func (l *lines) at(i int) int { return i/l.stride*l.d*l.stride + i%l.stride }

// makeArg finds the index of the largest (sign 1) or least (sign -1) element along an axis. A NaN is the most extreme.
func makeArg(sign int) maker {
	return func(_ *builder, n *onnx.Node) (kernel, error) {
		axisAt, keep, last := n.Int("axis", 0), n.Int("keepdims", 1) != 0, n.Int("select_last_index", 0) != 0
		var x, y *onnx.Tensor
		var l lines
		var f func(y, x *onnx.Tensor, l *lines, lo, hi, sign int, last bool)
		body := func(lo, hi int) { f(y, x, &l, lo, hi, sign, last) }
		return func(r *run) error {
			x = r.in(0)
			if f = extremesOf[x.Type]; f == nil {
				return fmt.Errorf("elements of %s are %w", x.Type, ErrUnsupported)
			}
			axis := r.axisOf(axisAt, x.Rank())
			if x.Dims[axis] == 0 {
				return fmt.Errorf("axis %d of shape %v is empty", axis, x.Dims)
			}
			dims := append(r.shape(x.Rank())[:0], x.Dims[:axis]...)
			if keep {
				dims = append(dims, 1)
			}
			y = r.out(0, onnx.Int64, append(dims, x.Dims[axis+1:]...)...)
			l = linesOf(x.Dims, axis)
			r.par(l.count, max(1, grain/l.d), body)
			x, y = nil, nil
			return nil
		}, nil
	}
}

var extremesOf = map[onnx.DataType]func(y, x *onnx.Tensor, l *lines, lo, hi, sign int, last bool){
	onnx.Float32: extremes[float32], onnx.Float64: extremes[float64], onnx.Int8: extremes[int8], onnx.Int16: extremes[int16],
	onnx.Int32: extremes[int32], onnx.Int64: extremes[int64], onnx.Uint8: extremes[uint8], onnx.Uint16: extremes[uint16],
	onnx.Uint32: extremes[uint32], onnx.Uint64: extremes[uint64],
}

func extremes[T number](ty, tx *onnx.Tensor, l *lines, lo, hi, sign int, last bool) {
	out, x := onnx.Data[int64](ty), onnx.Data[T](tx)
	for i := lo; i < hi; i++ {
		p := l.at(i)
		best := x[p]
		out[i] = 0
		for j := 1; j < l.d && best == best; j++ {
			p += l.stride
			v := x[p]
			better := v > best
			if sign < 0 {
				better = v < best
			}
			if better || v != v || last && v == best {
				best, out[i] = v, int64(j)
			}
		}
	}
}

// makeTopK sorts lines and keeps the first k; of equal elements the first comes first.
func makeTopK(_ *builder, n *onnx.Node) (kernel, error) {
	axisAt, largest, sorted := n.Int("axis", -1), n.Int("largest", 1) != 0, n.Int("sorted", 1) != 0
	attr := n.Int("k", -1) // opset 1
	return func(r *run) error {
		x, k := r.in(0), attr
		if v := r.ints(1); len(v) == 1 {
			k = v[0]
		}
		axis := r.axisOf(axisAt, x.Rank())
		if k < 0 || k > x.Dims[axis] {
			return fmt.Errorf("k is %d for %d elements", k, x.Dims[axis])
		}
		dims := append(r.shape(x.Rank())[:0], x.Dims...)
		dims[axis] = k
		values, index := r.out(0, x.Type, dims...), r.out(1, onnx.Int64, dims...)
		f := topKs[x.Type]
		if f == nil {
			return fmt.Errorf("elements of %s are %w", x.Type, ErrUnsupported)
		}
		f(values, index, x, axis, largest, sorted)
		return nil
	}, nil
}

var topKs = map[onnx.DataType]func(values, index, x *onnx.Tensor, axis int, largest, sorted bool){
	onnx.Float32: topK[float32], onnx.Float64: topK[float64], onnx.Int8: topK[int8], onnx.Int16: topK[int16], onnx.Int32: topK[int32],
	onnx.Int64: topK[int64], onnx.Uint8: topK[uint8], onnx.Uint16: topK[uint16], onnx.Uint32: topK[uint32], onnx.Uint64: topK[uint64],
}

func topK[T number](tv, ti, tx *onnx.Tensor, axis int, largest, sorted bool) {
	v, index, x := onnx.Data[T](tv), onnx.Data[int64](ti), onnx.Data[T](tx)
	from, to := linesOf(tx.Dims, axis), linesOf(tv.Dims, axis)
	order := make([]int, from.d)
	for l := range from.count {
		p, q := from.at(l), to.at(l)
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int {
			c := cmp.Compare(x[p+a*from.stride], x[p+b*from.stride])
			if largest {
				c = -c
			}
			return cmp.Or(c, a-b)
		})
		best := order[:to.d]
		if !sorted {
			slices.Sort(best)
		}
		for j, i := range best {
			v[q+j*to.stride], index[q+j*to.stride] = x[p+i*from.stride], int64(i)
		}
	}
}

// makeCumulative makes running sums or products.
func makeCumulative(product bool) maker {
	return func(_ *builder, n *onnx.Node) (kernel, error) {
		exclusive, reverse := n.Int("exclusive", 0) != 0, n.Int("reverse", 0) != 0
		return func(r *run) error {
			x, at := r.in(0), r.ints(1)
			f := cumulations[x.Type]
			if f == nil || len(at) != 1 {
				return fmt.Errorf("elements of %s along axes %v are %w", x.Type, at, ErrUnsupported)
			}
			l := linesOf(x.Dims, r.axisOf(at[0], x.Rank()))
			f(r.out(0, x.Type, x.Dims...), x, &l, product, exclusive, reverse)
			return nil
		}, nil
	}
}

var cumulations = map[onnx.DataType]func(y, x *onnx.Tensor, l *lines, product, exclusive, reverse bool){
	onnx.Float32: cumulate[float32], onnx.Float64: cumulate[float64], onnx.Int32: cumulate[int32], onnx.Int64: cumulate[int64],
	onnx.Uint32: cumulate[uint32], onnx.Uint64: cumulate[uint64],
}

func cumulate[T number](ty, tx *onnx.Tensor, l *lines, product, exclusive, reverse bool) {
	y, x := onnx.Data[T](ty), onnx.Data[T](tx)
	for i := range l.count {
		p, step := l.at(i), l.stride
		if reverse {
			p, step = p+(l.d-1)*step, -step
		}
		var acc T
		if product {
			acc = 1
		}
		for range l.d {
			before := acc
			if product {
				acc = T(acc * x[p])
			} else {
				acc += x[p]
			}
			y[p] = acc
			if exclusive {
				y[p] = before
			}
			p += step
		}
	}
}

// makeUnique lists the different slices along an axis (elements, without axis).
func makeUnique(_ *builder, n *onnx.Node) (kernel, error) {
	sorted := n.Int("sorted", 1) != 0
	var m mover
	return func(r *run) error {
		x := r.in(0)
		dims := []int64{int64(x.Len())}
		axis := 0
		if n.Attr("axis") != nil {
			axis, dims = r.axisOf(n.Int("axis", 0), x.Rank()), slices.Clone(x.Dims)
		}
		outer, d, inner := product(dims[:axis]), int(dims[axis]), product(dims[axis+1:])
		compare, err := comparer(x)
		if err != nil {
			return err
		}
		compareSlices := func(a, b int) int {
			for o := range outer {
				for i := range inner {
					if c := compare((o*d+a)*inner+i, (o*d+b)*inner+i); c != 0 {
						return c
					}
				}
			}
			return 0
		}
		order := make([]int, d)
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, compareSlices)
		group := make([]int, d) // of each slice
		var first []int         // slice of each group
		var count []int64
		for i, s := range order {
			if i == 0 || compareSlices(order[i-1], s) != 0 {
				first, count = append(first, s), append(count, 0)
			}
			group[s] = len(first) - 1
			count[len(first)-1]++
		}
		if !sorted { // groups in the order of their first slices
			by := make([]int, len(first))
			for i := range by {
				by[i] = i
			}
			slices.SortFunc(by, func(a, b int) int { return first[a] - first[b] })
			rank, f, c := make([]int, len(by)), make([]int, len(by)), make([]int64, len(by))
			for to, from := range by {
				rank[from], f[to], c[to] = to, first[from], count[from]
			}
			first, count = f, c
			for i := range group {
				group[i] = rank[group[i]]
			}
		}
		k := int64(len(first))
		dims[axis] = k
		y := r.out(0, x.Type, dims...)
		for i, s := range first {
			m.Reset()
			m.SrcAt, m.DstAt = s*inner, i*inner
			m.Add(outer, int(k)*inner, d*inner)
			m.Add(inner, 1, 1)
			m.run(r, y, x)
		}
		indices, inverse := onnx.Data[int64](r.out(1, onnx.Int64, k)), onnx.Data[int64](r.out(2, onnx.Int64, int64(d)))
		for i, s := range first {
			indices[i] = int64(s)
		}
		for i, g := range group {
			inverse[i] = int64(g)
		}
		copy(onnx.Data[int64](r.out(3, onnx.Int64, k)), count)
		return nil
	}, nil
}

// comparer returns an order of a tensor's elements by index.
func comparer(x *onnx.Tensor) (func(a, b int) int, error) {
	switch {
	case x.Type == onnx.String:
		s := x.Strings()
		return func(a, b int) int { return slices.Compare(s[a], s[b]) }, nil
	case x.Type == onnx.Int64:
		v := onnx.Data[int64](x)
		return func(a, b int) int { return cmp.Compare(v[a], v[b]) }, nil
	case x.Type == onnx.Uint64:
		v := onnx.Data[uint64](x)
		return func(a, b int) int { return cmp.Compare(v[a], v[b]) }, nil
	case castable(x.Type):
		v := onnx.Data[float64](castTo(x, onnx.Float64))
		return func(a, b int) int { return cmp.Compare(v[a], v[b]) }, nil
	}
	return nil, fmt.Errorf("elements of %s are %w", x.Type, ErrUnsupported)
}
