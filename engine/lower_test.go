package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/onnx"
)

// net builds a test's graph on one float input x.
type net struct {
	*onnx.Graph
	x *onnx.Value
	r *rand.Rand
}

func newNet(dims ...int64) *net {
	g := onnx.NewGraph("net")
	shape := make([]onnx.Dim, len(dims))
	for i, d := range dims {
		shape[i] = onnx.Fixed(d)
	}
	return &net{g, g.AddInput("x", onnx.TensorOf(onnx.Float32, shape...)), rand.New(rand.NewPCG(11, 12))}
}

func (n *net) op(op, out string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	return n.Append(onnx.NodeSpec{Op: op, Name: out + "_node", Inputs: in, Outputs: []string{out}, Attrs: attrs}).Output(0)
}

func (n *net) con(t *onnx.Tensor) *onnx.Value { return n.AddConst("c", t) }

// quantize puts QuantizeLinear and DequantizeLinear behind v.
func (n *net) quantize(v *onnx.Value, scale float32, zero *onnx.Tensor) *onnx.Value {
	s, z := n.con(onnx.Scalar(scale)), n.con(zero)
	q := n.op("QuantizeLinear", v.Name()+"_q", []*onnx.Value{v, s, z})
	return n.op("DequantizeLinear", v.Name()+"_dq", []*onnx.Value{q, s, z})
}

// conv is a 3×3 convolution of dequantized int8 weights to 16 channels; the scale of the int32 bias is off by the factor.
func (n *net) conv(v *onnx.Value, out string, in int64, sx, biasFactor float32) *onnx.Value {
	scales, biasScales := onnx.Zeros(onnx.Float32, 16), onnx.Zeros(onnx.Float32, 16)
	bias := onnx.Zeros(onnx.Int32, 16)
	for i := range 16 {
		onnx.Data[float32](scales)[i] = float32(n.r.Float64()*0.01 + 0.004)
		onnx.Data[float32](biasScales)[i] = sx * onnx.Data[float32](scales)[i] * biasFactor
		onnx.Data[int32](bias)[i] = int32(n.r.IntN(4000) - 2000)
	}
	w := n.op("DequantizeLinear", out+"_w", []*onnx.Value{
		n.con(randomCodes(n.r, onnx.Int8, 16, in, 3, 3)), n.con(scales), n.con(onnx.Zeros(onnx.Int8, 16)),
	}, onnx.AttrI("axis", 0))
	b := n.op("DequantizeLinear", out+"_b", []*onnx.Value{n.con(bias), n.con(biasScales)}, onnx.AttrI("axis", 0))
	return n.op("Conv", out, []*onnx.Value{v, w, b}, onnx.AttrIs("pads", 1, 1, 1, 1))
}

func (n *net) model(outputs ...*onnx.Value) *onnx.Model {
	for _, v := range outputs {
		n.AddOutput(v)
	}
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: n.Graph}
}

var (
	zero120 = onnx.Scalar(uint8(120))
	zero0   = onnx.Scalar(uint8(0))
	zeroS8  = onnx.Scalar(int8(-3))
)

// TestWhatFuses holds the lowering to the table of what ONNX Runtime makes of a graph (FINDINGS b, d, e).
func TestWhatFuses(t *testing.T) {
	relu := func(n *net, zero *onnx.Tensor) *onnx.Value {
		return n.quantize(n.op("Relu", "r", []*onnx.Value{n.conv(n.quantize(n.x, 0.02, zero120), "y", 8, 0.02, 1)}), 0.3, zero)
	}
	clip := func(n *net, high, scale float32) *onnx.Value {
		y := n.conv(n.quantize(n.x, 0.02, zero120), "y", 8, 0.02, 1)
		return n.quantize(n.op("Clip", "r", []*onnx.Value{y, n.con(onnx.Scalar[float32](0)), n.con(onnx.Scalar(high))}), scale, zero0)
	}
	moved := func(n *net, scale float32, op string, attrs ...*onnx.Attribute) *onnx.Value {
		return n.quantize(n.op(op, "y", []*onnx.Value{n.quantize(n.x, 0.02, zero120)}, attrs...), scale, zero120)
	}
	for _, c := range []struct {
		name  string
		build func(n *net) []*onnx.Value
		want  string
	}{
		{"conv", func(n *net) []*onnx.Value {
			return []*onnx.Value{n.quantize(n.conv(n.quantize(n.x, 0.02, zero120), "y", 8, 0.02, 1), 0.3, zero120)}
		}, "DequantizeLinear QLinearConv QuantizeLinear"},
		{"conv without Q", func(n *net) []*onnx.Value {
			return []*onnx.Value{n.conv(n.quantize(n.x, 0.02, zero120), "y", 8, 0.02, 1)}
		}, "Conv DequantizeLinear DequantizeLinear DequantizeLinear QuantizeLinear"},
		{"conv with a bias of another scale", func(n *net) []*onnx.Value {
			return []*onnx.Value{n.quantize(n.conv(n.quantize(n.x, 0.02, zero120), "y", 8, 0.02, 1.02), 0.3, zero120)}
		}, "Conv DequantizeLinear DequantizeLinear DequantizeLinear DequantizeLinear QuantizeLinear QuantizeLinear"},
		{"conv also used in float", func(n *net) []*onnx.Value {
			y := n.conv(n.quantize(n.x, 0.02, zero120), "y", 8, 0.02, 1)
			return []*onnx.Value{n.quantize(y, 0.3, zero120), n.op("Abs", "z", []*onnx.Value{y})}
		}, "Abs Conv DequantizeLinear DequantizeLinear DequantizeLinear DequantizeLinear QuantizeLinear QuantizeLinear"},
		{
			"relu, zero point at the minimum", func(n *net) []*onnx.Value { return []*onnx.Value{relu(n, zero0)} },
			"DequantizeLinear QLinearConv QuantizeLinear",
		},
		{
			"relu, zero point above", func(n *net) []*onnx.Value { return []*onnx.Value{relu(n, zero120)} },
			"DequantizeLinear DequantizeLinear DequantizeLinear DequantizeLinear FusedConv QuantizeLinear QuantizeLinear",
		},
		{
			"clip inside", func(n *net) []*onnx.Value { return []*onnx.Value{clip(n, 6, 6.0/256)} },
			"DequantizeLinear QLinearConv QuantizeLinear",
		},
		{
			"clip outside", func(n *net) []*onnx.Value { return []*onnx.Value{clip(n, 6, 7.0/255)} },
			"DequantizeLinear DequantizeLinear DequantizeLinear DequantizeLinear FusedConv QuantizeLinear QuantizeLinear",
		},
		{"int8 residual", func(n *net) []*onnx.Value {
			a := n.quantize(n.conv(n.quantize(n.x, 0.02, zero120), "y", 8, 0.02, 1), 0.3, zeroS8)
			return []*onnx.Value{n.quantize(n.op("Add", "z", []*onnx.Value{a, n.op("Abs", "b", []*onnx.Value{a})}), 0.3, zero120)}
		}, "Abs Add Conv DequantizeLinear DequantizeLinear DequantizeLinear DequantizeLinear DequantizeLinear QuantizeLinear QuantizeLinear QuantizeLinear"},
		{"maxpool, equal parameters", func(n *net) []*onnx.Value {
			return []*onnx.Value{moved(n, 0.02, "MaxPool", onnx.AttrIs("kernel_shape", 2, 2))}
		}, "DequantizeLinear MaxPool QuantizeLinear"},
		{"tile, other parameters", func(n *net) []*onnx.Value {
			return []*onnx.Value{moved(n, 0.03, "DepthToSpace", onnx.AttrI("blocksize", 2))}
		}, "DepthToSpace DequantizeLinear DequantizeLinear QuantizeLinear QuantizeLinear"},
		{
			"tanh stays float", func(n *net) []*onnx.Value { return []*onnx.Value{moved(n, 0.02, "Tanh")} },
			"DequantizeLinear DequantizeLinear QuantizeLinear QuantizeLinear Tanh",
		},
		{
			"leaky relu", func(n *net) []*onnx.Value { return []*onnx.Value{moved(n, 0.03, "LeakyRelu")} },
			"DequantizeLinear QLinearLeakyRelu QuantizeLinear",
		},
	} {
		n := newNet(1, 8, 6, 5)
		m, _, err := lower(n.model(c.build(n)...), Options{Semantics: Fused})
		if err != nil {
			t.Fatal(err)
		}
		var ops []string
		for n := range m.Graph.Nodes() {
			ops = append(ops, n.Op)
		}
		slices.Sort(ops)
		if d := cmp.Diff(c.want, strings.Join(ops, " ")); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// residualNet is two quantized convolutions, an addition, a pool and a classifier.
func residualNet(repeat int) *onnx.Model {
	n := newNet(1, 16, 6, 5)
	v := n.quantize(n.x, 0.02, zero120)
	for i := range repeat {
		c := n.quantize(n.op("Relu", fmt.Sprintf("relu%d", i), []*onnx.Value{n.conv(v, fmt.Sprintf("conv%d", i), 16, 0.02, 1)}), 0.02, zero0)
		v = n.quantize(n.op("Add", fmt.Sprintf("add%d", i), []*onnx.Value{c, v}), 0.02, zero120)
	}
	pool := n.quantize(n.op("GlobalAveragePool", "pool", []*onnx.Value{v}), 0.02, zero120)
	return n.model(n.op("Flatten", "flat", []*onnx.Value{pool}))
}

func compiled(t testing.TB, m *onnx.Model, o Options) *Program {
	t.Helper()
	p, err := Compile(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ran(t testing.TB, p *Program, feeds map[string]*onnx.Tensor, o *RunOptions) map[string]*onnx.Tensor {
	t.Helper()
	out, err := p.Run(context.Background(), feeds, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFusedIsLiteralToACode: on scales without ties the fused integers are those of the literal graph, up to one code where
// float sums round otherwise.
func TestFusedIsLiteralToACode(t *testing.T) {
	m := residualNet(3)
	feeds := map[string]*onnx.Tensor{"x": randomFloats(rand.New(rand.NewPCG(1, 2)), 1, 16, 6, 5)}
	fused := onnx.Data[float32](ran(t, compiled(t, m, Options{Semantics: Fused}), feeds, nil)["flat"])
	literal := onnx.Data[float32](ran(t, compiled(t, m, Options{}), feeds, nil)["flat"])
	for i := range fused {
		if d := fused[i] - literal[i]; abs32(d) > 0.0401 {
			t.Errorf("output %d: fused %v, literal %v", i, fused[i], literal[i])
		}
	}
}

// TestTapsSeeTheModelsLayout: values that the program holds with channels last show as the model has them, in taps, outputs,
// overrides and given tensors.
func TestTapsSeeTheModelsLayout(t *testing.T) {
	m := residualNet(2)
	feeds := map[string]*onnx.Tensor{"x": randomFloats(rand.New(rand.NewPCG(3, 4)), 1, 16, 6, 5)}
	p := compiled(t, m, Options{Semantics: Fused, Keep: []string{"add0_q"}})
	if s := p.slots[p.named["add0_q"]]; !s.last {
		t.Fatal("the program was meant to hold add0_q with channels last")
	}
	// Kept alone, in a graph that ends there, the tensor has no reason to be turned.
	v := m.Clone()
	want := ran(t, compiled(t, v, Options{Semantics: Fused}), feeds, &RunOptions{Outputs: []string{"add0_q", "flat"}})
	var tapped *onnx.Tensor
	out := ran(t, p, feeds, &RunOptions{
		Tap: map[string]func(*onnx.Tensor){"add0_q": func(t *onnx.Tensor) { tapped = t.Clone() }},
	})
	if d := cmp.Diff([]int64{1, 16, 6, 5}, tapped.Dims); d != "" {
		t.Fatal(d)
	}
	literal := ran(t, compiled(t, m, Options{}), feeds, &RunOptions{Outputs: []string{"add0_q"}})["add0_q"]
	off := 0
	for i, b := range tapped.Bytes() {
		if d := int(b) - int(literal.Bytes()[i]); d < -1 || d > 1 {
			off++
		}
	}
	if off > 0 {
		t.Errorf("%d of %d codes are off by more than one: another order?", off, tapped.Len())
	}
	if d := cmp.Diff(want["add0_q"].Bytes(), tapped.Bytes()); d != "" {
		t.Errorf("asked for as an output: %s", d)
	}
	given := ran(t, p, nil, &RunOptions{Known: map[string]*onnx.Tensor{"add0_q": tapped}})
	if d := cmp.Diff(onnx.Data[float32](out["flat"]), onnx.Data[float32](given["flat"])); d != "" {
		t.Errorf("given instead of computed: %s", d)
	}
}

func TestKeptTensorsAreNotFusedAway(t *testing.T) {
	m := residualNet(1)
	if p := compiled(t, m, Options{Semantics: Fused}); p.Has("conv0") {
		t.Error("the float result of a fused Conv is still there")
	}
	p := compiled(t, m, Options{Semantics: Fused, Keep: []string{"conv0"}})
	if !p.Has("conv0") {
		t.Fatal("conv0 was to be kept")
	}
	if d := cmp.Diff([]string{"flat"}, p.Outputs()); d != "" {
		t.Errorf("outputs: %s", d)
	}
}

// TestSteadyConvolutionsAllocateNothing: what a run allocates does not depend on the number of layers.
func TestSteadyConvolutionsAllocateNothing(t *testing.T) {
	for _, s := range []Semantics{Literal, Fused} {
		allocs := func(repeat int) float64 {
			p := compiled(t, residualNet(repeat), Options{Semantics: s, Threads: 1})
			feeds := map[string]*onnx.Tensor{"x": onnx.Zeros(onnx.Float32, 1, 16, 6, 5)}
			ran(t, p, feeds, nil)
			return testing.AllocsPerRun(20, func() { ran(t, p, feeds, nil) })
		}
		if one, five := allocs(1), allocs(5); five > one {
			t.Errorf("%v: %v allocations for one layer, %v for five", s, one, five)
		}
	}
}

// TestLayoutsChangeNoBit runs a graph of everything that works in either layout twice: with shapes, so that layouts are
// chosen, and with an input of unknown rank, so that they are not.
func TestLayoutsChangeNoBit(t *testing.T) {
	model := func(known bool) *onnx.Model {
		n := newNet(2, 6, 7, 5)
		if !known {
			n.x.Type = &onnx.Type{Elem: onnx.Float32}
		}
		w := func(o, i, k int64) *onnx.Value { return n.con(randomFloats(n.r, o, i, k, k)) }
		list := func(v ...*onnx.Value) []*onnx.Value { return v }
		row := func() *onnx.Value {
			p := randomFloats(n.r, 6)
			for i, v := range onnx.Data[float32](p) {
				onnx.Data[float32](p)[i] = abs32(v) + 0.5
			}
			return n.con(p)
		}
		a := n.op("Conv", "a", list(n.x, w(6, 6, 3), row()), onnx.AttrIs("pads", 1, 1, 1, 1))
		b := n.op("Relu", "b", list(n.op("BatchNormalization", "bn", list(a, row(), row(), row(), row()))))
		c := n.op("Add", "c", list(n.op("Mul", "m", list(b, n.con(randomFloats(n.r, 6, 1, 1)))), a))
		d := n.op("MaxPool", "d", list(c), onnx.AttrIs("kernel_shape", 3, 2), onnx.AttrIs("strides", 2, 1), onnx.AttrIs("pads", 1, 0, 1, 0))
		e := n.op("AveragePool", "e", list(c), onnx.AttrIs("kernel_shape", 3, 2), onnx.AttrIs("strides", 2, 1), onnx.AttrIs("pads", 1, 0, 1, 0))
		f := n.op("Concat", "f2", list(d, e), onnx.AttrI("axis", -3))
		s := n.op("Sigmoid", "s", list(n.op("Conv", "sc", list(n.op("GlobalAveragePool", "g", list(f)), w(12, 12, 1)))))
		h := n.op("Mul", "h", list(f, s))
		i := n.op("Resize", "i", list(h, nil, n.con(onnx.Of([]float32{1, 1, 2, 1.5}))), onnx.AttrS("mode", "linear"))
		k := n.op("Conv", "k", list(i, w(12, 1, 3)), onnx.AttrI("group", 12))
		l := n.op("Softmax", "l", list(k), onnx.AttrI("axis", 1)) // a border
		o := n.op("Conv", "o", list(l, w(4, 12, 1)))
		p := n.op("Transpose", "p", list(o), onnx.AttrIs("perm", 0, 2, 3, 1))
		return n.model(p, n.op("Reshape", "q", list(k, n.con(onnx.Of([]int64{2, -1})))), c)
	}
	feeds := map[string]*onnx.Tensor{"x": randomFloats(rand.New(rand.NewPCG(5, 6)), 2, 6, 7, 5)}
	turned, plain := compiled(t, model(true), Options{Threads: 2}), compiled(t, model(false), Options{Threads: 1})
	if s := turned.slots[turned.named["h"]]; !s.last {
		t.Error("h was meant to have channels last")
	}
	if s := plain.slots[plain.named["h"]]; s.last {
		t.Error("h was not meant to have channels last where its rank is unknown")
	}
	got, want := ran(t, turned, feeds, nil), ran(t, plain, feeds, nil)
	for name := range want {
		if d := cmp.Diff(want[name].Dims, got[name].Dims); d != "" {
			t.Fatalf("%s: %s", name, d)
		}
		if d := cmp.Diff(onnx.Data[float32](want[name]), onnx.Data[float32](got[name])); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestLayoutsBehindTheInput: what takes the graph's input, whose channels come first, makes channels first, whatever its takers
// want; those that want channels first get them, though others do not.
func TestLayoutsBehindTheInput(t *testing.T) {
	model := func(known bool) *onnx.Model {
		n := newNet(1, 4, 6, 6)
		if !known {
			n.x.Type = &onnx.Type{Elem: onnx.Float32}
		}
		list := func(v ...*onnx.Value) []*onnx.Value { return v }
		conv := func(out string, v *onnx.Value) *onnx.Value {
			return n.op("Conv", out, list(v, n.con(randomFloats(n.r, 4, 4, 1, 1))))
		}
		a := n.op("Mul", "a", list(n.x, n.con(randomFloats(n.r, 4, 1, 1))))
		b := n.op("Concat", "b", list(n.x, n.x), onnx.AttrI("axis", 2))
		c := n.op("Tanh", "c", list(n.x))
		outputs := list(n.op("Mul", "d", list(c, n.con(randomFloats(n.r, 6))))) // wants channels first of what others want last
		for i, v := range list(a, a, b, b, c, c, c) {
			outputs = append(outputs, conv(fmt.Sprint("out", i), v))
		}
		return n.model(outputs...)
	}
	feeds := map[string]*onnx.Tensor{"x": randomFloats(rand.New(rand.NewPCG(5, 6)), 1, 4, 6, 6)}
	got, want := ran(t, compiled(t, model(true), Options{}), feeds, nil), ran(t, compiled(t, model(false), Options{}), feeds, nil)
	for name := range want {
		if d := cmp.Diff(onnx.Data[float32](want[name]), onnx.Data[float32](got[name])); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestDoubleConvolutionsStayChannelsFirst: the float64 kernel knows one layout.
func TestDoubleConvolutionsStayChannelsFirst(t *testing.T) {
	model := func(dt onnx.DataType) *onnx.Model {
		g := onnx.NewGraph("g")
		x := g.AddInput("x", onnx.TensorOf(dt, onnx.Fixed(1), onnx.Fixed(3), onnx.Fixed(5), onnx.Fixed(4)))
		r := rand.New(rand.NewPCG(7, 8))
		w := func() *onnx.Value { return g.AddConst("w", castTo(randomFloats(r, 3, 3, 3, 3), dt)) }
		v := x
		for range 3 {
			v = g.Append(onnx.NodeSpec{Op: "Conv", Inputs: []*onnx.Value{v, w()}, Outputs: []string{"v"}, Attrs: []*onnx.Attribute{onnx.AttrIs("pads", 1, 1, 1, 1)}}).Output(0)
		}
		g.AddOutput(v)
		return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}
	}
	x := randomFloats(rand.New(rand.NewPCG(9, 9)), 1, 3, 5, 4)
	m := model(onnx.Float32)
	name := m.Graph.Outputs()[0].Name()
	single := ran(t, compiled(t, m, Options{}), map[string]*onnx.Tensor{"x": x}, nil)[name]
	double := ran(t, compiled(t, model(onnx.Float64), Options{}), map[string]*onnx.Tensor{"x": castTo(x, onnx.Float64)}, nil)[name]
	checkClose(t, "float32", single, numbersOf(double), 1e-4)
}
