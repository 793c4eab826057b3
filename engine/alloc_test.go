package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// TestSteadyRunsAllocateLittle runs a graph of many elementwise, movement and reduction nodes: what a run allocates must not
// grow with the number of nodes.
func TestSteadyRunsAllocateLittle(t *testing.T) {
	model := func(repeat int) (*onnx.Model, map[string]*onnx.Tensor) {
		g := onnx.NewGraph("g")
		x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(4), onnx.Fixed(6), onnx.Fixed(8)))
		op := func(op string, attrs []*onnx.Attribute, in ...*onnx.Value) *onnx.Value {
			return g.Append(onnx.NodeSpec{Op: op, Inputs: in, Outputs: []string{"v"}, Attrs: attrs}).Output(0)
		}
		ints := func(v ...int64) *onnx.Value { return g.AddConst("ints", onnx.Of(v)) }
		scalar := g.AddConst("scalar", onnx.Scalar(float32(0.5)))
		row := g.AddConst("row", onnx.Of(make([]float32, 8)))
		v := x
		for range repeat {
			mean := op("ReduceMean", []*onnx.Attribute{onnx.AttrIs("axes", -1)}, v)
			v = op("Sub", nil, v, mean)
			v = op("Add", nil, op("Mul", nil, v, scalar), row)
			v = op("Transpose", []*onnx.Attribute{onnx.AttrIs("perm", 0, 2, 1)}, v)
			v = op("Reshape", nil, v, ints(4, 6, 8))
			v = op("Tanh", nil, op("Relu", nil, v))
			a := op("Slice", nil, v, ints(0), ints(4), ints(2))
			b := op("Gather", []*onnx.Attribute{onnx.AttrI("axis", 2)}, v, ints(7, 6, 5, 4))
			v = op("Concat", []*onnx.Attribute{onnx.AttrI("axis", 2)}, a, b)
			v = op("Where", nil, op("Less", nil, v, scalar), v, op("Pow", nil, v, scalar))
			v = op("Add", nil, v, op("ReduceSum", []*onnx.Attribute{onnx.AttrI("keepdims", 1)}, v, ints(1)))
			v = op("Clip", nil, v, scalar)
		}
		g.AddOutput(v)
		return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}, map[string]*onnx.Tensor{"x": onnx.Zeros(onnx.Float32, 4, 6, 8)}
	}
	allocs := func(repeat int) float64 {
		m, feeds := model(repeat)
		p, err := Compile(m, Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(20, func() {
			if _, err := p.Run(context.Background(), feeds, nil); err != nil {
				t.Fatal(err)
			}
		})
	}
	if one, ten := allocs(1), allocs(10); ten > one {
		t.Errorf("%v allocations for one round of nodes, %v for ten", one, ten)
	}
}

func BenchmarkOps(b *testing.B) {
	f := func(dims ...int64) *onnx.Tensor {
		t := onnx.Zeros(onnx.Float32, dims...)
		for i := range onnx.Data[float32](t) {
			onnx.Data[float32](t)[i] = float32(i%1009)/500 - 1
		}
		return t
	}
	big := f(128, 768)
	for _, c := range []struct {
		name string
		node singleNode
	}{
		{"Add same", singleNode{op: "Add", inputs: []*onnx.Tensor{big, f(128, 768)}}},
		{"Add row", singleNode{op: "Add", inputs: []*onnx.Tensor{big, f(768)}}},
		{"Mul column", singleNode{op: "Mul", inputs: []*onnx.Tensor{big, f(128, 1)}}},
		{"Div scalar", singleNode{op: "Div", inputs: []*onnx.Tensor{big, f(1)}}},
		{"Exp", singleNode{op: "Exp", inputs: []*onnx.Tensor{big}}},
		{"Tanh", singleNode{op: "Tanh", inputs: []*onnx.Tensor{big}}},
		{"Gelu", singleNode{op: "Gelu", inputs: []*onnx.Tensor{big}}},
		{"ReduceMean rows", singleNode{op: "ReduceMean", inputs: []*onnx.Tensor{big, onnx.Of([]int64{-1})}}},
		{"ReduceMean columns", singleNode{op: "ReduceMean", inputs: []*onnx.Tensor{big, onnx.Of([]int64{0})}}},
		{"ReduceMax rows", singleNode{op: "ReduceMax", inputs: []*onnx.Tensor{big, onnx.Of([]int64{-1})}}},
		{"Transpose 0213", singleNode{op: "Transpose", attrs: []*onnx.Attribute{onnx.AttrIs("perm", 0, 2, 1, 3)}, inputs: []*onnx.Tensor{f(1, 128, 12, 64)}}},
		{"Transpose 10", singleNode{op: "Transpose", inputs: []*onnx.Tensor{big}}},
	} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/threads=%d", c.name, threads), func(b *testing.B) {
				c.node.opset = 20
				m, feeds := c.node.model()
				p, err := Compile(m, Options{Threads: threads})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(4 * 128 * 768)
				for b.Loop() {
					if _, err := p.Run(context.Background(), feeds, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
