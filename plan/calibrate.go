package plan

import (
	"context"
	"errors"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// errNoData is the error of a tensor for which there is neither a range in the model nor data to find one in.
var errNoData = errors.New("weights stored in 8 bits, computed in float: the model has no range")

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
