package plan

import (
	"context"
	"fmt"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// A change replaces what nodes see at some of their inputs: quantization simulated on the float model.
type change map[engine.Edge]func(*onnx.Tensor) *onnx.Tensor

// outputEdge is the place of a change where no node but the caller takes the tensor: an output of the graph.
func outputEdge(name string) engine.Edge { return engine.Edge{Node: "\x00" + name} }

// add takes over the replacements of another change.
func (c change) add(o change) {
	for e, f := range o {
		c[e] = f
	}
}

// trial is one run of the float model: its feeds and outputs.
type trial struct {
	feeds   map[string]*onnx.Tensor
	outputs map[string]*onnx.Tensor
}

// runner measures changes of the float model on a few samples that it keeps.
type runner struct {
	program *engine.Program
	outputs []string // the float outputs that are compared
	trials  []trial
	dims    map[string][]int64 // of the tapped tensors, in the first trial
	runs    int
}

// newRunner compiles the model and runs up to limit samples of the set in float, spread over its sequences. The dims of
// the watched tensors are noted. Feeds of stateful models are those of the float run: a trial stands alone.
func newRunner(ctx context.Context, m *onnx.Model, set *data.Set, limit, threads int, watch []string) (*runner, error) {
	p, err := engine.Compile(m, engine.Options{Semantics: engine.Literal, Threads: threads, Keep: watch})
	if err != nil {
		return nil, err
	}
	r := &runner{program: p, dims: map[string][]int64{}}
	for _, o := range m.Graph.Outputs() {
		if o.Type == nil || o.Type.Kind == onnx.KindTensor && o.Type.Elem.IsFloat() {
			r.outputs = append(r.outputs, o.Name())
		}
	}
	taps := map[string]func(*onnx.Tensor){}
	for _, name := range watch {
		if p.Has(name) {
			taps[name] = func(t *onnx.Tensor) {
				if r.dims[name] == nil {
					r.dims[name] = append([]int64{}, t.Dims...)
				}
			}
		}
	}
	each := (limit + set.Len() - 1) / max(set.Len(), 1) // of every sequence
	for i := range min(limit, set.Len()) {
		var outputs map[string]*onnx.Tensor
		k := 0
		for s := range set.Sequence(i * set.Len() / min(limit, set.Len())) {
			if k == each {
				break
			}
			k++
			feeds, err := s.Feeds(outputs)
			if err != nil {
				return nil, err
			}
			if outputs, err = p.Run(ctx, feeds, &engine.RunOptions{Tap: taps}); err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
			r.trials = append(r.trials, trial{feeds, outputs})
		}
	}
	return r, nil
}

// measure returns the SQNR in dB of the outputs under a change, energy pooled over outputs and trials.
func (r *runner) measure(ctx context.Context, c change) (float64, error) {
	var all metric.Comparison
	for _, t := range r.trials {
		r.runs++
		out, err := r.program.Run(ctx, t.feeds, &engine.RunOptions{Override: c})
		if err != nil {
			return 0, err
		}
		var ref, got [][]float32
		for _, name := range r.outputs {
			a, err := t.outputs[name].Float32s()
			if err != nil {
				return 0, err
			}
			if f := c[outputEdge(name)]; f != nil {
				out[name] = f(out[name])
			}
			b, err := out[name].Float32s()
			if err != nil {
				return 0, err
			}
			if len(a) != len(b) {
				return 0, fmt.Errorf("output %q changes its size under quantization", name)
			}
			ref, got = append(ref, a), append(got, b)
		}
		if err := all.ObserveAll(ref, got); err != nil {
			return 0, err
		}
	}
	return float64(all.Result().SQNR), nil
}
