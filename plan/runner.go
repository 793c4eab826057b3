package plan

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

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

// edges returns what the change replaces, in order.
func (c change) edges() []engine.Edge {
	return slices.SortedFunc(maps.Keys(c), func(a, b engine.Edge) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Input, b.Input))
	})
}

// trial is one run of the float model: its feeds and outputs, and the sample's labels, if it has any.
type trial struct {
	sequence int // of the set
	feeds    map[string]*onnx.Tensor
	outputs  map[string]*onnx.Tensor
	labels   []int64
}

// runner measures changes of the float model on a few samples that it keeps.
type runner struct {
	program   *engine.Program
	outputs   []string // the float outputs that are compared
	trials    []trial
	sequences []int              // of the set, from which the trials are
	dims      map[string][]int64 // of the tapped tensors, in the first trial
	values    float64            // computed in one run of the first trial
}

// newRunner compiles the model and runs up to limit samples of the set in float, spread over its sequences. The dims of
// the watched tensors are noted. Feeds of stateful models are those of the float run: a trial stands alone.
func newRunner(ctx context.Context, m *onnx.Model, p *engine.Program, set *data.Set, limit, threads int, watch []string) (*runner, error) {
	if p == nil {
		var err error
		if p, err = engine.Compile(m, engine.Options{Semantics: engine.Literal, Threads: threads}); err != nil {
			return nil, err
		}
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
		r.sequences = append(r.sequences, i*set.Len()/min(limit, set.Len()))
		err := set.Run(r.sequences[i], each, func(s *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			labels, err := s.Labels()
			if err != nil {
				return nil, err
			}
			count := &engine.Snapshot{MaxBytes: 1}
			outputs, err := p.Run(ctx, feeds, &engine.RunOptions{Tap: taps, Record: count})
			if len(r.trials) == 0 {
				r.values = float64(count.Seen() / 4)
			}
			r.trials = append(r.trials, trial{r.sequences[i], feeds, outputs, labels})
			return outputs, err
		})
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// measure returns the SQNR in dB of the outputs under a change, energy pooled over outputs and trials.
func (r *runner) measure(ctx context.Context, c change) (float64, error) {
	db, err := r.measureEach(ctx, []change{c}, len(r.trials), func(int) {})
	if err != nil {
		return 0, err
	}
	return db[0], nil
}

// typical returns the mean over the trials of the SQNR in dB of the outputs under a change: unlike the pooled one it does not hang on
// the one or two samples that stand on the edge, so that it can be asked again and again.
func (r *runner) typical(ctx context.Context, c change) (float64, error) {
	sum := 0.0
	for _, t := range r.trials {
		out, err := r.program.Run(ctx, t.feeds, &engine.RunOptions{Override: c})
		if err != nil {
			return 0, err
		}
		var all metric.Comparison
		if err := r.compare(&all, t, out); err != nil {
			return 0, err
		}
		sum += float64(all.Result().SQNR)
	}
	return sum / float64(max(len(r.trials), 1)), nil
}

// maxSnapshot bounds the memory that the activations of one trial may take while changes are measured on it.
const maxSnapshot = 1 << 30

// measureEach measures changes alone, on a number of trials spread over all. Of each trial the float activations are kept
// meanwhile, so that only what lies behind a change is run.
func (r *runner) measureEach(ctx context.Context, changes []change, trials int, progress func(done int)) ([]float64, error) {
	all := make([]metric.Comparison, len(changes))
	err := r.runEach(ctx, changes, trials, progress, func(i int, t trial, out map[string]*onnx.Tensor) error {
		return r.compare(&all[i], t, out)
	})
	db := make([]float64, len(changes))
	for i := range all {
		db[i] = float64(all[i].Result().SQNR)
	}
	return db, err
}

// runEach runs the model under each change alone, as measureEach does, and hands over the outputs.
func (r *runner) runEach(ctx context.Context, changes []change, trials int, progress func(done int), observe func(i int, t trial, out map[string]*onnx.Tensor) error) error {
	for k, t := range some(r.trials, trials) {
		var snapshot *engine.Snapshot
		if len(changes) > 1 {
			snapshot = &engine.Snapshot{MaxBytes: maxSnapshot}
			if _, err := r.program.Run(ctx, t.feeds, &engine.RunOptions{Record: snapshot}); err != nil {
				return err
			}
		}
		for i, c := range changes {
			progress(k*len(changes) + i)
			out, err := r.program.Run(ctx, t.feeds, &engine.RunOptions{Override: c, Resume: snapshot})
			if err != nil {
				return err
			}
			for _, name := range r.outputs {
				if f := c[outputEdge(name)]; f != nil {
					out[name] = f(out[name])
				}
			}
			if err := observe(i, t, out); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare adds the outputs of a run under a change.
func (r *runner) compare(all *metric.Comparison, t trial, out map[string]*onnx.Tensor) error {
	var ref, got [][]float32
	for _, name := range r.outputs {
		a, err := t.outputs[name].Float32s()
		if err != nil {
			return err
		}
		b, err := out[name].Float32s()
		if err != nil {
			return err
		}
		if len(a) != len(b) {
			return fmt.Errorf("output %q changes its size under quantization", name)
		}
		ref, got = append(ref, a), append(got, b)
	}
	return all.ObserveAll(ref, got)
}
