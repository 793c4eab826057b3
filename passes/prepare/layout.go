package prepare

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// FoldLayouts applies what only moves the elements of a constant.
var FoldLayouts = rewrite.Pass{
	Name: "fold-layouts",
	Doc:  "apply Reshape, Flatten, Squeeze, Unsqueeze and Transpose of a constant to the constant",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		for g := range rewrite.Graphs(m) {
			for n := range g.Nodes() {
				if !n.Is("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose") {
					continue
				}
				t := rewrite.Const(n.Input(0))
				if t == nil || !worthCopying(n.Input(0), t) {
					continue
				}
				if err := t.Load(); err != nil {
					return badTensor(n, n.Input(0), err)
				}
				if moved := moveLayout(n, t); moved != nil {
					becomeConst(c, n.Output(0), moved)
				}
			}
		}
		return nil
	},
}

// smallTensor is the number of elements up to which a constant may be stored twice.
const smallTensor = 1024

// worthCopying reports whether v in another layout costs little: nothing else needs v as it is, or it is small.
func worthCopying(v *onnx.Value, t *onnx.Tensor) bool {
	return rewrite.OnlyUse(v) != nil || t.Len() <= smallTensor
}

// moveLayout returns what n makes of t; nil when it cannot be told.
func moveLayout(n *onnx.Node, t *onnx.Tensor) *onnx.Tensor {
	if n.Op == "Transpose" {
		perm := n.Ints("perm")
		if perm == nil {
			for i := t.Rank() - 1; i >= 0; i-- {
				perm = append(perm, int64(i))
			}
		}
		return transpose(t, perm)
	}
	shape := rewrite.Shape(n.Output(0))
	if shape == nil {
		return nil
	}
	dims, size := make([]int64, len(shape)), int64(1)
	for i, d := range shape {
		if d.Size < 0 {
			return nil
		}
		dims[i] = d.Size
		size *= d.Size
	}
	if size != int64(t.Len()) {
		return nil
	}
	return t.Reshaped(dims...)
}

// transpose returns t with its axes in the order of perm; nil for strings and packed elements, and when perm is no order.
func transpose(t *onnx.Tensor, perm []int64) *onnx.Tensor {
	size := t.Type.Bits() / 8
	if size == 0 || len(perm) != t.Rank() {
		return nil
	}
	strides := make([]int, t.Rank()) // of the source, in elements
	for i, s := t.Rank()-1, 1; i >= 0; i-- {
		strides[i] = s
		s *= int(t.Dims[i])
	}
	dims, step := make([]int64, len(perm)), make([]int, len(perm))
	seen := map[int64]bool{}
	for i, p := range perm {
		if p < 0 || int(p) >= len(perm) || seen[p] {
			return nil
		}
		seen[p] = true
		dims[i], step[i] = t.Dims[p], strides[p]
	}
	out := onnx.Zeros(t.Type, dims...)
	src, dst := t.Bytes(), out.Bytes()
	at, from := make([]int64, len(dims)), 0
	for i := 0; i < len(dst); i += size {
		copy(dst[i:i+size], src[from*size:])
		for k := len(dims) - 1; k >= 0; k-- {
			at[k]++
			from += step[k]
			if at[k] < dims[k] {
				break
			}
			from -= step[k] * int(dims[k])
			at[k] = 0
		}
	}
	return out
}
