package verify

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zqonnx/zqonnx/metric"
)

var update = flag.Bool("update", false, "write the golden files anew")

func num(v float64) *metric.Number { n := metric.Number(v); return &n }

func measured(semantics string, sqnr, cosine, maxAbs float64) *Measurement {
	return &Measurement{
		Semantics: semantics,
		Result: metric.Result{
			Samples: 12, Values: 12000, SQNR: metric.Number(sqnr), Cosine: metric.Number(cosine), CosineMin: metric.Number(cosine - 0.01),
			MaxAbs: metric.Number(maxAbs), MeanAbs: metric.Number(maxAbs / 8),
		},
		noise: 1 / (sqnr * sqnr), // any that falls with the SQNR; exact on every machine
	}
}

// fullReport has everything that a report can hold, with names that try every renderer.
func fullReport(t *testing.T) *Report {
	r := NotVerified("")
	r.Tool = "zqonnx 0.1.0"
	r.Models.Float = File{"net.onnx", strings.Repeat("0123456789abcdef", 4), 4_210_000, 11}
	r.Models.Quantized = File{"net-int8.onnx", strings.Repeat("fedcba9876543210", 4), 1_090_123, 13}
	r.Semantics = "fused"
	r.Data = Data{"held-back", 12}
	scores := metric.Result{Samples: 12, Values: 120, SQNR: 31.25, Cosine: 0.99912, CosineMin: 0.9981, MaxAbs: 0.125, MeanAbs: 0.0104, Top1: num(11.0 / 12), KL: num(0.00213)}
	boxes := metric.Result{Samples: 12, Values: 480, NonFinite: 1, SQNR: metric.Number(math.NaN()), Cosine: metric.Number(math.NaN()), CosineMin: metric.Number(math.NaN()), MaxAbs: metric.Number(math.Inf(1)), MeanAbs: metric.Number(math.Inf(1))}
	r.Outputs.Each = []OutputError{
		{Name: "scores", Classes: 10, Result: &scores}, {Name: "boxes", Result: &boxes}, {Name: "names", NotMeasured: "it holds string"},
	}
	pooled := boxes
	pooled.Values = 600
	r.Outputs.Pooled = &pooled
	r.Layers = []LayerError{
		{Key: "/stem/Conv", Op: "Conv", Scheme: "static", Reason: "fuses into QLinearConv", Tensor: "stem", Quantized: "stem_dequantized", Accumulated: measured("fused", 38.5, 0.9999, 0.0625), Own: measured("literal", 40, 0.99995, 0.05), Clipped: num(0.0125)},
		{Key: "it's|a `trap`\n<b>", Op: "MatMul", Scheme: "token", Tensor: "t", Quantized: "t_scaled", Accumulated: measured("fused", 22.2, 0.99, 0.5), Own: measured("fused", 24, 0.995, 0.25)},
		{Key: "/very/long/path/through/the/modules/of/a/large/exported/transformer/layer.11/attention/self/value/MatMul", Op: "MatMul", Scheme: "dynamic", Tensor: "v", Quantized: "v_scaled", Accumulated: measured("fused", 27, 0.995, 0.75), NotOwn: "its inputs have no counterpart in the quantized model"},
		{Key: "/head/Gemm", Op: "Gemm", Scheme: "weight-only", Tensor: "h", Quantized: "gone", NotAccumulated: `the quantized model has no tensor "gone"`, NotOwn: `the quantized model has no tensor "gone"`},
	}
	for i := range 9 {
		r.Layers = append(r.Layers, LayerError{Key: fmt.Sprintf("Conv_%d", i), Op: "Conv", Scheme: "static", Tensor: fmt.Sprintf("c%d", i), Quantized: fmt.Sprintf("c%d_dequantized", i), Accumulated: measured("literal", 50+float64(i), 0.99999, 0.01), Own: measured("literal", 60+float64(i), 1, 0.001)})
	}
	r.Culprits = culprits(r.Layers)
	if err := r.Evaluate([]Gate{{"top1", "<", 0.9, "outputs"}, {"sqnr", "<", 20, "scores"}, {"max_abs", ">", 1, "outputs"}, {"sqnr", "<", 25, "layers"}}); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGolden(t *testing.T) {
	notVerified := NotVerified("operator example.Magic of node \"m\" is not supported by the engine")
	notVerified.Models.Float = File{"net.onnx", strings.Repeat("0123456789abcdef", 4), 999, 0}
	passing := fullReport(t)
	passing.Gates, passing.Layers, passing.Culprits = nil, nil, nil
	text := func(color bool, width int) func(*Report, io.Writer) error {
		return func(r *Report, w io.Writer) error { return r.WriteText(w, color, width) }
	}
	for _, c := range []struct {
		file   string
		report *Report
		write  func(*Report, io.Writer) error
	}{
		{"full.txt", fullReport(t), text(false, 0)},
		{"full-120-color.txt", fullReport(t), text(true, 120)},
		{"full.json", fullReport(t), (*Report).WriteJSON},
		{"full.md", fullReport(t), (*Report).WriteMarkdown},
		{"full.xml", fullReport(t), (*Report).WriteJUnit},
		{"outputs-only.txt", passing, text(false, 80)},
		{"not-verified.txt", notVerified, text(false, 80)},
		{"not-verified.json", notVerified, (*Report).WriteJSON},
		{"not-verified.md", notVerified, (*Report).WriteMarkdown},
		{"not-verified.xml", notVerified, (*Report).WriteJUnit},
	} {
		var b bytes.Buffer
		if err := c.write(c.report, &b); err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		path := filepath.Join("testdata", c.file)
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), b.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.file, d)
		}
	}
}

// What is written as JSON reads back as it was, but for infinite values, which become NaN as every value that is not finite.
func TestJSONRoundTrip(t *testing.T) {
	want := fullReport(t)
	var b bytes.Buffer
	if err := want.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got Report
	d := json.NewDecoder(&b)
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	notFinite := cmp.FilterValues(func(a, b metric.Number) bool { return a-a != 0 && b-b != 0 }, cmp.Ignore())
	if d := cmp.Diff(want, &got, notFinite, cmpopts.IgnoreUnexported(Measurement{})); d != "" {
		t.Error(d)
	}
}

func TestJUnitCountsAndEscapes(t *testing.T) {
	r := fullReport(t)
	var b bytes.Buffer
	if err := r.WriteJUnit(&b); err != nil {
		t.Fatal(err)
	}
	var s junitSuite
	if err := xml.Unmarshal(b.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	cases := len(r.Gates) + len(r.Layers) // one of the gates is about layers
	failures, skipped := 0, 0
	trap := false
	for _, c := range s.Cases {
		if c.Failure != nil {
			failures++
		}
		if c.Skipped != nil {
			skipped++
		}
		trap = trap || c.Name == r.Layers[1].Key+": sqnr < 25 @layers" && c.Failure != nil
	}
	if s.Tests != cases || len(s.Cases) != cases || s.Failures != failures || s.Skipped != skipped {
		t.Errorf("%d tests, %d cases, want %d; %d failures, counted %d; %d skipped, counted %d", s.Tests, len(s.Cases), cases, s.Failures, failures, s.Skipped, skipped)
	}
	// max_abs of boxes, sqnr of the layers, and the one layer below 25 dB; the layer that was not measured is skipped.
	if failures != 3 || skipped != 1 || !trap {
		t.Errorf("%d failures, %d skipped, the layer with a strange name failed: %v", failures, skipped, trap)
	}
}

func TestTextFitsTheWidth(t *testing.T) {
	var b bytes.Buffer
	if err := fullReport(t).WriteText(&b, false, 120); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > 120 && !strings.Contains(line, "--exclude") && strings.HasPrefix(line, "    ") {
			t.Errorf("%d characters: %s", n, line)
		}
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' }) {
			t.Errorf("control character in %q", line)
		}
	}
}

// A shell turns what is shown back into the name.
func TestShellQuote(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"/a/Conv", `'/a/Conv'`},
		{"it's $x", `'it'\''s $x'`},
		{"a\nb\x1b", `'a'$'\x0a''b'$'\x1b'''`},
	} {
		got := shellQuote(c.name)
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.name, got, c.want)
		}
		bash, err := exec.LookPath("bash")
		if err != nil {
			continue
		}
		if out, err := exec.Command(bash, "-c", "printf %s "+got).Output(); err != nil || string(out) != c.name {
			t.Errorf("bash reads %s as %q, %v", got, out, err)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	r := fullReport(t)
	for ext, write := range formats {
		path := filepath.Join(dir, "report"+ext)
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := write(r, &want); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s: %v, %d bytes, want %d", path, err, len(got), want.Len())
		}
	}
	if err := r.WriteFile(filepath.Join(dir, "report.pdf")); !errors.Is(err, ErrUsage) {
		t.Errorf("report.pdf: %v", err)
	}
	if err := r.WriteFile(filepath.Join(dir, "none", "report.md")); err == nil {
		t.Error("a missing folder is no error")
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != len(formats) {
		t.Errorf("%d files, want %d: %v", len(files), len(formats), err)
	}
}

func TestDescribe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The hash is that of FIPS 180-2's example.
	want := File{Path: path, SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", Bytes: 3}
	if got, err := Describe(path); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Describe(path + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// docs/report.md names every field of the JSON form.
func TestSchemaIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/report.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[reflect.Type]bool{}
	fields := 0
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for f := range typ.NumField() {
			field := typ.Field(f)
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
				fields++
				if !regexp.MustCompile("`([a-z_]+\\.)*" + name + "(\\.[a-z_]+)*`").Match(page) {
					t.Errorf("%s.%s: %q is missing", typ.Name(), field.Name, name)
				}
			}
			walk(field.Type)
		}
	}
	walk(reflect.TypeFor[Report]())
	if fields < 60 {
		t.Errorf("%d fields only", fields)
	}
}
