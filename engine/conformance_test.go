package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/internal/shareddata"
	"github.com/zqonnx/zqonnx/onnx"
)

var updateSkips = flag.Bool("update", false, "rewrite testdata/conformance_skip.txt")

const (
	skipFile   = "testdata/conformance_skip.txt"
	relativeTo = 1e-3 // the tolerances of onnx's own backend runner
	absoluteTo = 1e-7
)

// TestConformance runs the ONNX project's backend cases in literal semantics. testdata/conformance_skip.txt lists those that
// cannot pass, with the reason; go test ./engine -run TestConformance -update rewrites it.
func TestConformance(t *testing.T) {
	cases := readCases(t)
	skips := readSkips(t)
	failed := map[string]string{}
	passed, total := map[string]int{}, map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		group := name[:strings.IndexByte(name, '/')]
		total[group]++
		err := runCase(cases[name])
		if err == nil {
			passed[group]++
			if reason, ok := skips[name]; ok && !*updateSkips {
				t.Errorf("%s passes but is listed (%s): run with -update", name, reason)
			}
			continue
		}
		failed[name] = reason(err)
		if _, ok := skips[name]; !ok && !*updateSkips {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name := range skips {
		if _, ok := cases[name]; !ok && !*updateSkips {
			t.Errorf("%s is listed but does not exist", name)
		}
	}
	for _, g := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%s: %d of %d pass", g, passed[g], total[g])
	}
	if passed["node"] < total["node"]*6/10 {
		t.Errorf("only %d of %d node cases pass", passed["node"], total["node"])
	}
	if *updateSkips {
		writeSkips(t, failed)
	}
}

// readCases returns the files of each case, by group/case.
func readCases(t *testing.T) map[string]map[string][]byte {
	path, err := shareddata.Path(shareddata.Conformance)
	if err != nil {
		t.Skip(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return cases
		}
		if err != nil {
			t.Fatal(err)
		}
		part := strings.SplitN(h.Name, "/", 4) // data/GROUP/CASE/FILE
		if h.Typeflag != tar.TypeReg || len(part) < 4 || part[1] == "real" || part[1] == "light" {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := part[1] + "/" + part[2]
		if cases[name] == nil {
			cases[name] = map[string][]byte{}
		}
		cases[name][part[3]] = b
	}
}

var errNoTensor = errors.New("an input or output is no tensor")

func runCase(files map[string][]byte) error {
	m, err := onnx.Parse(files["model.onnx"])
	if err != nil {
		return err
	}
	for _, v := range slices.Concat(m.Graph.Inputs(), m.Graph.Outputs()) {
		if v.Type != nil && v.Type.Kind != onnx.KindTensor {
			return errNoTensor
		}
	}
	p, err := Compile(m, Options{Semantics: Literal, Threads: 2})
	if err != nil {
		return err
	}
	for set := 0; ; set++ {
		dir := fmt.Sprintf("test_data_set_%d/", set)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(files)), func(f string) bool { return strings.HasPrefix(f, dir) }) {
			if set == 0 {
				return errors.New("the case has no data")
			}
			return nil
		}
		feeds := map[string]*onnx.Tensor{}
		for i, v := range m.Graph.Inputs() {
			b, ok := files[fmt.Sprintf("%sinput_%d.pb", dir, i)]
			if !ok {
				continue
			}
			if _, feeds[v.Name()], err = onnx.ParseTensor(b); err != nil {
				return err
			}
		}
		for range 2 { // a second run finds the first one's buffers
			out, err := p.Run(context.Background(), feeds, nil)
			if err != nil {
				return err
			}
			for i, name := range p.Outputs() {
				_, want, err := onnx.ParseTensor(files[fmt.Sprintf("%soutput_%d.pb", dir, i)])
				if err != nil {
					return err
				}
				if err := compare(out[name], want); err != nil {
					return fmt.Errorf("output %d is wrong: %w", i, err)
				}
			}
		}
	}
}

func compare(got, want *onnx.Tensor) error {
	if got.Type != want.Type || !slices.Equal(got.Dims, want.Dims) {
		return fmt.Errorf("%s%v, want %s%v", got.Type, got.Dims, want.Type, want.Dims)
	}
	if got.Type == onnx.String {
		for i, w := range want.Strings() {
			if g := got.Strings()[i]; !bytes.Equal(g, w) {
				return fmt.Errorf("element %d is %q, want %q", i, g, w)
			}
		}
		return nil
	}
	if !castable(got.Type) {
		return fmt.Errorf("elements of %s are %w", got.Type, ErrUnsupported)
	}
	g, w := castTo(got, onnx.Float64), castTo(want, onnx.Float64)
	for i, w := range onnx.Data[float64](w) {
		g := onnx.Data[float64](g)[i]
		if g == w || g != g && w != w {
			continue
		}
		if !(math.Abs(g-w) <= absoluteTo+relativeTo*math.Abs(w)) {
			return fmt.Errorf("element %d is %g, want %g", i, g, w)
		}
	}
	return nil
}

var detail = regexp.MustCompile(`^node "[^"]*" \(([^)]*)\): (the operator)?(.*)$`)

// reason is an error without the names of the case's nodes, on one line.
func reason(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	if m := detail.FindStringSubmatch(s); m != nil {
		s = m[1] + ":" + m[3]
		if m[2] != "" {
			s = m[1] + m[3]
		}
	}
	return strings.TrimSpace(s)
}

func readSkips(t *testing.T) map[string]string {
	b, err := os.ReadFile(skipFile)
	if err != nil && !*updateSkips {
		t.Fatal(err)
	}
	skips := map[string]string{}
	why := ""
	for line := range strings.Lines(string(b)) {
		switch line = strings.TrimRight(line, "\n"); {
		case strings.HasPrefix(line, "# "):
			why = line[2:]
		case line != "":
			skips[line] = why
		}
	}
	return skips
}

func writeSkips(t *testing.T, failed map[string]string) {
	byReason := map[string][]string{}
	for name, why := range failed {
		byReason[why] = append(byReason[why], name)
	}
	var b strings.Builder
	for _, why := range slices.Sorted(maps.Keys(byReason)) {
		fmt.Fprintf(&b, "# %s\n", why)
		for _, name := range slices.Sorted(slices.Values(byReason[why])) {
			fmt.Fprintln(&b, name)
		}
		fmt.Fprintln(&b)
	}
	if err := os.MkdirAll(filepath.Dir(skipFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(skipFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
