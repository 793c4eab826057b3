package prepare

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

func TestDropNoOps(t *testing.T) {
	relu := func(b *builder, v *onnx.Value) { b.g.AddOutput(b.op("Relu", "y", in(v))) }
	for _, c := range []struct {
		name  string
		opset int64
		build func(b *builder) *onnx.Value
		gone  bool
	}{
		{"identity", 13, func(b *builder) *onnx.Value { return b.op("Identity", "a", in(b.input("x", 2))) }, true},
		{"identity of another domain", 13, func(b *builder) *onnx.Value {
			v := b.op("Identity", "a", in(b.input("x", 2)))
			n, _ := v.Producer()
			n.Domain = "mine"
			b.m.SetOpset("mine", 1)
			return v
		}, false},
		{"dropout 7", 7, func(b *builder) *onnx.Value {
			return b.op("Dropout", "a", in(b.input("x", 2)), onnx.AttrF("ratio", .5))
		}, true},
		{"dropout 6 in training", 6, func(b *builder) *onnx.Value { return b.op("Dropout", "a", in(b.input("x", 2))) }, false},
		{"dropout 6 in test", 6, func(b *builder) *onnx.Value {
			return b.op("Dropout", "a", in(b.input("x", 2)), onnx.AttrI("is_test", 1))
		}, true},
		{"dropout in training", 13, func(b *builder) *onnx.Value {
			return b.op("Dropout", "a", in(b.input("x", 2), nil, b.g.AddConst("mode", onnx.Scalar(true))))
		}, false},
		{"dropout in no training", 13, func(b *builder) *onnx.Value {
			return b.op("Dropout", "a", in(b.input("x", 2), nil, b.g.AddConst("mode", onnx.Scalar(false))))
		}, true},
		{"dropout that the caller switches", 13, func(b *builder) *onnx.Value {
			return b.op("Dropout", "a", in(b.input("x", 2), nil, b.g.AddInput("mode", onnx.ScalarOf(onnx.Bool))))
		}, false},
		{"cast to same", 13, func(b *builder) *onnx.Value { return b.op("Cast", "a", in(b.input("x", 2)), onnx.AttrI("to", 1)) }, true},
		{"cast to other", 13, func(b *builder) *onnx.Value { return b.op("Cast", "a", in(b.input("x", 2)), onnx.AttrI("to", 11)) }, false},
		{"reshape to same", 13, func(b *builder) *onnx.Value {
			return b.op("Reshape", "a", in(b.input("x", -1, 3, 4), b.ints("s", 0, -1, 4)))
		}, true},
		{"reshape to same, first computed", 13, func(b *builder) *onnx.Value {
			return b.op("Reshape", "a", in(b.input("x", -1, 3, 4), b.ints("s", -1, 3, 4)))
		}, true},
		{"reshape of unknown sizes", 13, func(b *builder) *onnx.Value {
			return b.op("Reshape", "a", in(b.input("x", -1, -1, 4), b.ints("s", -1, 3, 4)))
		}, false},
		{"reshape to other", 13, func(b *builder) *onnx.Value {
			return b.op("Reshape", "a", in(b.input("x", 2, 3, 4), b.ints("s", 3, 2, 4)))
		}, false},
		{"flatten of a matrix", 13, func(b *builder) *onnx.Value { return b.op("Flatten", "a", in(b.input("x", -1, 3))) }, true},
		{"flatten of a picture", 13, func(b *builder) *onnx.Value { return b.op("Flatten", "a", in(b.input("x", 1, 3, 1))) }, false},
		{"transpose in order", 13, func(b *builder) *onnx.Value {
			return b.op("Transpose", "a", in(b.input("x", -1, 3)), onnx.AttrIs("perm", 0, 1))
		}, true},
		{"transpose", 13, func(b *builder) *onnx.Value { return b.op("Transpose", "a", in(b.input("x", -1, 3))) }, false},
		{"transpose and back", 13, func(b *builder) *onnx.Value {
			v := b.op("Transpose", "a", in(b.input("x", 1, 2, 3)), onnx.AttrIs("perm", 1, 2, 0))
			return b.op("Transpose", "b", in(v), onnx.AttrIs("perm", 2, 0, 1))
		}, true},
		{"transpose twice", 13, func(b *builder) *onnx.Value {
			v := b.op("Transpose", "a", in(b.input("x", 1, 2, 3)), onnx.AttrIs("perm", 1, 2, 0))
			return b.op("Transpose", "b", in(v), onnx.AttrIs("perm", 1, 2, 0))
		}, false},
		{"pad by nothing", 10, func(b *builder) *onnx.Value {
			return b.op("Pad", "a", in(b.input("x", 1, 2)), onnx.AttrIs("pads", 0, 0, 0, 0))
		}, true},
		{"pad", 11, func(b *builder) *onnx.Value { return b.op("Pad", "a", in(b.input("x", 1, 2), b.ints("p", 0, 0, 0, 1))) }, false},
		{"concat of one", 13, func(b *builder) *onnx.Value {
			return b.op("Concat", "a", in(b.input("x", 1, 2)), onnx.AttrI("axis", 1))
		}, true},
		{"sum of two", 13, func(b *builder) *onnx.Value {
			x := b.input("x", 1, 2)
			return b.op("Sum", "a", in(x, x))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, c.opset)
			relu(b, c.build(b))
			before := line(b.g)
			got := b.run(DropNoOps)
			if c.gone {
				expect(t, got, "y=Relu(x)")
			} else {
				expect(t, got, before)
			}
		})
	}
}

// The mask of a Dropout keeps the node, but not its other output's consumers.
func TestDropoutWithMask(t *testing.T) {
	b := build(t, 12)
	x := b.input("x", 2)
	n := b.g.Append(onnx.NodeSpec{Op: "Dropout", Inputs: in(x), Outputs: []string{"a", "mask"}})
	b.g.AddOutput(b.op("Relu", "y", in(n.Output(0))))
	b.g.AddOutput(n.Output(1))
	expect(t, b.run(DropNoOps), "a,mask=Dropout(x) y=Relu(x)")
}
