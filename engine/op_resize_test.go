package engine

import (
	"slices"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// TestResizeBeforeOpset11: an axis that shrinks takes the pixel above, one that grows the one below, as ONNX's cases of opset 10 and
// ONNX Runtime do.
func TestResizeBeforeOpset11(t *testing.T) {
	for _, c := range []struct {
		scale float32
		want  []float32
	}{
		{0.6, []float32{1, 3}},
		{0.75, []float32{1, 3, 4}},
		{1, []float32{1, 2, 3, 4}},
		{1.5, []float32{1, 1, 2, 3, 3, 4}},
	} {
		g := onnx.NewGraph("g")
		x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(1), onnx.Fixed(1), onnx.Fixed(4)))
		scales := g.AddConst("scales", onnx.Of([]float32{1, 1, 1, c.scale}))
		g.AddOutput(g.Append(onnx.NodeSpec{Op: "Resize", Inputs: []*onnx.Value{x, scales}, Outputs: []string{"y"}}).Output(0))
		p, err := Compile(&onnx.Model{IRVersion: 5, Opsets: []onnx.Opset{{Version: 10}}, Graph: g}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.Run(t.Context(), map[string]*onnx.Tensor{"x": onnx.Of([]float32{1, 2, 3, 4}, 1, 1, 1, 4)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if y := onnx.Data[float32](out["y"]); !slices.Equal(y, c.want) {
			t.Errorf("scale %v gives %v, want %v", c.scale, y, c.want)
		}
	}
}
