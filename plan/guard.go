package plan

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// A Guard holds the limits of the search for nodes that cannot bear quantization.
type Guard struct {
	Samples  int     // samples it measures on, at least
	Most     int     // and with few bits at most: a quarter of all where that lies between
	Stands   float64 // dB: a model at or above this output SQNR is left as it is
	Margin   float64 // dB under the median of all candidates that makes one stick out
	Matters  float64 // dB above the whole: a candidate at or over it hardly adds to the whole's noise and stays quantized
	MaxFloat float64 // share of the multiply-adds that may become float
	Enough   float64 // dB: above Stands, up to this, what makes most of the noise is taken back where that is cheap
	Worth    float64 // dB that the whole must gain there for what would double the time or the weights' bytes
	Budget   float64 // work one round of measuring may cost, in multiply-adds; fewer samples are taken beyond
}

// DefaultGuard has the limits found on real models (algorithms.md §6 of the project's documents). Worth makes
// a third the most that may be paid for three quarters of the noise.
var DefaultGuard = Guard{Samples: 8, Most: 32, Stands: 25, Margin: 12, Matters: 10, MaxFloat: 0.2, Enough: 40, Worth: 18, Budget: 3e11}

// A candidate is one quantization that the guard can take back: a site's weights, its activation, or a tensor between
// integer nodes.
type candidate struct {
	name       string
	state      string // what its change depends on beside the name: what was measured in another one says nothing of it
	site       *Site
	activation bool
	tensor     *onnx.Value
	change     change
}

// measured is the key of a candidate's figure.
func (c candidate) measured() string { return c.name + "\x00" + c.state }

// alone returns the SQNR in dB that was measured under a candidate alone.
func (m *planner) alone(c candidate) float64 { return m.sqnr[c.measured()] }

// guard measures the whole model; where it does not stand, what sticks out stays float, again and again, until the model
// stands, nothing sticks out, or too much is float.
func (m *planner) guard() error {
	if m.runner == nil {
		return nil
	}
	for {
		all, err := m.simulation()
		if err != nil || len(all) == 0 {
			return err
		}
		whole, err := m.measureAll(all)
		if err != nil {
			return err
		}
		if whole >= m.Guard.Stands {
			return m.improve(whole)
		}
		full := m.floatShare() >= m.Guard.MaxFloat
		if full && !slices.ContainsFunc(all, m.computedInFloat) {
			return nil
		}
		if err := m.measureEach(all); err != nil {
			return err
		}
		var figures []float64
		for _, c := range all {
			// What has become float16 is quiet and would raise the median, under which others stick out; what is not heard at all
			// lies in a branch that no sample takes.
			if db := m.alone(c); db < metric.MaxSQNR && !m.computedInFloat(c) {
				figures = append(figures, db)
			}
		}
		if len(figures) == 0 {
			return nil
		}
		median := medianOf(figures)
		culprits := slices.DeleteFunc(all, func(c candidate) bool {
			return full && !m.computedInFloat(c) || !(m.alone(c) < median-m.Guard.Margin && m.alone(c) < whole+m.Guard.Matters)
		})
		if len(culprits) == 0 {
			return nil
		}
		for _, c := range culprits {
			m.release(c, Reason{
				ID:      "guard",
				Text:    fmt.Sprintf("alone, the quantized %s would leave the outputs %.1f dB; the median of all is %.1f dB", c.name, m.alone(c), median),
				Numbers: map[string]float64{"sqnr_db": round(m.alone(c)), "median_db": round(median), "whole_db": round(whole)},
			})
		}
		if err := m.settle(); err != nil {
			return err
		}
	}
}

// settle plans what follows from what was taken back.
func (m *planner) settle() error {
	if m.layout != nil {
		if err := m.placeStatic(); err != nil {
			return err
		}
		m.pay()
	}
	if err := m.chooseRoundings(); err != nil { // of those that are written down in another way now
		return err
	}
	return m.correctNew()
}

// computedInFloat reports whether to take a candidate back makes no more of the model float: its weights are in half precision.
func (m *planner) computedInFloat(c candidate) bool {
	return c.site != nil && !c.activation && m.form(c.site) == half
}

// release takes a candidate's quantization back: that of weights step by step, to 8 bits, then to half precision.
func (m *planner) release(c candidate, why Reason) {
	switch {
	case c.tensor != nil:
		m.float[c.tensor], m.guarded[c.tensor] = true, why
	case c.activation:
		m.scheme[c.site] = WeightOnly
		m.guarded[m.end(c.site.Node)] = why
	default:
		f, ok := m.next(c.site)
		switch {
		case !ok:
			m.why[c.site.Node] = why
			return
		case f == usual:
			why.ID = "guard-int8"
		default:
			m.scheme[c.site] = WeightOnly
		}
		m.asked[c.site], m.coarse[c.site] = f, why
	}
}

// wholeSQNR measures all current decisions together.
func (m *planner) wholeSQNR() (float64, error) {
	all, err := m.simulation()
	if err != nil {
		return 0, err
	}
	return m.measureAll(all)
}

func (m *planner) measureAll(all []candidate) (float64, error) {
	return m.runner.measure(m.ctx, together(all))
}

// together returns the changes of all candidates.
func together(all []candidate) change {
	c := change{}
	for _, k := range all {
		c.add(k.change)
	}
	return c
}

// measureEach measures candidates alone; figures from earlier rounds stand.
func (m *planner) measureEach(all []candidate) error {
	var open []candidate
	var changes []change
	for _, c := range all {
		if _, ok := m.sqnr[c.measured()]; !ok {
			open, changes = append(open, c), append(changes, c.change)
		}
	}
	trials := m.affordable(float64(len(open))/2, 1, len(m.runner.trials)) // on average half of the network lies behind a change
	db, err := m.runner.measureEach(m.ctx, changes, trials, func(i int) { m.Progress("guarding", i, trials*len(changes)) })
	if err != nil {
		return err
	}
	for i, c := range open {
		m.sqnr[c.measured()] = db[i]
	}
	return nil
}

// workPerValue is what computing one value of an activation costs beside its multiply-adds, in multiply-adds.
const workPerValue = 20

// affordable returns how many samples, within limits, can be run so many times each within the budget. It counts work, never
// seconds, so that a plan does not depend on the machine.
func (m *planner) affordable(runs float64, least, most int) int {
	work := m.macs() + workPerValue*m.runner.values
	return max(min(least, most), min(most, int(m.Guard.Budget/max(1, runs*work))))
}

// economise turns stored products to per-tensor dynamic where that is faster than float, the least loss per microsecond
// first, as long as together they at most double the noise that the model has without them.
func (m *planner) economise() error {
	if m.runner == nil || len(m.cheaper) == 0 {
		return nil
	}
	whole, err := m.wholeSQNR()
	if err != nil {
		return err
	}
	var offers []candidate
	for _, s := range m.sites {
		if m.cheaper[s] > 0 && m.open(s) && m.scheme[s] == WeightOnly && m.guarded[m.end(s.Node)].ID == "" && m.coarse[s].ID != "guard" {
			offers = append(offers, candidate{name: "input per tensor of " + s.Key, site: s, activation: true, change: m.dynamicChange(s, Dynamic)})
		}
	}
	if err := m.measureEach(offers); err != nil {
		return err
	}
	noise := func(c candidate) float64 { return mathf.Pow64(10, -m.alone(c)/10) }
	slices.SortStableFunc(offers, func(a, b candidate) int {
		switch x, y := noise(a)/m.cheaper[a.site], noise(b)/m.cheaper[b.site]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	left := mathf.Pow64(10, -whole/10)
	for _, c := range offers {
		if left -= noise(c); left < 0 {
			return nil
		}
		m.scheme[c.site] = Dynamic
	}
	return nil
}

// macs returns the multiply-adds of a float run of the first trial, over all sites.
func (m *planner) macs() float64 {
	total := 0.0
	for _, s := range m.sites {
		total += m.siteMACs(s)
	}
	return total
}

func (m *planner) siteMACs(s *Site) float64 {
	if s.Kind != Product && s.Kind != Conv {
		return 0
	}
	out := m.runner.dims[s.Node.Output(0).Name()]
	if out == nil {
		return 0
	}
	w := s.Weight(0).Const()
	channel := w.Dims[s.Axes[0]]
	return float64(onnx.NumElements(out)) * float64(w.Len()) / float64(max(channel, 1))
}

// floatShare returns the share of the multiply-adds that the guard has made float.
func (m *planner) floatShare() float64 {
	float := 0.0
	for _, s := range m.sites {
		if m.why[s.Node].ID == "guard" || m.coarse[s].ID == "guard" || m.guarded[s.Node.Input(s.Input())].ID != "" || m.guarded[m.end(s.Node)].ID != "" {
			float += m.siteMACs(s)
		}
	}
	return float / max(1, m.macs())
}

func medianOf(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	n := len(x)
	if n%2 == 1 {
		return x[n/2]
	}
	return (x[n/2-1] + x[n/2]) / 2
}
