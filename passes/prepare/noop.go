package prepare

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// DropNoOps removes operators whose output is their input.
var DropNoOps = rewrite.Pass{
	Name: "drop-no-ops",
	Doc:  "remove Identity, Dropout, and Cast, Reshape, Flatten, Transpose, Pad, Concat... that provably change nothing",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		opset := m.Opset("")
		for g := range rewrite.Graphs(m) {
			for n := range g.Nodes() {
				test := noOps[n.Op]
				if test == nil || !n.Is(n.Op) || n.Input(0) == nil || n.Output(0) == nil {
					continue
				}
				if v := test(n, opset); v != nil {
					rewrite.Bypass(c, n, v)
				}
			}
		}
		return nil
	},
}

// noOps has for each operator that may be one a test that returns the value equal to the node's first output, or nil.
var noOps = map[string]func(n *onnx.Node, opset int64) *onnx.Value{
	"Identity":  func(n *onnx.Node, _ int64) *onnx.Value { return n.Input(0) },
	"Dropout":   dropout,
	"Cast":      sameTypeCast,
	"Reshape":   sameReshape,
	"Flatten":   sameFlatten,
	"Transpose": sameTranspose,
	"Pad":       zeroPad,
	"Concat":    single,
	"Sum":       single,
	"Mean":      single,
	"Max":       single,
	"Min":       single,
}

func single(n *onnx.Node, _ int64) *onnx.Value {
	if len(n.Inputs()) == 1 {
		return n.Input(0)
	}
	return nil
}

// dropout does nothing at inference; up to opset 6 only where is_test says so, from 12 on unless training_mode is true.
func dropout(n *onnx.Node, opset int64) *onnx.Value {
	if opset < 7 && n.Int("is_test", 0) == 0 {
		return nil
	}
	if mode := n.Input(2); mode != nil {
		if x, ok := rewrite.ConstInts(mode); !ok || len(x) != 1 || x[0] != 0 {
			return nil
		}
	}
	return n.Input(0)
}

func sameTypeCast(n *onnx.Node, _ int64) *onnx.Value {
	if to := onnx.DataType(n.Int("to", 0)); to.Valid() && rewrite.Elem(n.Input(0)) == to {
		return n.Input(0)
	}
	return nil
}

// sameReshape is one whose target names every size of the input; one size may be left to be computed (-1).
func sameReshape(n *onnx.Node, _ int64) *onnx.Value {
	in := rewrite.Shape(n.Input(0))
	to, ok := rewrite.ConstInts(n.Input(1))
	if !ok || in == nil || len(in) != len(to) {
		return nil
	}
	computed := 0
	for i, d := range in {
		switch {
		case to[i] == -1:
			computed++
		case to[i] == 0 && n.Int("allowzero", 0) == 0:
		case to[i] != d.Size:
			return nil
		}
	}
	if computed > 1 {
		return nil
	}
	return n.Input(0)
}

func sameFlatten(n *onnx.Node, _ int64) *onnx.Value {
	if axis := n.Int("axis", 1); rewrite.Rank(n.Input(0)) == 2 && (axis == 1 || axis == -1) {
		return n.Input(0)
	}
	return nil
}

// sameTranspose is one that keeps the order, or that undoes another Transpose.
func sameTranspose(n *onnx.Node, _ int64) *onnx.Value {
	perm := n.Ints("perm")
	if perm == nil {
		if r := rewrite.Rank(n.Input(0)); r == 0 || r == 1 {
			return n.Input(0)
		}
		return nil
	}
	if isOrder(perm) {
		return n.Input(0)
	}
	before := rewrite.ProducedBy(n.Input(0), "Transpose")
	if before == nil {
		return nil
	}
	inner := before.Ints("perm")
	if len(inner) != len(perm) {
		return nil
	}
	both := make([]int64, len(perm))
	for i, p := range perm {
		if p < 0 || int(p) >= len(inner) {
			return nil
		}
		both[i] = inner[p]
	}
	if isOrder(both) {
		return before.Input(0)
	}
	return nil
}

func isOrder(perm []int64) bool {
	for i, p := range perm {
		if p != int64(i) {
			return false
		}
	}
	return true
}

func zeroPad(n *onnx.Node, opset int64) *onnx.Value {
	if pads, ok := padsOf(n, opset); ok && !slices.ContainsFunc(pads, func(p int64) bool { return p != 0 }) {
		return n.Input(0)
	}
	return nil
}
