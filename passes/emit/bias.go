package emit

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/plan"
)

// correct adds the plan's corrections to the float biases; nodes without a bias get one.
func (e *emitter) correct() error {
	for _, s := range e.sites {
		d := e.nodes[s.Node]
		if d.Weights == nil || len(d.Weights.Correction) == 0 {
			continue
		}
		if err := e.correctBias(s.Node, d); err != nil {
			return fmt.Errorf("node %q (%s): %w", s.Key, s.Node.Op, err)
		}
	}
	return nil
}

func (e *emitter) correctBias(n *onnx.Node, d *plan.Node) error {
	correction := onnx.Of(append([]float32{}, d.Weights.Correction...))
	name := n.Output(0).Name() + "_correction"
	b := n.Input(2)
	if b == nil {
		c := n.Graph().AddConst(name, correction)
		if n.Is("MatMul") && rewrite.Rank(n.Input(0)) != 2 {
			return e.addBehind(n, c)
		}
		if n.Is("MatMul") {
			n.Op = "Gemm"
		}
		n.SetInput(2, c)
		return nil
	}
	sum, err := row(b, correction.Len())
	if err != nil { // one bias for each output, or a computed one
		n.SetInput(2, e.before(n, "Add", name+"_bias", []*onnx.Value{b, n.Graph().AddConst(name, correction)}))
		return nil
	}
	for i, c := range d.Weights.Correction {
		if sum[i] += c; sum[i]-sum[i] != 0 {
			return fmt.Errorf("the corrected bias of channel %d is %v", i, sum[i])
		}
	}
	n.SetInput(2, n.Graph().AddConst(b.Name()+"_corrected", onnx.Of(sum)))
	return nil
}

// addBehind adds c to the output of n. The sum is what the plan knows the output as.
func (e *emitter) addBehind(n *onnx.Node, c *onnx.Value) error {
	g, out := n.Graph(), n.Output(0)
	name := out.Name()
	add := g.InsertAfter(n, onnx.NodeSpec{Op: "Add", Inputs: []*onnx.Value{c, c}, Outputs: []string{name + "_corrected"}})
	sum := add.Output(0)
	if !onnx.Replace(out, sum) {
		return fmt.Errorf("output %q cannot be replaced", name)
	}
	add.SetInput(0, out)
	if sum.Name() != name {
		out.Rename(g.FreshName(name + "_uncorrected"))
		sum.Rename(name)
	}
	for _, k := range e.coded {
		if k.value == out {
			k.value = sum
		}
	}
	e.context.Trace.Became(out, sum)
	return nil
}

// row returns a constant bias as one number for each channel of the output.
func row(v *onnx.Value, channels int) ([]float32, error) {
	c := v.Const()
	if c == nil || c.Type != onnx.Float32 {
		return nil, fmt.Errorf("its bias %q is not constant", v.Name())
	}
	width := 1
	if c.Rank() > 0 {
		width = int(c.Dims[c.Rank()-1])
	}
	if c.Len() != width || width != 1 && width != channels {
		return nil, fmt.Errorf("its bias %q of shape %v is not one number for each of %d channels", v.Name(), c.Dims, channels)
	}
	b := make([]float32, channels)
	for i := range b {
		b[i] = onnx.Data[float32](c)[i%width]
	}
	return b, nil
}
