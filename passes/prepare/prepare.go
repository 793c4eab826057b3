// Package prepare simplifies a float model without changing what it computes: what other passes match gets one normal form,
// and what only training or an exporter needed goes away. Every pass is right for any valid model, in subgraphs too, and
// leaves alone what it cannot prove. Names of inputs, outputs, tensors and nodes that live on stay as they are.
package prepare

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// Passes is the whole preparation, in order.
var Passes = slices.Concat(typing, simplifying)

// Float32Passes is Passes for a runtime that has no half-precision arithmetic.
var Float32Passes = slices.Concat(
	typing,
	rewrite.Pipeline{WidenHalves}, // needs the types; before folds, which then lose nothing, and DropNoOps, which drops Casts that lost their sense
	simplifying,
)

var typing = rewrite.Pipeline{
	FreeInitializers, // first: no other pass then meets a constant that a caller may override, and IR 4 allows new ones
	LiftConstants,    // everything later sees one form of constant
	InferShapes,      // ranks and sizes prove most of what follows
}

var simplifying = rewrite.Pipeline{
	FoldShapes,     // needs the sizes; makes Reshape targets and conditions constant
	InlineBranches, // needs constant conditions; brings weights and those who take them together
	FoldLayouts,    // needs constant Reshape targets; makes weights constant
	DropNoOps,      // brings producers and consumers together for the matches below
	FoldPads,       // before AffineTails, which do not change what a Conv reads
	MakeGemms,      // before FoldAffine, which folds into Gemm but not into MatMul
	FoldAffine,     // BatchNormalization and constants behind a linear operator
	PoolMeans,      // independent of the rest
	RemoveDead,     // what the passes above left without a use
	TrimOpsets,     // after RemoveDead: it looks at the operators still there
}

// InferShapes finds types and shapes of all tensors.
var InferShapes = rewrite.Pass{
	Name: "infer-shapes",
	Doc:  "find the types and shapes of all tensors that can be known",
	Run: func(_ *rewrite.Context, m *onnx.Model) error {
		return onnx.InferShapes(m, onnx.InferOptions{})
	},
}

// becomeConst puts an initializer holding t in the place of output out of n, under its name. Where out is an output of the
// graph n stays to compute it, and only the other uses change. It reports whether anything changed.
func becomeConst(c *rewrite.Context, out *onnx.Value, t *onnx.Tensor) bool {
	if len(out.Uses()) == 0 {
		return false
	}
	placeConst(c, out.Graph(), out, t)
	return true
}

// placeConst is becomeConst with the initializer in g, out's graph or one around it; it returns the initializer.
func placeConst(c *rewrite.Context, g *onnx.Graph, out *onnx.Value, t *onnx.Tensor) *onnx.Value {
	n, _ := out.Producer()
	name, own := out.Name(), g == out.Graph()
	v := g.AddConst(name, t)
	onnx.ReplaceUses(out, v)
	if out.IsOutput() {
		return v
	}
	c.Trace.Became(out, v)
	if rewrite.RemoveUnused(n) && own {
		v.Rename(name)
	}
	return v
}

// setConst makes input i of n the constant t: in place where nothing else uses the initializer there, else as a new one of about
// that name. It reports whether the old initializer lives on.
func setConst(n *onnx.Node, i int, t *onnx.Tensor, name string) (kept bool) {
	if v := n.Input(i); v != nil && v.Const() != nil && rewrite.OnlyUse(v) == n && !v.IsInput() {
		v.SetConst(t)
		return false
	}
	n.SetInput(i, n.Graph().AddConst(name, t))
	return true
}

// badTensor says which stored tensor cannot be read.
func badTensor(n *onnx.Node, v *onnx.Value, err error) error {
	return fmt.Errorf("%s %q: tensor %q: %w", n.Op, n.Key(), v.Name(), err)
}
