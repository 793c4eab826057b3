package engine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/onnx"
)

func runModel(t *testing.T, m *onnx.Model, feeds map[string]*onnx.Tensor) map[string]*onnx.Tensor {
	t.Helper()
	p, err := Compile(m, Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]*onnx.Tensor
	for range 2 { // the second run on used buffers
		if out, err = p.Run(context.Background(), feeds, nil); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func node(g *onnx.Graph, op string, out string, in ...*onnx.Value) *onnx.Value {
	return g.Append(onnx.NodeSpec{Op: op, Inputs: in, Outputs: []string{out}}).Output(0)
}

// fibonacci is a loop with two states that swap places: (a, b) → (b, a+b), and stacks a. It stops when b exceeds a limit.
func fibonacci() *onnx.Model {
	g := onnx.NewGraph("g")
	vector := func() *onnx.Type { return onnx.TensorOf(onnx.Int64, onnx.Fixed(1)) }
	trips := g.AddInput("trips", onnx.ScalarOf(onnx.Int64))
	limit := g.AddInput("limit", vector())
	body := onnx.NewGraph("body")
	body.AddInput("i", onnx.ScalarOf(onnx.Int64))
	body.AddInput("going", onnx.ScalarOf(onnx.Bool))
	a, b := body.AddInput("a", vector()), body.AddInput("b", vector())
	sum := node(body, "Add", "sum", a, b)
	body.AddOutput(node(body, "Less", "go_on", sum, limit))
	body.AddOutput(node(body, "Identity", "next_a", b))
	body.AddOutput(sum)
	body.AddOutput(node(body, "Identity", "shown", a))
	one := g.AddConst("one", onnx.Of([]int64{1}))
	n := g.Append(onnx.NodeSpec{
		Op: "Loop", Name: "loop", Inputs: []*onnx.Value{trips, g.AddConst("yes", onnx.Scalar(true)), one, one},
		Outputs: []string{"last_a", "last_b", "all"}, Attrs: []*onnx.Attribute{onnx.AttrG("body", body)},
	})
	for _, v := range n.Outputs() {
		g.AddOutput(v)
	}
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}
}

func TestLoop(t *testing.T) {
	for _, c := range []struct {
		trips, limit int64
		last         int64
		all          []int64
	}{
		{100, 20, 13, []int64{1, 1, 2, 3, 5, 8}}, {3, 1000, 3, []int64{1, 1, 2}}, {0, 1000, 1, nil},
	} {
		out := runModel(t, fibonacci(), map[string]*onnx.Tensor{"trips": onnx.Scalar(c.trips), "limit": onnx.Of([]int64{c.limit})})
		if got := onnx.Data[int64](out["last_a"])[0]; got != c.last {
			t.Errorf("%d trips below %d: last is %d, want %d", c.trips, c.limit, got, c.last)
		}
		if d := cmp.Diff(c.all, onnx.Data[int64](out["all"])) + cmp.Diff([]int64{int64(len(c.all)), 1}, out["all"].Dims); d != "" {
			t.Errorf("%d trips below %d: %s", c.trips, c.limit, d)
		}
	}
}

func TestLoopIsCancelled(t *testing.T) {
	p, err := Compile(fibonacci(), Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	_, err = p.Run(ctx, map[string]*onnx.Tensor{"trips": onnx.Scalar(int64(1 << 40)), "limit": onnx.Of([]int64{1 << 62})}, &RunOptions{
		Tap: map[string]func(*onnx.Tensor){"sum": func(*onnx.Tensor) {
			if n++; n == 10 {
				cancel()
			}
		}},
	})
	if !errors.Is(err, context.Canceled) || n != 10 {
		t.Errorf("%v after %d iterations", err, n)
	}
}

// TestScan sums columns from the end and stacks the partial sums along axis 1, backwards.
func TestScan(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(2), onnx.Fixed(3)))
	s := g.AddInput("s", onnx.TensorOf(onnx.Float32, onnx.Fixed(2)))
	body := onnx.NewGraph("body")
	state, column := body.AddInput("state", nil), body.AddInput("column", nil)
	sum := node(body, "Add", "sum", state, column)
	body.AddOutput(sum)
	body.AddOutput(node(body, "Identity", "shown", sum))
	n := g.Append(onnx.NodeSpec{Op: "Scan", Inputs: []*onnx.Value{s, x}, Outputs: []string{"last", "all"}, Attrs: []*onnx.Attribute{
		onnx.AttrG("body", body), onnx.AttrI("num_scan_inputs", 1), onnx.AttrIs("scan_input_axes", 1), onnx.AttrIs("scan_input_directions", 1),
		onnx.AttrIs("scan_output_axes", -1), onnx.AttrIs("scan_output_directions", 1),
	}})
	g.AddOutput(n.Output(0))
	g.AddOutput(n.Output(1))
	out := runModel(t, &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}, map[string]*onnx.Tensor{
		"x": onnx.Of([]float32{1, 2, 3, 10, 20, 30}, 2, 3), "s": onnx.Of([]float32{100, 1000}),
	})
	if d := cmp.Diff([]float32{106, 1060}, onnx.Data[float32](out["last"])); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]float32{106, 105, 103, 1060, 1050, 1030}, onnx.Data[float32](out["all"])); d != "" {
		t.Error(d)
	}
}

// TestSequences splits, drops the second part, puts a tensor in front, and joins again.
func TestSequences(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Symbol("n")))
	at := func(i int64) *onnx.Value { return g.AddConst("at", onnx.Scalar(i)) }
	seq := g.Append(onnx.NodeSpec{Op: "SplitToSequence", Inputs: []*onnx.Value{x, at(2)}, Outputs: []string{"parts"}}).Output(0)
	seq = node(g, "SequenceErase", "erased", seq, at(1))
	seq = node(g, "SequenceInsert", "inserted", seq, g.AddConst("front", onnx.Of([]float32{9})), at(0))
	g.AddOutput(node(g, "SequenceLength", "length", seq))
	g.AddOutput(node(g, "SequenceAt", "last", seq, at(-1)))
	n := g.Append(onnx.NodeSpec{Op: "ConcatFromSequence", Inputs: []*onnx.Value{seq}, Outputs: []string{"y"}, Attrs: []*onnx.Attribute{onnx.AttrI("axis", 0)}})
	g.AddOutput(n.Output(0))
	out := runModel(t, &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}, map[string]*onnx.Tensor{"x": onnx.Of([]float32{1, 2, 3, 4, 5})})
	if d := cmp.Diff([]float32{9, 1, 2, 5}, onnx.Data[float32](out["y"])); d != "" {
		t.Error(d)
	}
	if n := onnx.Data[int64](out["length"])[0]; n != 3 {
		t.Errorf("length %d", n)
	}
	if d := cmp.Diff([]float32{5}, onnx.Data[float32](out["last"])); d != "" {
		t.Error(d)
	}
}

// leaky is a function (x) → LeakyRelu(x, alpha) or, for the sake of a subgraph, its negative where x sums to less than 0.
func leaky() *onnx.Function {
	body := onnx.NewGraph("leaky")
	x := body.AddInput("x", nil)
	y := body.Append(onnx.NodeSpec{Op: "LeakyRelu", Name: "act", Inputs: []*onnx.Value{x}, Outputs: []string{"y"}, Attrs: []*onnx.Attribute{
		{Name: "alpha", Kind: onnx.AttrFloat, Ref: "slope"},
	}}).Output(0)
	zero := body.Append(onnx.NodeSpec{Op: "Constant", Outputs: []string{"zero"}, Attrs: []*onnx.Attribute{onnx.AttrF("value_float", 0)}}).Output(0)
	sum := body.Append(onnx.NodeSpec{Op: "ReduceSum", Inputs: []*onnx.Value{x}, Outputs: []string{"sum"}, Attrs: []*onnx.Attribute{onnx.AttrI("keepdims", 0)}}).Output(0)
	branch := func(op string) *onnx.Graph {
		s := onnx.NewGraph("branch")
		s.AddOutput(node(s, op, "picked", y))
		return s
	}
	n := body.Append(onnx.NodeSpec{Op: "If", Inputs: []*onnx.Value{node(body, "Less", "below", sum, zero)}, Outputs: []string{"z"}, Attrs: []*onnx.Attribute{
		onnx.AttrG("then_branch", branch("Neg")), onnx.AttrG("else_branch", branch("Identity")),
	}})
	body.AddOutput(n.Output(0))
	return &onnx.Function{Name: "Leaky", Domain: "test", Opsets: []onnx.Opset{{Version: 17}}, Body: body, Defaults: []*onnx.Attribute{onnx.AttrF("slope", 0.5)}}
}

func functionModel(functions ...*onnx.Function) *onnx.Model {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Symbol("n")))
	a := g.Append(onnx.NodeSpec{Op: "Leaky", Domain: "test", Name: "one", Inputs: []*onnx.Value{x}, Outputs: []string{"a"}}).Output(0)
	b := g.Append(onnx.NodeSpec{Op: "Leaky", Domain: "test", Name: "two", Inputs: []*onnx.Value{a}, Outputs: []string{"b"}, Attrs: []*onnx.Attribute{onnx.AttrF("slope", 10)}}).Output(0)
	g.AddOutput(b)
	return &onnx.Model{IRVersion: 10, Opsets: []onnx.Opset{{Version: 17}, {Domain: "test", Version: 1}}, Graph: g, Functions: functions}
}

func TestLocalFunctions(t *testing.T) {
	out := runModel(t, functionModel(leaky()), map[string]*onnx.Tensor{"x": onnx.Of([]float32{-4, 2})})
	// -4, 2 → -2, 2, negated since -4 + 2 < 0: 2, -2 → 2, -20.
	if d := cmp.Diff([]float32{2, -20}, onnx.Data[float32](out["b"])); d != "" {
		t.Error(d)
	}
	if m := functionModel(leaky()); m.Graph.Len() != 2 {
		t.Errorf("the model itself has %d nodes now", m.Graph.Len())
	}
}

func TestRecursiveFunction(t *testing.T) {
	body := onnx.NewGraph("leaky")
	x := body.AddInput("x", nil)
	body.AddOutput(body.Append(onnx.NodeSpec{Op: "Leaky", Domain: "test", Inputs: []*onnx.Value{x}, Outputs: []string{"y"}}).Output(0))
	_, err := Compile(functionModel(&onnx.Function{Name: "Leaky", Domain: "test", Opsets: []onnx.Opset{{Version: 17}}, Body: body}), Options{})
	if !errors.Is(err, onnx.ErrBadModel) || !strings.Contains(err.Error(), "Leaky") {
		t.Errorf("%v", err)
	}
}
