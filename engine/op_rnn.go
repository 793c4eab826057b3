package engine

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

var rnnOps = []op{
	{"", "RNN", 1, 0, halfOutputs(3, recurrent(plainCell{}))},
	{"", "GRU", 1, 0, halfOutputs(3, recurrent(gruCell{}))},
	{"", "LSTM", 1, 0, halfOutputs(3, recurrent(lstmCell{}))},
	{msDomain, "DynamicQuantizeLSTM", 1, 0, makeQuantizedLSTM},
}

// A cell is what the recurrent operators differ in. Inputs are X [T, B, I], W [D, gates·H, I], R [D, gates·H, H] and
// B [D, 2·gates·H], D being 1 or 2 directions.
type cell interface {
	gates() int
	activations() []string // the defaults of one direction
	// split lists the columns of R that are multiplied at a time, in gates.
	split(l *layer) []int
	// bias folds the biases of W and R of one direction into what is added to X·Wᵀ.
	bias(l *layer, dst, w, r []float32)
	// step computes the next state of m rows: gates [m, gates·H] holds X·Wᵀ and the biases.
	step(l *layer, d *direction, m int, gates []float32)
}

// layer is a recurrent kernel.
type layer struct {
	cell        cell
	hidden      int
	batchFirst  bool
	clip        float32 // 0: none
	inputForget bool
	linearReset bool // GRU: linear_before_reset
	directions  []*direction

	r       *run
	steps   int
	batch   int
	lengths []int64   // nil: all sequences have all steps
	tail    []float32 // [B, H], scratch of the cell
	savedH  []float32 // [B, H], the state before a step
	savedC  []float32
	product productTask
}

// direction is the way through the sequence from one end.
type direction struct {
	reverse  bool
	act      []activationFunc
	w        gateProduct
	r        []gateProduct // by split
	biasR    []float32     // [gates·H]; zeros without biases
	bias     []float32     // [gates·H], added to X·Wᵀ
	peephole []float32     // [3·H] or nil
	h, c     []float32     // the state [B, H]
}

func recurrent(c cell) maker {
	return func(b *builder, n *onnx.Node) (kernel, error) {
		l, err := newLayer(c, n)
		if err != nil {
			return nil, err
		}
		w, r := b.constant(n.Input(1)), b.constant(n.Input(2))
		if w != nil && r != nil && w.Type == onnx.Float32 && r.Type == onnx.Float32 {
			if err := l.pack(w, r); err != nil {
				return nil, err
			}
		} else {
			w, r = nil, nil // packed in the run
		}
		return func(run *run) error {
			tw, tr := run.in(1), run.in(2)
			if !run.isConst(1, w) || !run.isConst(2, r) {
				if tw == nil || tr == nil || tw.Type != onnx.Float32 || tr.Type != onnx.Float32 {
					return fmt.Errorf("weights that are not f32 are %w", ErrUnsupported)
				}
				if err := l.pack(tw, tr); err != nil {
					return err
				}
				w, r = nil, nil // the constants' panels are gone
			}
			return l.run(run)
		}, nil
	}
}

func newLayer(c cell, n *onnx.Node) (*layer, error) {
	l := &layer{
		cell: c, hidden: int(n.Int("hidden_size", 0)), batchFirst: n.Int("layout", 0) != 0, clip: n.Float("clip", 0),
		inputForget: n.Int("input_forget", 0) != 0, linearReset: n.Int("linear_before_reset", 0) != 0,
	}
	var reverse []bool
	switch d := n.Str("direction", "forward"); d {
	case "forward":
		reverse = []bool{false}
	case "reverse":
		reverse = []bool{true}
	case "bidirectional":
		reverse = []bool{false, true}
	default:
		return nil, fmt.Errorf("direction %q: %w", d, onnx.ErrBadModel)
	}
	names := n.Strs("activations")
	if len(names) == 0 {
		for range reverse {
			names = append(names, c.activations()...)
		}
	}
	k := len(c.activations())
	if len(names) != k*len(reverse) {
		return nil, fmt.Errorf("%d activations for %d directions: %w", len(names), len(reverse), onnx.ErrBadModel)
	}
	alpha, beta := n.Floats("activation_alpha"), n.Floats("activation_beta")
	for i, rev := range reverse {
		d := &direction{reverse: rev}
		for _, name := range names[i*k:][:k] {
			f, err := activationOf(name, &alpha, &beta)
			if err != nil {
				return nil, err
			}
			d.act = append(d.act, f)
		}
		l.directions = append(l.directions, d)
	}
	l.product.body = l.product.work
	return l, nil
}

// pack packs float weights W [D, gates·H, I] and R [D, gates·H, H].
func (l *layer) pack(w, r *onnx.Tensor) error {
	rows := l.cell.gates() * l.hidden
	if err := l.checkWeights(w, r, 1); err != nil {
		return err
	}
	input := int(w.Dims[2])
	wf, rf := onnx.Data[float32](w), onnx.Data[float32](r)
	split := l.cell.split(l)
	for i, d := range l.directions {
		d.w.packFloat(wf[i*rows*input:][:rows*input], input, rows)
		if d.r == nil {
			d.r = make([]gateProduct, len(split))
		}
		at := i * rows * l.hidden
		for j, gates := range split {
			size := gates * l.hidden * l.hidden
			d.r[j].packFloat(rf[at:][:size], l.hidden, gates*l.hidden)
			at += size
		}
	}
	return nil
}

// checkWeights checks the shapes of W and R, whose gates lie along the axis.
func (l *layer) checkWeights(w, r *onnx.Tensor, axis int) error {
	if w.Rank() == 3 && l.hidden == 0 {
		l.hidden = int(w.Dims[axis]) / l.cell.gates()
	}
	rows, d := int64(l.cell.gates()*l.hidden), int64(len(l.directions))
	ok := w.Rank() == 3 && r.Rank() == 3 && w.Dims[0] == d && w.Dims[axis] == rows &&
		r.Dims[0] == d && r.Dims[axis] == rows && r.Dims[3-axis] == int64(l.hidden) && l.hidden > 0
	if !ok {
		return fmt.Errorf("weights of shapes %v and %v for hidden size %d and %d directions: %w", w.Dims, r.Dims, l.hidden, d, onnx.ErrBadModel)
	}
	return nil
}

// optional returns the floats of input i, which must have these dims; nil when it is left out.
func (l *layer) optional(i int, dims ...int64) ([]float32, error) {
	t := l.r.in(i)
	if t == nil {
		return nil, nil
	}
	if t.Type != onnx.Float32 || !slices.Equal(t.Dims, dims) {
		return nil, fmt.Errorf("input %d is %s%v, not f32%v: %w", i, t.Type, t.Dims, slices.Clone(dims), onnx.ErrBadModel)
	}
	return onnx.Data[float32](t), nil
}

// run goes through the sequence. Inputs behind R: B, sequence_lens, initial_h, initial_c, P.
func (l *layer) run(r *run) error {
	l.r = r
	defer func() { l.r = nil }()
	x := r.in(0)
	if x.Type != onnx.Float32 || x.Rank() != 3 || int(x.Dims[2]) != l.directions[0].w.k {
		return fmt.Errorf("input of %s%v for weights of %d inputs: %w", x.Type, x.Dims, l.directions[0].w.k, onnx.ErrBadModel)
	}
	h, rows, count := l.hidden, l.cell.gates()*l.hidden, len(l.directions)
	l.steps, l.batch = int(x.Dims[0]), int(x.Dims[1])
	if l.batchFirst {
		l.steps, l.batch = l.batch, l.steps
	}
	d64, h64 := int64(count), int64(h)
	biases, err := l.optional(3, d64, 2*int64(rows))
	if err != nil {
		return err
	}
	stateDims, yDims := r.shape(3), r.shape(4)
	stateDims[0], stateDims[1], stateDims[2] = d64, int64(l.batch), h64
	yDims[0], yDims[1], yDims[2], yDims[3] = int64(l.steps), d64, int64(l.batch), h64
	if l.batchFirst {
		stateDims[0], stateDims[1] = int64(l.batch), d64
		yDims[0], yDims[1], yDims[2] = int64(l.batch), int64(l.steps), d64
	}
	h0, err := l.optional(5, stateDims...)
	if err != nil {
		return err
	}
	c0, err := l.optional(6, stateDims...)
	if err != nil {
		return err
	}
	peepholes, err := l.optional(7, d64, 3*h64)
	if err != nil {
		return err
	}
	if err := l.setLengths(); err != nil {
		return err
	}
	y := onnx.Data[float32](r.out(0, onnx.Float32, yDims...))
	yh := onnx.Data[float32](r.out(1, onnx.Float32, stateDims...))
	var yc []float32
	if r.wants(2) {
		yc = onnx.Data[float32](r.out(2, onnx.Float32, stateDims...))
	}
	if l.lengths != nil {
		clear(y) // steps behind a sequence's end
	}
	in := onnx.Data[float32](x)
	gates := scratch[float32](r, l.steps*l.batch*rows)
	packed := scratch[float32](r, l.batch*rows)
	l.tail, l.savedH, l.savedC = scratch[float32](r, l.batch*h), scratch[float32](r, l.batch*h), scratch[float32](r, l.batch*h)
	for i, d := range l.directions {
		d.h, d.c = scratch[float32](r, l.batch*h), scratch[float32](r, l.batch*h)
		l.copyState(d.h, h0, i, false)
		l.copyState(d.c, c0, i, false)
		d.bias, d.biasR = scratch[float32](r, rows), scratch[float32](r, rows)
		clear(d.bias)
		clear(d.biasR)
		if biases != nil {
			b := biases[i*2*rows:][:2*rows]
			copy(d.biasR, b[rows:])
			l.cell.bias(l, d.bias, b[:rows], b[rows:])
		}
		d.peephole = nil
		if peepholes != nil {
			d.peephole = peepholes[i*3*h:][:3*h]
		}
		l.multiply(&d.w, l.steps*l.batch, in, gates, rows, false)
		addBias(gates, d.bias)
		for s := range l.steps {
			l.step(d, i, s, gates, packed, y)
		}
		l.copyState(d.h, yh, i, true)
		if yc != nil {
			l.copyState(d.c, yc, i, true)
		}
	}
	return nil
}

// setLengths reads sequence_lens; lengths is nil when every sequence has all steps.
func (l *layer) setLengths() error {
	l.lengths = l.r.ints(4)
	if l.lengths == nil {
		return nil
	}
	if len(l.lengths) != l.batch {
		return fmt.Errorf("%d sequence lengths for a batch of %d: %w", len(l.lengths), l.batch, onnx.ErrBadModel)
	}
	whole := true
	for _, k := range l.lengths {
		if k < 0 || int(k) > l.steps {
			return fmt.Errorf("sequence length %d of %d steps: %w", k, l.steps, onnx.ErrBadModel)
		}
		whole = whole && int(k) == l.steps
	}
	if whole {
		l.lengths = nil
	}
	return nil
}

// copyState copies the state of direction i from (or, with store, to) a tensor of states; nil means zeros.
func (l *layer) copyState(state, t []float32, i int, store bool) {
	if t == nil {
		clear(state)
		return
	}
	h := l.hidden
	for b := range l.batch {
		at := (i*l.batch + b) * h
		if l.batchFirst {
			at = (b*len(l.directions) + i) * h
		}
		if store {
			copy(t[at:][:h], state[b*h:])
		} else {
			copy(state[b*h:][:h], t[at:])
		}
	}
}

// step runs step s of direction i on all sequences that are so long.
func (l *layer) step(d *direction, i, s int, gates, packed, y []float32) {
	h, rows := l.hidden, l.cell.gates()*l.hidden
	at := func(b int) int { // the time step that sequence b is at
		length := l.steps
		if l.lengths != nil {
			length = int(l.lengths[b])
		}
		if s >= length {
			return -1
		}
		if d.reverse {
			return length - 1 - s
		}
		return s
	}
	if l.lengths == nil && !l.batchFirst {
		t := at(0)
		l.cell.step(l, d, l.batch, gates[t*l.batch*rows:][:l.batch*rows])
		copy(y[(t*len(l.directions)+i)*l.batch*h:], d.h[:l.batch*h])
		return
	}
	copy(l.savedH, d.h)
	copy(l.savedC, d.c)
	for b := range l.batch {
		t := max(at(b), 0)
		row := t*l.batch + b
		if l.batchFirst {
			row = b*l.steps + t
		}
		copy(packed[b*rows:][:rows], gates[row*rows:])
	}
	l.cell.step(l, d, l.batch, packed)
	for b := range l.batch {
		t := at(b)
		if t < 0 { // over: the state stays
			copy(d.h[b*h:][:h], l.savedH[b*h:])
			copy(d.c[b*h:][:h], l.savedC[b*h:])
			continue
		}
		row := (t*len(l.directions)+i)*l.batch + b
		if l.batchFirst {
			row = (b*l.steps+t)*len(l.directions) + i
		}
		copy(y[row*h:][:h], d.h[b*h:])
	}
}

func addBias(rows, bias []float32) {
	for len(rows) > 0 {
		for i, b := range bias {
			rows[i] += b
		}
		rows = rows[len(bias):]
	}
}
