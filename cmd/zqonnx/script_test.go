package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"zqonnx": main})
}

// TestScripts runs the command as its users do. $MODELS is the folder testmodels.
func TestScripts(t *testing.T) {
	models, err := filepath.Abs("../../testmodels")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("MODELS", models)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":     scriptExits,
			"interrupt": scriptInterrupt,
			"repeat":    scriptRepeat,
			"npz":       scriptNpz,
			"truncate":  scriptTruncate,
			"external":  scriptExternal,
			"build":     scriptBuild,
			"replace":   scriptReplace,
		},
	})
}

// exits CODE PROGRAM ARGS...: the program ends with that exit code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want, err := strconv.Atoi(args[0]); err != nil || code != want {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// interrupt SIGNAL MODEL ARGS...: zqonnx reads the model from a pipe, so that it is known to have begun, and is then sent
// the signal in the middle of its work. It must be at work still, stop soon, and exit with 130.
func scriptInterrupt(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]os.Signal{"INT": os.Interrupt, "TERM": terminate}
	model, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	self, err := os.Executable()
	ts.Check(err)
	var stderr bytes.Buffer
	c := &exec.Cmd{Path: self, Args: append([]string{"zqonnx"}, args[2:]...), Dir: ts.MkAbs("."), Stderr: &stderr}
	stdin, err := c.StdinPipe()
	ts.Check(err)
	ts.Check(c.Start())
	_, err = stdin.Write(model)
	ts.Check(err)
	ts.Check(stdin.Close())
	time.Sleep(200 * time.Millisecond)
	if err := c.Process.Signal(signals[args[0]]); err != nil {
		ts.Fatalf("it ended before it could be interrupted: %v", err)
	}
	begin := time.Now()
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 130 || !strings.Contains(stderr.String(), "interrupted") {
		ts.Fatalf("exit code %d, stderr: %s", code, stderr.String())
	}
	if late := time.Since(begin); late > 5*time.Second {
		ts.Fatalf("it ended %v after the signal", late)
	}
}

// repeat N SAMPLE.npz DIR: a folder that holds a sample N times.
func scriptRepeat(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	dir := ts.MkAbs(args[2])
	ts.Check(os.MkdirAll(dir, 0o777))
	for i := range n {
		ts.Check(os.Link(ts.MkAbs(args[1]), filepath.Join(dir, fmt.Sprintf("%d.npz", i))))
	}
}

// npz FILE [NAME TYPE DIMS VALUE]...: arrays full of one value.
func scriptNpz(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o777))
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	z := npy.NewWriter(f)
	for a := args[1:]; len(a) >= 4; a = a[4:] {
		var dims []int64
		for s := range strings.SplitSeq(a[2], ",") {
			n, err := strconv.ParseInt(s, 10, 64)
			ts.Check(err)
			dims = append(dims, n)
		}
		v, err := strconv.ParseFloat(a[3], 64)
		ts.Check(err)
		n := onnx.NumElements(dims)
		switch a[1] {
		case "f32":
			ts.Check(z.Add(a[0], onnx.Of(bytesOf(n, float32(v)), dims...)))
		case "i64":
			ts.Check(z.Add(a[0], onnx.Of(bytesOf(n, int64(v)), dims...)))
		default:
			ts.Fatalf("unknown type %s", a[1])
		}
	}
	ts.Check(z.Close())
}

func bytesOf[T any](n int64, v T) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// truncate FILE BYTES: cut a file short.
func scriptTruncate(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// external IN OUT: store the tensors of a model in a file of their own.
func scriptExternal(ts *testscript.TestScript, _ bool, args []string) {
	m, err := onnx.Read(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(m.WriteFile(context.Background(), ts.MkAbs(args[1]), onnx.WriteOptions{External: true}))
}

// replace FILE OLD NEW: edit a text file.
func scriptReplace(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.ReplaceAll(text, args[1], args[2])), 0o666))
}

// built are small models that no test model stands for.
var built = map[string]func(g *onnx.Graph, x *onnx.Value) *onnx.Value{
	"float-only": func(g *onnx.Graph, x *onnx.Value) *onnx.Value {
		return g.Append(onnx.NodeSpec{Op: "Relu", Name: "relu", Inputs: []*onnx.Value{x}, Outputs: []string{"y"}}).Output(0)
	},
	"custom-operator": func(g *onnx.Graph, x *onnx.Value) *onnx.Value {
		w := make([]float32, 64*64)
		for i := range w {
			w[i] = float32(i%7) - 3
		}
		product := g.Append(onnx.NodeSpec{Op: "MatMul", Name: "product", Inputs: []*onnx.Value{x, g.AddConst("w", onnx.Of(w, 64, 64))}, Outputs: []string{"p"}}).Output(0)
		return g.Append(onnx.NodeSpec{Op: "Whirl", Domain: "org.example", Name: "whirl", Inputs: []*onnx.Value{product}, Outputs: []string{"y"}}).Output(0)
	},
}

// build NAME FILE: write one of the built models.
func scriptBuild(ts *testscript.TestScript, _ bool, args []string) {
	g := onnx.NewGraph(args[0])
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(64)))
	y := built[args[0]](g, x)
	y.Type = onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(64))
	g.AddOutput(y)
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}, {Domain: "org.example", Version: 1}}, Graph: g}
	ts.Check(m.Write(ts.MkAbs(args[1])))
}

// scripts returns the text of all scripts.
func scripts(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var all strings.Builder
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&all, f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return all.String()
}
