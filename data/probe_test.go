package data

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"pgregory.net/rapid"
)

// bert looks up ids in a table of 100 rows, stored as int8 and converted, and types in one of 2; the mask is arithmetic.
func bert() *onnx.Graph {
	g := onnx.NewGraph("bert")
	two := func(t onnx.DataType) *onnx.Type { return onnx.TensorOf(t, onnx.Symbol("batch"), onnx.Symbol("seq")) }
	a := g.AddInput("a", two(onnx.Int64))
	b := g.AddInput("b", two(onnx.Int32))
	c := g.AddInput("c", two(onnx.Int64))
	op := func(op string, inputs ...*onnx.Value) *onnx.Value {
		return g.Append(onnx.NodeSpec{Op: op, Inputs: inputs, Outputs: []string{op}}).Output(0)
	}
	words := op("Mul", op("Cast", g.AddConst("words", onnx.Zeros(onnx.Int8, 100, 8))), g.AddConst("scale", onnx.Scalar(float32(1))))
	segments := g.AddConst("segments", onnx.Zeros(onnx.Float32, 2, 8))
	more := g.AddConst("more", onnx.Zeros(onnx.Float32, 120, 8))
	flat := op("Reshape", op("Cast", a), g.AddConst("shape", onnx.Of([]int64{-1})))
	op("Gather", more, flat)
	sum := op("Add", op("Gather", words, a), op("Gather", segments, op("Unsqueeze", b)))
	g.AddOutput(op("Mul", sum, op("Sub", op("Cast", c), sum)))
	return g
}

func TestRowsIndexed(t *testing.T) {
	g := bert()
	for name, want := range map[string]int64{"a": 100, "b": 2, "c": 0} {
		if got := rowsIndexed(g.Value(name)); got != want {
			t.Errorf("%s: %d rows, want %d", name, got, want)
		}
	}
}

func TestTablesAlongOtherAxesAndInBranches(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Int64, onnx.Fixed(3)))
	cond := g.AddInput("cond", onnx.ScalarOf(onnx.Bool))
	then := onnx.NewGraph("then")
	table := then.AddConst("table", onnx.Zeros(onnx.Float32, 5, 9))
	otherwise := onnx.NewGraph("else")
	other := otherwise.Append(onnx.NodeSpec{Op: "Constant", Outputs: []string{"t"}, Attrs: []*onnx.Attribute{onnx.AttrT("value", onnx.Zeros(onnx.Float32, 7))}}).Output(0)
	g.Append(onnx.NodeSpec{Op: "If", Inputs: []*onnx.Value{cond}, Outputs: []string{"y"}, Attrs: []*onnx.Attribute{onnx.AttrG("then_branch", then), onnx.AttrG("else_branch", otherwise)}})
	then.AddOutput(then.Append(onnx.NodeSpec{Op: "Gather", Inputs: []*onnx.Value{table, x}, Outputs: []string{"z"}, Attrs: []*onnx.Attribute{onnx.AttrI("axis", -1)}}).Output(0))
	if got := rowsIndexed(x); got != 9 {
		t.Errorf("one branch, axis -1: %d rows, want 9", got)
	}
	otherwise.AddOutput(otherwise.Append(onnx.NodeSpec{Op: "Gather", Inputs: []*onnx.Value{other, x}, Outputs: []string{"z"}}).Output(0))
	if got := rowsIndexed(x); got != 7 {
		t.Errorf("both branches: %d rows, want 7", got)
	}
}

func feedsOf(t *testing.T, s *Set) []map[string]*onnx.Tensor {
	t.Helper()
	var all []map[string]*onnx.Tensor
	for i := range s.Len() {
		for x := range s.Sequence(i) {
			f, err := x.Feeds(nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
	}
	return all
}

func TestProbesOfATransformer(t *testing.T) {
	s, err := Probes(bert(), Options{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if s.Source != Synthetic || s.Len() != plainProbes {
		t.Errorf("%d sequences, %s; want %d, synthetic", s.Len(), s.Source, plainProbes)
	}
	seen := map[int64]bool{}
	for _, f := range feedsOf(t, s) {
		for name, x := range f {
			if !slices.Equal(x.Dims, []int64{1, 16}) {
				t.Fatalf("%s has shape %v, want [1 16]", name, x.Dims)
			}
		}
		ids := onnx.Data[int64](f["a"])
		if ids[0] > 1 {
			t.Errorf("the first id is %d, want a small one", ids[0])
		}
		for _, id := range ids {
			seen[id] = true
			if id < 0 || id >= 100 {
				t.Errorf("id %d outside the table", id)
			}
		}
		if lo, hi := slices.Min(ids), slices.Max(ids); hi-lo < 80 {
			t.Errorf("ids from %d to %d are not spread over 100 rows", lo, hi)
		}
		if b := onnx.Data[int32](f["b"]); slices.Max(b) != 0 || slices.Min(b) != 0 {
			t.Errorf("token types %v, want zeros", b)
		}
		if c := onnx.Data[int64](f["c"]); slices.Max(c) != 1 || slices.Min(c) != 1 {
			t.Errorf("mask %v, want ones", c)
		}
	}
	if len(seen) < 80 {
		t.Errorf("all probes together use %d rows of 100", len(seen))
	}
}

// Some models take ids as floats and cast them.
func TestFloatsThatIndexATable(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(64)))
	cast := g.Append(onnx.NodeSpec{Op: "Cast", Inputs: []*onnx.Value{x}, Outputs: []string{"i"}}).Output(0)
	g.AddOutput(g.Append(onnx.NodeSpec{Op: "Gather", Inputs: []*onnx.Value{g.AddConst("t", onnx.Zeros(onnx.Float32, 50, 2)), cast}, Outputs: []string{"y"}}).Output(0))
	s, err := Probes(g, Options{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	v := onnx.Data[float32](feedsOf(t, s)[0]["x"])
	for _, f := range v {
		if f != float32(int(f)) || f < 0 || f >= 50 {
			t.Errorf("%v is no row of 50", f)
		}
	}
	if slices.Max(v) < 40 {
		t.Errorf("rows up to %v of 50", slices.Max(v))
	}
}

func TestIndicesStayInTheirTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 200).Draw(t, "n")
		rows := rapid.OneOf(rapid.Int64Range(1, 300), rapid.Int64Range(1, math.MaxInt64/200)).Draw(t, "rows")
		v := onnx.Data[int64](indices([]int64{n}, rows, false, rapid.Uint64().Draw(t, "key")))
		for _, x := range v {
			if x < 0 || x >= rows {
				t.Fatalf("%d outside [0, %d)", x, rows)
			}
		}
		if n >= rows && rows > fewRows {
			distinct := map[int64]bool{}
			for _, x := range v[1:] {
				distinct[x] = true
			}
			if int64(len(distinct)) < rows-1 {
				t.Fatalf("%d values use %d of %d rows", n, len(distinct), rows)
			}
		}
	})
}

// zoo has every kind of input in one model.
func zoo() *onnx.Graph {
	g := onnx.NewGraph("zoo")
	for _, in := range []struct {
		name string
		typ  onnx.DataType
		dims []int64
	}{
		{"scalar", onnx.Float32, []int64{}},
		{"rate", onnx.Int64, []int64{}},
		{"flag", onnx.Bool, []int64{2}},
		{"text", onnx.String, []int64{2}},
		{"wave", onnx.Float32, []int64{400}},
		{"features", onnx.Float16, []int64{1, 50, 8}},
		{"double", onnx.Float64, []int64{1, 64}},
		{"nchw", onnx.Float32, []int64{2, 3, 24, 32}},
		{"nhwc", onnx.Float32, []int64{1, 24, 32, 3}},
		{"bytes", onnx.Uint8, []int64{1, 16, 16, 3}},
		{"sbytes", onnx.Int8, []int64{1, 1, 16, 16}},
		{"volume", onnx.Float32, []int64{1, 2, 4, 8, 8}},
		{"maps", onnx.BFloat16, []int64{1, 16, 8, 8}},
		{"nibbles", onnx.Int4, []int64{3}},
		{"none", onnx.Float32, []int64{0, 3}},
		{"nopicture", onnx.Float32, []int64{1 << 20, 3, 0, 4}},
	} {
		shape := make([]onnx.Dim, len(in.dims))
		for i, d := range in.dims {
			shape[i] = onnx.Fixed(d)
		}
		g.AddInput(in.name, &onnx.Type{Elem: in.typ, Shape: shape})
	}
	return g
}

func TestProbesOfEveryKindOfInput(t *testing.T) {
	s, err := Probes(zoo(), Options{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	varied := map[string]int{}
	for _, f := range feedsOf(t, s) {
		for _, in := range zoo().Feeds() {
			x := f[in.Name()]
			if x == nil || x.Type != in.Type.Elem || len(x.Dims) != len(in.Type.Shape) {
				t.Fatalf("%s: got %v", in.Name(), x)
			}
			if x.Type == onnx.String || x.Type == onnx.Int4 || x.Len() == 0 {
				continue
			}
			v, err := x.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			if err := finite(x); err != nil {
				t.Errorf("%s %v", in.Name(), err)
			}
			lo, hi := slices.Min(v), slices.Max(v)
			if lo != hi {
				varied[in.Name()]++
			}
			limit := float32(4)
			if x.Type.Bits() == 8 {
				limit = 255
			}
			if lo < -limit || hi > limit {
				t.Errorf("%s: values from %v to %v", in.Name(), lo, hi)
			}
			if x.Type == onnx.Int64 || x.Type == onnx.Bool || len(x.Dims) == 0 {
				if lo != 1 || hi != 1 {
					t.Errorf("%s: values from %v to %v, want 1", in.Name(), lo, hi)
				}
			}
		}
	}
	want := map[string]int{"wave": 16, "features": 16, "double": 16, "nchw": 16, "nhwc": 16, "bytes": 16, "sbytes": 16, "volume": 16, "maps": 16}
	if !maps.Equal(varied, want) {
		t.Errorf("inputs that vary: %v, want %v", varied, want)
	}
}

// The bits are the same on every machine and under every GOAMD64: run this with v1 and v3. They change only when probes
// are meant to.
func TestProbesAreTheSameEverywhere(t *testing.T) {
	hash := func(seed uint64) string {
		s, err := Probes(zoo(), Options{Seed: seed, Limit: 20})
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for _, f := range feedsOf(t, s) {
			for _, name := range slices.Sorted(maps.Keys(f)) {
				fmt.Fprintf(h, "%s %s%v", name, f[name].Type, f[name].Dims)
				h.Write(f[name].Bytes())
			}
		}
		return hex.EncodeToString(h.Sum(nil)[:8])
	}
	if got, want := hash(7), "dae2f620e0664080"; got != want {
		t.Errorf("probes have the hash %s, want %s", got, want)
	}
	if hash(7) == hash(8) {
		t.Error("the seed changes nothing")
	}
}

func TestSine(t *testing.T) {
	for x := -3.0; x < 3; x += 0.01 {
		if got, want := sine(x), math.Sin(2*math.Pi*x); math.Abs(got-want) > 1e-5 {
			t.Errorf("sine(%v) = %v, want %v", x, got, want)
		}
	}
}

// The five waves, told apart by what defines them.
func TestSignals(t *testing.T) {
	const n = 4096
	line := func(kind, step int) []float32 {
		f := make([]float32, n)
		signal(f, []int64{1, n}, kind, step, 3)
		return f
	}
	energy := func(f []float32) (e float64) {
		for _, x := range f {
			e += float64(x) * float64(x)
		}
		return e
	}
	// roughness is the energy of the differences over the energy: 2 for white noise, near 0 for smooth signals.
	roughness := func(f []float32) float64 {
		d := make([]float32, len(f)-1)
		for i := range d {
			d[i] = f[i+1] - f[i]
		}
		return energy(d) / energy(f)
	}
	if r := roughness(line(1, 0)); r > 0.5 || r < 0.001 {
		t.Errorf("1/f noise has roughness %v", r)
	}
	for _, kind := range []int{3, 4} {
		if r := roughness(line(kind, 0)); r < 1.8 || r > 2.2 {
			t.Errorf("noise %d has roughness %v, want 2", kind, r)
		}
	}
	impulse := line(2, 0)
	if slices.Max(impulse) != 1 || energy(impulse) > 2 {
		t.Errorf("the impulse has peak %v and energy %v", slices.Max(impulse), energy(impulse))
	}
	decaying := line(3, 0)
	if head, tail := energy(decaying[:n/4]), energy(decaying[3*n/4:]); tail > head/1000 {
		t.Errorf("decaying noise has energy %v at first and %v at last", head, tail)
	}
	if e := energy(line(4, 0)); e > n*0.05*0.05 {
		t.Errorf("a little noise has energy %v", e)
	}
	// Sines go on over the steps: the seam is no rougher than the rest.
	a, b := line(0, 0), line(0, 1)
	steepest := float32(0)
	for i := range n - 1 {
		steepest = max(steepest, abs(a[i+1]-a[i]))
	}
	if seam := abs(b[0] - a[n-1]); seam > 1.01*steepest {
		t.Errorf("the sines jump by %v between steps, %v within", seam, steepest)
	}
	two := make([]float32, 2*n)
	signal(two, []int64{2, n}, 0, 0, 3)
	if slices.Equal(two[:n], two[n:]) {
		t.Error("both channels carry the same signal")
	}
	alongFirst := make([]float32, 2*n)
	signal(alongFirst, []int64{n, 2}, 0, 0, 3)
	for i := range n {
		if alongFirst[2*i] != two[i] || alongFirst[2*i+1] != two[n+i] {
			t.Fatalf("[n,2] is not the transpose of [2,n] at %d", i)
		}
	}
}

func abs(x float32) float32 { return max(x, -x) }

func TestStatefulProbes(t *testing.T) {
	o := Options{State: map[string]string{"hn": "h"}, Values: map[string]string{"sr": "16000"}}
	s, err := Probes(statefulModel(), o)
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != statefulProbes/probeSteps || s.Samples() != statefulProbes {
		t.Errorf("%d sequences of %d samples", s.Len(), s.Samples())
	}
	var previous map[string]*onnx.Tensor
	for x := range s.Sequence(0) {
		f, err := x.Feeds(previous)
		if err != nil {
			t.Fatal(err)
		}
		want := float32(0)
		if previous != nil {
			want = 6
		}
		if got := onnx.Data[float32](f["h"])[0]; got != want || !slices.Equal(f["h"].Dims, []int64{2, 1, 4}) {
			t.Errorf("h is %v %v, want %v [2 1 4]", got, f["h"].Dims, want)
		}
		if sr := onnx.Data[int64](f["sr"]); sr[0] != 16000 {
			t.Errorf("sr is %v", sr)
		}
		previous = map[string]*onnx.Tensor{"hn": marked[float32](6, 2, 1, 4)}
	}
}

func TestProbeLadder(t *testing.T) {
	image := func(dims ...onnx.Dim) *onnx.Graph {
		g := onnx.NewGraph("image")
		g.AddInput("x", onnx.TensorOf(onnx.Float32, dims...))
		return g
	}
	q, three := onnx.Symbol("?"), onnx.Fixed(3)
	for _, c := range []struct {
		name  string
		g     *onnx.Graph
		o     Options
		n     int
		first map[string]int64
		last  map[string]int64
	}{
		{"fixed", image(onnx.Fixed(1), three), Options{}, 1, map[string]int64{}, nil},
		{"batch", image(onnx.Symbol("N"), three, onnx.Fixed(8), onnx.Fixed(8)), Options{}, 1, map[string]int64{"N": 1}, nil},
		{"sides", image(q, three, q, q), Options{}, 8, map[string]int64{"x[0]": 1, "x[2]": 224, "x[3]": 224}, map[string]int64{"x[0]": 1, "x[2]": 128, "x[3]": 128}},
		{"NHWC", image(q, q, q, three), Options{Dims: map[string]int64{"x[1]": 99}}, 8, map[string]int64{"x[0]": 1, "x[1]": 99, "x[2]": 224}, nil},
		{"channels", image(q, q, q, q), Options{}, 10, map[string]int64{"x[0]": 1, "x[1]": 3, "x[2]": 224, "x[3]": 224}, nil},
		{"cache", image(onnx.Symbol("b"), onnx.Fixed(12), onnx.Symbol("past"), onnx.Fixed(64)), Options{}, 10, map[string]int64{"b": 1, "past": 16}, nil},
		{"tokens", bert(), Options{}, 10, map[string]int64{"batch": 1, "seq": 16}, map[string]int64{"batch": 1, "seq": 2}},
		{"state", statefulModel(), Options{State: map[string]string{"hn": "h"}}, 10, map[string]int64{"batch": 1, "T": 16000}, map[string]int64{"batch": 1, "T": 1}},
		{"sum", image(onnx.Symbol("b"), onnx.Symbol("past + 1"), onnx.Fixed(8)), Options{}, 10, map[string]int64{"b": 1, "past": 16}, nil},
	} {
		got := ProbeLadder(c.g, c.o)
		if len(got) != c.n || !maps.Equal(got[0], c.first) || c.last != nil && !maps.Equal(got[len(got)-1], c.last) {
			t.Errorf("%s: %d rungs from %v to %v, want %d from %v to %v", c.name, len(got), got[0], got[len(got)-1], c.n, c.first, c.last)
		}
	}
}

func rankless() *onnx.Graph {
	g := onnx.NewGraph("rankless")
	g.AddInput("x", onnx.TensorOf(onnx.Float32))
	return g
}

func TestProbesRefuse(t *testing.T) {
	for _, c := range []struct {
		g    *onnx.Graph
		o    Options
		want string
	}{
		{bert(), Options{Dims: map[string]int64{"seq": 1 << 40}}, `input "a" would take more than 4294967296 bytes with shape [1,1099511627776]: fix its dimensions with --dim (bad option)`},
		{bert(), Options{Dims: map[string]int64{"len": 1}}, `--dim len=1: no input has this dimension; there are: batch, seq (bad option)`},
		{rankless(), Options{}, `input "x" has no known rank and type: no probe can be made for it (bad model)`},
		{bert(), Options{Values: map[string]string{"a": "x"}}, `--value a=x: "x" is no int64 (bad option)`},
	} {
		if _, err := Probes(c.g, c.o); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}
