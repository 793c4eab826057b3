package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
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
	outputs *Comparison

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
	s.outputs = NewComparison(s.float.Outputs())
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
	labels, err := sample.Labels()
	if err != nil {
		return err
	}
	if err := s.outputs.Observe(s.float.previous, s.asked.previous, labels); err != nil {
		return err
	}
	for _, l := range s.layers {
		if err := s.runAlone(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// report returns what was measured so far.
func (s *session) report() *Report {
	r := NotVerified("")
	r.Outputs = s.outputs.Outputs()
	for _, l := range s.layers {
		r.Layers = append(r.Layers, l.result())
	}
	r.Culprits = culprits(r.Layers)
	return r
}
