package emit

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

var update = flag.Bool("update", false, "write the golden files")

// Every form, as text.
func TestForms(t *testing.T) {
	for _, c := range tinies {
		t.Run(c.name, func(t *testing.T) {
			prep := prepared(t, build(c.opset, c.build))
			got := emitted(t, prep, c.plan(prep)).Text()
			golden := filepath.Join("testdata", c.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// What is written computes what the plan meant: the float graph with the planned rounding at every edge. And it is as far
// from float as its bits must be: neither worse, nor so near that something stayed float.
func TestFormsCompute(t *testing.T) {
	for _, c := range tinies {
		t.Run(c.name, func(t *testing.T) {
			m := build(c.opset, c.build)
			prep := prepared(t, m)
			p := c.plan(prep)
			feeds := feedsOf(m.Graph, c.codes)
			float := run(t, prep.Model, feeds, nil)
			means := meaningOf(t, prep, p)
			meant := run(t, prep.Model, feeds, means)
			got := run(t, emitted(t, prep, p), feeds, nil)
			bits := 8
			if f, ok := quantize.FormatNamed(c.form.Type); ok {
				bits = f.Bits
			}
			if c.form.IsHalf() {
				bits = 11
			}
			if db := sqnr(t, m, float, got); db < min(25, float64(5*bits-8)) || db > float64(7*bits+9) {
				t.Errorf("%.1f dB from the float graph", db)
			}
			if means == nil {
				return // what an integer LSTM does inside has no edge in the float graph
			}
			if db := sqnr(t, m, meant, got); db < 75 {
				t.Errorf("%.1f dB from the float graph with the planned rounding", db)
			}
		})
	}
}

// feedsOf returns feeds for a graph: normally distributed, within the range that a plan has for an input; integers count up.
func feedsOf(g *onnx.Graph, codes map[string]plan.Activation) map[string]*onnx.Tensor {
	r := rand.New(rand.NewPCG(7, 7))
	feeds := map[string]*onnx.Tensor{}
	for _, v := range g.Feeds() {
		dims := []int64{}
		for _, d := range v.Type.Shape {
			dims = append(dims, d.Size)
		}
		switch v.Type.Elem {
		case onnx.Float32:
			x := normals(r, dims...)
			if a, ok := codes[v.Name()]; ok {
				for i, f := range onnx.Data[float32](x) {
					onnx.Data[float32](x)[i] = max(a.Range[0], min(f*a.Range[1]/4, a.Range[1]))
				}
			}
			feeds[v.Name()] = x
		case onnx.Bool:
			feeds[v.Name()] = onnx.Of([]bool{true}, dims...)
		default:
			x := make([]int64, onnx.NumElements(dims))
			for i := range x {
				x[i] = int64(3*i + 1)
			}
			feeds[v.Name()] = onnx.Of(x, dims...)
		}
	}
	return feeds
}

// A meaning is a plan in terms of the float graph.
type meaning struct {
	edges   map[engine.Edge]func(*onnx.Tensor) *onnx.Tensor
	outputs map[string]func(*onnx.Tensor) *onnx.Tensor
}

// meaningOf says what a plan means, from its JSON fields alone; nil where the float graph has no edge for it.
func meaningOf(t *testing.T, prep *plan.Prepared, p *plan.Plan) *meaning {
	t.Helper()
	c := &meaning{map[engine.Edge]func(*onnx.Tensor) *onnx.Tensor{}, map[string]func(*onnx.Tensor) *onnx.Tensor{}}
	sites := map[string]*plan.Site{}
	for _, s := range plan.Survey(prep.Model) {
		sites[s.Key] = s
	}
	for _, d := range p.Nodes {
		s := sites[d.Key]
		if s != nil && d.Scheme == plan.Dynamic && s.Kind == plan.Recurrent {
			return nil
		}
		if s == nil || d.Scheme == plan.Float {
			continue
		}
		for i, input := range s.Inputs {
			if d.Weights.IsHalf() {
				x, err := s.Half(i).Float32s()
				if err != nil {
					t.Fatal(err)
				}
				c.edges[engine.Edge{Node: s.Key, Input: input}] = always(onnx.Of(x, s.Weight(i).Const().Dims...))
				continue
			}
			q, err := plan.QuantizeSite(s, i, d.Weights)
			if err != nil {
				t.Fatal(err)
			}
			dims := s.Weight(i).Const().Dims
			if bias := s.Node.Input(2); bias != nil && d.Scheme == plan.Static {
				float, err := row(bias, int(dims[s.Axes[0]]))
				if err != nil {
					t.Fatal(err)
				}
				for k, add := range d.Weights.Correction {
					float[k] += add
				}
				b, err := quantize.QuantizeBias(float, d.Activations[s.Node.Input(s.Input()).Name()].Scale, onnx.Data[float32](s.Weight(0).Const()), q)
				if err != nil {
					t.Fatal(err)
				}
				q = b.Weights
				for k := range float {
					float[k] = float32(b.Codes[k]) * b.Scales[k%len(b.Scales)]
				}
				c.edges[engine.Edge{Node: s.Key, Input: 2}] = always(onnx.Of(float))
			}
			w := q.Dequantize()
			if l := d.Weights.LowRank; l != nil {
				outputs := int(dims[s.Axes[0]])
				f, err := l.Factors(len(w)/outputs, outputs)
				if err != nil {
					t.Fatal(err)
				}
				f.LowRank().AddTo(w, s.Axes[0] == 0)
			}
			c.edges[engine.Edge{Node: s.Key, Input: input}] = always(onnx.Of(w, dims...))
		}
		if s.Kind == plan.Product && (d.Scheme == plan.Token || d.Scheme == plan.Dynamic) {
			c.edges[engine.Edge{Node: s.Key, Input: s.Input()}] = rounded(func(x []float32) quantize.Params {
				if d.Scheme == plan.Dynamic {
					return quantize.DynamicParams(x)
				}
				return quantize.Params{Scale: quantize.RowScale(x, d.SigmaK), ZeroPoint: 128}
			}, d.Scheme == plan.Token)
		}
	}
	for _, d := range p.Nodes {
		n := nodeOf(prep.Model, d.Key)
		for name, a := range d.Activations {
			f := rounded(func([]float32) quantize.Params { return a.Params() }, false)
			v := prep.Model.Graph.Value(name)
			producer, _ := v.Producer()
			for _, u := range v.Uses() {
				if producer == n || u.Node == n && d.Scheme == plan.Static {
					c.edges[engine.Edge{Node: u.Node.Key(), Input: u.Index}] = f
				}
			}
			if producer == n && v.IsOutput() {
				c.outputs[name] = f
			}
		}
	}
	return c
}

func nodeOf(m *onnx.Model, key string) *onnx.Node {
	for n, k := range m.Graph.Keys() {
		if k == key {
			return n
		}
	}
	return nil
}

func always(t *onnx.Tensor) func(*onnx.Tensor) *onnx.Tensor {
	return func(*onnx.Tensor) *onnx.Tensor { return t }
}

// rounded quantizes and dequantizes a tensor to uint8, as a whole or row by row.
func rounded(params func(x []float32) quantize.Params, rows bool) func(*onnx.Tensor) *onnx.Tensor {
	return func(t *onnx.Tensor) *onnx.Tensor {
		out := append([]float32{}, onnx.Data[float32](t)...)
		width := max(len(out), 1)
		if rows {
			width = int(t.Dims[t.Rank()-1])
		}
		for i := 0; i < len(out); i += width {
			row := out[i : i+width]
			p, codes := params(row), make([]uint8, width)
			quantize.Quantize(codes, row, p, quantize.Uint8)
			quantize.Dequantize(row, codes, p)
		}
		return onnx.Of(out, t.Dims...)
	}
}

// run returns the outputs of a model as ONNX says, under a plan's meaning.
func run(t testing.TB, m *onnx.Model, feeds map[string]*onnx.Tensor, c *meaning) map[string]*onnx.Tensor {
	t.Helper()
	p, err := engine.Compile(m, engine.Options{Semantics: engine.Literal, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	o := &engine.RunOptions{}
	if c != nil {
		o.Override = c.edges
	}
	out, err := p.Run(context.Background(), feeds, o)
	if err != nil {
		t.Fatal(err)
	}
	if c != nil {
		for name, f := range c.outputs {
			out[name] = f(out[name])
		}
	}
	return out
}

func sqnr(t testing.TB, m *onnx.Model, want, got map[string]*onnx.Tensor) float64 {
	t.Helper()
	var c metric.Comparison
	for _, v := range m.Graph.Outputs() {
		a, b := want[v.Name()], got[v.Name()]
		if a == nil || b == nil || fmt.Sprint(a.Dims) != fmt.Sprint(b.Dims) {
			t.Fatalf("output %q is %v, want %v", v.Name(), b, a)
		}
		if err := c.Observe(onnx.Data[float32](a), onnx.Data[float32](b)); err != nil {
			t.Fatal(err)
		}
	}
	return float64(c.Result().SQNR)
}

// Scales of tokens are those of the simulation, to the bit.
func TestTokenScales(t *testing.T) {
	for _, opset := range []int64{13, 18, 21} {
		for _, k := range []float32{0, 0.5, 2, 3.92} {
			m := build(opset, matmul(3, 5, 77, 16))
			prep := prepared(t, m)
			q := emitted(t, prep, choice{scheme: plan.Token, sigmaK: k}.plan(prep))
			program, err := engine.Compile(q, engine.Options{Semantics: engine.Literal, Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			feeds := feedsOf(m.Graph, nil)
			x := onnx.Data[float32](feeds["x"])
			clear(x[:77])               // zeros
			x[100] = 40                 // one that sticks out
			for i := range x[154:231] { // far from 0
				x[154+i] += 9
			}
			out, err := program.Run(context.Background(), feeds, &engine.RunOptions{Outputs: []string{"x_row_scale"}})
			if err != nil {
				t.Fatal(err)
			}
			clipped := 0
			for i, s := range onnx.Data[float32](out["x_row_scale"]) {
				row := x[i*77:][:77]
				if want := quantize.RowScale(row, k); s != want {
					t.Errorf("opset %d, k %v, row %d: %v, the simulation has %v", opset, k, i, s, want)
				}
				if s < quantize.RowScale(row, 0) {
					clipped++
				}
			}
			if (clipped > 0) != (k > 0) {
				t.Errorf("opset %d, k %v: %d rows clipped", opset, k, clipped)
			}
		}
	}
}
