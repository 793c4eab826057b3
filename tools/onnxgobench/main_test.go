package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// tolerance of a number against the engine's, relative where that is larger than 1. In a carrier it is the same model; as a plain graph
// it lacks the types of inner values, so that other operators may fuse.
var tolerance = map[string]float64{"carrier": 0, "onnxgo": 1e-6, "gorgonnx": 1e-4}

// TestAllWaysAgree: what is measured computes the same.
func TestAllWaysAgree(t *testing.T) {
	shared := os.Getenv("ZQONNX_SHARED")
	if shared == "" {
		shared = "../../../shared"
	}
	for _, c := range []struct {
		path     string
		gorgonnx bool // whether onnx-go's own backend runs it
	}{
		{"../../testmodels/legacy-opset8/model.onnx", false},
		{"../../testmodels/mlp-digits/model.onnx", false},
		{filepath.Join(shared, "models/mnist-cnn/model.onnx"), true},
		{filepath.Join(shared, "models/squeezenet-imagenet/model.onnx"), false},
	} {
		t.Run(c.path, func(t *testing.T) {
			file, err := os.ReadFile(c.path)
			if err != nil {
				t.Skipf("the folder of shared data (ZQONNX_SHARED) is not there: %v", err)
			}
			list, err := ways(file, 1)
			if err != nil {
				t.Fatal(err)
			}
			want, err := list[0].out()
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range list[1:] {
				if w.name == "gorgonnx" && !c.gorgonnx {
					continue
				}
				if w.err != nil {
					t.Errorf("%s: %v", w.name, w.err)
					continue
				}
				have, err := w.out()
				if err != nil {
					t.Fatal(err)
				}
				if len(have) != len(want) {
					t.Fatalf("%s: %d elements, want %d", w.name, len(have), len(want))
				}
				for i, x := range want {
					if d := math.Abs(float64(have[i] - x)); !(d <= tolerance[w.name]*max(1, math.Abs(float64(x)))) {
						t.Errorf("%s: element %d is %v, the engine gives %v", w.name, i, have[i], x)
						break
					}
				}
			}
		})
	}
}
