package zqonnx_test

import (
	"math/rand/v2"

	"github.com/zqonnx/zqonnx/onnx"
)

// A seed is a graph under construction. Numbers come from its generator.
type seed struct {
	g *onnx.Graph
	r *rand.Rand
}

func (s *seed) input(name string, dims ...int64) *onnx.Value {
	return s.inputOf(name, onnx.Float32, dims...)
}

func (s *seed) inputOf(name string, dt onnx.DataType, dims ...int64) *onnx.Value {
	shape := []onnx.Dim{}
	for _, d := range dims {
		if d < 0 {
			shape = append(shape, onnx.Symbol("n"))
		} else {
			shape = append(shape, onnx.Fixed(d))
		}
	}
	return s.g.AddInput(name, onnx.TensorOf(dt, shape...))
}

func (s *seed) weights(dims ...int64) *onnx.Value {
	x := make([]float32, onnx.NumElements(dims))
	for i := range x {
		x[i] = float32(s.r.NormFloat64())
	}
	return s.g.AddConst("w", onnx.Of(x, dims...))
}

func (s *seed) ints(v ...int64) *onnx.Value { return s.g.AddConst("i", onnx.Of(v)) }

func (s *seed) op(op string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	return s.g.Append(onnx.NodeSpec{Op: op, Inputs: in, Outputs: []string{op}, Attrs: attrs}).Output(0)
}

func list(v ...*onnx.Value) []*onnx.Value { return v }

func newSeed(opset int64, build func(s *seed) *onnx.Value) func() *onnx.Model {
	return func() *onnx.Model {
		s := &seed{onnx.NewGraph("seed"), rand.New(rand.NewPCG(1, 2))}
		s.g.AddOutput(build(s))
		return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: opset}}, Graph: s.g}
	}
}

var seedGraphs = []func() *onnx.Model{
	newSeed(13, func(s *seed) *onnx.Value { // a network of convolutions
		x := s.op("Conv", list(s.input("x", 1, 4, 9, 9), s.weights(8, 4, 3, 3), s.weights(8)), onnx.AttrIs("kernel_shape", 3, 3), onnx.AttrIs("pads", 1, 1, 1, 1), onnx.AttrIs("strides", 2, 2), onnx.AttrIs("dilations", 1, 1), onnx.AttrI("group", 1))
		x = s.op("Relu", list(s.op("BatchNormalization", list(x, s.weights(8), s.weights(8), s.weights(8), s.g.AddConst("v", onnx.Of([]float32{1, 2, 3, 4, 5, 6, 7, 8}))), onnx.AttrF("epsilon", 1e-5))))
		y := s.op("MaxPool", list(x), onnx.AttrIs("kernel_shape", 2, 2), onnx.AttrIs("strides", 1, 1), onnx.AttrIs("pads", 0, 0, 1, 1), onnx.AttrI("ceil_mode", 0))
		z := s.op("AveragePool", list(x), onnx.AttrIs("kernel_shape", 3, 3), onnx.AttrIs("pads", 1, 1, 1, 1), onnx.AttrI("count_include_pad", 1))
		c := s.op("Concat", list(y, z), onnx.AttrI("axis", 1))
		c = s.op("ConvTranspose", list(c, s.weights(16, 2, 3, 3)), onnx.AttrIs("strides", 2, 2), onnx.AttrIs("output_padding", 1, 1), onnx.AttrI("group", 2))
		c = s.op("GlobalAveragePool", list(s.op("Pad", list(c, s.ints(0, 0, 1, 1, 0, 0, 1, 1)), onnx.AttrS("mode", "constant"))))
		return s.op("Gemm", list(s.op("Flatten", list(c), onnx.AttrI("axis", 1)), s.weights(8, 4), s.weights(8)), onnx.AttrI("transB", 1), onnx.AttrF("alpha", 1))
	}),
	newSeed(17, func(s *seed) *onnx.Value { // attention
		x := s.input("x", 1, -1, 16)
		x = s.op("LayerNormalization", list(x, s.weights(16), s.weights(16)), onnx.AttrI("axis", -1))
		head := func() *onnx.Value {
			v := s.op("Add", list(s.op("MatMul", list(x, s.weights(16, 16))), s.weights(16)))
			v = s.op("Reshape", list(v, s.ints(0, -1, 2, 8)), onnx.AttrI("allowzero", 0))
			return s.op("Transpose", list(v), onnx.AttrIs("perm", 0, 2, 1, 3))
		}
		q, k, v := head(), head(), head()
		p := s.op("Softmax", list(s.op("MatMul", list(q, s.op("Transpose", list(k), onnx.AttrIs("perm", 0, 1, 3, 2))))), onnx.AttrI("axis", -1))
		o := s.op("Transpose", list(s.op("MatMul", list(p, v))), onnx.AttrIs("perm", 0, 2, 1, 3))
		o = s.op("Reshape", list(o, s.ints(0, 0, 16)))
		return s.op("ReduceMean", list(s.op("MatMul", list(o, s.weights(16, 64)))), onnx.AttrIs("axes", 1), onnx.AttrI("keepdims", 0))
	}),
	newSeed(14, func(s *seed) *onnx.Value { // recurrent, with a table
		i := s.inputOf("i", onnx.Int64, -1, 1)
		x := s.op("Gather", list(s.weights(20, 8), i), onnx.AttrI("axis", 0))
		lstm := s.op("LSTM", list(x, s.weights(2, 32, 8), s.weights(2, 32, 8), s.weights(2, 64)), onnx.AttrI("hidden_size", 8), onnx.AttrS("direction", "bidirectional"))
		h := s.op("Reshape", list(s.op("Transpose", list(lstm), onnx.AttrIs("perm", 0, 2, 1, 3)), s.ints(0, 0, -1)))
		gru := s.op("GRU", list(h, s.weights(1, 24, 16), s.weights(1, 24, 8)), onnx.AttrI("hidden_size", 8), onnx.AttrI("linear_before_reset", 1))
		return s.op("Squeeze", list(gru, s.ints(1)))
	}),
	newSeed(13, func(s *seed) *onnx.Value { // layouts of constants, and shapes computed from shapes
		x := s.input("x", -1, 32)
		w := s.op("Transpose", list(s.op("Reshape", list(s.weights(4, 8, 16), s.ints(-1, 32)))), onnx.AttrIs("perm", 1, 0))
		y := s.op("MatMul", list(x, w))
		n := s.op("Gather", list(s.op("Shape", list(x)), s.ints(0)), onnx.AttrI("axis", 0))
		y = s.op("Reshape", list(y, s.op("Concat", list(n, s.ints(4, -1)), onnx.AttrI("axis", 0))))
		part := s.op("Slice", list(y, s.ints(0), s.ints(3), s.ints(1), s.ints(1)))
		two := s.g.Append(onnx.NodeSpec{Op: "Split", Inputs: list(part, s.ints(1, 2)), Outputs: []string{"a", "b"}, Attrs: []*onnx.Attribute{onnx.AttrI("axis", 1)}})
		e := s.op("Expand", list(two.Output(0), s.ints(1, 2, 1)))
		return s.op("MatMul", list(s.op("Add", list(e, two.Output(1))), s.op("Tile", list(s.weights(2, 4), s.ints(2, 3)))))
	}),
	newSeed(16, func(s *seed) *onnx.Value { // branches and loops
		x := s.input("x", 2, 8)
		w := s.weights(8, 8)
		branch := func(op string) *onnx.Graph {
			b := &seed{onnx.NewGraph(op), s.r}
			b.g.AddOutput(b.op(op, list(b.op("MatMul", list(x, w)))))
			return b.g
		}
		y := s.op("If", list(s.inputOf("c", onnx.Bool)), onnx.AttrG("then_branch", branch("Relu")), onnx.AttrG("else_branch", branch("Tanh")))
		body := &seed{onnx.NewGraph("body"), s.r}
		body.inputOf("k", onnx.Int64)
		going := body.inputOf("going", onnx.Bool)
		state := body.input("state", 2, 8)
		body.g.AddOutput(body.op("Identity", list(going)))
		next := body.op("MatMul", list(state, w))
		body.g.AddOutput(next)
		body.g.AddOutput(body.op("Relu", list(next)))
		trips := s.g.AddConst("trips", onnx.Scalar(int64(3)))
		loop := s.g.Append(onnx.NodeSpec{Op: "Loop", Inputs: list(trips, nil, y), Outputs: []string{"last", "all"}, Attrs: []*onnx.Attribute{onnx.AttrG("body", body.g)}})
		return s.op("MatMul", list(loop.Output(1), s.op("Add", list(w, w))))
	}),
}
