package plan

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/passes/rescale"
	"github.com/zqonnx/zqonnx/quantize"
)

// Equalize names what the channels of the float model are scaled for before it is quantized.
type Equalize string

// The values of --equalize.
const (
	EqualizeAuto   Equalize = "auto"   // each tensor by what fits it
	EqualizeNone   Equalize = "none"   // leave the model as it is
	EqualizeSmooth Equalize = "smooth" // activations against weights (SmoothQuant, 2211.10438)
	EqualizeAWQ    Equalize = "awq"    // weights by how large their inputs are (AWQ, 2306.00978)
	EqualizeCLE    Equalize = "cle"    // weights of a Conv against those of the next (DFQ, 1906.04721)
)

// Equalizes are the known ones.
var Equalizes = []Equalize{EqualizeAuto, EqualizeNone, EqualizeSmooth, EqualizeAWQ, EqualizeCLE}

// An Equalisation divides a tensor of the main graph by a scale in each channel, by constants of what computes it, and multiplies
// the weights that take it. The float model computes the same.
type Equalisation struct {
	Tensor string    `json:"tensor"`
	Axis   int       `json:"axis"` // of the channels, from the end: -1 is the last
	Scales []float32 `json:"scales"`
	Reason Reason    `json:"reason"`
}

// Scaling finds the tensors and constants of a prepared model that take part.
func (e *Equalisation) Scaling(m *onnx.Model) (*rescale.Scaling, error) {
	if v := m.Graph.Value(e.Tensor); v != nil {
		if s := rescale.Find(v, e.Axis); s != nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("the plan scales axis %d of tensor %q, which the model does not allow", e.Axis, e.Tensor)
}

// CarryOut scales the constants of a prepared model, each equalisation after the other, and returns what was scaled. An error
// says which does not fit the model.
func CarryOut(all []Equalisation, m *onnx.Model) ([]*rescale.Scaling, error) {
	var done []*rescale.Scaling
	for i := range all {
		s, err := all[i].Scaling(m)
		if err == nil {
			_, err = s.Apply(all[i].Scales)
		}
		if err != nil {
			return nil, err
		}
		done = append(done, s)
	}
	return done, nil
}

// A scaled tensor, with the sites that take it and the scales that it may be divided by.
type equalisable struct {
	*rescale.Scaling
	axis   int
	sites  []*Site
	lo, hi []float32 // extremes of the samples in each channel, or 0; of tied ones where Tied says
	sums   []float64 // of the magnitudes
	offers []offer
}

// An offer is one way to scale; the first of each tensor is to leave it alone.
type offer struct {
	name   string
	scales []float32 // nil: ones
	noise  float64   // of all sites, relative to their outputs
}

// worthScaling are the shares of a layer's noise that scaling must take away. Where all scalings that take the first are together
// no gain for the model, those are tried that take the next.
var worthScaling = []float64{0.05, 0.3}

// leastGain in dB is what the whole must gain: less may come from the few samples it is measured on.
const leastGain = 0.25

// equalise scales the tensors whose scaling lowers the measured error of the layers that take them, and plans those anew. Where
// the whole model is no better for it, nothing is scaled. It comes after the guard, which it must not hide culprits from.
func (m *planner) equalise() error {
	if m.Equalize == EqualizeNone || m.runner == nil || len(m.runner.trials) == 0 {
		return nil
	}
	all := m.equalisables()
	if len(all) == 0 {
		return nil
	}
	if err := m.offerScales(all); err != nil {
		return err
	}
	if err := m.tryScales(all); err != nil {
		return err
	}
	worth := func(share float64) []*equalisable {
		return slices.DeleteFunc(slices.Clone(all), func(e *equalisable) bool {
			return !(e.best().noise < (1-share)*e.offers[0].noise)
		})
	}
	if len(worth(worthScaling[0])) == 0 {
		return nil
	}
	before, err := m.wholeSQNR()
	if err != nil {
		return err
	}
	alone, tried := m.clone(), 0
	for _, share := range worthScaling {
		some := worth(share)
		if len(some) == 0 || len(some) == tried {
			return nil
		}
		tried = len(some)
		undo, err := m.scale(some)
		if err != nil {
			return err
		}
		after, err := m.wholeSQNR()
		if err != nil {
			return err
		}
		if after > before+leastGain {
			return nil
		}
		undo()
		*m = *alone.clone()
	}
	return nil
}

// best returns the offer with the least noise.
func (e *equalisable) best() offer {
	return slices.MinFunc(e.offers, func(a, b offer) int { return cmp.Compare(a.noise, b.noise) })
}

// clone returns a planner to go back to.
func (m *planner) clone() *planner {
	c := *m
	c.scheme, c.why, c.float = maps.Clone(m.scheme), maps.Clone(m.why), maps.Clone(m.float)
	c.params, c.methods, c.guarded = maps.Clone(m.params), maps.Clone(m.methods), maps.Clone(m.guarded)
	c.unpaid, c.cheaper = maps.Clone(m.unpaid), maps.Clone(m.cheaper)
	c.asked, c.coarse = maps.Clone(m.asked), maps.Clone(m.coarse)
	c.coding = map[*Site]*coding{}
	for s, k := range m.coding {
		c.coding[s] = k.clone()
	}
	return &c
}

// scale carries out the best offers and plans what they touch anew; undo puts the constants back.
func (m *planner) scale(all []*equalisable) (undo func(), err error) {
	var undos []func()
	undo = func() {
		for _, f := range slices.Backward(undos) {
			f()
		}
	}
	touched := map[*onnx.Node]bool{}
	note := func(n *onnx.Node, _ int, _ []int) { touched[n] = true }
	for _, e := range all {
		e.Absorbers(note)
		e.Producers(note)
		best := e.best()
		f, err := e.Apply(best.scales)
		if err != nil {
			return nil, err
		}
		undos = append(undos, f)
		for _, v := range e.Values {
			delete(m.methods, v)
		}
		from, to := round(decibels(e.offers[0].noise)), round(decibels(best.noise))
		m.equalised = append(m.equalised, Equalisation{Tensor: e.Value.Name(), Axis: e.axis, Scales: best.scales, Reason: Reason{
			ID: "equalised", Text: fmt.Sprintf("%s: what takes it loses less, %.1f dB instead of %.1f dB", best.name, to, from),
			Numbers: map[string]float64{"before_db": from, "after_db": to},
		}})
	}
	for _, s := range m.sites {
		if touched[s.Node] {
			*m.coding[s] = coding{}
		}
	}
	m.Program, m.stats, m.sqnr = nil, nil, map[string]float64{}
	if err := m.measureShapes(); err != nil {
		return nil, err
	}
	if err := m.placeStatic(); err != nil {
		return nil, err
	}
	if err := m.chooseRoundings(); err != nil {
		return nil, err
	}
	m.pay()
	return undo, m.correctBiases()
}

// decibels returns a relative noise as SQNR.
func decibels(noise float64) float64 {
	if noise <= 0 {
		return metric.MaxSQNR
	}
	return min(-10/math.Ln10*mathf.Log64(noise), metric.MaxSQNR)
}

// equalisables returns the inputs of layers that can be scaled, each once.
func (m *planner) equalisables() []*equalisable {
	fits := func(s *Site) bool {
		return s != nil && m.open(s) && m.form(s) != half && (s.Kind == Product || s.Kind == Conv) && s.Node.Graph() == m.graph && m.runner.program.Has(s.Node.Output(0).Name())
	}
	seen := map[*onnx.Value]bool{}
	var all []*equalisable
	for _, s := range m.sites {
		v := s.Node.Input(s.Input())
		if !fits(s) || v == nil || seen[v] || v.Graph() != m.graph {
			continue
		}
		axis := -1
		if s.Kind == Conv {
			axis = 1 - s.Weight(0).Const().Rank()
		}
		sc := rescale.Find(v, axis)
		if sc == nil || m.keptOut(sc) {
			continue
		}
		for _, v := range sc.Values {
			seen[v] = true
		}
		e := &equalisable{Scaling: sc, axis: axis}
		sc.Absorbers(func(n *onnx.Node, input int, _ []int) {
			if s := m.site[n]; fits(s) && s.Inputs[0] == input {
				e.sites = append(e.sites, s)
			}
		})
		if len(e.sites) > 0 {
			all = append(all, e)
		}
	}
	return all
}

// keptOut reports whether the user excluded a node whose constants would change, or gave the parameters of a tensor that would.
func (m *planner) keptOut(sc *rescale.Scaling) bool {
	found := slices.ContainsFunc(sc.Values, func(v *onnx.Value) bool { _, ok := m.Given[v.Name()]; return ok })
	look := func(n *onnx.Node, _ int, _ []int) {
		id := m.why[n].ID
		found = found || id == "excluded" || id == "not-included"
	}
	sc.Absorbers(look)
	sc.Producers(look)
	return found
}

// offerScales makes the scales that are tried, from the sizes of the channels of the samples and of the weights.
func (m *planner) offerScales(all []*equalisable) error {
	if err := m.seeChannels(all); err != nil {
		return err
	}
	few := m.Calibration == nil || len(m.learnFrom(1, leastScaleSamples)) < leastScaleSamples
	for _, e := range all {
		e.offers = []offer{{}}
		coded := slices.ContainsFunc(e.sites, func(s *Site) bool { return m.scheme[s] != WeightOnly })
		static := slices.ContainsFunc(e.sites, func(s *Site) bool { return m.scheme[s] == Static })
		for _, w := range waysToEqualize {
			if m.Equalize == w.name || m.Equalize == EqualizeAuto && w.fits(coded, m.Calibration != nil, static && few) {
				w.offer(e)
			}
		}
	}
	return nil
}

// leastScaleSamples is the number of samples below which the extremes of channels are not trusted, where there are more.
const leastScaleSamples = 32

// seeChannels finds the extremes of the channels: on samples that nothing is judged by, where there are enough, so that what
// goes beyond them counts.
func (m *planner) seeChannels(all []*equalisable) error {
	taps := map[string]func(*onnx.Tensor){}
	for _, e := range all {
		e.lo, e.hi, e.sums = make([]float32, e.Channels), make([]float32, e.Channels), make([]float64, e.Channels)
		v := e.sites[0].Node.Input(e.sites[0].Input())
		taps[v.Name()] = func(t *onnx.Tensor) {
			x := onnx.Data[float32](t)
			for i, c := range e.Channel(v, t.Dims) {
				c = e.Tied(c)
				e.lo[c], e.hi[c] = min(e.lo[c], x[i]), max(e.hi[c], x[i])
				e.sums[c] += float64(abs(x[i]))
			}
		}
	}
	run := func(feeds map[string]*onnx.Tensor, outputs []string) (map[string]*onnx.Tensor, error) {
		return m.runner.program.Run(m.ctx, feeds, &engine.RunOptions{Tap: taps, Outputs: outputs})
	}
	if m.Calibration == nil {
		for _, t := range m.runner.trials {
			if _, err := run(t.feeds, []string{}); err != nil {
				return err
			}
		}
		return nil
	}
	sequences := m.learnFrom(1, leastScaleSamples)
	for i, k := range sequences {
		m.Progress("looking at channels", i, len(sequences))
		if err := m.Calibration.Run(k, 0, func(_ *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			return run(feeds, m.Calibration.States())
		}); err != nil {
			return err
		}
	}
	return nil
}

// waysToEqualize is the table of methods: what scales they offer, and where they fit by themselves. That depends on whether layers
// take codes, whether there are data, and whether these are too few for fixed ranges: what goes beyond those is clipped.
var waysToEqualize = []struct {
	name  Equalize
	fits  func(coded, data, few bool) bool
	offer func(e *equalisable)
}{
	{EqualizeSmooth, func(coded, data, few bool) bool { return coded && data && !few }, (*equalisable).offerSmooth},
	{EqualizeAWQ, func(coded, data, _ bool) bool { return !coded && data }, (*equalisable).offerAWQ},
	{EqualizeCLE, func(coded, _, few bool) bool { return !coded || few }, (*equalisable).offerCLE},
}

// offer adds scales x^a / w^(1−a), 1 for dead channels, for some a.
func (e *equalisable) offer(name string, x, w []float32, exponents ...float64) {
	for _, a := range exponents {
		e.offers = append(e.offers, offer{fmt.Sprintf("%s %.2f", name, a), quantize.SmoothScales(e.tied(x), e.tied(w), a), 0})
	}
}

// offerSmooth takes the weights by what they make of an input's error: the root of the sum of their squares, where the paper
// has the largest.
func (e *equalisable) offerSmooth() {
	largest := make([]float32, e.Channels)
	for c := range largest {
		largest[c] = max(-e.lo[c], e.hi[c])
	}
	e.offer("smooth", largest, e.norms(), 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
}

func (e *equalisable) offerAWQ() {
	means := make([]float32, e.Channels)
	for c, sum := range e.sums {
		means[c] = float32(sum)
	}
	e.offer("awq", means, e.norms(), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
}

// offerCLE evens out the weights of Convs before and behind.
func (e *equalisable) offerCLE() {
	before, behind := make([]float32, e.Channels), make([]float32, e.Channels)
	e.Producers(func(n *onnx.Node, input int, channel []int) {
		if n.Is("Conv") && input == 1 {
			reach(before, n, input, channel)
		}
	})
	e.Absorbers(func(n *onnx.Node, input int, channel []int) { reach(behind, n, input, channel) })
	if slices.Max(before) > 0 {
		e.offer("cle", before, behind, 0.5)
	}
}

// tied gives tied channels the largest of their values.
func (e *equalisable) tied(x []float32) []float32 {
	y := make([]float32, len(x))
	for c, v := range x {
		y[e.Tied(c)] = max(y[e.Tied(c)], v)
	}
	for c := range y {
		y[c] = y[e.Tied(c)]
	}
	return y
}

// norms returns the root of the sum of the squares of the weights of each channel.
func (e *equalisable) norms() []float32 {
	sum := make([]float64, e.Channels)
	e.Absorbers(func(n *onnx.Node, input int, channel []int) {
		for i, x := range onnx.Data[float32](n.Input(input).Const()) {
			c := e.Tied(channel[i])
			sum[c] += float64(x) * float64(x)
		}
	})
	norms := make([]float32, e.Channels)
	for c := range norms {
		norms[c] = float32(math.Sqrt(sum[c]))
	}
	return norms
}

// reach raises into to the largest values of a constant in each channel.
func reach(into []float32, n *onnx.Node, input int, channel []int) {
	x := onnx.Data[float32](n.Input(input).Const())
	for i, c := range channel {
		into[c] = max(into[c], abs(x[i]))
	}
}

func abs(x float32) float32 { return max(x, -x) }

// tryScales measures the offers.
func (m *planner) tryScales(all []*equalisable) error {
	offers := 0
	var sites []*Site
	for _, e := range all {
		offers = max(offers, len(e.offers))
		sites = append(sites, e.sites...)
	}
	n := m.affordable(float64(offers), 1, min(roundingTrials, len(m.runner.trials)))
	for k, t := range some(m.runner.trials, n) {
		m.Progress("equalising", k, n)
		values, err := m.runner.program.Run(m.ctx, t.feeds, &engine.RunOptions{Outputs: watched(sites)})
		if err != nil {
			return err
		}
		for _, e := range all {
			for i := range e.offers {
				for _, s := range e.sites {
					noise, err := m.tryScale(e, e.offers[i].scales, s, values)
					if err != nil {
						return err
					}
					e.offers[i].noise += noise
				}
			}
		}
	}
	return nil
}

// tryScale returns the noise of a layer whose input is scaled, relative to its output.
func (m *planner) tryScale(e *equalisable, scales []float32, s *Site, values map[string]*onnx.Tensor) (float64, error) {
	v, out := s.Node.Input(s.Input()), s.Node.Output(0).Name()
	known := computedInputs(s, values)
	x, w := values[v.Name()], s.Weight(0).Const()
	if scales != nil {
		x = rescale.Scaled(x, e.Channel(v, x.Dims), scales, true)
		e.Absorbers(func(n *onnx.Node, input int, channel []int) {
			if n == s.Node && input == s.Inputs[0] {
				w = rescale.Scaled(w, channel, scales, false)
			}
		})
	}
	switch m.scheme[s] {
	case Static:
		var lo, hi float32
		for c := range e.lo {
			by := float32(1)
			if scales != nil {
				by = scales[c]
			}
			lo, hi = min(lo, e.lo[c]/by), max(hi, e.hi[c]/by)
		}
		x = simulate(static(quantize.Uint8.Params(lo, hi)))(x)
	case Dynamic:
		x = simulate(perTensor())(x)
	case Token:
		x = simulate(perToken(m.sigmaK))(x)
	}
	dims, axis := s.shape(0)
	q, err := quantize.QuantizeWeights(onnx.Data[float32](w), dims, axis, quantize.Int8Weights)
	if err != nil {
		return 0, err
	}
	rounded := onnx.Zeros(onnx.Float32, w.Dims...)
	q.DequantizeTo(onnx.Data[float32](rounded))
	known[v.Name()] = x
	y, err := m.runner.program.Run(m.ctx, nil, &engine.RunOptions{
		Known: known, Override: change{engine.Edge{Node: s.Key, Input: s.Inputs[0]}: constantly(rounded)}, Outputs: []string{out},
	})
	if err != nil {
		return 0, err
	}
	energy := 0.0
	for _, f := range onnx.Data[float32](values[out]) {
		energy += float64(f) * float64(f)
	}
	if energy == 0 {
		return 0, nil
	}
	return m.disturbance(s, values[out], y[out]) / energy, nil
}
