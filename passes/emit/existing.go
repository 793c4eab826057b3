package emit

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/quantize"
)

// keepConstants gives those who still take a constant which the model had as codes a DequantizeLinear of them.
func (e *emitter) keepConstants() error {
	g := e.model.Graph
	for _, v := range slices.Clone(g.Consts()) {
		k := e.prepared.Existing.Constants[v]
		if k == nil || !rewrite.Used(v) {
			continue
		}
		name := v.Name()
		in := []*onnx.Value{g.AddConst(name+"_quantized", k.Codes), e.constant(g, name+"_scale", k.Scales)}
		if k.Zeros != nil {
			in = append(in, e.constant(g, name+"_zp", k.Zeros))
		}
		var attrs []*onnx.Attribute
		if k.Axis != quantize.PerTensor {
			attrs = append(attrs, onnx.AttrI("axis", int64(k.Axis)))
		}
		float := g.InsertAfter(nil, onnx.NodeSpec{Op: "DequantizeLinear", Inputs: in, Outputs: []string{"weight"}, Attrs: attrs})
		onnx.ReplaceUses(v, float.Output(0))
	}
	return nil
}

// mergeCodes lets those who take codes of codes take the first: of QuantizeLinear, DequantizeLinear and the same QuantizeLinear.
func (e *emitter) mergeCodes() error {
	for n := range e.model.Graph.Nodes() {
		if !n.Is("QuantizeLinear") {
			continue
		}
		dq := rewrite.ProducedBy(n.Input(0), "DequantizeLinear")
		if dq == nil || !sameConst(dq.Input(1), n.Input(1)) || !sameConst(dq.Input(2), n.Input(2)) || dq.Input(0).Const() != nil {
			continue
		}
		rewrite.Bypass(e.context, n, dq.Input(0))
	}
	return nil
}

// sameConst reports whether two constants of codes' parameters are one scale, or one zero point, and equal.
func sameConst(a, b *onnx.Value) bool {
	x, y := rewrite.Const(a), rewrite.Const(b)
	return x != nil && y != nil && x.Type == y.Type && x.Len() == 1 && y.Len() == 1 && slices.Equal(x.Bytes(), y.Bytes())
}
