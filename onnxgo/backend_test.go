package onnxgo_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	onnxgo "github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend"
	"google.golang.org/protobuf/proto"
	"gorgonia.org/tensor"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/onnxpb"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/carrier"
	zq "github.com/zqonnx/zqonnx/onnxgo"
)

var _ backend.ComputationBackend = (*zq.Backend)(nil)

// graph builds a model of one graph. IDs of inputs are their places in the list.
type graph struct {
	*onnx.Graph
	opset int64
}

func newGraph(opset int64) *graph { return &graph{onnx.NewGraph("g"), opset} }

func (g *graph) input(name string, dims ...int64) *onnx.Value {
	return g.AddInput(name, onnx.TensorOf(onnx.Float32, fixed(dims)...))
}

func fixed(dims []int64) []onnx.Dim {
	list := []onnx.Dim{}
	for _, d := range dims {
		if d < 0 {
			list = append(list, onnx.Symbol("N"))
		} else {
			list = append(list, onnx.Fixed(d))
		}
	}
	return list
}

func (g *graph) node(op, out string, inputs ...*onnx.Value) *onnx.Value {
	return g.Append(onnx.NodeSpec{Op: op, Inputs: inputs, Outputs: []string{out}}).Output(0)
}

func (g *graph) bytes(t *testing.T, outputs ...*onnx.Value) []byte {
	t.Helper()
	for _, v := range outputs {
		if v.Type == nil {
			v.Type = onnx.TensorOf(onnx.Float32)
		}
		g.AddOutput(v)
	}
	b, err := (&onnx.Model{IRVersion: 4, Opsets: []onnx.Opset{{Version: g.opset}}, Graph: g.Graph}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t *testing.T, b []byte) (*onnxgo.Model, *zq.Backend) {
	t.Helper()
	back := zq.New()
	m := onnxgo.NewModel(back)
	if err := m.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	return m, back
}

func vector(v ...float32) tensor.Tensor {
	return tensor.New(tensor.WithShape(len(v)), tensor.WithBacking(v))
}

// outputs runs the model and returns the elements of its float outputs.
func outputs(t *testing.T, m *onnxgo.Model, b *zq.Backend) [][]float32 {
	t.Helper()
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	list, err := m.GetOutputTensors()
	if err != nil {
		t.Fatal(err)
	}
	var all [][]float32
	for _, out := range list {
		switch v := out.Data().(type) {
		case []float32:
			all = append(all, v)
		case float32: // of a tensor of one element
			all = append(all, []float32{v})
		default:
			t.Fatalf("an output holds %T", v)
		}
	}
	return all
}

func want(t *testing.T, have [][]float32, want ...[]float32) {
	t.Helper()
	if !slices.EqualFunc(have, want, slices.Equal) {
		t.Errorf("got %v, want %v", have, want)
	}
}

func set(t *testing.T, m *onnxgo.Model, i int, v tensor.Tensor) {
	t.Helper()
	if err := m.SetInput(i, v); err != nil {
		t.Fatal(err)
	}
}

// TestOperands: an operator that takes a value twice has one edge in onnx-go's graph; the order of operands counts.
func TestOperands(t *testing.T) {
	g := newGraph(9)
	x, y := g.input("x", 2), g.input("y", 2)
	square := g.node("Mul", "square", x, x)
	m, b := decode(t, g.bytes(t, g.node("Sub", "a", y, square), g.node("Sub", "b", square, y), g.node("Sum", "c", x, y, x)))
	set(t, m, 0, vector(3, 4))
	set(t, m, 1, vector(1, 2))
	want(t, outputs(t, m, b), []float32{-8, -14}, []float32{8, 14}, []float32{7, 10})
	set(t, m, 0, vector(1, 1))
	want(t, outputs(t, m, b), []float32{0, 1}, []float32{0, -1}, []float32{3, 4})
}

// TestOptional: inputs and outputs named "" are absent, and are one node for the decoder.
func TestOptional(t *testing.T) {
	g := newGraph(10)
	x := g.input("x", 4)
	at := func(name string, v int64) *onnx.Value { return g.AddConst(name, onnx.Of([]int64{v})) }
	slice := g.Append(onnx.NodeSpec{Op: "Slice", Inputs: []*onnx.Value{x, at("starts", 0), at("ends", 4), nil, at("steps", 2)}, Outputs: []string{"y"}})
	seq := g.Append(onnx.NodeSpec{Op: "Reshape", Inputs: []*onnx.Value{x, g.AddConst("to", onnx.Of([]int64{2, 1, 2}))}, Outputs: []string{"s"}}).Output(0)
	w, r := g.AddConst("w", onnx.Of([]float32{1, 1}, 1, 1, 2)), g.AddConst("r", onnx.Of([]float32{0}, 1, 1, 1))
	h0 := g.AddConst("h0", onnx.Of([]float32{0}, 1, 1, 1))
	rnn := g.Append(onnx.NodeSpec{
		Op: "RNN", Inputs: []*onnx.Value{seq, w, r, nil, nil, h0}, Outputs: []string{"", "h"},
		Attrs: []*onnx.Attribute{onnx.AttrI("hidden_size", 1), {Name: "activations", Kind: onnx.AttrStrings, Strings: [][]byte{[]byte("Relu")}}},
	})
	m, b := decode(t, g.bytes(t, slice.Output(0), g.Append(onnx.NodeSpec{
		Op: "Reshape", Inputs: []*onnx.Value{rnn.Output(1), g.AddConst("flat", onnx.Of([]int64{-1, 1}))}, Outputs: []string{"last"},
	}).Output(0)))
	set(t, m, 0, vector(1, 2, 3, 4))
	want(t, outputs(t, m, b), []float32{1, 3}, []float32{7})
}

// initialized adds initializers for inputs of a model.
func initialized(t *testing.T, model []byte, constants map[string]*onnx.Tensor) []byte {
	t.Helper()
	var m onnxpb.ModelProto
	if err := proto.Unmarshal(model, &m); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(constants)) {
		b, err := onnx.MarshalTensor(name, constants[name])
		if err != nil {
			t.Fatal(err)
		}
		var c onnxpb.TensorProto
		if err := proto.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
		m.Graph.Initializer = append(m.Graph.Initializer, &c)
	}
	b, err := proto.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestInitializers: they may be listed as inputs, or not; they are no inputs that can be set by mistake.
func TestInitializers(t *testing.T) {
	for _, listed := range []bool{true, false} {
		g := newGraph(9)
		constants := map[string]*onnx.Tensor{"w": onnx.Of([]float32{2, 3}), "b": onnx.Of([]float32{0, 0})} // b: as a placeholder is
		var w, x, bias *onnx.Value
		if listed { // in front of the input, as old exporters do
			w, x, bias = g.input("w", 2), g.input("x", 2), g.input("b", 2)
		} else {
			w, x, bias = g.AddConst("w", constants["w"]), g.input("x", 2), g.AddConst("b", constants["b"])
		}
		file := g.bytes(t, g.node("Add", "y", g.node("Mul", "p", x, w), bias))
		if listed {
			file = initialized(t, file, constants)
		}
		m, b := decode(t, file)
		if len(m.Input) != 1 {
			t.Fatalf("onnx-go sees the inputs %v", m.Input)
		}
		err := b.Run()
		if !errors.Is(err, engine.ErrInput) || !strings.Contains(err.Error(), `input "x" (node `) {
			t.Errorf("without an input: %v", err)
		}
		err = m.SetInput(0, vector(5, 7))
		if listed != (err != nil) {
			t.Errorf("setting node 0 with initializers listed as inputs: %t: %v", listed, err)
		}
		if listed && !strings.Contains(err.Error(), `"w" (node 0) is an initializer of the model, not an input; the inputs are "x" (node 1)`) {
			t.Error(err)
		}
		if err := b.SetInput("x", vector(5, 7)); err != nil {
			t.Fatal(err)
		}
		want(t, outputs(t, m, b), []float32{10, 21})
		if err := b.SetInput("z", vector(1)); err == nil || !strings.Contains(err.Error(), `the model has no "z"; the inputs are "x"`) {
			t.Error(err)
		}
		if err := b.SetInput("y", vector(1, 2)); err == nil || !strings.Contains(err.Error(), "computed by the model") {
			t.Error(err)
		}
	}
}

// TestInnerValues: outputs that another operator takes too, and values that are listed, are there when they are asked for.
func TestInnerValues(t *testing.T) {
	g := newGraph(9)
	x := g.input("x", 2)
	h := g.node("Neg", "h", x)
	inner := g.node("Abs", "inner", h)
	y := g.node("Add", "y", inner, x)
	m, b := decode(t, g.bytes(t, h, y))
	set(t, m, 0, vector(1, -2))
	want(t, outputs(t, m, b), []float32{-1, 2}, []float32{2, 0})
	set(t, m, 0, vector(3, 4))
	want(t, outputs(t, m, b), []float32{-3, -4}, []float32{6, 8})
	n, ok := m.GetNodeByName("inner")
	if !ok {
		t.Fatal("there is no node of an inner value")
	}
	if v := n.(*zq.Node).GetTensor(); !slices.Equal(v.Data().([]float32), []float32{3, 4}) {
		t.Errorf("the inner value is %v", v)
	}
	set(t, m, 0, vector(5, 6))
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	if v := n.(*zq.Node).GetTensor(); !slices.Equal(v.Data().([]float32), []float32{5, 6}) {
		t.Errorf("the inner value of the next run is %v", v)
	}
}

// TestPassedThrough: an output that is an input is two nodes for the decoder.
func TestPassedThrough(t *testing.T) {
	g := newGraph(9)
	x := g.input("x", 2)
	m, b := decode(t, g.bytes(t, x, g.node("Neg", "y", x)))
	set(t, m, 0, vector(1, 2))
	want(t, outputs(t, m, b), []float32{1, 2}, []float32{-1, -2})
}

// TestInventedInputs: the decoder invents an input for each operator without one, of one name for nodes without a name.
func TestInventedInputs(t *testing.T) {
	g := newGraph(9)
	constant := func(name string, v float32) *onnx.Value {
		n := g.Append(onnx.NodeSpec{Op: "Constant", Outputs: []string{name}, Attrs: []*onnx.Attribute{onnx.AttrT("value", onnx.Of([]float32{v}))}})
		return n.Output(0)
	}
	y := g.node("Sub", "y", constant("a", 5), constant("b", 3))
	m, b := decode(t, g.bytes(t, y, constant("c", 1)))
	want(t, outputs(t, m, b), []float32{2}, []float32{1})

	wrapped, err := zq.Wrap(g.bytes(t))
	if err != nil {
		t.Fatal(err)
	}
	m, b = decode(t, wrapped)
	want(t, outputs(t, m, b), []float32{2}, []float32{1})
}

// TestNoElements: an output may be empty.
func TestNoElements(t *testing.T) {
	g := newGraph(10)
	m, b := decode(t, g.bytes(t, g.node("NonMaxSuppression", "y", g.input("boxes", 1, 2, 4), g.input("scores", 1, 1, 2))))
	set(t, m, 0, tensor.New(tensor.WithShape(1, 2, 4), tensor.WithBacking(make([]float32, 8))))
	set(t, m, 1, tensor.New(tensor.WithShape(1, 1, 2), tensor.WithBacking(make([]float32, 2))))
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	list, err := m.GetOutputTensors()
	if err != nil || !slices.Equal(list[0].Shape(), []int{0, 3}) || len(list[0].Data().([]int64)) != 0 {
		t.Errorf("got %v, %v; want an int64 tensor of shape [0 3]", list, err)
	}
}

// TestHalfPrecision: a carrier's float16 crosses as float32.
func TestHalfPrecision(t *testing.T) {
	g := newGraph(13)
	x := g.AddInput("x", onnx.TensorOf(onnx.Float16, onnx.Fixed(2)))
	y := g.node("Neg", "y", x)
	y.Type = onnx.TensorOf(onnx.Float16, onnx.Fixed(2))
	wrapped, err := zq.Wrap(g.bytes(t, y))
	if err != nil {
		t.Fatal(err)
	}
	m, b := decode(t, wrapped)
	set(t, m, 0, vector(1, 1+1.0/4096))
	want(t, outputs(t, m, b), []float32{-1, -1})
}

// TestSizes: dimensions that are not fixed, which the decoder drops, may be of any size; ranks may not.
func TestSizes(t *testing.T) {
	g := newGraph(9)
	m, b := decode(t, g.bytes(t, g.node("Softmax", "y", g.input("x", -1, 2))))
	matrix := func(rows int) tensor.Tensor {
		return tensor.New(tensor.WithShape(rows, 2), tensor.WithBacking(make([]float32, 2*rows)))
	}
	set(t, m, 0, matrix(1))
	want(t, outputs(t, m, b), []float32{.5, .5})
	set(t, m, 0, matrix(2))
	want(t, outputs(t, m, b), []float32{.5, .5, .5, .5})
}

func TestWrongInputs(t *testing.T) {
	plain := func(t *testing.T) []byte {
		g := newGraph(9)
		w := g.AddConst("w", onnx.Of([]float32{1, 2, 3, 4, 5, 6}, 2, 3))
		return g.bytes(t, g.node("MatMul", "y", g.input("x", 1, 2), w))
	}
	wrapped := func(t *testing.T) []byte {
		b, err := zq.Wrap(plain(t))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, bytes := range map[string]func(*testing.T) []byte{"plain": plain, "carrier": wrapped} {
		for input, wrong := range map[string]struct {
			t    tensor.Tensor
			want string
		}{
			"inner size": {tensor.New(tensor.WithShape(1, 3), tensor.WithBacking([]float32{1, 2, 3})), ""},
			"rank":       {vector(1, 2), "has shape [2]"},
			"empty":      {tensor.New(tensor.WithShape(0, 3), tensor.WithBacking([]float32{})), ""},
			"strings":    {tensor.New(tensor.WithShape(1, 2), tensor.WithBacking([]string{"a", "b"})), "the model wants"},
			"complex":    {tensor.New(tensor.WithShape(1, 2), tensor.WithBacking([]complex64{1, 2})), "have no ONNX type"},
			"a large number": {
				tensor.New(tensor.WithShape(1, 2), tensor.WithBacking([]int64{1, 1<<24 + 1})), "cannot hold element 1, 16777217",
			},
		} {
			m, b := decode(t, bytes(t))
			set(t, m, 0, wrong.t)
			err := b.Run()
			if !errors.Is(err, engine.ErrInput) && !errors.Is(err, onnx.ErrBadModel) || !strings.Contains(err.Error(), wrong.want) {
				t.Errorf("%s, %s: got %v, want an error with %q", name, input, err, wrong.want)
			}
			// The backend is none the worse for it.
			set(t, m, 0, tensor.New(tensor.WithShape(1, 2), tensor.WithBacking([]float32{1, 2})))
			want(t, outputs(t, m, b), []float32{9, 12, 15})
		}
		m, _ := decode(t, bytes(t))
		if err := m.SetInput(0, nil); err == nil {
			t.Errorf("%s: an input was set to nil", name)
		}
	}
}

func TestNotImplemented(t *testing.T) {
	notImplemented := func(t *testing.T, err error, operator, message string) {
		t.Helper()
		not, ok := err.(*onnxgo.ErrNotImplemented) // onnx-go's own code does not unwrap
		if !ok || not.Operator != operator || !strings.Contains(not.Message, message) {
			t.Errorf("got %v, want that %s is not implemented: %s", err, operator, message)
		}
	}
	odd := func() *graph {
		g := newGraph(9)
		g.AddOutput(g.node("FancyOp", "y", g.input("x", 2)))
		return g
	}
	notImplemented(t, onnxgo.NewModel(zq.New()).UnmarshalBinary(odd().bytes(t)), "FancyOp", "no such operator")

	wrapped, err := zq.Wrap(odd().bytes(t))
	if err != nil {
		t.Fatal(err)
	}
	m, b := decode(t, wrapped)
	set(t, m, 0, vector(1, 2))
	notImplemented(t, b.Run(), "FancyOp", "not supported")

	g := newGraph(8)
	var operands []*onnx.Value
	for _, name := range []string{"x", "scale", "bias", "mean", "var"} {
		operands = append(operands, g.input(name, 1))
	}
	n := g.Append(onnx.NodeSpec{Op: "BatchNormalization", Inputs: operands, Outputs: []string{"y"}, Attrs: []*onnx.Attribute{onnx.AttrI("spatial", 0)}})
	m, b = decode(t, g.bytes(t, n.Output(0)))
	for i := range operands {
		set(t, m, i, vector(1))
	}
	notImplemented(t, b.Run(), "BatchNormalization", "spatial=0")

	// Upsample left the standard's operators before HardSwish came.
	g = newGraph(9)
	up := g.Append(onnx.NodeSpec{Op: "Upsample", Inputs: []*onnx.Value{g.input("x", 2)}, Outputs: []string{"u"}, Attrs: []*onnx.Attribute{onnx.AttrFs("scales", 2)}})
	m, b = decode(t, g.bytes(t, g.node("HardSwish", "y", up.Output(0))))
	set(t, m, 0, vector(1, 2))
	notImplemented(t, b.Run(), "Upsample", "Wrap the model")
}

// TestOpsets: the decoder drops the opset; what a model holds tells a newer or older one.
func TestOpsets(t *testing.T) {
	softmax := func(g *graph, x *onnx.Value) *onnx.Value { // over all 4 elements until opset 12, by default over the last 2 from 13 on
		shape := g.AddConst("shape", onnx.Of([]int64{1, 2, 2}))
		return g.node("Reshape", "flat", g.node("Softmax", "soft", g.node("Reshape", "r", x, shape)), g.AddConst("four", onnx.Of([]int64{4})))
	}
	for name, c := range map[string]struct {
		build func(g *graph, x *onnx.Value) *onnx.Value
		want  []float32
	}{
		"assumed": {softmax, []float32{.25, .25, .25, .25}},
		"13: axes as an operand": {func(g *graph, x *onnx.Value) *onnx.Value {
			zero := g.AddConst("axis", onnx.Of([]int64{0}))
			return softmax(g, g.node("Squeeze", "s", g.node("Unsqueeze", "u", x, zero), zero))
		}, []float32{.5, .5, .5, .5}},
		"14: a newer operator": {func(g *graph, x *onnx.Value) *onnx.Value {
			return softmax(g, g.node("HardSwish", "h", x))
		}, []float32{.5, .5, .5, .5}},
		"9: an operator that is gone": {func(g *graph, x *onnx.Value) *onnx.Value {
			n := g.Append(onnx.NodeSpec{Op: "Upsample", Inputs: []*onnx.Value{x}, Outputs: []string{"u"}, Attrs: []*onnx.Attribute{onnx.AttrFs("scales", 1)}})
			return softmax(g, n.Output(0))
		}, []float32{.25, .25, .25, .25}},
		"11: bounds as operands": {func(g *graph, x *onnx.Value) *onnx.Value {
			return g.node("Clip", "c", x, g.AddConst("min", onnx.Scalar[float32](1)), g.AddConst("max", onnx.Scalar[float32](1)))
		}, []float32{1, 1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGraph(9)
			m, b := decode(t, g.bytes(t, c.build(g, g.input("x", 4))))
			set(t, m, 0, vector(2, 2, 2, 2))
			want(t, outputs(t, m, b), c.want)
		})
	}
}

func TestDamagedCarriers(t *testing.T) {
	whole, err := os.ReadFile("../testmodels/mlp-digits/model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zq.Wrap(whole[:1000]); !errors.Is(err, onnx.ErrBadModel) {
		t.Errorf("wrapping a damaged model: %v", err)
	}
	wrapped, err := zq.Wrap(whole)
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := zq.Wrap(wrapped); err != nil || !slices.Equal(twice, wrapped) {
		t.Errorf("wrapping a carrier: %v", err)
	}
	for name, damage := range map[string]func(g *onnx.Graph, n *onnx.Node){
		"cut":        func(_ *onnx.Graph, n *onnx.Node) { a := n.Attr(carrier.Attribute); a.Bytes = a.Bytes[:len(a.Bytes)/2] },
		"more edges": func(g *onnx.Graph, n *onnx.Node) { n.SetInput(1, g.AddInput("more", nil)) },
		"a node more": func(g *onnx.Graph, n *onnx.Node) {
			g.Append(onnx.NodeSpec{Op: "Relu", Inputs: n.Outputs(), Outputs: []string{"more"}})
		},
	} {
		c, err := onnx.Parse(wrapped)
		if err != nil {
			t.Fatal(err)
		}
		for n := range c.Graph.Nodes() {
			damage(c.Graph, n)
			break
		}
		b, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back := zq.New()
		m := onnxgo.NewModel(back)
		if err = m.UnmarshalBinary(b); err == nil {
			set(t, m, 0, tensor.New(tensor.WithShape(1, 64), tensor.Of(tensor.Float32)))
			err = back.Run()
		}
		if !errors.Is(err, onnx.ErrBadModel) {
			t.Errorf("%s: got %v", name, err)
		}
		if again := back.Run(); !errors.Is(again, onnx.ErrBadModel) {
			t.Errorf("%s: a second run gives %v", name, again)
		}
	}
}

// TestSecondModel: one backend holds one model.
func TestSecondModel(t *testing.T) {
	if err := zq.New().Run(); !errors.Is(err, onnx.ErrBadModel) {
		t.Errorf("an empty backend: %v", err)
	}
	g := newGraph(9)
	bytes := g.bytes(t, g.node("Neg", "y", g.input("x", 2)))
	m, b := decode(t, bytes)
	set(t, m, 0, vector(1, 2))
	want(t, outputs(t, m, b), []float32{-1, -2})
	if err := onnxgo.NewModel(b).UnmarshalBinary(bytes); err == nil || !strings.Contains(err.Error(), "holds a model already") {
		t.Errorf("a second model: %v", err)
	}
}

// TestNothingElseImportsOnnxGo: neither the command nor the library links onnx-go.
func TestNothingElseImportsOnnxGo(t *testing.T) {
	for _, of := range []string{"../cmd/zqonnx", ".."} {
		out, err := exec.Command("go", "list", "-deps", of).Output()
		if err != nil {
			t.Fatal(err)
		}
		deps := strings.Fields(string(out))
		if len(deps) < 50 {
			t.Fatalf("%s has only the dependencies %v", of, deps)
		}
		for _, d := range deps {
			if strings.Contains(d, "onnx-go") || strings.Contains(d, "onnxgo") || strings.Contains(d, "gorgonia") {
				t.Errorf("%s depends on %s", of, d)
			}
		}
	}
}

// TestBothProtobufs links onnx-go's and our messages of ONNX in one binary: registered under one name, they would panic at the
// start.
func TestBothProtobufs(t *testing.T) {
	files, err := filepath.Glob("../testmodels/*/model.onnx")
	if err != nil || len(files) == 0 {
		t.Fatalf("no models: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := onnx.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		wrapped, err := zq.Wrap(b)
		if err != nil {
			t.Fatal(err)
		}
		theirs := onnxgo.NewModel(zq.New())
		if err := theirs.UnmarshalBinary(wrapped); err != nil {
			t.Fatal(err)
		}
		if have, want := len(theirs.Input), len(ours.Graph.Feeds()); have != want {
			t.Errorf("%s: onnx-go sees %d inputs, zqonnx %d", file, have, want)
		}
		if have, want := len(theirs.Output), len(ours.Graph.Outputs()); have != want {
			t.Errorf("%s: onnx-go sees %d outputs, zqonnx %d", file, have, want)
		}
	}
}
