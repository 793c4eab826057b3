package prepare

import (
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// A builder writes a test graph so that it reads like the graph.
type builder struct {
	t *testing.T
	m *onnx.Model
	g *onnx.Graph
}

func build(t *testing.T, opset int64) *builder {
	g := onnx.NewGraph("test")
	return &builder{t, &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: opset}}, Graph: g}, g}
}

// input adds a float32 input; -1 is a size not known, by the name of the input and the axis.
func (b *builder) input(name string, dims ...int64) *onnx.Value {
	shape := []onnx.Dim{}
	for i, d := range dims {
		if d < 0 {
			shape = append(shape, onnx.Symbol(name+string(rune('0'+i))))
			continue
		}
		shape = append(shape, onnx.Fixed(d))
	}
	return b.g.AddInput(name, onnx.TensorOf(onnx.Float32, shape...))
}

// floats adds a constant of that shape with the elements 1, 1.5, 2, ...
func (b *builder) floats(name string, dims ...int64) *onnx.Value {
	x := make([]float32, onnx.NumElements(dims))
	for i := range x {
		x[i] = 1 + float32(i)/2
	}
	return b.g.AddConst(name, onnx.Of(x, append([]int64{}, dims...)...))
}

func (b *builder) ints(name string, x ...int64) *onnx.Value { return b.g.AddConst(name, onnx.Of(x)) }

// op appends a node named OP_OUT with one output.
func (b *builder) op(op, out string, in []*onnx.Value, attrs ...*onnx.Attribute) *onnx.Value {
	return b.g.Append(onnx.NodeSpec{Op: op, Name: op + "_" + out, Inputs: in, Outputs: []string{out}, Attrs: attrs}).Output(0)
}

func in(v ...*onnx.Value) []*onnx.Value { return v }

// run infers shapes, runs the pass, removes what is dead, and returns the graph in one line, such as "y=Conv(x,w,b) z=Relu(y)".
func (b *builder) run(passes ...rewrite.Pass) string {
	b.t.Helper()
	c := &rewrite.Context{Trace: rewrite.NewTrace(b.m), Check: check}
	p := slices.Concat(rewrite.Pipeline{InferShapes}, passes, rewrite.Pipeline{RemoveDead})
	if err := p.Run(c, b.m); err != nil {
		b.t.Fatal(err)
	}
	return line(b.g)
}

func check(_ rewrite.Pass, m *onnx.Model) error { return onnx.Check(m) }

func line(g *onnx.Graph) string {
	names := func(vs []*onnx.Value) string {
		var s []string
		for _, v := range vs {
			if v == nil {
				s = append(s, "_")
				continue
			}
			s = append(s, v.Name())
		}
		return strings.Join(s, ",")
	}
	var s []string
	for n := range g.Nodes() {
		s = append(s, names(n.Outputs())+"="+n.Op+"("+names(n.Inputs())+")")
	}
	return strings.Join(s, " ")
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
