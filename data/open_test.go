package data

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
	"pgregory.net/rapid"
)

// arrays is the contents of a .npz file, in no order.
type arrays map[string]*onnx.Tensor

// write puts files below a new folder and changes to it, so that messages show short paths. A file's contents are arrays
// (.npz), a tensor (.npy, or .pb with the name before the colon: "ids:input_0.pb"), or text.
func write(t *testing.T, files map[string]any) {
	t.Helper()
	t.Chdir(t.TempDir())
	for path, contents := range files {
		dir, base := filepath.Split(path)
		tensorName, base, named := strings.Cut(base, ":")
		if !named {
			tensorName, base = "", tensorName
		}
		path = filepath.Join(dir, base)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		switch c := contents.(type) {
		case string:
			b.WriteString(c)
		case arrays:
			w := npy.NewWriter(&b)
			for _, name := range slices.Sorted(maps.Keys(c)) {
				if err := w.Add(name, c[name]); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		case *onnx.Tensor:
			if filepath.Ext(path) == ".npy" {
				if err := npy.Write(&b, c); err != nil {
					t.Fatal(err)
				}
				break
			}
			p, err := onnx.MarshalTensor(tensorName, c)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(p)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// Three models: of one input, of two, and with a state and a rate.
func imageModel() *onnx.Graph {
	g := onnx.NewGraph("picture")
	g.AddInput("image", onnx.TensorOf(onnx.Float32, onnx.Symbol("N"), onnx.Fixed(3), onnx.Fixed(4), onnx.Fixed(5)))
	return g
}

func pairModel() *onnx.Graph {
	g := onnx.NewGraph("pair")
	g.AddInput("ids", onnx.TensorOf(onnx.Int64, onnx.Symbol("batch"), onnx.Symbol("T")))
	g.AddInput("mask", onnx.TensorOf(onnx.Int64, onnx.Symbol("batch"), onnx.Symbol("T")))
	add := g.Append(onnx.NodeSpec{Op: "Add", Inputs: g.Feeds(), Outputs: []string{"sum"}})
	g.AddOutput(add.Output(0))
	add.Output(0).Type = onnx.TensorOf(onnx.Int64)
	return g
}

func statefulModel() *onnx.Graph {
	g := onnx.NewGraph("stateful")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Symbol("batch"), onnx.Symbol("T")))
	h := g.AddInput("h", onnx.TensorOf(onnx.Float32, onnx.Fixed(2), onnx.Symbol("batch"), onnx.Fixed(4)))
	g.AddInput("sr", onnx.ScalarOf(onnx.Int64))
	for _, v := range []*onnx.Value{x, h} {
		n := g.Append(onnx.NodeSpec{Op: "Identity", Inputs: []*onnx.Value{v}, Outputs: []string{v.Name() + "n"}})
		g.AddOutput(n.Output(0))
	}
	return g
}

// marked is a tensor of zeros whose first element tells it apart.
func marked[E float32 | int64](mark E, dims ...int64) *onnx.Tensor {
	v := make([]E, onnx.NumElements(dims))
	if len(v) > 0 {
		v[0] = mark
	}
	return onnx.Of(v, dims...)
}

func img(mark float32) *onnx.Tensor { return marked(mark, 1, 3, 4, 5) }

func ids(mark int64) *onnx.Tensor { return marked(mark, 1, 2) }

// describe shows a set: a sequence a word, a sample as the marks of its inputs.
func describe(t *testing.T, s *Set) string {
	t.Helper()
	var b strings.Builder
	for i := range s.Len() {
		b.WriteString(" [")
		for sample := range s.Sequence(i) {
			feeds, err := sample.Feeds(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range slices.Sorted(maps.Keys(feeds)) {
				f, err := feeds[name].Float32s()
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, " %s=%v", name, f[0])
			}
			b.WriteString(";")
		}
		b.WriteString("]")
	}
	return strings.TrimSpace(b.String())
}

func TestLayouts(t *testing.T) {
	scalar := func(v int64) *onnx.Tensor { return onnx.Scalar(v) }
	state := Options{State: map[string]string{"hn": "h"}, Values: map[string]string{"sr": "16000"}}
	x := func(m float32) *onnx.Tensor { return marked(m, 1, 2) }
	for _, c := range []struct {
		name  string
		model *onnx.Graph
		files map[string]any
		path  string
		o     Options
		want  string
	}{
		{"npz files, numbers in order", imageModel(), map[string]any{
			"d/s_10.npz": arrays{"image": img(10)}, "d/s_9.npz": arrays{"image": img(9)}, "d/s_100.npz": arrays{"image": img(100)},
		}, "d", Options{}, "[ image=9;] [ image=10;] [ image=100;]"},
		{"npy files", imageModel(), map[string]any{"d/b.npy": img(2), "d/a.npy": img(1)}, "d", Options{}, "[ image=1;] [ image=2;]"},
		{"pb files", imageModel(), map[string]any{"d/b.pb": img(2), "d/image:a.pb": img(1)}, "d", Options{}, "[ image=1;] [ image=2;]"},
		{"all kinds, others passed over", imageModel(), map[string]any{
			"d/c.npz": arrays{"image": img(3)}, "d/a.npy": img(1), "d/b/image.npy": img(2), "d/labels.csv": "1,2", "d/.hidden.npz": "x", "d/b/notes.txt": "",
		}, "d", Options{}, "[ image=1;] [ image=2;] [ image=3;]"},
		{"one npz", imageModel(), map[string]any{"s.npz": arrays{"image": img(7)}}, "s.npz", Options{}, "[ image=7;]"},
		{"one npy", imageModel(), map[string]any{"s.npy": img(7)}, "s.npy", Options{}, "[ image=7;]"},
		{"one folder", pairModel(), map[string]any{"s/ids.npy": ids(1), "s/mask.npy": ids(2)}, "s", Options{}, "[ ids=1 mask=2;]"},
		{"one test_data_set", pairModel(), map[string]any{"s/input_0.pb": ids(1), "s/input_1.pb": ids(2)}, "s", Options{}, "[ ids=1 mask=2;]"},
		{"test_data_sets", pairModel(), map[string]any{
			"c/test_data_set_0/input_0.pb": ids(1), "c/test_data_set_0/input_1.pb": ids(2), "c/test_data_set_0/output_0.pb": ids(3),
			"c/test_data_set_1/input_0.pb": ids(4), "c/test_data_set_1/input_1.pb": ids(5), "c/model.onnx": "",
		}, "c", Options{}, "[ ids=1 mask=2;] [ ids=4 mask=5;]"},
		{"the protobuf's name wins", pairModel(), map[string]any{"s/mask:input_0.pb": ids(1), "s/ids:input_1.pb": ids(2)}, "s", Options{}, "[ ids=2 mask=1;]"},
		{"a name that is no input's does not", pairModel(), map[string]any{"s/foo:input_0.pb": ids(1), "s/bar:input_1.pb": ids(2)}, "s", Options{}, "[ ids=1 mask=2;]"},
		{"class folders without a state", imageModel(), map[string]any{
			"d/cat/1.npy": img(1), "d/cat/2.npy": img(2), "d/dog/1.npy": img(3),
		}, "d", Options{}, "[ image=1;] [ image=2;] [ image=3;]"},
		{"sequences", statefulModel(), map[string]any{
			"d/a/1.npz": arrays{"x": x(1), "h": marked[float32](9, 2, 1, 4)}, "d/a/2.npz": arrays{"x": x(2)}, "d/b/1.npy": x(3),
			"d/c/1/x.npy": x(4), "d/c/2/x.npy": x(5), "d/c/2/sr.npy": scalar(8000),
		}, "d", state, "[ h=9 sr=16000 x=1; h=0 sr=16000 x=2;] [ h=0 sr=16000 x=3;] [ h=0 sr=16000 x=4; h=0 sr=8000 x=5;]"},
		{"limit", imageModel(), map[string]any{
			"d/0.npy": img(0), "d/1.npy": img(1), "d/2.npy": img(2), "d/3.npy": img(3), "d/4.npy": img(4),
			"d/5.npy": img(5), "d/6.npy": img(6), "d/7.npy": img(7), "d/8.npy": img(8), "d/9.npy": img(9),
		}, "d", Options{Limit: 3}, "[ image=0;] [ image=3;] [ image=6;]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, c.files)
			s, err := Open(c.path, c.model, c.o)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(t, s); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if s.Source != Given {
				t.Errorf("source %s, want given", s.Source)
			}
		})
	}
}

func TestIR3InitializersAreNoInputs(t *testing.T) {
	g := onnx.NewGraph("old")
	g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(2)))
	g.AddConst("w", marked[float32](0, 2))
	g.AddInput("y", onnx.TensorOf(onnx.Float32, onnx.Fixed(2)))
	write(t, map[string]any{"s/input_0.pb": marked[float32](1, 2), "s/input_1.pb": marked[float32](2, 2)})
	s, err := Open("s", g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(t, s); got != "[ x=1 y=2;]" {
		t.Errorf("got %s", got)
	}
}

func TestErrors(t *testing.T) {
	nan := marked(float32(math.NaN()), 1, 3, 4, 5)
	inf := img(0)
	onnx.Data[float32](inf)[59] = float32(math.Inf(-1))
	state := Options{State: map[string]string{"hn": "h"}, Values: map[string]string{"sr": "16000"}}
	x := marked[float32](0, 1, 2)
	for _, c := range []struct {
		name  string
		model *onnx.Graph
		files map[string]any
		o     Options
		want  string
	}{
		{
			"no batch", imageModel(),
			map[string]any{"d/s.npz": arrays{"image": marked[float32](0, 3, 4, 5)}},
			Options{},
			`d/s.npz: array "image" has shape [3,4,5]; the model wants [N,3,4,5]: add the batch dimension`,
		},
		{
			"NHWC", imageModel(),
			map[string]any{"d/s.npy": marked[float32](0, 1, 4, 5, 3)},
			Options{},
			`d/s.npy: array "image" has shape [1,4,5,3]; the model wants [N,3,4,5]: transpose it from NHWC to NCHW`,
		},
		{
			"rank", imageModel(),
			map[string]any{"d/s.npy": marked[float32](0, 4)},
			Options{},
			`d/s.npy: array "image" has shape [4]; the model wants [N,3,4,5]`,
		},
		{
			"size", imageModel(),
			map[string]any{"d/s.npy": marked[float32](0, 1, 3, 4, 6)},
			Options{},
			`d/s.npy: array "image" has shape [1,3,4,6]; the model wants [N,3,4,5]`,
		},
		{
			"dim", imageModel(),
			map[string]any{"d/s.npy": marked[float32](0, 2, 3, 4, 5)},
			Options{Dims: map[string]int64{"N": 1}},
			`d/s.npy: array "image" has shape [2,3,4,5], which makes the dimension N of [N,3,4,5] 2; --dim says 1`,
		},
		{
			"symbols", pairModel(),
			map[string]any{"d/s.npz": arrays{"ids": marked[int64](0, 1, 2), "mask": marked[int64](0, 1, 3)}},
			Options{},
			`d/s.npz: array "mask" has shape [1,3], which makes the dimension T of [batch,T] 3; array "ids" makes it 2`,
		},
		{
			"batch split", statefulModel(),
			map[string]any{"d/s.npz": arrays{"x": marked[float32](0, 8, 2), "h": marked[float32](0, 8, 1, 4)}},
			state,
			`d/s.npz: array "h" has shape [8,1,4]; the model wants [2,batch,4]`,
		},
		{
			"missing", pairModel(),
			map[string]any{"d/s.npz": arrays{"ids": ids(0)}},
			Options{},
			`d/s.npz: array "mask" is missing; the model wants i64[batch,T]: add it, or give --value mask=V for a constant, --state OUTPUT=mask for a state`,
		},
		{
			"superfluous", imageModel(),
			map[string]any{"d/s.npz": arrays{"image": img(0), "label": ids(0)}},
			Options{},
			`d/s.npz: array "label" is superfluous; the model has image`,
		},
		{
			"superfluous file", pairModel(),
			map[string]any{"d/s/ids.npy": ids(0), "d/s/mask.npy": ids(0), "d/s/more.npy": ids(0)},
			Options{},
			`d/s/more.npy: superfluous: its folder is a sample of ids.npy, mask.npy and can hold nothing else`,
		},
		{
			"superfluous input", imageModel(),
			map[string]any{"d/s/input_0.pb": img(0), "d/s/input_1.pb": img(0)},
			Options{},
			`d/s/input_1.pb: superfluous; the model has image`,
		},
		{
			"twice", imageModel(),
			map[string]any{"d/s/input_0.pb": img(0), "d/s/image.npy": img(0)},
			Options{},
			`d/s/input_0.pb: array "image" is given twice, by image.npy too`,
		},
		{
			"type", imageModel(),
			map[string]any{"d/s.npy": onnx.Zeros(onnx.Uint8, 1, 3, 4, 5)},
			Options{},
			`d/s.npy: array "image" is uint8; the model wants float32`,
		},
		{
			"float for integer", pairModel(),
			map[string]any{"d/s.npz": arrays{"ids": marked[float32](0, 1, 2), "mask": ids(0)}},
			Options{},
			`d/s.npz: array "ids" is float32; the model wants int64`,
		},
		{"NaN", imageModel(), map[string]any{"d/s.npy": nan}, Options{}, `d/s.npy: array "image" holds NaN at [0,0,0,0]`},
		{"Inf", imageModel(), map[string]any{"d/s.npy": inf}, Options{}, `d/s.npy: array "image" holds -Inf at [0,2,3,4]`},
		{
			"overflow", imageModel(),
			map[string]any{"d/s.npy": onnx.Of(slices.Repeat([]float64{1e39}, 60), 1, 3, 4, 5)},
			Options{},
			`d/s.npy: array "image" holds 1e+39 at [0,0,0,0], which float32, the type that the model wants, cannot hold`,
		},
		{
			"one array of two", pairModel(),
			map[string]any{"d/s.npy": ids(0)},
			Options{},
			`d/s.npy: one array, but a sample of this model has 2: ids, mask; make a .npz file of them, or a folder with ids.npy, mask.npy`,
		},
		{
			"empty folder", imageModel(),
			map[string]any{"d/readme.txt": ""},
			Options{},
			`d: no samples in this folder: a sample is a .npz file, or a folder with image.npy`,
		},
		{
			"empty folder inside", imageModel(),
			map[string]any{"d/1.npy": img(0), "d/x/readme.txt": ""},
			Options{},
			`d/x: no samples in this folder: a sample is a .npz file, or a folder with image.npy`,
		},
		{
			"too deep", imageModel(),
			map[string]any{"d/a/b/c/image.npy": img(0)},
			Options{},
			`d/a/b: no sample; b is the deepest folder that is looked into, and should hold image.npy`,
		},
		{
			"damaged npz", imageModel(),
			map[string]any{"d/s.npz": "PK, but not for long"},
			Options{},
			`d/s.npz: no .npz archive: it is no zip file, or a truncated one`,
		},
		{
			"damaged array", imageModel(),
			map[string]any{"d/s.npz": arrays{"image": onnx.New(onnx.Float32, []int64{1, 3, 4, 5}, make([]byte, 240))}, "d/t.npy": "text, and no array"},
			Options{},
			`d/t.npy: no .npy array: it does not begin with NumPy's signature`,
		},
		{
			"damaged npy", imageModel(),
			map[string]any{"d/s.npy": "\x93NUMPY\x01\x00"},
			Options{},
			`d/s.npy: the file ends inside the header`,
		},
		{
			"state of the wrong shape", statefulModel(),
			map[string]any{"d/a/1.npz": arrays{"x": x, "h": marked[float32](0, 2, 2, 4)}},
			state,
			`d/a/1.npz: array "x" has shape [1,2], which makes the dimension batch of [batch,T] 1; array "h" makes it 2`,
		},
		{
			"unknown state input", statefulModel(), nil,
			Options{State: map[string]string{"hn": "g"}},
			`--state hn=g: the model has no input "g"; it has x, h, sr`,
		},
		{
			"unknown state output", statefulModel(), nil,
			Options{State: map[string]string{"gn": "h"}},
			`--state gn=h: the model has no output "gn"; it has xn, hn`,
		},
		{
			"state fed twice", statefulModel(), nil,
			Options{State: map[string]string{"hn": "h", "xn": "h"}},
			`--state: both hn and xn are fed back into "h"`,
		},
		{
			"unknown dim", statefulModel(), nil,
			Options{Dims: map[string]int64{"B": 1}},
			`--dim B=1: no input has this dimension; there are: batch, T`,
		},
		{"negative dim", statefulModel(), nil, Options{Dims: map[string]int64{"T": -1}}, `--dim T=-1: a size cannot be negative`},
		{
			"unknown value", statefulModel(), nil,
			Options{Values: map[string]string{"rate": "1"}},
			`--value rate=1: the model has no input "rate"; it has x, h, sr`,
		},
		{"value of another type", statefulModel(), nil, Options{Values: map[string]string{"sr": "fast"}}, `--value sr=fast: "fast" is no int64`},
		{"value of another shape", statefulModel(), nil, Options{Values: map[string]string{"sr": "1,2"}}, `--value sr=1,2: 2 numbers for the 1 elements of []`},
		{
			"huge value", statefulModel(), nil,
			Options{Values: map[string]string{"x": "1"}, Dims: map[string]int64{"T": 1 << 40}},
			`input "x" would take more than 4294967296 bytes with shape [1,1099511627776]: fix its dimensions with --dim`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, c.files)
			s, err := Open("d", c.model, c.o)
			if err == nil {
				for i := range s.Len() {
					for sample := range s.Sequence(i) {
						if _, err = sample.Feeds(nil); err != nil {
							break
						}
					}
				}
			}
			if err == nil {
				t.Fatal("no error")
			}
			want, kind := c.want, ErrBadData
			if c.files == nil {
				want, kind = c.want+" (bad option)", ErrBadOption
			}
			if err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
			if !errors.Is(err, kind) {
				t.Errorf("does not wrap %v", kind)
			}
			var e *Error
			if kind == ErrBadData && (!errors.As(err, &e) || !strings.HasPrefix(e.File, "d")) {
				t.Errorf("no *Error with a file: %v", err)
			}
		})
	}
}

func TestNothingAtThePath(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none"), imageModel(), Options{})
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrBadData) {
		t.Errorf("got %v, want fs.ErrNotExist alone", err)
	}
}

func TestFilesThatChangeUnderUs(t *testing.T) {
	write(t, map[string]any{"d/1.npy": img(0), "d/2.npz": arrays{"image": img(0)}, "d/3/input_0.pb": img(0)})
	s, err := Open("d", imageModel(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want ...string) {
		t.Helper()
		for i := range s.Len() {
			for sample := range s.Sequence(i) {
				_, err := sample.Feeds(nil)
				if err == nil || err.Error() != want[i] || !errors.Is(err, ErrBadData) {
					t.Errorf("sample %d: got %v, want %s", i, err, want[i])
				}
			}
		}
	}
	wrong := map[string]any{"1.npy": marked[float32](0, 2), "2.npz": arrays{}, "3/input_0.pb": marked[int64](0, 1, 3, 4, 5)}
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	write(t, wrong)
	files := []string{"1.npy", "2.npz", "3/input_0.pb"}
	for _, f := range files {
		if err := os.Rename(f, filepath.Join(cwd, "d", f)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(cwd)
	expect(
		`d/1.npy: array "image" has shape [2]; the model wants [N,3,4,5]`,
		`d/2.npz: array "image" is missing; the model wants f32[N,3,4,5]: add it, or give --value image=V for a constant, --state OUTPUT=image for a state`,
		`d/3/input_0.pb: array "image" is int64; the model wants float32`)
	if err := os.RemoveAll("d"); err != nil {
		t.Fatal(err)
	}
	expect("d/1.npy: no such file or directory", "d/2.npz: no such file or directory", "d/3/input_0.pb: no such file or directory")
}

func TestOtherFiles(t *testing.T) {
	damaged := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	write(t, map[string]any{"notes.txt": "", "d/s.npz": arrays{"image": img(0)}, "d/x.pb": "\x0a\xff"})
	b, err := os.ReadFile("d/s.npz")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("s.npz", damaged(b), 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"notes.txt": "notes.txt: no sample: a file must be .npz, .npy or .pb",
		"s.npz":     `s.npz: array "image" cannot be read: the archive is damaged: wrong checksum`,
		"d/x.pb":    "d/x.pb: damaged or truncated: dims of TensorProto: unexpected EOF",
	} {
		s, err := Open(path, imageModel(), Options{})
		if err == nil {
			for sample := range s.Sequence(0) {
				_, err = sample.Feeds(nil)
			}
		}
		if err == nil || err.Error() != want || !errors.Is(err, ErrBadData) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestOutputsThatAreNoTensorsAreLeftOut(t *testing.T) {
	g := pairModel()
	g.Outputs()[0].Type = &onnx.Type{Kind: onnx.KindSequence, Inner: onnx.TensorOf(onnx.Int64)}
	write(t, map[string]any{"s/input_0.pb": ids(1), "s/input_1.pb": ids(2), "s/output_0.pb": "\x0a\xff"})
	s, err := Open("s", g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for sample := range s.Sequence(0) {
		if out, err := sample.Expected(); err != nil || len(out) != 0 {
			t.Errorf("got %v, %v", out, err)
		}
	}
	g.AddInput("list", &onnx.Type{Kind: onnx.KindSequence, Inner: onnx.TensorOf(onnx.Int64)})
	_, err = Open("s", g, Options{})
	if want := `input "list" is seq(i64[...]): only tensors can be given as data (bad model)`; err == nil || err.Error() != want || !errors.Is(err, onnx.ErrBadModel) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Iterating keeps nothing: the live memory is that of one sample.
func TestMemoryIsThatOfOneSample(t *testing.T) {
	g := onnx.NewGraph("big")
	g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(1<<18)))
	files := map[string]any{}
	for i := range 24 {
		files[fmt.Sprintf("d/%d.npy", i)] = marked(float32(i), 1<<18)
	}
	write(t, files)
	clear(files)
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	s, err := Open("d", g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Len() {
		for sample := range s.Sequence(i) {
			feeds, err := sample.Feeds(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := onnx.Data[float32](feeds["x"])[0]; got != float32(i) {
				t.Fatalf("sample %d holds %v", i, got)
			}
		}
		if now := live(); now > before+2<<20 {
			t.Fatalf("after sample %d %d bytes are live, %d more than before", i, now, now-before)
		}
	}
}

func TestExpectedOutputs(t *testing.T) {
	write(t, map[string]any{"s/input_0.pb": ids(1), "s/input_1.pb": ids(2), "s/output_0.pb": ids(3), "p.npz": arrays{"ids": ids(0), "mask": ids(0)}})
	for path, want := range map[string][]int64{"s": {3, 0}, "p.npz": nil} {
		s, err := Open(path, pairModel(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for sample := range s.Sequence(0) {
			out, err := sample.Expected()
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				if out != nil {
					t.Errorf("%s: got %v, want none", path, out)
				}
				continue
			}
			if len(out) != 1 || !slices.Equal(onnx.Data[int64](out["sum"]), want) {
				t.Errorf("%s: got %v, want sum = %v", path, out, want)
			}
		}
	}
}

func TestState(t *testing.T) {
	write(t, map[string]any{
		"d/a/1.npz": arrays{"x": marked[float32](1, 3, 2)},
		"d/a/2.npz": arrays{"x": marked[float32](2, 3, 2)},
		"d/a/3.npz": arrays{"x": marked[float32](3, 3, 2), "h": marked[float32](5, 2, 3, 4)},
	})
	s, err := Open("d", statefulModel(), Options{State: map[string]string{"hn": "h"}, Values: map[string]string{"sr": "8000"}})
	if err != nil {
		t.Fatal(err)
	}
	samples := slices.Collect(s.Sequence(0))
	previous := map[string]*onnx.Tensor{"xn": nil, "hn": marked[float32](42, 2, 3, 4)}
	for _, c := range []struct {
		sample   int
		previous map[string]*onnx.Tensor
		want     float32
	}{{0, nil, 0}, {1, previous, 42}, {2, previous, 5}} {
		feeds, err := samples[c.sample].Feeds(c.previous)
		if err != nil {
			t.Fatal(err)
		}
		h := feeds["h"]
		if got := onnx.Data[float32](h)[0]; got != c.want || !slices.Equal(h.Dims, []int64{2, 3, 4}) {
			t.Errorf("sample %d: h is %v %v, want %v [2 3 4]: the batch is that of x", c.sample, got, h.Dims, c.want)
		}
	}
	_, err = samples[1].Feeds(map[string]*onnx.Tensor{})
	if want := `d/a/2.npz: array "h" is fed from the output "hn", which the sample before did not yield`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = samples[1].Feeds(map[string]*onnx.Tensor{"hn": marked[float32](42, 2, 1, 4)})
	if want := `d/a/2.npz: array "h" has shape [2,1,4], which makes the dimension batch of [2,batch,4] 1; array "x" makes it 3`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestRun(t *testing.T) {
	files := map[string]any{}
	for i := range 4 {
		files[fmt.Sprintf("d/a/%d.npz", i)] = arrays{"x": marked[float32](0, 3, 2)}
	}
	write(t, files)
	s, err := Open("d", statefulModel(), Options{State: map[string]string{"hn": "h"}, Values: map[string]string{"sr": "8000"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.States(); !slices.Equal(got, []string{"hn"}) {
		t.Errorf("states %v", got)
	}
	stop := errors.New("stop")
	for _, c := range []struct {
		limit int
		stop  string
		want  []float32 // the states that are fed
	}{{0, "", []float32{0, 1, 2, 3}}, {2, "", []float32{0, 1}}, {9, "", []float32{0, 1, 2, 3}}, {0, "d/a/1.npz", []float32{0, 1}}} {
		var got []float32
		err := s.Run(0, c.limit, func(sample *Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			got = append(got, onnx.Data[float32](feeds["h"])[0])
			if sample.Name == c.stop {
				return nil, stop
			}
			return map[string]*onnx.Tensor{"hn": marked[float32](float32(len(got)), 2, 3, 4)}, nil
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("limit %d, stop %q: states %v, want %v", c.limit, c.stop, got, c.want)
		}
		if c.stop == "" && err != nil || c.stop != "" && (!errors.Is(err, stop) || err.Error() != c.stop+": stop") {
			t.Errorf("limit %d, stop %q: %v", c.limit, c.stop, err)
		}
	}
}

func TestStateOfUnknownShape(t *testing.T) {
	g := statefulModel()
	g.Value("h").Type = onnx.TensorOf(onnx.Float32)
	write(t, map[string]any{"s.npz": arrays{"x": marked[float32](1, 3, 2), "sr": onnx.Scalar(int64(1))}})
	s, err := Open("s.npz", g, Options{State: map[string]string{"hn": "h"}})
	if err != nil {
		t.Fatal(err)
	}
	for sample := range s.Sequence(0) {
		_, err := sample.Feeds(nil)
		want := `s.npz: array "h" is missing, and the model does not say the shape and type that it begins with as zero: add it to the first sample`
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestExporterSymbols(t *testing.T) {
	g := onnx.NewGraph("cache")
	g.AddInput("ids", onnx.TensorOf(onnx.Int64, onnx.Fixed(1), onnx.Symbol("seq")))
	g.AddInput("mask", onnx.TensorOf(onnx.Int64, onnx.Fixed(1), onnx.Symbol("past + 2*seq")))
	g.AddInput("past", onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Symbol("past")))
	g.AddInput("grid", onnx.TensorOf(onnx.Float32, onnx.Symbol("?"), onnx.Symbol("?"), onnx.Symbol("")))
	write(t, map[string]any{"s.npz": arrays{"ids": marked[int64](0, 1, 3), "past": marked[float32](0, 1, 4), "grid": marked[float32](0, 2, 3, 4)}})
	s, err := Open("s.npz", g, Options{Values: map[string]string{"mask": "1"}, Dims: map[string]int64{"grid[2]": 4}})
	if err != nil {
		t.Fatal(err)
	}
	for sample := range s.Sequence(0) {
		feeds, err := sample.Feeds(nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := feeds["mask"].Dims; !slices.Equal(d, []int64{1, 10}) {
			t.Errorf("mask has shape %v, want [1 10]: past 4 + 2 * seq 3", d)
		}
	}
	_, err = Open("s.npz", g, Options{Values: map[string]string{"mask": "1"}, Dims: map[string]int64{"grid[1]": 5}})
	if want := `s.npz: array "grid" has shape [2,3,4], which makes the dimension grid[1] of [?,?,?] 3; --dim says 5`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func oneSampleSequences(n int) [][]*Sample {
	q := make([][]*Sample, n)
	for i := range q {
		q[i] = []*Sample{{Name: fmt.Sprint(i)}}
	}
	return q
}

func sampleNames(s *Set) string {
	var all []string
	for i := range s.Len() {
		for x := range s.Sequence(i) {
			all = append(all, x.Name)
		}
	}
	return strings.Join(all, " ")
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		n      int
		source Source
		verify string
		want   Source
	}{
		{15, Given, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14", Seen},
		{16, Given, "7 15", HeldBack},
		{25, Given, "7 15 23", HeldBack},
		{16, Synthetic, "7 15", Synthetic},
		{2, Synthetic, "0 1", Synthetic},
	} {
		s := &Set{Source: c.source, sequences: oneSampleSequences(c.n)}
		calibrate, verify := s.Split()
		if got := sampleNames(verify); got != c.verify || verify.Source != c.want {
			t.Errorf("%d: verify on %s (%s), want %s (%s)", c.n, got, verify.Source, c.verify, c.want)
		}
		if n := calibrate.Samples() + verify.Samples(); verify.Source == HeldBack && n != c.n {
			t.Errorf("%d: %d samples after the split", c.n, n)
		}
		if calibrate.Source != c.source {
			t.Errorf("%d: calibrate is %s", c.n, calibrate.Source)
		}
	}
}

func TestLimitSpreadsOverSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lengths := rapid.SliceOfN(rapid.IntRange(1, 9), 1, 12).Draw(t, "lengths")
		n := rapid.IntRange(1, 60).Draw(t, "n")
		var all [][]*Sample
		total := 0
		for i, l := range lengths {
			all = append(all, nil)
			for k := range l {
				all[i] = append(all[i], &Sample{Name: fmt.Sprintf("%d/%d", i, k)})
			}
			total += l
		}
		kept := &Set{sequences: limit(all, n)}
		if got := kept.Samples(); got > n || got > total || n >= total && n >= 9*len(lengths) && got != total {
			t.Fatalf("%d of %d samples with limit %d", got, total, n)
		}
		if got, want := kept.Len(), min(n, len(lengths)); got != want {
			t.Fatalf("%d sequences, want %d", got, want)
		}
		for i := range kept.Len() {
			k := 0
			for s := range kept.Sequence(i) {
				if want := fmt.Sprintf("%d/%d", i*len(lengths)/kept.Len(), k); s.Name != want {
					t.Fatalf("sequence %d has %s at %d, want %s", i, s.Name, k, want)
				}
				k++
			}
		}
	})
}

func TestLabels(t *testing.T) {
	y := onnx.Of([]int64{3, -100}, 2)
	write(t, map[string]any{
		"files/a.npz": arrays{"image": img(1), "y": y}, "files/b.npz": arrays{"image": img(2), "y": onnx.Of([]uint8{7}, 1)},
		"folders/a/image.npy": img(1), "folders/a/y.npy": y,
	})
	for path, want := range map[string][][]int64{"files": {{3, -100}, {7}}, "folders": {{3, -100}}} {
		set, err := Open(path, imageModel(), Options{Labels: "y"})
		if err != nil {
			t.Fatal(err)
		}
		for i, labels := range want {
			for s := range set.Sequence(i) {
				got, err := s.Labels()
				feeds, feedErr := s.Feeds(nil)
				if err != nil || feedErr != nil || !slices.Equal(got, labels) || len(feeds) != 1 {
					t.Errorf("%s: labels %v, %v; feeds %v, %v", path, got, err, feeds, feedErr)
				}
			}
		}
	}
	for _, c := range []struct {
		path, labels, want string
		kind               error
	}{
		{"files", "image", "--labels image: the model has an input of that name", ErrBadOption},
		{"files", "z", `array "y" is superfluous`, ErrBadData},
		{"files", "", `array "y" is superfluous`, ErrBadData},
		{"floats.npz", "y", `array "y" is float32`, ErrBadData},
		{"none.npz", "y", `array "y" is missing: --labels names it`, ErrBadData},
	} {
		write(t, map[string]any{
			"files/a.npz": arrays{"image": img(1), "y": y}, "none.npz": arrays{"image": img(1)}, "floats.npz": arrays{"image": img(1), "y": marked[float32](1, 1)},
		})
		if _, err := Open(c.path, imageModel(), Options{Labels: c.labels}); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, labels %q: %v, want %q", c.path, c.labels, err, c.want)
		}
	}
	some, err := Open("none.npz", imageModel(), Options{Labels: "y", Unlabelled: true})
	if err != nil {
		t.Fatal(err)
	}
	for s := range some.Sequence(0) {
		if labels, err := s.Labels(); labels != nil || err != nil {
			t.Errorf("of a sample that may lack them: %v, %v", labels, err)
		}
	}
	set, err := Open("files", imageModel(), Options{Labels: "y"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove("files/a.npz"); err != nil {
		t.Fatal(err)
	}
	for s := range set.Sequence(0) {
		if _, err := s.Labels(); !errors.Is(err, ErrBadData) {
			t.Errorf("of a file that is gone: %v", err)
		}
	}
}

func TestLimited(t *testing.T) {
	set := &Set{Source: Given, sequences: [][]*Sample{{{Name: "a"}}, {{Name: "b"}}, {{Name: "c"}}, {{Name: "d"}}}}
	for n, want := range map[int]string{0: "abcd", 2: "ac", 9: "abcd"} {
		got := ""
		some := set.Limited(n)
		for i := range some.Len() {
			for s := range some.Sequence(i) {
				got += s.Name
			}
		}
		if got != want || some.Source != Given {
			t.Errorf("%d of them: %s, want %s", n, got, want)
		}
	}
}
