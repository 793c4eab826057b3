//go:build unix

package search

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestScore(t *testing.T) {
	for _, c := range []struct {
		line string
		want float64
	}{
		{"echo 0.25", 0.25},
		{"echo accuracy: 91.5 %", 91.5},
		{"printf 'epoch 1\\nloss=-1.5e-2'", -0.015},
		{"echo 3; echo ended; echo 9 >&2", 3},
		{"cat {model}", 7},
		{"echo {model} >/dev/null; echo '[2, 4]'", 4},
	} {
		dir := filepath.Join(t.TempDir(), "it's a place")
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		model := filepath.Join(dir, "model.onnx")
		if err := os.WriteFile(model, []byte("7\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		if got, err := (Command{c.line, time.Minute}).Score(t.Context(), model); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", c.line, got, err)
		}
	}
}

func TestScoreFails(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"echo nothing", "printed no number"},
		{"echo NaN", "printed NaN, which is no score"},
		{"echo 1e999", "printed +Inf, which is no score"},
		{"echo 1; echo first >&2; echo 'no such label' >&2; exit 3", "exit status 3; it wrote to stderr:\nfirst\nno such label"},
		{"for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 1", "stderr:\nline 3\nline 4\nline 5\nline 6\nline 7"},
		{"no-such-program {model}", "exit status 127"},
		{"echo 1; sleep 600", "no number within 200ms (--metric-timeout)"},
	} {
		begin := time.Now()
		_, err := (Command{c.line, 200 * time.Millisecond}).Score(t.Context(), "model.onnx")
		if !errors.Is(err, ErrMetric) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.line, err, c.want)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s: took %v", c.line, took)
		}
	}
}

// What the command started ends with it, on a timeout and on an interrupt.
func TestScoreLeavesNothingBehind(t *testing.T) {
	for _, timeout := range []time.Duration{300 * time.Millisecond, time.Minute} {
		pid := filepath.Join(t.TempDir(), "pid")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(600*time.Millisecond, cancel)
		_, err := (Command{"sleep 600 & echo $! > '" + pid + "'; wait", timeout}).Score(ctx, "model.onnx")
		if timeout == time.Minute != errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", timeout, err)
		}
		b, err := os.ReadFile(pid)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		gone := false
		for range 100 {
			if gone = syscall.Kill(n, 0) != nil || zombie(n); gone {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if !gone {
			t.Errorf("%v: process %d is still there", timeout, n)
		}
	}
}

// zombie reports whether a process has ended and nobody has asked how.
func zombie(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(b), ") Z ")
}
