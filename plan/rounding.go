package plan

import (
	"math"
	"slices"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// roundingTrials bounds the samples that roundings are compared on.
const roundingTrials = 4

// chooseRoundings finds, for every Conv, product and other site that is computed in the main graph, the rounding of its
// weights that disturbs its output least when it is fed with float inputs. What fits depends on how alike neighbouring inputs
// are, which the samples tell and the graph does not.
func (m *planner) chooseRoundings() error {
	if m.runner == nil {
		return nil
	}
	var sites []*Site
	var watch []string
	for _, s := range m.sites {
		if m.open(s) && s.Node.Graph() == m.graph && len(s.Inputs) == 1 && s.Kind != Table && m.runner.program.Has(s.Node.Output(0).Name()) {
			sites = append(sites, s)
			watch = append(watch, s.Node.Output(0).Name())
			for _, v := range s.Node.Inputs() {
				if v != nil && v.Const() == nil {
					watch = append(watch, v.Name())
				}
			}
		}
	}
	if len(sites) == 0 {
		return nil
	}
	changes := map[*Site][]change{} // by the rows of quantize.Roundings; nil: does not fit
	for _, s := range sites {
		for _, r := range quantize.Roundings {
			if r.Name == "squant" && s.Axes[0] != 0 {
				changes[s] = append(changes[s], nil)
				continue
			}
			c, err := m.rounded(s, r.Name)
			if err != nil {
				return err
			}
			changes[s] = append(changes[s], c)
		}
	}
	noise := map[*Site][]float64{}
	n := min(roundingTrials, len(m.runner.trials))
	for k := range n {
		m.Progress("choosing roundings", k, n)
		t := m.runner.trials[k*len(m.runner.trials)/n]
		all, err := m.runner.program.Run(m.ctx, t.feeds, &engine.RunOptions{Outputs: slices.Compact(slices.Sorted(slices.Values(watch)))})
		if err != nil {
			return err
		}
		for _, s := range sites {
			if noise[s] == nil {
				noise[s] = make([]float64, len(quantize.Roundings))
			}
			known := map[string]*onnx.Tensor{}
			for _, v := range s.Node.Inputs() {
				if v != nil && v.Const() == nil {
					known[v.Name()] = all[v.Name()]
				}
			}
			out := s.Node.Output(0).Name()
			for i, c := range changes[s] {
				if c == nil {
					noise[s][i] = math.Inf(1)
					continue
				}
				y, err := m.runner.program.Run(m.ctx, nil, &engine.RunOptions{Known: known, Override: c, Outputs: []string{out}})
				if err != nil {
					return err
				}
				noise[s][i] += m.disturbance(s, all[out], y[out])
			}
		}
	}
	for _, s := range sites {
		best := 0
		for i, e := range noise[s] {
			if e < noise[s][best] {
				best = i
			}
		}
		m.rounding[s] = quantize.Roundings[best].Name
	}
	return nil
}

// disturbance is the energy of got − want. Where the bias will be corrected, the mean of each channel does not count.
func (m *planner) disturbance(s *Site, want, got *onnx.Tensor) float64 {
	a, b := onnx.Data[float32](want), onnx.Data[float32](got)
	channels, inner := 1, len(a)
	if m.layout != nil && m.layout.static[s.Node] && want.Rank() >= 2 {
		channels = int(want.Dims[1])
		inner = int(onnx.NumElements(want.Dims[2:]))
	}
	energy, mean := 0.0, make([]float64, channels)
	for i := range a {
		d := float64(b[i]) - float64(a[i])
		energy += float64(d * d)
		mean[i/inner%channels] += d
	}
	if channels > 1 {
		for _, sum := range mean {
			energy -= float64(sum*sum) * float64(channels) / float64(len(a))
		}
	}
	return energy
}
