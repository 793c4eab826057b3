package prepare

import (
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/internal/shareddata"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// Real models stay valid after every pass, keep their inputs and outputs, and lose what they should; what they compute
// is the business of the tests of each pass.
func TestPassesOnRealModels(t *testing.T) {
	for _, c := range []struct {
		file  string
		nodes int
		gone  string // operators of which none is left
	}{
		{"gtcrn/model.onnx", 404, "BatchNormalization"},
		{"kws-dscnn/model.onnx", 22, "BatchNormalization"},
		{"kwt1/model.onnx", 711, "Identity"},
		{"mnist-cnn/model.onnx", 8, "Add MatMul"},
		{"mobilenet-v1-075-imagenet/model.onnx", 58, "BatchNormalization"},
		{"ppocr-det/model.onnx", 173, "BatchNormalization Constant Identity"},
		{"resnet20-cifar10/model.onnx", 54, "BatchNormalization"},
		{"silero-vad/model.onnx", 55, "Constant"},
		{"squeezenet-imagenet/model.onnx", 65, "Dropout"},
		{"super-resolution/model.onnx", 10, "Constant"},
		{"ultraface-rfb320/model.onnx", 128, "BatchNormalization Constant Shape Gather Unsqueeze"},
	} {
		t.Run(c.file, func(t *testing.T) {
			path, err := shareddata.Path("models/" + c.file)
			if err != nil {
				t.Skip(err)
			}
			m, err := onnx.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			ends := func() string {
				var s []string
				for _, v := range append(m.Graph.Feeds(), m.Graph.Outputs()...) {
					s = append(s, v.Name()+" "+v.Type.String())
				}
				return strings.Join(s, "; ")
			}
			before := ends()
			ctx := &rewrite.Context{Trace: rewrite.NewTrace(m), Check: check}
			if err := Passes.Run(ctx, m); err != nil {
				t.Fatal(err)
			}
			expect(t, ends(), before)
			if m.Graph.Len() != c.nodes {
				t.Errorf("%d nodes left, want %d", m.Graph.Len(), c.nodes)
			}
			for n := range m.Graph.Nodes() {
				if n.Is(strings.Fields(c.gone)...) {
					t.Errorf("%s is left", n.Key())
				}
				for _, v := range n.Outputs() {
					if v != nil && len(ctx.Trace.Names(v)) == 0 && !strings.HasSuffix(v.Name(), "_pool") {
						t.Errorf("tensor %s is of no tensor of the original model", v)
					}
				}
			}
		})
	}
}
