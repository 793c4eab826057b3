package prepare

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// minIR is the lowest IR version of prepared models: from 4 on initializers need not be graph inputs; 7 is what every
// runtime that quantizes well reads.
const minIR = 7

// FreeInitializers takes initializers out of the graph inputs.
var FreeInitializers = rewrite.Pass{
	Name: "free-initializers",
	Doc:  "take initializers out of the graph inputs, where they keep runtimes from folding them, and raise the IR version to 7",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		if m.IRVersion < minIR {
			c.Logf("IR version raised from %d to %d", m.IRVersion, minIR)
			m.IRVersion = minIR
		}
		freed := 0
		for _, v := range slices.Clone(m.Graph.Inputs()) {
			if v.Const() != nil {
				m.Graph.DropInput(v)
				freed++
			}
		}
		if freed > 0 {
			c.Logf("%d initializers are no graph inputs any more", freed)
		}
		return nil
	},
}

// LiftConstants turns Constant nodes into initializers.
var LiftConstants = rewrite.Pass{
	Name: "lift-constants",
	Doc:  "turn Constant nodes into initializers",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		for g := range rewrite.Graphs(m) {
			for n := range g.Nodes() {
				if t := n.Constant(); t != nil {
					becomeConst(c, n.Output(0), t)
				}
			}
		}
		return nil
	},
}
