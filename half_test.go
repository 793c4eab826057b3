package zqonnx

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/shareddata"
	"github.com/zqonnx/zqonnx/internal/testmodel"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/verify"
)

// halved returns m as an exporter to half precision writes it: float32 is replaced in all tensors, types and attributes.
func halved(t *testing.T, m *onnx.Model, half onnx.DataType) *onnx.Model {
	t.Helper()
	m = m.Clone()
	narrow := func(w *onnx.Tensor) *onnx.Tensor {
		if w.Type != onnx.Float32 {
			return w
		}
		h := onnx.Zeros(half, w.Dims...)
		if at := onnx.SetFloats(h, onnx.Data[float32](w)); at >= 0 {
			t.Fatalf("element %d is too large for %s", at, half)
		}
		return h
	}
	retype := func(v *onnx.Value) {
		if rewrite.Elem(v) == onnx.Float32 {
			v.Type = v.Type.Clone()
			v.Type.Elem = half
		}
	}
	for g := range rewrite.Graphs(m) {
		g.DropInnerTypes()
		for _, v := range g.Consts() {
			v.SetConst(narrow(v.Const()))
		}
		for _, v := range g.Inputs() {
			retype(v)
		}
		for _, v := range g.Outputs() {
			retype(v)
		}
		for n := range g.Nodes() {
			for _, a := range n.Attrs {
				switch {
				case a.Kind == onnx.AttrTensor:
					n.SetAttr(onnx.AttrT(a.Name, narrow(a.Tensor)))
				case a.Name == "to" && a.Int == int64(onnx.Float32):
					n.SetAttr(onnx.AttrI("to", int64(half)))
				}
			}
		}
	}
	return m
}

// A model in half precision is quantized as its float32 form is: as many layers, as accurate, each measurable against the model's
// own halves. Callers see the types that they saw before, and no constant comes to take 32 bits.
func TestHalfPrecision(t *testing.T) {
	for _, name := range testmodel.Names {
		t.Run(name, func(t *testing.T) {
			scratch := t.TempDir()
			m, err := testmodel.Open(".", name, scratch)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := m.Samples("calib", 8); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				half  onnx.DataType
				calib string
				exact float64 // dB of the model with float32 in between
			}{
				{onnx.Float16, filepath.Join(scratch, "calib"), 50},
				{onnx.BFloat16, "", 30},
			} {
				o := Options{Calib: c.calib, Feeding: data.Options{State: m.State}}
				half := halved(t, m.ONNX, c.half)
				single, err := Quantize(context.Background(), m.ONNX, o)
				if err != nil {
					t.Fatal(err)
				}
				r, err := Quantize(context.Background(), half, o)
				if err != nil {
					t.Fatal(err)
				}
				prep, err := plan.Prepare(half, 0)
				if err != nil {
					t.Fatal(err)
				}
				if db := outputs(t, half, prep.Model, nil, r.Check).Outputs.Pooled.SQNR; float64(db) < c.exact {
					t.Errorf("%s: computing in float32 alone leaves %.1f dB", c.half, db)
				}
				report := outputs(t, half, r.Model, r.Layers, r.Check)
				want := outputs(t, m.ONNX, single.Model, nil, single.Check).Outputs.Pooled.SQNR
				t.Logf("%s: %.1f dB, float32 %.1f dB; %d bytes of %d", c.half, report.Outputs.Pooled.SQNR, want, size(t, r.Model), size(t, half))
				if got := report.Outputs.Pooled.SQNR; float64(got) < min(float64(want), c.exact)-3 {
					t.Errorf("%s: %.1f dB, its float32 form has %.1f", c.half, got, want)
				}
				if len(r.Layers) != len(single.Layers) {
					t.Errorf("%s: %d layers are quantized, in its float32 form %d", c.half, len(r.Layers), len(single.Layers))
				}
				for _, l := range report.Layers {
					if l.Accumulated == nil || l.Own == nil && l.NotOwn != "its inputs have no counterpart in the quantized model" {
						t.Errorf("layer %s is not measured: %s; alone: %s", l.Key, l.NotAccumulated, l.NotOwn)
					}
				}
				if d := cmp.Diff(ends(half), ends(r.Model)); d != "" {
					t.Error(d)
				}
				if size(t, r.Model) > size(t, half) {
					t.Errorf("%s: the file grows from %d to %d bytes", c.half, size(t, half), size(t, r.Model))
				}
			}
		})
	}
}

// The float16 model of the real ones.
func TestRealHalfPrecision(t *testing.T) {
	path, err := shareddata.Path("models/squeezenet-imagenet/model_fp16_original.onnx")
	if err != nil {
		t.Skip(err)
	}
	m, err := onnx.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r, err := Quantize(context.Background(), m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(ends(m), ends(r.Model)); d != "" {
		t.Error(d)
	}
	if db := outputs(t, m, r.Model, nil, r.Check).Outputs.Pooled.SQNR; db < 28 {
		t.Errorf("%.1f dB", db)
	}
	if got, was := size(t, r.Model), size(t, m); 10*got > 6*was {
		t.Errorf("%d bytes of %d", got, was)
	}
}

func outputs(t *testing.T, float, quant *onnx.Model, layers []verify.Layer, set *data.Set) *verify.Report {
	t.Helper()
	r, err := verify.Run(context.Background(), float, quant, layers, set, verify.Options{Semantics: engine.Fused})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ends are the inputs and outputs of a model with their types.
func ends(m *onnx.Model) (s []string) {
	for _, v := range slices.Concat(m.Graph.Feeds(), m.Graph.Outputs()) {
		s = append(s, v.Name()+" "+v.Type.String())
	}
	return s
}

func size(t *testing.T, m *onnx.Model) int {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return len(b)
}
