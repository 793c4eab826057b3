package onnx

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// nodes returns the node lines of a graph's text, subgraphs included.
func nodes(g *Graph) string {
	var out []string
	for _, l := range strings.Split(g.Text(), "\n") {
		if strings.Contains(l, " = ") && !strings.HasPrefix(strings.TrimSpace(l), "const") {
			out = append(out, strings.TrimSpace(l))
		}
	}
	return strings.Join(out, "\n")
}

func TestConvertOpset(t *testing.T) {
	type vs = []*Value
	x := func(g *Graph) *Value {
		return g.AddInput("x", TensorOf(Float32, Symbol("N"), Fixed(3), Fixed(4), Fixed(5)))
	}
	for _, c := range []struct {
		name     string
		from, to int64
		f        func(g *Graph) *Value
		want     string
	}{
		{
			"softmax over the last axis", 12, 13, func(g *Graph) *Value { return one(g, "Softmax", vs{x(g)}, AttrI("axis", 3)) },
			"%y f32[N,3,4,5] = Softmax(%x) axis=3",
		},
		{"softmax of pooled channels", 7, 13, func(g *Graph) *Value {
			return one(g, "Softmax", vs{one(g, "GlobalAveragePool", vs{x(g)})})
		}, "%y f32[N,3,1,1] = GlobalAveragePool(%x)\n%y_1 f32[N,3,1,1] = Softmax(%y) axis=1"},
		{
			"softmax over all axes from 1", 11, 13, func(g *Graph) *Value { return one(g, "Softmax", vs{x(g)}) },
			"%y_shape i64[4] = Shape(%x)\n%y_flat f32[N,60] = Flatten(%x) axis=1\n%y_2 f32[N,60] = Softmax(%y_flat) axis=-1\n%y f32[N,3,4,5] = Reshape(%y_2, %y_shape)",
		},
		{
			"squeeze", 11, 13, func(g *Graph) *Value { return one(g, "Squeeze", vs{x(g)}, AttrIs("axes", 0)) },
			"%y f32[3,4,5] = Squeeze(%x, %y_axes={0})",
		},
		{"squeeze of all", 11, 13, func(g *Graph) *Value { return one(g, "Squeeze", vs{x(g)}) }, "%y f32[...] = Squeeze(%x)"},
		{
			"reduce sum", 12, 13, func(g *Graph) *Value { return one(g, "ReduceSum", vs{x(g)}, AttrIs("axes", 1)) },
			"%y f32[N,1,4,5] = ReduceSum(%x, %y_axes={1})",
		},
		{
			"reduce mean before 18", 12, 17, func(g *Graph) *Value { return one(g, "ReduceMean", vs{x(g)}, AttrIs("axes", 1)) },
			"%y f32[N,1,4,5] = ReduceMean(%x) axes=[1]",
		},
		{
			"reduce mean", 12, 18, func(g *Graph) *Value { return one(g, "ReduceMean", vs{x(g)}, AttrIs("axes", 1)) },
			"%y f32[N,1,4,5] = ReduceMean(%x, %y_axes={1})",
		},
		{
			"split", 11, 13, func(g *Graph) *Value { return one(g, "Split", vs{x(g)}, AttrIs("split", 3), AttrI("axis", 1)) },
			"%y f32[N,3,4,5] = Split(%x, %y_split={3}) axis=1",
		},
		{
			"split in even parts", 11, 18, func(g *Graph) *Value { return one(g, "Split", vs{x(g)}, AttrI("axis", 1)) },
			"%y f32[N,3,4,5] = Split(%x) axis=1 num_outputs=1",
		},
		{
			"clip", 10, 11, func(g *Graph) *Value { return one(g, "Clip", vs{x(g)}, AttrF("max", 6)) },
			"%y f32[N,3,4,5] = Clip(%x, _, %y_max=6)",
		},
		{"pad", 10, 11, func(g *Graph) *Value {
			return one(g, "Pad", vs{x(g)}, AttrIs("pads", 0, 0, 1, 1, 0, 0, 1, 1), AttrF("value", 2))
		}, "%y f32[N,3,6,7] = Pad(%x, %y_pads={0, 0, 1, 1, 0, 0, 1, 1}, %y_value=2)"},
		{
			"oldest pad", 1, 11, func(g *Graph) *Value { return one(g, "Pad", vs{x(g)}, AttrIs("paddings", 0, 0, 1, 1, 0, 0, 1, 1)) },
			"%y f32[N,3,6,7] = Pad(%x, %y_pads={0, 0, 1, 1, 0, 0, 1, 1})",
		},
		{
			"slice", 9, 10, func(g *Graph) *Value {
				return one(g, "Slice", vs{x(g)}, AttrIs("starts", 1), AttrIs("ends", 2), AttrIs("axes", 2))
			},
			"%y f32[N,3,1,5] = Slice(%x, %y_starts={1}, %y_ends={2}, %y_axes={2})",
		},
		{"topk", 9, 10, func(g *Graph) *Value { return one(g, "TopK", vs{x(g)}, AttrI("k", 2)) }, "%y f32[N,3,4,2] = TopK(%x, %y_k={2})"},
		{
			"dropout", 7, 12, func(g *Graph) *Value { return one(g, "Dropout", vs{x(g)}, AttrF("ratio", .5)) },
			"%y f32[N,3,4,5] = Dropout(%x, %y_ratio=0.5)",
		},
		{"dropout's mask", 7, 10, func(g *Graph) *Value {
			n := g.Append(NodeSpec{Op: "Dropout", Inputs: vs{x(g)}, Outputs: []string{"d", "mask"}})
			return one(g, "Neg", vs{n.Output(1)})
		}, "%d f32[N,3,4,5], %mask bool[N,3,4,5] = Dropout(%x)\n%mask_1 f32[N,3,4,5] = Cast(%mask) to=1\n%y f32[N,3,4,5] = Neg(%mask_1)"},
		{"add of a channel vector", 6, 7, func(g *Graph) *Value {
			return one(g, "Add", vs{x(g), g.AddConst("b", Of([]float32{1, 2, 3}))}, AttrI("broadcast", 1), AttrI("axis", 1))
		}, "%y_unsqueezed f32[3,1,1] = Unsqueeze(%b={1, 2, 3}) axes=[1, 2]\n%y f32[N,3,4,5] = Add(%x, %y_unsqueezed)"},
		{"add at the end", 6, 7, func(g *Graph) *Value {
			return one(g, "Add", vs{x(g), g.AddConst("b", Of(make([]float32, 5)))}, AttrI("broadcast", 1))
		}, "%y f32[N,3,4,5] = Add(%x, %b={0, 0, 0, 0, 0})"},
		{"prelu with a slope a channel", 6, 9, func(g *Graph) *Value {
			return one(g, "PRelu", vs{x(g), g.AddConst("b", Of([]float32{1, 2, 3}))})
		}, "%y_unsqueezed f32[3,1,1] = Unsqueeze(%b={1, 2, 3}) axes=[1, 2]\n%y f32[N,3,4,5] = PRelu(%x, %y_unsqueezed)"},
		{
			"upsample", 7, 13, func(g *Graph) *Value { return one(g, "Upsample", vs{x(g)}, AttrFs("scales", 1, 1, 2, 2)) },
			`%y f32[N,3,8,10] = Resize(%x, _, %y_scales={1, 1, 2, 2}) coordinate_transformation_mode="asymmetric" nearest_mode="floor"`,
		},
		{"oldest upsample", 1, 9, func(g *Graph) *Value {
			return one(g, "Upsample", vs{x(g)}, AttrF("height_scale", 2), AttrF("width_scale", 3))
		}, "%y f32[N,3,8,15] = Upsample(%x, %y_scales={1, 1, 2, 3})"},
		{"shrinking resize", 10, 11, func(g *Graph) *Value {
			return one(g, "Resize", vs{x(g), g.AddConst("s", Of([]float32{1, 1, .5, 1}))})
		}, `%y f32[N,3,2,5] = Resize(%x, %y_roi={}, %s={1, 1, 0.5, 1}) coordinate_transformation_mode="asymmetric" nearest_mode="ceil"`},
		{
			"reshape", 1, 5, func(g *Graph) *Value { return one(g, "Reshape", vs{x(g)}, AttrIs("shape", 0, -1)) },
			"%y f32[N,60] = Reshape(%x, %y_shape={0, -1})",
		},
		{"cast", 1, 6, func(g *Graph) *Value { return one(g, "Cast", vs{x(g)}, AttrS("to", "INT64")) }, "%y i64[N,3,4,5] = Cast(%x) to=7"},
		{"relu", 1, 6, func(g *Graph) *Value { return one(g, "Relu", vs{x(g)}, AttrIs("consumed_inputs", 0)) }, "%y f32[N,3,4,5] = Relu(%x)"},
		{"batch normalization", 5, 14, func(g *Graph) *Value {
			k := g.AddConst("k", Of([]float32{1, 1, 1}))
			n := g.Append(NodeSpec{
				Op: "BatchNormalization", Inputs: vs{x(g), k, k, k, k}, Outputs: []string{"y", "m", "v"},
				Attrs: []*Attribute{AttrI("is_test", 1), AttrI("spatial", 1), AttrIs("consumed_inputs", 0, 0, 0, 1, 1)},
			})
			return n.Output(0)
		}, "%y f32[N,3,4,5] = BatchNormalization(%x, %k={1, 1, 1}, %k={1, 1, 1}, %k={1, 1, 1}, %k={1, 1, 1})"},
		{"roi align", 10, 16, func(g *Graph) *Value {
			return one(g, "RoiAlign", vs{x(g), g.AddInput("r", TensorOf(Float32, Fixed(2), Fixed(4))), g.AddInput("i", TensorOf(Int64, Fixed(2)))})
		}, `%y f32[2,3,1,1] = RoiAlign(%x, %r, %i) coordinate_transformation_mode="output_half_pixel"`},
		{"group normalization", 18, 21, func(g *Graph) *Value {
			v := g.AddInput("v", TensorOf(Float32, Fixed(1), Fixed(4), Fixed(2)))
			return one(g, "GroupNormalization", vs{v, g.AddConst("s", Of([]float32{1, 2})), g.AddConst("b", Of([]float32{3, 4}))}, AttrI("num_groups", 2))
		}, "%y f32[1,4,2] = GroupNormalization(%v, %y_scale={1, 1, 2, 2}, %y_bias={3, 3, 4, 4}) num_groups=2"},
		{"split by an input", 1, 13, func(g *Graph) *Value {
			return one(g, "Split", vs{x(g), ints64(g, 4)}, AttrI("axis", 2))
		}, "%y f32[N,3,4,5] = Split(%x, %y_split={4}) axis=2"},
		{"selu", 1, 6, func(g *Graph) *Value { return one(g, "Selu", vs{x(g)}) }, "%y f32[N,3,4,5] = Selu(%x) alpha=1.6732 gamma=1.0507"},
		{"lp pool", 1, 2, func(g *Graph) *Value { return one(g, "GlobalLpPool", vs{x(g)}, AttrF("p", 1)) }, "%y f32[N,3,1,1] = GlobalLpPool(%x) p=1"},
		{"grid sample", 16, 20, func(g *Graph) *Value {
			grid := g.AddInput("grid", TensorOf(Float32, Symbol("N"), Fixed(6), Fixed(7), Fixed(2)))
			return one(g, "GridSample", vs{x(g), grid}, AttrS("mode", "bicubic"))
		}, `%y f32[N,3,6,7] = GridSample(%x, %grid) mode="cubic"`},
		{"fourier transform", 17, 20, func(g *Graph) *Value { return one(g, "DFT", vs{x(g)}, AttrI("axis", 2)) }, "%y = DFT(%x, _, %y_axis=2)"},
		{"scatter", 9, 11, func(g *Graph) *Value {
			v := x(g)
			return one(g, "Scatter", vs{v, g.AddInput("i", TensorOf(Int64, Fixed(1), Fixed(1), Fixed(1), Fixed(1))), v})
		}, "%y f32[N,3,4,5] = ScatterElements(%x, %i, %x)"},
		{"concat", 1, 4, func(g *Graph) *Value { return one(g, "Concat", vs{x(g)}) }, "%y f32[N,3,4,5] = Concat(%x) axis=1"},
		{"inside a branch", 12, 13, func(g *Graph) *Value {
			v := x(g)
			then, els := NewGraph("then"), NewGraph("else")
			then.AddOutput(one(then, "Squeeze", vs{v}, AttrIs("axes", 0)))
			els.AddOutput(one(els, "Squeeze", vs{v}))
			return one(g, "If", vs{g.AddInput("c", ScalarOf(Bool))}, AttrG("then_branch", then), AttrG("else_branch", els))
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewGraph("g")
			m := &Model{IRVersion: 3, Opsets: []Opset{{Version: c.from}}, Graph: g}
			v := c.f(g)
			name := v.Name()
			g.AddOutput(v)
			if err := ConvertOpset(m, c.to); err != nil {
				t.Fatal(err)
			}
			if m.Opset("") != c.to || m.IRVersion != max(3, MinIR(c.to)) {
				t.Errorf("opset %d, IR %d", m.Opset(""), m.IRVersion)
			}
			if got := g.Outputs()[0].Name(); got != name {
				t.Errorf("the output is %q, was %q", got, name)
			}
			if err := InferShapes(m, InferOptions{Strict: true}); err != nil {
				t.Error(err)
			}
			if got := inlineConsts(g, nodes(g)); c.want != "" && got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if c.want == "" {
				var inner []string
				for n := range g.AllNodes() {
					for _, s := range n.Subgraphs() {
						inner = append(inner, inlineConsts(s, nodes(s)))
					}
				}
				if want := []string{"%y f32[3,4,5] = Squeeze(%x, %y_axes={0})", "%y f32[...] = Squeeze(%x)"}; !slices.Equal(inner, want) {
					t.Errorf("got %q, want %q", inner, want)
				}
			}
		})
	}
}

// inlineConsts puts the numbers of the initializers behind their names.
func inlineConsts(g *Graph, text string) string {
	for _, v := range g.Consts() {
		var x string
		if f, err := v.Const().Float32s(); err == nil {
			x = strings.ReplaceAll(strings.Trim(fmt.Sprint(f), "[]"), " ", ", ")
		}
		if v.Const().Rank() > 0 {
			x = "{" + x + "}"
		}
		for _, end := range []string{",", ")"} {
			text = strings.ReplaceAll(text, "%"+v.Name()+end, "%"+v.Name()+"="+x+end)
		}
	}
	return text
}

func TestConvertOpsetRefuses(t *testing.T) {
	type vs = []*Value
	for _, c := range []struct {
		name     string
		from, to int64
		f        func(g *Graph) *Value
		want     string
	}{
		{"lower", 13, 11, func(g *Graph) *Value { return one(g, "Relu", vs{input(g, "3")}) }, "cannot be lowered"},
		{"too new", 13, 99, func(g *Graph) *Value { return one(g, "Relu", vs{input(g, "3")}) }, "newest to convert to is 25"},
		{"unknown operator", 12, 13, func(g *Graph) *Value { return one(g, "Nobody", vs{input(g, "3")}) }, "the operator is not known"},
		{"training", 6, 7, func(g *Graph) *Value { return one(g, "Dropout", vs{input(g, "3")}) }, "training mode"},
		{"unknown rank", 6, 7, func(g *Graph) *Value {
			return one(g, "Add", vs{g.AddInput("u", TensorOf(Float32)), input(g, "3")}, AttrI("broadcast", 1), AttrI("axis", 1))
		}, "ranks of its operands are not known"},
		{"unknown scales", 10, 11, func(g *Graph) *Value {
			return one(g, "Resize", vs{input(g, "1,1,4,4"), g.AddInput("s", TensorOf(Float32, Fixed(4)))})
		}, "scales are not constant"},
		{"unknown type", 10, 11, func(g *Graph) *Value {
			return one(g, "Clip", vs{one(g, "Nobody2", vs{input(g, "3")})}, AttrF("max", 6))
		}, "not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewGraph("g")
			m := &Model{IRVersion: 3, Opsets: []Opset{{Version: c.from}}, Graph: g}
			g.AddOutput(one(g, "Squeeze", vs{c.f(g)}, AttrIs("axes", 0)))
			before := m.Text()
			err := ConvertOpset(m, c.to)
			if !errors.Is(err, ErrBadModel) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if m.Text() != before {
				t.Errorf("the model was changed:\n%s", m.Text())
			}
		})
	}
}

// In functions, which have no initializers, new constants are nodes; what the caller gives is refused.
func TestConvertOpsetInFunctions(t *testing.T) {
	for _, ref := range []string{"", "axes"} {
		g := NewGraph("g")
		g.AddOutput(g.Append(NodeSpec{Op: "F", Domain: "mine", Inputs: []*Value{input(g, "1,3")}, Outputs: []string{"y"}}).Output(0))
		body := NewGraph("body")
		a := AttrIs("axes", 0)
		a.Ref = ref
		body.AddOutput(one(body, "Squeeze", []*Value{body.AddInput("x", nil)}, a))
		m := &Model{
			IRVersion: 8, Opsets: []Opset{{Version: 12}, {"mine", 1}}, Graph: g,
			Functions: []*Function{{Name: "F", Domain: "mine", Opsets: []Opset{{Version: 12}}, Body: body}},
		}
		err := ConvertOpset(m, 13)
		if ref != "" {
			if err == nil || !strings.Contains(err.Error(), `function "F"`) {
				t.Errorf("error %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := nodes(body); !strings.Contains(got, "Constant() value=") || !strings.Contains(got, "Squeeze(%x, %y_axes)") || m.Functions[0].Opsets[0].Version != 13 {
			t.Errorf("got %s", got)
		}
	}
}

// Every official case of an older opset either converts to a valid model with the same output types, or is refused by name.
func TestConvertConformance(t *testing.T) {
	converted, refused := 0, 0
	conformance(t, func(name string, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return // a matter of the reader's test
		}
		defer m.Close()
		if from := m.Opset(""); from == 0 || from >= 21 {
			return
		}
		var outputs []string
		for _, v := range m.Graph.Outputs() {
			outputs = append(outputs, v.Name()+" "+v.Type.String())
		}
		wasValid := Check(m) == nil
		if err := ConvertOpset(m, 21); err != nil {
			refused++
			if !strings.Contains(err.Error(), "cannot be raised") {
				t.Errorf("%s: %v", name, err)
			}
			return
		}
		converted++
		if err := Check(m); wasValid && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := InferShapes(m, InferOptions{Strict: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i, v := range m.Graph.Outputs() {
			if i >= len(outputs) || !strings.HasPrefix(outputs[i], v.Name()+" ") {
				t.Errorf("%s: output %d is %s, was %s", name, i, v, outputs[i])
			}
		}
	})
	t.Logf("%d converted, %d refused", converted, refused)
	if refused*20 > converted {
		t.Errorf("%d converted, %d refused", converted, refused)
	}
}

// Whatever a file says, inference and conversion return.
func FuzzInferAndConvert(f *testing.F) {
	g := NewGraph("g")
	s := one(g, "Reshape", []*Value{input(g, "N,3,4,5"), ints64(g, 0, -1)})
	g.AddOutput(one(g, "Softmax", []*Value{one(g, "Clip", []*Value{s}, AttrF("max", 6))}))
	b, err := (&Model{IRVersion: 6, Opsets: []Opset{{Version: 10}}, Graph: g}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, int64(13))
	f.Fuzz(func(t *testing.T, b []byte, to int64) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		defer m.Close()
		_ = InferShapes(m, InferOptions{Dims: map[string]int64{"N": 2}, Known: func(*Value, *Tensor) {}})
		_ = ConvertOpset(m, to%(MaxOpset+2))
	})
}
