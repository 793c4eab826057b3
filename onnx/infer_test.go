package onnx

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// infer runs inference on a graph that f builds at that opset and returns the type of its last value.
func infer(t *testing.T, opset int64, o InferOptions, f func(g *Graph) *Value) string {
	t.Helper()
	g := NewGraph("g")
	m := &Model{IRVersion: 8, Opsets: []Opset{{Version: opset}}, Graph: g}
	v := f(g)
	if err := InferShapes(m, o); err != nil {
		t.Fatal(err)
	}
	return v.Type.String()
}

// one appends a node with one output.
func one(g *Graph, op string, in []*Value, attrs ...*Attribute) *Value {
	return g.Append(NodeSpec{Op: op, Inputs: in, Outputs: []string{"y"}, Attrs: attrs}).Output(0)
}

// input adds a float32 input of that shape, such as "N,3,?".
func input(g *Graph, shape string) *Value {
	dims := []Dim{}
	for _, s := range strings.FieldsFunc(shape, func(r rune) bool { return r == ',' }) {
		switch {
		case s == "?":
			dims = append(dims, Symbol(""))
		case s[0] >= '0' && s[0] <= '9':
			n := int64(0)
			for _, r := range s {
				n = n*10 + int64(r-'0')
			}
			dims = append(dims, Fixed(n))
		default:
			dims = append(dims, Symbol(s))
		}
	}
	return g.AddInput(g.FreshName("x"), TensorOf(Float32, dims...))
}

// microsoft moves the node that gives v to ONNX Runtime's domain.
func microsoft(v *Value) *Value {
	n, _ := v.Producer()
	n.Domain = "com.microsoft"
	return v
}

func ints64(g *Graph, x ...int64) *Value { return g.AddConst("c", Of(x)) }

func TestInferShapes(t *testing.T) {
	type vs = []*Value
	for _, c := range []struct {
		name  string
		opset int64
		f     func(g *Graph) *Value
		want  string
	}{
		{"weights in 4 bits", 13, func(g *Graph) *Value {
			v := one(g, "MatMulNBits", vs{input(g, "N,3,64"), g.AddConst("b", Zeros(Uint8, 5, 2, 16)), g.AddConst("s", Zeros(Float32, 10))},
				AttrI("K", 64), AttrI("N", 5), AttrI("block_size", 32))
			return microsoft(v)
		}, "f32[N,3,5]"},
		{"rows of a table in 4 bits", 13, func(g *Graph) *Value {
			v := one(g, "GatherBlockQuantized", vs{g.AddConst("t", Zeros(Uint8, 7, 16)), g.AddConst("i", Zeros(Int64, 2, 3)), g.AddConst("s", Zeros(Float16, 7, 1))})
			return microsoft(v)
		}, "f16[2,3,32]"},
		{"rows of a table of uint4", 13, func(g *Graph) *Value {
			v := one(g, "GatherBlockQuantized", vs{g.AddConst("t", Zeros(Uint4, 4, 7, 16)), input(g, "N"), g.AddConst("s", Zeros(Float32, 4, 7, 1))},
				AttrI("gather_axis", -2), AttrI("quantize_axis", 2))
			return microsoft(v)
		}, "f32[4,N,16]"},
		{"broadcast keeps symbols", 13, func(g *Graph) *Value { return one(g, "Add", vs{input(g, "N,1,4"), input(g, "N,3,1")}) }, "f32[N,3,4]"},
		{"different symbols", 13, func(g *Graph) *Value { return one(g, "Add", vs{input(g, "N"), input(g, "M")}) }, "f32[?]"},
		{"symbol and size", 13, func(g *Graph) *Value { return one(g, "Add", vs{input(g, "N,N"), input(g, "3,1")}) }, "f32[3,N]"},
		{"unknown rank", 13, func(g *Graph) *Value {
			return one(g, "Add", vs{input(g, "N"), g.AddInput("u", TensorOf(Float32))})
		}, "f32[...]"},
		{"scalar product", 13, func(g *Graph) *Value { return one(g, "MatMul", vs{input(g, "3"), input(g, "3")}) }, "f32[]"},
		{"batched product", 13, func(g *Graph) *Value { return one(g, "MatMul", vs{input(g, "B,1,M,4"), input(g, "5,4,N")}) }, "f32[B,5,M,N]"},
		{"conv keeps size", 13, func(g *Graph) *Value {
			return one(g, "Conv", vs{input(g, "N,3,H,W"), input(g, "8,3,3,3")}, AttrIs("pads", 1, 1, 1, 1))
		}, "f32[N,8,H,W]"},
		{"conv with stride", 13, func(g *Graph) *Value {
			return one(g, "Conv", vs{input(g, "1,3,32,31"), input(g, "8,3,3,3")}, AttrIs("strides", 2, 2), AttrIs("dilations", 2, 1))
		}, "f32[1,8,14,15]"},
		{"same padding", 13, func(g *Graph) *Value {
			return one(g, "MaxPool", vs{input(g, "1,3,7,W")}, AttrIs("kernel_shape", 3, 3), AttrIs("strides", 2, 2), AttrS("auto_pad", "SAME_UPPER"))
		}, "f32[1,3,4,?]"},
		{"ceil mode, last window whole", 13, func(g *Graph) *Value {
			return one(g, "MaxPool", vs{input(g, "1,3,6,7")}, AttrIs("kernel_shape", 3, 3), AttrIs("strides", 2, 2), AttrI("ceil_mode", 1))
		}, "f32[1,3,3,3]"},
		{"transposed conv", 13, func(g *Graph) *Value {
			return one(g, "ConvTranspose", vs{input(g, "1,4,5,W"), input(g, "4,2,3,1")}, AttrIs("strides", 2, 1), AttrI("group", 2), AttrIs("output_padding", 1, 0))
		}, "f32[1,4,12,W]"},
		{"reshape, symbol cancels", 13, func(g *Graph) *Value {
			x := input(g, "N,3,4")
			zero := g.AddConst("zero", Scalar(int64(0)))
			n := one(g, "Gather", vs{one(g, "Shape", vs{x}), zero})
			return one(g, "Reshape", vs{x, one(g, "Concat", vs{one(g, "Unsqueeze", vs{n, ints64(g, 0)}), ints64(g, -1)}, AttrI("axis", 0))})
		}, "f32[N,12]"},
		{"reshape with zero", 13, func(g *Graph) *Value { return one(g, "Reshape", vs{input(g, "N,3,4"), ints64(g, 0, 2, -1)}) }, "f32[N,2,6]"},
		{"reshape to unknown", 13, func(g *Graph) *Value {
			return one(g, "Reshape", vs{input(g, "N,3,4"), g.AddInput("s", TensorOf(Int64, Fixed(2)))})
		}, "f32[?,?]"},
		{"expand by a where chain", 13, func(g *Graph) *Value {
			// What torch exports for x.expand(-1, 4, -1).
			x := input(g, "2,1,5")
			want := ints64(g, -1, 4, -1)
			ones := one(g, "ConstantOfShape", vs{ints64(g, 3)}, AttrT("value", Of([]int64{1})))
			minus := one(g, "Mul", vs{ones, g.AddConst("m", Scalar(int64(-1)))})
			return one(g, "Expand", vs{x, one(g, "Where", vs{one(g, "Equal", vs{want, minus}), ones, want})})
		}, "f32[2,4,5]"},
		{"slice", 13, func(g *Graph) *Value {
			return one(g, "Slice", vs{input(g, "N,10,8"), ints64(g, 1, -1, 0), ints64(g, 1<<40, -9, 1<<62), ints64(g, 1, 2, 0), ints64(g, 3, -2, 1)})
		}, "f32[N,3,4]"},
		{"old slice", 9, func(g *Graph) *Value {
			return one(g, "Slice", vs{input(g, "N,10")}, AttrIs("starts", 2), AttrIs("ends", -1), AttrIs("axes", 1))
		}, "f32[N,7]"},
		{"split", 13, func(g *Graph) *Value {
			return g.Append(NodeSpec{Op: "Split", Inputs: vs{input(g, "N,7"), ints64(g, 3, 4)}, Outputs: []string{"a", "b"}, Attrs: []*Attribute{AttrI("axis", -1)}}).Output(1)
		}, "f32[N,4]"},
		{"uneven split", 18, func(g *Graph) *Value {
			return g.Append(NodeSpec{Op: "Split", Inputs: vs{input(g, "7")}, Outputs: []string{"a", "b"}, Attrs: []*Attribute{AttrI("num_outputs", 2)}}).Output(1)
		}, "f32[3]"},
		{"gather a scalar", 13, func(g *Graph) *Value {
			return one(g, "Gather", vs{input(g, "5"), g.AddConst("i", Scalar(int64(1)))})
		}, "f32[]"},
		{"concat adds", 13, func(g *Graph) *Value { return one(g, "Concat", vs{input(g, "?,3"), input(g, "N,4")}, AttrI("axis", 1)) }, "f32[N,7]"},
		{"reduce, axes as input", 18, func(g *Graph) *Value {
			return one(g, "ReduceMean", vs{input(g, "N,3,4"), ints64(g, -1)}, AttrI("keepdims", 0))
		}, "f32[N,3]"},
		{"reduce nothing", 18, func(g *Graph) *Value {
			return one(g, "ReduceMean", vs{input(g, "N,3")}, AttrI("noop_with_empty_axes", 1))
		}, "f32[N,3]"},
		{"resize", 11, func(g *Graph) *Value {
			s := g.AddConst("s", Of([]float32{1, 1, 2, .5}))
			return one(g, "Resize", vs{input(g, "N,3,4,5"), nil, s})
		}, "f32[N,3,8,2]"},
		{"quantize", 13, func(g *Graph) *Value {
			return one(g, "QuantizeLinear", vs{input(g, "N,3"), g.AddConst("s", Scalar(float32(1))), g.AddConst("z", Scalar(int8(0)))})
		}, "i8[N,3]"},
		{"einsum", 13, func(g *Graph) *Value {
			return one(g, "Einsum", vs{input(g, "B,H,T,4"), input(g, "B,H,S,4")}, AttrS("equation", "bhtd,bhsd->bhts"))
		}, "f32[B,H,T,S]"},
		{"lstm", 14, func(g *Graph) *Value {
			return one(g, "LSTM", vs{input(g, "T,N,8"), input(g, "2,64,8"), input(g, "2,64,16")}, AttrS("direction", "bidirectional"))
		}, "f32[T,2,N,16]"},
		{"loop", 13, func(g *Graph) *Value {
			body := NewGraph("body")
			body.AddInput("i", nil)
			body.AddInput("cond", nil)
			s := body.AddInput("s", nil)
			body.AddOutput(body.AddConst("true", Scalar(true)))
			body.AddOutput(one(body, "Relu", vs{s}))
			body.AddOutput(one(body, "Neg", vs{input(g, "3")}))
			n := g.Append(NodeSpec{
				Op: "Loop", Inputs: vs{g.AddConst("n", Scalar(int64(5))), nil, input(g, "2,K")}, Outputs: []string{"last", "all"},
				Attrs: []*Attribute{AttrG("body", body)},
			})
			return n.Output(1)
		}, "f32[5,3]"},
		{"if", 13, func(g *Graph) *Value {
			then, els := NewGraph("then"), NewGraph("else")
			then.AddOutput(one(then, "Relu", vs{input(g, "2,N,3")}))
			els.AddOutput(one(els, "Relu", vs{input(g, "2,N,4")}))
			return one(g, "If", vs{g.AddInput("c", ScalarOf(Bool))}, AttrG("then_branch", then), AttrG("else_branch", els))
		}, "f32[2,N,?]"},
		{"stale sizes", 13, func(g *Graph) *Value {
			v := one(g, "Relu", vs{input(g, "N,3")})
			v.Type = TensorOf(Float32, Fixed(1), Fixed(3))
			return one(g, "Neg", vs{v})
		}, "f32[N,3]"},
		{"stated rank", 13, func(g *Graph) *Value {
			v := one(g, "Reshape", vs{input(g, "N,3"), g.AddInput("s", TensorOf(Int64))})
			v.Type = TensorOf(Float32, Fixed(1), Fixed(3))
			return one(g, "Neg", vs{v})
		}, "f32[?,?]"},
		{"stated for an unknown operator", 13, func(g *Graph) *Value {
			v := one(g, "Nobody", vs{input(g, "N,3")})
			v.Type = TensorOf(Float32, Fixed(1), Fixed(3))
			return one(g, "Neg", vs{v})
		}, "f32[1,3]"},
		{"unknown operator", 13, func(g *Graph) *Value { return one(g, "Relu", vs{one(g, "Nobody", vs{input(g, "3")})}) }, "?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := infer(t, c.opset, InferOptions{}, c.f); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestInferShapesFixesDims(t *testing.T) {
	got := infer(t, 13, InferOptions{Dims: map[string]int64{"N": 7}}, func(g *Graph) *Value {
		v := one(g, "Flatten", []*Value{input(g, "M,N,2")})
		v.Type = TensorOf(Float32, Symbol("M"), Symbol("N"))
		g.AddOutput(v)
		return v
	})
	if got != "f32[M,7]" { // what an output states stands; here it was fixed by its name
		t.Errorf("got %s", got)
	}
}

func TestInferShapesReportsContradictionsWhenStrict(t *testing.T) {
	for _, c := range []struct {
		f    func(g *Graph)
		want string
	}{
		{func(g *Graph) { one(g, "Add", []*Value{input(g, "2"), input(g, "3")}) }, "do not broadcast"},
		{func(g *Graph) { one(g, "MatMul", []*Value{input(g, "2,3"), input(g, "4,5")}) }, "inner sizes 3 and 4"},
		{func(g *Graph) { one(g, "Relu", []*Value{input(g, "2")}).Type = TensorOf(Float32, Fixed(3)) }, "stated to be f32[3] but must be f32[2]"},
	} {
		g := NewGraph("g")
		m := &Model{IRVersion: 8, Opsets: []Opset{{Version: 13}}, Graph: g}
		c.f(g)
		if err := InferShapes(m, InferOptions{}); err != nil {
			t.Errorf("not strict: %v", err)
		}
		g = NewGraph("g")
		m.Graph = g
		c.f(g)
		if err := InferShapes(m, InferOptions{Strict: true}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// A slice takes what a plain loop takes.
func TestSliceResolve(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		size := rapid.Int64Range(0, 9).Draw(r, "size")
		bound := rapid.OneOf(rapid.Int64Range(-12, 12), rapid.Int64())
		s := sliceSpec{0, bound.Draw(r, "start"), bound.Draw(r, "end"), rapid.SampledFrom([]int64{1, 2, 3, 100, -1, -2, -5, -1 << 63, 1<<63 - 1}).Draw(r, "step")}
		// The standard: negative bounds count from the end, then both are clamped; the end of a backward slice may lie before 0.
		var want []int64
		for i := range size {
			want = append(want, i)
		}
		from, to := s.start, s.end
		if from < 0 {
			from = max(from, -size-1) + size
		}
		if to < 0 {
			to = max(to, -size-1) + size
		}
		var got []int64
		if s.step > 0 {
			for i := min(max(from, 0), size); i < min(to, size); i += s.step {
				got = append(got, i)
				if s.step > size {
					break
				}
			}
		} else {
			for i := min(max(from, 0), size-1); i > max(to, -1) && i >= 0; i += s.step {
				got = append(got, i)
				if s.step < -size {
					break
				}
			}
		}
		start, count := s.resolve(size)
		var have []int64
		for k := range count {
			have = append(have, want[start+k*s.step])
		}
		if !slices.Equal(have, got) {
			r.Fatalf("%+v of %d takes %v, want %v", s, size, have, got)
		}
	})
}

// What the official cases state of their outputs never contradicts what is inferred without it, and most of it is found.
func TestInferConformance(t *testing.T) {
	outputs, complete := 0, 0
	missing := map[string]int{}
	conformance(t, func(name string, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return // a matter of the reader's test
		}
		defer m.Close()
		stated := map[*Value]*Type{}
		for _, v := range m.Graph.Outputs() {
			if v.Producer(); v.producer != nil {
				stated[v], v.Type = v.Type, nil
			}
		}
		if err := InferShapes(m, InferOptions{Strict: true}); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		for v, s := range stated {
			outputs++
			if clash := clashes(v.Type, s); clash {
				t.Errorf("%s: %s(%s): output %s is inferred as %s and stated as %s", name, v.producer.Op, v.producer.Key(), v, v.Type, s)
			} else if covers(v.Type, s) {
				complete++
			} else {
				missing[v.producer.Op]++
			}
		}
	})
	t.Logf("%d of %d outputs are inferred as completely as stated; others by operator: %v", complete, outputs, missing)
	if complete*10 < outputs*7 {
		t.Errorf("only %d of %d outputs are inferred as completely as stated", complete, outputs)
	}
}

// clashes reports whether two types cannot both be right.
func clashes(a, b *Type) bool {
	switch {
	case a == nil || b == nil:
		return false
	case a.Kind != b.Kind:
		return true
	case a.Kind != KindTensor:
		return clashes(a.Inner, b.Inner)
	case a.Elem != Undefined && b.Elem != Undefined && a.Elem != b.Elem:
		return true
	case a.Shape == nil || b.Shape == nil:
		return false
	case len(a.Shape) != len(b.Shape):
		return true
	}
	for i, d := range a.Shape {
		if e := b.Shape[i]; d.Size >= 0 && e.Size >= 0 && d.Size != e.Size {
			return true
		}
	}
	return false
}

// covers reports whether a says all that b says of element type, rank and sizes.
func covers(a, b *Type) bool {
	switch {
	case b == nil:
		return true
	case a == nil || a.Elem != b.Elem || a.Kind != b.Kind || b.Shape != nil && a.Shape == nil:
		return false
	}
	for i, d := range b.Shape {
		if d.Size >= 0 && a.Shape[i].Size < 0 {
			return false
		}
	}
	return true
}
