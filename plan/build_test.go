package plan

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

// A builder writes a test graph so that it reads like the graph. Numbers come from its generator.
type builder struct {
	m      *onnx.Model
	g      *onnx.Graph
	random *rand.Rand
}

func build(f func(b *builder)) *onnx.Model {
	g := onnx.NewGraph("test")
	b := &builder{&onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}, g, rand.New(rand.NewPCG(1, 2))}
	f(b)
	return b.m
}

func (b *builder) input(name string, dims ...int64) *onnx.Value {
	return b.inputOf(name, onnx.Float32, dims...)
}

func (b *builder) inputOf(name string, t onnx.DataType, dims ...int64) *onnx.Value {
	shape := []onnx.Dim{}
	for _, d := range dims {
		shape = append(shape, onnx.Fixed(d))
	}
	return b.g.AddInput(name, onnx.TensorOf(t, shape...))
}

func (b *builder) output(vs ...*onnx.Value) {
	for _, v := range vs {
		b.g.AddOutput(v)
	}
}

// normal adds a constant of normally distributed numbers of that deviation.
func (b *builder) normal(name string, deviation float64, dims ...int64) *onnx.Value {
	x := make([]float32, onnx.NumElements(dims))
	for i := range x {
		x[i] = float32(deviation * b.random.NormFloat64())
	}
	return b.g.AddConst(name, onnx.Of(x, append([]int64{}, dims...)...))
}

func (b *builder) scalar(name string, x float32) *onnx.Value {
	return b.g.AddConst(name, onnx.Scalar(x))
}

// op appends a node named OP_OUT with one output.
func (b *builder) op(op, out string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	v := b.g.Append(onnx.NodeSpec{Op: op, Name: op + "_" + out, Inputs: in, Outputs: []string{out}, Attrs: attrs}).Output(0)
	v.Type = onnx.TensorOf(onnx.Float32)
	return v
}

// conv appends a padded 3×3 convolution of 8 channels, whose weights have unit gain.
func (b *builder) conv(out string, x *onnx.Value) *onnx.Value {
	return b.op("Conv", out, in(x, b.normal("w_"+out, 0.12, 8, 8, 3, 3), b.normal("b_"+out, 0.1, 8)), onnx.AttrIs("pads", 1, 1, 1, 1))
}

func in(v ...*onnx.Value) []*onnx.Value { return v }

// unguarded is a Guard that every model stands up to.
var unguarded = Guard{Samples: 2, Stands: -1000, MaxFloat: 1, Budget: 1e12}

// planned makes a plan with synthetic samples as calibration data.
func planned(t testing.TB, m *onnx.Model, set func(o *Options)) (*Prepared, *Plan) {
	t.Helper()
	prep, err := Prepare(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	free := *target.Targets[0]
	free.Convs, free.LSTMs = nil, nil // these models are too small for integers to pay
	o := Options{
		Target: &free, Activations: ModeAuto, Range: quantize.RangeRule{Method: "minmax"},
		Calibration: samplesOf(t, prep, 4), Threads: 1, Guard: unguarded,
	}
	if set != nil {
		set(&o)
	}
	p, err := Make(context.Background(), prep, o)
	if err != nil {
		t.Fatal(err)
	}
	return prep, p
}

func samplesOf(t testing.TB, prep *Prepared, n int) *data.Set {
	t.Helper()
	set, err := data.Probes(prep.Model.Graph, data.Options{Limit: n, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// decisions returns a plan in one line: each node that is not float, its scheme and the tensors that it takes or gives as codes.
func decisions(p *Plan) string {
	var s []string
	for _, n := range p.Nodes {
		if n.Scheme == Float {
			continue
		}
		d := n.Key + " " + string(n.Scheme)
		if len(n.Activations) > 0 {
			d += fmt.Sprint(slices.Sorted(maps.Keys(n.Activations)))
		}
		s = append(s, d)
	}
	return strings.Join(s, ", ")
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

var inf = math.Inf(1)

// axes lists the weights of a site as INPUT:AXIS.
func axes(s *Site) string {
	var a []string
	for i, in := range s.Inputs {
		a = append(a, fmt.Sprintf("%d:%d", in, s.Axes[i]))
	}
	return strings.Join(a, " ")
}
