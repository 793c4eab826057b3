package engine

import (
	"slices"
	"unsafe"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// layoutDomain is of the operators that change between channels first and channels last.
const layoutDomain = "zqonnx.layout"

var layoutOps = []op{
	{layoutDomain, "ChannelsLast", 0, 0, makeLayout},
	{layoutDomain, "ChannelsFirst", 0, 0, makeLayout},
}

// Convolutions are computed with channels last. So that their operands need not be turned around, a program holds whole
// regions of tensors that way: tensors that one operator must see alike form a class, and a class is channels last when that
// spares more turns than it costs. A tensor keeps its name; taps, feeds and outputs see it with channels first.

// layout is the choice for one graph.
type layout struct {
	graph   *onnx.Graph
	fixed   map[*onnx.Value]bool        // inputs and outputs of the graph
	root    map[*onnx.Value]*onnx.Value // union-find
	first   map[*onnx.Value]bool        // by root: the class must have channels first
	score   map[*onnx.Value]int         // by root: turns spared with channels last
	borders []border
	last    map[*onnx.Value]bool
}

// border is a place where a node wants channels first, whatever the class of its operand or result.
type border struct {
	node   *onnx.Node
	input  int // -1: output
	output int
}

// chooseLayouts decides which values have channels last and puts the turns in. real is how many outputs of the main graph
// callers see; what comes after is only kept for taps.
func chooseLayouts(m *onnx.Model, real int) map[*onnx.Value]bool {
	last := map[*onnx.Value]bool{}
	for g := range rewrite.Graphs(m) {
		l := &layout{
			graph: g, fixed: map[*onnx.Value]bool{}, root: map[*onnx.Value]*onnx.Value{}, first: map[*onnx.Value]bool{},
			score: map[*onnx.Value]int{}, last: last,
		}
		outputs := g.Outputs()
		if g == m.Graph {
			outputs = outputs[:real]
		}
		for _, v := range slices.Concat(outputs, g.Inputs()) {
			l.fixed[v] = true
		}
		for n := range g.Nodes() {
			l.node(n)
		}
		l.apply(g)
	}
	return last
}

func (l *layout) find(v *onnx.Value) *onnx.Value {
	for l.root[v] != nil {
		v = l.root[v]
	}
	return v
}

// join makes the values one class.
func (l *layout) join(vs ...*onnx.Value) {
	a := l.find(vs[0])
	for _, v := range vs[1:] {
		if b := l.find(v); b != a {
			l.root[b] = a
			l.first[a] = l.first[a] || l.first[b]
			l.score[a] += l.score[b]
		}
	}
}

// turnable reports whether v can have channels last.
func (l *layout) turnable(v *onnx.Value) bool {
	r := rewrite.Rank(v)
	return v.Graph() == l.graph && !l.fixed[v] && r >= 3 && r <= 5 && turnableTypes[rewrite.Elem(v)] && !constant(v)
}

// turnableTypes are the element types that the kernels of both layouts take.
var turnableTypes = map[onnx.DataType]bool{
	onnx.Float32: true, onnx.Float16: true, onnx.BFloat16: true, onnx.Uint8: true, onnx.Int8: true, onnx.Int32: true,
}

// Operators by how they see their operands.
var (
	// input 0 and output 0 may have either layout, each for itself
	eitherLayout = map[string]bool{
		"Conv": true, "FusedConv": true, "ConvInteger": true, "QLinearConv": true, "GlobalAveragePool": true, "GlobalMaxPool": true,
		"GlobalLpPool": true, "QLinearGlobalAveragePool": true,
	}
	// either layout, the same for input 0 and output 0; other inputs are parameters without layout
	sameLayout = map[string]bool{
		"MaxPool": true, "AveragePool": true, "LpPool": true, "QLinearAveragePool": true, "BatchNormalization": true,
		"Relu": true, "LeakyRelu": true, "Clip": true, "Sigmoid": true, "HardSigmoid": true, "HardSwish": true, "Tanh": true,
		"Elu": true, "Selu": true, "Softplus": true, "Exp": true, "Sqrt": true, "Abs": true, "Neg": true, "Erf": true, "Gelu": true,
		"Identity": true, "QuantizeLinear": true, "DequantizeLinear": true, "QLinearSigmoid": true, "QLinearLeakyRelu": true,
	}
	// elementwise over the inputs at these positions, and output 0
	elementwise = map[string][]int{
		"Add": {0, 1}, "Sub": {0, 1}, "Mul": {0, 1}, "Div": {0, 1}, "PRelu": {0, 1}, "QLinearAdd": {0, 3}, "QLinearMul": {0, 3},
	}
)

// node joins what n must see alike and counts what the layout of its operands costs.
func (l *layout) node(n *onnx.Node) {
	x, y := n.Input(0), n.Output(0)
	l.parameters(n)
	switch {
	case x == nil || y == nil:
	case eitherLayout[n.Op]:
		l.either(n)
		return
	case sameLayout[n.Op] && len(n.Outputs()) == 1 && l.alike(n):
		if l.turnable(x) && l.turnable(y) {
			l.join(x, y)
			return
		}
	case n.Op == "Resize":
		if l.turnable(x) && l.turnable(y) {
			l.join(x, y)
			return
		}
	case elementwise[n.Op] != nil:
		if l.elementwise(n) {
			return
		}
	case n.Op == "Concat" || n.Op == "QLinearConcat":
		if vs := concatOperands(n); !slices.ContainsFunc(vs, func(v *onnx.Value) bool { return !l.turnable(v) }) {
			l.join(vs...)
			return
		}
	case n.Is("Transpose") && l.turnable(x) && isToLast(n.Ints("perm")):
		l.score[l.find(x)]++ // nothing is left to do
		return
	}
	for i, v := range n.Inputs() {
		if v != nil && v.Const() == nil {
			l.border(border{n, i, -1}, v)
		}
	}
	for i, v := range n.Outputs() {
		if v != nil {
			l.border(border{n, -1, i}, v)
		}
	}
	for _, s := range n.Subgraphs() {
		l.captures(s)
	}
}

// parameters makes computed inputs that are no image, such as weights, channels first.
func (l *layout) parameters(n *onnx.Node) {
	images := []int{0}
	switch {
	case elementwise[n.Op] != nil:
		images = elementwise[n.Op]
	case n.Op == "Concat" || n.Op == "QLinearConcat":
		return // its other inputs are scalars
	}
	for i, v := range n.Inputs() {
		if v != nil && v.Const() == nil && !slices.Contains(images, i) {
			l.first[l.find(v)] = true
		}
	}
}

// either counts both ends of a convolution or global pool.
func (l *layout) either(n *onnx.Node) {
	for _, v := range []*onnx.Value{n.Input(0), n.Output(0)} {
		if l.turnable(v) {
			l.score[l.find(v)]++
		} else {
			l.first[l.find(v)] = true
		}
	}
}

// alike reports whether the parameters of n do not run along channels.
func (l *layout) alike(n *onnx.Node) bool {
	if n.Op == "QuantizeLinear" || n.Op == "DequantizeLinear" {
		t := rewrite.Const(n.Input(1))
		return t != nil && t.Len() == 1
	}
	return true
}

func concatOperands(n *onnx.Node) []*onnx.Value {
	vs := []*onnx.Value{n.Output(0)}
	if n.Op == "Concat" {
		return append(vs, n.Inputs()...)
	}
	for i := 2; i < len(n.Inputs()); i += 3 {
		vs = append(vs, n.Input(i))
	}
	return vs
}

// elementwise joins the operands: tensors of the result's rank, or constants that are one number or one a channel.
func (l *layout) elementwise(n *onnx.Node) bool {
	y := n.Output(0)
	vs := []*onnx.Value{y}
	for _, i := range elementwise[n.Op] {
		v := n.Input(i)
		if v == nil {
			return false
		}
		if v.Const() != nil {
			if _, ok := byChannel(v.Const(), rewrite.Rank(y)); !ok {
				return false
			}
			continue
		}
		vs = append(vs, v)
	}
	for _, v := range vs {
		if !l.turnable(v) || rewrite.Rank(v) != rewrite.Rank(y) {
			return false
		}
	}
	l.join(vs...)
	return true
}

// byChannel returns the dims under which a constant operand of channels-first tensors of that rank broadcasts to
// channels-last ones.
func byChannel(t *onnx.Tensor, rank int) ([]int64, bool) {
	if t.Len() == 1 {
		return t.Dims, true
	}
	for i, d := range t.Dims {
		if d != 1 && i != t.Rank()-(rank-1) {
			return nil, false
		}
	}
	return []int64{int64(t.Len())}, true
}

// border counts a place where channels must come first.
func (l *layout) border(b border, v *onnx.Value) {
	if !l.turnable(v) {
		l.first[l.find(v)] = true
		return
	}
	l.score[l.find(v)]--
	l.borders = append(l.borders, b)
}

// captures makes everything that graph s takes from outside channels first.
func (l *layout) captures(s *onnx.Graph) {
	for n := range s.AllNodes() {
		for _, v := range n.Inputs() {
			if v != nil {
				l.first[l.find(v)] = true
			}
		}
	}
	for _, v := range s.Outputs() {
		l.first[l.find(v)] = true
	}
}

func (l *layout) isLast(v *onnx.Value) bool {
	if v == nil || v.Const() != nil {
		return false
	}
	r := l.find(v)
	return !l.first[r] && l.score[r] > 0
}

func isToLast(perm []int64) bool {
	if len(perm) < 3 || perm[0] != 0 || perm[len(perm)-1] != 1 {
		return false
	}
	for i, p := range perm[1 : len(perm)-1] {
		if p != int64(i+2) {
			return false
		}
	}
	return true
}

// apply marks the values, turns attributes and constants, and puts turns at the borders.
func (l *layout) apply(g *onnx.Graph) {
	for n := range g.Nodes() {
		for _, v := range n.Outputs() {
			if l.isLast(v) {
				l.last[v] = true
			}
		}
	}
	first := map[*onnx.Node]bool{} // nodes that make channels first, whatever their takers get
	for _, b := range l.borders {
		first[b.node] = first[b.node] || b.input < 0
	}
	for n := range g.Nodes() {
		switch {
		case first[n]:
		case n.Op == "Concat" || n.Op == "QLinearConcat":
			if rank := int64(rewrite.Rank(n.Output(0))); l.isLast(n.Output(0)) {
				axis := n.Int("axis", 0)
				if axis < 0 {
					axis += rank
				}
				n.SetAttr(onnx.AttrI("axis", []int64{0, rank - 1, axis - 1}[min(axis, 2)]))
			}
		case elementwise[n.Op] != nil && l.isLast(n.Output(0)):
			for _, i := range elementwise[n.Op] {
				if t := n.Input(i).Const(); t != nil && t.Len() > 1 {
					dims, _ := byChannel(t, rewrite.Rank(n.Output(0)))
					n.SetInput(i, g.AddConst(n.Input(i).Name()+"/last", t.Reshaped(dims...)))
				}
			}
		case n.Is("Transpose") && l.isLast(n.Input(0)) && isToLast(n.Ints("perm")):
			become(n, "", "Identity", n.Name, nil, n.Input(0))
		}
	}
	turned := map[*onnx.Value]*onnx.Value{} // with channels first
	for _, b := range l.borders {
		if b.input >= 0 {
			v := b.node.Input(b.input)
			if !l.isLast(v) {
				continue
			}
			if turned[v] == nil {
				p, _ := v.Producer()
				turned[v] = g.InsertAfter(p, onnx.NodeSpec{
					Op: "ChannelsFirst", Domain: layoutDomain, Inputs: []*onnx.Value{v}, Outputs: []string{v.Name() + "/first"},
				}).Output(0)
			}
			b.node.SetInput(b.input, turned[v])
			continue
		}
		v := b.node.Output(b.output)
		if !l.isLast(v) {
			continue
		}
		// v stays what the node makes; its takers get the turned one, under v's class.
		delete(l.last, v)
		n := g.InsertAfter(b.node, onnx.NodeSpec{
			Op: "ChannelsLast", Domain: layoutDomain, Inputs: []*onnx.Value{v}, Outputs: []string{v.Name() + "/last"},
		})
		out := n.Output(0)
		out.Type = v.Type.Clone()
		for _, u := range slices.Clone(v.Uses()) {
			if u.Node != n {
				u.Node.SetInput(u.Index, out)
			}
		}
		l.root[out] = l.find(v) // borders behind it find the class of what they take
		l.last[out] = true
	}
}

// channelsLast reports whether the program holds v with its channels last.
func (b *builder) channelsLast(v *onnx.Value) bool { return b.last[v] }

func makeLayout(_ *builder, n *onnx.Node) (kernel, error) {
	toLast := n.Op == "ChannelsLast"
	var t turn
	return func(r *run) error {
		x := r.in(0)
		dims := r.lastDims(x.Dims, toLast)
		if !toLast {
			dims = r.firstDims(x.Dims, true)
		}
		t.run(r, r.out(0, x.Type, dims...), x, toLast)
		return nil
	}, nil
}

// turn changes the layout of a tensor of any element type.
type turn struct {
	bytes flip[uint8]
	words flip[uint16]
	longs flip[uint32]
}

func (t *turn) run(r *run, y, x *onnx.Tensor, toLast bool) {
	rank := len(x.Dims)
	batch, channels := int(x.Dims[0]), int(x.Dims[rank-1])
	if toLast {
		channels = int(x.Dims[1])
	}
	if x.Len() == 0 {
		return
	}
	rows, columns := x.Len()/batch/channels, channels
	if toLast {
		rows, columns = columns, rows
	}
	switch x.Type.Bits() {
	case 8:
		t.bytes.run(r, y.Bytes(), x.Bytes(), batch, rows, columns)
	case 16:
		t.words.run(r, elements[uint16](y), elements[uint16](x), batch, rows, columns)
	case 32:
		t.longs.run(r, elements[uint32](y), elements[uint32](x), batch, rows, columns)
	default:
		r.failf("turning channels of %s is %w", x.Type, ErrUnsupported)
	}
}

// elements views a tensor's bytes as elements of that size.
func elements[T uint16 | uint32](t *onnx.Tensor) []T {
	b := t.Bytes()
	var e T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(e)))
}

// turned returns a copy of t with its channels moved: to the end, or back to the second place.
func turned(t *onnx.Tensor, toLast bool) *onnx.Tensor {
	rank := t.Rank()
	dims := make([]int64, 0, rank)
	if toLast {
		dims = append(append(append(dims, t.Dims[0]), t.Dims[2:]...), t.Dims[1])
	} else {
		dims = append(append(append(dims, t.Dims[0]), t.Dims[rank-1]), t.Dims[1:rank-1]...)
	}
	y := onnx.Zeros(t.Type, dims...)
	if t.Len() == 0 {
		return y
	}
	batch, channels := int(t.Dims[0]), int(t.Dims[rank-1])
	if toLast {
		channels = int(t.Dims[1])
	}
	rows, columns := t.Len()/batch/channels, channels
	if toLast {
		rows, columns = columns, rows
	}
	transpose := turners[t.Type.Bits()]
	size := t.Type.Bits() / 8 * rows * columns
	for i := range batch {
		transpose(y.Bytes()[i*size:(i+1)*size], t.Bytes()[i*size:(i+1)*size], rows, columns)
	}
	return y
}

// turners transpose the bytes of [rows, columns] elements, by the bits of an element.
var turners = map[int]func(dst, src []byte, rows, columns int){
	8: transposeBytes[uint8], 16: transposeBytes[uint16], 32: transposeBytes[uint32], 64: transposeBytes[uint64],
}

func transposeBytes[E onnx.Elem](dst, src []byte, rows, columns int) {
	conv.Transpose(bytesAs[E](dst), bytesAs[E](src), rows, columns, 0, columns)
}
