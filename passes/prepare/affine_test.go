package prepare

import (
	"fmt"
	"math"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"pgregory.net/rapid"
)

// array is a plain tensor of the oracle.
type array struct {
	dims []int
	x    []float64
}

func arrayOf(t *onnx.Tensor) array {
	a := array{}
	for _, d := range t.Dims {
		a.dims = append(a.dims, int(d))
	}
	var err error
	if a.x, err = float64s(t); err != nil {
		panic(err)
	}
	return a
}

func newArray(dims ...int) array {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return array{dims, make([]float64, n)}
}

// eval computes the last output of a graph of linear operators and what may follow them, by plain loops in float64.
// Pictures are [N, C, W]: one spatial axis is enough to tell all layouts apart.
func eval(g *onnx.Graph, x array) array {
	at := map[*onnx.Value]array{g.Inputs()[0]: x}
	get := func(v *onnx.Value) array {
		if t := rewrite.Const(v); t != nil {
			return arrayOf(t)
		}
		return at[v]
	}
	var last array
	for n := range g.Nodes() {
		in := make([]array, len(n.Inputs()))
		for i, v := range n.Inputs() {
			if v != nil {
				in[i] = get(v)
			}
		}
		switch n.Op {
		case "Conv", "ConvTranspose":
			last = evalConv(in, int(n.Int("group", 1)), n.Op == "ConvTranspose")
		case "Gemm":
			last = evalGemm(in, n.Int("transB", 0) != 0, float64(n.Float("alpha", 1)), float64(n.Float("beta", 1)))
		case "BatchNormalization":
			last = evalEach(in[0], func(v float64, c int) float64 {
				return (v-in[3].x[c])/math.Sqrt(in[4].x[c]+float64(n.Float("epsilon", 1e-5)))*in[1].x[c] + in[2].x[c]
			})
		default:
			last = evalPair(n.Op, in[0], in[1])
		}
		at[n.Output(0)] = last
	}
	return last
}

func evalConv(in []array, group int, transposed bool) array {
	x, w := in[0], in[1]
	k := w.dims[2]
	channels, width := w.dims[0], x.dims[2]-k+1
	if transposed {
		channels, width = w.dims[1]*group, x.dims[2]+k-1
	}
	y := newArray(x.dims[0], channels, width)
	inputs, outputs := x.dims[1]/group, channels/group
	for n := range x.dims[0] {
		for o := range channels {
			for i := o / outputs * inputs; i < (o/outputs+1)*inputs; i++ {
				for p := range width {
					for j := range k {
						src, weight := p+j, (o*inputs+i%inputs)*k+j
						if transposed {
							src, weight = p-j, (i*outputs+o%outputs)*k+j
						}
						if src >= 0 && src < x.dims[2] {
							y.x[(n*channels+o)*width+p] += x.x[(n*x.dims[1]+i)*x.dims[2]+src] * w.x[weight]
						}
					}
				}
			}
		}
	}
	if len(in) > 2 {
		return evalEach(y, func(v float64, c int) float64 { return v + in[2].x[c] })
	}
	return y
}

func evalGemm(in []array, transB bool, alpha, beta float64) array {
	x, w := in[0], in[1]
	columns := w.dims[1]
	if transB {
		columns = w.dims[0]
	}
	y := newArray(x.dims[0], columns)
	for r := range x.dims[0] {
		for c := range columns {
			for k := range x.dims[1] {
				at := k*columns + c
				if transB {
					at = c*x.dims[1] + k
				}
				y.x[r*columns+c] += alpha * x.x[r*x.dims[1]+k] * w.x[at]
			}
			if len(in) > 2 {
				y.x[r*columns+c] += beta * in[2].x[c%len(in[2].x)]
			}
		}
	}
	return y
}

// evalEach applies f to every element and its channel.
func evalEach(x array, f func(v float64, c int) float64) array {
	y := newArray(x.dims...)
	inner := 1
	for _, d := range x.dims[2:] {
		inner *= d
	}
	for i, v := range x.x {
		y.x[i] = f(v, i/inner%x.dims[1])
	}
	return y
}

// evalPair knows constants with one element a channel or one for all.
func evalPair(op string, a, b array) array {
	x, k, first := a, b, true
	if len(b.x) > len(a.x) || len(a.dims) < len(b.dims) {
		x, k, first = b, a, false
	}
	return evalEach(x, func(v float64, c int) float64 {
		u := k.x[c%len(k.x)]
		if !first {
			v, u = u, v
		}
		switch op {
		case "Add":
			return v + u
		case "Sub":
			return v - u
		case "Mul":
			return v * u
		}
		return v / u
	})
}

// Whatever stands behind a linear operator, folding leaves the result the same and only one node.
func TestFoldAffineKeepsTheResult(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := build(t, 13)
		number := func(label string, n int) []float32 {
			return rapid.SliceOfN(rapid.Float32Range(.25, 2), n, n).Draw(r, label)
		}
		constant := func(name string, dims ...int64) *onnx.Value {
			return b.g.AddConst(name, onnx.Of(number(name, int(onnx.NumElements(dims))), append([]int64{}, dims...)...))
		}
		group := rapid.Int64Range(1, 3).Draw(r, "group")
		inputs, outputs := group*rapid.Int64Range(1, 2).Draw(r, "inputs"), group*rapid.Int64Range(1, 3).Draw(r, "outputs")
		op := rapid.SampledFrom([]string{"Conv", "ConvTranspose", "Gemm"}).Draw(r, "op")
		var args []*onnx.Value
		attrs := []*onnx.Attribute{onnx.AttrI("group", group)}
		shape, channelShape := []int64{2, inputs, 5}, []int64{outputs, 1}
		switch op {
		case "Conv":
			args = in(b.input("x", shape...), constant("w", outputs, inputs/group, 3))
		case "ConvTranspose":
			args = in(b.input("x", shape...), constant("w", inputs, outputs/group, 3))
		case "Gemm":
			shape, channelShape = []int64{2, inputs}, []int64{outputs}
			trans := rapid.Int64Range(0, 1).Draw(r, "transB")
			attrs = []*onnx.Attribute{onnx.AttrI("transB", trans), onnx.AttrF("alpha", 2), onnx.AttrF("beta", .5)}
			w := []int64{inputs, outputs}
			if trans == 1 {
				w = []int64{outputs, inputs}
			}
			args = in(b.input("x", shape...), constant("w", w...))
		}
		if rapid.Bool().Draw(r, "bias") {
			args = append(args, constant("b", outputs))
		}
		v := b.op(op, "a", args, attrs...)
		for i := range rapid.IntRange(1, 3).Draw(r, "tail") {
			out := fmt.Sprintf("t%d", i)
			next := rapid.SampledFrom([]string{"BatchNormalization", "Mul", "Add", "Sub", "Div", "Add first", "Sub first", "scalar"}).Draw(r, out)
			switch next {
			case "BatchNormalization":
				v = b.op(next, out, in(v, constant("scale", outputs), constant("shift", outputs), constant("mean", outputs), constant("var", outputs)),
					onnx.AttrF("epsilon", .01))
			case "Add first", "Sub first":
				v = b.op(next[:3], out, in(constant("k", channelShape...), v))
			case "scalar":
				v = b.op("Mul", out, in(v, constant("k")))
			default:
				v = b.op(next, out, in(v, constant("k", append([]int64{1}, channelShape...)...)))
			}
		}
		b.g.AddOutput(v)
		x := array{x: nil}
		n := 1
		for _, d := range shape {
			x.dims = append(x.dims, int(d))
			n *= int(d)
		}
		for _, f := range number("x", n) {
			x.x = append(x.x, float64(f)-1)
		}
		name := v.Name()
		before := eval(b.g, x)
		got := b.run(FoldAffine)
		after := eval(b.g, x)
		if b.g.Len() != 1 || b.g.Outputs()[0].Name() != name {
			r.Fatalf("left: %s", got)
		}
		for i, want := range before.x {
			if d := math.Abs(after.x[i] - want); !(d <= 2e-5*(1+math.Abs(want))) {
				r.Fatalf("element %d is %v, was %v: %s", i, after.x[i], want, got)
			}
		}
	})
}

func TestFoldAffineLeavesAlone(t *testing.T) {
	batchNorm := func(b *builder, v *onnx.Value, name string, attrs ...*onnx.Attribute) *onnx.Value {
		return b.op("BatchNormalization", name, in(v, b.floats("s", 3), b.floats("t", 3), b.floats("m", 3), b.floats("v", 3)), attrs...)
	}
	for _, c := range []struct {
		name  string
		build func(b *builder, conv *onnx.Value)
	}{
		{"another consumer", func(b *builder, conv *onnx.Value) {
			b.g.AddOutput(batchNorm(b, conv, "y"))
			b.g.AddOutput(b.op("Relu", "z", in(conv)))
		}},
		{"the output itself", func(b *builder, conv *onnx.Value) {
			b.g.AddOutput(batchNorm(b, conv, "y"))
			b.g.AddOutput(conv)
		}},
		{"training", func(b *builder, conv *onnx.Value) {
			b.g.AddOutput(batchNorm(b, conv, "y", onnx.AttrI("training_mode", 1)))
		}},
		{"a constant along the width", func(b *builder, conv *onnx.Value) {
			b.g.AddOutput(b.op("Mul", "y", in(conv, b.floats("k", 6))))
		}},
		{"a constant of higher rank", func(b *builder, conv *onnx.Value) {
			b.g.AddOutput(b.op("Mul", "y", in(conv, b.floats("k", 1, 1, 3, 1, 1))))
		}},
		{"a square", func(b *builder, conv *onnx.Value) { b.g.AddOutput(b.op("Mul", "y", in(conv, conv))) }},
		{"a reciprocal", func(b *builder, conv *onnx.Value) { b.g.AddOutput(b.op("Div", "y", in(b.floats("k", 3, 1, 1), conv))) }},
		{"a division by zero", func(b *builder, conv *onnx.Value) {
			b.g.AddOutput(b.op("Div", "y", in(conv, b.g.AddConst("k", onnx.Scalar(float32(0))))))
		}},
		{"a variance below zero", func(b *builder, conv *onnx.Value) {
			v := b.g.AddConst("v", onnx.Of([]float32{-1, 1, 1}))
			b.g.AddOutput(b.op("BatchNormalization", "y", in(conv, b.floats("s", 3), b.floats("t", 3), b.floats("m", 3), v)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, 13)
			c.build(b, b.op("Conv", "a", in(b.input("x", 1, 2, 8, 8), b.floats("w", 3, 2, 3, 3))))
			before := line(b.g)
			expect(t, b.run(FoldAffine), before)
		})
	}
}

// Weights that another node shares stay as they are for it; the trace knows that the Conv's output is another tensor now.
func TestFoldAffineSharedWeights(t *testing.T) {
	b := build(t, 13)
	w := b.floats("w", 3, 2, 1, 1)
	y := b.op("Mul", "y", in(b.op("Conv", "a", in(b.input("x", 1, 2, 8, 8), w)), b.g.AddConst("k", onnx.Scalar(float32(2)))))
	b.g.AddOutput(y)
	b.g.AddOutput(b.op("Conv", "z", in(b.g.Value("x"), w)))
	c := &rewrite.Context{Trace: rewrite.NewTrace(b.m)}
	if err := (rewrite.Pipeline{FoldAffine}).Run(c, b.m); err != nil {
		t.Fatal(err)
	}
	expect(t, line(b.g), "y=Conv(x,w_1) z=Conv(x,w)")
	if x := onnx.Data[float32](w.Const()); x[0] != 1 {
		t.Errorf("the shared weight became %v", x[0])
	}
	if x := onnx.Data[float32](b.g.Value("w_1").Const()); x[0] != 2 || x[1] != 3 {
		t.Errorf("the folded weights are %v", x[:2])
	}
	if c.Trace.Value("a") != nil || c.Trace.Value("y") == nil || c.Trace.Value("y").Name() != "y" {
		t.Errorf("trace: a is %v, y is %v", c.Trace.Value("a"), c.Trace.Value("y"))
	}
}
