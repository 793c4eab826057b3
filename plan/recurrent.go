package plan

import (
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/target"
)

// payRecurrent stores an LSTM's weights where its integer form would be slower than float, as it is for small hidden states.
func (m *planner) payRecurrent(s *Site) {
	w := s.Weight(0).Const().Dims
	float, ok := m.Target.LSTMs[target.FloatForm]
	if !ok || len(w) != 3 {
		return
	}
	steps := m.steps(s)
	of := func(c target.LSTMCost) float64 {
		return c.Of(float64(w[0]), steps, float64(w[1])/4, float64(w[2]))
	}
	if f, d := of(float), of(m.Target.LSTMs[target.DynamicForm]); d > f {
		m.scheme[s] = WeightOnly
		m.unpaid[s] = Reason{
			ID:      "integers-cost",
			Text:    "weights stored in 8 bits, computed in float: an integer LSTM of this size would take longer",
			Numbers: map[string]float64{"float_us": round(f), "dynamic_us": round(d)},
		}
	}
}

// steps returns over how many steps, of all sequences together, a recurrent node goes in the first sample; 1 where that is
// not known.
func (m *planner) steps(s *Site) float64 {
	x := s.Node.Input(s.Input())
	if m.runner != nil {
		if d := m.runner.dims[x.Name()]; len(d) == 3 {
			return float64(d[0] * d[1])
		}
	}
	steps := 1.0
	if shape := rewrite.Shape(x); len(shape) == 3 {
		for _, d := range shape[:2] {
			steps *= float64(max(d.Size, 1))
		}
	}
	return steps
}
