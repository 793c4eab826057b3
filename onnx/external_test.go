package onnx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// externalModel serializes a model whose initializer w, 4 bytes long, has the given external data.
func externalModel(t *testing.T, entries ...string) []byte {
	t.Helper()
	w := &onnxpb.TensorProto{Name: proto.String("w"), DataType: proto.Int32(int32(Uint8)), Dims: []int64{4}, DataLocation: onnxpb.TensorProto_EXTERNAL.Enum()}
	for i := 0; i < len(entries); i += 2 {
		w.ExternalData = append(w.ExternalData, &onnxpb.StringStringEntryProto{Key: &entries[i], Value: &entries[i+1]})
	}
	return marshal(t, &onnxpb.ModelProto{Graph: &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{w}}})
}

func TestExternalData(t *testing.T) {
	outside := t.TempDir()
	dir := t.TempDir()
	files := map[string]string{
		filepath.Join(outside, "secret"): "SECRET!!",
		filepath.Join(dir, "w.bin"):      "01234567",
		filepath.Join(dir, "sub", "w"):   "abcd",
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, s := range files {
		if err := os.WriteFile(name, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"out": filepath.Join(outside, "secret"), "outdir": outside, "in": "w.bin", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skip("there are no symbolic links here:", err)
		}
	}
	for _, c := range []struct {
		name    string
		entries []string
		want    string
		err     string
	}{
		{"whole", []string{"location", "sub/w"}, "abcd", ""},
		{"offset and length", []string{"location", "w.bin", "offset", "2", "length", "4"}, "2345", ""},
		{"offset only", []string{"location", "w.bin", "offset", "4"}, "4567", ""},
		{"a link inside the folder", []string{"location", "in", "length", "4"}, "0123", ""},
		{"detour inside the folder", []string{"location", "sub/../w.bin"}, "0123", ""},
		{"parent folder", []string{"location", "../secret"}, "", "outside of the model's folder"},
		{"hidden parent folder", []string{"location", "sub/../../x"}, "", "outside of the model's folder"},
		{"absolute", []string{"location", filepath.Join(outside, "secret")}, "", "absolute path"},
		{"link out", []string{"location", "out"}, "", "may not lead out"},
		{"folder link out", []string{"location", "outdir/secret"}, "", "may not lead out"},
		{"link to itself", []string{"location", "loop"}, "", "cannot be used"},
		{"missing", []string{"location", "nothere.bin"}, "", "nothere.bin\" is missing"},
		{"a folder", []string{"location", "sub"}, "", "no regular file"},
		{"no location", nil, "", "name no file"},
		{"NUL", []string{"location", "a\x00b"}, "", "impossible name"},
		{"past the end", []string{"location", "w.bin", "offset", "6"}, "", "lie outside"},
		{"far past the end", []string{"location", "w.bin", "offset", "9223372036854775807"}, "", "lie outside"},
		{"negative offset", []string{"location", "w.bin", "offset", "-1"}, "", "lie outside"},
		{"negative length", []string{"location", "w.bin", "length", "-4"}, "", "lie outside"},
		{"wrong length", []string{"location", "w.bin", "length", "5"}, "", "ask for 4"},
		{"no number", []string{"location", "w.bin", "offset", "four"}, "", "\"four\" is no number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, "m.onnx")
			b := externalModel(t, c.entries...)
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(b); err == nil || !strings.Contains(err.Error(), "was not read from a file") || !errors.Is(err, ErrBadModel) {
				if !strings.Contains(c.err, "no number") {
					t.Errorf("Parse: %v", err)
				}
			}
			m, err := Read(path)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), `initializer "w"`) || !errors.Is(err, ErrBadModel) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if got := string(m.Graph.Value("w").Const().Bytes()); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// bigModel returns a model with tensors large enough for an external file, one of them twice, and a small one.
func bigModel() *Model {
	m := &Model{IRVersion: 8, Opsets: []Opset{{"", 17}}, Graph: NewGraph("g")}
	fill := func(n int64, k byte) *Tensor {
		x := Zeros(Uint8, n)
		for i := range x.Bytes() {
			x.Bytes()[i] = k + byte(i%7)
		}
		return x
	}
	a := fill(100_000, 1)
	small := m.Graph.AddConst("small", fill(1023, 2))
	n := m.Graph.Append(NodeSpec{Op: "Concat", Inputs: []*Value{
		m.Graph.AddConst("a", a), m.Graph.AddConst("b", fill(1024, 3)), m.Graph.AddConst("again", a), small,
	}, Outputs: []string{"y"}, Attrs: []*Attribute{AttrI("axis", 0)}})
	m.Graph.AddOutput(n.Output(0))
	return m
}

// folder lists the files of a folder with their contents.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func sameConsts(t *testing.T, a, b *Model) {
	t.Helper()
	if len(a.Graph.Consts()) != len(b.Graph.Consts()) {
		t.Fatalf("%d and %d initializers", len(a.Graph.Consts()), len(b.Graph.Consts()))
	}
	for i, v := range a.Graph.Consts() {
		w := b.Graph.Consts()[i]
		if v.Name() != w.Name() || !bytes.Equal(v.Const().Bytes(), w.Const().Bytes()) {
			t.Errorf("initializer %s differs from %s", v, w)
		}
	}
}

func TestWriteExternal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.onnx")
	m := bigModel()
	ctx := context.Background()
	if err := m.WriteFile(ctx, path, WriteOptions{External: true}); err != nil {
		t.Fatal(err)
	}
	first := folder(t, dir)
	var data string
	for name := range first {
		if strings.HasPrefix(name, "out.onnx.") && strings.HasSuffix(name, ".data") {
			data = name
		}
	}
	if len(first) != 2 || data == "" {
		t.Fatalf("files %v", slices.Collect(mapsKeys(first)))
	}
	// a at 0, b at the next page; the second use of a is not stored again, small not at all.
	if got, want := len(first[data]), (100_000+4095)/4096*4096+1024; got != want {
		t.Errorf("%d bytes of external data, want %d", got, want)
	}
	if len(first["out.onnx"]) > 3000 {
		t.Errorf("the model has %d bytes", len(first["out.onnx"]))
	}
	back, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	sameConsts(t, m, back)

	// A model that had external data keeps them, in a file of its own; the same model gives the same bytes.
	other := t.TempDir()
	for range 2 {
		if err := back.Write(filepath.Join(other, "out.onnx")); err != nil {
			t.Fatal(err)
		}
	}
	if got := folder(t, other); len(got) != 2 || got["out.onnx"] != first["out.onnx"] || got[data] != first[data] {
		t.Errorf("written again: other files or contents")
	}

	// Nothing that the model was read from is written.
	if err := back.Write(path); err == nil || !strings.Contains(err.Error(), "read from this file") {
		t.Errorf("overwriting the input: %v", err)
	}
	if err := back.WriteFile(ctx, filepath.Join(dir, data), WriteOptions{Overwrite: true}); err == nil {
		t.Error("the external data were overwritten by a model")
	}
	back.Graph.Consts()[0].SetConst(Zeros(Uint8, 1023))
	if err := back.WriteFile(ctx, path, WriteOptions{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	got := folder(t, dir)
	if len(got) != 2 || got[data] != first[data] || got["out.onnx"] == first["out.onnx"] {
		t.Error("the model was not replaced, or more than it")
	}
	again, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	sameConsts(t, back, again)
	if inline, err := again.Marshal(); err != nil {
		t.Error(err)
	} else if p, err := Parse(inline); err != nil {
		t.Error(err)
	} else {
		sameConsts(t, again, p)
	}
}

// TestClose shares mapped files between clones and goroutines: the last Close gives them back.
func TestClose(t *testing.T) {
	for _, external := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "m.onnx")
		want := bigModel()
		if err := want.WriteFile(context.Background(), path, WriteOptions{External: external}); err != nil {
			t.Fatal(err)
		}
		live := len(mappings.list)
		m, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		c := m.Clone()
		m.Close()
		m.Close()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for _, v := range c.Graph.Consts() {
					v.Const().Bytes()
				}
			})
		}
		wg.Wait()
		sameConsts(t, want, c)
		if runtime.GOOS == "linux" && len(mappings.list) != live+1 {
			t.Errorf("%d files are mapped", len(mappings.list)-live)
		}
		c.Close()
		if len(mappings.list) != live {
			t.Errorf("%d files stay mapped", len(mappings.list)-live)
		}
	}
}

// TestLargeModelsGoExternal lowers the limit of 2 GB: beyond it data go to a file of their own without being asked.
func TestLargeModelsGoExternal(t *testing.T) {
	defer func(old int64) { maxModel = old }(maxModel)
	maxModel = 50_000
	dir := t.TempDir()
	m := bigModel()
	if err := m.Write(filepath.Join(dir, "out.onnx")); err != nil {
		t.Fatal(err)
	}
	if got := folder(t, dir); len(got) != 2 || len(got["out.onnx"]) > 3000 {
		t.Errorf("%d files, the model has %d bytes", len(got), len(got["out.onnx"]))
	}
	if _, err := m.Marshal(); err == nil || !strings.Contains(err.Error(), "2 GB") {
		t.Errorf("Marshal: %v", err)
	}
	maxModel = 100
	for name := range folder(t, dir) {
		os.Remove(filepath.Join(dir, name))
	}
	if err := m.Write(filepath.Join(dir, "out.onnx")); err == nil || !strings.Contains(err.Error(), "beside its external data") {
		t.Errorf("Write: %v", err)
	}
	if got := folder(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", slices.Collect(mapsKeys(got)))
	}
}

func mapsKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestWriteIsWholeOrNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.onnx")
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("out.onnx", filepath.Join(dir, "link")); err != nil {
		t.Skip("there are no symbolic links here:", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	damaged := bigModel()
	damaged.Graph.AddConst("bad", &Tensor{Type: Float32, Dims: []int64{1}, load: func() ([]byte, [][]byte, error) { return nil, nil, badModel("bad tensor") }})
	for _, c := range []struct {
		name string
		m    *Model
		ctx  context.Context
		path string
		want error
	}{
		{"cancelled", bigModel(), cancelled, path, context.Canceled},
		{"damaged tensor", damaged, context.Background(), path, ErrBadModel},
		{"no folder", bigModel(), context.Background(), filepath.Join(dir, "none", "x.onnx"), fs.ErrNotExist},
		{"a folder", bigModel(), context.Background(), dir, nil},
	} {
		for _, external := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s external=%v", c.name, external), func(t *testing.T) {
				err := c.m.WriteFile(c.ctx, c.path, WriteOptions{External: external})
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.path) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if got := folder(t, dir); len(got) != 2 || got["out.onnx"] != "old" {
					t.Errorf("the folder changed: %v", slices.Collect(mapsKeys(got)))
				}
			})
		}
	}
	if err := bigModel().Write(filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(filepath.Join(dir, "link")); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced (%v)", err)
	}
	m, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	sameConsts(t, bigModel(), m)
	if st, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o640 {
		t.Errorf("permissions %v, those of the replaced file were 0640 (%v)", st.Mode(), err)
	}
}

type failingWriter struct{ after int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.after {
		return w.after, fs.ErrClosed
	}
	w.after -= len(p)
	return len(p), nil
}

func TestWriteTo(t *testing.T) {
	m := bigModel()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []int{0, 1, len(b) / 2, len(b) - 1} {
		if n, err := m.WriteTo(&failingWriter{k}); !errors.Is(err, fs.ErrClosed) || n > int64(k) {
			t.Errorf("%d bytes, error %v", n, err)
		}
	}
	if n, err := m.WriteTo(&failingWriter{len(b)}); err != nil || n != int64(len(b)) {
		t.Errorf("%d bytes, error %v", n, err)
	}
}

// TestTruncatedUnderUs cuts the mapped file while the model is in use.
func TestTruncatedUnderUs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only where files are mapped")
	}
	for _, external := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "m.onnx")
		if err := bigModel().WriteFile(context.Background(), path, WriteOptions{External: external}); err != nil {
			t.Fatal(err)
		}
		m, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		a := m.Graph.Value("a").Const()
		a.Bytes()
		files, _ := filepath.Glob(path + "*")
		for _, f := range files {
			if err := os.Truncate(f, 10); err != nil {
				t.Fatal(err)
			}
		}
		sum := 0
		err = Guard(func() error {
			for _, x := range a.Bytes() {
				sum += int(x)
			}
			return nil
		})
		if !errors.Is(err, ErrBadModel) || !strings.Contains(err.Error(), "truncated") {
			t.Errorf("sum %d, error %v", sum, err)
		}
		if _, err := m.Marshal(); !errors.Is(err, ErrBadModel) {
			t.Errorf("Marshal: %v", err)
		}
		out := t.TempDir()
		if err := m.Write(filepath.Join(out, "out.onnx")); !errors.Is(err, ErrBadModel) {
			t.Errorf("Write: %v", err)
		}
		if got := folder(t, out); len(got) != 0 {
			t.Errorf("left behind: %v", slices.Collect(mapsKeys(got)))
		}
		m.Close()
	}
	if err := Guard(func() error { return fs.ErrExist }); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Guard does not hand on the error: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("Guard hides faults that are no file's")
		}
	}()
	_ = Guard(func() error { var p *int; *p = 1; return nil })
}

// TestGigabyte reads a model of 1 GB, most of which is a hole in the file.
func TestGigabyte(t *testing.T) {
	const size = 1 << 30
	path := filepath.Join(t.TempDir(), "big.onnx")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	header := func(num byte, n int) []byte { // a field whose body of n bytes follows
		b := []byte{num<<3 | 2, 0, 0, 0, 0, 0}
		putLength(b[1:], n)
		return b
	}
	tensor := rawTensor(Uint8, []int64{size}, bytesField(8, 'w'), header(rawData, size))
	inGraph := append(header(5, len(tensor)+size), tensor...)
	head := append(header(7, len(inGraph)+size), inGraph...)
	if _, err := f.Write(head); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(int64(len(head)) + size); err != nil {
		t.Skipf("there is no room for a sparse file of %d MB: %v", size>>20, err)
	}
	f.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d bytes allocated", allocated)
	if runtime.GOOS == "linux" && allocated > 1<<20 {
		t.Errorf("reading allocated %d bytes", allocated)
	}
	if b := m.Graph.Value("w").Const().Bytes(); len(b) != size || b[0] != 0 || b[size-1] != 0 {
		t.Errorf("%d bytes", len(b))
	}
}
