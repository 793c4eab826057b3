package emit

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
)

// A tiny is a graph with one way to quantize it.
type tiny struct {
	name  string
	opset int64
	choice
	build func(b *builder)
}

// tinies has a row for each form that is written, and for each way in which real models stretch it.
var tinies = []tiny{
	// Products, token-wise.
	{"matmul-token-13", 13, choice{scheme: plan.Token}, matmul(3, 5, 32, 16)},
	{"matmul-token-18", 18, choice{scheme: plan.Token}, matmul(3, 5, 32, 16)},
	{"matmul-token-21", 21, choice{scheme: plan.Token}, matmul(3, 5, 32, 16)},
	{"matmul-token-vector", 13, choice{scheme: plan.Token}, matmul(32, 16)},
	{"matmul-token-vector-21", 21, choice{scheme: plan.Token}, matmul(32, 16)},
	{"matmul-token-tensor", 13, choice{scheme: plan.Token, tensor: true}, matmul(3, 5, 32, 16)},
	{"matmul-token-sigma-13", 13, choice{scheme: plan.Token, sigmaK: 3.92}, matmul(3, 5, 32, 16)},
	{"matmul-token-sigma-18", 18, choice{scheme: plan.Token, sigmaK: 3.92}, matmul(3, 5, 32, 16)},
	{"matmul-token-sigma-21", 21, choice{scheme: plan.Token, sigmaK: 3}, matmul(3, 5, 32, 16)},
	{"gemm-token", 13, choice{scheme: plan.Token}, gemm},
	{"gemm-token-column-bias", 13, choice{scheme: plan.Token}, func(b *builder) {
		b.output(b.op("Gemm", "y", in(b.input("x", 16, 32), b.normal("w", 32, 16), b.normal("b", 16, 1))))
	}},
	{"qkv-token", 17, choice{scheme: plan.Token}, func(b *builder) {
		x := b.op("Relu", "relu", in(b.input("x", 2, 5, 32)))
		q, k, v := b.op("MatMul", "q", in(x, b.normal("wq", 32, 16))), b.op("MatMul", "k", in(x, b.normal("wk", 32, 16))), b.op("MatMul", "v", in(x, b.normal("wv", 32, 8)))
		b.output(q, b.op("Add", "kb", in(k, b.normal("bk", 16))), v)
	}},
	{"shared-weights-token", 13, choice{scheme: plan.Token}, func(b *builder) {
		w := b.normal("w", 32, 32)
		h := b.op("MatMul", "h", in(b.input("x", 2, 5, 32), w))
		b.output(h, b.op("MatMul", "y", in(b.op("Tanh", "t", in(h)), w)))
	}},
	// Products, per tensor.
	{"matmul-dynamic", 13, choice{scheme: plan.Dynamic}, matmul(3, 5, 32, 16)},
	{"matmul-dynamic-vector", 13, choice{scheme: plan.Dynamic}, matmul(32, 16)},
	{"gemm-dynamic", 13, choice{scheme: plan.Dynamic}, gemm},
	{"gemm-dynamic-tensor", 13, choice{scheme: plan.Dynamic, tensor: true}, gemm},
	// Weights only.
	{"matmul-stored", 13, choice{scheme: plan.WeightOnly}, matmul(3, 5, 32, 16)},
	{"half-stored", 13, choice{scheme: plan.WeightOnly}, func(b *builder) {
		x := b.op("Cast", "x16", in(b.input("x", 20, 32)), onnx.AttrI("to", int64(onnx.Float16)))
		h := b.op("Add", "h", in(b.op("MatMul", "p", in(x, half(b.normal("w", 32, 16)))), half(b.normal("place", 20, 16))))
		h = b.op("Mul", "m", in(h, half(b.normal("gain", 16))))
		b.output(b.op("Cast", "y", in(h), onnx.AttrI("to", int64(onnx.Float32))))
	}},
	{"matmul-stored-left", 13, choice{scheme: plan.WeightOnly}, func(b *builder) {
		b.output(b.op("MatMul", "y", in(b.normal("w", 16, 32), b.input("x", 2, 32, 5))))
	}},
	{"matmul-stored-batch", 13, choice{scheme: plan.WeightOnly}, func(b *builder) {
		b.output(b.op("MatMul", "y", in(b.input("x", 2, 5, 32), b.normal("w", 2, 32, 8))))
	}},
	{"gemm-stored", 13, choice{scheme: plan.WeightOnly}, func(b *builder) {
		b.output(b.op("Gemm", "y", in(b.input("x", 32, 5), b.normal("w", 16, 32), b.normal("b", 5, 1)),
			onnx.AttrI("transA", 1), onnx.AttrI("transB", 1), onnx.AttrF("alpha", 0.5), onnx.AttrF("beta", 2)))
	}},
	{"conv-stored", 13, choice{scheme: plan.WeightOnly}, func(b *builder) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 4, 8, 8), b.normal("w", 8, 4, 3, 3), b.normal("b", 8))))
	}},
	{"conv-stored-tensor", 13, choice{scheme: plan.WeightOnly, tensor: true}, func(b *builder) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 4, 40), b.normal("w", 16, 4, 5))))
	}},
	{"conv-transpose-stored", 13, choice{scheme: plan.WeightOnly}, func(b *builder) {
		b.output(b.op("ConvTranspose", "y", in(b.input("x", 1, 8, 5, 5), b.normal("w", 8, 6, 3, 3)), onnx.AttrI("group", 2)))
	}},
	{"gather-stored", 13, choice{scheme: plan.WeightOnly}, func(b *builder) {
		table, i := b.normal("table", 40, 8), b.inputOf("i", onnx.Int64, 2, 3)
		minus := b.op("Neg", "minus", in(i))
		minus.Type = onnx.TensorOf(onnx.Int64)
		b.output(b.op("Gather", "rows", in(table, i)), b.op("Gather", "row", in(table, b.inputOf("j", onnx.Int64))), b.op("Gather", "last", in(table, minus)))
	}},
	{"gather-stored-tensor", 13, choice{scheme: plan.WeightOnly, tensor: true}, func(b *builder) {
		b.output(b.op("Gather", "rows", in(b.normal("table", 40, 8), b.inputOf("i", onnx.Int64, 2, 3))))
	}},
	{"tied-table", 13, choice{scheme: plan.WeightOnly, schemes: map[string]plan.Scheme{"y": plan.Token}}, func(b *builder) {
		table := b.normal("table", 40, 16)
		x := b.op("Gather", "x", in(table, b.inputOf("i", onnx.Int64, 5)))
		b.output(b.op("Gemm", "y", in(x, table), onnx.AttrI("transB", 1)))
	}},
	{"tied-table-stored", 13, choice{scheme: plan.WeightOnly}, func(b *builder) {
		table := b.normal("table", 40, 16)
		x := b.op("Gather", "x", in(table, b.inputOf("i", onnx.Int64, 5)))
		b.output(b.op("Gemm", "y", in(x, table), onnx.AttrI("transB", 1)))
	}},
	{"gru-stored", 14, choice{scheme: plan.WeightOnly}, func(b *builder) {
		y := b.ops("GRU", []string{"y", "y_h"}, in(b.input("x", 4, 1, 6), b.normal("w", 2, 24, 6), b.normal("r", 2, 24, 8)),
			onnx.AttrI("hidden_size", 8), onnx.AttrS("direction", "bidirectional"))
		b.output(y...)
	}},
	// Recurrent.
	{"lstm-dynamic", 14, choice{scheme: plan.Dynamic}, lstm("forward", false)},
	{"lstm-dynamic-bidirectional", 14, choice{scheme: plan.Dynamic}, lstm("bidirectional", true)},
	{"lstm-stored", 14, choice{scheme: plan.WeightOnly}, lstm("bidirectional", true)},
	{"lstm-dynamic-branches", 16, choice{scheme: plan.Dynamic}, func(b *builder) {
		x, w, r := b.input("x", 3, 1, 6), b.normal("w", 1, 32, 6), b.normal("r", 1, 32, 8)
		half := func(name, direction string) *onnx.Graph {
			return b.branch(name, func(s *builder) {
				s.output(s.ops("LSTM", []string{"", name + "_h"}, in(x, w, r), onnx.AttrI("hidden_size", 8), onnx.AttrS("direction", direction))[1])
			})
		}
		b.output(b.op("If", "y", in(b.inputOf("fast", onnx.Bool)), onnx.AttrG("then_branch", half("a", "forward")), onnx.AttrG("else_branch", half("b", "reverse"))))
	}},
	// Subgraphs.
	{"branches-token", 16, choice{scheme: plan.Token}, func(b *builder) {
		x, w := b.input("x", 2, 32), b.normal("w", 32, 16)
		half := func(name string, bias *onnx.Value) *onnx.Graph {
			return b.branch(name, func(s *builder) {
				inner := s.normal(name+"_w", 32, 16)
				s.output(s.op("Add", name+"_y", in(s.op("Gemm", name+"_g", in(x, w, bias)), s.op("MatMul", name+"_m", in(x, inner)))))
			})
		}
		b.output(b.op("If", "y", in(b.inputOf("fast", onnx.Bool)), onnx.AttrG("then_branch", half("a", b.normal("b1", 16))), onnx.AttrG("else_branch", half("b", b.normal("b2", 16)))))
	}},
	{"branches-dynamic", 16, choice{scheme: plan.Dynamic}, func(b *builder) {
		x, w := b.input("x", 2, 32), b.normal("w", 32, 16)
		half := func(name, op string) *onnx.Graph {
			return b.branch(name, func(s *builder) { s.output(s.op(op, name+"_y", in(s.op("MatMul", name+"_m", in(x, w))))) })
		}
		b.output(b.op("If", "y", in(b.inputOf("fast", onnx.Bool)), onnx.AttrG("then_branch", half("a", "Neg")), onnx.AttrG("else_branch", half("b", "Abs"))))
	}},
	// Static.
	{"conv-static", 13, choice{scheme: plan.Static, schemes: map[string]plan.Scheme{"relu": plan.Fused, "pool": plan.Static, "sum": plan.Static}, codes: map[string]plan.Activation{
		"x": codesOf(-4, 4), "relu": codesOf(0, 20), "pool": codesOf(0, 20), "c2": codesOf(-200, 200), "sum": codesOf(-200, 200), "y": codesOf(-1500, 1500),
	}}, func(b *builder) {
		x := b.input("x", 1, 4, 12, 12)
		relu := b.op("Relu", "relu", in(b.op("Conv", "c1", in(x, b.normal("w1", 8, 4, 3, 3), b.normal("b1", 8)))))
		pool := b.op("MaxPool", "pool", in(relu), onnx.AttrIs("kernel_shape", 2, 2))
		c2 := b.op("Conv", "c2", in(pool, b.normal("w2", 8, 8, 3, 3)), onnx.AttrIs("pads", 1, 1, 1, 1))
		sum := b.op("Add", "sum", in(c2, pool))
		b.output(sum, b.op("Conv", "y", in(sum, b.normal("w3", 8, 4, 3, 3)), onnx.AttrI("group", 2)))
	}},
	{"conv-static-1d", 13, choice{scheme: plan.Static, codes: map[string]plan.Activation{"x": codesOf(-4, 4), "y": codesOf(-20, 20)}}, func(b *builder) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 4, 40), b.normal("w", 16, 4, 5), b.normal("b", 16))))
	}},
	{"conv-static-3d", 13, choice{scheme: plan.Static, codes: map[string]plan.Activation{"x": codesOf(-4, 4), "y": codesOf(-30, 30)}}, func(b *builder) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 2, 5, 5, 5), b.normal("w", 8, 2, 3, 3, 3), b.normal("b", 8))))
	}},
	{"conv-static-tensor", 13, choice{scheme: plan.Static, tensor: true, codes: map[string]plan.Activation{"x": codesOf(-4, 4), "y": codesOf(-30, 30)}}, func(b *builder) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 4, 8, 8), b.normal("w", 8, 4, 3, 3), b.normal("b", 8))))
	}},
	{"conv-static-raised", 13, choice{scheme: plan.Static, codes: map[string]plan.Activation{"x": codesOf(0, 1e-6), "y": codesOf(-4, 4)}}, func(b *builder) {
		w := b.normal("w", 8, 4, 3, 3)
		for i := range 36 {
			onnx.Data[float32](w.Const())[i] *= 1e-6 // the bias of channel 0 needs 2^31 and more of its steps
		}
		b.output(b.op("Conv", "y", in(b.input("x", 1, 4, 8, 8), w, b.normal("b", 8))))
	}},
	{"gemm-static", 13, choice{scheme: plan.Static, schemes: map[string]plan.Scheme{"relu": plan.Fused}, codes: map[string]plan.Activation{"x": codesOf(-4, 4), "relu": codesOf(0, 25)}}, func(b *builder) {
		h := b.op("Relu", "relu", in(b.op("Gemm", "h", in(b.input("x", 5, 32), b.normal("w1", 16, 32), b.normal("b1", 16)), onnx.AttrI("transB", 1))))
		b.output(b.op("Gemm", "y", in(h, b.normal("w2", 16, 16), b.normal("b2", 1, 16))))
	}},
	{"matmul-static", 13, choice{scheme: plan.Static, codes: map[string]plan.Activation{"x": codesOf(-4, 4), "h": codesOf(-25, 25)}}, func(b *builder) {
		h := b.op("MatMul", "h", in(b.input("x", 2, 5, 32), b.normal("w1", 32, 16)))
		b.output(b.op("MatMul", "y", in(h, b.normal("w2", 16, 16))))
	}},
	{"matmul-static-vector", 13, choice{scheme: plan.Static, codes: map[string]plan.Activation{"x": codesOf(-4, 4), "y": codesOf(-25, 25)}}, matmul(32, 16)},
	{"gemm-static-sum-bias", 13, choice{scheme: plan.Static, codes: map[string]plan.Activation{"x": codesOf(-4, 4)}}, func(b *builder) {
		b.output(b.op("Gemm", "y", in(b.input("x", 5, 32), b.normal("w", 32, 16), b.normal("b", 1))))
	}},
	{"constant-operand-static", 13, choice{scheme: plan.Static, schemes: map[string]plan.Scheme{"s2": plan.Static, "s1": plan.Static, "cat": plan.Static, "sig": plan.Static}, codes: map[string]plan.Activation{
		"x": codesOf(-4, 4), "c": codesOf(-30, 30), "k": codesOf(-3, 3), "s1": codesOf(-30, 30), "s2": codesOf(-60, 60), "sig": {Type: "uint8", Scale: 1. / 256}, "cat": codesOf(-60, 60), "y": codesOf(-400, 400),
	}}, func(b *builder) {
		c := b.op("Conv", "c", in(b.input("x", 1, 4, 8, 8), b.normal("w1", 8, 4, 3, 3)))
		k := b.normal("k", 8, 1, 1) // of two nodes, the later one listed first in its uses
		s1 := b.op("Add", "s1", in(c, k))
		s2 := b.op("Mul", "s2", in(s1, k))
		cat := b.op("Concat", "cat", in(s2, b.op("Sigmoid", "sig", in(s1))), onnx.AttrI("axis", 1))
		b.output(b.op("Conv", "y", in(cat, b.normal("w2", 4, 16, 3, 3))))
	}},
	{"split-static", 13, choice{scheme: plan.Static, schemes: map[string]plan.Scheme{"p": plan.Static}, codes: map[string]plan.Activation{
		"x": codesOf(-4, 4), "c": codesOf(-30, 30), "p": codesOf(-30, 30), "q": codesOf(-30, 30), "y": codesOf(-300, 300),
	}}, func(b *builder) {
		c := b.op("Conv", "c", in(b.input("x", 1, 4, 8, 8), b.normal("w1", 8, 4, 3, 3)))
		parts := b.ops("Split", []string{"p", "q"}, in(c), onnx.AttrI("axis", 1))
		b.output(b.op("Conv", "y", in(parts[0], b.normal("w2", 8, 4, 3, 3))), b.op("Neg", "z", in(parts[1])))
	}},
	{"mixed-schemes", 13, choice{scheme: plan.Static, schemes: map[string]plan.Scheme{"first": plan.Token, "third": plan.Dynamic, "fourth": plan.WeightOnly}, codes: map[string]plan.Activation{"h": codesOf(-40, 40)}}, func(b *builder) {
		w := b.normal("w", 16, 16) // one matrix in every form, the static use behind the token-wise one
		h := b.op("MatMul", "first", in(b.input("x", 4, 16), w))
		h = b.op("Identity", "keep", in(h))
		h = b.op("Neg", "h", in(h))
		y := b.op("MatMul", "second", in(h, w))
		b.output(y, b.op("MatMul", "third", in(h, w)), b.op("MatMul", "fourth", in(h, w)))
	}},
	// Few bits: unpacked by constant nodes in front of integer kernels and of float ones.
	{"conv-static-int4", 13, fewBits(plan.Static, "int4", 0, plan.Folded), func(b *builder) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 8, 8, 8), b.normal("w", 16, 4, 3, 3), b.normal("b", 16)), onnx.AttrI("group", 2)))
	}},
	{"conv-static-int4-24", 24, fewBits(plan.Static, "int4", 0, plan.Folded), func(b *builder) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 8, 8, 8), b.normal("w", 16, 8, 3, 3))))
	}},
	{"conv-static-kmeans4", 13, fewBits(plan.Static, "kmeans4", 0, plan.Folded), func(b *builder) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 7, 8, 8), b.normal("w", 15, 7, 3, 3)))) // an odd number of codes
	}},
	{"gemm-static-int6", 13, fewBits(plan.Static, "int6", 0, plan.Folded), gemm},
	{"matmul-token-int4", 13, fewBits(plan.Token, "int4", 0, plan.Folded), matmul(3, 5, 32, 16)},
	{"gemm-dynamic-int3", 13, fewBits(plan.Dynamic, "int3", 0, plan.Folded), gemm},
	{"conv-stored-uint4-blocks", 13, fewBits(plan.WeightOnly, "uint4", 16, plan.Folded), func(b *builder) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 4, 8, 8), b.normal("w", 8, 4, 3, 3)))) // blocks that do not divide 36
	}},
	{"conv-transpose-stored-int4-blocks", 13, fewBits(plan.WeightOnly, "int4", 32, plan.Folded), func(b *builder) {
		b.output(b.op("ConvTranspose", "y", in(b.input("x", 1, 8, 5, 5), b.normal("w", 8, 6, 3, 3))))
	}},
	{"gru-stored-int4", 14, fewBits(plan.WeightOnly, "int4", 0, plan.Folded), func(b *builder) {
		b.output(b.ops("GRU", []string{"y", "y_h"}, in(b.input("x", 4, 1, 6), b.normal("w", 1, 24, 6), b.normal("r", 1, 24, 8)), onnx.AttrI("hidden_size", 8))...)
	}},
	{"gather-int4", 13, fewBits(plan.WeightOnly, "int4", 0, plan.Folded), func(b *builder) {
		table := b.normal("table", 40, 8)
		b.output(b.op("Gather", "rows", in(table, b.inputOf("i", onnx.Int64, 2, 3))), b.op("Gather", "row", in(table, b.inputOf("j", onnx.Int64))))
	}},
	{"gather-uint3-blocks", 13, fewBits(plan.WeightOnly, "uint3", 16, plan.Folded), func(b *builder) {
		b.output(b.op("Gather", "rows", in(b.normal("table", 40, 21), b.inputOf("i", onnx.Int64, 2, 3))))
	}},
	{"branches-int4", 16, fewBits(plan.WeightOnly, "int4", 0, plan.Folded), func(b *builder) {
		x, w := b.input("x", 2, 32), b.normal("w", 32, 16) // unpacked in either branch: integer kernels ask for that
		half := func(name, op string) *onnx.Graph {
			return b.branch(name, func(s *builder) { s.output(s.op(op, name+"_y", in(s.op("MatMul", name+"_m", in(x, w))))) })
		}
		b.output(b.op("If", "y", in(b.inputOf("fast", onnx.Bool)), onnx.AttrG("then_branch", half("a", "Neg")), onnx.AttrG("else_branch", half("b", "Abs"))))
	}},
	// Half precision.
	{"matmul-float16", 13, fewBits(plan.WeightOnly, "float16", 0, plan.Plain), matmul(3, 5, 32, 16)},
	{"tied-table-float16", 13, fewBits(plan.WeightOnly, "float16", 0, plan.Plain), func(b *builder) {
		table := b.normal("table", 40, 32)
		x := b.op("Gather", "x", in(table, b.inputOf("i", onnx.Int64, 5)))
		b.output(b.op("Gemm", "y", in(x, table), onnx.AttrI("transB", 1)))
	}},
	{"branches-float16", 16, fewBits(plan.WeightOnly, "float16", 0, plan.Plain), func(b *builder) {
		x, w := b.input("x", 2, 32), b.normal("w", 32, 16)
		half := func(name, op string) *onnx.Graph {
			return b.branch(name, func(s *builder) { s.output(s.op(op, name+"_y", in(s.op("MatMul", name+"_m", in(x, w))))) })
		}
		b.output(b.op("If", "y", in(b.inputOf("fast", onnx.Bool)), onnx.AttrG("then_branch", half("a", "Neg")), onnx.AttrG("else_branch", half("b", "Abs"))))
	}},
	// Few bits: products that take them as they are.
	{"matmul-native-int4", 13, fewBits(plan.WeightOnly, "int4", 32, plan.Native), matmul(3, 5, 40, 16)},
	{"gemm-native-uint4", 13, fewBits(plan.WeightOnly, "uint4", 16, plan.Native), gemm},
	{"matmul-native-uint8", 13, fewBits(plan.WeightOnly, "uint8", 16, plan.Native), matmul(3, 5, 40, 16)},
	{"matmul-native-int2", 13, fewBits(plan.WeightOnly, "int2", 16, plan.Native), matmul(3, 5, 40, 16)},
	{"matmul-qdq-int4", 21, fewBits(plan.WeightOnly, "int4", 32, plan.QDQ), matmul(3, 5, 40, 16)},
	{"gemm-qdq-uint4", 21, fewBits(plan.WeightOnly, "uint4", 16, plan.QDQ), gemm},
	{"gather-native-int4", 13, fewBits(plan.WeightOnly, "int4", 16, plan.Native), func(b *builder) {
		b.output(b.op("Gather", "rows", in(b.normal("table", 40, 21), b.inputOf("i", onnx.Int64, 2, 3)))) // an odd number of columns
	}},
	{"tied-table-native", 13, fewBits(plan.WeightOnly, "uint4", 16, plan.Native), func(b *builder) {
		table := b.normal("table", 40, 32)
		x := b.op("Gather", "x", in(table, b.inputOf("i", onnx.Int64, 5)))
		b.output(b.op("Gemm", "y", in(x, table), onnx.AttrI("transB", 1)))
	}},
	{"taken-names", 13, choice{scheme: plan.Token}, func(b *builder) {
		x := b.input("x", 2, 32)
		taken := b.op("Neg", "x_quantized", in(x))
		taken = b.op("Abs", "w_scale", in(taken))
		taken = b.op("Relu", "zero_point_128", in(taken))
		b.output(b.op("MatMul", "y", in(x, b.normal("w", 32, 16))), b.op("MatMul", "y_product", in(taken, b.normal("w_quantized", 32, 16))))
	}},
}

// fewBits stores all weights in a form; those that only products take in are folded elsewhere.
func fewBits(scheme plan.Scheme, typ string, block int, storage plan.Storage) choice {
	return choice{scheme: scheme, form: plan.Form{Type: typ, Block: block, Storage: storage}, codes: map[string]plan.Activation{"x": codesOf(-4, 4), "y": codesOf(-30, 30)}}
}

// matmul is MatMul of an input of these dims, but for the last, with a matrix to that many columns.
func matmul(dims ...int64) func(*builder) {
	r := len(dims)
	return func(b *builder) {
		b.output(b.op("MatMul", "y", in(b.input("x", dims[:r-1]...), b.normal("w", dims[r-2], dims[r-1]))))
	}
}

func gemm(b *builder) {
	b.output(b.op("Gemm", "y", in(b.input("x", 5, 32), b.normal("w", 16, 32), b.normal("b", 16)), onnx.AttrI("transB", 1)))
}

// lstm has, where it is full, every optional input.
func lstm(direction string, full bool) func(*builder) {
	return func(b *builder) {
		d := int64(1)
		if direction == "bidirectional" {
			d = 2
		}
		small := func(v *onnx.Value) *onnx.Value {
			for i := range onnx.Data[float32](v.Const()) {
				onnx.Data[float32](v.Const())[i] /= 3
			}
			return v
		}
		inputs := in(b.input("x", 4, 3, 6), small(b.normal("w", d, 32, 6)), small(b.normal("r", d, 32, 8)))
		if full {
			lengths := b.g.AddConst("lengths", onnx.Of([]int32{4, 2, 3}))
			inputs = append(inputs, b.normal("b", d, 64), lengths, b.input("h0", d, 3, 8), b.input("c0", d, 3, 8), small(b.normal("p", d, 24)))
		}
		b.output(b.ops("LSTM", []string{"y", "y_h", "y_c"}, inputs, onnx.AttrI("hidden_size", 8), onnx.AttrS("direction", direction))...)
	}
}
