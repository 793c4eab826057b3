package zqonnx_test

import (
	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
)

// spoiltCases are crashers that fuzzing found, as graphs. kind is what the error wraps; nil: there is none.
var spoiltCases = []struct {
	name  string
	build func() *onnx.Model
	kind  error
	want  string // part of the error
}{
	{"slice of a shape along no axis", newSeed(13, func(s *seed) *onnx.Value {
		x := s.input("x", 2, 32)
		part := s.op("Slice", list(s.op("Shape", list(x)), s.ints(), s.ints()))
		return s.op("MatMul", list(s.op("Reshape", list(x, part)), s.weights(32, 32)))
	}), nil, ""},
	{"sequence stated to be a tensor", newSeed(13, func(s *seed) *onnx.Value {
		x := s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32)))
		all := s.op("SequenceConstruct", list(x, x))
		all.Type = onnx.TensorOf(onnx.Float32, onnx.Fixed(2))
		return all
	}), engine.ErrUnsupported, "no tensor"},
	{"sequence as a tensor", newSeed(13, func(s *seed) *onnx.Value {
		x := s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32)))
		return s.op("Add", list(s.op("SequenceConstruct", list(x, x)), x))
	}), onnx.ErrBadModel, "input 0 is no tensor"},
	{"constant reshaped to 2^93 elements", newSeed(13, func(s *seed) *onnx.Value {
		w := s.op("Reshape", list(s.weights(32, 32), s.ints(1<<31-1, 1<<31-1, 1<<31-1)))
		return s.op("MatMul", list(s.input("x", 2, 32), w))
	}), zqonnx.ErrNothing, ""},
	{"broadcast from an axis far outside", newSeed(6, func(s *seed) *onnx.Value {
		x := s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32)))
		return s.op("Add", list(x, s.weights(32)), onnx.AttrI("broadcast", 1), onnx.AttrI("axis", -1<<60))
	}), onnx.ErrBadModel, "axis"},
	{"product without output", newSeed(13, func(s *seed) *onnx.Value {
		x := s.input("x", 2, 32)
		s.g.Append(onnx.NodeSpec{Op: "MatMul", Inputs: list(x, s.weights(32, 32))})
		return s.op("Relu", list(x))
	}), onnx.ErrBadModel, "output 0"},
	{"constant without output", newSeed(13, func(s *seed) *onnx.Value {
		s.g.Append(onnx.NodeSpec{Op: "Constant", Attrs: []*onnx.Attribute{onnx.AttrT("value", onnx.Scalar(float32(1)))}})
		return s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32)))
	}), onnx.ErrBadModel, "output 0"},
	{"three summands", newSeed(13, func(s *seed) *onnx.Value {
		x := s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32)))
		return s.op("Add", list(x, x, x))
	}), onnx.ErrBadModel, "3 inputs"},
	{"filters of rank 1", newSeed(13, func(s *seed) *onnx.Value {
		return s.op("ConvTranspose", list(s.input("x", -1, 8, 4, 4), s.weights(288)))
	}), zqonnx.ErrNothing, ""},
	{"recurrent weights of rank 1", newSeed(14, func(s *seed) *onnx.Value {
		return s.op("GRU", list(s.input("x", -1, 1, 8), s.weights(192), s.weights(192)), onnx.AttrI("hidden_size", 8))
	}), onnx.ErrBadModel, "weights of shapes [192] and [192]"},
	{"half-precision activations on float32 weights", newSeed(13, func(s *seed) *onnx.Value {
		return s.op("MatMul", list(s.inputOf("x", onnx.Float16, 2, 32), s.weights(32, 32)))
	}), onnx.ErrBadModel, "the operator takes one type"},
	{"statistics of four bits", newSeed(13, func(s *seed) *onnx.Value {
		x := s.op("Conv", list(s.input("x", 1, 4, 9, 9), s.weights(8, 4, 3, 3)))
		four := s.g.AddConst("f", onnx.Zeros(onnx.Float4E2M1, 8))
		return s.op("BatchNormalization", list(x, four, four, four, four))
	}), onnx.ErrBadModel, "no float32 form"},
	{"indices that are no integers", newSeed(13, func(s *seed) *onnx.Value {
		return s.op("Tile", list(s.weights(32, 32), s.weights(2)))
	}), onnx.ErrBadModel, "no integer form"},
	{"axis outside", newSeed(13, func(s *seed) *onnx.Value {
		x := s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32)))
		return s.op("Transpose", list(x), onnx.AttrIs("perm", 0, 4))
	}), onnx.ErrBadModel, "axis 4 is outside of rank 2"},
	{"an input larger than can be", newSeed(13, func(s *seed) *onnx.Value {
		return s.op("MatMul", list(s.input("x", 1<<60, 32), s.weights(32, 32)))
	}), onnx.ErrBadModel, "impossible shape"},
	{"joined along no axis", newSeed(13, func(s *seed) *onnx.Value {
		x := s.op("Reshape", list(s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32))), s.ints(2, 8, 4)))
		return s.op("MatMul", list(s.op("Concat", list(x, x)), s.weights(4, 128)))
	}), onnx.ErrBadModel, `attribute "axis"`},
	{"an output that a slice does not have", newSeed(13, func(s *seed) *onnx.Value {
		x := s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32)))
		n := s.g.Append(onnx.NodeSpec{Op: "Slice", Inputs: list(x, s.ints(0), s.ints(1)), Outputs: []string{"part", "more"}})
		return s.op("Relu", list(n.Output(0)))
	}), onnx.ErrBadModel, `output "more"`},
	{"a product that fits no machine", newSeed(13, func(s *seed) *onnx.Value {
		x := s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32)))
		return s.op("Expand", list(x, s.ints(1<<50, 2, 32)))
	}), engine.ErrUnsupported, "would exceed"},
	{"a gigabyte from nothing", newSeed(13, func(s *seed) *onnx.Value {
		x := s.op("MatMul", list(s.input("x", 2, 32), s.weights(32, 32)))
		return s.op("Expand", list(x, s.ints(1<<22, 2, 32)))
	}), engine.ErrUnsupported, "the tensors would take more than 128 MB"},
}
