package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// net builds small models.
type net struct {
	g   *onnx.Graph
	rng *rand.Rand
}

func newNet(inputs ...string) *net {
	b := &net{onnx.NewGraph("g"), rand.New(rand.NewPCG(1, 2))}
	for _, in := range inputs {
		b.g.AddInput(in, onnx.TensorOf(onnx.Float32, onnx.Symbol("n"), onnx.Fixed(8)))
	}
	return b
}

// add appends a node whose one output has the name.
func (b *net) add(out, op string, in ...*onnx.Value) *onnx.Value {
	return b.g.Append(onnx.NodeSpec{Op: op, Inputs: in, Outputs: []string{out}}).Output(0)
}

func (b *net) in(name string) *onnx.Value { return b.g.Value(name) }

// weights adds a random constant.
func (b *net) weights(name string, dims ...int64) *onnx.Value {
	w := make([]float32, onnx.NumElements(dims))
	for i := range w {
		w[i] = float32(b.rng.NormFloat64()) / 2
	}
	return b.g.AddConst(name, onnx.Of(w, dims...))
}

// quantized adds QuantizeLinear and DequantizeLinear behind v.
func (b *net) quantized(v *onnx.Value, scale float32, zero uint8) *onnx.Value {
	s, z := b.g.AddConst(v.Name()+"_scale", onnx.Scalar(scale)), b.g.AddConst(v.Name()+"_zero", onnx.Scalar(zero))
	return b.add(v.Name()+"_dq", "DequantizeLinear", b.add(v.Name()+"_q", "QuantizeLinear", v, s, z), s, z)
}

func (b *net) model(outputs ...*onnx.Value) *onnx.Model {
	for _, v := range outputs {
		v.Type = onnx.TensorOf(onnx.Float32, onnx.Symbol("n"), onnx.Symbol(v.Name()+"_width"))
		b.g.AddOutput(v)
	}
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: b.g}
}

// chain is x → MatMul → Add → Relu → MatMul → Relu → MatMul → y.
func chain() *onnx.Model {
	b := newNet("x")
	h1 := b.add("h1", "MatMul", b.in("x"), b.weights("w1", 8, 16))
	r1 := b.add("r1", "Relu", b.add("a1", "Add", h1, b.weights("b1", 16)))
	r2 := b.add("r2", "Relu", b.add("h2", "MatMul", r1, b.weights("w2", 16, 12)))
	return b.model(b.add("y", "MatMul", r2, b.weights("w3", 12, 5)))
}

// damage changes a constant a little.
func damage(m *onnx.Model, name string) *onnx.Model {
	m = m.Clone()
	v := m.Graph.Value(name)
	w := v.Const().Clone()
	for i, x := range onnx.Data[float32](w) {
		onnx.Data[float32](w)[i] = float32(math.RoundToEven(float64(x)*16) / 16)
	}
	v.SetConst(w)
	return m
}

func probes(t *testing.T, m *onnx.Model, n int) *data.Set {
	t.Helper()
	set, err := data.Probes(m.Graph, data.Options{Limit: n, Dims: map[string]int64{"n": 3}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func verify(t *testing.T, float, quant *onnx.Model, layers []Layer, set *data.Set, o Options) *Report {
	t.Helper()
	r, err := Run(context.Background(), float, quant, layers, set, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func layerOf(t *testing.T, r *Report, tensor string) LayerError {
	t.Helper()
	for _, l := range r.Layers {
		if l.Tensor == tensor {
			return l
		}
	}
	t.Fatalf("the report has no layer for tensor %q", tensor)
	panic("unreachable")
}

// A layer of a half-precision model is fed to a model that computes it in float32, and one that both compute in halves as it is.
func TestLayersOfHalfPrecision(t *testing.T) {
	to := func(t onnx.DataType) *onnx.Attribute { return onnx.AttrI("to", int64(t)) }
	model := func(halves ...string) *onnx.Model {
		b := newNet("x")
		v := b.in("x")
		for _, op := range []string{"Abs", "Sqrt", "Exp"} {
			want := onnx.Float32
			if slices.Contains(halves, op) {
				want = onnx.Float16
			}
			cast := b.add(op+"_in", "Cast", v)
			n, _ := cast.Producer()
			n.SetAttr(to(want))
			v = b.add(op+"_out", op, cast)
		}
		y := b.add("y", "Cast", v)
		n, _ := y.Producer()
		n.SetAttr(to(onnx.Float32))
		return b.model(y)
	}
	float, quant := model("Abs", "Sqrt", "Exp"), model("Exp")
	var layers []Layer
	for _, op := range []string{"Abs", "Sqrt", "Exp"} {
		layers = append(layers, Layer{Key: op, Op: op, Float: op + "_out", Quant: op + "_out", Inputs: []Pair{{op + "_in", op + "_in"}}})
	}
	r := verify(t, float, quant, layers, probes(t, float, 4), Options{})
	for _, l := range r.Layers {
		if l.Own == nil || l.Accumulated == nil {
			t.Errorf("layer %s is not measured: %s; alone: %s", l.Key, l.NotAccumulated, l.NotOwn)
			continue
		}
		if db := l.Own.SQNR; l.Op == "Sqrt" && !(db > 60 && db < 90) || l.Op != "Sqrt" && db < metric.MaxSQNR {
			t.Errorf("layer %s alone: %.1f dB", l.Key, db)
		}
	}
}

func TestAModelAgainstItself(t *testing.T) {
	for _, s := range []engine.Semantics{engine.Literal, engine.Fused} {
		m := chain()
		layers := LayersByName(m, m)
		if len(layers) != 6 {
			t.Fatalf("%d layers, want 6: %+v", len(layers), layers)
		}
		r := verify(t, m, m.Clone(), layers, probes(t, m, 4), Options{Semantics: s})
		results := []*metric.Result{r.Outputs.Pooled, r.Outputs.Each[0].Result}
		for _, l := range r.Layers {
			if l.Accumulated == nil || l.Own == nil {
				t.Fatalf("layer %s was not measured: %+v", l.Key, l)
			}
			results = append(results, &l.Accumulated.Result, &l.Own.Result)
		}
		for _, f := range results {
			if f.SQNR != 200 || math.Abs(float64(f.Cosine)-1) > 1e-15 || f.MaxAbs != 0 || f.MeanAbs != 0 || f.Samples != 4 {
				t.Errorf("%s: %+v", s, f)
			}
		}
		if y := r.Outputs.Each[0]; y.Classes != 5 || *y.Top1 != 1 || *y.KL != 0 {
			t.Errorf("y: %d classes, top-1 %v, KL %v", y.Classes, *y.Top1, *y.KL)
		}
		if len(r.Culprits) != 0 {
			t.Errorf("culprits %+v", r.Culprits)
		}
		if r.Semantics != s.String() || r.Data != (Data{"synthetic", 4}) {
			t.Errorf("semantics %s, data %+v", r.Semantics, r.Data)
		}
	}
}

func TestTheDamagedLayerIsTheCulprit(t *testing.T) {
	float := chain()
	quant := damage(float, "w2")
	r := verify(t, float, quant, LayersByName(float, quant), probes(t, float, 3), Options{})
	if len(r.Culprits) != 1 || r.Culprits[0].Key != "MatMul:h2" || r.Culprits[0].Share != 1 || r.Culprits[0].Mend != "--exclude 'MatMul:h2'" {
		t.Errorf("culprits %+v", r.Culprits)
	}
	for _, c := range []struct {
		tensor           string
		own, accumulated bool // damage
	}{{"h1", false, false}, {"a1", false, false}, {"r1", false, false}, {"h2", true, true}, {"r2", false, true}, {"y", false, true}} {
		l := layerOf(t, r, c.tensor)
		if (l.Own.SQNR < 200) != c.own || (l.Accumulated.SQNR < 200) != c.accumulated {
			t.Errorf("%s: own %v dB, accumulated %v dB", c.tensor, l.Own.SQNR, l.Accumulated.SQNR)
		}
	}
	if h2 := layerOf(t, r, "h2"); h2.Own.Result != h2.Accumulated.Result {
		t.Errorf("nothing before h2 is damaged, but own %+v, accumulated %+v", h2.Own.Result, h2.Accumulated.Result)
	}
	if y := layerOf(t, r, "y"); y.Accumulated.SQNR != r.Outputs.Pooled.SQNR {
		t.Errorf("the last layer has %v dB, the output %v dB", y.Accumulated.SQNR, r.Outputs.Pooled.SQNR)
	}
}

func TestCulpritsAreRankedByTheirNoise(t *testing.T) {
	float := chain()
	quant := damage(damage(float, "w2"), "w1")
	w := quant.Graph.Value("w3")
	w.SetConst(onnx.Zeros(onnx.Float32, w.Const().Dims...))
	r := verify(t, float, quant, LayersByName(float, quant), probes(t, float, 3), Options{})
	share := metric.Number(0)
	for i, c := range r.Culprits {
		share += c.Share
		if i > 0 && c.SQNR < r.Culprits[i-1].SQNR {
			t.Errorf("culprit %d has %v dB, the one before %v", i, c.SQNR, r.Culprits[i-1].SQNR)
		}
	}
	if len(r.Culprits) != 3 || r.Culprits[0].Key != "MatMul:y" || r.Culprits[0].SQNR != 0 || math.Abs(float64(share)-1) > 1e-15 {
		t.Errorf("culprits %+v", r.Culprits)
	}
}

// The figures of a static layer against a plain loop: Relu, quantized to 8 bits with a range that cuts something off.
func TestStaticLayer(t *testing.T) {
	const scale, zero = 0.002, 10
	build := func(quantize bool) *onnx.Model {
		b := newNet("x")
		r := b.add("r", "Relu", b.in("x"))
		if quantize {
			r = b.quantized(r, scale, zero)
		}
		return b.model(b.add("y", "Neg", r))
	}
	float, quant := build(false), build(true)
	set := probes(t, float, 5)
	var want metric.Comparison
	values, beyond := 0, 0
	for i := range set.Len() {
		for s := range set.Sequence(i) {
			feeds, err := s.Feeds(nil)
			if err != nil {
				t.Fatal(err)
			}
			x := onnx.Data[float32](feeds["x"])
			ref, got := make([]float32, len(x)), make([]float32, len(x))
			for j, v := range x {
				ref[j] = max(v, 0)
				code := math.RoundToEven(float64(ref[j]/scale)) + zero
				values++
				if code > 255 {
					beyond++
				}
				got[j] = float32(min(code, 255)-zero) * scale
			}
			if err := want.Observe(ref, got); err != nil {
				t.Fatal(err)
			}
		}
	}
	if beyond == 0 {
		t.Fatal("the probes do not reach beyond the range")
	}
	for _, s := range []engine.Semantics{engine.Literal, engine.Fused} {
		r := verify(t, float, quant, LayersByName(float, quant), set, Options{Semantics: s})
		l := layerOf(t, r, "r")
		if l.Quantized != "r_dq" || l.Accumulated.Result != want.Result() || l.Own.Result != want.Result() {
			t.Errorf("%s: tensor %q, accumulated %+v, own %+v, want %+v", s, l.Quantized, l.Accumulated, l.Own, want.Result())
		}
		if got, want := float64(*l.Clipped), float64(beyond)/float64(values); got != want {
			t.Errorf("%s: clipped %v, want %v", s, got, want)
		}
		if y := layerOf(t, r, "y"); y.Own.SQNR != 200 || y.Accumulated.SQNR != want.Result().SQNR || y.Clipped != nil {
			t.Errorf("%s: y has own %v, accumulated %v, clipped %v", s, y.Own.SQNR, y.Accumulated.SQNR, y.Clipped)
		}
	}
}

// A static product, which fused is one integer operator: its tensor is seen by its codes, and alone it runs literally,
// because the fused program has no place to give it floats.
func TestStaticProduct(t *testing.T) {
	build := func(quantize bool) *onnx.Model {
		b := newNet("x")
		codes, scale := make([]int8, 64), float32(1)/64
		floats := make([]float32, 64)
		for i := range codes {
			codes[i] = int8(b.rng.IntN(255) - 127)
			floats[i] = float32(codes[i]) * scale
		}
		if !quantize {
			h := b.add("h", "MatMul", b.in("x"), b.g.AddConst("w", onnx.Of(floats, 8, 8)))
			return b.model(b.add("y", "Softplus", h))
		}
		w := b.add("w", "DequantizeLinear", b.g.AddConst("w_q", onnx.Of(codes, 8, 8)), b.g.AddConst("w_scale", onnx.Scalar(scale)), b.g.AddConst("w_zero", onnx.Scalar(int8(0))))
		h := b.quantized(b.add("h", "MatMul", b.quantized(b.in("x"), 1./100, 128), w), 1./16, 120)
		return b.model(b.add("y", "Softplus", h))
	}
	float, quant := build(false), build(true)
	layers, set := LayersByName(float, quant), probes(t, float, 6)
	fused := verify(t, float, quant, layers, set, Options{Semantics: engine.Fused})
	literal := verify(t, float, quant, layers, set, Options{})
	for _, c := range []struct {
		report           *Report
		accumulated, own string
	}{{fused, "fused", "literal"}, {literal, "literal", "literal"}} {
		h := layerOf(t, c.report, "h")
		if h.Accumulated == nil || h.Own == nil || h.Accumulated.Semantics != c.accumulated || h.Own.Semantics != c.own {
			t.Fatalf("%s: %+v", c.report.Semantics, h)
		}
		// Both differ from float by rounding to steps of 1/16 and 1/100: around 1/16/√12 each.
		if e := h.Accumulated.MeanAbs; e < 0.01 || e > 0.05 {
			t.Errorf("%s: mean error %v", c.report.Semantics, e)
		}
	}
	f, l := layerOf(t, fused, "h"), layerOf(t, literal, "h")
	if d := math.Abs(float64(f.Accumulated.SQNR - l.Accumulated.SQNR)); d > 0.5 {
		t.Errorf("fused %v dB, literal %v dB", f.Accumulated.SQNR, l.Accumulated.SQNR)
	}
	if *f.Clipped != *l.Clipped || f.Own.Result != l.Own.Result {
		t.Errorf("fused %+v, literal %+v", f, l)
	}
}

// Each model is fed its own state: s ← a·s + x, with a = 1 in one model and 0.5 in the other.
func TestStateGoesItsOwnWay(t *testing.T) {
	build := func(a float32) *onnx.Model {
		b := newNet("x", "s")
		next := b.add("next", "Add", b.add("kept", "Mul", b.in("s"), b.g.AddConst("a", onnx.Scalar(a))), b.in("x"))
		return b.model(next)
	}
	float, quant := build(1), build(0.5)
	set, err := data.Probes(float.Graph, data.Options{Limit: 16, Dims: map[string]int64{"n": 2}, State: map[string]string{"next": "s"}})
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 2 {
		t.Fatalf("%d sequences", set.Len())
	}
	var want, own metric.Comparison
	for i := range set.Len() {
		var p, q [16]float32
		for s := range set.Sequence(i) {
			feeds, err := s.Feeds(nil)
			if err != nil {
				t.Fatal(err)
			}
			half := make([]float32, 16)
			before := p
			for j, x := range onnx.Data[float32](feeds["x"]) {
				p[j], q[j], half[j] = p[j]+x, 0.5*q[j]+x, 0.5*p[j]
			}
			if err := errors.Join(want.Observe(p[:], q[:]), own.Observe(before[:], half)); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := verify(t, float, quant, LayersByName(float, quant), set, Options{})
	if got := layerOf(t, r, "next").Accumulated.Result; got != want.Result() {
		t.Errorf("accumulated %+v, want %+v", got, want.Result())
	}
	if got := layerOf(t, r, "kept").Own.Result; got != own.Result() {
		t.Errorf("own %+v, want %+v", got, own.Result())
	}
}

func TestAnyNumberOfThreadsGivesTheSameReport(t *testing.T) {
	float := chain()
	quant := damage(float, "w1")
	var first []byte
	for _, threads := range []int{1, 2, 5} {
		var b bytes.Buffer
		r := verify(t, float, quant, LayersByName(float, quant), probes(t, float, 3), Options{Threads: threads})
		if err := r.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b.Bytes()
		} else if !bytes.Equal(first, b.Bytes()) {
			t.Errorf("%d threads give another report", threads)
		}
	}
}

func TestWhatCannotBeMeasuredHasAReason(t *testing.T) {
	m := chain()
	x := []Pair{{"x", "x"}}
	for _, c := range []struct {
		layer              Layer
		accumulated, alone string
	}{
		{Layer{Float: "none", Quant: "y", Inputs: x}, `the float model has no tensor "none"`, `the float model has no tensor "none"`},
		{Layer{Float: "y", Quant: "none", Inputs: x}, `the quantized model has no tensor "none"`, `the quantized model has no tensor "none"`},
		{Layer{Float: "h1", Quant: "h1"}, "", "its inputs have no counterpart"},
		{Layer{Float: "h1", Quant: "h1", Inputs: []Pair{{"none", "x"}}}, "", `the float model has no tensor "none"`},
		{Layer{Float: "h1", Quant: "h1", Inputs: []Pair{{"x", "none"}}}, "", `cannot be run alone: wrong input: the graph has no tensor "none"`},
		{Layer{Float: "h2", Quant: "h2", Inputs: []Pair{{"r2", "r2"}}}, "", `cannot be run alone: wrong input: input "x" is missing`},
		{Layer{Float: "h1", Quant: "h2", Inputs: x}, "gives f32[3 16], the quantized model f32[3 12]", "gives f32[3 16], the quantized model f32[3 12]"},
	} {
		r := verify(t, m, m, []Layer{c.layer}, probes(t, m, 2), Options{})
		l := r.Layers[0]
		if !strings.Contains(l.NotAccumulated, c.accumulated) || (l.NotAccumulated == "") != (l.Accumulated != nil) || (l.NotAccumulated == "") != (c.accumulated == "") {
			t.Errorf("%+v: accumulated %v, %q; want %q", c.layer, l.Accumulated, l.NotAccumulated, c.accumulated)
		}
		if !strings.Contains(l.NotOwn, c.alone) || l.Own != nil {
			t.Errorf("%+v: own %v, %q; want %q", c.layer, l.Own, l.NotOwn, c.alone)
		}
	}
}

func TestErrors(t *testing.T) {
	m := chain()
	custom := m.Clone()
	n, _ := custom.Graph.Value("r1").Producer()
	n.Op, n.Domain = "Magic", "example"
	custom.SetOpset("example", 1)
	renamed := m.Clone()
	renamed.Graph.Value("y").Rename("z")
	more := m.Clone()
	more.Graph.AddInput("extra", onnx.TensorOf(onnx.Float32))
	gate := func(s string) Options {
		g, err := ParseGate(s)
		if err != nil {
			t.Fatal(err)
		}
		return Options{Gates: []Gate{g}}
	}
	for _, c := range []struct {
		name   string
		quant  *onnx.Model
		o      Options
		is     error
		text   string
		report bool
	}{
		{"unsupported", custom, Options{}, engine.ErrUnsupported, `quantized model: node "Magic:r1" (example.Magic)`, false},
		{"output", renamed, Options{}, onnx.ErrBadModel, `the quantized model has no output "y"; there are z`, false},
		{"input", more, Options{}, onnx.ErrBadModel, `the float model has no input "extra"; there are x`, false},
		{"glob", m, gate("sqnr < 1 @conv*"), ErrUsage, "matches no output and no layer", false},
		{"no layers", m, Options{Gates: gate("sqnr < 1 @layers").Gates, NoLayers: true}, ErrUsage, "matches no output and no layer", false},
		{"metric", m, gate("top1 < 1 @layers"), ErrUsage, "nothing that it matches has the figure top1", true},
	} {
		r, err := Run(context.Background(), m, c.quant, LayersByName(m, m), probes(t, m, 1), c.o)
		if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.text) || (r != nil) != c.report {
			t.Errorf("%s: report %v, error %v", c.name, r != nil, err)
		}
	}
	_, err := Run(context.Background(), m, m, nil, &data.Set{}, Options{})
	if !errors.Is(err, data.ErrBadData) {
		t.Errorf("no samples: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = Run(ctx, m, m, LayersByName(m, m), probes(t, m, 3), Options{Progress: func(done, of int) {
		if of != 3 || done != 1 {
			t.Errorf("progress %d of %d", done, of)
		}
		cancel()
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestOutputsThatHoldNoFloats(t *testing.T) {
	build := func(scale float32) *onnx.Model {
		b := newNet("x")
		y := b.add("y", "Mul", b.in("x"), b.g.AddConst("c", onnx.Scalar(scale)))
		m := b.model(y)
		positive := b.add("positive", "Greater", y, b.g.AddConst("zero", onnx.Scalar(float32(0))))
		positive.Type = onnx.TensorOf(onnx.Bool, onnx.Symbol("n"), onnx.Fixed(8))
		b.g.AddOutput(positive)
		return m
	}
	float := build(1)
	r := verify(t, float, build(2), nil, probes(t, float, 2), Options{})
	if y, p := r.Outputs.Each[0], r.Outputs.Each[1]; y.SQNR != 0 || r.Outputs.Pooled.SQNR != 0 || p.SQNR != 200 || p.Classes != 0 {
		t.Errorf("pooled %+v, y %+v, positive %+v", r.Outputs.Pooled, y, p)
	}
}

func TestClassAxis(t *testing.T) {
	for _, c := range []struct {
		dims []int64
		kind onnx.DataType
		want int
	}{
		{[]int64{1, 10}, onnx.Float32, 10},
		{[]int64{1, 1}, onnx.Float32, 0},
		{[]int64{2, 7, 30}, onnx.Float16, 30},
		{[]int64{1, 1000, 1, 1}, onnx.Float32, 1000},
		{[]int64{1, 3, 1, 2}, onnx.Float32, 0},
		{[]int64{1, 3, 32, 32}, onnx.Float32, 0},
		{[]int64{10}, onnx.Float32, 0},
		{[]int64{}, onnx.Float32, 0},
		{[]int64{1, 10}, onnx.Int64, 0},
	} {
		if got := classAxis(onnx.Zeros(c.kind, c.dims...)); got != c.want {
			t.Errorf("%s%v: %d, want %d", c.kind, c.dims, got, c.want)
		}
	}
}
