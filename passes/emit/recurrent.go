package emit

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
)

// recurrent replaces LSTM by com.microsoft.DynamicQuantizeLSTM, whose weights W and R are int8 [directions, K, 4·hidden]
// with a scale for every direction and column. Its further inputs are those of LSTM, then scale and zero point of W and of R.
func (e *emitter) recurrent() error {
	return e.each(func(s *plan.Site, d *plan.Node) error {
		n := s.Node
		in := make([]*onnx.Value, 12)
		copy(in, n.Inputs())
		for i := range s.Inputs {
			st, err := e.gates(s, i, d.Weights)
			if err != nil {
				return err
			}
			in[s.Inputs[i]], in[8+2*i], in[9+2*i] = st.codes, st.scales, st.zeros
		}
		e.model.SetOpset("com.microsoft", 1)
		n.Op, n.Domain = "DynamicQuantizeLSTM", "com.microsoft"
		n.DropAttr("layout")
		n.DropAttr("input_forget")
		for i, v := range in {
			n.SetInput(i, v)
		}
		return nil
	}, plan.Dynamic, plan.Recurrent)
}

// gates stores weights [directions, 4·hidden, K] of a recurrent node.
func (e *emitter) gates(s *plan.Site, i int, w *plan.Weights) (*stored, error) {
	v := s.Weight(i)
	t := v.Const()
	if t.Rank() != 3 {
		return nil, fmt.Errorf("%w: weights %q have shape %v", onnx.ErrBadModel, v.Name(), t.Dims)
	}
	if w != nil && w.Axis != s.Axes[i] {
		return nil, fmt.Errorf("DynamicQuantizeLSTM is written with weights along axis %d only", s.Axes[i])
	}
	return e.once(keyOf(s, i, w, transposed), func() (*stored, error) {
		directions, rows := t.Dims[0], t.Dims[1]
		q, err := plan.QuantizeSite(s, i, w)
		if err != nil {
			return nil, err
		}
		codes, dims := transpose(q.Codes, t.Dims)
		g := v.Graph()
		return &stored{
			codes:   g.AddConst(v.Name()+"_quantized", onnx.Of(codes, dims...)),
			scales:  e.constant(g, v.Name()+"_scale", onnx.Of(q.Scales, directions, rows)),
			zeros:   e.zeroPoints(g, v.Name(), q, directions, rows),
			weights: q,
		}, nil
	})
}
