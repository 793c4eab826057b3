package prepare

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// FoldShapes makes constant what is computed from sizes alone.
var FoldShapes = rewrite.Pass{
	Name: "fold-shapes",
	Doc:  "turn integers computed from known sizes (Shape, Gather, Concat...) into constants",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		type known struct {
			v *onnx.Value
			t *onnx.Tensor
		}
		var all []known
		err := onnx.InferShapes(m, onnx.InferOptions{Known: func(v *onnx.Value, t *onnx.Tensor) {
			if n, _ := v.Producer(); n != nil {
				all = append(all, known{v, t})
			}
		}})
		if err != nil {
			return err
		}
		folded := 0
		for _, k := range all {
			// A chain's inner values lose their uses when what follows became constant.
			if k.v.Graph() != nil && becomeConst(c, k.v, k.t) {
				folded++
			}
		}
		if folded > 0 {
			c.Logf("%d tensors computed from sizes are constant", folded)
		}
		return nil
	},
}
