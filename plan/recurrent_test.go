package plan

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/target"
)

// Each direction of a recurrent node has scales of its own: one of small weights keeps its eight bits beside one of large.
func TestDirectionsHaveScalesOfTheirOwn(t *testing.T) {
	const directions, rows, k = 2, 24, 8
	w := make([]float32, directions*rows*k)
	for i := range w {
		w[i] = float32(i%13-6) / 6
		if i >= rows*k {
			w[i] /= 1000
		}
	}
	m := build(func(b *builder) {
		b.output(b.op("GRU", "y", in(b.input("x", 4, 1, k), b.g.AddConst("w", onnx.Of(w, directions, rows, k)), b.normal("r", 0.1, directions, rows, k)),
			onnx.AttrI("hidden_size", rows/3), onnx.AttrS("direction", "bidirectional")))
	})
	sites := Survey(m)
	if len(sites) != 1 || sites[0].Refused.ID != "" {
		t.Fatalf("sites %v", sites)
	}
	q, err := QuantizeSite(sites[0], 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(q.Scales) != directions*rows {
		t.Fatalf("%d scales, want %d", len(q.Scales), directions*rows)
	}
	got := q.Dequantize()
	for i, x := range w {
		if limit := q.Scales[i/k] * 0.5001; got[i]-x > limit || x-got[i] > limit || q.Scales[i/k] > 1.01/127/max(1, float32(i/(rows*k))*1000) {
			t.Fatalf("weight %d: %v became %v with scale %v", i, x, got[i], q.Scales[i/k])
		}
	}
}

// strict is a Guard that no model stands up to.
var strict = Guard{Samples: 4, Stands: 1000, Margin: 12, Matters: 10, MaxFloat: 1, Budget: 1e12}

// An integer LSTM takes its input in one scale. Where one feature is far larger than all others the guard keeps the weights
// and gives the integers up.
func TestGuardOfLSTM(t *testing.T) {
	for gain, want := range map[float32]string{1: "LSTM_h dynamic", 1e5: "LSTM_h weight-only"} {
		_, p := planned(t, build(func(b *builder) {
			const hidden, k = 8, 8
			gains := []float32{gain, 1, 1, 1, 1, 1, 1, 1}
			w := b.normal("w", 0.3, 1, 4*hidden, k)
			for i := range 4 * hidden {
				onnx.Data[float32](w.Const())[i*k] = 0 // the large feature matters to the scale only
			}
			x := b.op("Mul", "scaled", in(b.input("x", 4, 1, k), b.g.AddConst("gain", onnx.Of(gains))))
			n := b.g.Append(onnx.NodeSpec{
				Op: "LSTM", Name: "LSTM_h", Inputs: in(x, w, b.normal("r", 0.3, 1, 4*hidden, hidden)), Outputs: []string{"", "h"},
				Attrs: []*onnx.Attribute{onnx.AttrI("hidden_size", hidden)},
			})
			b.output(n.Output(1))
		}), func(o *Options) { o.Guard = strict })
		expect(t, decisions(p), want)
		for _, n := range p.Nodes {
			if reason := map[float32]string{1: "integer-lstm", 1e5: "guard"}[gain]; n.Op == "LSTM" && n.Reason.ID != reason {
				t.Errorf("the reason is %+v, want %s", n.Reason, reason)
			}
		}
	}
}

// What no sample runs says nothing about what is usual.
func TestGuardDoesNotCountBranchesThatNeverRan(t *testing.T) {
	m := build(func(b *builder) {
		x := b.input("x", 4, 32)
		branch := func(name string, products int) *onnx.Graph {
			g := onnx.NewGraph(name)
			y := x
			for i := range products {
				s := &builder{b.m, g, b.random}
				y = s.op("MatMul", name+string(rune('0'+i)), in(y, s.normal(name+"w"+string(rune('0'+i)), 0.2, 32, 32)))
			}
			g.AddOutput(y)
			return g
		}
		cond := b.g.AddInput("cond", onnx.ScalarOf(onnx.Bool)) // probes say true
		b.output(b.op("If", "y", in(cond), onnx.AttrG("then_branch", branch("then", 2)), onnx.AttrG("else_branch", branch("else", 5))))
	})
	_, p := planned(t, m, func(o *Options) { o.Guard, o.Activations = strict, ModeToken })
	for _, n := range p.Nodes {
		if n.Op == "MatMul" && n.Scheme != Token {
			t.Errorf("%s is %s: %s", n.Key, n.Scheme, n.Reason.Text)
		}
	}
}

// Inside a branch, too, the rounding is the one that disturbs least: a filter over a smooth signal wants errors that cancel
// over neighbours.
func TestRoundingsInsideBranches(t *testing.T) {
	_, p := planned(t, build(func(b *builder) {
		x := b.input("x", 1, 1, 512)
		w := b.normal("w", 0.3, 16, 1, 64)
		branch := func(name string) *onnx.Graph {
			g := onnx.NewGraph(name)
			s := &builder{b.m, g, b.random}
			g.AddOutput(s.op("Conv", name, in(x, w)))
			return g
		}
		cond := b.g.AddInput("cond", onnx.ScalarOf(onnx.Bool)) // probes say true
		b.output(b.op("If", "y", in(cond), onnx.AttrG("then_branch", branch("then")), onnx.AttrG("else_branch", branch("else"))))
	}), nil)
	for _, n := range p.Nodes {
		want := map[string]string{"If_y/then_branch/Conv_then": "diffusion", "If_y/else_branch/Conv_else": "squant"}[n.Key]
		if want != "" && n.Weights.Rounding != want {
			t.Errorf("%s is rounded by %q, want %q", n.Key, n.Weights.Rounding, want)
		}
	}
}

// Integers pay for large hidden states only, but the user may want them anyway.
func TestLSTMsThatDoNotPay(t *testing.T) {
	for _, c := range []struct {
		hidden int64
		mode   Mode
		want   string
	}{
		{16, ModeAuto, "LSTM_h weight-only"},
		{16, ModeDynamic, "LSTM_h dynamic"},
		{128, ModeAuto, "LSTM_h dynamic"},
	} {
		_, p := planned(t, build(func(b *builder) {
			n := b.g.Append(onnx.NodeSpec{
				Op: "LSTM", Name: "LSTM_h", Outputs: []string{"", "h"},
				Inputs: in(b.input("x", 4, 1, c.hidden), b.normal("w", 0.1, 1, 4*c.hidden, c.hidden), b.normal("r", 0.1, 1, 4*c.hidden, c.hidden)),
				Attrs:  []*onnx.Attribute{onnx.AttrI("hidden_size", c.hidden)},
			})
			b.output(n.Output(1))
		}), func(o *Options) { o.Target, o.Activations = target.Targets[0], c.mode })
		expect(t, decisions(p), c.want)
		if r := p.Nodes[0].Reason; c.want == "LSTM_h weight-only" && (r.ID != "integers-cost" || r.Numbers["dynamic_us"] <= r.Numbers["float_us"]) {
			t.Errorf("the reason is %+v", r)
		}
	}
}
