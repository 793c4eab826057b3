//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zqonnx/zqonnx/onnx"
)

// startHere starts the command in a folder.
func startHere(t *testing.T, dir string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	c := &exec.Cmd{Path: self, Args: append([]string{"zqonnx"}, args...), Dir: dir, Stderr: &stderr}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, &stderr
}

// layers is a model of n products with matrices of 256 KB.
func layers(n int) *onnx.Model {
	r := rand.New(rand.NewPCG(1, 2))
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(256)))
	for i := range n {
		w := make([]float32, 256*256)
		for k := range w {
			w[k] = float32(r.NormFloat64()) / 16
		}
		x = g.Append(onnx.NodeSpec{Op: "MatMul", Inputs: []*onnx.Value{x, g.AddConst(fmt.Sprintf("w%d", i), onnx.Of(w, 256, 256))}, Outputs: []string{"y"}}).Output(0)
	}
	x.Type = onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(256))
	g.AddOutput(x)
	return &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}
}

// A model that is cut while the command works with it ends with exit 3 wherever it stands, in all its threads.
func TestCutWhileRead(t *testing.T) {
	dir := t.TempDir()
	b, err := layers(128).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for k := range 12 {
		name := filepath.Join(dir, "m.onnx")
		if err := os.WriteFile(name, b, 0o666); err != nil {
			t.Fatal(err)
		}
		c, stderr := startHere(t, dir, "-q", "m.onnx", "out.onnx")
		time.Sleep(time.Duration(20<<(k/2)) * time.Millisecond)
		if err := os.Truncate(name, int64(len(b)/(2+k%2*20))); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		_, missing := os.Stat(filepath.Join(dir, "out.onnx"))
		switch code := c.ProcessState.ExitCode(); {
		case code == 0 && missing == nil: // it was ready
		case code == 3 && missing != nil && strings.Count(stderr.String(), "\n") == 1 && strings.HasPrefix(stderr.String(), "zqonnx: m.onnx"):
			cut++
		default:
			t.Errorf("exit code %d, output: %v, stderr: %.3000s", code, missing, stderr.String())
		}
		_ = os.Remove(filepath.Join(dir, "out.onnx"))
		if left := files(t, dir); !slices.Equal(left, []string{"m.onnx"}) {
			t.Errorf("left behind: %v", left)
		}
	}
	if cut == 0 {
		t.Error("the file was never cut in time")
	}
	t.Logf("%d of 12 cut in time", cut)
}

// However the command ends, the output is the old model or the new one, whole, with its external data.
func TestStoppedAnywhere(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	external := onnx.WriteOptions{External: true}
	if err := layers(12).WriteFile(ctx, filepath.Join(dir, "in.onnx"), external); err != nil {
		t.Fatal(err)
	}
	inputs := files(t, dir)
	begin := time.Now()
	if c, stderr := startHere(t, dir, "-q", "in.onnx", "out.onnx"); c.Wait() != nil {
		t.Fatal(stderr)
	}
	usual := time.Since(begin)
	after := contents(t, dir, inputs)
	old := layers(3)
	runs := 50
	if testing.Short() {
		runs = 10
	}
	ended := map[string]int{}
	r := rand.New(rand.NewPCG(3, 4))
	for k := range runs {
		for name := range contents(t, dir, inputs) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := old.WriteFile(ctx, filepath.Join(dir, "out.onnx"), external); err != nil {
			t.Fatal(err)
		}
		before := contents(t, dir, inputs)
		c, stderr := startHere(t, dir, "-q", "in.onnx", "out.onnx")
		time.Sleep(time.Duration(r.Float64() * 1.1 * float64(usual)))
		signal := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}[k%3]
		_ = c.Process.Signal(signal)
		_ = c.Wait()
		code, now := c.ProcessState.ExitCode(), contents(t, dir, inputs)
		have := "old"
		if string(now["out.onnx"]) != string(before["out.onnx"]) {
			have = "new"
		}
		ended[fmt.Sprintf("%v: exit %d, %s", signal, code, have)]++
		for name, want := range map[string]map[string][]byte{"old": before, "new": after}[have] {
			if !bytes.Equal(now[name], want) {
				t.Errorf("%v, exit %d, the %s output: %s is not whole", signal, code, have, name)
			}
		}
		begun := strings.Contains(stderr.String(), "interrupted") || code == 0
		if signal == syscall.SIGKILL || !begun { // before the program listens to signals they end it as they end any
			continue
		}
		if (code == 0) != (have == "new") || code != 0 && code != 130 {
			t.Errorf("%v: exit %d with the %s output: %s", signal, code, have, stderr)
		}
		for name := range now {
			if before[name] == nil && (have == "old" || after[name] == nil) {
				t.Errorf("%v, exit %d: %s is left behind", signal, code, name)
			}
		}
	}
	for _, how := range slices.Sorted(maps.Keys(ended)) {
		t.Logf("%2d times %s", ended[how], how)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// contents returns the files of a folder without those that are left out.
func contents(t *testing.T, dir string, without []string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, name := range files(t, dir) {
		if slices.Contains(without, name) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = b
	}
	return all
}
