package plan

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// What a view calls the rows of a Conv's input gives, times the filters, the Conv's output: the energy of the outputs is that of
// the weights under the Gram.
func TestViewsAreTheConvolution(t *testing.T) {
	for _, c := range []struct {
		name  string
		x, w  []int64
		attrs []*onnx.Attribute
	}{
		{"plain", []int64{2, 3, 7, 6}, []int64{4, 3, 3, 3}, nil},
		{"padded, strided", []int64{1, 4, 9, 8}, []int64{5, 4, 3, 2}, []*onnx.Attribute{onnx.AttrIs("pads", 1, 0, 2, 1), onnx.AttrIs("strides", 2, 3)}},
		{"dilated", []int64{1, 2, 12, 11}, []int64{3, 2, 3, 3}, []*onnx.Attribute{onnx.AttrIs("dilations", 2, 3), onnx.AttrIs("pads", 2, 2, 2, 2)}},
		{"grouped", []int64{2, 6, 5, 5}, []int64{4, 3, 3, 3}, []*onnx.Attribute{onnx.AttrI("group", 2)}},
		{"depthwise", []int64{1, 5, 8, 8}, []int64{5, 1, 3, 3}, []*onnx.Attribute{onnx.AttrI("group", 5), onnx.AttrIs("pads", 1, 1, 1, 1)}},
		{"same upper", []int64{1, 2, 8, 7}, []int64{3, 2, 3, 4}, []*onnx.Attribute{onnx.AttrS("auto_pad", "SAME_UPPER"), onnx.AttrIs("strides", 2, 2)}},
		{"same lower", []int64{1, 2, 8, 7}, []int64{3, 2, 4, 3}, []*onnx.Attribute{onnx.AttrS("auto_pad", "SAME_LOWER")}},
		{"signal", []int64{3, 2, 20}, []int64{3, 2, 5}, []*onnx.Attribute{onnx.AttrIs("strides", 3)}},
		{"volume", []int64{1, 2, 4, 5, 6}, []int64{3, 2, 2, 3, 2}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := build(func(b *builder) {
				b.output(b.op("Conv", "y", in(b.input("x", c.x...), b.normal("w", 1, c.w...)), c.attrs...))
			})
			p, err := engine.Compile(m, engine.Options{Semantics: engine.Literal, Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(1, 2))
			x := make([]float32, onnx.NumElements(c.x))
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			out, err := p.Run(t.Context(), map[string]*onnx.Tensor{"x": onnx.Of(x, c.x...)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			s := Survey(m)[0]
			v, ok := viewOf(s)
			if !ok {
				t.Fatal("no view")
			}
			var grams []*quantize.Gram
			for range v.groups {
				grams = append(grams, quantize.NewGram(v.columns))
			}
			var scratch []float32
			if err := v.observe(grams, s.Node, onnx.Of(x, c.x...), 1<<20, &scratch); err != nil {
				t.Fatal(err)
			}
			y, w := out["y"], onnx.Data[float32](s.Weight(0).Const())
			want := make([]float64, c.w[0])
			inner := int(onnx.NumElements(y.Dims[2:]))
			for i, v := range onnx.Data[float32](y) {
				want[i/inner%len(want)] += float64(v) * float64(v)
			}
			for o := range want {
				g := grams[o*v.groups/len(want)]
				if g.Rows != int64(y.Len()/len(want)) {
					t.Fatalf("%d rows for an output of shape %v", g.Rows, y.Dims)
				}
				got := 0.0
				for i := range v.columns {
					for j := range v.columns {
						got += float64(w[o*v.columns+i]) * float64(w[o*v.columns+j]) * g.XX[min(i, j)*v.columns+max(i, j)]
					}
				}
				if math.Abs(got-want[o]) > 1e-4*want[o] {
					t.Errorf("channel %d: energy %v by the Gram, %v by the engine", o, got, want[o])
				}
			}
			few := quantize.NewGram(v.columns)
			if err := v.observe(slices.Repeat([]*quantize.Gram{few}, v.groups), s.Node, onnx.Of(x, c.x...), 3, &scratch); err != nil || few.Rows != int64(3*v.groups) {
				t.Errorf("%d rows where 3 of each group were asked for: %v", few.Rows, err)
			}
		})
	}
}

// learnable is a stack of products of correlated inputs, the last two of the same weights.
func learnable(b *builder) {
	mixed := b.op("MatMul", "mixed", in(b.input("x", 64, 8), b.normal("mix", 1, 8, 48)))
	h := b.op("Relu", "h", in(b.op("MatMul", "a", in(mixed, b.normal("w1", 0.2, 48, 32)))))
	w2 := b.normal("w2", 0.2, 32, 32)
	y := b.op("MatMul", "c", in(b.op("Relu", "h2", in(b.op("MatMul", "b", in(h, w2)))), w2))
	b.output(y)
}

// Weights are rounded by what their layers see; the plan carries the codes through JSON, and users of one constant share them.
func TestSolvedCodesAreInThePlan(t *testing.T) {
	prep, p := planned(t, build(learnable), func(o *Options) { o.Activations, o.Equalize = ModeFloat, EqualizeNone })
	a, b, c := p.Node("MatMul_a"), p.Node("MatMul_b"), p.Node("MatMul_c")
	for _, n := range []*Node{a, b, c} {
		if r, _ := quantize.RoundingNamed(n.Weights.Rounding); !r.Learned || n.Weights.Solved == nil {
			t.Fatalf("%s is rounded by %q", n.Key, n.Weights.Rounding)
		}
	}
	if b.Weights.Rounding == c.Weights.Rounding && b.Weights.Solved.Key() != c.Weights.Solved.Key() {
		t.Error("users of the same weights have other codes")
	}
	var file bytes.Buffer
	if err := p.Write(&file); err != nil {
		t.Fatal(err)
	}
	again, err := Read(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Survey(prep.Model) {
		if s.Refused.ID != "" {
			continue
		}
		one, err := QuantizeSite(s, 0, p.Node(s.Key).Weights)
		if err != nil {
			t.Fatal(err)
		}
		two, err := QuantizeSite(s, 0, again.Node(s.Key).Weights)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(one.Codes, two.Codes) || !slices.Equal(one.Scales, two.Scales) {
			t.Errorf("%s: other codes after JSON", s.Key)
		}
		plain, err := QuantizeSite(s, 0, &Weights{Form: usual, Axis: s.Axes[0], Rounding: "rtn"})
		if err != nil {
			t.Fatal(err)
		}
		if s.Key == "MatMul_b" && slices.Equal(one.Codes, plain.Codes) {
			t.Errorf("%s: the codes are those of plain rounding", s.Key)
		}
	}
}

// What is solved for is better where it counts: on samples that were not looked at.
func TestSolvedIsBetterThanRounded(t *testing.T) {
	m := build(learnable)
	sqnr := func(rounding func(n *Node)) float64 {
		prep, p := planned(t, m, func(o *Options) { o.Activations, o.Equalize = ModeFloat, EqualizeNone })
		for i := range p.Nodes {
			if p.Nodes[i].Weights != nil {
				rounding(&p.Nodes[i])
			}
		}
		return whole(t, prep, p)
	}
	solved := sqnr(func(*Node) {})
	rounded := sqnr(func(n *Node) { n.Weights.Rounding, n.Weights.Solved = "rtn", nil })
	t.Logf("solved %.1f dB, rounded %.1f dB", solved, rounded)
	if solved < rounded+2 {
		t.Errorf("solved %.1f dB, rounded %.1f dB", solved, rounded)
	}
}

func TestPlansWithBadCodes(t *testing.T) {
	prep, p := planned(t, build(learnable), func(o *Options) { o.Activations, o.Equalize = ModeFloat, EqualizeNone })
	s := Survey(prep.Model)[1]
	for _, c := range []struct {
		name, want string
		spoil      func(w *Weights)
	}{
		{"cut", "cannot be read", func(w *Weights) { w.Solved.Codes = w.Solved.Codes[:len(w.Solved.Codes)/2] }},
		{"of another layer", "are not those of", func(w *Weights) { *w = *p.Node("MatMul_b").Weights }},
		{"few scales", "are not those of", func(w *Weights) { w.Solved.Scales = w.Solved.Scales[1:] }},
		{"no scale", "is none", func(w *Weights) { w.Solved.Scales = append([]float32{-1}, w.Solved.Scales[1:]...) }},
		{"outside the grid", "is none of int8", func(w *Weights) {
			q, _ := QuantizeSite(s, 0, w)
			q.Codes[3] = -128
			w.Solved = newSolved(q)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *p.Node(s.Key).Weights
			solved := *w.Solved
			w.Solved = &solved
			c.spoil(&w)
			if _, err := QuantizeSite(s, 0, &w); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
	}
	for _, w := range []Weights{{Form: usual, Rounding: "gptq"}, {Form: usual, Rounding: "rtn", Solved: &Solved{}}} {
		n := Node{Scheme: WeightOnly, Weights: &w}
		if err := n.check(); err == nil || !strings.Contains(err.Error(), fmt.Sprint(w.Rounding)) {
			t.Errorf("%+v is taken: %v", w, err)
		}
	}
}

// Layers that see the same tensor share what is learned of it, also when several threads solve for them.
func TestSharedInputsOnManyThreads(t *testing.T) {
	text := func(threads int) string {
		_, p := planned(t, build(func(b *builder) {
			x := b.op("MatMul", "mixed", in(b.input("x", 64, 8), b.normal("mix", 1, 8, 48)))
			for _, name := range []string{"q", "k", "v", "w"} {
				b.output(b.op("MatMul", name, in(x, b.normal("w_"+name, 0.2, 48, 32))))
			}
		}), func(o *Options) { o.Activations, o.Threads = ModeFloat, threads })
		var file bytes.Buffer
		if err := p.Write(&file); err != nil {
			t.Fatal(err)
		}
		return file.String()
	}
	once := text(1)
	for range 5 {
		if text(4) != once {
			t.Fatal("other codes on 4 threads")
		}
	}
}
