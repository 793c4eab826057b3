package plan

import (
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/kernels/quant"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// A fake quantizes and dequantizes an activation into dst; rows have the length of the last axis.
type fake func(dst, x []float32, row int)

// simulate makes an override of a fake quantization. Tensors of other types pass.
func simulate(f fake) func(*onnx.Tensor) *onnx.Tensor {
	var out onnx.Tensor
	return func(t *onnx.Tensor) *onnx.Tensor {
		if t.Type != onnx.Float32 || t.Len() == 0 {
			return t
		}
		row := 1
		if t.Rank() > 0 {
			row = int(t.Dims[t.Rank()-1])
		}
		out.Resize(onnx.Float32, t.Dims...)
		f(onnx.Data[float32](&out), onnx.Data[float32](t), row)
		return &out
	}
}

// static quantizes with fixed parameters.
func static(p quantize.Params) fake {
	var codes []uint8
	return func(dst, x []float32, _ int) { roundTrip(dst, x, p, &codes) }
}

// perTensor is DynamicQuantizeLinear.
func perTensor() fake {
	var codes []uint8
	return func(dst, x []float32, _ int) { roundTrip(dst, x, quantize.DynamicParams(x), &codes) }
}

// perToken is the token-wise form: codes around 128 with one scale a row. sigmaK is that of Node.
func perToken(sigmaK float32) fake {
	var codes []uint8
	return func(dst, x []float32, row int) {
		for i := 0; i < len(x); i += row {
			p := quantize.Params{Scale: quantize.RowScale(x[i:i+row], sigmaK), ZeroPoint: 128}
			roundTrip(dst[i:i+row], x[i:i+row], p, &codes)
		}
	}
}

func roundTrip(dst, x []float32, p quantize.Params, codes *[]uint8) {
	if cap(*codes) < len(x) {
		*codes = make([]uint8, len(x))
	}
	q := (*codes)[:len(x)]
	quant.Quantize(q, x, p.Scale, p.ZeroPoint, false)
	quant.Dequantize(dst[:len(x)], q, p.Scale, p.ZeroPoint, false)
}

// weights returns the change that stands for the quantized weights of a site, made once.
func (m *planner) weights(s *Site) (change, error) {
	m.refresh(s)
	k := m.coding[s]
	var err error
	switch {
	case k.change != nil:
	case k.lowRank != nil:
		k.change = m.beside(s, k.lowRank)
	default:
		k.change, err = m.rounded(s, k.rounding)
	}
	return k.change, err
}

// refresh forgets what was found for a site's weights in another form than they are to have now.
func (m *planner) refresh(s *Site) {
	if f := m.form(s); m.coding[s].form != f {
		*m.coding[s] = coding{form: f}
	}
}

// stored returns how a site's weights are written down in a rounding; "" is the one where nothing was measured.
func (m *planner) stored(s *Site, rounding string) *Weights {
	f := m.form(s)
	if rounding == "" {
		rounding = s.Rounding()
		if row, _ := quantize.FormatNamed(f.Type); !row.Simple(f.Block) {
			rounding = quantize.Roundings[0].Name
		}
	}
	return &Weights{Form: f, Axis: s.Axes[0], Rounding: rounding}
}

// rounded returns the change that stands for a site's weights in a rounding; "" is the site's own. Codes are kept, a quarter of
// the float weights; their values are computed where a node asks for them.
func (m *planner) rounded(s *Site, rounding string) (change, error) {
	c := change{}
	for i, in := range s.Inputs {
		if m.form(s) == half {
			x, err := s.Half(i).Float32s()
			if err != nil {
				return nil, err
			}
			c[engine.Edge{Node: s.Key, Input: in}] = constantly(onnx.Of(x, s.Weight(i).Const().Dims...))
			continue
		}
		q := m.coding[s].learned[rounding]
		if q == nil {
			var err error
			if q, err = QuantizeSite(s, i, m.stored(s, rounding)); err != nil {
				return nil, err
			}
		}
		c[engine.Edge{Node: s.Key, Input: in}] = m.values(q, in)
	}
	return c, nil
}

// values returns an override that gives the values of quantized weights. Nodes run one after the other, so that all weights
// at one input position share the memory; the tensor is a new one each time, since kernels recognise what they have packed.
func (m *planner) values(q *quantize.Weights, input int) func(*onnx.Tensor) *onnx.Tensor {
	return func(t *onnx.Tensor) *onnx.Tensor {
		if cap(m.weightValues[input]) < len(q.Codes) {
			m.weightValues[input] = make([]float32, len(q.Codes))
		}
		w := m.weightValues[input][:len(q.Codes)]
		q.DequantizeTo(w)
		return onnx.Of(w, t.Dims...)
	}
}

func constantly(t *onnx.Tensor) func(*onnx.Tensor) *onnx.Tensor {
	return func(*onnx.Tensor) *onnx.Tensor { return t }
}
