package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// A session is a comparison under way.
type session struct {
	float *lane
	// ways make the programs of the quantized model: first in the semantics asked for, then, if that is another, literally.
	ways    []func() (*lane, error)
	asked   *lane
	lanes   []*lane // those that samples run through, asked first
	layers  []*layer
	outputs []*output
	pooled  *metric.Comparison // of the float outputs; nil until there is one

	elem  map[string]onnx.DataType // of the quantized model's tensors, as far as known
	names map[string]bool          // the float tensors that layers need
	held  tensors                  // those of the current sample
}

type tensors = map[string]*onnx.Tensor

// A lane is a program whose outputs are fed back to it, where the model has state.
type lane struct {
	*engine.Program
	semantics string
	previous  tensors // the outputs for the sequence's last sample
	layers    []*layer
}

func newLane(what string, m *onnx.Model, s engine.Semantics, o Options) (*lane, error) {
	p, err := engine.Compile(m, engine.Options{Semantics: s, Threads: o.Threads})
	if err != nil {
		return nil, fmt.Errorf("%s model: %w", what, err)
	}
	return &lane{Program: p, semantics: s.String()}, nil
}

// An output is a graph output and what was measured of it so far.
type output struct {
	name        string
	diff        metric.Comparison
	notMeasured string
}

func newSession(float, quant *onnx.Model, layers []Layer, o Options) (*session, error) {
	s := &session{elem: map[string]onnx.DataType{}, names: map[string]bool{}}
	var err error
	if s.float, err = newLane("float", float, engine.Literal, o); err != nil {
		return nil, err
	}
	if s.asked, err = newLane("quantized", quant, o.Semantics, o); err != nil {
		return nil, err
	}
	s.lanes = []*lane{s.asked}
	s.ways = append(s.ways, func() (*lane, error) { return s.asked, nil })
	if o.Semantics != engine.Literal {
		s.ways = append(s.ways, sync.OnceValues(func() (*lane, error) { return newLane("quantized", quant, engine.Literal, o) }))
	}
	if err := s.match(); err != nil {
		return nil, err
	}
	for _, name := range s.float.Outputs() {
		s.outputs = append(s.outputs, &output{name: name})
	}
	if len(layers) > 0 {
		if err := s.types(quant); err != nil {
			return nil, err
		}
	}
	for _, d := range layers {
		l := newLayer(d, quant.Graph)
		if o.Histograms {
			l.values = new(tally)
		}
		s.layers = append(s.layers, l)
		if err := s.place(l); err != nil {
			return nil, err
		}
	}
	return s, s.report().checkScopes(o.Gates)
}

// types finds the element types of the quantized model's tensors, which its file need not state.
func (s *session) types(quant *onnx.Model) error {
	m := quant.Clone()
	if err := onnx.InferShapes(m, onnx.InferOptions{}); err != nil {
		return err
	}
	values := slices.Clone(m.Graph.Inputs())
	for n := range m.Graph.Nodes() {
		values = append(values, n.Outputs()...)
	}
	for _, v := range values {
		if v != nil && v.Type != nil {
			s.elem[v.Name()] = v.Type.Elem
		}
	}
	return nil
}

// match checks that the models take and give the same tensors.
func (s *session) match() error {
	missing := func(what string, wanted, have []string) error {
		for _, name := range wanted {
			if !slices.Contains(have, name) {
				return fmt.Errorf("%w: the models do not belong together: the %s %q; there are %s", onnx.ErrBadModel, what, name, strings.Join(have, ", "))
			}
		}
		return nil
	}
	if err := missing("float model has no input", s.asked.Inputs(), s.float.Inputs()); err != nil {
		return err
	}
	return missing("quantized model has no output", s.float.Outputs(), s.asked.Outputs())
}

// run takes the samples through both models.
func (s *session) run(ctx context.Context, set *data.Set, progress func(done, of int)) error {
	done, all := 0, set.Samples()
	if all == 0 {
		return fmt.Errorf("%w: there are no samples to verify on", data.ErrBadData)
	}
	for i := range set.Len() {
		for _, l := range append([]*lane{s.float}, s.lanes...) {
			l.previous = nil
		}
		for sample := range set.Sequence(i) {
			if err := s.sample(ctx, sample); err != nil {
				return fmt.Errorf("sample %q: %w", sample.Name, err)
			}
			if done++; progress != nil {
				progress(done, all)
			}
		}
	}
	return nil
}

func (s *session) sample(ctx context.Context, sample *data.Sample) error {
	feeds, err := sample.Feeds(s.float.previous)
	if err != nil {
		return err
	}
	s.held = tensors{}
	taps := map[string]func(*onnx.Tensor){}
	for name := range s.names {
		taps[name] = func(t *onnx.Tensor) { s.held[name] = t.Clone() }
	}
	first := s.float.previous == nil
	if s.float.previous, err = s.float.Run(ctx, feeds, &engine.RunOptions{Tap: taps}); err != nil {
		return fmt.Errorf("float model: %w", err)
	}
	for _, q := range s.lanes {
		if !first { // from here on every model goes its own way
			if feeds, err = sample.Feeds(q.previous); err != nil {
				return err
			}
		}
		taps := map[string]func(*onnx.Tensor){}
		for _, l := range q.layers {
			next := taps[l.view.tensor]
			taps[l.view.tensor] = func(t *onnx.Tensor) {
				if next != nil {
					next(t)
				}
				l.observe(s.held[l.Float], t)
			}
		}
		if q.previous, err = q.Run(ctx, feeds, &engine.RunOptions{Tap: taps}); err != nil {
			return fmt.Errorf("quantized model, %s: %w", q.semantics, err)
		}
	}
	if err := s.compareOutputs(); err != nil {
		return err
	}
	for _, l := range s.layers {
		if err := s.runAlone(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// compareOutputs compares the outputs of the sample that was run last.
func (s *session) compareOutputs() error {
	var ref, got [][]float32
	for _, o := range s.outputs {
		a, b := s.float.previous[o.name], s.asked.previous[o.name]
		x, y, err := numbers(a, b)
		if err != nil {
			return fmt.Errorf("output %q: %w", o.name, err)
		}
		if x == nil {
			o.notMeasured = fmt.Sprintf("it holds %s", a.Type)
			continue
		}
		classes := classAxis(a)
		if o.diff.Result().Samples == 0 {
			o.diff.Classes = classes
		} else if o.diff.Classes != classes {
			o.diff.Classes = 0 // an axis that varies holds no classes
		}
		if err := o.diff.Observe(x, y); err != nil {
			return fmt.Errorf("output %q: %w", o.name, err)
		}
		if a.Type.IsFloat() {
			ref, got = append(ref, x), append(got, y)
		}
	}
	if len(ref) == 0 {
		return nil
	}
	if s.pooled == nil {
		s.pooled = new(metric.Comparison)
	}
	return s.pooled.ObserveAll(ref, got)
}

// classAxis returns the size of the axis that is taken to hold the scores of classes: C, where it is at least 2, of a float
// tensor [N, C], [N, T, C] or [N, C, 1, 1]; 0 of any other.
func classAxis(t *onnx.Tensor) int {
	dims := t.Dims
	if len(dims) == 4 && dims[2] == 1 && dims[3] == 1 {
		dims = dims[:2]
	}
	if n := len(dims); t.Type.IsFloat() && (n == 2 || n == 3) && dims[n-1] >= 2 {
		return int(dims[n-1])
	}
	return 0
}

// numbers returns the elements of two tensors as float32; nil where they hold no real numbers.
func numbers(a, b *onnx.Tensor) (x, y []float32, err error) {
	if a == nil || b == nil {
		return nil, nil, fmt.Errorf("one of the models gives no tensor")
	}
	if a.Type == onnx.String || a.Type == onnx.Complex64 || a.Type == onnx.Complex128 {
		return nil, nil, nil
	}
	if !slices.Equal(a.Dims, b.Dims) {
		return nil, nil, fmt.Errorf("the float model gives %s%v, the quantized model %s%v", a.Type, a.Dims, b.Type, b.Dims)
	}
	if x, err = a.Float32s(); err == nil {
		y, err = b.Float32s()
	}
	return x, y, err
}

// report returns what was measured so far.
func (s *session) report() *Report {
	r := NotVerified("")
	for _, o := range s.outputs {
		e := OutputError{Name: o.name, NotMeasured: o.notMeasured}
		if o.notMeasured == "" {
			f := o.diff.Result()
			e.Result, e.Classes = &f, o.diff.Classes
		}
		r.Outputs.Each = append(r.Outputs.Each, e)
	}
	if s.pooled != nil {
		f := s.pooled.Result()
		r.Outputs.Pooled = &f
	}
	for _, l := range s.layers {
		r.Layers = append(r.Layers, l.result())
	}
	r.Culprits = culprits(r.Layers)
	return r
}
