package prepare

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// A view is a tensor whose elements are those of constants, in other places.
type view struct {
	typ   onnx.DataType
	dims  []int64
	graph *onnx.Graph // the innermost one that holds a constant of it

	value  *onnx.Value  // of a constant
	tensor *onnx.Tensor // its elements, once they are made

	from []*view
	at   [][]int // one source: what each index along an axis adds to the position in the source, in elements; nil: in order
	axis int     // several: where they are put together

	id     int   // of the view among all
	parent *view // towards the root of the views and constants that hang together
}

func (w *view) len() int { return int(onnx.NumElements(w.dims)) }

func (w *view) root() *view {
	for w.parent != nil {
		w = w.parent
	}
	return w
}

// join notes that two views hang together.
func (w *view) join(o *view) {
	if a, b := w.root(), o.root(); a != b {
		a.parent = b
	}
}

// key tells views that are not equal apart.
func (w *view) key() string {
	if w.value != nil {
		return fmt.Sprintf("%p", w.value)
	}
	key := fmt.Sprint(w.dims, w.axis, w.at == nil, w.at)
	for _, s := range w.from {
		key += fmt.Sprint(" ", s.id)
	}
	return key
}

// load returns the elements.
func (w *view) load() (*onnx.Tensor, error) {
	if w.value != nil {
		if err := w.tensor.Load(); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", w.value.Name(), err)
		}
		return w.tensor, nil
	}
	if w.tensor != nil {
		return w.tensor, nil
	}
	var from []*onnx.Tensor
	for _, s := range w.from {
		t, err := s.load()
		if err != nil {
			return nil, err
		}
		from = append(from, t)
	}
	switch {
	case len(from) > 1:
		w.tensor = concat(from, w.axis, w.dims)
	case w.at == nil:
		w.tensor = from[0].Reshaped(w.dims...)
	default:
		w.tensor = pick(from[0], w.at, w.dims)
	}
	return w.tensor, nil
}

// pick returns the elements of t at the sums of one number from each axis, in the shape of dims.
func pick(t *onnx.Tensor, axes [][]int, dims []int64) *onnx.Tensor {
	size := t.Type.Bits() / 8
	out := onnx.Zeros(t.Type, slices.Clone(dims)...)
	src, dst := t.Bytes(), out.Bytes()
	at, from := make([]int, len(axes)), 0
	for _, a := range axes {
		if len(a) == 0 {
			return out
		}
		from += a[0]
	}
	for i := 0; i < len(dst); i += size {
		copy(dst[i:i+size], src[from*size:])
		for k := len(axes) - 1; k >= 0; k-- {
			from -= axes[k][at[k]]
			if at[k]++; at[k] < len(axes[k]) {
				from += axes[k][at[k]]
				break
			}
			at[k] = 0
			from += axes[k][0]
		}
	}
	return out
}

// concat puts tensors that differ along one axis together.
func concat(from []*onnx.Tensor, axis int, dims []int64) *onnx.Tensor {
	out := onnx.Zeros(from[0].Type, slices.Clone(dims)...)
	dst := out.Bytes()
	size := int64(from[0].Type.Bits() / 8)
	for outer := range onnx.NumElements(dims[:axis]) {
		for _, t := range from {
			run := onnx.NumElements(t.Dims[axis:]) * size
			dst = dst[copy(dst, t.Bytes()[outer*run:(outer+1)*run]):]
		}
	}
	return out
}

// movers has, for each operator that only moves elements, what makes output i of a node of its sources' views: the first
// input, of Concat all. It returns nil where the file does not tell.
var movers = map[string]func(n *onnx.Node, i int, from []*view) *view{
	"Identity":  reshaped,
	"Reshape":   reshaped,
	"Flatten":   reshaped,
	"Squeeze":   reshaped,
	"Unsqueeze": reshaped,
	"Transpose": transposed,
	"Slice":     sliced,
	"Split":     split,
	"Gather":    gathered,
	"Expand":    expanded,
	"Tile":      tiled,
	"Concat":    concatenated,
}

// axes returns, for a source in order, what each index adds to the position.
func (w *view) axes() [][]int {
	at := make([][]int, len(w.dims))
	step := 1
	for i := len(w.dims) - 1; i >= 0; i-- {
		at[i] = make([]int, w.dims[i])
		for k := range at[i] {
			at[i][k] = k * step
		}
		step *= int(w.dims[i])
	}
	return at
}

// picked is the view of one source with these axes.
func picked(at [][]int) *view {
	w := &view{at: at, dims: make([]int64, len(at))}
	for i, a := range at {
		w.dims[i] = int64(len(a))
	}
	return w
}

// axisOf returns an attribute as the number of an axis; false when there is no such axis.
func axisOf(a int64, rank int) (int, bool) {
	if a < 0 {
		a += int64(rank)
	}
	return int(a), a >= 0 && a < int64(rank)
}

func reshaped(n *onnx.Node, _ int, from []*view) *view {
	w := &view{dims: []int64{}}
	if n.Is("Identity") {
		w.dims = from[0].dims
		return w
	}
	shape := rewrite.Shape(n.Output(0))
	if shape == nil {
		return nil
	}
	for _, d := range shape {
		if d.Size < 0 {
			return nil
		}
		w.dims = append(w.dims, d.Size)
	}
	if n, ok := onnx.CountElements(w.dims); !ok || int(n) != from[0].len() {
		return nil
	}
	return w
}

func transposed(n *onnx.Node, _ int, from []*view) *view {
	source := from[0].axes()
	perm := n.Ints("perm")
	if perm == nil {
		slices.Reverse(source)
		return picked(source)
	}
	if len(perm) != len(source) {
		return nil
	}
	at := make([][]int, len(perm))
	for i, p := range perm {
		if p < 0 || int(p) >= len(source) || source[p] == nil {
			return nil
		}
		at[i], source[p] = source[p], nil
	}
	return picked(at)
}

// intsAt returns the constant integers of an input, or, of older opsets, of the attribute in its place; false where the
// input is computed. What is left out is nil.
func intsAt(n *onnx.Node, input int, attr string) ([]int64, bool) {
	if n.Input(input) == nil {
		return n.Ints(attr), true
	}
	return rewrite.ConstInts(n.Input(input))
}

func sliced(n *onnx.Node, _ int, from []*view) *view {
	starts, ok1 := intsAt(n, 1, "starts")
	ends, ok2 := intsAt(n, 2, "ends")
	axes, ok3 := intsAt(n, 3, "axes")
	steps, ok4 := intsAt(n, 4, "steps")
	at := from[0].axes()
	if !ok1 || !ok2 || !ok3 || !ok4 || len(starts) != len(ends) || axes == nil && len(starts) > len(at) ||
		axes != nil && len(axes) != len(starts) || steps != nil && len(steps) != len(starts) {
		return nil
	}
	seen := map[int]bool{}
	for i := range starts {
		axis, step := i, int64(1)
		if axes != nil {
			var ok bool
			if axis, ok = axisOf(axes[i], len(at)); !ok {
				return nil
			}
		}
		if steps != nil {
			step = steps[i]
		}
		if step == 0 || seen[axis] {
			return nil
		}
		seen[axis] = true
		at[axis] = slice(at[axis], starts[i], ends[i], step)
	}
	return picked(at)
}

// slice is x[start:end:step] by the rules of Slice: negative positions count from the end, and all are cut to the range.
func slice(x []int, start, end, step int64) []int {
	n := int64(len(x))
	cut := func(i, lo, hi int64) int64 {
		if i < 0 {
			i += n
		}
		return min(max(i, lo), hi)
	}
	out := []int{}
	if step > 0 {
		for i, e := cut(start, 0, n), cut(end, 0, n); i < e; {
			out = append(out, x[i])
			if step >= e-i {
				break
			}
			i += step
		}
		return out
	}
	for i, e := cut(start, -1, n-1), cut(end, -1, n-1); i > e; {
		out = append(out, x[i])
		if step <= e-i {
			break
		}
		i += step
	}
	return out
}

// split takes the sizes from the outputs' shapes: there are four ways to say them.
func split(n *onnx.Node, i int, from []*view) *view {
	at := from[0].axes()
	axis, ok := axisOf(n.Int("axis", 0), len(at))
	if !ok {
		return nil
	}
	var start, size, total int64
	for k, o := range n.Outputs() {
		shape := rewrite.Shape(o)
		if len(shape) != len(at) || shape[axis].Size < 0 {
			return nil
		}
		if k == i {
			start, size = total, shape[axis].Size
		}
		total += shape[axis].Size
	}
	if total != int64(len(at[axis])) {
		return nil
	}
	at[axis] = at[axis][start : start+size]
	return picked(at)
}

func gathered(n *onnx.Node, _ int, from []*view) *view {
	at := from[0].axes()
	axis, ok := axisOf(n.Int("axis", 0), len(at))
	indices := rewrite.Const(n.Input(1))
	if !ok || indices == nil {
		return nil
	}
	rows, err := indices.Int64s()
	if err != nil {
		return nil
	}
	taken := make([]int, len(rows))
	for i, r := range rows {
		k, ok := axisOf(r, len(at[axis]))
		if !ok {
			return nil
		}
		taken[i] = at[axis][k]
	}
	dims := slices.Concat(from[0].dims[:axis], indices.Dims, from[0].dims[axis+1:])
	at[axis] = taken
	w := picked(at)
	w.dims = dims
	return w
}

// expanded broadcasts both ways: sizes of 1 in the target keep those of the source.
func expanded(n *onnx.Node, _ int, from []*view) *view {
	to, ok := rewrite.ConstInts(n.Input(1))
	if !ok {
		return nil
	}
	at := from[0].axes()
	for len(at) < len(to) {
		at = append([][]int{{0}}, at...)
	}
	for i, size := range to {
		k := len(at) - len(to) + i
		switch {
		case size == 1 || size == int64(len(at[k])):
		case len(at[k]) != 1 || size < 0 || size > smallTensor:
			return nil
		default:
			at[k] = slices.Repeat(at[k], int(size))
		}
	}
	return picked(at)
}

func tiled(n *onnx.Node, _ int, from []*view) *view {
	repeats, ok := rewrite.ConstInts(n.Input(1))
	at := from[0].axes()
	if !ok || len(n.Inputs()) != 2 || len(repeats) != len(at) {
		return nil
	}
	for i, r := range repeats {
		if r < 0 || r > smallTensor {
			return nil
		}
		at[i] = slices.Repeat(at[i], int(r))
	}
	return picked(at)
}

func concatenated(n *onnx.Node, _ int, from []*view) *view {
	w := &view{dims: slices.Clone(from[0].dims)}
	axis, ok := axisOf(n.Int("axis", 1), len(w.dims)) // the default is that of opset 1
	if !ok {
		return nil
	}
	w.axis, w.dims[axis] = axis, 0
	for _, s := range from {
		if len(s.dims) != len(w.dims) {
			return nil
		}
		for i, d := range s.dims {
			if i == axis {
				w.dims[i] += d
			} else if d != w.dims[i] {
				return nil
			}
		}
	}
	return w
}
