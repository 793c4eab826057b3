package onnxgo

import (
	"os"
	"slices"
	"testing"

	onnxgo "github.com/owulveryck/onnx-go"
	"gorgonia.org/tensor"
)

// TestOutputsOnly: nothing but the outputs survives fusion, though the decoder declares inner values, and makes the node of the
// first operator before it says that operators begin.
func TestOutputsOnly(t *testing.T) {
	file, err := os.ReadFile("../testmodels/legacy-opset8/model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	b := New()
	if err := onnxgo.NewModel(b).UnmarshalBinary(file); err != nil {
		t.Fatal(err)
	}
	if err := b.SetInput("data", tensor.New(tensor.WithShape(1, 1, 8, 8), tensor.Of(tensor.Float32))); err != nil {
		t.Fatal(err)
	}
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	if have, want := b.prog.Outputs(), []string{"probabilities"}; !slices.Equal(have, want) {
		t.Errorf("the program computes %v, want %v", have, want)
	}
}

// TestNoCopies: the engine reads the caller's memory, and the caller the engine's.
func TestNoCopies(t *testing.T) {
	v := []float32{1, 2, 3, 4, 5, 6}
	matrix := tensor.New(tensor.WithShape(2, 3), tensor.WithBacking(v))
	in, err := toTensor(matrix, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, err := fromTensor(in)
	if err != nil {
		t.Fatal(err)
	}
	if back := out.Data().([]float32); &back[0] != &v[0] {
		t.Error("the elements were copied")
	}
	transposed := matrix.Clone().(*tensor.Dense)
	if err := transposed.T(); err != nil {
		t.Fatal(err)
	}
	column, err := matrix.Slice(nil, tensor.Slice(oneColumn{}))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		t    tensor.Tensor
		dims []int64
		want []float32
	}{
		"transposed": {transposed, []int64{3, 2}, []float32{1, 4, 2, 5, 3, 6}},
		"a column":   {column, []int64{2}, []float32{2, 5}},
		"by columns": {tensor.New(tensor.WithShape(2, 3), tensor.AsFortran(slices.Clone(v))), []int64{2, 3}, v},
		"one number": {tensor.New(tensor.FromScalar(float32(7))), []int64{}, []float32{7}},
	} {
		in, err := toTensor(c.t, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e, _ := in.Float32s(); !slices.Equal(e, c.want) || !slices.Equal(in.Dims, c.dims) {
			t.Errorf("%s: %v of shape %v, want %v of shape %v", name, e, in.Dims, c.want, c.dims)
		}
	}
}

type oneColumn struct{}

func (oneColumn) Start() int { return 1 }
func (oneColumn) End() int   { return 2 }
func (oneColumn) Step() int  { return 1 }
