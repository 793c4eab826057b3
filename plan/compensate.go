package plan

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// Compensations are what --compensate knows: how what quantization does to a layer is made up for.
var Compensations = append([]string{CompensateNone, CompensateBias}, func() (names []string) {
	for _, c := range quantize.Compensations {
		names = append(names, c.Name)
	}
	return names
}()...)

// The compensations that are no low-rank terms. Unless others are named, biases are corrected.
const (
	CompensateNone = "none"
	CompensateBias = "bias"
)

// DefaultRank is that of low-rank terms.
const DefaultRank = 8

// worthCompensating is the share of a layer's noise that a low-rank term must take away.
const worthCompensating = 0.1

// A compensated layer has other codes beside a low-rank term than without.
type compensated struct {
	weights          *quantize.Weights
	factors          *quantize.Factors // nil: there is none
	method, rounding string
	gain             float64 // in dB, held back
}

// values returns the weights that the codes and the term stand for.
func (c *compensated) values(s *Site) []float32 {
	w := c.weights.Dequantize()
	if c.factors != nil {
		c.factors.LowRank().AddTo(w, s.Axes[0] == 0)
	}
	return w
}

// rank returns that of the terms that a site's weights may get: as asked for, but with no more bytes than weights of 8 bits have.
func (m *planner) rank(s *Site) int {
	if s.Kept != nil || s.Kind != Product || m.scheme[s] == Static || s.Node.Graph() != m.graph || len(m.lowRanks()) == 0 {
		return 0
	}
	q, err := m.blank(s)
	if err != nil {
		return 0
	}
	f, _ := quantize.FormatNamed(m.form(s).Type)
	n, k, blocks := q.Shape()
	perBlock := 4
	if q.Zeros != nil {
		perBlock++
	}
	left := (n*k + 4*n) - (n*k*f.Bits/8 + n*blocks*perBlock)
	return max(min(m.Rank, n, k, left/(n+k+4)), 0)
}

// lowRanks returns the low-rank compensations that were asked for.
func (m *planner) lowRanks() []quantize.Compensation {
	return slices.DeleteFunc(slices.Clone(quantize.Compensations), func(c quantize.Compensation) bool { return !slices.Contains(m.Compensate, c.Name) })
}

// offer finds the low-rank terms of a site's weights beside codes in a rounding, whose codes without are q.
func (m *planner) offer(s *Site, q *quantize.Weights, rounding string, known []*quantize.Solver) ([]*compensated, error) {
	rank := m.rank(s)
	r, ok := quantize.RoundingNamed(rounding)
	if rank == 0 || !ok {
		return nil, nil
	}
	var all []*compensated
	for _, c := range m.lowRanks() {
		if c.Solver && known == nil {
			continue
		}
		own := q.Clone()
		f, err := c.Apply(own, onnx.Data[float32](s.Weight(0).Const()), rank, r, quantize.Layer{Kernel: s.kernel(0), Solvers: known})
		if err != nil {
			return nil, fmt.Errorf("weights %q: %w", s.Weight(0).Name(), err)
		}
		all = append(all, &compensated{weights: own, factors: f, method: c.Name, rounding: rounding})
	}
	return all, nil
}

// compensate gives the weights of products the low-rank term that makes their outputs better, on samples that nothing was
// learned from.
func (m *planner) compensate() error {
	var sites []*Site
	for _, s := range m.sites {
		k := m.coding[s]
		if !m.open(s) || m.rank(s) == 0 || k.rounding == "" || k.settled || !m.runner.program.Has(s.Node.Output(0).Name()) {
			continue
		}
		k.settled = true
		if k.offered == nil { // nothing is known of its inputs
			q, err := QuantizeSite(s, 0, m.stored(s, k.rounding))
			if err != nil {
				return err
			}
			if k.offered, err = m.offer(s, q, k.rounding, nil); err != nil {
				return err
			}
		}
		if len(k.offered) > 0 {
			sites = append(sites, s)
		}
	}
	if len(sites) == 0 {
		return nil
	}
	changes := map[*Site][]change{}
	for _, s := range sites {
		without, err := m.rounded(s, m.coding[s].rounding)
		if err != nil {
			return err
		}
		changes[s] = []change{without}
		for _, c := range m.coding[s].offered {
			changes[s] = append(changes[s], m.beside(s, c))
		}
	}
	noise, err := m.disturbances(sites, changes, m.fresh(), "compensating")
	if err != nil {
		return err
	}
	for _, s := range sites {
		k, least := m.coding[s], (1-worthCompensating)*noise[s][0]
		for i, c := range k.offered {
			if e := noise[s][i+1]; e < least {
				least = e
				c.gain = decibels(e / noise[s][0])
				k.lowRank, k.change = c, changes[s][i+1]
			}
		}
		k.offered = nil
	}
	return nil
}

// fresh returns the trials that nothing was learned from; all where there is none.
func (m *planner) fresh() []trial {
	held := m.heldBack()
	trials := slices.DeleteFunc(slices.Clone(m.runner.trials), func(t trial) bool { return !slices.Contains(held, t.sequence) })
	if len(trials) == 0 {
		return m.runner.trials
	}
	return trials
}

// beside returns the change that stands for a site's weights as ŵ + A·B. Where activations are quantized, too, the file multiplies
// those of float with A·B: the difference is the product of two errors.
func (m *planner) beside(s *Site, c *compensated) change {
	float, l := m.values(c.weights, s.Inputs[0]), c.factors.LowRank()
	return change{engine.Edge{Node: s.Key, Input: s.Inputs[0]}: func(t *onnx.Tensor) *onnx.Tensor {
		w := float(t)
		l.AddTo(onnx.Data[float32](w), s.Axes[0] == 0)
		return w
	}}
}
