package engine

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/onnx"
)

// broadcastAt returns the element of t at the coordinates of a broadcast result, by the standard's definition.
func broadcastAt(dims []int64, coordinate []int64) int {
	at := int64(0)
	for i, d := range dims {
		c := coordinate[len(coordinate)-len(dims)+i]
		if d == 1 {
			c = 0
		}
		at = at*d + c
	}
	return int(at)
}

// drawOperand draws a tensor that broadcasts to dims.
func drawOperand(t *rapid.T, dims []int64, label string) *onnx.Tensor {
	own := slices.Clone(dims[rapid.IntRange(0, len(dims)).Draw(t, label+" rank"):])
	for i := range own {
		if rapid.IntRange(0, 2).Draw(t, label+" one") == 0 {
			own[i] = 1
		}
	}
	x := onnx.Zeros(onnx.Float32, own...)
	for i := range onnx.Data[float32](x) {
		onnx.Data[float32](x)[i] = float32(rapid.IntRange(-20, 20).Draw(t, label))
	}
	return x
}

func TestBroadcasting(t *testing.T) {
	binaries := map[string]func(a, b float32) float32{
		"Add": func(a, b float32) float32 { return a + b }, "Sub": func(a, b float32) float32 { return a - b },
		"Mul": func(a, b float32) float32 { return a * b }, "Div": func(a, b float32) float32 { return a / b },
		"Max": func(a, b float32) float32 { return max(a, b) }, "Pow": mathf.Pow,
	}
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.SampledFrom([]int64{1, 2, 3, 5, 0}), 0, 4).Draw(t, "dims")
		a, b := drawOperand(t, dims, "a"), drawOperand(t, dims, "b")
		op := rapid.SampledFrom([]string{"Add", "Sub", "Mul", "Div", "Max", "Pow"}).Draw(t, "op")
		y := singleNode{op: op, opset: 18, inputs: []*onnx.Tensor{a, b}}.run(t)[0]
		rank := max(a.Rank(), b.Rank())
		if y.Rank() != rank {
			t.Fatalf("%v and %v give %v", a.Dims, b.Dims, y.Dims)
		}
		coordinate := make([]int64, rank)
		for i, got := range onnx.Data[float32](y) {
			rest := int64(i)
			for d := rank - 1; d >= 0; d-- {
				coordinate[d], rest = rest%y.Dims[d], rest/y.Dims[d]
			}
			p, q := onnx.Data[float32](a)[broadcastAt(a.Dims, coordinate)], onnx.Data[float32](b)[broadcastAt(b.Dims, coordinate)]
			if want := binaries[op](p, q); got != want && (got == got || want == want) {
				t.Fatalf("%v %s %v: element %d is %v, want %v", a.Dims, op, b.Dims, i, got, want)
			}
		}
	})
}

func TestWhereBroadcasts(t *testing.T) {
	y := singleNode{op: "Where", opset: 16, inputs: []*onnx.Tensor{
		onnx.Of([]bool{true, false}, 2, 1), onnx.Of([]float32{1, 2, 3}), onnx.Of([]float32{-1, -2}, 2, 1),
	}}.run(t)[0]
	if d := cmp.Diff([]float32{1, 2, 3, -2, -2, -2}, onnx.Data[float32](y)); d != "" {
		t.Error(d)
	}
}

// TestArithmetic has the cases where types and signs matter.
func TestArithmetic(t *testing.T) {
	f := onnx.AttrI
	for _, c := range []struct {
		op   string
		a, b *onnx.Tensor
		attr *onnx.Attribute
		want *onnx.Tensor
	}{
		{"Div", onnx.Of([]int32{7, -7, 7, 5, math.MinInt32}), onnx.Of([]int32{2, 2, -2, 0, -1}), nil, onnx.Of([]int32{3, -3, -3, 0, math.MinInt32})},
		{"Div", onnx.Of([]uint64{math.MaxUint64}), onnx.Of([]uint64{2}), nil, onnx.Of([]uint64{math.MaxInt64})},
		{"Mod", onnx.Of([]int32{-7, 7, -7, 6}), onnx.Of([]int32{3, -3, -3, 0}), nil, onnx.Of([]int32{2, -2, -1, 0})},
		{"Mod", onnx.Of([]int32{-7, 7}), onnx.Of([]int32{3, -3}), f("fmod", 1), onnx.Of([]int32{-1, 1})},
		{"Mod", onnx.Of([]float32{-7.5, 7.5}), onnx.Of([]float32{2, -2}), f("fmod", 1), onnx.Of([]float32{-1.5, 1.5})},
		{"Add", onnx.Of([]int8{127}), onnx.Of([]int8{1}), nil, onnx.Of([]int8{-128})},
		{"Max", onnx.Of([]uint64{math.MaxUint64}), onnx.Of([]uint64{1}), nil, onnx.Of([]uint64{math.MaxUint64})},
		{"BitShift", onnx.Of([]uint8{129, 1}), onnx.Of([]uint8{1, 9}), onnx.AttrS("direction", "LEFT"), onnx.Of([]uint8{2, 0})},
		{"Pow", onnx.Of([]int32{-3, 2}), onnx.Of([]float32{3, 10}), nil, onnx.Of([]int32{-27, 1024})},
		{"Pow", onnx.Of([]float32{1.1, -2}), onnx.Of([]int64{3}), nil, onnx.Of([]float32{1.3310001, -8})},
		{"Less", onnx.Of([]float32{1, float32(math.NaN())}), onnx.Of([]float32{2, 2}), nil, onnx.Of([]bool{true, false})},
		{"Equal", onnx.NewStrings([]int64{2}, [][]byte{[]byte("a"), []byte("b")}), onnx.NewStrings([]int64{}, [][]byte{[]byte("b")}), nil, onnx.Of([]bool{false, true})},
	} {
		n := singleNode{op: c.op, opset: 18, inputs: []*onnx.Tensor{c.a, c.b}}
		if c.attr != nil {
			n.attrs = []*onnx.Attribute{c.attr}
		}
		if y := n.run(t)[0]; y.Type != c.want.Type || cmp.Diff(c.want.Bytes(), y.Bytes()) != "" {
			t.Errorf("%s: %v, want %v", c.op, numbersOf(y), numbersOf(c.want))
		}
	}
}

func TestCast(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		in   *onnx.Tensor
		to   onnx.DataType
		want []float64
	}{
		{onnx.Of([]float64{-1.9, 300.7, 1e10, nan}), onnx.Int32, []float64{-1, 300, math.MinInt32, math.MinInt32}},
		{onnx.Of([]float64{-1, 300.7, 1e10}), onnx.Uint8, []float64{255, 44, 0}},
		{onnx.Of([]float64{1 << 63, 1e30, -1}), onnx.Uint64, []float64{1 << 63, 1 << 63, math.MaxUint64}},
		{onnx.Of([]float64{65519, 65520, 1e-8, -inf}), onnx.Float16, []float64{65504, inf, 0, -inf}},
		{onnx.Of([]float64{1.00390625, 3.39e38}), onnx.BFloat16, []float64{1, 0x1.fep127}},
		{onnx.Of([]int64{1<<24 + 1, 1<<62 + 1}), onnx.Float32, []float64{1 << 24, 1 << 62}},
		{onnx.Of([]float32{0, 0.5, float32(nan)}), onnx.Bool, []float64{0, 1, 1}},
		{onnx.Of([]int32{-9, 9, 7}), onnx.Int4, []float64{7, -7, 7}},
		{onnx.New(onnx.Uint4, []int64{3}, []byte{0x21, 0x0f}), onnx.Float32, []float64{1, 2, 15}},
		{onnx.NewStrings([]int64{2}, [][]byte{[]byte("1.5"), []byte("-3e2")}), onnx.Float32, []float64{1.5, -300}},
	} {
		y := singleNode{op: "Cast", opset: 21, inputs: []*onnx.Tensor{c.in}, attrs: []*onnx.Attribute{onnx.AttrI("to", int64(c.to))}}.run(t)[0]
		if got := numbersOf(y); y.Type != c.to || !slices.Equal(got, c.want) {
			t.Errorf("%s to %s: %v, want %v", c.in.Type, c.to, got, c.want)
		}
	}
	y := singleNode{op: "Cast", opset: 21, inputs: []*onnx.Tensor{onnx.Of([]float32{1, 0.1, 1e20})}, attrs: []*onnx.Attribute{onnx.AttrI("to", int64(onnx.String))}}.run(t)[0]
	if d := cmp.Diff([][]byte{[]byte("1.0"), []byte("0.1"), []byte("1e+20")}, y.Strings()); d != "" {
		t.Error(d)
	}
}

// TestActivations compares with the standard's formulas in float64.
func TestActivations(t *testing.T) {
	x := []float32{-30, -3, -1, -0.5, 0, 0.25, 0.5, 1, 2, 3.5, 30}
	sigmoid := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	for _, c := range []struct {
		op    string
		attrs []*onnx.Attribute
		want  func(v float64) float64
	}{
		{"Gelu", nil, func(v float64) float64 { return v / 2 * (1 + math.Erf(v/math.Sqrt2)) }},
		{"Gelu", []*onnx.Attribute{onnx.AttrS("approximate", "tanh")}, func(v float64) float64 {
			return v / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
		}},
		{"Swish", nil, func(v float64) float64 { return v * sigmoid(v) }},
		{"Mish", nil, func(v float64) float64 { return v * math.Tanh(math.Log1p(math.Exp(v))) }},
		{"Softplus", nil, func(v float64) float64 { return math.Log1p(math.Exp(v)) }},
		{"HardSwish", nil, func(v float64) float64 { return v * min(max(v/6+0.5, 0), 1) }},
		{"HardSigmoid", nil, func(v float64) float64 { return min(max(0.2*v+0.5, 0), 1) }},
		{"Elu", []*onnx.Attribute{onnx.AttrF("alpha", 2)}, func(v float64) float64 {
			if v < 0 {
				v = 2 * math.Expm1(v)
			}
			return v
		}},
		{"Celu", []*onnx.Attribute{onnx.AttrF("alpha", 2)}, func(v float64) float64 { return max(0, v) + min(0, 2*math.Expm1(v/2)) }},
		{"Selu", nil, func(v float64) float64 {
			if v <= 0 {
				v = 1.6732632 * math.Expm1(v)
			}
			return 1.050701 * v
		}},
		{"LeakyRelu", nil, func(v float64) float64 { return max(v, 0.01*v) }},
		{"ThresholdedRelu", nil, func(v float64) float64 {
			if v <= 1 {
				v = 0
			}
			return v
		}},
		{"Softsign", nil, func(v float64) float64 { return v / (1 + math.Abs(v)) }},
		{"Round", nil, math.RoundToEven},
	} {
		y := singleNode{op: c.op, opset: 24, attrs: c.attrs, inputs: []*onnx.Tensor{onnx.Of(x)}}.run(t)[0]
		var want []float64
		for _, v := range x {
			want = append(want, c.want(float64(v)))
		}
		checkClose(t, c.op, y, want, 1e-6)
	}
}

// TestLegacyBroadcasting: before opset 7, the second operand's dimensions begin at an axis of the first.
func TestLegacyBroadcasting(t *testing.T) {
	y := singleNode{
		op: "Add", opset: 6, attrs: []*onnx.Attribute{onnx.AttrI("broadcast", 1), onnx.AttrI("axis", 1)},
		inputs: []*onnx.Tensor{onnx.Of([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 2, 2, 2), onnx.Of([]float32{10, 20})},
	}.run(t)[0]
	if d := cmp.Diff([]float32{11, 12, 23, 24, 15, 16, 27, 28}, onnx.Data[float32](y)); d != "" {
		t.Error(d)
	}
}

func TestTypeErrors(t *testing.T) {
	for _, c := range []struct {
		node singleNode
		want error
	}{
		{singleNode{op: "Add", opset: 14, inputs: []*onnx.Tensor{onnx.Of([]float32{1}), onnx.Of([]int32{1})}}, onnx.ErrBadModel},
		{singleNode{op: "Add", opset: 14, inputs: []*onnx.Tensor{onnx.Of([]float32{1})}}, onnx.ErrBadModel},
		{singleNode{op: "Where", opset: 14, inputs: []*onnx.Tensor{onnx.Of([]bool{true}), nil, onnx.Of([]float32{1})}}, onnx.ErrBadModel},
		{singleNode{op: "Sqrt", opset: 14, inputs: []*onnx.Tensor{onnx.Of([]int32{1})}}, ErrUnsupported},
	} {
		if _, err := c.node.try(1); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want an error that is %v", c.node.op, err, c.want)
		}
	}
}
