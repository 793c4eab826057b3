package onnx

import (
	"math"
	"slices"
)

// An element is one integer that shape inference follows: a number, the size that a symbol stands for, or unknown.
type element struct {
	dim    Dim   // when !number
	value  int64 // when number
	number bool
}

// ints are the elements of a small integer tensor.
type ints struct {
	dims []int64
	e    []element
}

// maxData is the number of elements up to which tensors are followed.
const maxData = 256

func number(v int64) element { return element{value: v, number: true} }

func elementOf(d Dim) element {
	if d.Size >= 0 {
		return number(d.Size)
	}
	return element{dim: d}
}

// size returns the element as a dimension; unknown when it is negative.
func (e element) size() Dim {
	switch {
	case !e.number:
		return e.dim
	case e.value >= 0:
		return Fixed(e.value)
	}
	return Symbol("")
}

// intsOf returns the elements of a small tensor of integers or bools; nil for others.
func intsOf(t *Tensor) *ints {
	if t == nil || !slices.Contains([]DataType{Int64, Int32, Bool}, t.Type) || NumElements(t.Dims) > maxData {
		return nil
	}
	x, err := t.Int64s()
	if err != nil {
		return nil
	}
	d := &ints{dims: t.Dims, e: make([]element, len(x))}
	for i, v := range x {
		d.e[i] = number(v)
	}
	return d
}

// values returns the elements where all are known.
func (d *ints) values() ([]int64, bool) {
	x := make([]int64, len(d.e))
	for i, e := range d.e {
		if !e.number {
			return nil, false
		}
		x[i] = e.value
	}
	return x, true
}

// tensor returns the elements as a tensor; nil where not all are known or the type is not one that intsOf reads.
func (d *ints) tensor(dt DataType) *Tensor {
	x, ok := d.values()
	if !ok {
		return nil
	}
	t := Zeros(Int64, append([]int64{}, d.dims...)...)
	switch dt {
	case Int64:
		copy(Data[int64](t), x)
	case Int32:
		t = Zeros(Int32, t.Dims...)
		for i, v := range x {
			Data[int32](t)[i] = int32(v)
		}
	case Bool:
		t = Zeros(Bool, t.Dims...)
		for i, v := range x {
			Data[bool](t)[i] = v != 0
		}
	default:
		return nil
	}
	return t
}

// dataTable has, for the operators that sizes are computed with, the function that follows the elements.
var dataTable = map[string]func(*call){
	"Constant":  func(c *call) { c.setData(0, intsOf(c.n.Constant())) },
	"Shape":     shapeData,
	"Size":      sizeData,
	"Gather":    gatherData,
	"Concat":    concatData,
	"Slice":     sliceData,
	"Cast":      castData,
	"Identity":  layoutData,
	"Reshape":   layoutData,
	"Squeeze":   layoutData,
	"Unsqueeze": layoutData,
	"Flatten":   layoutData,
	"Range":     rangeData,
	"ConstantOfShape": func(c *call) {
		a := c.n.Attr("value")
		if a == nil {
			return // float zeros
		}
		fill := intsOf(a.Tensor)
		if dims, ok := c.fixedDims(0); ok && fill != nil && len(fill.e) == 1 {
			c.setData(0, &ints{dims, slices.Repeat(fill.e, int(NumElements(dims)))})
		}
	},
	"Expand": func(c *call) {
		d := c.data[c.n.Input(0)]
		if dims, ok := c.fixedDims(0); ok && d != nil && len(d.e) == 1 {
			c.setData(0, &ints{dims, slices.Repeat(d.e, int(NumElements(dims)))})
		}
	},
	"Where": whereData,
	"Add":   pairData(func(a, b int64) (int64, bool) { return a + b, true }, 0),
	"Sub":   pairData(func(a, b int64) (int64, bool) { return a - b, true }, 0),
	"Mul":   pairData(mul64, 1),
	"Div":   pairData(div64, 1),
	"Max":   pairData(func(a, b int64) (int64, bool) { return max(a, b), true }),
	"Min":   pairData(func(a, b int64) (int64, bool) { return min(a, b), true }),
	"Equal": pairData(func(a, b int64) (int64, bool) { return truth(a == b), true }),
	"Less":  pairData(func(a, b int64) (int64, bool) { return truth(a < b), true }),

	"LessOrEqual":    pairData(func(a, b int64) (int64, bool) { return truth(a <= b), true }),
	"Greater":        pairData(func(a, b int64) (int64, bool) { return truth(a > b), true }),
	"GreaterOrEqual": pairData(func(a, b int64) (int64, bool) { return truth(a >= b), true }),
	"And":            pairData(func(a, b int64) (int64, bool) { return a & b, true }),
	"Or":             pairData(func(a, b int64) (int64, bool) { return a | b, true }),

	"Not": func(c *call) { c.mapData(func(a int64) int64 { return truth(a == 0) }) },
	"Neg": func(c *call) { c.mapData(func(a int64) int64 { return -a }) },
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func mul64(a, b int64) (int64, bool) {
	if a != 0 && (a*b/a != b || a == -1 && b == math.MinInt64) {
		return 0, false
	}
	return a * b, true
}

func div64(a, b int64) (int64, bool) {
	if b == 0 || a == math.MinInt64 && b == -1 {
		return 0, false
	}
	return a / b, true
}

func (c *call) setData(i int, d *ints) {
	if v := c.n.Output(i); v != nil && d != nil && len(d.e) <= maxData {
		c.data[v] = d
	}
}

// mapData applies f to every known element of input 0.
func (c *call) mapData(f func(int64) int64) {
	d := c.data[c.n.Input(0)]
	if d == nil {
		return
	}
	out := &ints{d.dims, make([]element, len(d.e))}
	for i, e := range d.e {
		if out.e[i] = (element{dim: Symbol("")}); e.number {
			out.e[i] = number(f(e.value))
		}
	}
	c.setData(0, out)
}

// fixedDims returns the sizes of output i where all are fixed and the tensor is small.
func (c *call) fixedDims(i int) ([]int64, bool) {
	t := c.types[c.n.Output(i)]
	if t == nil || t.Shape == nil {
		return nil, false
	}
	if p := product(t.Shape); p.Size < 0 || p.Size > maxData {
		return nil, false
	}
	dims := make([]int64, len(t.Shape))
	for k, d := range t.Shape {
		if d.Size < 0 {
			return nil, false
		}
		dims[k] = d.Size
	}
	return dims, true
}

func shapeData(c *call) {
	s := c.shape(0)
	if s == nil {
		return
	}
	from, to := shapeRange(c, len(s))
	d := &ints{dims: []int64{int64(to - from)}}
	for _, dim := range s[from:to] {
		d.e = append(d.e, elementOf(dim))
	}
	c.setData(0, d)
}

// shapeRange returns which dimensions of a tensor of that rank a Shape node lists (start and end exist from opset 15 on).
func shapeRange(c *call, rank int) (from, to int) {
	clamp := func(v int64) int {
		if v < 0 {
			v += int64(rank)
		}
		return int(min(max(v, 0), int64(rank)))
	}
	from, to = clamp(c.n.Int("start", 0)), clamp(c.n.Int("end", int64(rank)))
	return from, max(from, to)
}

func sizeData(c *call) {
	if s := c.shape(0); s != nil {
		c.setData(0, &ints{[]int64{}, []element{elementOf(product(s))}})
	}
}

// gatherData follows Gather along the only axis of a list.
func gatherData(c *call) {
	d, at := c.data[c.n.Input(0)], c.data[c.n.Input(1)]
	if d == nil || at == nil || len(d.dims) != 1 {
		return
	}
	out := &ints{dims: at.dims}
	for _, e := range at.e {
		i := e.value
		if i < 0 {
			i += int64(len(d.e))
		}
		if !e.number || i < 0 || i >= int64(len(d.e)) {
			return
		}
		out.e = append(out.e, d.e[i])
	}
	c.setData(0, out)
}

func concatData(c *call) {
	out := &ints{}
	for _, v := range c.n.inputs {
		d := c.data[v]
		if d == nil || len(d.dims) != 1 {
			return
		}
		out.e = append(out.e, d.e...)
	}
	out.dims = []int64{int64(len(out.e))}
	c.setData(0, out)
}

func sliceData(c *call) {
	d := c.data[c.n.Input(0)]
	if d == nil || len(d.dims) != 1 {
		return
	}
	s, ok := c.slices(1)
	if !ok || len(s) != 1 {
		return
	}
	out := &ints{}
	start, count := s[0].resolve(int64(len(d.e)))
	for k := range count {
		out.e = append(out.e, d.e[start+k*s[0].step])
	}
	out.dims = []int64{int64(len(out.e))}
	c.setData(0, out)
}

func castData(c *call) {
	to := DataType(c.n.Int("to", 0))
	if to == Bool {
		c.mapData(func(a int64) int64 { return truth(a != 0) })
		return
	}
	if to == Int64 || to == Int32 {
		if d := c.data[c.n.Input(0)]; d != nil && (to == Int64 || c.elem(0) == to || d.fits32()) {
			c.setData(0, d)
		}
	}
}

func (d *ints) fits32() bool {
	return !slices.ContainsFunc(d.e, func(e element) bool { return !e.number || e.value != int64(int32(e.value)) })
}

// layoutData follows what only changes the shape.
func layoutData(c *call) {
	d := c.data[c.n.Input(0)]
	if dims, ok := c.fixedDims(0); ok && d != nil && NumElements(dims) == int64(len(d.e)) {
		c.setData(0, &ints{dims, d.e})
	}
}

func rangeData(c *call) {
	var x [3]int64
	for i := range x {
		v, ok := c.known(i)
		if !ok || len(v) != 1 {
			return
		}
		x[i] = v[0]
	}
	n, ok := rangeLen(x[0], x[1], x[2])
	if !ok || n > maxData {
		return
	}
	d := &ints{dims: []int64{n}}
	for i := range n {
		d.e = append(d.e, number(x[0]+i*x[2]))
	}
	c.setData(0, d)
}

// rangeLen returns how many numbers lie from start up to limit by delta.
func rangeLen(start, limit, delta int64) (int64, bool) {
	const far = 1 << 60
	if delta == 0 || max(start, limit, delta) > far || min(start, limit, delta) < -far {
		return 0, false
	}
	n := (limit - start) / delta
	if (limit-start)%delta != 0 && (limit-start < 0) == (delta < 0) {
		n++
	}
	return max(n, 0), true
}

// pairData follows an elementwise operation of two operands of which one has the other's shape or a single element.
// neutral, where there is one, leaves the other operand as it is, symbols included.
func pairData(f func(a, b int64) (int64, bool), neutral ...int64) func(*call) {
	return func(c *call) {
		if len(c.n.inputs) != 2 {
			return
		}
		a, b := c.data[c.n.inputs[0]], c.data[c.n.inputs[1]]
		dims, ok := c.fixedDims(0)
		if a == nil || b == nil || !ok {
			return
		}
		size := int(NumElements(dims))
		if len(a.e) != size && len(a.e) != 1 || len(b.e) != size && len(b.e) != 1 {
			return
		}
		out := &ints{dims, make([]element, size)}
		for i := range out.e {
			x, y := a.e[i%len(a.e)], b.e[i%len(b.e)]
			out.e[i] = element{dim: Symbol("")}
			switch {
			case x.number && y.number:
				if v, ok := f(x.value, y.value); ok {
					out.e[i] = number(v)
				}
			case y.number && slices.Contains(neutral, y.value):
				out.e[i] = x
			case x.number && slices.Contains(neutral, x.value) && !c.n.Is("Sub", "Div"):
				out.e[i] = y
			}
		}
		c.setData(0, out)
	}
}

func whereData(c *call) {
	var in [3]*ints
	dims, ok := c.fixedDims(0)
	if !ok {
		return
	}
	size := int(NumElements(dims))
	for i := range in {
		if in[i] = c.data[c.n.Input(i)]; in[i] == nil || len(in[i].e) != size && len(in[i].e) != 1 {
			return
		}
	}
	out := &ints{dims, make([]element, size)}
	for i := range out.e {
		pick := func(k int) element { return in[k].e[i%len(in[k].e)] }
		switch cond := pick(0); {
		case !cond.number:
			out.e[i] = element{dim: join(pick(1).size(), pick(2).size())}
			if x, y := pick(1), pick(2); x == y {
				out.e[i] = x
			}
		case cond.value != 0:
			out.e[i] = pick(1)
		default:
			out.e[i] = pick(2)
		}
	}
	c.setData(0, out)
}
