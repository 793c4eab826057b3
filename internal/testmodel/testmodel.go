// Package testmodel opens the models of the folder testmodels, with their data, for tests.
package testmodel

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
)

// Names are the folders.
var Names = []string{"cnn-shapes", "encoder-chars", "gru-melodies", "legacy-opset8", "lstm-sines", "mlp-digits", "vit-digits"}

// A Model is a float model, what its samples are, and how good it is.
type Model struct {
	ONNX     *onnx.Model
	Output   string            `json:"output"`         // metric and labels are about it
	Accuracy float64           `json:"float_accuracy"` // on all test samples
	State    map[string]string `json:"state"`          // of stateful models: output → input of the next step
	Steps    map[string]int    `json:"steps"`          // and the inputs that change from step to step

	folder, scratch string
}

// Open reads testmodels/name; root is the folder of the repository, scratch one for samples.
func Open(root, name, scratch string) (*Model, error) {
	m := &Model{folder: filepath.Join(root, "testmodels", name), scratch: scratch}
	b, err := os.ReadFile(filepath.Join(m.folder, "model.json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, err
	}
	m.ONNX, err = onnx.Read(filepath.Join(m.folder, "model.onnx"))
	return m, err
}

// Samples returns the first n samples of calib.npz or test.npz, given by its name without the ending, and their labels. A
// sample of a stateful model is a sequence.
func (m *Model) Samples(file string, n int) (*data.Set, []int64, error) {
	a, err := npy.Open(filepath.Join(m.folder, file+".npz"))
	if err != nil {
		return nil, nil, err
	}
	defer a.Close()
	arrays := map[string]*onnx.Tensor{}
	var labels []int64
	for _, name := range a.Names() {
		t, err := a.Read(name)
		if err != nil {
			return nil, nil, err
		}
		if name == "labels" {
			labels = onnx.Data[int64](t)
			continue
		}
		arrays[name] = t
	}
	n = min(n, len(labels))
	steps := 1
	for _, s := range m.Steps {
		steps = s
	}
	folder := filepath.Join(m.scratch, file)
	for i := range n {
		for k := range steps {
			feeds := map[string]*onnx.Tensor{}
			for name, t := range arrays {
				feeds[name] = part(t, i)
				if m.Steps[name] > 0 {
					feeds[name] = part(feeds[name].Reshaped(feeds[name].Dims[1:]...), k)
				}
			}
			path := filepath.Join(folder, fmt.Sprintf("sample_%04d", i), fmt.Sprintf("step_%02d.npz", k))
			if steps == 1 {
				path = filepath.Join(folder, fmt.Sprintf("sample_%04d.npz", i))
			}
			if err := write(path, feeds); err != nil {
				return nil, nil, err
			}
		}
	}
	set, err := data.Open(folder, m.ONNX.Graph, data.Options{State: m.State})
	return set, labels[:n], err
}

// part is t[i:i+1].
func part(t *onnx.Tensor, i int) *onnx.Tensor {
	size := len(t.Bytes()) / int(t.Dims[0])
	var p onnx.Tensor
	p.Bind(t.Type, t.Bytes()[i*size:(i+1)*size], append([]int64{1}, t.Dims[1:]...)...)
	return &p
}

func write(path string, arrays map[string]*onnx.Tensor) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := npy.NewWriter(f)
	for name, t := range arrays {
		if err := w.Add(name, t); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}
