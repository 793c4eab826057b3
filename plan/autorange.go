package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// A contest is between the ranges that the methods offer a family.
//
// What a range costs has two parts: rounding errors, which are alike everywhere and cancel in the sums of the layers behind, and
// clipped peaks, which may be what these layers look for. How large both are is known from the statistics of all the data; what
// one costs the model's outputs, compared with the other, is measured on a few samples. Ranges themselves are not run against each
// other: which of two neighbouring scales happens to suit a few samples better would drown what is looked for.
type contest struct {
	*family
	offers      []quantize.Candidate // the first clips nothing
	tight       quantize.Candidate   // of least noise
	round, clip disturbed            // what rounding by the first and clipping by the tightest do to the tensors
}

// worthClipping is the share of a family's noise that another range than the extremes must take away: what is beyond the values
// seen is clipped, too, and costs unseen.
const worthClipping = 0.1

// evident is the share of the clipping expected that the samples measured on must have, at least, for its cost to be known.
const evident = 0.25

// leastRangeSamples is the number of samples below which their distribution tells nothing of the extremes of others.
const leastRangeSamples = 32

// measureRanges chooses a range for every family that it was not chosen for before, with more than one that may be worth it.
func (m *planner) measureRanges(families []*family) error {
	if m.Calibration == nil || m.Calibration.Samples() < leastRangeSamples {
		return nil
	}
	var contests []*contest
	for _, f := range families {
		if m.params[f.tensors[0]].Method != m.plainRange().Method || m.methods[f.sources[0]] != "" || m.leaves(f) {
			continue // known, measured before, or not to be clipped
		}
		m.methods[f.sources[0]] = m.plainRange().Method
		c, err := m.contest(f)
		if err != nil {
			return err
		}
		if c.tight.Noise < (1-worthClipping)*c.offers[0].Noise {
			contests = append(contests, c)
		}
	}
	if len(contests) == 0 {
		return nil
	}
	var changes []change
	for _, c := range contests {
		rounded, clipped := change{}, change{}
		for _, v := range c.tensors {
			rounded.add(m.layout.overrides(v, m.keys, c.round.centred(static(c.params(c.offers[0])))))
			clipped.add(m.layout.overrides(v, m.keys, c.clip.by(clip(c.params(c.tight)))))
		}
		changes = append(changes, rounded, clipped)
	}
	trials := m.affordable(float64(len(changes))/2, 1, len(m.runner.trials)) // on average half of the network lies behind a change
	db, err := m.runner.measureEach(m.ctx, changes, trials, func(i int) { m.Progress("choosing ranges", i, trials*len(changes)) })
	if err != nil {
		return err
	}
	for i, c := range contests {
		best := c.best(db[2*i], db[2*i+1])
		m.methods[c.sources[0]] = best.Method
		m.set(c.family, c.activation(best.Method, best.Lo, best.Hi))
	}
	return nil
}

// leaves reports whether a family is what the model gives, with no weights behind it. What is asked of an output may be its
// extremes: the greatest score, the brightest pixel.
func (m *planner) leaves(f *family) bool {
	seen := map[*onnx.Value]bool{}
	var reaches func(v *onnx.Value) bool
	reaches = func(v *onnx.Value) bool {
		if v == nil || seen[v] {
			return false
		}
		seen[v] = true
		return v.IsOutput() || slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool {
			s := m.site[u.Node]
			return (s == nil || s.Input() != u.Index) && slices.ContainsFunc(u.Node.Outputs(), reaches)
		})
	}
	return slices.ContainsFunc(f.tensors, reaches)
}

func (c *contest) params(o quantize.Candidate) quantize.Params {
	return c.activation(o.Method, o.Lo, o.Hi).Params()
}

// contest returns the ranges that the methods offer a family.
func (m *planner) contest(f *family) (*contest, error) {
	seen, err := m.seen(f.sources)
	if err != nil {
		return nil, err
	}
	var h []*quantize.Histogram
	for _, c := range seen {
		h = append(h, c.(*quantize.Histogram))
	}
	c := &contest{family: f}
	if c.offers, err = m.Range.Candidates(h, quantize.Uint8); err != nil {
		return nil, fmt.Errorf("tensor %q: %w", f.sources[0].Name(), err)
	}
	c.tight = c.offers[0]
	for _, o := range c.offers {
		if o.Noise < c.tight.Noise {
			c.tight = o
		}
	}
	return c, nil
}

// best returns the offer that costs the outputs least; the first, where none is much better. rounded and clipped are the outputs'
// SQNR in dB when the tensors are rounded by the first and clipped by the tightest.
func (c *contest) best(rounded, clipped float64) quantize.Candidate {
	first := c.offers[0]
	expected := c.tight.Clipping / first.Noise * c.round.mean()
	if !(rounded < metric.MaxSQNR) || c.clip.mean() < evident*expected {
		return first
	}
	worse := 1.0 // than rounding is clipping, for the same error; there is no reason why it should be better
	if c.clip.energy > 0 {
		worse = max(1, mathf.Pow64(10, (rounded-clipped)/10)*c.round.mean()/c.clip.mean())
	}
	cost := func(o quantize.Candidate) float64 { return o.Noise - o.Clipping + float64(worse*o.Clipping) }
	best := slices.MinFunc(c.offers, func(a, b quantize.Candidate) int { return cmp.Compare(cost(a), cost(b)) })
	if cost(best) < (1-worthClipping)*cost(first) {
		return best
	}
	return first
}

// clip cuts off what is beyond the outermost codes.
func clip(p quantize.Params) fake {
	lo, hi := ends(p)
	return func(dst, x []float32, _ int) {
		for i, v := range x {
			dst[i] = min(max(v, lo), hi)
		}
	}
}

// disturbed measures what overrides do to the tensors they are made for.
type disturbed struct {
	energy float64
	values int
}

func (d *disturbed) mean() float64 { return d.energy / float64(max(d.values, 1)) }

// by makes an override that adds up the errors it makes.
func (d *disturbed) by(f fake) func(*onnx.Tensor) *onnx.Tensor {
	over := simulate(f)
	return func(t *onnx.Tensor) *onnx.Tensor {
		y := over(t)
		d.add(t, y)
		return y
	}
}

// centred makes one that leaves the mean of every channel as it is: the layers' biases make up for it in the end.
func (d *disturbed) centred(f fake) func(*onnx.Tensor) *onnx.Tensor {
	over := simulate(f)
	return func(t *onnx.Tensor) *onnx.Tensor {
		y := over(t)
		if t.Rank() > 2 && t.Type == onnx.Float32 {
			if inner := int(onnx.NumElements(t.Dims[2:])); inner >= leastForMean {
				a, b := onnx.Data[float32](t), onnx.Data[float32](y)
				for at := 0; at < len(a); at += inner {
					keepMean(b[at:at+inner], a[at:at+inner])
				}
			}
		}
		d.add(t, y)
		return y
	}
}

// keepMean shifts got to the mean of want.
func keepMean(got, want []float32) {
	sum := 0.0
	for i, x := range want {
		sum += float64(got[i]) - float64(x)
	}
	shift := float32(sum / float64(len(want)))
	for i := range got {
		got[i] -= shift
	}
}

func (d *disturbed) add(want, got *onnx.Tensor) {
	if want.Type != onnx.Float32 {
		return
	}
	b := onnx.Data[float32](got)
	for i, x := range onnx.Data[float32](want) {
		e := float64(b[i]) - float64(x)
		d.energy += float64(e * e)
	}
	d.values += want.Len()
}
