package prepare

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// RemoveDead removes what nothing uses.
var RemoveDead = rewrite.Pass{
	Name: "remove-dead",
	Doc:  "remove nodes and initializers that nothing uses",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		if n := rewrite.RemoveDead(m.Graph); n > 0 {
			c.Logf("%d unused nodes removed", n)
		}
		return nil
	},
}

// TrimOpsets drops opset imports that no operator needs.
var TrimOpsets = rewrite.Pass{
	Name: "trim-opsets",
	Doc:  "drop imports of operator sets that no node uses: old runtimes refuse domains they do not know",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		used := map[string]bool{"": true, "ai.onnx": true}
		for n := range m.Graph.AllNodes() {
			used[n.Domain] = true
		}
		for _, f := range m.Functions {
			for n := range f.Body.AllNodes() {
				used[n.Domain] = true
			}
		}
		m.Opsets = slices.DeleteFunc(m.Opsets, func(o onnx.Opset) bool {
			if !used[o.Domain] {
				c.Logf("import of %s dropped", o.Domain)
			}
			return !used[o.Domain]
		})
		return nil
	},
}
