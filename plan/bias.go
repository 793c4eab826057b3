package plan

import (
	"errors"
	"slices"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// leastBiasSamples and mostBiasSamples bound how many sequences the means of a layer's output are taken over.
const leastBiasSamples, mostBiasSamples = 8, 32

// correctBiases finds, for every static Conv and Gemm, what quantization takes from the mean of each output channel when the
// layer is fed with float inputs: rounded weights and clipped activations shift it, and the shift is what costs most on
// smooth pictures. Since every layer is corrected, the layers behind see unshifted inputs. (DFQ, 1906.04721 §4.2.)
func (m *planner) correctBiases() error {
	return m.correctThose(func(*Site) bool { return true })
}

// correctNew corrects those that no correction is known of.
func (m *planner) correctNew() error {
	return m.correctThose(func(s *Site) bool { return m.coding[s].correction == nil })
}

func (m *planner) correctThose(which func(*Site) bool) error {
	if m.layout == nil || m.Calibration == nil || slices.Contains(m.Compensate, CompensateNone) {
		return nil
	}
	var sites []*Site
	var inputs []string
	for _, s := range m.sites {
		if m.layout.static[s.Node] && s.Node.Is("Conv", "Gemm") && s.Kept == nil && which(s) {
			sites = append(sites, s)
			inputs = append(inputs, s.Node.Input(s.Input()).Name())
			if _, err := m.weights(s); err != nil {
				return err
			}
		}
	}
	if len(sites) == 0 {
		return nil
	}
	float, quantized := make([]quantize.ChannelMean, len(sites)), make([]quantize.ChannelMean, len(sites))
	taps := map[string]func(*onnx.Tensor){}
	for i, s := range sites {
		taps[s.Node.Output(0).Name()] = func(t *onnx.Tensor) { observeMean(&float[i], t) }
	}
	var p quantize.Params // of the input that is turned to codes next: all sites share the memory
	var codes []uint8
	seen := simulate(func(dst, x []float32, _ int) { roundTrip(dst, x, p, &codes) })
	n := m.affordable(6, leastBiasSamples, min(mostBiasSamples, m.Calibration.Len())) // two networks, and room for the rest
	for k := range n {
		m.Progress("correcting biases", k, n)
		err := m.Calibration.Run(k*m.Calibration.Len()/n, 0, func(_ *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			all, err := m.runner.program.Run(m.ctx, feeds, &engine.RunOptions{Tap: taps, Outputs: append(m.Calibration.States(), inputs...)})
			if err != nil {
				return nil, err
			}
			for i, s := range sites {
				in, out := s.Node.Input(s.Input()), s.Node.Output(0).Name()
				p = m.params[in].Params()
				y, err := m.runner.program.Run(m.ctx, nil, &engine.RunOptions{
					Known: map[string]*onnx.Tensor{in.Name(): seen(all[in.Name()])}, Override: m.coding[s].change, Outputs: []string{out},
				})
				if err != nil {
					return nil, err
				}
				observeMean(&quantized[i], y[out])
			}
			return all, nil
		})
		if err != nil {
			return err
		}
	}
	for i, s := range sites {
		a, errA := float[i].Means()
		b, errB := quantized[i].Means()
		if err := errors.Join(errA, errB); errors.Is(err, quantize.ErrNonFinite) || errors.Is(err, quantize.ErrNoValues) {
			continue // nothing to correct by
		} else if err != nil {
			return err
		}
		var err error
		if m.coding[s].correction, err = quantize.CorrectBias(nil, a, b); err != nil {
			return err
		}
		m.simulateBias(s)
	}
	return nil
}

// simulateBias adds the corrected bias to what stands for the site's quantized weights. A node without a bias input has no
// edge for it: it is judged uncorrected.
func (m *planner) simulateBias(s *Site) {
	t, k := constant(s.Node, 2), m.coding[s]
	if t == nil || t.Len() != len(k.correction) {
		return
	}
	b := append([]float32{}, onnx.Data[float32](t)...)
	for i, c := range k.correction {
		b[i] += c
	}
	k.change[engine.Edge{Node: s.Key, Input: 2}] = constantly(onnx.Of(b, t.Dims...))
}

func observeMean(m *quantize.ChannelMean, t *onnx.Tensor) {
	if err := m.Observe(onnx.Data[float32](t), t.Dims, 1); err != nil {
		panic(err) // the channels of one layer's output do not change
	}
}
