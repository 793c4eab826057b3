package onnxgo_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/owulveryck/onnx-go"
	"gorgonia.org/tensor"

	"github.com/zqonnx/zqonnx"
	zqdoc "github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnxgo"
)

// A float model, and what zqonnx makes of it, both loaded and run through onnx-go.
func Example() {
	file, err := os.ReadFile("../testmodels/mlp-digits/model.onnx")
	if err != nil {
		log.Fatal(err)
	}

	// Quantize. On the command line: zqonnx --emit onnx-go --activations dynamic model.onnx carrier.onnx
	float, err := zqdoc.Parse(file)
	if err != nil {
		log.Fatal(err)
	}
	result, err := zqonnx.Quantize(context.Background(), float, zqonnx.Options{Activations: "dynamic"})
	if err != nil {
		log.Fatal(err)
	}
	quantized, err := result.Model.Marshal()
	if err != nil {
		log.Fatal(err)
	}

	// A sample, as ONNX's own tests store it: the picture of a digit.
	sample, err := os.ReadFile("../testmodels/mlp-digits/test_data_set_0/input_0.pb")
	if err != nil {
		log.Fatal(err)
	}
	picture, err := onnx.NewTensor(sample)
	if err != nil {
		log.Fatal(err)
	}

	a, b := digit(file, picture), digit(quantized, picture)
	fmt.Printf("float: %d, quantized: %d\n", a, b)
	fmt.Printf("the quantized model is less than a third of the float one: %t\n", 3*len(quantized) < len(file))
	// Output:
	// float: 0, quantized: 0
	// the quantized model is less than a third of the float one: true
}

// digit runs a model through onnx-go and returns the class of the largest output.
func digit(file []byte, picture tensor.Tensor) int {
	carrier, err := onnxgo.Wrap(file) // what zqonnx --emit onnx-go writes is one already
	if err != nil {
		log.Fatal(err)
	}
	backend := onnxgo.New()
	model := onnx.NewModel(backend) // the line that changes
	if err := model.UnmarshalBinary(carrier); err != nil {
		log.Fatal(err)
	}
	if err := model.SetInput(0, picture); err != nil {
		log.Fatal(err)
	}
	if err := backend.Run(); err != nil {
		log.Fatal(err)
	}
	outputs, err := model.GetOutputTensors()
	if err != nil {
		log.Fatal(err)
	}
	best := 0
	scores := outputs[0].Data().([]float32)
	for i, s := range scores {
		if s > scores[best] {
			best = i
		}
	}
	return best
}
