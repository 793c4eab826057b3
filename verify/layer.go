package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// layer is a Layer and what was measured of it so far.
type layer struct {
	Layer
	views []view // of its tensor in the quantized model, best first
	clip  clip
	// values are those of its tensor in the float model; nil: not counted
	values *tally

	accumulated    metric.Comparison
	lane           *lane // that the accumulated error is measured on
	view           view
	notAccumulated string

	own    metric.Comparison
	alone  *lane // that runs it alone; nil until one did
	notOwn string
}

// clip counts the values of the float tensor beyond what the codes of its meaning reach.
type clip struct {
	metric.Clip
	lo, hi float64
	known  bool
}

// A view is how a program shows a tensor: itself, or the codes that stand for it.
type view struct {
	tensor string
	codes  *codes // nil: itself
}

func newLayer(d Layer, quant *onnx.Graph) *layer {
	l := &layer{Layer: d, views: []view{{tensor: d.Quant}}}
	v := quant.Value(d.Quant)
	if v == nil {
		l.views = nil
	} else if c := codesOf(v); c != nil {
		l.views = append(l.views, view{c.tensor, c})
		l.clip.lo, l.clip.hi, l.clip.known = c.limits()
	}
	return l
}

// sees returns how the lane shows the layer's tensor.
func (q *lane) sees(l *layer) (view, bool) {
	i := slices.IndexFunc(l.views, func(w view) bool { return q.Has(w.tensor) })
	if i < 0 {
		return view{}, false
	}
	return l.views[i], true
}

// place finds the lane that the layer's accumulated error is measured on, and what its errors need of the float model.
func (s *session) place(l *layer) error {
	if !s.float.Has(l.Float) {
		l.notAccumulated = fmt.Sprintf("the float model has no tensor %q", l.Float)
		l.notOwn = l.notAccumulated
		return nil
	}
	for _, way := range s.ways {
		if len(l.views) == 0 {
			break
		}
		q, err := way()
		if err != nil {
			return err
		}
		if w, ok := q.sees(l); ok {
			l.lane, l.view = q, w
			break
		}
	}
	if l.lane == nil {
		l.notAccumulated = fmt.Sprintf("the quantized model has no tensor %q", l.Quant)
		l.notOwn = l.notAccumulated
		return nil
	}
	if !slices.Contains(s.lanes, l.lane) {
		s.lanes = append(s.lanes, l.lane)
	}
	l.lane.layers = append(l.lane.layers, l)
	s.names[l.Float] = true
	if len(l.Inputs) == 0 {
		l.notOwn = "its inputs have no counterpart in the quantized model"
	}
	for _, p := range l.Inputs {
		if !s.float.Has(p.Float) {
			l.notOwn = fmt.Sprintf("the float model has no tensor %q", p.Float)
			break
		}
	}
	if l.notOwn == "" {
		for _, p := range l.Inputs {
			s.names[p.Float] = true
		}
	}
	return nil
}

// observe compares the tensor of the whole quantized model with the float model's.
func (l *layer) observe(ref, got *onnx.Tensor) {
	x, err := compare(&l.accumulated, l.view, l.meaning(l.Float, ref), got)
	if err != nil {
		l.notAccumulated = err.Error()
		return
	}
	if l.clip.known {
		l.clip.Observe(x, l.clip.lo, l.clip.hi)
	}
	if l.values != nil {
		l.values.add(x)
	}
}

// meaning returns what a tensor of the float model is in the quantized model.
func (l *layer) meaning(name string, t *onnx.Tensor) *onnx.Tensor {
	if f := l.Scaled[name]; f != nil && t != nil {
		return f(t)
	}
	return t
}

// compare adds a sample to a layer's error and returns the reference.
func compare(c *metric.Comparison, w view, ref, got *onnx.Tensor) ([]float32, error) {
	if w.codes != nil && got != nil {
		var err error
		if got, err = w.codes.dequantize(got); err != nil {
			return nil, err
		}
	}
	x, y, err := numbers(ref, got)
	if err != nil {
		return nil, err
	}
	if !ref.Type.IsFloat() {
		return nil, fmt.Errorf("it holds %s", ref.Type)
	}
	return x, c.Observe(x, y)
}

// runAlone measures the layer's own error on the current sample: fed with the float model's tensors, on the first lane that
// can. Only a run that was interrupted is an error: a layer that cannot be run alone gets a reason.
func (s *session) runAlone(ctx context.Context, l *layer) error {
	if l.notOwn != "" {
		return nil
	}
	known := tensors{}
	for _, p := range l.Inputs {
		if known[p.Quant] = l.meaning(p.Float, s.held[p.Float]); known[p.Quant] == nil {
			l.notOwn = fmt.Sprintf("the float model did not compute tensor %q", p.Float)
			return nil
		}
		var err error
		if known[p.Quant], err = inType(known[p.Quant], s.elem[p.Quant]); err != nil {
			l.notOwn = err.Error()
			return nil
		}
	}
	ways := s.ways
	if q := l.alone; q != nil {
		ways = []func() (*lane, error){func() (*lane, error) { return q, nil }}
	}
	var reason error
	for _, way := range ways {
		q, err := way()
		if err != nil {
			return err
		}
		w, ok := q.sees(l)
		if !ok {
			continue
		}
		out, err := q.Run(ctx, nil, &engine.RunOptions{Known: known, Outputs: []string{w.tensor}})
		if err == nil {
			_, err = compare(&l.own, w, l.meaning(l.Float, s.held[l.Float]), out[w.tensor])
		}
		if err == nil {
			l.alone = q
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		reason = err
	}
	l.notOwn = fmt.Sprintf("it cannot be run alone: %v", reason)
	return nil
}

// inType returns a tensor of the float model in the type that the quantized model has for it, where that is float32: it may
// compute so what the float model computes in half precision.
func inType(t *onnx.Tensor, want onnx.DataType) (*onnx.Tensor, error) {
	if t.Type == want || want != onnx.Float32 || !t.Type.IsFloat() {
		return t, nil
	}
	x, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	return onnx.Of(x, append([]int64{}, t.Dims...)...), nil
}

func (l *layer) result() LayerError {
	e := LayerError{
		Key: l.Key, Op: l.Op, Scheme: l.Scheme, Reason: l.Reason, Tensor: l.Float, Quantized: l.Quant,
		NotAccumulated: l.notAccumulated, NotOwn: l.notOwn,
	}
	if e.Accumulated = measurement(&l.accumulated, l.lane, l.notAccumulated); e.Accumulated != nil {
		if l.clip.known {
			share := metric.Number(l.clip.Share())
			e.Clipped = &share
		}
	}
	e.Own = measurement(&l.own, l.alone, l.notOwn)
	if e.Accumulated == nil && e.NotAccumulated == "" {
		e.NotAccumulated = "no sample makes the quantized model compute it"
	}
	return e
}

// measurement returns a layer's error; nil when there is a reason against it, or nothing was compared.
func measurement(c *metric.Comparison, q *lane, reason string) *Measurement {
	if reason != "" || c.Result().Samples == 0 {
		return nil
	}
	return &Measurement{Semantics: q.semantics, Result: c.Result(), noise: c.Noise()}
}
