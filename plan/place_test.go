package plan

import (
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// Where codes begin and end: a row for each rule of placement.
func TestPlacement(t *testing.T) {
	for _, c := range []struct {
		name    string
		exclude string
		build   func(b *builder)
		want    string
		float   string // nodes that stay float, and the reason of each
	}{
		{"Relu vanishes", "", func(b *builder) {
			b.output(b.conv("y", b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))))
		}, "Conv_c static[x], Relu_r fused[r], Conv_y static[r y]", ""},
		{"Clip from 0 vanishes", "", func(b *builder) {
			b.output(b.conv("y", b.op("Clip", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8)), b.scalar("lo", 0), b.scalar("hi", 0.5)))))
		}, "Conv_c static[x], Clip_r fused[r], Conv_y static[r y]", ""},
		{"Clip from below 0 stays", "", func(b *builder) {
			b.output(b.conv("y", b.op("Clip", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8)), b.scalar("lo", -0.5), b.scalar("hi", 0.5)))))
		}, "Conv_c static[c x], Conv_y static[r y]", "Clip_r not-between-integers"},
		{"LeakyRelu", "", func(b *builder) {
			b.output(b.conv("y", b.op("LeakyRelu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))))
		}, "Conv_c static[c x], LeakyRelu_r static[c r], Conv_y static[r y]", ""},
		{"SiLU", "", func(b *builder) {
			c := b.conv("c", b.input("x", 1, 8, 8, 8))
			b.output(b.conv("y", b.op("Mul", "m", in(c, b.op("Sigmoid", "s", in(c))))))
		}, "Conv_c static[c x], Sigmoid_s static[c s], Mul_m static[c m s], Conv_y static[m y]", ""},
		{"HardSwish", "", func(b *builder) {
			c := b.conv("c", b.input("x", 1, 8, 8, 8))
			six := b.op("Clip", "six", in(b.op("Add", "a", in(c, b.scalar("three", 3))), b.scalar("lo", 0), b.scalar("hi", 6)))
			b.output(b.conv("y", b.op("Div", "h", in(b.op("Mul", "m", in(c, six)), b.scalar("k", 6)))))
		}, "Conv_c static[c x], Conv_y static[h y]", "Add_a not-between-integers, Clip_six not-between-integers, Mul_m not-between-integers, Div_h no-integer-kernel"},
		{"Tanh", "", func(b *builder) {
			b.output(b.conv("y", b.op("Tanh", "h", in(b.conv("c", b.input("x", 1, 8, 8, 8))))))
		}, "Conv_c static[c x], Conv_y static[h y]", "Tanh_h no-integer-kernel"},
		{"residual", "", func(b *builder) {
			r := b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))
			b.output(b.conv("y", b.op("Relu", "s", in(b.op("Add", "a", in(b.conv("d", r), r))))))
		}, "Conv_c static[x], Relu_r fused[r], Conv_d static[d r], Add_a static[d r], Relu_s fused[s], Conv_y static[s y]", ""},
		{"MaxPool", "", func(b *builder) {
			r := b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))
			b.output(b.conv("y", b.op("MaxPool", "p", in(r), onnx.AttrIs("kernel_shape", 2, 2))))
		}, "Conv_c static[x], Relu_r fused[r], MaxPool_p static[p r], Conv_y static[p y]", ""},
		{"Concat", "", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			cat := b.op("Concat", "cat", in(b.conv("c", x), b.conv("d", x)), onnx.AttrI("axis", 1))
			b.output(b.op("Conv", "y", in(cat, b.normal("w", 0.1, 8, 16, 3, 3))))
		}, "Conv_c static[c x], Conv_d static[d x], Concat_cat static[c cat d], Conv_y static[cat y]", ""},
		{"heterogeneous Concat", "", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			boxes := b.op("Conv", "boxes", in(x, b.normal("wb", 50, 8, 8, 3, 3)), onnx.AttrIs("pads", 1, 1, 1, 1))
			cat := b.op("Concat", "cat", in(b.conv("scores", x), boxes), onnx.AttrI("axis", 1))
			b.output(b.op("Conv", "y", in(cat, b.normal("w", 0.1, 8, 16, 3, 3))))
		}, "Conv_boxes static[boxes x], Conv_scores static[scores x], Conv_y weight-only", "Concat_cat heterogeneous-concat"},
		{"excluded Conv between codes", "Conv_d", func(b *builder) {
			r := b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))
			s := b.op("Relu", "s", in(b.conv("d", r)))
			b.output(b.conv("y", s))
		}, "Conv_c weight-only, Conv_y static[s y]", "Relu_r not-between-integers, Conv_d excluded, Relu_s not-between-integers"},
		{"excluded Conv at the end", "Conv_y", func(b *builder) {
			b.output(b.conv("y", b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))))
		}, "Conv_c static[x], Relu_r fused[r]", "Conv_y excluded"},
		{"small Conv in a chain", "", func(b *builder) {
			r := b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))
			deep := b.op("Conv", "d", in(r, b.normal("wd", 0.3, 8, 1, 3, 3)), onnx.AttrI("group", 8))
			b.output(b.conv("y", b.op("Relu", "s", in(deep))))
		}, "Conv_c static[x], Relu_r fused[r], Conv_d static[r], Relu_s fused[s], Conv_y static[s y]", ""},
		{"small weights elsewhere", "Conv_y", func(b *builder) {
			deep := b.op("Conv", "d", in(b.input("x", 1, 8, 8, 8), b.normal("wd", 0.3, 8, 1, 3, 3)), onnx.AttrI("group", 8))
			b.output(b.op("MatMul", "m", in(b.op("Tanh", "t", in(b.conv("y", deep))), b.normal("w", 1, 6, 8))))
		}, "Conv_d static[d x]", "Conv_y excluded, Tanh_t no-integer-kernel, MatMul_m weights-small"},
		{"raw output used too", "", func(b *builder) {
			c := b.conv("c", b.input("x", 1, 8, 8, 8))
			b.output(b.conv("y", b.op("Relu", "r", in(c))), b.op("Neg", "n", in(c)))
		}, "Conv_c static[c x], Conv_y static[r y]", "Relu_r not-between-integers, Neg_n no-integer-kernel"},
		{"classifier", "", func(b *builder) {
			r := b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))
			flat := b.op("Flatten", "f", in(b.op("GlobalAveragePool", "g", in(r))))
			gemm := b.op("Gemm", "fc", in(flat, b.normal("w", 0.3, 8, 40), b.normal("b", 1, 40)))
			b.output(b.op("Softmax", "y", in(gemm)))
		}, "Conv_c static[x], Relu_r fused[r], GlobalAveragePool_g static[g r], Flatten_f static[f g], Gemm_fc static[f]", "Softmax_y not-between-integers"},
		{"float tail", "", func(b *builder) {
			r := b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))
			b.output(b.op("Exp", "y", in(b.op("Transpose", "t", in(r)))))
		}, "Conv_c static[x], Relu_r fused[r]", "Transpose_t not-between-integers, Exp_y no-integer-kernel"},
		{"constant operand", "", func(b *builder) {
			r := b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))
			b.output(b.conv("y", b.op("Mul", "m", in(r, b.normal("k", 1, 8, 1, 1)))))
		}, "Conv_c static[x], Relu_r fused[r], Mul_m static[k m r], Conv_y static[m y]", ""},
		{"Split", "", func(b *builder) {
			n := b.g.Append(onnx.NodeSpec{Op: "Split", Name: "Split_p", Inputs: in(b.conv("c", b.input("x", 1, 8, 8, 8))), Outputs: []string{"p", "q"}, Attrs: []*onnx.Attribute{onnx.AttrI("axis", 1)}})
			b.output(b.op("Conv", "y", in(n.Output(0), b.normal("w", 0.1, 16, 4, 3, 3))), b.op("Neg", "n", in(n.Output(1))))
		}, "Conv_c static[c x], Split_p static[c p q], Conv_y static[p y]", "Neg_n no-integer-kernel"},
		{"output taken on", "", func(b *builder) {
			c := b.conv("c", b.input("x", 1, 8, 8, 8))
			b.output(c, b.conv("y", c))
		}, "Conv_c static[c x], Conv_y static[c y]", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, p := planned(t, build(c.build), func(o *Options) {
				if c.exclude != "" {
					o.Exclude = []string{c.exclude}
				}
			})
			var float []string
			for _, n := range p.Nodes {
				if n.Scheme == Float {
					float = append(float, n.Key+" "+n.Reason.ID)
				}
			}
			expect(t, decisions(p), c.want)
			expect(t, strings.Join(float, ", "), c.float)
		})
	}
}

// Parameters that the runtime's kernels ask for.
func TestPlacedParameters(t *testing.T) {
	_, p := planned(t, build(func(b *builder) {
		c := b.conv("c", b.input("x", 1, 8, 8, 8))
		m := b.op("Mul", "m", in(c, b.op("Sigmoid", "s", in(c))))
		r := b.op("Relu", "r", in(b.conv("d", b.op("MaxPool", "p", in(m), onnx.AttrIs("kernel_shape", 2, 2)))))
		six := b.op("Clip", "six", in(b.conv("e", r), b.scalar("lo", 0), b.scalar("hi", 0.7)))
		b.output(b.conv("y", six))
	}), nil)
	all := map[string]Activation{}
	for _, n := range p.Nodes {
		for name, a := range n.Activations {
			if known, ok := all[name]; ok && known != a {
				t.Errorf("%s has two sets of parameters: %v and %v", name, known, a)
			}
			all[name] = a
		}
	}
	if s := all["s"]; s.Scale != 1./256 || s.ZeroPoint != 0 {
		t.Errorf("Sigmoid has %v", s)
	}
	if m, p := all["m"], all["p"]; m.Params() != p.Params() || m.Scale == 0 {
		t.Errorf("MaxPool makes %v of %v", p, m)
	}
	if r := all["r"]; r.ZeroPoint != 0 || r.Scale == 0 {
		t.Errorf("Relu has %v", r)
	}
	if six := all["six"]; six.ZeroPoint != 0 || !(float32(255*six.Scale) <= 0.7) || six.Scale < 0.9*0.7/255 {
		t.Errorf("Clip to 0.7 has %v", six)
	}
	for name, a := range all {
		if lo, hi := a.Range[0], a.Range[1]; lo > 0 || hi < 0 || a.Scale*255 < 0.99*(hi-lo) {
			t.Errorf("%s: scale %v does not span %v", name, a.Scale, a.Range)
		}
	}
}
