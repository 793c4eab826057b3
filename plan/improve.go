package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/quantize"
)

// mostNoise is the share of the whole's noise that a few quantizations, of all at most that share, must make: without it the
// whole gains 6 dB.
const mostNoise, few = 0.75, 0.1

// improve goes on where the whole stands: as long as a few quantizations make most of its noise, they are taken back, if what
// the whole gains is worth what that costs. Synthetic samples do not tell that.
func (m *planner) improve(whole float64) error {
	for m.Calibration != nil && whole < m.Guard.Enough {
		loud, err := m.loudest(whole)
		if err != nil || len(loud) == 0 {
			return err
		}
		before := m.clone()
		for _, c := range loud {
			m.release(c, Reason{
				ID:      "guard",
				Text:    fmt.Sprintf("the quantized %s makes much of the noise: alone it would leave the outputs %.1f dB, all together leave %.1f dB", c.name, m.alone(c), whole),
				Numbers: map[string]float64{"sqnr_db": round(m.alone(c)), "whole_db": round(whole)},
			})
		}
		if err := m.settle(); err != nil {
			return err
		}
		after, err := m.wholeSQNR()
		if err != nil {
			return err
		}
		if after-whole < m.Guard.Worth*m.dearer(before) {
			*m = *before
			return nil
		}
		whole = after
	}
	return nil
}

// loudest returns the fewest of the candidates that are cheap to take back which make most of the whole's noise.
func (m *planner) loudest(whole float64) ([]candidate, error) {
	all, err := m.simulation()
	if err != nil {
		return nil, err
	}
	n := int(few * float64(len(all)))
	all = slices.DeleteFunc(all, func(c candidate) bool { return !m.cheap(c) })
	if err := m.measureEach(all); err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(m.alone(a), m.alone(b)) })
	left := 1.0
	for i, c := range all[:min(n, len(all))] {
		if left -= mathf.Pow64(10, (whole-m.alone(c))/10); left <= 1-mostNoise {
			return all[:i+1], nil
		}
	}
	return nil, nil
}

// cheap reports whether a candidate can be taken back without breaking up integers: the input of a product that is quantized at
// run time, or weights in 8 bits that are computed with in float. What the user chose for a node stays.
func (m *planner) cheap(c candidate) bool {
	if c.tensor != nil {
		return false
	}
	switch wish := m.wishes[c.site.Node]; {
	case !m.open(c.site) || c.activation && wish.Activations != "" || !c.activation && wish.Weights != (Form{}):
		return false
	case c.activation:
		return c.site.Kind == Product && m.scheme[c.site] != WeightOnly && m.floatShare() < m.Guard.MaxFloat
	}
	return c.site.Kept == nil && m.scheme[c.site] == WeightOnly && m.form(c.site) == usual && c.site.bearsHalf()
}

// dearer returns by which share a plan takes more time and more bytes of weights than the one before.
func (m *planner) dearer(before *planner) float64 {
	time, bytes := m.expense()
	time0, bytes0 := before.expense()
	return time/max(time0, 1) + bytes/max(bytes0, 1) - 2
}

// expense estimates the microseconds that the products and convolutions take in the target, and the bytes of all weights.
func (m *planner) expense() (time, bytes float64) {
	for _, s := range m.sites {
		time += m.time(s)
		bytes += m.bytes(s)
	}
	return time, bytes
}

func (m *planner) time(s *Site) float64 {
	scheme := m.scheme[s]
	if !m.open(s) {
		scheme = Float
	}
	switch {
	case s.Kind == Conv && scheme == Static:
		return m.convCosts(s).static
	case s.Kind == Conv:
		return m.convCosts(s).float
	case s.Kind != Product:
		return 0
	case scheme == Token:
		return m.cost(s).token
	case scheme == Dynamic || scheme == Static:
		return m.cost(s).dynamic
	}
	return m.cost(s).float
}

func (m *planner) bytes(s *Site) float64 {
	float := float64(s.Bytes())
	if !m.open(s) {
		return float
	}
	f := m.form(s)
	if f == half {
		return float / 2
	}
	row, _ := quantize.FormatNamed(f.Type)
	bytes := float / 32 * float64(row.Bits)
	if f.Block > 0 {
		bytes += float / float64(f.Block) // scales
	}
	return bytes
}
