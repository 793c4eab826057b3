package prepare

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// FoldPads moves zero padding into the convolutions that read it.
var FoldPads = rewrite.Pass{
	Name: "fold-pads",
	Doc:  "let Conv pad by itself instead of reading the output of a Pad with zeros",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		opset := m.Opset("")
		for g := range rewrite.Graphs(m) {
			for n := range g.Nodes() {
				if !n.Is("Conv") || n.Str("auto_pad", "NOTSET") != "NOTSET" {
					continue
				}
				pad := rewrite.ProducedBy(n.Input(0), "Pad")
				if pad == nil || !foldPad(n, pad, opset) {
					continue
				}
				out := pad.Output(0)
				if pad.Graph() == g && rewrite.RemoveUnused(pad) {
					c.Trace.Gone(out)
				}
			}
		}
		return nil
	},
}

// foldPad gives the padding of pad to conv. It reports false, with nothing changed, where that would not be the same.
func foldPad(conv, pad *onnx.Node, opset int64) bool {
	pads, ok := padsOf(pad, opset)
	if !ok || pad.Str("mode", "constant") != "constant" || !padsWithZero(pad, opset) {
		return false
	}
	rank := len(pads) / 2
	if rank < 3 || pads[0] != 0 || pads[1] != 0 || pads[rank] != 0 || pads[rank+1] != 0 {
		return false
	}
	sum := slices.Concat(pads[2:rank], pads[rank+2:])
	if own := conv.Ints("pads"); own != nil {
		if len(own) != len(sum) {
			return false
		}
		for i := range sum {
			// A Pad that crops (negative) before a Conv that pads would bring zeros where values were.
			if sum[i] < 0 {
				return false
			}
			sum[i] += own[i]
		}
	}
	if slices.ContainsFunc(sum, func(p int64) bool { return p < 0 }) {
		return false
	}
	conv.SetInput(0, pad.Input(0))
	conv.SetAttr(onnx.AttrIs("pads", sum...))
	return true
}

// padsOf returns the pads of a Pad node in the form of opset 11 without axes: all begins, then all ends; false when they are
// not constant or the rank cannot be known.
func padsOf(n *onnx.Node, opset int64) ([]int64, bool) {
	if opset < 11 {
		name := "pads"
		if opset < 2 {
			name = "paddings"
		}
		p := n.Ints(name)
		return p, p != nil && len(p)%2 == 0
	}
	p, ok := rewrite.ConstInts(n.Input(1))
	if !ok || len(p)%2 != 0 {
		return nil, false
	}
	if n.Input(3) == nil {
		return p, true
	}
	axes, ok := rewrite.ConstInts(n.Input(3))
	rank := rewrite.Rank(n.Input(0))
	if !ok || rank < 0 || len(p) != 2*len(axes) {
		return nil, false
	}
	full := make([]int64, 2*rank)
	for i, a := range axes {
		if a < 0 {
			a += int64(rank)
		}
		if a < 0 || int(a) >= rank {
			return nil, false
		}
		full[a], full[int(a)+rank] = p[i], p[i+len(axes)]
	}
	return full, true
}

// padsWithZero reports whether the value a constant Pad fills in is zero.
func padsWithZero(n *onnx.Node, opset int64) bool {
	if opset < 11 {
		return n.Float("value", 0) == 0
	}
	if n.Input(2) == nil {
		return true
	}
	t := rewrite.Const(n.Input(2))
	if t == nil {
		return false
	}
	x, err := t.Float32s()
	return err == nil && len(x) == 1 && x[0] == 0
}
