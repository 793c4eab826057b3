package engine

import (
	"context"
	"fmt"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// singleNode is a test's one-node model with its inputs; nil inputs are left out.
type singleNode struct {
	op, domain string
	opset      int64
	attrs      []*onnx.Attribute
	inputs     []*onnx.Tensor
	outputs    int
	constant   []int // inputs that are initializers
}

func (c singleNode) model() (*onnx.Model, map[string]*onnx.Tensor) {
	g := onnx.NewGraph("g")
	feeds := map[string]*onnx.Tensor{}
	spec := onnx.NodeSpec{Op: c.op, Domain: c.domain, Name: c.op, Attrs: c.attrs}
	isConst := map[int]bool{}
	for _, i := range c.constant {
		isConst[i] = true
	}
	for i, t := range c.inputs {
		name := fmt.Sprintf("in%d", i)
		switch {
		case t == nil:
			spec.Inputs = append(spec.Inputs, nil)
		case isConst[i]:
			spec.Inputs = append(spec.Inputs, g.AddConst(name, t))
		default:
			spec.Inputs = append(spec.Inputs, g.AddInput(name, &onnx.Type{Elem: t.Type}))
			feeds[name] = t
		}
	}
	for i := range max(c.outputs, 1) {
		spec.Outputs = append(spec.Outputs, fmt.Sprintf("out%d", i))
	}
	n := g.Append(spec)
	for _, v := range n.Outputs() {
		g.AddOutput(v)
	}
	m := &onnx.Model{IRVersion: 10, Opsets: []onnx.Opset{{Version: c.opset}, {Domain: msDomain, Version: 1}}, Graph: g}
	return m, feeds
}

// try runs the node twice, the second time on used buffers.
func (c singleNode) try(threads int) ([]*onnx.Tensor, error) {
	m, feeds := c.model()
	p, err := Compile(m, Options{Threads: threads})
	if err != nil {
		return nil, err
	}
	if _, err := p.Run(context.Background(), feeds, nil); err != nil {
		return nil, err
	}
	out, err := p.Run(context.Background(), feeds, nil)
	if err != nil {
		return nil, err
	}
	var list []*onnx.Tensor
	for _, name := range p.Outputs() {
		list = append(list, out[name])
	}
	return list, nil
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func (c singleNode) run(t fataler) []*onnx.Tensor {
	t.Helper()
	out, err := c.try(2)
	if err != nil {
		t.Fatalf("%s: %v", c.op, err)
	}
	return out
}

// numbersOf returns a tensor's elements as float64.
func numbersOf(t *onnx.Tensor) []float64 { return onnx.Data[float64](castTo(t, onnx.Float64)) }

// checkClose fails unless got is want to a relative (or, below 1, absolute) error.
func checkClose(t testing.TB, what string, got *onnx.Tensor, want []float64, tolerance float64) {
	t.Helper()
	g := numbersOf(got)
	if len(g) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(g), len(want))
	}
	for i, w := range want {
		if d := g[i] - w; !(max(d, -d) <= tolerance*max(1, w, -w)) {
			t.Fatalf("%s: element %d is %g, want %g", what, i, g[i], w)
		}
	}
}
