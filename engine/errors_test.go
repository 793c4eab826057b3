package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// Whose fault it is when operands do not fit: the model's where it states all sizes, else that of the feeds.
func TestBlame(t *testing.T) {
	product := func(shape ...onnx.Dim) *onnx.Model {
		g := onnx.NewGraph("g")
		x := g.AddInput("x", onnx.TensorOf(onnx.Float32, shape...))
		w := g.AddConst("w", onnx.Zeros(onnx.Float32, 4, 4))
		g.AddOutput(g.Append(onnx.NodeSpec{Op: "MatMul", Name: "product", Inputs: []*onnx.Value{x, w}, Outputs: []string{"y"}}).Output(0))
		return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}
	}
	for _, c := range []struct {
		name  string
		model *onnx.Model
		want  error
	}{
		{"stated", product(onnx.Fixed(2), onnx.Fixed(3)), onnx.ErrBadModel},
		{"open", product(onnx.Fixed(2), onnx.Symbol("n")), ErrInput},
		{"stated otherwise", product(onnx.Fixed(2), onnx.Fixed(4)), ErrInput},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := Compile(c.model, Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Run(context.Background(), map[string]*onnx.Tensor{"x": onnx.Zeros(onnx.Float32, 2, 3)}, nil)
			var node *NodeError
			if !errors.As(err, &node) || node.Key != "product" || node.Blame != c.want || !errors.Is(err, c.want) || errors.Is(err, errInternal) {
				t.Errorf("%v, blame %v, want %v", err, node, c.want)
			}
		})
	}
}

// What a run may take follows from what it is given, and is counted over all its tensors.
func TestRoom(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Symbol("n")))
	var sum *onnx.Value
	for range 3 { // 64 MB each
		large := g.Append(onnx.NodeSpec{Op: "Expand", Inputs: []*onnx.Value{x, g.AddConst("s", onnx.Of([]int64{1 << 24, 1}))}, Outputs: []string{"large"}}).Output(0)
		g.AddOutput(large)
		sum = large
	}
	p, err := Compile(&onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	feeds := map[string]*onnx.Tensor{"x": onnx.Zeros(onnx.Float32, 1)}
	if _, err := p.Run(context.Background(), feeds, nil); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "take more than 128 MB") {
		t.Errorf("three times 64 MB: %v", err)
	}
	if _, err := p.Run(context.Background(), feeds, &RunOptions{Outputs: []string{sum.Name()}}); err != nil {
		t.Errorf("64 MB: %v", err)
	}
}

// A loop of any length ends where the caller wants.
func TestMaxSteps(t *testing.T) {
	body := onnx.NewGraph("body")
	body.AddInput("k", onnx.ScalarOf(onnx.Int64))
	going := body.AddInput("going", onnx.ScalarOf(onnx.Bool))
	state := body.AddInput("state", onnx.TensorOf(onnx.Float32, onnx.Fixed(1)))
	body.AddOutput(body.Append(onnx.NodeSpec{Op: "Identity", Inputs: []*onnx.Value{going}, Outputs: []string{"on"}}).Output(0))
	body.AddOutput(body.Append(onnx.NodeSpec{Op: "Neg", Inputs: []*onnx.Value{state}, Outputs: []string{"next"}}).Output(0))
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(1)))
	trips := g.AddInput("trips", onnx.ScalarOf(onnx.Int64))
	g.AddOutput(g.Append(onnx.NodeSpec{Op: "Loop", Inputs: []*onnx.Value{trips, nil, x}, Outputs: []string{"y"}, Attrs: []*onnx.Attribute{onnx.AttrG("body", body)}}).Output(0))
	p, err := Compile(&onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	run := func(trips int64) error {
		_, err := p.Run(context.Background(), map[string]*onnx.Tensor{"x": onnx.Zeros(onnx.Float32, 1), "trips": onnx.Scalar(trips)}, &RunOptions{MaxSteps: 1000})
		return err
	}
	if err := run(400); err != nil {
		t.Error(err)
	}
	if err := run(1 << 60); !errors.Is(err, ErrUnsupported) {
		t.Errorf("2^60 trips: %v", err)
	}
	if err := run(400); err != nil { // each run counts anew
		t.Error(err)
	}
}
