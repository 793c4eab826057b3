package engine

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// foldConstants computes what depends on constants only, as ONNX Runtime does before it looks for what it can fuse.
// DequantizeLinear stays, because that is what it looks for. What cannot be computed is left to the compiler to complain about.
func foldConstants(o Options) rewrite.Pass {
	return rewrite.Pass{
		Name: "fold-constants",
		Doc:  "compute what depends on constants only, but for DequantizeLinear",
		Run: func(_ *rewrite.Context, m *onnx.Model) error {
			b := &builder{p: &Program{opts: o, named: map[string]int{}}, model: m, slots: map[*onnx.Value]int{}}
			for g := range rewrite.Graphs(m) {
				for _, v := range g.Consts() {
					b.p.given += v.Const().Type.ByteSize(onnx.NumElements(v.Const().Dims))
				}
			}
			eachNode(m, func(n *onnx.Node) {
				if n.Op != "DequantizeLinear" && fromConstants(n) {
					b.replace(n)
				}
			})
			return nil
		},
	}
}

// fromConstants reports whether n takes initializers only, and gives what initializers may replace.
func fromConstants(n *onnx.Node) bool {
	for _, v := range n.Inputs() {
		if v != nil && (v.Const() == nil || v.Const().Load() != nil) {
			return false
		}
	}
	for _, v := range n.Outputs() {
		if v != nil && v.IsOutput() {
			return false
		}
	}
	return len(n.Inputs()) > 0 && len(n.Subgraphs()) == 0
}

// replace puts the results of a node of constants in its place, and lets go of constants that only it took.
func (b *builder) replace(n *onnx.Node) {
	s, err := b.step(n, "") // its key would be for errors, which nobody sees
	if err != nil || !b.folds(s, n) {
		return
	}
	if folded, err := b.fold(s); err != nil || !folded {
		return
	}
	g := n.Graph()
	for i, v := range n.Outputs() {
		if v == nil {
			continue
		}
		name := v.Name()
		v.Rename(g.FreshName(name))
		onnx.Replace(v, g.AddConst(name, b.p.consts[s.out[i]]))
	}
	inputs := slices.Clone(n.Inputs())
	g.Remove(n)
	for i, v := range inputs {
		if v != nil && v.Const() != nil && !rewrite.Used(v) && !v.IsInput() {
			v.Graph().DropConst(v)
			b.p.consts[s.in[i]], b.folder.values[s.in[i]] = nil, value{}
		}
	}
}
