package zqonnx

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/testmodel"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/verify"
)

// trained is a model as a training framework exports it after quantization-aware training: QuantizeLinear and DequantizeLinear in
// front of the input and of the float weights of Convs and products.
type trained struct {
	model   *onnx.Model
	tensors map[string]quantize.Params // by name
	signed  bool
	weights map[string][]float32 // their scales, by the key of the node
}

// train puts them around the weighted nodes of a float model, but for every skip-th; 0: around all.
func train(t *testing.T, m *testmodel.Model, set *data.Set, signed bool, skip int) *trained {
	t.Helper()
	prep, err := plan.Prepare(m.ONNX, 0)
	if err != nil {
		t.Fatal(err)
	}
	var sites []*plan.Site
	for _, s := range plan.Survey(prep.Model) {
		if s.Kind == plan.Conv || s.Kind == plan.Product {
			sites = append(sites, s)
		}
	}
	ranges := map[string]*[2]float32{}
	taps := map[string]func(*onnx.Tensor){}
	for _, s := range sites {
		name := s.Node.Input(0).Name()
		r := new([2]float32)
		ranges[name] = r
		taps[name] = func(x *onnx.Tensor) {
			for _, v := range onnx.Data[float32](x) {
				r[0], r[1] = min(r[0], v), max(r[1], v)
			}
		}
	}
	p, err := engine.Compile(prep.Model, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range min(set.Len(), 16) {
		err := set.Run(i, 0, func(_ *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			return p.Run(context.Background(), feeds, &engine.RunOptions{Tap: taps})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	q := &trained{prep.Model, map[string]quantize.Params{}, signed, map[string][]float32{}}
	for i, s := range sites {
		if skip > 0 && i%skip == skip-1 {
			continue
		}
		x := s.Node.Input(0)
		params, zero := quantize.Uint8.Params(ranges[x.Name()][0], ranges[x.Name()][1]), (*onnx.Tensor)(nil)
		if zero = onnx.Scalar(uint8(params.ZeroPoint)); signed {
			params = quantize.Params{Scale: max(-ranges[x.Name()][0], ranges[x.Name()][1]) / 127}
			zero = onnx.Scalar(int8(0))
		}
		q.tensors[x.Name()] = params
		q.fake(s, 0, onnx.Scalar(params.Scale), zero)
		w, err := quantize.QuantizeWeights(onnx.Data[float32](s.Weight(0).Const()), s.Weight(0).Const().Dims, s.Axes[0], quantize.Int8Weights)
		if err != nil {
			t.Fatal(err)
		}
		for c := range w.Scales {
			w.Scales[c] = float32(w.Scales[c] * (1 + 0.01*float32(c%7))) // trained, not those of the extremes
		}
		q.weights[s.Key] = w.Scales
		q.fake(s, 1, onnx.Of(w.Scales), onnx.Zeros(onnx.Int8, int64(len(w.Scales))), onnx.AttrI("axis", int64(s.Axes[0])))
	}
	return q
}

func (q *trained) fake(s *plan.Site, input int, scale, zero *onnx.Tensor, attrs ...*onnx.Attribute) {
	g, v := s.Node.Graph(), s.Node.Input(input)
	params := []*onnx.Value{g.AddConst(v.Name()+"_s", scale), g.AddConst(v.Name()+"_z", zero)}
	for _, op := range []string{"QuantizeLinear", "DequantizeLinear"} {
		v = g.InsertBefore(s.Node, onnx.NodeSpec{Op: op, Inputs: []*onnx.Value{v, params[0], params[1]}, Outputs: []string{v.Name() + "_" + op[:1]}, Attrs: attrs}).Output(0)
	}
	s.Node.SetInput(input, v)
}

// lost tells which trained scale the quantized model does not have, to the bit.
func (q *trained) lost(m *onnx.Model) error {
	type scale struct {
		bits uint32
		zero int32
	}
	scales, rows := map[scale]bool{}, map[string]bool{}
	for n := range m.Graph.Nodes() {
		if !n.Is("DequantizeLinear") || n.Input(1).Const() == nil {
			continue
		}
		s := onnx.Data[float32](n.Input(1).Const())
		if z := n.Input(2); len(s) == 1 && z != nil && z.Const().Type == onnx.Uint8 {
			scales[scale{math.Float32bits(s[0]), int32(onnx.Data[uint8](z.Const())[0])}] = true
		}
		if c := n.Input(0).Const(); c != nil && c.Type == onnx.Int8 {
			rows[fmt.Sprint(s)] = true
		}
	}
	for name, p := range q.tensors {
		if q.signed {
			p.ZeroPoint += 128
		}
		if !scales[scale{math.Float32bits(p.Scale), p.ZeroPoint}] {
			return fmt.Errorf("tensor %q: no scale %v with zero point %d", name, p.Scale, p.ZeroPoint)
		}
	}
	for key, s := range q.weights {
		if !rows[fmt.Sprint(s)] {
			return fmt.Errorf("node %q: no int8 weights with its scales", key)
		}
	}
	return nil
}

// A trained model keeps its scales, computes what it computed, runs in integers as far as its ranges are known, and is whole then.
func TestTrainedModels(t *testing.T) {
	for _, c := range []struct {
		model  string
		signed bool
		skip   int
		calib  bool
		static int     // weighted nodes in integers
		least  float64 // dB from the trained model, both run literally
	}{
		{"cnn-shapes", false, 0, false, 9, 42}, // sums of which no range is known are float
		{"cnn-shapes", true, 0, false, 9, 37},
		{"cnn-shapes", false, 0, true, 12, 41},
		{"cnn-shapes", true, 0, true, 12, 36},
		{"cnn-shapes", false, 3, false, 3, 43},
		{"cnn-shapes", true, 3, true, 12, 36},
		{"legacy-opset8", false, 0, false, 4, 72},
		{"legacy-opset8", true, 0, true, 5, 62},
		{"mlp-digits", false, 0, false, 3, 81},
		{"mlp-digits", true, 2, true, 3, 53},
		{"vit-digits", false, 0, false, 9, 103},
		{"vit-digits", true, 0, true, 10, 36},
		{"encoder-chars", true, 0, false, 13, 36},
	} {
		t.Run(fmt.Sprintf("%s signed=%v skip=%d calib=%v", c.model, c.signed, c.skip, c.calib), func(t *testing.T) {
			scratch := t.TempDir()
			m, err := testmodel.Open(".", c.model, scratch)
			if err != nil {
				t.Fatal(err)
			}
			set, _, err := m.Samples("calib", 32)
			if err != nil {
				t.Fatal(err)
			}
			q := train(t, m, set, c.signed, c.skip)
			o := Options{}
			if c.calib {
				o.Calib = filepath.Join(scratch, "calib")
			}
			r, err := Quantize(t.Context(), q.model, o)
			if err != nil {
				t.Fatal(err)
			}
			static := 0
			for _, n := range r.Plan.Nodes {
				if n.Scheme == plan.Static && n.Weights != nil {
					static++
				}
			}
			if err := q.lost(r.Model); err != nil {
				t.Error(err)
			}
			report, err := verify.Run(t.Context(), q.model, r.Model, r.Layers, set, verify.Options{Semantics: engine.Literal})
			if err != nil {
				t.Fatal(err)
			}
			if db := float64(report.Outputs.Pooled.SQNR); static != c.static || db < c.least {
				t.Errorf("%d weighted nodes in integers, want %d; %.1f dB from the trained model, want %.1f", static, c.static, db, c.least)
			}
			// What was made is whole.
			again, err := Quantize(t.Context(), r.Model, Options{})
			if !errors.Is(err, ErrNothing) {
				i := slices.IndexFunc(again.Plan.Nodes, func(n plan.Node) bool {
					return n.Scheme != plan.Float && n.Scheme != plan.Fused && n.Reason.ID != "already-quantized"
				})
				t.Errorf("error %v the second time; %+v", err, again.Plan.Nodes[i])
			}
		})
	}
}
