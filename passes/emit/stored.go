package emit

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// store replaces constant weights by Mul(Cast(int8), scale), which the runtime folds to float when it loads the model.
func (e *emitter) store() error {
	return e.each(func(s *plan.Site, d *plan.Node) error {
		for i, in := range s.Inputs {
			w := d.Weights
			if i > 0 {
				w = nil // the plan's axis is the first operand's
			}
			st, err := e.weights(s, i, w, false)
			if err != nil {
				return err
			}
			s.Node.SetInput(in, e.scaled(s.Node, st))
		}
		return nil
	}, plan.WeightOnly, plan.Conv, plan.Product, plan.Recurrent, plan.Stored)
}

// scaled computes stored weights in float, in front of n.
func (e *emitter) scaled(n *onnx.Node, st *stored) *onnx.Value {
	g := n.Graph()
	if v := st.scaled[g]; v != nil {
		return v
	}
	scale := st.scales
	if dims := st.weights.ScaleDims(); st.weights.Axis != quantize.PerTensor && st.weights.Axis != len(dims)-1 {
		scale = st.codes.Graph().AddConst(st.scales.Name()+"_shaped", st.scales.Const().Reshaped(dims...))
	}
	float := e.before(n, "Cast", "", st.codes.Name()+"_cast", []*onnx.Value{st.codes}, onnx.AttrI("to", int64(onnx.Float32)))
	v := e.before(n, "Mul", "", st.codes.Name()+"_scaled", []*onnx.Value{float, scale})
	st.scaled[g] = v
	return v
}

// tables replaces Gather(table, i) by Gather(codes, i) · Gather(row scales, i): the table is never float in memory.
func (e *emitter) tables() error {
	return e.each(func(s *plan.Site, d *plan.Node) error {
		n := s.Node
		st, err := e.weights(s, 0, d.Weights, false)
		if err != nil {
			return err
		}
		name := n.Output(0).Name()
		rows := e.before(n, "Gather", "", name+"_rows", []*onnx.Value{st.codes, n.Input(1)})
		y := e.before(n, "Cast", "", name+"_cast", []*onnx.Value{rows}, onnx.AttrI("to", int64(onnx.Float32)))
		scale := st.scales
		if st.weights.Axis != quantize.PerTensor {
			shaped := st.codes.Graph().AddConst(st.scales.Name()+"_rows", st.scales.Const().Reshaped(st.weights.ScaleDims()...))
			scale = e.before(n, "Gather", "", name+"_row_scale", []*onnx.Value{shaped, n.Input(1)})
		}
		return e.replace(n, e.before(n, "Mul", "", name+"_scaled", []*onnx.Value{y, scale}))
	}, plan.WeightOnly, plan.Table)
}

// recurrent replaces LSTM by com.microsoft.DynamicQuantizeLSTM: W and R as [directions, K, 4·hidden] int8 with a scale for
// every direction and column.
func (e *emitter) recurrent() error {
	return e.each(func(s *plan.Site, _ *plan.Node) error {
		n := s.Node
		in := make([]*onnx.Value, 12)
		copy(in, n.Inputs())
		for i := range s.Inputs {
			v := s.Weight(i)
			t := v.Const()
			if t.Rank() != 3 {
				return fmt.Errorf("%w: weights %q have shape %v", onnx.ErrBadModel, v.Name(), t.Dims)
			}
			d, rows, k := t.Dims[0], t.Dims[1], t.Dims[2]
			q, err := quantize.QuantizeWeights(onnx.Data[float32](t), []int64{d * rows, k}, 0, quantize.Int8Weights)
			if err != nil {
				return fmt.Errorf("weights %q: %w", v.Name(), err)
			}
			codes := make([]int8, 0, len(q.Codes))
			for j := range d {
				codes = append(codes, transposed(q.Codes[j*rows*k:(j+1)*rows*k], rows, k)...)
			}
			g := v.Graph()
			in[1+i] = g.AddConst(v.Name()+"_quantized", onnx.Of(codes, d, k, rows))
			in[8+2*i] = g.AddConst(v.Name()+"_scale", onnx.Of(q.Scales, d, rows))
			in[9+2*i] = g.AddConst(v.Name()+"_zero_point", onnx.Zeros(onnx.Int8, d, rows))
		}
		e.model.SetOpset("com.microsoft", 1)
		n.Op, n.Domain = "DynamicQuantizeLSTM", "com.microsoft"
		n.DropAttr("layout")
		for i, v := range in {
			n.SetInput(i, v)
		}
		return nil
	}, plan.Dynamic, plan.Recurrent)
}
