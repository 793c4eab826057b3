package plan

import (
	"context"
	"fmt"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// statistics are what calibration gathers: a collector for every watched tensor, by name.
type statistics map[string]quantize.Collector

// calibrate runs the float model over the whole set and gathers statistics of the named tensors, one sample at a time.
func calibrate(ctx context.Context, p *engine.Program, set *data.Set, rule quantize.RangeRule, names []string, progress func(done, of int)) (statistics, error) {
	st := statistics{}
	taps := map[string]func(*onnx.Tensor){}
	for _, name := range names {
		c, err := rule.NewCollector()
		if err != nil {
			return nil, err
		}
		st[name] = c
		if p.Has(name) {
			taps[name] = func(t *onnx.Tensor) {
				if t.Type == onnx.Float32 {
					c.Observe(onnx.Data[float32](t))
				}
			}
		}
	}
	done, total := 0, set.Samples()
	for i := range set.Len() {
		err := set.Run(i, 0, func(_ *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			outputs, err := p.Run(ctx, feeds, &engine.RunOptions{Tap: taps, Outputs: set.States()})
			done++
			progress(done, total)
			return outputs, err
		})
		if err != nil {
			return nil, err
		}
	}
	return st, nil
}

// activation returns the parameters of a tensor. A fixed range (Softmax, Sigmoid) is [0, fixed) in 256 steps; bound cuts
// the range from above, so that a Clip before the QuantizeLinear is redundant.
func (st statistics) activation(v *onnx.Value, rule quantize.RangeRule, fixed, bound float32) (Activation, error) {
	if fixed > 0 {
		return Activation{Type: "uint8", Scale: fixed / 256, Range: [2]float32{0, fixed}}, nil
	}
	var c quantize.Collector
	if t := v.Const(); t != nil {
		var err error
		if c, err = rule.NewCollector(); err != nil {
			return Activation{}, err
		}
		c.Observe(onnx.Data[float32](t))
	} else if c = st[v.Name()]; c == nil {
		return Activation{}, fmt.Errorf("tensor %q was not calibrated", v.Name())
	}
	lo, hi, err := rule.Range(c, quantize.Uint8)
	if err != nil {
		return Activation{}, fmt.Errorf("tensor %q: %w", v.Name(), err)
	}
	if bound > 0 {
		hi = min(hi, bound)
	}
	p := quantize.Uint8.Params(lo, hi)
	if over := float32(255-p.ZeroPoint) * p.Scale; bound > 0 && over > bound {
		p.Scale = nextBelow(p.Scale) // else the largest code lies an ulp outside the Clip, and nothing fuses
	}
	return Activation{Type: "uint8", Scale: p.Scale, ZeroPoint: p.ZeroPoint, Range: [2]float32{lo, hi}}, nil
}
