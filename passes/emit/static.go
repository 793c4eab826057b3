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
	for _, kind := range []plan.Kind{plan.Conv, plan.Product} {
		if err := e.each(e.staticWeights, plan.Static, kind); err != nil {
			return err
		}
	}
	seen := map[*onnx.Value]bool{}
	for _, d := range e.plan.Nodes {
		if len(d.Activations) == 0 {
			continue
		}
		n := e.byKey[d.Key]
		for _, list := range [][]*onnx.Value{n.Inputs(), n.Outputs()} {
			for _, v := range list {
				if v == nil || seen[v] {
					continue
				}
				if a, ok := d.Activations[v.Name()]; ok {
					seen[v] = true
					if err := e.codes(v, a); err != nil {
						return fmt.Errorf("tensor %q: %w", v.Name(), err)
					}
				}
			}
		}
	}
	return nil
}

// staticWeights gives a static node its weights as DequantizeLinear(int8), and its bias as DequantizeLinear(int32) of the
// scale that the accumulators have.
func (e *emitter) staticWeights(s *plan.Site, d *plan.Node) error {
	n, in := s.Node, s.Node.Input(s.Input())
	x, ok := d.Activations[in.Name()]
	if !ok {
		return fmt.Errorf("the plan has no parameters for its input %q", in.Name())
	}
	st, err := e.weights(s, 0, d.Weights, false)
	if err != nil {
		return err
	}
	float, err := bias(n, len(st.weights.Scales), d.Weights)
	if err != nil {
		return err
	}
	if float != nil && st.weights.Axis != quantize.PerTensor {
		b, err := quantize.QuantizeBias(float, x.Scale, onnx.Data[float32](s.Weight(0).Const()), st.weights)
		if err != nil {
			return err
		}
		if len(b.Raised) > 0 {
			st = e.add(s.Weight(0), b.Weights, false)
		}
		name := n.Name + "_bias"
		if v := n.Input(2); v != nil {
			name = v.Name()
		}
		g := n.Graph()
		codes := g.AddConst(name+"_quantized", onnx.Of(b.Codes))
		scale := g.AddConst(name+"_scale", onnx.Of(b.Scales))
		for i := range b.Scales {
			onnx.Data[float32](scale.Const())[i] = float32(x.Scale * b.Weights.Scales[i])
		}
		n.SetInput(2, e.before(n, "DequantizeLinear", "", codes.Name()+"_float", []*onnx.Value{codes, scale}, onnx.AttrI("axis", 0)))
	}
	n.SetInput(s.Inputs[0], e.dequantized(n, st, s.Axes[0]))
	return nil
}

// bias returns the float bias of a node, with the plan's correction, one number a channel; nil when there is none.
func bias(n *onnx.Node, channels int, w *plan.Weights) ([]float32, error) {
	var b []float32
	if v := n.Input(2); v != nil {
		b = make([]float32, channels)
		c := onnx.Data[float32](v.Const())
		if len(c) != 1 && len(c) != channels {
			return nil, fmt.Errorf("bias %q has %d elements for %d channels", v.Name(), len(c), channels)
		}
		for i := range b {
			b[i] = c[i%len(c)]
		}
	}
	if w == nil || len(w.Correction) == 0 {
		return b, nil
	}
	if len(w.Correction) != channels {
		return nil, fmt.Errorf("the plan corrects %d biases, the node has %d channels", len(w.Correction), channels)
	}
	if b == nil {
		b = make([]float32, channels)
	}
	for i, c := range w.Correction {
		b[i] += c
	}
	return b, nil
}

// codes turns tensor v into codes: QuantizeLinear behind it, and DequantizeLinear in front of those who take it. Where a
// static node makes v, nobody sees the float tensor any more.
func (e *emitter) codes(v *onnx.Value, a plan.Activation) error {
	g := v.Graph()
	name := v.Name()
	scale := g.AddConst(name+"_scale", onnx.Scalar(a.Scale))
	zero := g.AddConst(name+"_zero_point", onnx.Scalar(uint8(a.ZeroPoint)))
	producer, _ := v.Producer()
	made := producer != nil && (e.scheme(producer) == plan.Static || e.scheme(producer) == plan.Fused) && e.takesPart(producer, v)
	takers := e.takers(v)

	var codes *onnx.Value
	mark := producer
	if c := v.Const(); c != nil {
		q := make([]uint8, c.Len())
		quantize.Quantize(q, onnx.Data[float32](c), a.Params(), quantize.Uint8)
		codes = g.AddConst(name+"_quantized", onnx.Of(q, c.Dims...))
		mark = takers[0].Node.Prev()
	} else {
		n := g.InsertAfter(mark, onnx.NodeSpec{Op: "QuantizeLinear", Inputs: []*onnx.Value{v, scale, zero}, Outputs: []string{name + "_quantized"}})
		codes, mark = n.Output(0), n
	}
	float := g.InsertAfter(mark, onnx.NodeSpec{Op: "DequantizeLinear", Inputs: []*onnx.Value{codes, scale, zero}, Outputs: []string{name + "_dequantized"}}).Output(0)
	float.Type = v.Type.Clone()
	if !made {
		for _, u := range takers {
			u.Node.SetInput(u.Index, float)
		}
		return nil
	}
	if !onnx.Replace(v, float) {
		return fmt.Errorf("it cannot be replaced")
	}
	q, _ := codes.Producer()
	q.SetInput(0, v)
	e.context.Trace.Became(v, float)
	return nil
}

// takesPart reports whether the plan gives v as codes for node n.
func (e *emitter) takesPart(n *onnx.Node, v *onnx.Value) bool {
	_, ok := e.nodes[n].Activations[v.Name()]
	return ok
}

// takers returns the uses of v by static nodes that take it as codes.
func (e *emitter) takers(v *onnx.Value) []onnx.Use {
	var us []onnx.Use
	for _, u := range v.Uses() {
		if e.scheme(u.Node) == plan.Static && e.takesPart(u.Node, v) {
			us = append(us, u)
		}
	}
	return us
}
