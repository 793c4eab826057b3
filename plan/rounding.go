package plan

import (
	"math"
	"slices"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// roundingTrials bounds the samples that roundings are compared on.
const roundingTrials = 4

// largestChosen is the number of weights above which a site keeps its own rounding: filters of signals have fewer, and the
// codes of all roundings are in memory at once.
const largestChosen = 1 << 22

// chooseRoundings finds the rounding of the weights of every Conv, product and other site. What fits depends on how alike
// neighbouring inputs are, which the samples tell and the graph does not.
func (m *planner) chooseRoundings() error {
	if m.runner == nil {
		return nil
	}
	var outside, inside []*Site
	for _, s := range m.sites {
		m.refresh(s)
		switch {
		case m.coding[s].rounding != "": // chosen before the model was equalised, which did not touch it
		case !m.open(s) || m.form(s) == half || len(s.Inputs) != 1 || s.Kept != nil || s.Kind == Table || s.Weight(0).Const().Len() > largestChosen:
		case s.Node.Graph() != m.graph:
			inside = append(inside, s)
		case m.runner.program.Has(s.Node.Output(0).Name()):
			outside = append(outside, s)
		}
	}
	if err := m.solve(outside); err != nil {
		return err
	}
	if err := m.chooseByOutput(outside); err != nil {
		return err
	}
	if err := m.chooseByModel(inside); err != nil {
		return err
	}
	return m.compensate()
}

// roundings returns the changes that stand for a site's weights by the rows of quantize.Roundings; nil: does not fit. Where the
// rounding that was asked for does not, it is the first that there is.
func (m *planner) roundings(s *Site) ([]change, error) {
	blank, err := m.blank(s)
	if err != nil {
		return nil, err
	}
	fits := func(r quantize.Rounding) bool {
		return (!r.Learned || m.coding[s].learned[r.Name] != nil) && (r.Fits == nil || r.Fits(blank))
	}
	asked := ""
	if r, ok := quantize.RoundingNamed(m.Rounding); ok && fits(r) {
		asked = r.Name
	} else if ok {
		asked = quantize.Roundings[0].Name
	}
	changes := make([]change, len(quantize.Roundings))
	for i, r := range quantize.Roundings {
		if !fits(r) || asked != "" && r.Name != asked {
			continue
		}
		var err error
		if changes[i], err = m.rounded(s, r.Name); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

// blank returns a site's weights without codes.
func (m *planner) blank(s *Site) (*quantize.Weights, error) {
	f := m.form(s)
	row, _ := quantize.FormatNamed(f.Type)
	dims, axis := s.shape(0)
	return row.Blank(dims, axis, f.Block)
}

// chooseByModel takes, for sites inside branches, the rounding that disturbs the outputs of the model least. Sites whose branch
// never runs keep their own.
func (m *planner) chooseByModel(sites []*Site) error {
	type option struct {
		site     *Site
		rounding string
	}
	var options []option
	var changes []change
	for _, s := range sites {
		all, err := m.roundings(s)
		if err != nil {
			return err
		}
		for i, c := range all {
			if c != nil {
				options, changes = append(options, option{s, quantize.Roundings[i].Name}), append(changes, c)
			}
		}
	}
	if len(options) == 0 {
		return nil
	}
	trials := m.affordable(float64(len(changes)), 1, len(m.runner.trials))
	db, err := m.runner.measureEach(m.ctx, changes, trials, func(i int) { m.Progress("choosing roundings", i, trials*len(changes)) })
	if err != nil {
		return err
	}
	for _, s := range sites {
		m.coding[s].rounding = m.stored(s, "").Rounding
	}
	best := map[*Site]float64{}
	for i, o := range options {
		if old, ok := best[o.site]; db[i] < metric.MaxSQNR && (!ok || db[i] > old) {
			best[o.site], m.coding[o.site].rounding = db[i], o.rounding
		}
	}
	return nil
}

// chooseByOutput takes, for sites of the main graph, the rounding that disturbs the output of the node least when it is fed
// with float inputs.
func (m *planner) chooseByOutput(sites []*Site) error {
	if len(sites) == 0 {
		return nil
	}
	changes := map[*Site][]change{}
	for _, s := range sites {
		var err error
		if changes[s], err = m.roundings(s); err != nil {
			return err
		}
	}
	noise, err := m.disturbances(sites, changes, some(m.runner.trials, roundingTrials), "choosing roundings")
	if err != nil {
		return err
	}
	for _, s := range sites {
		best := -1
		for i, e := range noise[s] {
			if changes[s][i] != nil && (best < 0 || e < noise[s][best]) {
				best = i
			}
		}
		m.coding[s].rounding = quantize.Roundings[best].Name
	}
	return nil
}

// some returns up to n of all, evenly spaced.
func some[T any](all []T, n int) []T {
	n = min(n, len(all))
	taken := make([]T, n)
	for i := range taken {
		taken[i] = all[i*len(all)/n]
	}
	return taken
}

// disturbances returns how much each change of a site's weights disturbs the output of its node when it is fed with float inputs;
// infinitely where there is no change.
func (m *planner) disturbances(sites []*Site, changes map[*Site][]change, trials []trial, what string) (map[*Site][]float64, error) {
	noise := map[*Site][]float64{}
	for k, t := range trials {
		m.Progress(what, k, len(trials))
		all, err := m.runner.program.Run(m.ctx, t.feeds, &engine.RunOptions{Outputs: watched(sites)})
		if err != nil {
			return nil, err
		}
		for _, s := range sites {
			if noise[s] == nil {
				noise[s] = make([]float64, len(changes[s]))
			}
			known := computedInputs(s, all)
			out := s.Node.Output(0).Name()
			for i, c := range changes[s] {
				if c == nil {
					noise[s][i] = math.Inf(1)
					continue
				}
				y, err := m.runner.program.Run(m.ctx, nil, &engine.RunOptions{Known: known, Override: c, Outputs: []string{out}})
				if err != nil {
					return nil, err
				}
				noise[s][i] += m.disturbance(s, all[out], y[out])
			}
		}
	}
	return noise, nil
}

// watched returns the names of the tensors that sites take and give.
func watched(sites []*Site) []string {
	var names []string
	for _, s := range sites {
		names = append(names, s.Node.Output(0).Name())
		for name := range computedInputs(s, nil) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// computedInputs returns those of values that a site's node takes beside its constants.
func computedInputs(s *Site, values map[string]*onnx.Tensor) map[string]*onnx.Tensor {
	known := map[string]*onnx.Tensor{}
	for _, v := range s.Node.Inputs() {
		if v != nil && v.Const() == nil {
			known[v.Name()] = values[v.Name()]
		}
	}
	return known
}

// leastForMean is the number of values of a channel below which most of an error would count as its mean.
const leastForMean = 16

// disturbance is the energy of got − want. Where the bias will be corrected, the mean of each channel does not count.
func (m *planner) disturbance(s *Site, want, got *onnx.Tensor) float64 {
	a, b := onnx.Data[float32](want), onnx.Data[float32](got)
	channels, inner := 1, len(a)
	if m.layout != nil && m.layout.static[s.Node] && want.Rank() >= 2 && len(a) >= leastForMean*int(want.Dims[1]) {
		channels = int(want.Dims[1])
		inner = int(onnx.NumElements(want.Dims[2:]))
	}
	energy, mean := 0.0, make([]float64, channels)
	for at, c := 0, 0; at < len(a); at, c = at+inner, (c+1)%channels {
		sum := mean[c]
		for i, x := range a[at : at+inner] {
			d := float64(b[at+i]) - float64(x)
			energy += float64(d * d)
			sum += d
		}
		mean[c] = sum
	}
	if channels > 1 {
		for _, sum := range mean {
			energy -= float64(sum*sum) * float64(channels) / float64(len(a))
		}
	}
	return energy
}
