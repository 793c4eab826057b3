package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A Command scores a model file: a command line for the system's shell, in which {model} stands for the file. The last number that it
// prints is the score; greater is better.
type Command struct {
	Line    string
	Timeout time.Duration
}

// Placeholder stands for the model file in a Command.
const Placeholder = "{model}"

// Score runs the command. Its errors, but for that of the context, wrap ErrMetric and show the end of what the command wrote to stderr. What the
// command started ends with it.
func (c Command) Score(ctx context.Context, model string) (float64, error) {
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	cmd := shell(limited, strings.ReplaceAll(c.Line, Placeholder, quoted(model)))
	var stdout, stderr tail
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	fail := func(format string, args ...any) (float64, error) {
		text := fmt.Sprintf("--metric-cmd %q: %s", c.Line, fmt.Sprintf(format, args...))
		if last := stderr.lines(5); last != "" {
			text += "; it wrote to stderr:\n" + last
		}
		return 0, fmt.Errorf("%s%w", text, silent{ErrMetric})
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case limited.Err() != nil:
		return fail("no number within %v (--metric-timeout)", c.Timeout)
	case errors.As(err, &exit):
		return fail("%v", exit)
	case err != nil:
		return fail("cannot be run: %v", err)
	}
	v, ok := lastNumber(stdout.String())
	switch {
	case !ok:
		return fail("printed no number")
	case v-v != 0:
		return fail("printed %v, which is no score", v)
	}
	return v, nil
}

// silent is a kind of error that the text of another does not name.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// lastNumber returns the last number in a text: a word, or what stands behind = or : in one.
func lastNumber(text string) (float64, bool) {
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n=:,;()[]{}\"'", r) })
	for i := len(words) - 1; i >= 0; i-- {
		if v, err := strconv.ParseFloat(words[i], 64); err == nil || errors.Is(err, strconv.ErrRange) {
			return v, true
		}
	}
	return 0, false
}

// A tail keeps the end of what is written to it.
type tail struct{ bytes.Buffer }

const tailBytes = 1 << 16

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	p = p[max(0, len(p)-tailBytes):]
	if over := t.Len() + len(p) - 2*tailBytes; over > 0 {
		t.Next(t.Len() - min(t.Len(), tailBytes))
	}
	t.Buffer.Write(p)
	return n, nil
}

// lines returns the last n lines.
func (t *tail) lines(n int) string {
	all := strings.Split(strings.TrimSpace(t.String()), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
