package emit

import (
	"math/rand/v2"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// A builder writes a test graph so that it reads like the graph. Numbers come from its generator.
type builder struct {
	m      *onnx.Model
	g      *onnx.Graph
	random *rand.Rand
}

func build(opset int64, f func(b *builder)) *onnx.Model {
	g := onnx.NewGraph("test")
	b := &builder{&onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: opset}}, Graph: g}, g, rand.New(rand.NewPCG(1, 2))}
	f(b)
	return b.m
}

func (b *builder) input(name string, dims ...int64) *onnx.Value {
	return b.g.AddInput(name, onnx.TensorOf(onnx.Float32, fixed(dims)...))
}

func (b *builder) inputOf(name string, t onnx.DataType, dims ...int64) *onnx.Value {
	return b.g.AddInput(name, onnx.TensorOf(t, fixed(dims)...))
}

func (b *builder) output(vs ...*onnx.Value) {
	for _, v := range vs {
		b.g.AddOutput(v)
	}
}

func fixed(dims []int64) []onnx.Dim {
	shape := []onnx.Dim{}
	for _, d := range dims {
		shape = append(shape, onnx.Fixed(d))
	}
	return shape
}

// normal adds a constant of normally distributed numbers.
func (b *builder) normal(name string, dims ...int64) *onnx.Value {
	return b.g.AddConst(name, normals(b.random, dims...))
}

// half rounds a constant to float16.
func half(v *onnx.Value) *onnx.Value {
	t := onnx.Zeros(onnx.Float16, v.Const().Dims...)
	onnx.SetFloats(t, onnx.Data[float32](v.Const()))
	v.SetConst(t)
	return v
}

func normals(r *rand.Rand, dims ...int64) *onnx.Tensor {
	x := make([]float32, onnx.NumElements(dims))
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return onnx.Of(x, append([]int64{}, dims...)...)
}

// op appends a node named OP_OUT with one output.
func (b *builder) op(op, out string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	return b.ops(op, []string{out}, in, attrs...)[0]
}

func (b *builder) ops(op string, out []string, in []*onnx.Value, attrs ...*onnx.Attribute) []*onnx.Value {
	name := out[0]
	if name == "" {
		name = out[1]
	}
	n := b.g.Append(onnx.NodeSpec{Op: op, Name: op + "_" + name, Inputs: in, Outputs: out, Attrs: attrs})
	for _, v := range n.Outputs() {
		if v != nil {
			v.Type = onnx.TensorOf(onnx.Float32)
		}
	}
	return n.Outputs()
}

// branch builds a subgraph; values of b may be used inside.
func (b *builder) branch(name string, f func(b *builder)) *onnx.Graph {
	s := &builder{b.m, onnx.NewGraph(name), b.random}
	f(s)
	return s.g
}

func in(v ...*onnx.Value) []*onnx.Value { return v }

// A choice makes the plan of a test: the scheme of every site, and the parameters of tensors that become codes.
type choice struct {
	scheme  plan.Scheme
	schemes map[string]plan.Scheme // of single nodes, by their first output; sites and others
	codes   map[string]plan.Activation
	tensor  bool      // one scale for the whole weights
	form    plan.Form // of all weights, small ones too; zero: int8, and small weights stay float
	correct map[string][]float32
	sigmaK  float32 // of token-wise products
}

// codesOf returns parameters for a range.
func codesOf(lo, hi float32) plan.Activation {
	p := quantize.Uint8.Params(lo, hi)
	return plan.Activation{Type: "uint8", Scale: p.Scale, ZeroPoint: p.ZeroPoint, Range: [2]float32{lo, hi}}
}

func (c choice) plan(prep *plan.Prepared) *plan.Plan {
	sites := map[*onnx.Node]*plan.Site{}
	for _, s := range plan.Survey(prep.Model) {
		sites[s.Node] = s
	}
	p := &plan.Plan{Schema: plan.Schema}
	keys := prep.Model.Graph.Keys()
	for n := range prep.Model.Graph.AllNodes() {
		d := plan.Node{Key: keys[n], Op: n.Op, Scheme: plan.Float}
		s := sites[n]
		if s != nil && (s.Refused.ID == "" || s.Small() && c.form.Type != "") {
			d.Scheme = c.scheme
		}
		if scheme, ok := c.schemes[n.Output(0).String()]; ok {
			d.Scheme = scheme
		}
		if s != nil && d.Scheme != plan.Float {
			d.Weights = &plan.Weights{Form: plan.Form{Type: "int8"}, Axis: s.Axes[0], Rounding: s.Rounding(), Correction: c.correct[n.Output(0).String()]}
			if c.form.Type != "" {
				d.Weights.Form, d.Weights.Rounding = c.form, "rtn"
				switch d.Weights.Storage {
				case plan.Native, plan.QDQ:
					if s.Kind != plan.Product && (s.Kind != plan.Table || d.Weights.Storage == plan.QDQ) {
						d.Weights.Storage = plan.Folded
					} else if d.Weights.Storage == plan.Native && s.Kind == plan.Product {
						d.Weights.AccuracyLevel = 1
					}
				}
			}
			if c.tensor {
				d.Weights.Axis, d.Weights.Rounding = quantize.PerTensor, "rtn"
			}
		}
		if d.Scheme == plan.Token {
			d.SigmaK = c.sigmaK
		}
		if d.Scheme == plan.Static || d.Scheme == plan.Fused {
			d.Activations = map[string]plan.Activation{}
			for _, vs := range [][]*onnx.Value{n.Inputs(), n.Outputs()} {
				for _, v := range vs {
					if a, ok := c.codes[v.String()]; ok {
						d.Activations[v.Name()] = a
					}
				}
			}
		}
		p.Nodes = append(p.Nodes, d)
	}
	return p
}

func prepared(t testing.TB, m *onnx.Model) *plan.Prepared {
	t.Helper()
	prep, err := plan.Prepare(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	return prep
}

// emitted carries a plan out; the whole model is checked after every pass.
func emitted(t testing.TB, prep *plan.Prepared, p *plan.Plan) *onnx.Model {
	t.Helper()
	check := func(_ rewrite.Pass, m *onnx.Model) error { return onnx.Check(m) }
	if err := Passes(p, prep).Run(&rewrite.Context{Trace: prep.Trace, Check: check}, prep.Model); err != nil {
		t.Fatal(err)
	}
	return prep.Model
}
