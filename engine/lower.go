package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/passes/prepare"
)

// fusing is what the engine makes of a graph in fused semantics. The integer passes come first: what prepare changes in a
// quantized graph, ONNX Runtime would not see.
func fusing(o Options) rewrite.Pipeline {
	return rewrite.Pipeline{
		prepare.LiftConstants, // scales and zero points are read from initializers
		foldConstants(o),      // codes, scales and weights that are stored in fewer bits and unpacked by the graph
		prepare.InferShapes,   // element types and ranks decide what fuses
		dropRedundantClips,    // a Relu or Clip that the quantization behind it implies; brings Conv and QuantizeLinear together
		sinkDequantize,        // data movement runs on codes
		raiseQuantize,         // the same from the other side
		dropPairs,             // what the two moves brought together
		fuseIntegers,          // DequantizeLinear → operator → QuantizeLinear is one integer operator
		rewrite.Pass{Name: "prepare", Doc: "simplify what is left in float", Run: prepare.Passes.Run},
		fuseChains,      // after prepare, which makes a Gemm of a product of matrices and its bias
		fuseActivations, // after prepare, which brings Conv and Relu together
		prepare.RemoveDead,
	}
}

// lower makes the private copy that is compiled. Tensors to keep are further outputs of the copy, which no pass removes or
// renames; outputs says how many are the model's own.
func lower(m *onnx.Model, o Options) (lowered *onnx.Model, outputs int, err error) {
	m = m.Clone()
	if err := inline(m); err != nil {
		return nil, 0, err
	}
	outputs = len(m.Graph.Outputs())
	if o.Semantics == Literal {
		return m, outputs, onnx.InferShapes(m, onnx.InferOptions{}) // layouts are chosen by rank
	}
	for _, name := range o.Keep {
		if v := m.Graph.Value(name); v != nil && !v.IsOutput() && !v.IsInput() && v.Const() == nil {
			m.Graph.AddOutput(v)
		}
	}
	if err := fusing(o).Run(&rewrite.Context{}, m); err != nil {
		return nil, 0, fmt.Errorf("lowering the model: %w", err)
	}
	if m.Opset(msDomain) == 0 {
		m.SetOpset(msDomain, 1)
	}
	return m, outputs, nil
}

// become turns n into another operator that gives the same output.
func become(n *onnx.Node, domain, op, name string, attrs []*onnx.Attribute, inputs ...*onnx.Value) {
	n.Domain, n.Op, n.Name, n.Attrs = domain, op, name, attrs
	n.TrimInputs(0)
	for i, v := range inputs {
		n.SetInput(i, v)
	}
}
