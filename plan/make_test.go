package plan

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/testmodel"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

// two is a convolution, then products: one large enough for integers to pay, one small.
func two(b *builder) {
	r := b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))
	flat := b.op("Reshape", "f", in(r, b.g.AddConst("shape", onnx.Of([]int64{1, 8, 64}))))
	large := b.op("MatMul", "large", in(flat, b.normal("w1", 0.1, 64, 2048)))
	b.output(b.op("MatMul", "small", in(b.op("Tanh", "t", in(large)), b.normal("w2", 0.1, 2048, 8))))
}

// The table of defaults: what becomes of a Conv and of products, with and without data, in every mode.
func TestModes(t *testing.T) {
	for _, c := range []struct {
		mode Mode
		data bool
		want string
	}{
		{ModeAuto, false, "Conv_c weight-only, MatMul_large token, MatMul_small weight-only"},
		{ModeAuto, true, "Conv_c static[x], Relu_r fused[r], Reshape_f static[f r], MatMul_large static[f], MatMul_small weight-only"},
		{ModeToken, false, "Conv_c weight-only, MatMul_large token, MatMul_small token"},
		{ModeToken, true, "Conv_c weight-only, MatMul_large token, MatMul_small token"},
		{ModeDynamic, true, "Conv_c weight-only, MatMul_large dynamic, MatMul_small dynamic"},
		{ModeStatic, true, "Conv_c static[x], Relu_r fused[r], Reshape_f static[f r], MatMul_large static[f], MatMul_small static[t]"},
		{ModeStatic, false, "Conv_c weight-only, MatMul_large weight-only, MatMul_small weight-only"},
		{ModeFloat, true, "Conv_c weight-only, MatMul_large weight-only, MatMul_small weight-only"},
	} {
		name := string(c.mode) + " without data"
		if c.data {
			name = string(c.mode) + " with data"
		}
		t.Run(name, func(t *testing.T) {
			_, p := planned(t, build(two), func(o *Options) {
				o.Activations = c.mode
				if !c.data {
					o.Probes, o.Calibration = o.Calibration, nil
				}
			})
			expect(t, decisions(p), c.want)
			for _, n := range p.Nodes {
				if n.Reason.ID == "" || n.Reason.Text == "" {
					t.Errorf("%s: no reason", n.Key)
				}
			}
		})
	}
}

// Without any samples the plan is made by rules.
func TestRulesOnly(t *testing.T) {
	_, p := planned(t, build(func(b *builder) {
		large := b.op("MatMul", "large", in(b.conv("c", b.input("x", 1, 8, 8, 8)), b.normal("w1", 0.1, 8, 40)))
		flat := b.op("Reshape", "f", in(large, b.g.AddConst("shape", onnx.Of([]int64{4, 640}))))
		b.output(b.op("MatMul", "y", in(flat, b.normal("w2", 0.1, 640, 1000))))
	}), func(o *Options) { o.Calibration = nil })
	expect(t, decisions(p), "Conv_c weight-only, MatMul_large weight-only, MatMul_y token")
}

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(o *Options)
		want string
	}{
		{"exclude a key", func(o *Options) { o.Exclude = []string{"MatMul_large"} }, "Conv_c static[x], Relu_r fused[r], MatMul_small token"},
		{"exclude by glob", func(o *Options) { o.Exclude = []string{"MatMul_*"} }, "Conv_c static[x], Relu_r fused[r]"},
		{"exclude by output", func(o *Options) { o.Exclude = []string{"sm*l"} }, "Conv_c static[x], Relu_r fused[r], Reshape_f static[f r], MatMul_large static[f]"},
		{"exclude an operator", func(o *Options) { o.ExcludeOps = []string{"MatMul"} }, "Conv_c static[x], Relu_r fused[r]"},
		{"exclude what lies between", func(o *Options) { o.ExcludeOps = []string{"Reshape"} }, "Conv_c static[x], Relu_r fused[r], MatMul_large token, MatMul_small token"},
		{"include", func(o *Options) { o.Include = []string{"*_small"} }, "MatMul_small token"},
		{"include and exclude", func(o *Options) { o.Include, o.Exclude = []string{"MatMul_*"}, []string{"*_small"} }, "MatMul_large token"},
		{"a glob that matches nothing", func(o *Options) { o.Exclude = []string{"*/x"} }, "Conv_c static[x], Relu_r fused[r], Reshape_f static[f r], MatMul_large static[f], MatMul_small token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, p := planned(t, build(two), func(o *Options) {
				o.Target = &cheapTokens
				c.set(o)
			})
			expect(t, decisions(p), c.want)
		})
	}
}

// cheapTokens is ONNX Runtime with products that always pay in integers.
var cheapTokens = func() target.Target {
	t := *target.Targets[0]
	t.Costs = map[target.Form]target.Cost{target.FloatForm: {Call: 3}, target.TokenForm: {Call: 2}, target.DynamicForm: {Call: 1}}
	t.Convs = nil
	return t
}()

// The same plan for any number of threads, and again.
func TestDeterminism(t *testing.T) {
	text := func(threads int) string {
		_, p := planned(t, build(two), func(o *Options) {
			o.Threads, o.Guard = threads, DefaultGuard
			o.Guard.Stands = 60 // so that the guard measures
		})
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	once := text(1)
	for _, threads := range []int{1, 2, 3} {
		if d := cmp.Diff(once, text(threads)); d != "" {
			t.Errorf("%d threads: %s", threads, d)
		}
	}
}

func TestJSONRoundTrip(t *testing.T) {
	_, p := planned(t, build(two), nil)
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	q, err := Read(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, q); d != "" {
		t.Error(d)
	}
}

// A correction is the mean, over all samples and positions, of what the float layer gives and the quantized layer, on the
// float input, does not.
func TestBiasCorrection(t *testing.T) {
	var set *data.Set
	prep, p := planned(t, build(func(b *builder) {
		r := b.op("Relu", "r", in(b.conv("c", b.input("x", 1, 8, 8, 8))))
		b.output(b.op("Conv", "y", in(r, b.normal("w", 1, 40, 8, 1, 1), b.normal("b", 1, 40))))
	}), func(o *Options) {
		o.Range = quantize.RangeRule{Method: "percentile", Percentile: 95} // clips, which shifts means
		set = o.Calibration
	})
	d := p.Node("Conv_y")
	if d.Scheme != Static {
		t.Fatalf("the layer is %s", d.Scheme)
	}
	var site *Site
	for _, s := range Survey(prep.Model) {
		if s.Key == d.Key {
			site = s
		}
	}
	q, err := QuantizeSite(site, 0, d.Weights)
	if err != nil {
		t.Fatal(err)
	}
	w, wq := onnx.Data[float32](site.Weight(0).Const()), q.Dequantize()
	program, err := engine.Compile(prep.Model, engine.Options{Keep: []string{"r"}, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	missing, count := make([]float64, 40), 0.0
	for i := range set.Len() {
		for s := range set.Sequence(i) {
			feeds, err := s.Feeds(nil)
			if err != nil {
				t.Fatal(err)
			}
			all, err := program.Run(context.Background(), feeds, &engine.RunOptions{Outputs: []string{"r"}})
			if err != nil {
				t.Fatal(err)
			}
			x := onnx.Data[float32](all["r"])
			xq := make([]float32, len(x))
			codes := make([]uint8, len(x))
			quantize.Quantize(codes, x, d.Activations["r"].Params(), quantize.Uint8)
			quantize.Dequantize(xq, codes, d.Activations["r"].Params())
			for at := range 64 {
				for o := range missing {
					for k := range 8 {
						missing[o] += float64(w[o*8+k])*float64(x[k*64+at]) - float64(wq[o*8+k])*float64(xq[k*64+at])
					}
				}
			}
			count += 64
		}
	}
	largest := 0.0
	for o, m := range missing {
		largest = max(largest, math.Abs(m/count))
		if diff := math.Abs(m/count - float64(d.Weights.Correction[o])); diff > 1e-5 {
			t.Errorf("channel %d: correction %v, the mean lacks %v", o, d.Weights.Correction[o], m/count)
		}
	}
	if largest < 0.01 {
		t.Errorf("quantization shifts no mean: %v", largest)
	}
}

// Every key of the input model is a key of the prepared one, wherever the node lives on, and the other way round.
func TestPreparedKeysAreThoseOfTheInputModel(t *testing.T) {
	for _, name := range testmodel.Names {
		t.Run(name, func(t *testing.T) {
			m, err := testmodel.Open("..", name, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			keysOf(t, m.ONNX)
		})
	}
	t.Run("odd names", func(t *testing.T) {
		keysOf(t, build(func(b *builder) {
			x := b.input("x", 3, 1, 4)
			lstm := b.g.Append(onnx.NodeSpec{Op: "LSTM", Inputs: in(x, b.normal("w", 1, 1, 16, 4), b.normal("r", 1, 1, 16, 4)), Outputs: []string{"", "h"}, Attrs: []*onnx.Attribute{onnx.AttrI("hidden_size", 4)}})
			same := func(out string, v *onnx.Value) *onnx.Value {
				return b.g.Append(onnx.NodeSpec{Op: "Tanh", Name: "same", Inputs: in(v), Outputs: []string{out}}).Output(0)
			}
			b.output(same("t2", same("t1", lstm.Output(1))))
		}))
	})
}

func keysOf(t *testing.T, m *onnx.Model) {
	t.Helper()
	input := map[string]string{}
	for n, key := range m.Graph.Keys() {
		input[key] = n.Op
	}
	if m.Opset("") < MinOpset { // which may add nodes of its own
		m = m.Clone()
		if err := onnx.ConvertOpset(m, MinOpset); err != nil {
			t.Fatal(err)
		}
		for n, key := range m.Graph.Keys() {
			input[key] = n.Op
		}
	}
	prep, err := Prepare(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for n, key := range prep.Model.Graph.Keys() {
		if key != n.Key() {
			t.Errorf("%s has the keys %q and %q", n.Op, key, n.Key())
		}
		if _, ok := input[key]; ok {
			found++
		} else if !strings.HasSuffix(key, "_pool") {
			t.Errorf("%q (%s) is no key of the input model", key, n.Op)
		}
	}
	if found == 0 {
		t.Error("no key is left")
	}
}

// A node may be named as another one, which has no name, is called.
func TestNamesLikeKeys(t *testing.T) {
	m := build(func(b *builder) {
		x := b.input("x", 4, 32)
		product := func(name, out string, x *onnx.Value) *onnx.Value {
			return b.g.Append(onnx.NodeSpec{Op: "MatMul", Name: name, Inputs: in(x, b.normal("w_"+out, 0.2, 32, 32)), Outputs: []string{out}}).Output(0)
		}
		b.output(product("MatMul:y", "z", product("", "y", x)))
	})
	keysOf(t, m)
	_, p := planned(t, m, func(o *Options) { o.Exclude = []string{"MatMul:y"} })
	var written bytes.Buffer
	if err := p.Write(&written); err != nil {
		t.Fatal(err)
	}
	p, err := Read(written.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if named, other := p.Node("MatMul:y"), p.Node("MatMul:y#2"); named.Reason.ID != "excluded" || other == nil || other.Scheme == Float {
		t.Errorf("the named node is %+v, the other %+v", named, other)
	}
}

func TestNamesLikeKeysInSubgraphs(t *testing.T) {
	m := build(func(b *builder) {
		y := b.op("MatMul", "y", in(b.input("x", 4, 32), b.normal("w", 0.2, 32, 32)))
		branch := func(name string) *onnx.Attribute {
			s := onnx.NewGraph(name)
			s.AddOutput(s.Append(onnx.NodeSpec{Op: "Relu", Name: "R", Inputs: in(y), Outputs: []string{name}}).Output(0))
			return onnx.AttrG(name, s)
		}
		b.op("If", "z", in(b.inputOf("c", onnx.Bool)), branch("then_branch"), branch("else_branch"))
		b.output(b.g.Append(onnx.NodeSpec{Op: "Relu", Name: "If_z/else_branch/R", Inputs: in(y), Outputs: []string{"end"}}).Output(0))
	})
	if _, err := Prepare(m, 0); !errors.Is(err, onnx.ErrBadModel) || !strings.Contains(err.Error(), `called "If_z/else_branch/R"`) {
		t.Errorf("got %v", err)
	}
}

func TestSurvey(t *testing.T) {
	m := build(func(b *builder) {
		x := b.input("x", 4, 32)
		deep := b.input("deep", 1, 8, 8, 8)
		half := b.g.AddConst("half", onnx.Zeros(onnx.Float16, 32, 32))
		infinite := b.normal("infinite", 1, 32, 32)
		onnx.Data[float32](infinite.Const())[5] = float32(inf)
		for _, v := range []*onnx.Value{
			b.op("MatMul", "product", in(x, b.normal("w1", 1, 32, 16))),
			b.op("MatMul", "left", in(b.normal("w2", 1, 64, 4), x)),
			b.op("MatMul", "batch", in(x, b.normal("w3", 1, 2, 32, 8))),
			b.op("MatMul", "vector", in(b.input("long", 2, 300), b.normal("w4", 1, 300))),
			b.op("MatMul", "computed", in(x, b.op("Transpose", "xt", in(x)))),
			b.op("MatMul", "tiny", in(x, b.normal("w5", 1, 32, 4))),
			b.op("MatMul", "half", in(x, half)),
			b.op("MatMul", "infinite", in(x, infinite)),
			b.op("MatMul", "outer", in(b.input("column", 4, 2), b.normal("w6", 1, 2, 200))),
			b.op("Gemm", "gemm", in(x, b.normal("w7", 1, 16, 32)), onnx.AttrI("transB", 1)),
			b.op("Gemm", "scaled", in(x, b.normal("w8", 1, 32, 16)), onnx.AttrF("alpha", 2)),
			b.op("Conv", "conv", in(deep, b.normal("w9", 1, 8, 8, 3, 3))),
			b.op("ConvTranspose", "deconv", in(deep, b.normal("w10", 1, 8, 4, 3, 3)), onnx.AttrI("group", 2)),
			b.op("Gather", "rows", in(b.normal("w11", 1, 40, 8), b.inputOf("i", onnx.Int64, 2))),
			b.op("Gather", "columns", in(b.normal("w12", 1, 40, 8), b.inputOf("j", onnx.Int64, 2)), onnx.AttrI("axis", 1)),
			b.op("Gather", "last", in(b.normal("w13", 1, 40, 8), b.inputOf("k", onnx.Int64, 2)), onnx.AttrI("axis", -1)),
		} {
			b.output(v)
		}
	})
	var got []string
	for _, s := range Survey(m) {
		got = append(got, strings.Join([]string{s.Key, kindNames[s.Kind], axes(s), s.Refused.ID}, " "))
	}
	want := []string{
		"MatMul_product product 1:1 ", "MatMul_left stored 0:0 ", "MatMul_batch stored 1:2 ",
		"MatMul_tiny product 1:1 weights-small", "MatMul_half product 1:1 weights-not-float32", "MatMul_infinite product 1:1 weights-not-finite",
		"MatMul_outer product 1:1 weights-small", "Gemm_gemm product 1:0 ", "Gemm_scaled stored 1:1 ", "Conv_conv conv 1:0 ",
		"ConvTranspose_deconv stored 1:1 ", "Gather_rows table 0:0 ",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

var kindNames = map[Kind]string{Product: "product", Conv: "conv", Table: "table", Recurrent: "recurrent", Stored: "stored"}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"another schema", `{"schema": 2}`, "schema 2"},
		{"no schema", `{}`, "schema 0"},
		{"a key twice", `{"schema": 1, "nodes": [{"key": "a", "scheme": "float"}, {"key": "a", "scheme": "float"}]}`, `node "a" is there twice`},
		{"an unknown scheme", `{"schema": 1, "nodes": [{"key": "a", "scheme": "fp3"}]}`, `node "a": unknown scheme "fp3"`},
		{"unknown weights", `{"schema": 1, "nodes": [{"key": "a", "scheme": "token", "weights": {"type": "int3", "axis": 0, "rounding": "rtn"}}]}`, "int3"},
		{"unknown rounding", `{"schema": 1, "nodes": [{"key": "a", "scheme": "token", "weights": {"type": "int8", "axis": 0, "rounding": "up"}}]}`, "up"},
		{"axis", `{"schema": 1, "nodes": [{"key": "a", "scheme": "token", "weights": {"type": "int8", "axis": -2, "rounding": "rtn"}}]}`, "axis -2"},
		{"scale 0", `{"schema": 1, "nodes": [{"key": "a", "scheme": "static", "activations": {"x": {"type": "uint8", "scale": 0, "zero_point": 0}}}]}`, `tensor "x"`},
		{"zero point", `{"schema": 1, "nodes": [{"key": "a", "scheme": "static", "activations": {"x": {"type": "uint8", "scale": 1, "zero_point": 256}}}]}`, `tensor "x"`},
		{"type", `{"schema": 1, "nodes": [{"key": "a", "scheme": "static", "activations": {"x": {"type": "int8", "scale": 1, "zero_point": 0}}}]}`, `tensor "x"`},
		{"scale beyond float32", `{"schema": 1, "nodes": [{"key": "a", "scheme": "static", "activations": {"x": {"type": "uint8", "scale": 1e39, "zero_point": 0}}}]}`, "1e39"},
		{"something behind it", `{"schema": 1, "nodes": []} {"schema": 1}`, "behind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Read([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// What can be read can be written and read again; nothing makes Read panic.
func FuzzRead(f *testing.F) {
	_, p := planned(f, build(two), nil)
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema": 1, "nodes": [{"key": "a", "op": "Conv", "scheme": "static", "activations": {"x": {"type": "uint8", "scale": 1e-3, "zero_point": 3}}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Read(text)
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		q, err := Read(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p, q); d != "" {
			t.Error(d)
		}
	})
}
