package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/internal/shareddata"
	"github.com/zqonnx/zqonnx/onnx"
)

// Sites of real models, by kind; behind a minus those that are refused.
func TestSurveyOfRealModels(t *testing.T) {
	for _, c := range []struct{ model, want string }{
		{"gtcrn", "product 12-6, conv 11-6, stored 25-7"},
		{"kws-dscnn", "product 1-0, conv 9-0"},
		{"kwt1", "product 78-0"},
		{"mnist-cnn", "product 1-0, conv 2-1"},
		{"mobilenet-v1-075-imagenet", "conv 28-1"},
		{"ppocr-det", "conv 56-4, stored 2-1"},
		{"resnet20-cifar10", "product 1-0, conv 19-0"},
		{"silero-vad", "conv 6-1, recurrent 1-0"},
		{"squeezenet-imagenet", "conv 26-0"},
		{"stories260k-llama", "product 36-0, table 1-0"},
		{"super-resolution", "conv 4-0"},
		{"ultraface-rfb320", "conv 52-1"},
	} {
		t.Run(c.model, func(t *testing.T) {
			path, err := shareddata.Path("models/" + c.model + "/model.onnx")
			if err != nil {
				t.Skip(err)
			}
			m, err := onnx.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			prep, err := Prepare(m, 0)
			if err != nil {
				t.Fatal(err)
			}
			found, refused := map[Kind]int{}, map[Kind]int{}
			for _, s := range Survey(prep.Model) {
				found[s.Kind]++
				if s.Refused.ID != "" {
					refused[s.Kind]++
				}
				if s.Key != s.Node.Key() {
					t.Errorf("site %q has the key %q", s.Key, s.Node.Key())
				}
			}
			var got []string
			for _, k := range []Kind{Product, Conv, Table, Recurrent, Stored} {
				if found[k] > 0 {
					got = append(got, fmt.Sprintf("%s %d-%d", kindNames[k], found[k], refused[k]))
				}
			}
			expect(t, strings.Join(got, ", "), c.want)
		})
	}
}
