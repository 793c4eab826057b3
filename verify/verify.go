// Package verify compares a float model with its quantized form on data: the outputs, and layer by layer. It evaluates
// gates and renders the report.
//
// A layer pairs a tensor of the float model with the tensor that carries its meaning in the quantized model. Two errors are
// measured for it: the accumulated error, of the whole quantized model fed with the sample, and the layer's own error, of
// its part of the quantized model fed with the float model's tensors. Samples are taken one at a time, and nothing outlives
// its sample but sums.
package verify

import (
	"context"
	"errors"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
)

// ErrUsage is wrapped by errors about what the user wrote: a gate that cannot be read, or that matches nothing.
var ErrUsage = errors.New("usage")

// A Layer pairs a tensor of the float model with the one that carries its meaning in the quantized model: behind the last
// scale, not before it.
type Layer struct {
	Key    string // of the node in the float model
	Op     string
	Scheme string // what the plan made of it; "" when unknown
	Reason string // why, from the plan; "" when unknown
	Float  string // the output in the float model
	Quant  string // the tensor of its meaning in the quantized model
	// Inputs are the tensors that the layer computes its output from. Given as the float model has them, they must be all
	// that the quantized model needs for Quant; none: the layer cannot be fed alone.
	Inputs []Pair
	// Weights are the node's constant operand as it was before it was quantized; nil: that of the float model's node of Key.
	Weights *onnx.Tensor
	// Scaled says of tensors of the float model, by name, what they are in the quantized model where channels have other scales
	// there; all others are the same.
	Scaled map[string]func(*onnx.Tensor) *onnx.Tensor
}

// A Pair is a tensor of the float model and the tensor of the quantized model that is given its elements.
type Pair struct{ Float, Quant string }

// Options of Run. The zero value measures all layers in literal semantics.
type Options struct {
	Semantics engine.Semantics // of the quantized model; the float model always runs literally
	Threads   int
	Gates     []Gate
	NoLayers  bool // measure the outputs only
	// Histograms counts the values of layers too, for reports that show how they fill their codes: 16 kB a layer.
	Histograms bool
	Progress   func(done, of int) // samples; may be nil
	Tool       string             // for the report: name and version
	Models     Models             // for the report: the files
}

// Run runs both models on every sample of the set and compares them. In fused semantics a layer whose tensor does not exist
// in the fused program is measured literally; the report says which semantics every figure comes from. A layer that cannot
// be measured has a reason in the report instead of figures.
//
// Errors wrap engine.ErrUnsupported when the engine cannot run a model (see NotVerified), onnx.ErrBadModel when the models
// do not belong together, data.ErrBadData, or ErrUsage for gates that match nothing. Where only the gates are at fault the
// report is returned beside the error.
func Run(ctx context.Context, float, quant *onnx.Model, layers []Layer, set *data.Set, o Options) (*Report, error) {
	if o.NoLayers {
		layers = nil
	}
	s, err := newSession(float, quant, layers, o)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, set, o.Progress); err != nil {
		return nil, err
	}
	r := s.report()
	if o.Histograms {
		s.distributions(r, float, quant)
	}
	r.Tool, r.Models, r.Semantics = o.Tool, o.Models, o.Semantics.String()
	r.Data = Data{Source: string(set.Source), Samples: set.Samples()}
	return r, r.Evaluate(o.Gates)
}
