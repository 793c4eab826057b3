package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

var loopOps = []op{
	{"", "Loop", 1, 0, makeLoop},
	{"", "Scan", 8, 8, makeScan},
	{"", "Scan", 9, 0, makeScan},
	{"", "SequenceMap", 17, 0, makeSequenceMap},
}

// Steps inside a body use the same scratch memory as everybody: these kernels keep what must outlive an iteration in memory
// of their own.

// carried holds the values that one iteration hands to the next.
type carried struct {
	values []value
	own    [2][]onnx.Tensor // an iteration reads one set while the other is filled
	side   int
}

// begin prepares for n values.
func (c *carried) begin(n int) {
	c.values = grown(c.values, n)
	for s := range c.own {
		if len(c.own[s]) < n {
			c.own[s] = make([]onnx.Tensor, n)
		}
	}
}

// put copies value i to the side that the next iteration reads.
func (c *carried) put(i int, v value) {
	if v.t != nil {
		own := &c.own[1-c.side][i]
		own.Resize(v.t.Type, v.t.Dims...)
		copy(own.Bytes(), v.t.Bytes())
		copy(own.Strings(), v.t.Strings())
		v.t = own
	}
	c.values[i] = v
}

func (c *carried) swap() { c.side = 1 - c.side }

// valueIn returns what input i holds, a tensor or a sequence, as the kernel sees it.
func (r *run) valueIn(i int) value {
	slot := r.s.in[i]
	if slot < 0 {
		return value{}
	}
	v := r.f.values[slot]
	if t := r.in(i); t != nil {
		v.t = t // it may be overridden
	}
	return v
}

// give makes a value output i.
func (r *run) give(i int, v value) {
	switch {
	case !r.wants(i):
	case v.t == nil || v.isSeq:
		r.f.values[r.s.out[i]] = v
	default:
		y := r.out(i, v.t.Type, v.t.Dims...)
		copy(y.Bytes(), v.t.Bytes())
		copy(y.Strings(), v.t.Strings())
	}
}

// stack collects a tensor of each iteration.
type stack struct {
	dt      onnx.DataType
	dims    []int64 // of one
	count   int64
	bytes   []byte
	strings [][]byte
	m       mover
}

func (s *stack) begin(t *onnx.Type) {
	s.dt, s.dims, s.count, s.bytes, s.strings = onnx.Float32, s.dims[:0], 0, s.bytes[:0], s.strings[:0]
	if t != nil && t.Kind == onnx.KindTensor { // what a body that never runs would give
		s.dt = t.Elem
		for _, d := range t.Shape {
			s.dims = append(s.dims, max(d.Size, 0))
		}
	}
}

func (s *stack) push(r *run, t *onnx.Tensor) {
	if t == nil {
		r.failf("an iteration gives no tensor to stack")
	}
	if s.count == 0 {
		s.dt, s.dims = t.Type, append(s.dims[:0], t.Dims...)
	}
	if t.Type != s.dt || !slices.Equal(t.Dims, s.dims) || t.Type.Bits() < 8 && t.Type != onnx.String {
		r.failf("iteration %d gives %s%v, those before it %s%v", s.count, t.Type, slices.Clone(t.Dims), s.dt, slices.Clone(s.dims))
	}
	if int64(len(s.bytes))+int64(len(t.Bytes())) > r.f.p.opts.MaxBytes {
		r.failf("the iterations' outputs exceed the limit of %d MB", r.f.p.opts.MaxBytes>>20)
	}
	s.count++
	s.bytes = append(s.bytes, t.Bytes()...)
	s.strings = append(s.strings, t.Strings()...)
}

// finish gives the tensors, stacked along a new axis, to output i.
func (s *stack) finish(r *run, i int, axisAt int64, reverse bool) {
	if !r.wants(i) {
		return
	}
	axis := r.axisOf(axisAt, len(s.dims)+1)
	dims := slices.Insert(slices.Clone(s.dims), axis, s.count)
	y := r.out(i, s.dt, dims...)
	var x *onnx.Tensor
	if s.dt == onnx.String {
		x = onnx.NewStrings([]int64{int64(len(s.strings))}, s.strings)
	} else {
		x = onnx.New(s.dt, []int64{int64(y.Len())}, s.bytes)
	}
	outer, inner := product(s.dims[:axis]), product(s.dims[axis:])
	k := int(s.count)
	s.m.Reset()
	step := outer * inner
	if reverse {
		s.m.SrcAt, step = (k-1)*step, -step
	}
	s.m.Add(outer, k*inner, inner)
	s.m.Add(k, inner, step)
	s.m.Add(inner, 1, 1)
	s.m.run(r, y, x)
}

// body compiles the attribute body.
func (b *builder) body(n *onnx.Node) (*block, *onnx.Graph, error) {
	a := n.Attr("body")
	if a == nil || a.Graph == nil {
		return nil, nil, fmt.Errorf(`attribute "body" is missing: %w`, onnx.ErrBadModel)
	}
	blk, err := b.subgraph(a.Graph)
	return blk, a.Graph, err
}

// makeLoop has inputs M and cond, both optional, and the carried values; the body takes the iteration's number, cond and
// the carried values, and gives cond, the carried values and tensors to stack.
func makeLoop(b *builder, n *onnx.Node) (kernel, error) {
	blk, g, err := b.body(n)
	if err != nil {
		return nil, err
	}
	states := len(n.Inputs()) - 2
	stacks := make([]stack, max(len(blk.outputs)-1-states, 0))
	if states < 0 || len(blk.inputs) != states+2 || len(blk.outputs) < states+1 || len(n.Outputs()) > len(blk.outputs)-1 {
		return nil, fmt.Errorf("the body has %d inputs and %d outputs for %d inputs and %d outputs of the node: %w",
			len(blk.inputs), len(blk.outputs), len(n.Inputs()), len(n.Outputs()), onnx.ErrBadModel)
	}
	var c carried
	number, going := []int64{0}, []bool{true}
	tNumber, tGoing := onnx.Of(number), onnx.Of(going)
	tNumber.Dims, tGoing.Dims = []int64{}, []int64{}
	return func(r *run) error {
		limit := r.ints(0)
		if len(limit) > 1 || limit == nil && r.in(1) == nil {
			return fmt.Errorf("a loop without trip count and condition never ends: %w", onnx.ErrBadModel)
		}
		asks := r.in(1) != nil
		going[0] = true
		if asks {
			going[0] = oneBool(r, r.in(1))
		}
		c.begin(states)
		for i := range states {
			c.put(i, r.valueIn(2+i))
		}
		c.swap()
		for i := range stacks {
			stacks[i].begin(g.Outputs()[1+states+i].Type)
		}
		values := r.f.values
		for k := int64(0); going[0] && (limit == nil || k < limit[0]); k++ {
			number[0] = k
			values[blk.inputs[0]], values[blk.inputs[1]] = value{t: tNumber}, value{t: tGoing}
			for i, v := range c.values {
				values[blk.inputs[2+i]] = v
			}
			if err := r.block(blk); err != nil {
				return err
			}
			for i := range states {
				c.put(i, values[blk.outputs[1+i]])
			}
			for i := range stacks {
				stacks[i].push(r, values[blk.outputs[1+states+i]].t)
			}
			if asks {
				going[0] = oneBool(r, values[blk.outputs[0]].t)
			}
			c.swap()
		}
		for i, v := range c.values {
			r.give(i, v)
		}
		for i := range stacks {
			stacks[i].finish(r, states+i, 0, false)
		}
		return nil
	}, nil
}

func oneBool(r *run, t *onnx.Tensor) bool {
	if t == nil || t.Type != onnx.Bool || t.Len() != 1 {
		r.failf("the condition must be one bool")
	}
	return onnx.Data[bool](t)[0]
}

// scanRun is a Scan kernel. In opset 8 all values have a batch dimension in front, and input 0 may give lengths.
type scanRun struct {
	blk         *block
	g           *onnx.Graph
	states      int
	inAxes      []int64
	inReverse   []int64
	outAxes     []int64
	outReverse  []int64
	first       int // input of the first state
	batched     bool
	c           carried
	stacks      []stack
	slices      []onnx.Tensor
	m           mover
	wholeStates []stack // of all batches
	wholeStacks []stack
}

func makeScan(b *builder, n *onnx.Node) (kernel, error) {
	blk, g, err := b.body(n)
	if err != nil {
		return nil, err
	}
	s := &scanRun{blk: blk, g: g, batched: b.opset(n) < 9}
	scanned := int(n.Int("num_scan_inputs", 0))
	if s.batched {
		s.first = 1
		s.inReverse = n.Ints("directions")
	} else {
		s.inAxes, s.inReverse = n.Ints("scan_input_axes"), n.Ints("scan_input_directions")
		s.outAxes, s.outReverse = n.Ints("scan_output_axes"), n.Ints("scan_output_directions")
	}
	s.states = len(n.Inputs()) - s.first - scanned
	outs := len(blk.outputs) - s.states
	if scanned < 1 || s.states < 0 || len(blk.inputs) != s.states+scanned || outs < 0 || len(n.Outputs()) > len(blk.outputs) {
		return nil, fmt.Errorf("the body has %d inputs and %d outputs for %d inputs, %d of them scanned: %w",
			len(blk.inputs), len(blk.outputs), len(n.Inputs()), scanned, onnx.ErrBadModel)
	}
	for _, l := range [][]int64{s.inAxes, s.inReverse} {
		if l != nil && len(l) != scanned {
			return nil, fmt.Errorf("%d axes or directions for %d scanned inputs: %w", len(l), scanned, onnx.ErrBadModel)
		}
	}
	for _, l := range [][]int64{s.outAxes, s.outReverse} {
		if l != nil && len(l) != outs {
			return nil, fmt.Errorf("%d axes or directions for %d stacked outputs: %w", len(l), outs, onnx.ErrBadModel)
		}
	}
	s.stacks, s.slices = make([]stack, outs), make([]onnx.Tensor, scanned)
	s.wholeStates, s.wholeStacks = make([]stack, s.states), make([]stack, outs)
	if s.batched {
		return s.batches, nil
	}
	return func(r *run) error {
		states, inputs := make([]value, s.states), make([]*onnx.Tensor, scanned)
		for i := range states {
			states[i] = r.valueIn(i)
		}
		for i := range inputs {
			if inputs[i] = r.in(s.states + i); inputs[i] == nil {
				return fmt.Errorf("scanned input %d is missing: %w", i, onnx.ErrBadModel)
			}
		}
		if err := s.scan(r, states, inputs, -1); err != nil {
			return err
		}
		for i, v := range s.c.values {
			r.give(i, v)
		}
		for i := range s.stacks {
			s.stacks[i].finish(r, s.states+i, at(s.outAxes, i), at(s.outReverse, i) != 0)
		}
		return nil
	}, nil
}

// at returns element i of a list that may be left out.
func at(l []int64, i int) int64 {
	if l == nil {
		return 0
	}
	return l[i]
}

// scan runs the body on every slice of the inputs; length limits their number if it is not negative.
func (s *scanRun) scan(r *run, states []value, inputs []*onnx.Tensor, length int64) error {
	s.c.begin(s.states)
	for i, v := range states {
		s.c.put(i, v)
	}
	s.c.swap()
	for i := range s.stacks {
		s.stacks[i].begin(s.g.Outputs()[s.states+i].Type)
	}
	for i, x := range inputs {
		d := x.Dims[r.axisOf(at(s.inAxes, i), x.Rank())]
		if length < 0 {
			length = d
		}
		if d < length || !s.batched && d != length {
			return fmt.Errorf("scanned inputs have %d and %d slices", length, d)
		}
	}
	values := r.f.values
	for k := range length {
		for i, v := range s.c.values {
			values[s.blk.inputs[i]] = v
		}
		for i, x := range inputs {
			j := k
			if at(s.inReverse, i) != 0 {
				j = length - 1 - k
			}
			s.slice(r, i, x, r.axisOf(at(s.inAxes, i), x.Rank()), int(j))
			values[s.blk.inputs[s.states+i]] = value{t: &s.slices[i]}
		}
		if err := r.block(s.blk); err != nil {
			return err
		}
		for i := range s.states {
			s.c.put(i, values[s.blk.outputs[i]])
		}
		for i := range s.stacks {
			s.stacks[i].push(r, values[s.blk.outputs[s.states+i]].t)
		}
		s.c.swap()
	}
	return nil
}

// slice copies slice j of x along the axis.
func (s *scanRun) slice(r *run, i int, x *onnx.Tensor, axis, j int) {
	t := &s.slices[i]
	t.Resize(x.Type, append(slices.Clone(x.Dims[:axis]), x.Dims[axis+1:]...)...)
	outer, d, inner := product(x.Dims[:axis]), int(x.Dims[axis]), product(x.Dims[axis+1:])
	s.m.Reset()
	s.m.SrcAt = j * inner
	s.m.Add(outer, inner, d*inner)
	s.m.Add(inner, 1, 1)
	s.m.run(r, t, x)
}

// batches is Scan of opset 8: it scans each batch by itself.
func (s *scanRun) batches(r *run) error {
	lengths := r.ints(0)
	count := int64(-1)
	for _, t := range r.inputs[1:] {
		if t == nil || t.Rank() < 1 || count >= 0 && t.Dims[0] != count {
			return fmt.Errorf("inputs without a common batch: %w", onnx.ErrBadModel)
		}
		count = t.Dims[0]
	}
	if lengths != nil && len(lengths) != int(count) {
		return fmt.Errorf("%d sequence lengths for a batch of %d: %w", len(lengths), count, onnx.ErrBadModel)
	}
	for i := range s.wholeStates {
		s.wholeStates[i].begin(nil)
	}
	for i := range s.wholeStacks {
		s.wholeStacks[i].begin(nil)
	}
	var part scanRun // slices of the batch
	part.slices = make([]onnx.Tensor, len(r.inputs)-1)
	for b := range int(count) {
		states, inputs := make([]value, s.states), make([]*onnx.Tensor, len(s.slices))
		for i, x := range r.inputs[1:] {
			part.slice(r, i, x, 0, b)
			if i < s.states {
				states[i].t = &part.slices[i]
			} else {
				inputs[i-s.states] = &part.slices[i]
			}
		}
		length := int64(-1)
		if lengths != nil {
			length = lengths[b]
		}
		if err := s.scan(r, states, inputs, length); err != nil {
			return err
		}
		for i, v := range s.c.values {
			s.wholeStates[i].push(r, v.t)
		}
		for i := range s.stacks {
			k := &s.stacks[i]
			s.wholeStacks[i].push(r, onnx.New(k.dt, slices.Insert(slices.Clone(k.dims), 0, k.count), k.bytes))
		}
	}
	for i := range s.wholeStates {
		s.wholeStates[i].finish(r, i, 0, false)
	}
	for i := range s.wholeStacks {
		s.wholeStacks[i].finish(r, s.states+i, 0, false)
	}
	return nil
}

// makeSequenceMap runs the body on the elements of sequences; inputs behind the first may be tensors, the same for all.
func makeSequenceMap(b *builder, n *onnx.Node) (kernel, error) {
	blk, _, err := b.body(n)
	if err != nil {
		return nil, err
	}
	if len(blk.inputs) != len(n.Inputs()) || len(n.Outputs()) > len(blk.outputs) {
		return nil, fmt.Errorf("the body has %d inputs for %d: %w", len(blk.inputs), len(n.Inputs()), onnx.ErrBadModel)
	}
	return func(r *run) error {
		first := r.sequence(0)
		results := make([][]*onnx.Tensor, len(blk.outputs))
		for k := range first {
			for i, slot := range blk.inputs {
				v := r.valueIn(i)
				if v.isSeq {
					if len(v.seq) != len(first) {
						return fmt.Errorf("sequences of %d and %d elements", len(first), len(v.seq))
					}
					v = value{t: v.seq[k]}
				}
				r.f.values[slot] = v
			}
			if err := r.block(blk); err != nil {
				return err
			}
			for i, slot := range blk.outputs {
				t := r.f.values[slot].t
				if t == nil {
					return fmt.Errorf("the body gives no tensor: %w", onnx.ErrBadModel)
				}
				results[i] = append(results[i], t.Clone())
			}
		}
		for i, s := range results {
			r.giveSequence(i, s)
		}
		return nil
	}, nil
}
