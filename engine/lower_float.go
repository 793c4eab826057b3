package engine

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

var fuseActivations = rewrite.Pass{
	Name: "fuse-activations",
	Doc:  "let Conv and Gemm apply the Relu, LeakyRelu or Clip behind them",
	Run: func(_ *rewrite.Context, m *onnx.Model) error {
		eachNode(m, func(n *onnx.Node) {
			if !n.Is("Conv", "Gemm") || rewrite.Elem(n.Output(0)) != onnx.Float32 && rewrite.Elem(n.Input(0)) != onnx.Float32 {
				return
			}
			act := rewrite.OnlyUse(n.Output(0))
			if act == nil || act.Graph() != n.Graph() || act.Input(0) != n.Output(0) || !act.Is("Relu", "LeakyRelu", "Clip") {
				return
			}
			attrs := append(slices.Clone(n.Attrs), onnx.AttrS("activation", act.Op))
			switch act.Op {
			case "LeakyRelu":
				attrs = append(attrs, onnx.AttrFs("activation_params", act.Float("alpha", 0.01)))
			case "Clip":
				lo, hi, ok := clipBounds(act)
				if !ok {
					return
				}
				attrs = append(attrs, onnx.AttrFs("activation_params", lo, hi))
			}
			become(act, msDomain, "Fused"+n.Op, n.Name, attrs, n.Inputs()...)
			rewrite.RemoveUnused(n)
		})
		return nil
	},
}
