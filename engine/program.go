package engine

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/zqonnx/zqonnx/onnx"
)

// Semantics says how quantized graphs are computed.
type Semantics int

const (
	// Literal runs each operator as the ONNX standard says.
	Literal Semantics = iota
	// Fused runs what an optimising runtime makes of the graph: integers end to end, one requantization, and one kernel for
	// chains of float operators, which may round otherwise than the chain.
	Fused
)

func (s Semantics) String() string {
	if s == Fused {
		return "fused"
	}
	return "literal"
}

// Options of Compile.
type Options struct {
	Semantics Semantics
	Threads   int      // workers; 0: one a core
	Keep      []string // tensors that must survive fusion so that they can be tapped or given
	MaxBytes  int64    // refuse to make a tensor larger than this; 0: 8 GiB
}

// A Program is a compiled graph. It runs one Run at a time; concurrent callers wait for each other.
type Program struct {
	opts    Options
	main    *block
	inputs  []port
	outputs []port
	named   map[string]int // slot by name, of all tensors; the main graph's win
	slots   []slotInfo
	consts  []*onnx.Tensor // by slot; nil where the slot is no constant
	buffers int
	steps   int   // in all blocks
	given   int64 // bytes of the initializers

	mu    sync.Mutex
	frame *frame
}

type port struct {
	name string
	slot int
	typ  *onnx.Type
}

// slotInfo says where a value lives. Slots whose lives do not overlap share a buffer; a buffer grows to what it must hold,
// so the plan needs no shapes.
type slotInfo struct {
	name   string
	buffer int  // -1: none planned (inputs, constants, outputs)
	fresh  bool // an output of the program: new memory in every run
	last   bool // the program holds it with channels last; the outside sees it with channels first
}

// A block is the program of one graph; subgraphs are blocks of the same frame, so that they see outer values by slot.
type block struct {
	steps   []*step
	inputs  []int
	outputs []int
}

type step struct {
	key    string // of the node, for errors and overrides
	op     string
	id     int
	run    kernel
	in     []int // slots; -1: left out
	out    []int
	uses   []int // slots that subgraphs inside take from outside
	inner  []int // slots that steps of subgraphs inside compute
	blocks []*block
	alike  bool // all inputs have one element type
	any    bool // inputs may be sequences or optionals
	r      run
}

// Compile builds the program of m's main graph. m itself is not changed.
func Compile(m *onnx.Model, o Options) (*Program, error) {
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 8 << 30
	}
	m, outputs, err := lower(m, o)
	if err != nil {
		return nil, err
	}
	last := chooseLayouts(m, outputs)
	p := &Program{opts: o, named: map[string]int{}}
	b := &builder{p: p, model: m, slots: map[*onnx.Value]int{}, last: last}
	if p.main, err = b.block(m.Graph); err != nil {
		return nil, err
	}
	for _, v := range m.Graph.Feeds() {
		p.inputs = append(p.inputs, port{v.Name(), b.slots[v], v.Type})
	}
	for _, v := range m.Graph.Outputs()[:outputs] {
		p.outputs = append(p.outputs, port{v.Name(), b.slots[v], v.Type})
	}
	p.plan()
	p.frame = newFrame(p)
	return p, nil
}

// Inputs returns the names of the feeds a run needs, in graph order.
func (p *Program) Inputs() []string { return names(p.inputs) }

// Outputs returns the names of the outputs, in graph order.
func (p *Program) Outputs() []string { return names(p.outputs) }

// Has reports whether a tensor of that name exists in the compiled program, so that it can be tapped or given.
func (p *Program) Has(name string) bool { _, ok := p.named[name]; return ok }

func names(ports []port) []string {
	s := make([]string, len(ports))
	for i, p := range ports {
		s[i] = p.name
	}
	return s
}

// builder compiles graphs to blocks.
type builder struct {
	p       *Program
	model   *onnx.Model
	slots   map[*onnx.Value]int
	last    map[*onnx.Value]bool // values with channels last
	current *step                // the step whose kernel is being made
	folder  *frame               // runs the steps of constants
}

func (b *builder) slot(v *onnx.Value) int {
	if v == nil {
		return -1
	}
	if s, ok := b.slots[v]; ok {
		return s
	}
	s := len(b.p.slots)
	b.slots[v] = s
	b.p.slots = append(b.p.slots, slotInfo{name: v.Name(), buffer: -1, last: b.last[v]})
	b.p.consts = append(b.p.consts, aligned(v.Const()))
	if _, ok := b.p.named[v.Name()]; !ok || v.Graph().Owner() == nil {
		b.p.named[v.Name()] = s
	}
	return s
}

// constant returns the tensor of an initializer or of a value folded at compile time; nil when v is computed at run time.
func (b *builder) constant(v *onnx.Value) *onnx.Tensor {
	if v == nil {
		return nil
	}
	return b.p.consts[b.slot(v)]
}

// opset returns the version of the node's domain.
func (b *builder) opset(n *onnx.Node) int64 { return b.model.Opset(n.Domain) }

// block compiles a graph: its nodes in order, each to a step; nodes of constants only are run here and now.
func (b *builder) block(g *onnx.Graph) (*block, error) {
	blk := &block{}
	for _, v := range g.Inputs() {
		blk.inputs = append(blk.inputs, b.slot(v))
	}
	for _, v := range g.Consts() {
		if err := v.Const().Load(); err != nil {
			return nil, fmt.Errorf("initializer %q: %w", v.Name(), err)
		}
		b.p.given += v.Const().Type.ByteSize(int64(v.Const().Len()))
		b.slot(v)
	}
	keys := g.Keys()
	for n := range g.Nodes() {
		s, err := b.step(n, keys[n])
		if err != nil {
			return nil, err
		}
		if b.folds(s, n) {
			folded, err := b.fold(s)
			if err != nil {
				return nil, err
			}
			if folded {
				continue
			}
		}
		blk.steps = append(blk.steps, s)
	}
	for _, v := range g.Outputs() {
		blk.outputs = append(blk.outputs, b.slot(v))
	}
	return blk, nil
}

func (b *builder) step(n *onnx.Node, key string) (*step, error) {
	fail := func(err error) error {
		return &NodeError{key, opName(n), err, onnx.ErrBadModel}
	}
	row, err := lookup(n, b.opset(n))
	if err != nil {
		return nil, fail(err)
	}
	if err := onnx.CheckOperands(n, b.opset(n)); err != nil {
		return nil, fail(err)
	}
	s := &step{key: key, op: n.Op, id: b.p.steps, alike: onnx.TakesOneType(n), any: n.Is(anyKind...)}
	b.p.steps++
	for _, v := range n.Inputs() {
		s.in = append(s.in, b.slot(v))
	}
	for _, v := range n.Outputs() {
		s.out = append(s.out, b.slot(v))
	}
	for _, g := range n.Subgraphs() {
		b.captures(g, g, func(v *onnx.Value) { s.uses = append(s.uses, b.slot(v)) })
	}
	outer := b.current
	b.current = s
	defer func() { b.current = outer }()
	if s.run, err = row.kernel(b, n); err != nil {
		return nil, fail(err)
	}
	return s, nil
}

// subgraph compiles the graph attribute of the node whose kernel is being made.
func (b *builder) subgraph(g *onnx.Graph) (*block, error) {
	s := b.current
	blk, err := b.block(g)
	if err != nil {
		return nil, err
	}
	s.blocks = append(s.blocks, blk)
	for _, t := range blk.steps {
		s.inner = append(append(s.inner, t.out...), t.inner...)
	}
	return blk, nil
}

// captures calls f for every value that g, or a graph inside it, takes from outside of root.
func (b *builder) captures(g, root *onnx.Graph, f func(*onnx.Value)) {
	visit := func(v *onnx.Value) {
		if v != nil && outside(v, root) {
			f(v)
		}
	}
	for n := range g.Nodes() {
		for _, v := range n.Inputs() {
			visit(v)
		}
		for _, s := range n.Subgraphs() {
			b.captures(s, root, f)
		}
	}
	for _, v := range g.Outputs() {
		visit(v)
	}
}

// outside reports whether v is defined outside g.
func outside(v *onnx.Value, g *onnx.Graph) bool {
	for d := v.Graph(); d != nil; d = d.Parent() {
		if d == g {
			return false
		}
	}
	return true
}

func opName(n *onnx.Node) string {
	if n.Domain == "" {
		return n.Op
	}
	return n.Domain + "." + n.Op
}

// folds reports whether the step depends on constants only.
func (b *builder) folds(s *step, n *onnx.Node) bool {
	if len(s.out) == 0 || slices.Contains(noFold, n.Op) {
		return false
	}
	for _, i := range slices.Concat(s.in, s.uses) {
		if i >= 0 && b.p.consts[i] == nil {
			return false
		}
	}
	// Sequences and optionals have no constant form.
	for _, v := range n.Outputs() {
		if v != nil && v.Type != nil && v.Type.Kind != onnx.KindTensor {
			return false
		}
	}
	return true
}

// anyKind names the operators that take more than tensors.
var anyKind = []string{
	"ConcatFromSequence", "Identity", "If", "Loop", "Optional", "OptionalGetElement", "OptionalHasElement", "Scan", "SequenceAt", "SequenceConstruct",
	"SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap",
}

// noFold names the operators that must not be run at compile time: they are random or make sequences.
var noFold = []string{
	"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli",
	"SequenceEmpty", "SequenceConstruct", "SplitToSequence", "Optional", "If", "Loop", "Scan", "SequenceMap",
}

// Constants are computed when the program is made unless they are so many times larger than what they are made of, and
// larger than foldedBytes: those of stored codes that are unpacked, and of tables, are not.
const (
	foldedGrowth = 8
	foldedBytes  = 16 << 20
)

// fold runs a step now and makes its outputs constants; it reports whether they are small enough to be kept.
func (b *builder) fold(s *step) (bool, error) {
	if b.folder == nil {
		b.folder = newFrame(b.p)
	}
	f := b.folder
	f.room = b.p.roomFor(nil)
	for i := len(f.values); i < len(b.p.slots); i++ {
		f.values = append(f.values, value{t: b.p.consts[i]})
		f.headers = append(f.headers, nil)
	}
	if err := f.step(s); err != nil {
		return false, &NodeError{s.key, s.op, err, onnx.ErrBadModel}
	}
	size := func(slots []int) (bytes int64) {
		for _, i := range slots {
			if i >= 0 && f.values[i].t != nil {
				bytes += f.values[i].t.Type.ByteSize(int64(f.values[i].t.Len()))
			}
		}
		return bytes
	}
	keep := size(s.out) <= max(foldedBytes, foldedGrowth*size(s.in))
	for _, o := range s.out {
		if o < 0 {
			continue
		}
		t := f.values[o].t
		if t == nil {
			return false, &NodeError{s.key, s.op, fmt.Errorf("it gives no tensor for output %q", b.p.slots[o].name), onnx.ErrBadModel}
		}
		f.headers[o] = nil
		if keep {
			b.p.consts[o] = t
		} else {
			f.values[o] = value{}
		}
	}
	return keep, nil
}
