package verify

import (
	"context"
	"fmt"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
)

// A Reference is a float model and what it gives on samples: quantized models are compared with it one after the other, and it
// is run once.
type Reference struct {
	set       *data.Set
	outputs   []tensors // of each sample, in order
	names     []string
	threads   int
	semantics engine.Semantics
}

// maxReference bounds the bytes of outputs that are kept.
const maxReference = 1 << 30

// NewReference runs the float model on the samples of a set. Options are those of Run, of which Semantics, Threads and Progress
// count, and so are the errors.
func NewReference(ctx context.Context, float *onnx.Model, set *data.Set, o Options) (*Reference, error) {
	q, err := newLane("float", float, engine.Literal, o)
	if err != nil {
		return nil, err
	}
	if set.Samples() == 0 {
		return nil, fmt.Errorf("%w: there are no samples to measure on", data.ErrBadData)
	}
	r := &Reference{set: set, names: q.Outputs(), threads: o.Threads, semantics: o.Semantics}
	bytes := int64(0)
	err = r.run(ctx, q.Program, func(s *data.Sample, outputs tensors) error {
		if o.Progress != nil {
			o.Progress(len(r.outputs), set.Samples())
		}
		for _, t := range outputs {
			bytes += t.Type.ByteSize(int64(t.Len()))
		}
		if bytes > maxReference {
			return fmt.Errorf("%w: the outputs of %d samples take more than 1 GB: take fewer", data.ErrBadData, len(r.outputs)+1)
		}
		r.outputs = append(r.outputs, outputs)
		return nil
	})
	return r, err
}

// Samples returns how many there are.
func (r *Reference) Samples() int { return r.set.Samples() }

// Compare runs a quantized model, in the semantics of the reference's options, and compares its outputs.
func (r *Reference) Compare(ctx context.Context, quant *onnx.Model) (Outputs, error) {
	q, err := newLane("quantized", quant, r.semantics, Options{Threads: r.threads})
	if err != nil {
		return Outputs{}, err
	}
	c, i := NewComparison(r.names), 0
	err = r.run(ctx, q.Program, func(s *data.Sample, outputs tensors) error {
		labels, err := s.Labels()
		if err != nil {
			return err
		}
		i++
		return c.Observe(r.outputs[i-1], outputs, labels)
	})
	return c.Outputs(), err
}

func (r *Reference) run(ctx context.Context, p *engine.Program, each func(*data.Sample, tensors) error) error {
	for i := range r.set.Len() {
		err := r.set.Run(i, 0, func(s *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			outputs, err := p.Run(ctx, feeds, nil)
			if err != nil {
				return nil, err
			}
			return outputs, each(s, outputs)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
