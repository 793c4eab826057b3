package emit

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

func (b *builder) constant(t *onnx.Tensor) *onnx.Value {
	return b.g.AddConst(b.g.FreshName("c"), t)
}

// pair quantizes and dequantizes with one scale; zero is an uint8 or int8.
func (b *builder) pair(v *onnx.Value, scale float32, zero *onnx.Tensor) *onnx.Value {
	s, z := b.constant(onnx.Scalar(scale)), b.constant(zero)
	return b.dequantized(b.codes(v, s, z), s, z)
}

func (b *builder) codes(v, scale, zero *onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	q := b.op("QuantizeLinear", b.g.FreshName(v.Name()+"_q"), in(v, scale, zero), attrs...)
	q.Type = onnx.TensorOf(zero.Const().Type)
	return q
}

func (b *builder) dequantized(v, scale, zero *onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	return b.op("DequantizeLinear", b.g.FreshName(v.Name()+"_dq"), in(v, scale, zero), attrs...)
}

func (b *builder) signed(v *onnx.Value, scale float32) *onnx.Value {
	return b.pair(v, scale, onnx.Scalar(int8(0)))
}

func (b *builder) unsigned(v *onnx.Value, scale float32, zero uint8) *onnx.Value {
	return b.pair(v, scale, onnx.Scalar(zero))
}

// trained is int8 weights behind DequantizeLinear, with a scale for each channel.
func (b *builder) trained(axis int64, dims ...int64) *onnx.Value {
	codes, scales := make([]int8, onnx.NumElements(dims)), make([]float32, dims[axis])
	for i := range codes {
		codes[i] = int8(b.random.IntN(256) - 128)
	}
	for i := range scales {
		scales[i] = float32(0.001 * (1 + b.random.Float64()))
	}
	return b.dequantized(b.constant(onnx.Of(codes, append([]int64{}, dims...)...)), b.constant(onnx.Of(scales)), b.constant(onnx.Zeros(onnx.Int8, dims[axis])), onnx.AttrI("axis", axis))
}

func (b *builder) conv3(out string, x *onnx.Value) *onnx.Value {
	return b.op("Conv", out, in(x, b.trained(0, 8, 8, 3, 3)), onnx.AttrIs("pads", 1, 1, 1, 1))
}

// What a model came with computes the same to the bit, in a form that the target has integers for; and that form is left alone
// by the next run.
func TestExisting(t *testing.T) {
	for _, c := range []struct {
		name    string
		opset   int64
		build   func(b *builder)
		reasons string // of the nodes, by output
		ops     string // afterwards
	}{
		{"signed codes and a Relu", 13, func(b *builder) {
			x := b.op("Relu", "r", in(b.conv3("a", b.signed(b.input("x", 1, 8, 6, 6), 0.03))))
			b.output(b.signed(b.conv3("b", b.signed(x, 0.02)), 0.05))
		}, "a completed, r integer-kernel, b completed", "2 Conv, 6 DequantizeLinear, 1 LeakyRelu, 4 QuantizeLinear"},
		{"a pool between", 13, func(b *builder) {
			x := b.op("Relu", "r", in(b.conv3("a", b.unsigned(b.input("x", 1, 8, 6, 6), 0.03, 120))))
			x = b.op("MaxPool", "p", in(x), onnx.AttrIs("kernel_shape", 2, 2))
			b.output(b.unsigned(b.conv3("b", b.unsigned(x, 0.02, 0)), 0.05, 99))
		}, "a completed, r fused, p integer-kernel, b already-quantized", "2 Conv, 6 DequantizeLinear, 1 MaxPool, 4 QuantizeLinear, 1 Relu"},
		{"other scales behind a pool", 13, func(b *builder) {
			x := b.unsigned(b.conv3("a", b.unsigned(b.input("x", 1, 8, 6, 6), 0.03, 120)), 0.02, 130)
			x = b.op("MaxPool", "p", in(x), onnx.AttrIs("kernel_shape", 2, 2))
			b.output(b.conv3("b", b.unsigned(x, 0.03, 100)))
		}, "a already-quantized, p scales-differ, b already-quantized", "2 Conv, 5 DequantizeLinear, 1 MaxPool, 3 QuantizeLinear"},
		{"two scales of one tensor", 13, func(b *builder) {
			x := b.input("x", 1, 8, 6, 6)
			b.output(b.unsigned(b.conv3("a", b.unsigned(x, 0.03, 120)), 0.1, 1), b.unsigned(b.conv3("b", b.unsigned(x, 0.02, 128)), 0.1, 2))
		}, "a already-quantized, b already-quantized", "2 Conv, 6 DequantizeLinear, 4 QuantizeLinear"},
		{"codes in and out", 13, func(b *builder) {
			one := b.constant(onnx.Scalar(float32(0.1)))
			zero := b.constant(onnx.Scalar(uint8(7)))
			b.output(b.codes(b.conv3("a", b.dequantized(b.inputOf("x", onnx.Uint8, 1, 8, 6, 6), one, zero)), one, zero))
		}, "a already-quantized", "1 Conv, 2 DequantizeLinear, 1 QuantizeLinear"},
		{"codes that are clipped", 13, func(b *builder) {
			s, z := b.constant(onnx.Scalar(float32(0.02))), b.constant(onnx.Scalar(uint8(0)))
			q := b.codes(b.op("Relu", "r", in(b.conv3("a", b.unsigned(b.input("x", 1, 8, 6, 6), 0.03, 120)))), s, z)
			q = b.op("Clip", "half", in(q, z, b.constant(onnx.Scalar(uint8(127)))))
			q.Type = onnx.TensorOf(onnx.Uint8)
			b.output(b.unsigned(b.conv3("b", b.dequantized(q, s, z)), 0.05, 99))
		}, "a already-quantized, r fused, half already-quantized, b already-quantized", "1 Clip, 2 Conv, 5 DequantizeLinear, 3 QuantizeLinear, 1 Relu"},
		{"weights with a zero point", 13, func(b *builder) {
			w := b.dequantized(b.constant(onnx.Of(bytes.Repeat([]byte{1, 250, 130, 77}, 144), 8, 8, 3, 3)), b.constant(onnx.Scalar(float32(0.002))), b.constant(onnx.Scalar(uint8(131))))
			b.output(b.unsigned(b.op("Conv", "a", in(b.unsigned(b.input("x", 1, 8, 6, 6), 0.03, 120), w)), 0.05, 99))
		}, "a completed", "1 Conv, 3 DequantizeLinear, 2 QuantizeLinear"},
		{"a linear layer", 13, func(b *builder) {
			w := b.op("Transpose", "wt", in(b.trained(0, 16, 24)), onnx.AttrIs("perm", 1, 0))
			b.output(b.op("MatMul", "y", in(b.signed(b.input("x", 2, 5, 24), 0.03), w)))
		}, "y completed", "2 DequantizeLinear, 1 MatMul, 1 QuantizeLinear"},
		{"a table", 13, func(b *builder) {
			b.output(b.op("Gather", "y", in(b.trained(0, 40, 16), b.inputOf("i", onnx.Int64, 3))))
		}, "y stored-table", "1 Cast, 2 Gather, 1 Mul"},
		{"scales along the wrong axis", 13, func(b *builder) {
			b.output(b.op("MatMul", "y", in(b.unsigned(b.input("x", 2, 24), 0.03, 120), b.trained(0, 24, 16))))
		}, "y already-quantized", "2 DequantizeLinear, 1 MatMul, 1 QuantizeLinear"},
		{"blocks of four bits", 21, func(b *builder) {
			w := b.constant(onnx.New(onnx.Int4, []int64{32, 16}, bytes.Repeat([]byte{0x1f, 0x73, 0xc5, 0x28}, 64)))
			w = b.op("DequantizeLinear", "w", in(w, b.normal("s", 2, 16)), onnx.AttrI("axis", 0), onnx.AttrI("block_size", 16))
			b.output(b.op("MatMul", "y", in(b.input("x", 2, 32), w)))
		}, "y already-quantized", "1 DequantizeLinear, 1 MatMul"},
		{"a constant of a sum", 13, func(b *builder) {
			c := b.dequantized(b.constant(onnx.Of([]uint8{3, 4, 5, 250, 6, 7, 8, 9}, 1, 8, 1, 1)), b.constant(onnx.Scalar(float32(0.01))), b.constant(onnx.Scalar(uint8(100))))
			x := b.unsigned(b.conv3("a", b.unsigned(b.input("x", 1, 8, 6, 6), 0.03, 120)), 0.02, 130)
			x = b.unsigned(b.op("Add", "s", in(x, c)), 0.03, 128)
			b.output(b.unsigned(b.conv3("b", x), 0.1, 1))
		}, "a already-quantized, s already-quantized, b already-quantized", "1 Add, 2 Conv, 7 DequantizeLinear, 4 QuantizeLinear"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := build(c.opset, c.build)
			prep, p := planned(t, m)
			var reasons []string
			for n := range prep.Model.Graph.Nodes() {
				if !n.Is("QuantizeLinear", "DequantizeLinear") {
					reasons = append(reasons, n.Output(0).Name()+" "+p.Node(n.Name).Reason.ID)
				}
			}
			feeds := feedsOf(m.Graph, nil)
			for name, x := range feeds {
				if m.Graph.Value(name).Type.Elem == onnx.Uint8 {
					feeds[name] = onnx.Of(bytes.Repeat([]byte{0, 255, 7, 9}, x.Len()/4), x.Dims...)
				}
			}
			want := run(t, m, feeds, nil)
			written := emitted(t, prep, p)
			for name, x := range run(t, written, feeds, nil) {
				if !bytes.Equal(x.Bytes(), want[name].Bytes()) {
					t.Errorf("output %q is not the same", name)
				}
			}
			if got := strings.Join(reasons, ", "); got != c.reasons {
				t.Errorf("nodes: %s\nwant:  %s", got, c.reasons)
			}
			if got := counts(written); got != c.ops {
				t.Errorf("written: %s\nwant:    %s", got, c.ops)
			}
			if _, p := planned(t, written); p.Quantizes() {
				t.Errorf("once more: %+v", p.Nodes)
			}
		})
	}
}

// planned makes a plan without data.
func planned(t *testing.T, m *onnx.Model) (*plan.Prepared, *plan.Plan) {
	t.Helper()
	prep := prepared(t, m)
	probes, err := data.Probes(prep.Model.Graph, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Make(t.Context(), prep, plan.Options{
		Target: target.Targets[0], Activations: plan.ModeAuto, Range: quantize.RangeRule{Method: "minmax"}, Probes: probes, Guard: plan.DefaultGuard,
	})
	if err != nil {
		t.Fatal(err)
	}
	return prep, p
}

func counts(m *onnx.Model) string {
	n := map[string]int{}
	for node := range m.Graph.Nodes() {
		n[node.Op]++
	}
	var s []string
	for _, op := range slices.Sorted(maps.Keys(n)) {
		s = append(s, fmt.Sprintf("%d %s", n[op], op))
	}
	return strings.Join(s, ", ")
}
