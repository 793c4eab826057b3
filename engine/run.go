package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// An Edge is a place where a node takes a value.
type Edge struct {
	Node  string // key of the node in the compiled model
	Input int
}

// RunOptions of Program.Run; nil means none.
type RunOptions struct {
	// Tap is called for the named tensors as soon as they are there. The tensor is valid only during the call.
	Tap map[string]func(*onnx.Tensor)
	// Known gives tensors instead of computing them. Nodes that only they need are not run.
	Known map[string]*onnx.Tensor
	// Override replaces what one node sees at one input: the function gets the tensor and returns another.
	Override map[Edge]func(*onnx.Tensor) *onnx.Tensor
	// Outputs are the tensors to return, any tensors of the main graph; nil: the graph's outputs. Tapped tensors are computed too.
	Outputs []string
	// Threads limits the workers of this run; 0: those of the program.
	Threads int
	// MaxSteps ends the run with an error that wraps ErrUnsupported when it has run so many nodes: how often a loop runs may be
	// any number in a file. 0: no limit.
	MaxSteps int
	// Record keeps the tensors that the run computes in the main graph.
	Record *Snapshot
	// Resume starts from the tensors of an earlier run with the same feeds: only what lies behind an overridden edge is run.
	Resume *Snapshot
}

// A Snapshot keeps the tensors of a run, so that later runs compute only what an Override changes.
type Snapshot struct {
	MaxBytes int64 // tensors beyond it are not kept, but computed again where they are needed; 0: no limit

	bytes  int64          // kept
	seen   int64          // kept or not
	values []*onnx.Tensor // by slot
}

// Seen returns the bytes of all tensors that the recorded run computed in the main graph.
func (k *Snapshot) Seen() int64 { return k.seen }

// keep takes a copy of a tensor, if it fits.
func (k *Snapshot) keep(slot int, t *onnx.Tensor) {
	size := t.Type.ByteSize(int64(t.Len()))
	k.seen += size
	if k.MaxBytes > 0 && k.bytes+size > k.MaxBytes {
		return
	}
	k.bytes += size
	k.values[slot] = t.Clone()
}

// resume takes over the snapshot's tensors, but for those behind an overridden edge.
func (f *frame) resume(k *Snapshot) {
	for slot, t := range k.values {
		if t != nil && f.values[slot].t == nil {
			f.values[slot].t = t
		}
	}
	stale := make([]bool, len(f.p.slots))
	overridden := map[string]bool{}
	for e := range f.opts.Override {
		overridden[e.Node] = true
	}
	isStale := func(slot int) bool { return slot >= 0 && stale[slot] }
	for _, s := range f.p.main.steps {
		if !overridden[s.key] && !s.holds(overridden) && !slices.ContainsFunc(s.in, isStale) && !slices.ContainsFunc(s.uses, isStale) {
			continue
		}
		for _, o := range s.out {
			if o >= 0 {
				stale[o] = true
				f.values[o] = value{}
			}
		}
	}
}

// holds reports whether a step of a subgraph inside s has one of the keys.
func (s *step) holds(keys map[string]bool) bool {
	for _, b := range s.blocks {
		for _, inner := range b.steps {
			if keys[inner.key] || inner.holds(keys) {
				return true
			}
		}
	}
	return false
}

// Run computes the outputs for the feeds, one tensor for each input name. The outputs are new tensors.
func (p *Program) Run(ctx context.Context, feeds map[string]*onnx.Tensor, o *RunOptions) (map[string]*onnx.Tensor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o == nil {
		o = &RunOptions{}
	}
	f := p.frame
	if err := f.begin(ctx, feeds, o); err != nil {
		return nil, err
	}
	wanted := o.Outputs
	if wanted == nil {
		wanted = p.Outputs()
	}
	need, err := f.need(wanted)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*onnx.Tensor, len(wanted))
	f.keep = map[int]string{}
	f.out = out
	for _, name := range wanted {
		s := p.named[name]
		if v := f.values[s].t; v != nil {
			out[name] = f.outward(s, v).Clone()
		} else if !p.slots[s].fresh {
			f.keep[s] = name // its buffer is used again: copied as soon as it is there
		}
	}
	if err := f.exec(p.main, need); err != nil {
		return nil, err
	}
	for _, name := range wanted {
		if out[name] != nil {
			continue
		}
		v := f.values[p.named[name]]
		if v.t == nil {
			return nil, fmt.Errorf("output %q is no tensor: %w", name, ErrUnsupported)
		}
		t := f.outward(p.named[name], v.t)
		out[name] = t.Reshaped(slices.Clone(t.Dims)...) // an own header over the run's fresh memory
	}
	return out, nil
}

// value is what a slot holds in a run: a tensor, a sequence of tensors, or an optional without value.
type value struct {
	t     *onnx.Tensor
	seq   []*onnx.Tensor
	isSeq bool
}

// frame is the memory of a run, kept for the next.
type frame struct {
	p       *Program
	ctx     context.Context
	feeds   map[string]*onnx.Tensor
	opts    *RunOptions
	values  []value
	headers []*onnx.Tensor // by slot, kept so that runs allocate none
	buffers [][]byte
	scratch []uint64
	room    int64 // bytes that a run may take
	kept    int64 // bytes of buffers and scratch, which the next run takes again
	fresh   int64 // bytes of other tensors that the run made
	steps   int   // run so far
	dims    []int64
	job     job
	taps    map[int]func(*onnx.Tensor)
	keep    map[int]string // slots to copy to out as soon as they are there
	out     map[string]*onnx.Tensor
}

func newFrame(p *Program) *frame {
	f := &frame{
		p: p, ctx: context.Background(), opts: &RunOptions{}, values: make([]value, len(p.slots)),
		headers: make([]*onnx.Tensor, len(p.slots)), buffers: make([][]byte, p.buffers),
	}
	f.job.threads = p.opts.Threads
	for i, c := range p.consts {
		f.values[i].t = c
	}
	return f
}

// begin puts constants, known tensors and feeds in their slots.
func (f *frame) begin(ctx context.Context, feeds map[string]*onnx.Tensor, o *RunOptions) error {
	p := f.p
	f.ctx, f.feeds, f.opts, f.taps, f.keep, f.out = ctx, feeds, o, nil, nil, nil
	f.room, f.fresh, f.steps = p.roomFor(feeds), 0, 0
	f.job.threads = p.opts.Threads
	if o.Threads > 0 {
		f.job.threads = min(o.Threads, p.opts.Threads)
	}
	for i, c := range p.consts {
		f.values[i] = value{t: c}
	}
	for _, in := range p.inputs {
		if t := feeds[in.name]; t != nil {
			if err := in.accepts(t); err != nil {
				return err
			}
			f.values[in.slot].t = aligned(t)
		}
	}
	for name, t := range o.Known {
		s, ok := p.named[name]
		if !ok {
			return fmt.Errorf("%w: the graph has no tensor %q to give", ErrInput, name)
		}
		f.values[s].t = f.inward(s, aligned(t))
	}
	if o.Record != nil {
		*o.Record = Snapshot{MaxBytes: o.Record.MaxBytes, values: make([]*onnx.Tensor, len(p.slots))}
	}
	if o.Resume != nil {
		f.resume(o.Resume)
	}
	for name, tap := range o.Tap {
		s, ok := p.named[name]
		if !ok {
			return fmt.Errorf("%w: the graph has no tensor %q to tap", ErrInput, name)
		}
		if f.taps == nil {
			f.taps = map[int]func(*onnx.Tensor){}
		}
		f.taps[s] = tap
		if t := f.values[s].t; t != nil {
			tap(f.outward(s, t))
		}
	}
	return nil
}

// accepts checks element type and rank. Fixed dimensions are not enforced: a model exported for batch 1 runs at any
// batch its operators allow.
func (in port) accepts(t *onnx.Tensor) error {
	if in.typ == nil || in.typ.Kind != onnx.KindTensor {
		return nil
	}
	if in.typ.Elem != t.Type {
		return fmt.Errorf("%w: input %q is %s, the model wants %s", ErrInput, in.name, t.Type, in.typ.Elem)
	}
	if in.typ.Shape != nil && len(in.typ.Shape) != len(t.Dims) {
		return fmt.Errorf("%w: input %q has shape %v, the model wants %s", ErrInput, in.name, t.Dims, in.typ)
	}
	return nil
}

// need says which steps of the main block must run; nil: all.
func (f *frame) need(wanted []string) ([]bool, error) {
	p := f.p
	partial := len(f.opts.Known) > 0 || f.opts.Outputs != nil || f.opts.Resume != nil
	want := make(map[int]bool)
	add := func(s int) {
		if s >= 0 && f.values[s].t == nil {
			want[s] = true
		}
	}
	if !partial {
		for _, in := range p.inputs {
			if f.values[in.slot].t == nil {
				return nil, fmt.Errorf("%w: input %q is missing", ErrInput, in.name)
			}
		}
		return nil, nil
	}
	for _, name := range wanted {
		s, ok := p.named[name]
		if !ok {
			return nil, fmt.Errorf("%w: the graph has no tensor %q", ErrInput, name)
		}
		add(s)
	}
	for s := range f.taps {
		add(s)
	}
	need := make([]bool, p.steps)
	for i := len(p.main.steps) - 1; i >= 0; i-- {
		s := p.main.steps[i]
		wanted := func(o int) bool { return want[o] }
		if !slices.ContainsFunc(s.out, wanted) && !slices.ContainsFunc(s.inner, wanted) {
			continue
		}
		need[s.id] = true
		for _, in := range s.in {
			add(in)
		}
		for _, in := range s.uses {
			add(in)
		}
	}
	for _, in := range p.inputs {
		if want[in.slot] {
			return nil, fmt.Errorf("%w: input %q is missing", ErrInput, in.name)
		}
	}
	return need, nil
}

// exec runs the steps of a block; need, by step id, leaves some out.
func (f *frame) exec(b *block, need []bool) error {
	for _, s := range b.steps {
		if need != nil && b == f.p.main && !need[s.id] {
			continue
		}
		if err := f.ctx.Err(); err != nil {
			return err
		}
		if f.opts.Known != nil && f.allKnown(s) {
			continue
		}
		if f.steps++; f.opts.MaxSteps > 0 && f.steps > f.opts.MaxSteps {
			return fmt.Errorf("a run of more than %d nodes, loops included, is %w", f.opts.MaxSteps, ErrUnsupported)
		}
		if err := f.step(s); err != nil {
			return &NodeError{s.key, s.op, err, f.p.blame(f.feeds)}
		}
		for _, o := range s.out {
			if o < 0 {
				continue
			}
			t := f.values[o].t
			if f.opts.Record != nil && b == f.p.main && t != nil {
				f.opts.Record.keep(o, t)
			}
			if name, ok := f.keep[o]; ok && t != nil {
				f.out[name] = f.outward(o, t).Clone()
			}
			if tap := f.taps[o]; tap != nil && t != nil {
				tap(f.outward(o, t))
			}
		}
	}
	return nil
}

// outward returns t, the value of slot, as the outside sees it.
func (f *frame) outward(slot int, t *onnx.Tensor) *onnx.Tensor {
	if f.p.slots[slot].last && t.Rank() > 2 {
		return turned(t, false)
	}
	return t
}

// inward is the inverse of outward.
func (f *frame) inward(slot int, t *onnx.Tensor) *onnx.Tensor {
	if f.p.slots[slot].last && t.Rank() > 2 {
		return turned(t, true)
	}
	return t
}

func (f *frame) allKnown(s *step) bool {
	for _, o := range s.out {
		if o >= 0 && f.opts.Known[f.p.slots[o].name] == nil {
			return false
		}
	}
	return true
}

func (f *frame) step(s *step) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = recovered(p)
		}
	}()
	r := &s.r
	r.f, r.s, r.used, r.dimsUsed, r.wide = f, s, 0, 0, nil
	r.inputs = r.inputs[:0]
	for i, slot := range s.in {
		var t *onnx.Tensor
		if slot >= 0 {
			t = f.values[slot].t
			if t == nil && !s.any {
				return fmt.Errorf("input %d is no tensor: %w", i, onnx.ErrBadModel)
			}
			if t != nil && len(f.opts.Override) > 0 {
				if over := f.opts.Override[Edge{s.key, i}]; over != nil {
					t = f.inward(slot, over(f.outward(slot, t)))
				}
			}
		}
		r.inputs = append(r.inputs, t)
	}
	if s.alike {
		for i, t := range r.inputs {
			if t != nil && r.inputs[0] != nil && t.Type != r.inputs[0].Type {
				return fmt.Errorf("input %d is %s, input 0 is %s: the operator takes one type: %w", i, t.Type, r.inputs[0].Type, onnx.ErrBadModel)
			}
		}
	}
	return s.run(r)
}

// kernel runs one node. It may keep state between runs in the variables its maker captured: a program runs one run at a time.
type kernel func(r *run) error

// maker makes the kernel of a node: it reads attributes and constants, and prepacks weights.
type maker func(b *builder, n *onnx.Node) (kernel, error)

// run is what a kernel sees of a run.
type run struct {
	f        *frame
	s        *step
	inputs   []*onnx.Tensor
	used     int // words of scratch given out
	dimsUsed int
	wide     *widening // set while a float32 kernel runs on half precision
}

// in returns input i; nil when it is left out.
func (r *run) in(i int) *onnx.Tensor {
	if i >= len(r.inputs) {
		return nil
	}
	return r.inputs[i]
}

// wants reports whether output i is there.
func (r *run) wants(i int) bool { return i < len(r.s.out) && r.s.out[i] >= 0 }

// out makes output i with undefined contents. For an output left out it returns a scratch tensor.
func (r *run) out(i int, dt onnx.DataType, dims ...int64) *onnx.Tensor {
	r.check(dt, dims)
	if r.wide != nil && i < len(r.wide.out) && dt == onnx.Float32 {
		return r.wide.output(r, i, dims)
	}
	if !r.wants(i) {
		r.fits(dt.ByteSize(onnx.NumElements(dims)))
		return onnx.Zeros(dt, slices.Clone(dims)...)
	}
	f, slot := r.f, r.s.out[i]
	info := &f.p.slots[slot]
	if info.buffer < 0 || dt == onnx.String {
		var t *onnx.Tensor
		if dt == onnx.String {
			r.fits(stringHeader * onnx.NumElements(dims))
			t = onnx.NewStrings(slices.Clone(dims), make([][]byte, onnx.NumElements(dims)))
		} else {
			n := dt.ByteSize(onnx.NumElements(dims))
			r.fits(n)
			f.fresh += n
			t = onnx.Zeros(dt, slices.Clone(dims)...)
		}
		f.values[slot] = value{t: t}
		return t
	}
	t := f.header(slot)
	n := dt.ByteSize(onnx.NumElements(dims))
	if have := int64(cap(f.buffers[info.buffer])); have < n {
		r.fits(n - have)
		f.kept += n - have
		f.buffers[info.buffer] = onnx.Zeros(onnx.Uint8, n).Bytes()
	}
	t.Bind(dt, f.buffers[info.buffer][:n], dims...)
	f.values[slot] = value{t: t}
	return t
}

func (f *frame) header(slot int) *onnx.Tensor {
	if f.headers[slot] == nil {
		f.headers[slot] = new(onnx.Tensor)
	}
	return f.headers[slot]
}

// check refuses impossible and unreasonable sizes.
func (r *run) check(dt onnx.DataType, dims []int64) {
	n := max(int64(dt.Bits()), 8)
	for _, d := range dims {
		if d < 0 {
			r.failf("output would have the impossible shape %v", slices.Clone(dims))
		}
		if d > 0 && n > r.f.p.opts.MaxBytes*8/d {
			r.failf("output of shape %v would exceed the limit of %d MB: this is %w", slices.Clone(dims), r.f.p.opts.MaxBytes>>20, ErrUnsupported)
		}
		n *= d
	}
}

const (
	// leastRoom is the memory that every run may take.
	leastRoom = 128 << 20
	// growth is how many times larger than its constants and feeds what a model computes may be: a few bytes must not fill
	// the machine's memory. Attention over many positions comes to some hundreds.
	growth = 1024
	// stringHeader is the size of an empty string.
	stringHeader = 24
)

// roomFor returns the bytes that a run with these feeds may take.
func (p *Program) roomFor(feeds map[string]*onnx.Tensor) int64 {
	given := p.given
	for _, t := range feeds {
		given += t.Type.ByteSize(int64(t.Len()))
	}
	return min(max(leastRoom, growth*min(given, 1<<40)), 2*p.opts.MaxBytes)
}

// fits refuses n bytes more than the run may take.
func (r *run) fits(n int64) {
	if f := r.f; f.kept+f.fresh+n > f.room {
		r.failf("with %d MB more the tensors would take more than %d MB: this is %w", n>>20, f.room>>20, ErrUnsupported)
	}
}

// alias makes output i the bytes of input j under other dims (the operator's row in aliases says so to the planner).
func (r *run) alias(i, j int, dims ...int64) {
	in := r.in(j)
	if !r.wants(i) {
		return
	}
	slot := r.s.out[i]
	if in.Type == onnx.String {
		r.f.values[slot] = value{t: onnx.NewStrings(slices.Clone(dims), in.Strings())}
		return
	}
	t := r.f.header(slot)
	t.Bind(in.Type, in.Bytes(), dims...)
	r.f.values[slot] = value{t: t}
}

// set gives output i a tensor the kernel made itself.
func (r *run) set(i int, t *onnx.Tensor) {
	if r.wants(i) {
		r.f.values[r.s.out[i]] = value{t: t}
	}
}

// failf ends the kernel with an error.
func (r *run) failf(format string, args ...any) { panic(errKernel{fmt.Errorf(format, args...)}) }

// par calls body on ranges of at least grain items that cover 0 … n-1. For no allocation in steady runs, body must be a
// variable made once by the maker, not a closure made by the kernel.
func (r *run) par(n, grain int, body func(lo, hi int)) { r.f.job.doRange(n, grain, body) }

// each calls body(0) … body(n-1) in parallel.
func (r *run) each(n int, body func(i int)) { r.f.job.Do(n, body) }

// threads returns how many workers par and each may use.
func (r *run) threads() int { return r.f.job.threads }

// words returns n 8-byte words with undefined contents that are the kernel's until it returns.
func (r *run) words(n int) []uint64 {
	f := r.f
	if r.used+n > len(f.scratch) {
		n := max(2*len(f.scratch), n)
		more := int64(8 * (n - len(f.scratch)))
		r.fits(more)
		f.kept += more
		f.scratch = make([]uint64, n) // earlier pieces stay alive in the old array
		r.used = 0
	}
	w := f.scratch[r.used : r.used+n : r.used+n]
	r.used += n
	return w
}

// scratch returns n elements with undefined contents that are the kernel's until it returns.
func scratch[E onnx.Elem](r *run, n int) []E {
	return wordsAs[E](r.words((n*sizeOf[E]()+7)/8), n)
}

// shape returns k dims of scratch that are the kernel's until it returns.
func (r *run) shape(k int) []int64 {
	f := r.f
	if r.dimsUsed+k > len(f.dims) {
		f.dims = make([]int64, max(2*len(f.dims), k, 64))
		r.dimsUsed = 0
	}
	d := f.dims[r.dimsUsed : r.dimsUsed+k : r.dimsUsed+k]
	r.dimsUsed += k
	return d
}
