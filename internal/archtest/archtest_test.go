// Package archtest holds the repository to the table of folders in docs/architecture.md: which package may import which.
package archtest

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	module   = "github.com/zqonnx/zqonnx"
	document = "docs/architecture.md"
)

// A rule is a row of the table: the packages at or, where the folder ends in "/...", under a folder, and what of this module they may
// import. Folders are relative to the module's root, which is ".".
type rule struct {
	folder  string
	imports []string
}

// rules reads the table: folders in the first column, imports in the third, each name in backquotes.
func rules(fsys fs.FS) ([]rule, error) {
	f, err := fsys.Open(document)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var table []rule
	for lines := bufio.NewScanner(f); lines.Scan(); {
		cells := strings.Split(lines.Text(), "|")
		if len(cells) != 5 {
			continue
		}
		folders := names(cells[1])
		if len(folders) == 0 {
			continue // the head of the table
		}
		for _, folder := range folders {
			table = append(table, rule{folder, names(cells[3])})
		}
	}
	if len(table) == 0 {
		return nil, fmt.Errorf("%s has no table of folders", document)
	}
	return table, nil
}

var backquoted = regexp.MustCompile("`([^`]+)`")

func names(cell string) []string {
	var found []string
	for _, m := range backquoted.FindAllStringSubmatch(cell, -1) {
		switch name := strings.TrimSuffix(m[1], "/"); name {
		case "zqonnx", "zqonnx.go": // the front door
			found = append(found, ".")
		default:
			found = append(found, name)
		}
	}
	return found
}

// covers reports whether a name of the table stands for a folder.
func covers(name, folder string) bool {
	if tree, ok := strings.CutSuffix(name, "/..."); ok {
		return folder == tree || strings.HasPrefix(folder, tree+"/")
	}
	return folder == name
}

// ruleFor returns the most specific rule.
func ruleFor(table []rule, folder string) (rule, bool) {
	var best rule
	found := false
	for _, r := range table {
		if covers(r.folder, folder) && (!found || depth(r) > depth(best)) {
			best, found = r, true
		}
	}
	return best, found
}

func depth(r rule) int { return len(strings.TrimSuffix(r.folder, "...")) }

// violations lists what is wrong with the files of the module, tests left out.
func violations(fsys fs.FS, table []rule) ([]string, error) {
	var found []string
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	unruled := map[string]bool{}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(fsys, name)
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		folder := path.Dir(name)
		r, ok := ruleFor(table, folder)
		if !ok && !unruled[folder] {
			unruled[folder] = true
			report("%s: no row of the table in %s covers this package: add one", folder, document)
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if imported == "testing" {
				report("%s imports testing: only tests may", name)
			}
			if ours, ok := cutModule(imported); ok && !slices.ContainsFunc(r.imports, func(n string) bool { return covers(n, ours) }) {
				report("%s imports %s: %s allows %s to import only %v", name, ours, document, folder, r.imports)
			}
		}
		if reproducible(folder) {
			for _, call := range varyingMath(file) {
				report("%s uses math.%s, whose last bit depends on the processor: take kernels/mathf", name, call)
			}
		}
		return nil
	})
	return found, err
}

// skip leaves out what the go command leaves out, and other modules.
func skip(fsys fs.FS, name string) error {
	if name == "." {
		return nil
	}
	base := path.Base(name)
	if base == "testdata" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func cutModule(imported string) (string, bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// reproducible reports whether a package computes what must be the same on every machine.
func reproducible(folder string) bool {
	return slices.ContainsFunc([]string{"kernels/...", "quantize", "metric", "engine", "plan", "passes/...", "verify", "data"},
		func(n string) bool { return covers(n, folder) })
}

// exact are the functions of package math whose result the standard of floating point defines.
var exact = map[string]bool{
	"Abs": true, "Ceil": true, "Copysign": true, "FMA": true, "Float32bits": true, "Float32frombits": true, "Float64bits": true,
	"Float64frombits": true, "Floor": true, "Frexp": true, "Inf": true, "IsInf": true, "IsNaN": true, "Ldexp": true, "Max": true, "Min": true, "Mod": true,
	"Modf": true, "NaN": true, "Nextafter": true, "Nextafter32": true, "Remainder": true, "Round": true, "RoundToEven": true, "Signbit": true,
	"Sqrt": true, "Trunc": true, "Ilogb": true, "Logb": true,
}

// varyingMath lists the other functions of package math that a file calls.
func varyingMath(file *ast.File) []string {
	var calls []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "math" && !exact[s.Sel.Name] {
				calls = append(calls, s.Sel.Name)
			}
		}
		return true
	})
	return calls
}

func TestArchitecture(t *testing.T) {
	root := os.DirFS("../..")
	table, err := rules(root)
	if err != nil {
		t.Fatal(err)
	}
	found, err := violations(root, table)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// TestViolations shows that each rule can be broken.
func TestViolations(t *testing.T) {
	file := func(src string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(src)} }
	fsys := fstest.MapFS{
		document: file("| folder | what it knows | imports |\n|---|---|---|\n" +
			"| `kernels/...` | | `kernels/...` |\n| `kernels/cpu/` | | none |\n| `engine/` | | `kernels/...` |\n| `zqonnx.go` | | `engine` |\n| `cmd/zqonnx/` | | `zqonnx` |\n"),
		"front.go":              file(`package zqonnx; import _ "github.com/zqonnx/zqonnx/engine"`),
		"cmd/zqonnx/main.go":    file(`package main; import _ "github.com/zqonnx/zqonnx"; import _ "github.com/zqonnx/zqonnx/engine"`),
		"engine/engine.go":      file(`package engine; import _ "github.com/zqonnx/zqonnx/kernels/gemm"; import "math"; var x = math.Sqrt(math.Exp(2))`),
		"engine/engine_test.go": file(`package engine; import "testing"; import _ "github.com/zqonnx/zqonnx"`),
		"engine/testdata/x.go":  file(`package x; import "testing"`),
		"kernels/gemm/gemm.go":  file(`package gemm; import _ "github.com/zqonnx/zqonnx/kernels/cpu"; import _ "testing"`),
		"kernels/cpu/cpu.go":    file(`package cpu; import _ "github.com/zqonnx/zqonnx/kernels/gemm"`),
		"other/other.go":        file(`package other`),
		"tools/go.mod":          file("module tools"),
		"tools/x/main.go":       file(`package main; import _ "github.com/zqonnx/zqonnx/engine"`),
	}
	table, err := rules(fsys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := violations(fsys, table)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cmd/zqonnx/main.go imports engine: docs/architecture.md allows cmd/zqonnx to import only [.]",
		"engine/engine.go uses math.Exp, whose last bit depends on the processor: take kernels/mathf",
		"kernels/cpu/cpu.go imports kernels/gemm: docs/architecture.md allows kernels/cpu to import only []",
		"kernels/gemm/gemm.go imports testing: only tests may",
		"other: no row of the table in docs/architecture.md covers this package: add one",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
