package engine

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// runOperator compiles and runs one operator on inputs in order, whose names are a, b, ...
func runOperator(t *testing.T, opset int64, s onnx.NodeSpec, inputs ...*onnx.Tensor) (*onnx.Tensor, error) {
	t.Helper()
	g := onnx.NewGraph("g")
	feeds := map[string]*onnx.Tensor{}
	for i, x := range inputs {
		name := string(rune('a' + i))
		dims := make([]onnx.Dim, x.Rank())
		for k := range dims {
			dims[k] = onnx.Symbol("")
		}
		s.Inputs = append(s.Inputs, g.AddInput(name, &onnx.Type{Elem: x.Type, Shape: dims}))
		feeds[name] = x
	}
	s.Outputs = []string{"y"}
	g.AddOutput(g.Append(s).Output(0))
	p, err := Compile(&onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: opset}}, Graph: g}, Options{})
	if err != nil {
		return nil, err
	}
	out, err := p.Run(t.Context(), feeds, nil)
	return out["y"], err
}

// TestNonMaxSuppressionTies: of equal scores the first box wins; NaN is the least; what only touches does not overlap.
func TestNonMaxSuppressionTies(t *testing.T) {
	boxes := onnx.Of([]float32{0, 0, 1, 1, 1, 1, 2, 2, 0, 0, 1, 1, 5, 5, 4, 4}, 1, 4, 4)
	scores := onnx.Of([]float32{.5, .5, .5, float32(math.NaN())}, 1, 1, 4)
	y, err := runOperator(t, 11, onnx.NodeSpec{Op: "NonMaxSuppression"}, boxes, scores, onnx.Scalar[int64](10), onnx.Scalar[float32](.5))
	if err != nil {
		t.Fatal(err)
	}
	if have, want := onnx.Data[int64](y), []int64{0, 0, 0, 0, 0, 1, 0, 0, 3}; !slices.Equal(have, want) || y.Dims[1] != 3 {
		t.Errorf("got %v, want %v", have, want)
	}
}

func TestTfIdfWeights(t *testing.T) {
	words := func(s ...string) (b [][]byte) {
		for _, w := range s {
			b = append(b, []byte(w))
		}
		return b
	}
	for mode, want := range map[string][]float32{"TF": {2, 1, 0}, "IDF": {10, 20, 0}, "TFIDF": {20, 20, 0}} {
		y, err := runOperator(t, 9, onnx.NodeSpec{Op: "TfIdfVectorizer", Attrs: []*onnx.Attribute{
			onnx.AttrS("mode", mode), onnx.AttrI("min_gram_length", 1), onnx.AttrI("max_gram_length", 2), onnx.AttrI("max_skip_count", 1),
			onnx.AttrIs("ngram_counts", 0, 1), onnx.AttrIs("ngram_indexes", 0, 1, 2), onnx.AttrFs("weights", 10, 20, 30),
			{Name: "pool_strings", Kind: onnx.AttrStrings, Strings: words("a", "a", "b", "b", "b")},
		}}, onnx.NewStrings([]int64{4}, words("a", "new", "b", "a")))
		if err != nil {
			t.Fatal(err)
		}
		if have := onnx.Data[float32](y); !slices.Equal(have, want) {
			t.Errorf("%s: got %v, want %v", mode, have, want)
		}
	}
}

// TestDetectHostile: attributes and operands that ask for the impossible, or for endless work, are errors.
func TestDetectHostile(t *testing.T) {
	image := onnx.Zeros(onnx.Float32, 1, 1, 2, 2)
	region := func(v float32) *onnx.Tensor { return onnx.Of([]float32{0, 0, v, v}, 1, 4) }
	first, tokens := onnx.Of([]int64{0}), onnx.Of([]int64{1, 2})
	grams := func(a ...*onnx.Attribute) onnx.NodeSpec {
		s := onnx.NodeSpec{Op: "TfIdfVectorizer", Attrs: []*onnx.Attribute{
			onnx.AttrS("mode", "TF"), onnx.AttrI("min_gram_length", 1), onnx.AttrI("max_gram_length", 1), onnx.AttrI("max_skip_count", 0),
			onnx.AttrIs("ngram_counts", 0), onnx.AttrIs("ngram_indexes", 0, 1), onnx.AttrIs("pool_int64s", 1, 2),
		}}
		for _, x := range a {
			i := slices.IndexFunc(s.Attrs, func(old *onnx.Attribute) bool { return old.Name == x.Name })
			s.Attrs[i] = x
		}
		return s
	}
	unpool := onnx.NodeSpec{Op: "MaxUnpool", Attrs: []*onnx.Attribute{onnx.AttrIs("kernel_shape", 2, 2)}}
	for name, c := range map[string]struct {
		spec   onnx.NodeSpec
		inputs []*onnx.Tensor
	}{
		"RoiAlign: huge region":       {onnx.NodeSpec{Op: "RoiAlign"}, []*onnx.Tensor{image, region(1e9), first}},
		"RoiAlign: NaN":               {onnx.NodeSpec{Op: "RoiAlign"}, []*onnx.Tensor{image, region(float32(math.NaN())), first}},
		"RoiAlign: another image":     {onnx.NodeSpec{Op: "RoiAlign"}, []*onnx.Tensor{image, region(1), onnx.Of([]int64{1})}},
		"RoiAlign: no bins":           {onnx.NodeSpec{Op: "RoiAlign", Attrs: []*onnx.Attribute{onnx.AttrI("output_width", 0)}}, []*onnx.Tensor{image, region(1), first}},
		"NonMaxSuppression: shapes":   {onnx.NodeSpec{Op: "NonMaxSuppression"}, []*onnx.Tensor{onnx.Zeros(onnx.Float32, 1, 3, 4), onnx.Zeros(onnx.Float32, 1, 1, 2)}},
		"MaxUnpool: index":            {unpool, []*onnx.Tensor{onnx.Zeros(onnx.Float32, 1, 1, 1, 1), onnx.Of([]int64{4}, 1, 1, 1, 1)}},
		"MaxUnpool: smaller output":   {unpool, []*onnx.Tensor{onnx.Zeros(onnx.Float32, 1, 1, 1, 1), onnx.Of([]int64{0}, 1, 1, 1, 1), onnx.Of([]int64{1, 1, 1, 1})}},
		"TfIdfVectorizer: no gram":    {grams(onnx.AttrI("min_gram_length", 0)), []*onnx.Tensor{tokens}},
		"TfIdfVectorizer: endless":    {grams(onnx.AttrI("max_gram_length", 1<<40)), []*onnx.Tensor{tokens}},
		"TfIdfVectorizer: place":      {grams(onnx.AttrIs("ngram_indexes", -1, 0)), []*onnx.Tensor{tokens}},
		"TfIdfVectorizer: few places": {grams(onnx.AttrIs("ngram_indexes", 0)), []*onnx.Tensor{tokens}},
		"TfIdfVectorizer: counts":     {grams(onnx.AttrIs("ngram_counts", 5)), []*onnx.Tensor{tokens}},
	} {
		_, err := runOperator(t, 16, c.spec, c.inputs...)
		if !errors.Is(err, onnx.ErrBadModel) && !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrInput) || errors.Is(err, errInternal) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
