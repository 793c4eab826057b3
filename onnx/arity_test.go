package onnx

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckOperands(t *testing.T) {
	for _, c := range []struct {
		op, domain      string
		inputs, outputs int
		want            string // part of the error; "": there is none
	}{
		{"MatMul", "", 2, 1, ""},
		{"MatMul", "ai.onnx", 1, 1, "input 1"},
		{"MatMul", "", 3, 1, "3 inputs"},
		{"MatMul", "", 2, 0, "output 0"},
		{"MatMul", "com.example", 0, 0, ""},
		{"Relu", "", 0, 1, "input 0"},
		{"Constant", "", 0, 1, ""},
		{"Conv", "", 3, 1, ""},
		{"Conv", "", 4, 1, "4 inputs"},
		{"LSTM", "", 3, 0, ""},
		{"LSTM", "", 2, 1, "input 2"},
		{"BatchNormalization", "", 4, 1, "input 4"},
		{"Concat", "", 9, 1, ""},
		{"NotKnown", "", 1, 1, ""},
		{"NotKnown", "", 1, 9, ""},
		{"Slice", "", 3, 2, `output "y_1"`},
		{"MaxPool", "", 1, 2, ""},
		{"MaxPool", "", 1, 3, `output "y_2"`},
		{"Split", "", 1, 9, ""},
	} {
		g := NewGraph("g")
		x := g.AddInput("x", nil)
		s := NodeSpec{Op: c.op, Domain: c.domain}
		for range c.inputs {
			s.Inputs = append(s.Inputs, x)
		}
		for range c.outputs {
			s.Outputs = append(s.Outputs, "y")
		}
		if c.op == "Concat" {
			s.Attrs = append(s.Attrs, AttrI("axis", 0))
		}
		if c.op == "MaxPool" {
			s.Attrs = append(s.Attrs, AttrIs("kernel_shape", 2))
		}
		err := CheckOperands(g.Append(s), 13)
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrBadModel) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s %s with %d inputs and %d outputs: %v, want %q", c.domain, c.op, c.inputs, c.outputs, err, c.want)
		}
	}
}

func TestCheckAttributes(t *testing.T) {
	for _, c := range []struct {
		op    string
		opset int64
		attrs []*Attribute
		want  string // part of the error; "": there is none
	}{
		{"Concat", 13, nil, `"axis"`},
		{"Concat", 13, []*Attribute{AttrF("axis", 1)}, `"axis"`},
		{"Concat", 13, []*Attribute{AttrI("axis", 1)}, ""},
		{"Concat", 3, nil, ""},
		{"Slice", 9, []*Attribute{AttrIs("starts", 0)}, `"ends"`},
		{"Slice", 10, nil, ""},
		{"Cast", 13, nil, `"to"`},
		{"Relu", 13, nil, ""},
	} {
		g := NewGraph("g")
		n := g.Append(NodeSpec{Op: c.op, Inputs: []*Value{g.AddInput("x", nil)}, Outputs: []string{"y"}, Attrs: c.attrs})
		err := CheckOperands(n, c.opset)
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrBadModel) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s of opset %d with %d attributes: %v, want %q", c.op, c.opset, len(c.attrs), err, c.want)
		}
	}
}

// A list that somebody goes through stays as it is while uses are dropped.
func TestUsesStayWhileTheyAreRead(t *testing.T) {
	g := NewGraph("g")
	x := g.AddInput("x", nil)
	var nodes []*Node
	for range 100 {
		nodes = append(nodes, g.Append(NodeSpec{Op: "Add", Inputs: []*Value{x, x}, Outputs: []string{"y"}}))
	}
	seen := 0
	for _, u := range x.Uses() {
		if want := (Use{nodes[seen/2], seen % 2}); u != want {
			t.Fatalf("use %d is of another node", seen)
		}
		u.Node.SetInput(u.Index, nil)
		if seen == 100 { // half of them are gone: a new list
			for k, u := range x.Uses() {
				if u.Node != nodes[(101+k)/2] {
					t.Fatalf("use %d of the rest is of another node", k)
				}
			}
		}
		seen++
	}
	if seen != 200 || len(x.Uses()) != 0 {
		t.Errorf("%d uses seen, %d left", seen, len(x.Uses()))
	}
}
