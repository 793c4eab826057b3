// Package linktest proves that zqonnx links beside onnx-go in one binary: both register the ONNX messages with a protobuf
// library, and a clash of names would panic at start. It is a module of its own, so that users download no onnx-go.
package linktest

import (
	"os"
	"testing"

	onnxgo "github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend/simple"

	"github.com/zqonnx/zqonnx/onnx"
)

func TestBothReadTheSameModel(t *testing.T) {
	b, err := os.ReadFile("../../testmodels/legacy-opset8/model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := onnx.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	graph := simple.NewSimpleGraph()
	theirs := onnxgo.NewModel(graph)
	if err := theirs.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if got, want := len(theirs.Output), len(ours.Graph.Outputs()); got != want {
		t.Errorf("onnx-go sees %d outputs, zqonnx %d", got, want)
	}
}
