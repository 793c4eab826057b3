package data

import (
	"slices"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// compare builds a graph whose scalar input "rate" goes through make, which returns what is compared.
func compare(make func(op func(op string, in ...any) *onnx.Value, rate *onnx.Value)) *onnx.Value {
	g := onnx.NewGraph("g")
	rate := g.AddInput("rate", onnx.ScalarOf(onnx.Int64))
	make(func(op string, in ...any) *onnx.Value {
		var inputs []*onnx.Value
		for _, x := range in {
			switch x := x.(type) {
			case *onnx.Value:
				inputs = append(inputs, x)
			case int:
				inputs = append(inputs, g.AddConst("c", onnx.Scalar(int64(x))))
			case float64:
				inputs = append(inputs, g.AddConst("c", onnx.Scalar(float32(x))))
			}
		}
		return g.Append(onnx.NodeSpec{Op: op, Inputs: inputs, Outputs: []string{op}}).Output(0)
	}, rate)
	return rate
}

func TestValuesCompared(t *testing.T) {
	type op = func(op string, in ...any) *onnx.Value
	for _, c := range []struct {
		name string
		make func(op op, x *onnx.Value)
		want []int64
	}{
		{"nothing", func(op op, x *onnx.Value) { op("Mul", x, 0) }, nil},
		{"one constant", func(op op, x *onnx.Value) { op("Equal", x, 16000) }, []int64{16000, 16001}},
		{"two constants", func(op op, x *onnx.Value) { op("Equal", x, 16000); op("Equal", 8000, x) }, []int64{16000, 8000}},
		{"twice the same", func(op op, x *onnx.Value) { op("Equal", x, 5); op("Equal", x, 5) }, []int64{5, 6}},
		{"converted", func(op op, x *onnx.Value) { op("Equal", op("Unsqueeze", op("Cast", x), 0), 16000.0) }, []int64{16000, 16001}},
		{"never whole", func(op op, x *onnx.Value) { op("Equal", op("Cast", x), 0.5) }, nil},
		{"above", func(op op, x *onnx.Value) { op("Greater", x, 3) }, []int64{4, 3}},
		{"below, exchanged", func(op op, x *onnx.Value) { op("Greater", 3, x) }, []int64{2, 3}},
		{"at least and at most", func(op op, x *onnx.Value) { op("GreaterOrEqual", x, 3); op("LessOrEqual", x, 9) }, []int64{3, 2, 10}},
		{"difference", func(op op, x *onnx.Value) { op("Equal", op("Sub", x, 8000), 0) }, []int64{8000, 8001}},
		{"difference, exchanged", func(op op, x *onnx.Value) { op("Equal", op("Sub", 10, x), 3) }, []int64{7, 8}},
		{"sum and product", func(op op, x *onnx.Value) { op("Equal", op("Add", op("Mul", x, 2), 1), 7) }, []int64{3, 4}},
		{"no such product", func(op op, x *onnx.Value) { op("Equal", op("Mul", x, 2), 7) }, nil},
		{"quotient", func(op op, x *onnx.Value) { op("Equal", op("Div", x, 1000), 16) }, []int64{16000, 16001}},
		{"with a computed number", func(op op, x *onnx.Value) { op("Equal", x, op("Abs", x)) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := valuesCompared(compare(c.make)); !slices.Equal(got, c.want) {
				t.Errorf("values %v, want %v", got, c.want)
			}
		})
	}
}

func TestProbesOfComparedInputs(t *testing.T) {
	rate := compare(func(op func(string, ...any) *onnx.Value, x *onnx.Value) { op("Equal", x, 16000); op("Less", x, 100) })
	for _, c := range []struct {
		options  Options
		samples  []int64 // what the first ones get
		variants int
	}{
		{Options{}, []int64{16000, 99, 16000, 99}, 2},
		{Options{Limit: 1}, []int64{16000}, 1},
		{Options{State: map[string]string{"out": "state"}}, slices.Concat(slices.Repeat([]int64{16000}, probeSteps), []int64{99}), 2},
		{Options{Values: map[string]string{"rate": "8000"}}, []int64{8000, 8000}, 1},
	} {
		g := rate.Graph()
		if c.options.State != nil && g.Value("state") == nil {
			state := g.AddInput("state", onnx.TensorOf(onnx.Float32, onnx.Fixed(2)))
			g.AddOutput(g.Append(onnx.NodeSpec{Op: "Relu", Inputs: []*onnx.Value{state}, Outputs: []string{"out"}}).Output(0))
		}
		s, err := Probes(g, c.options)
		if err != nil {
			t.Fatal(err)
		}
		if s.Variants() != c.variants {
			t.Errorf("%+v: %d variants, want %d", c.options, s.Variants(), c.variants)
		}
		for i, f := range feedsOf(t, s)[:len(c.samples)] {
			if x := onnx.Data[int64](f["rate"]); x[0] != c.samples[i] || f["rate"].Rank() != 0 {
				t.Errorf("%+v: sample %d has the rate %v of shape %v, want %d", c.options, i, x, f["rate"].Dims, c.samples[i])
			}
		}
		only := s.Without(func(v int) bool { return v == 0 })
		if want := s.Len() - (s.Len()+c.variants-1)/c.variants; only.Len() != want {
			t.Errorf("%+v: %d sequences without the first variant, want %d", c.options, only.Len(), want)
		}
	}
}
