package npy

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/zqonnx/zqonnx/onnx"
	"pgregory.net/rapid"
)

func readFile(t *testing.T, name string) (*onnx.Tensor, error) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return Read(bytes.NewReader(b), int64(len(b)))
}

// The files in testdata were written by NumPy 2: np.save of np.arange(6).reshape(2, 3), minus 2 for signed types, plus one
// half for floats, with an imaginary part of arange for complex ones; even numbers as True for bool.
func TestNumericFilesOfNumPy(t *testing.T) {
	for kind, d := range dtypes {
		for _, order := range []string{"le", "be"} {
			if order == "be" && d.typ.Bits() == 8 {
				continue
			}
			name := order + "_" + kind + ".npy"
			t.Run(name, func(t *testing.T) {
				got, err := readFile(t, name)
				if err != nil {
					t.Fatal(err)
				}
				if got.Type != d.typ || !slices.Equal(got.Dims, []int64{2, 3}) {
					t.Fatalf("got %s%v, want %s[2 3]", got.Type, got.Dims, d.typ)
				}
				for i := range 6 {
					want := float64(i)
					if kind[0] != 'u' && kind[0] != 'b' {
						want -= 2
					}
					switch kind[0] {
					case 'f':
						want += 0.5
					case 'b':
						want = float64((i + 1) % 2)
					}
					if got := element(got, i); got != want {
						t.Errorf("element %d: got %v, want %v", i, got, want)
					}
					if kind[0] == 'c' {
						if got := imaginary(got, i); got != float64(i) {
							t.Errorf("element %d: imaginary part %v, want %d", i, got, i)
						}
					}
				}
			})
		}
	}
}

func element(t *onnx.Tensor, i int) float64 {
	switch b := t.Bytes(); t.Type {
	case onnx.Complex64:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b[8*i:])))
	case onnx.Complex128:
		return math.Float64frombits(binary.LittleEndian.Uint64(b[16*i:]))
	}
	f, err := t.Float32s()
	if err != nil {
		panic(err)
	}
	return float64(f[i])
}

func imaginary(t *onnx.Tensor, i int) float64 {
	if b := t.Bytes(); t.Type == onnx.Complex128 {
		return math.Float64frombits(binary.LittleEndian.Uint64(b[16*i+8:]))
	} else {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b[8*i+4:])))
	}
}

func TestLayoutsOfNumPy(t *testing.T) {
	count := func(n int) []float32 {
		f := make([]float32, n)
		for i := range f {
			f[i] = float32(i)
		}
		return f
	}
	for _, c := range []struct {
		file string
		typ  onnx.DataType
		dims []int64
		want []float32
	}{
		{"fortran_f4.npy", onnx.Float32, []int64{2, 3, 4}, count(24)},
		{"fortran_be_i2.npy", onnx.Int16, []int64{4, 3, 2}, count(24)},
		{"scalar_i8.npy", onnx.Int64, []int64{}, []float32{16000}},
		{"empty_f4.npy", onnx.Float32, []int64{0, 3}, nil},
		{"v2.npy", onnx.Float32, []int64{4}, count(4)},
		{"v3.npy", onnx.Float32, []int64{4}, count(4)},
	} {
		t.Run(c.file, func(t *testing.T) {
			got, err := readFile(t, c.file)
			if err != nil {
				t.Fatal(err)
			}
			f, err := got.Float32s()
			if err != nil {
				t.Fatal(err)
			}
			if got.Type != c.typ || !slices.Equal(got.Dims, c.dims) || !slices.Equal(f, c.want) {
				t.Errorf("got %s%v %v, want %s%v %v", got.Type, got.Dims, f, c.typ, c.dims, c.want)
			}
		})
	}
}

func TestStringsOfNumPy(t *testing.T) {
	for _, c := range []struct {
		file string
		dims []int64
		want []string
	}{
		{"str_S.npy", []int64{3}, []string{"ab", "", "xyz"}},
		{"str_U.npy", []int64{2, 2}, []string{"é", "zero", "\U0001F600", ""}},
		{"str_Ube.npy", []int64{2}, []string{"é", "zero"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			got, err := readFile(t, c.file)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Dims, c.dims) || !slices.Equal(texts(got), c.want) {
				t.Errorf("got %v %q, want %v %q", got.Dims, texts(got), c.dims, c.want)
			}
		})
	}
}

func texts(t *onnx.Tensor) []string {
	s := make([]string, t.Len())
	for i, b := range t.Strings() {
		s[i] = string(b)
	}
	return s
}

func TestWriteIsWhatNumPyWrites(t *testing.T) {
	for _, name := range []string{"le_f4", "le_f2", "le_i8", "le_b1", "le_c16", "scalar_i8", "empty_f4", "str_U"} {
		want, err := os.ReadFile(filepath.Join("testdata", name+".npy"))
		if err != nil {
			t.Fatal(err)
		}
		a, err := readFile(t, name+".npy")
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := Write(&got, a); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: wrote\n%q\nNumPy\n%q", name, got.Bytes(), want)
		}
	}
}

func TestWriteWidensBFloat16AndRefusesTheRest(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, onnx.New(onnx.BFloat16, []int64{2}, []byte{0x80, 0x3f, 0x20, 0xc0})); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b, int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if f := onnx.Data[float32](got); !slices.Equal(f, []float32{1, -2.5}) {
		t.Errorf("got %v, want [1 -2.5]", f)
	}
	err = Write(&b, onnx.Zeros(onnx.Int4, 2))
	if want := "a tensor of i4 cannot be written as .npy: NumPy has no such type"; err == nil || err.Error() != want {
		t.Errorf("int4: got error %v, want %s", err, want)
	}
}

// file builds a .npy file with the given header text.
func file(version byte, header string, data ...byte) []byte {
	b := append([]byte(magic), version, 0)
	if version == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	}
	return append(append(b, header...), data...)
}

func describe(descr, shape string) string {
	return fmt.Sprintf("{'descr': %s, 'fortran_order': False, 'shape': %s, }\n", descr, shape)
}

func TestBadFiles(t *testing.T) {
	obj, err := os.ReadFile("testdata/object.npy")
	if err != nil {
		t.Fatal(err)
	}
	rec, err := os.ReadFile("testdata/record.npy")
	if err != nil {
		t.Fatal(err)
	}
	f4 := describe("'<f4'", "(2,)")
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "the file ends inside the header"},
		{"no magic", []byte("PK\x03\x04 something"), "no .npy array: it does not begin with NumPy's signature"},
		{"version", file(4, f4), ".npy format version 4.0 is unknown"},
		{"cut header", file(1, f4)[:30], "the file ends inside the header"},
		{"header length lies", append([]byte(magic), 2, 0, 0xff, 0xff, 0xff, 0xff), "a header of 4294967295 bytes; at most 65536 are read"},
		{"truncated", file(1, f4, 1, 2, 3), "5 bytes are missing: [2] of float32 takes 8 and the file has 3"},
		{"trailing", file(1, f4, make([]byte, 9)...), "1 bytes stand behind the array"},
		{"huge", file(1, describe("'<f4'", "(1099511627776,)")), "shape [1099511627776] of float32 takes 4398046511104 bytes; at most 4294967296 are read"},
		{"overflow", file(1, describe("'<f4'", "(4294967296, 4294967296, 4294967296)")), "impossible shape [4294967296,4294967296,4294967296]"},
		{"overflow beside zero", file(1, describe("'<f4'", "(4294967296, 4294967296, 4294967296, 0)")), "impossible shape [4294967296,4294967296,4294967296,0]"},
		{"beyond int64", file(1, describe("'<f4'", "(99999999999999999999,)")), `the header is malformed at "99999999999999999999..."`},
		{"negative", file(1, describe("'<f4'", "(-1,)")), `the header is malformed at "-1,), }\n"`},
		{"strings of no width", file(1, describe("'|S0'", "(1000000000000,)")), "shape [1000000000000] of string takes 24000000000000 bytes; at most 4294967296 are read"},
		{"rank", file(1, describe("'<f4'", "("+strings.Repeat("1,", 65)+")")), "65 dimensions; NumPy allows 64"},
		{"objects", obj, "it holds Python objects (dtype object, pickled), which are never loaded: save numbers, for example np.asarray(x, dtype=np.float32)"},
		{"records", rec, "records (structured dtype) have no ONNX type: save each field as an array of its own"},
		{"datetime", file(1, describe("'<M8[s]'", "(2,)")), `dtype "<M8[s]" has no ONNX type`},
		{"long double", file(1, describe("'<f16'", "(2,)")), `dtype "<f16" has no ONNX type`},
		{"no dtype", file(1, describe("'<'", "(2,)")), "the header's dtype is empty"},
		{"string width", file(1, describe("'<U-1'", "(2,)")), `dtype "<U-1" is malformed`},
		{"code point", file(1, describe("'<U1'", "()"), 0, 0xd8, 0, 0), "a string holds the code point 0xd800"},
		{"bool", file(1, describe("'|b1'", "(2,)"), 1, 2), "element 1 is the byte 2, no bool"},
		{"missing key", file(1, "{'descr': '<f4', 'shape': (2,)}"), `the header lacks "fortran_order"`},
		{"key twice", file(1, "{'descr': '<f4', 'descr': '<f4'}"), `the header gives "descr" twice`},
		{"unknown key", file(1, "{'x': 1}"), `the header is malformed at " 1}"`},
		{"no comma", file(1, "{'descr': '<f4' 'shape': (2,)}"), `the header is malformed at "'shape': (2,)}"`},
		{"open", file(1, "{'descr': '<f4', "), `the header is malformed at ""`},
		{"open string", file(1, "{'descr"), `the header is malformed at "descr"`},
		{"behind", file(1, strings.TrimSpace(f4)+"x"), `the header is malformed at "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read(bytes.NewReader(c.file), int64(len(c.file)))
			if err == nil {
				t.Fatal("no error")
			}
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v does not wrap ErrFormat", err)
			}
			if want := c.want + " (not a readable array)"; err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

func TestReadErrorsOfTheDiskStay(t *testing.T) {
	disk := errors.New("disk on fire")
	for _, n := range []int{0, 40, 130} {
		b := file(1, describe("'<f4'", "(100,)")+strings.Repeat(" ", 60), make([]byte, 400)...)
		_, err := Read(&failing{b[:n], disk}, int64(len(b)))
		if !errors.Is(err, disk) {
			t.Errorf("after %d bytes: got %v, want the disk's error", n, err)
		}
	}
}

type failing struct {
	b   []byte
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, f.err
	}
	n := copy(p, f.b)
	f.b = f.b[n:]
	return n, nil
}

// tensors draws a tensor of any type that .npy has.
func tensors(t *rapid.T) *onnx.Tensor {
	dims := rapid.SliceOfN(rapid.Int64Range(0, 5), 0, 4).Draw(t, "dims")
	types := []onnx.DataType{onnx.String}
	for _, d := range dtypes {
		types = append(types, d.typ)
	}
	slices.Sort(types)
	typ := rapid.SampledFrom(types).Draw(t, "type")
	n := int(onnx.NumElements(dims))
	if typ == onnx.String {
		s := make([][]byte, n)
		for i := range s {
			s[i] = []byte(strings.TrimRight(rapid.StringN(0, 4, 16).Draw(t, "string"), "\x00"))
		}
		return onnx.NewStrings(dims, s)
	}
	x := onnx.Zeros(typ, dims...)
	for i := range x.Bytes() {
		x.Bytes()[i] = rapid.Byte().Draw(t, "byte")
		if typ == onnx.Bool {
			x.Bytes()[i] &= 1
		}
	}
	return x
}

func same(a, b *onnx.Tensor) bool {
	return a.Type == b.Type && slices.Equal(a.Dims, b.Dims) && bytes.Equal(a.Bytes(), b.Bytes()) &&
		(a.Type != onnx.String || slices.Equal(texts(a), texts(b)))
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := tensors(t)
		var b bytes.Buffer
		if err := Write(&b, want); err != nil {
			t.Fatal(err)
		}
		if b.Len() >= 10 {
			h := int(binary.LittleEndian.Uint16(b.Bytes()[8:]))
			if (10+h)%64 != 0 {
				t.Fatalf("the elements begin at byte %d, no multiple of 64", 10+h)
			}
		}
		got, err := Read(iotest.HalfReader(bytes.NewReader(b.Bytes())), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if !same(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// Element positions of a Fortran-ordered array against the formula of the definition.
func TestFortranOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.Int64Range(0, 5), 0, 4).Draw(t, "dims")
		n := onnx.NumElements(dims)
		data := make([]byte, 4*n)
		for k := range n {
			binary.BigEndian.PutUint32(data[4*k:], uint32(k))
		}
		shape := "("
		for _, d := range dims {
			shape += fmt.Sprint(d, ", ")
		}
		b := file(1, strings.Replace(describe("'>i4'", shape+")"), "False", "True", 1), data...)
		got, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		for pos, k := range onnx.Data[int32](got) {
			want, stride, rest := int64(0), n, int64(pos)
			for i := len(dims) - 1; i >= 0; i-- {
				stride /= dims[i]
				want += rest % dims[i] * stride
				rest /= dims[i]
			}
			if int64(k) != want {
				t.Fatalf("%v: element %d came from position %d of the file, want %d", dims, pos, k, want)
			}
		}
	})
}

func archive(t *testing.T, name string) *Archive {
	t.Helper()
	a, err := Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func TestArchivesOfNumPy(t *testing.T) {
	a := archive(t, "stored.npz")
	if got := a.Names(); !slices.Equal(got, []string{"input", "sr"}) {
		t.Fatalf("names %q", got)
	}
	in, err := a.Read("input")
	if err != nil {
		t.Fatal(err)
	}
	if f := onnx.Data[float32](in); !slices.Equal(in.Dims, []int64{2, 3}) || !slices.Equal(f, []float32{0, 1, 2, 3, 4, 5}) {
		t.Errorf("input: got %v %v", in.Dims, f)
	}
	sr, err := a.Read("sr")
	if err != nil {
		t.Fatal(err)
	}
	if v := onnx.Data[int64](sr); sr.Rank() != 0 || v[0] != 16000 {
		t.Errorf("sr: got %v %v", sr.Dims, v)
	}
	a = archive(t, "deflated.npz")
	h, err := a.Header("a/b:0")
	if err != nil {
		t.Fatal(err)
	}
	if h.Type != onnx.Float32 || !slices.Equal(h.Dims, []int64{64, 64}) {
		t.Errorf("a/b:0: got %s%v", h.Type, h.Dims)
	}
	ids, err := a.Read("ids")
	if err != nil {
		t.Fatal(err)
	}
	if v := onnx.Data[int64](ids); !slices.Equal(v, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("ids: got %v", v)
	}
	if _, err := a.Read("none"); err == nil || err.Error() != `it holds no array "none" (not a readable array)` {
		t.Errorf("missing array: got %v", err)
	}
}

func TestArchiveRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]*onnx.Tensor{}
		var names []string
		for _, n := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z/:.]{1,6}`), 0, 4, rapid.ID).Draw(t, "names") {
			names = append(names, n)
			want[n] = tensors(t)
		}
		write := func() []byte {
			var b bytes.Buffer
			w := NewWriter(&b)
			for _, n := range names {
				if err := w.Add(n, want[n]); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}
		b := write()
		if !bytes.Equal(b, write()) {
			t.Fatal("written twice, the bytes differ")
		}
		a, err := NewArchive(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		if !slices.Equal(a.Names(), names) {
			t.Fatalf("names %q, want %q", a.Names(), names)
		}
		for n, x := range want {
			got, err := a.Read(n)
			if err != nil {
				t.Fatal(err)
			}
			if !same(got, x) {
				t.Fatalf("%q: got %v, want %v", n, got, x)
			}
		}
	})
}

func TestWriterRefusesASecondArrayOfAName(t *testing.T) {
	w := NewWriter(&bytes.Buffer{})
	if err := w.Add("x", onnx.Scalar(float32(1))); err != nil {
		t.Fatal(err)
	}
	if err := w.Add("x", onnx.Scalar(float32(1))); err == nil || err.Error() != `two arrays named "x" for one archive` {
		t.Errorf("got %v", err)
	}
}

// zipped builds an archive of raw entries. Writing to memory cannot fail.
func zipped(method uint16, entries ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: entries[i], Method: method})
		if err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(entries[i+1])); err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// directory returns where the central directory's entry of the only array stands.
func directory(b []byte) int { return bytes.LastIndex(b, []byte("PK\x01\x02")) }

func TestBadArchives(t *testing.T) {
	array := string(file(1, describe("'<f4'", "(2,)"), make([]byte, 8)...))
	stored := zipped(zip.Store, "x.npy", array)
	deflated := zipped(zip.Deflate, "x.npy", array)
	edit := func(b []byte, f func(b []byte)) []byte {
		b = bytes.Clone(b)
		f(b)
		return b
	}
	huge := uint32(4e9)
	packed := binary.LittleEndian.Uint32(deflated[directory(deflated)+20:])
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"no zip", []byte("\x93NUMPY"), "no .npz archive: it is no zip file, or a truncated one"},
		{"truncated", stored[:len(stored)-5], "no .npz archive: it is no zip file, or a truncated one"},
		{"other entry", zipped(zip.Store, "notes.txt", "x"), `the entry "notes.txt" is no .npy array`},
		{"twice", zipped(zip.Store, "x.npy", array, "x.npy", array), `the array "x" is there twice`},
		{"checksum", edit(stored, func(b []byte) { b[bytes.Index(b, []byte("(2,)"))+20] ^= 1 }), "the archive is damaged: wrong checksum"},
		{"method", edit(deflated, func(b []byte) { b[directory(b)+10] = 12 }), "the archive is compressed in a way that NumPy does not use"},
		{"larger than announced", edit(deflated, func(b []byte) {
			binary.LittleEndian.PutUint32(b[directory(b)+24:], uint32(len(array)-4))
		}), "4 bytes are missing: [2] of float32 takes 8 and the file has 4"},
		{"bomb", edit(deflated, func(b []byte) {
			binary.LittleEndian.PutUint32(b[directory(b)+24:], huge)
		}), fmt.Sprintf("the archive of %d bytes cannot hold %d bytes that unpack to 4000000000", len(deflated), packed)},
		{"packed beyond the file", edit(deflated, func(b []byte) {
			binary.LittleEndian.PutUint32(b[directory(b)+20:], huge)
		}), fmt.Sprintf("the archive of %d bytes cannot hold 4000000000 bytes that unpack to %d", len(deflated), len(array))},
		{"smaller than announced", zipped(zip.Deflate, "x.npy", array[:len(array)-3]), "3 bytes are missing: [2] of float32 takes 8 and the file has 5"},
		{"no array", zipped(zip.Store, "x.npy", "text, not an array"), "no .npy array: it does not begin with NumPy's signature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := NewArchive(bytes.NewReader(c.file), int64(len(c.file)))
			if err == nil {
				_, err = a.Read("x")
			}
			if err == nil {
				t.Fatal("no error")
			}
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v does not wrap ErrFormat", err)
			}
			if want := c.want + " (not a readable array)"; err.Error() != want {
				t.Errorf("got  %s\nwant %s", err, want)
			}
		})
	}
}

// A small file must not cost more memory than it can hold, whatever it announces.
func TestHostileSizesCostNoMemory(t *testing.T) {
	array := string(file(1, describe("'<f4'", "(1000000000,)")))
	bomb := zipped(zip.Deflate, "x.npy", array)
	binary.LittleEndian.PutUint32(bomb[directory(bomb)+24:], uint32(len(array)+4e9))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Read(strings.NewReader(array), int64(len(array))); err == nil {
		t.Error("no error for a file without the elements it announces")
	}
	a, err := NewArchive(bytes.NewReader(bomb), int64(len(bomb)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Read("x"); err == nil {
		t.Error("no error for a bomb")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes allocated", n)
	}
}
