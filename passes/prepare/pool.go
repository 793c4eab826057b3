package prepare

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// PoolMeans turns means over whole pictures into pooling.
var PoolMeans = rewrite.Pass{
	Name: "pool-means",
	Doc:  "turn ReduceMean over height and width into GlobalAveragePool, which has integer kernels",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		opset := m.Opset("")
		for g := range rewrite.Graphs(m) {
			for n := range g.Nodes() {
				if n.Is("ReduceMean") && meansPictures(n, opset) && !normalises(n) {
					poolMean(c, n)
				}
			}
		}
		return nil
	},
}

// poolMean works on one ReduceMean, which becomes a GlobalAveragePool, with a Flatten behind it where it drops the axes.
func poolMean(c *rewrite.Context, n *onnx.Node) {
	keep := n.Int("keepdims", 1) != 0
	n.Op, n.Attrs = "GlobalAveragePool", nil
	n.TrimInputs(1)
	if keep {
		return
	}
	out := n.Output(0)
	name, shape, g := out.Name(), rewrite.Shape(n.Input(0)), n.Graph()
	flat := g.InsertAfter(n, onnx.NodeSpec{Op: "Flatten", Outputs: []string{name}, Attrs: []*onnx.Attribute{onnx.AttrI("axis", 1)}})
	v := flat.Output(0)
	v.Type = out.Type.Clone()
	onnx.Replace(out, v)
	flat.SetInput(0, out)
	if out.Name() == name { // no graph output, so Replace left the names alone
		out.Rename(g.FreshName(name + "_pool"))
		v.Rename(name)
	}
	pooled := append([]onnx.Dim{}, shape[:2]...)
	for range shape[2:] {
		pooled = append(pooled, onnx.Fixed(1))
	}
	out.Type = onnx.TensorOf(rewrite.Elem(n.Input(0)), pooled...)
	c.Trace.Became(out, v)
}

// meansPictures reports whether n averages over all axes from the third on, of two or more. One axis alone is not taken: a
// mean over the last axis of [batch, tokens, features] looks the same and is none.
func meansPictures(n *onnx.Node, opset int64) bool {
	rank := rewrite.Rank(n.Input(0))
	axes := n.Ints("axes")
	if opset >= 18 {
		axes, _ = rewrite.ConstInts(n.Input(1))
	}
	if rank < 4 || len(axes) != rank-2 || !rewrite.Elem(n.Input(0)).IsFloat() {
		return false
	}
	for a := 2; a < rank; a++ {
		if !slices.Contains(axes, int64(a)) && !slices.Contains(axes, int64(a-rank)) {
			return false
		}
	}
	return true
}

// normalises reports whether n computes a mean or a variance of a decomposed normalization, whose pattern must stay whole.
func normalises(n *onnx.Node) bool {
	for _, u := range n.Output(0).Uses() {
		if u.Node.Is("Sub") {
			return true
		}
	}
	square := rewrite.ProducedBy(n.Input(0), "Mul", "Pow")
	return square != nil && (square.Op == "Pow" || square.Input(0) == square.Input(1))
}
