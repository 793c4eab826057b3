package emit

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// static puts QuantizeLinear and DequantizeLinear around the static nodes, and quantizes their weights and biases.
func (e *emitter) static() error {
	// Weights and biases first: they need the scales of the inputs by name.
	if err := e.each(e.staticWeights, plan.Static); err != nil {
		return err
	}
	for n, d := range e.nodes {
		if !n.Is("Relu", "Clip") || d.Scheme != plan.Static && d.Scheme != plan.Fused {
			continue
		}
		// What bounds it from above is where the codes behind it end. LeakyRelu has a kernel between codes; below 0 too.
		if top := d.Activations[n.Output(0).Name()].Range[1]; d.Scheme == plan.Static || n.Is("Clip") && top > onnx.Data[float32](n.Input(2).Const())[0] {
			n.Op = "Relu"
			n.TrimInputs(1)
		}
		if d.Scheme == plan.Static {
			n.Op = "LeakyRelu"
			n.SetAttr(onnx.AttrF("alpha", 0))
		}
	}
	for _, c := range e.coded {
		if err := e.code(c); err != nil {
			return fmt.Errorf("tensor %q: %w", c.value.Name(), err)
		}
	}
	return nil
}

// staticWeights gives a static node its weights as DequantizeLinear(int8), and its bias as DequantizeLinear(int32) of the
// scale that the accumulators have.
func (e *emitter) staticWeights(s *plan.Site, d *plan.Node) error {
	n := s.Node
	st, err := e.weights(s, 0, d.Weights, asIs)
	if err != nil {
		return err
	}
	if b := n.Input(2); b != nil {
		v := s.Weight(0)
		w := v.Const()
		float, err := row(b, int(w.Dims[s.Axes[0]]))
		if err != nil {
			return err
		}
		x := d.Activations[n.Input(s.Input()).Name()]
		q, err := quantize.QuantizeBias(float, x.Scale, onnx.Data[float32](w), st.weights)
		if err != nil {
			return err
		}
		if len(q.Raised) > 0 {
			st = e.store(v, q.Weights, asIs, bitsOf(d.Weights))
		}
		n.SetInput(2, e.dequantizedBias(n, b.Name(), q))
	}
	n.SetInput(s.Inputs[0], e.dequantized(n, st, s.Axes[0]))
	return nil
}

// dequantizedBias has no zero point: ONNX allows none for int32.
func (e *emitter) dequantizedBias(n *onnx.Node, name string, q quantize.Bias) *onnx.Value {
	g := n.Graph()
	scales, attrs := onnx.Scalar(q.Scales[0]), []*onnx.Attribute(nil)
	if q.Weights.Axis != quantize.PerTensor {
		scales, attrs = onnx.Of(q.Scales), []*onnx.Attribute{onnx.AttrI("axis", 0)}
	}
	codes := g.AddConst(name+"_quantized", onnx.Of(q.Codes))
	return e.before(n, "DequantizeLinear", "bias", []*onnx.Value{codes, e.constant(g, name+"_scale", scales)}, attrs...)
}

// code turns a tensor into codes: QuantizeLinear behind it, and DequantizeLinear in front of those who take it. Where a
// static node makes it, nobody sees the float tensor any more.
func (e *emitter) code(c *coded) error {
	v := c.value
	g, name := v.Graph(), v.Name()
	scale, zero := e.constant(g, name+"_scale", onnx.Scalar(c.params.Scale)), e.zeroPoint(g, c.params.ZeroPoint)
	if t := v.Const(); t != nil {
		q := make([]uint8, t.Len())
		quantize.Quantize(q, onnx.Data[float32](t), c.params.Params(), quantize.Uint8)
		codes := g.AddConst(name+"_quantized", onnx.Of(q, t.Dims...))
		for _, u := range c.takers {
			u.Node.SetInput(u.Index, e.before(u.Node, "DequantizeLinear", name+"_dq", []*onnx.Value{codes, scale, zero}))
		}
		return nil
	}
	producer, _ := v.Producer()
	q := g.InsertAfter(producer, onnx.NodeSpec{Op: "QuantizeLinear", Inputs: []*onnx.Value{v, scale, zero}, Outputs: []string{name + "_q"}})
	float := g.InsertAfter(q, onnx.NodeSpec{Op: "DequantizeLinear", Inputs: []*onnx.Value{q.Output(0), scale, zero}, Outputs: []string{name + "_dq"}}).Output(0)
	if !c.made {
		for _, u := range c.takers {
			u.Node.SetInput(u.Index, float)
		}
		return nil
	}
	if !onnx.Replace(v, float) {
		return fmt.Errorf("it cannot be replaced")
	}
	q.SetInput(0, v)
	e.context.Trace.Became(v, float)
	return nil
}
