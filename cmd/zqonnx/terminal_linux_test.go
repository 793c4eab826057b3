package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/zqonnx/zqonnx/internal/termtext"
)

// openTerminal returns both ends of a terminal of 80 columns.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no terminals here:", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no terminals here:", err)
	}
	t.Cleanup(func() { slave.Close() })
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// onTerminal runs the command with stderr, and stdout too where both is set, on a terminal, and returns what stands there.
func onTerminal(t *testing.T, both bool, env []string, args ...string) (screen string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	master, slave := openTerminal(t)
	var screenful bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&screenful, master) // ends with EIO when the other side is closed
	}()
	c := &exec.Cmd{Path: self, Args: append([]string{"zqonnx"}, args...), Dir: t.TempDir(), Stderr: slave, Env: append(os.Environ(), env...)}
	if both {
		c.Stdout = slave
	}
	_ = c.Run()
	slave.Close()
	<-done
	return strings.ReplaceAll(screenful.String(), "\r\n", "\n"), c.ProcessState.ExitCode()
}

func TestTerminal(t *testing.T) {
	model, err := filepath.Abs("../../testmodels/cnn-shapes/model.onnx")
	if err != nil {
		t.Fatal(err)
	}
	gate := []string{"--fail-if", "sqnr < 1", "--fail-if", "sqnr < 199", model, "out.onnx"}
	fits := func(t *testing.T, screen string) {
		t.Helper()
		for l := range strings.Lines(screen) {
			l = strings.NewReplacer(termtext.Good, "", termtext.Bad, "", termtext.Reset, "").Replace(l)
			if n := utf8.RuneCountInString(strings.TrimSuffix(l, "\n")); n > 80 && !strings.HasPrefix(l, "/") && !strings.HasPrefix(l, "zqonnx: ") {
				t.Errorf("%d columns: %s", n, l)
			}
		}
	}
	t.Run("colours", func(t *testing.T) {
		screen, code := onTerminal(t, false, []string{"NO_COLOR=", "TERM=xterm"}, gate...)
		if code != 5 || !strings.Contains(screen, termtext.Good+"pass"+termtext.Reset) || !strings.Contains(screen, termtext.Bad+"FAIL"+termtext.Reset) {
			t.Errorf("exit code %d, screen:\n%s", code, screen)
		}
		fits(t, screen)
	})
	for _, c := range []struct {
		name string
		env  []string
		args []string
	}{
		{"--no-color", []string{"NO_COLOR="}, append([]string{"--no-color"}, gate...)},
		{"NO_COLOR", []string{"NO_COLOR=1"}, gate},
		{"TERM=dumb", []string{"NO_COLOR=", "TERM=dumb"}, gate},
	} {
		t.Run(c.name, func(t *testing.T) {
			screen, code := onTerminal(t, false, c.env, c.args...)
			if code != 5 || strings.Contains(screen, "\x1b") || !strings.Contains(screen, "FAIL  sqnr < 199") {
				t.Errorf("exit code %d, screen:\n%s", code, screen)
			}
		})
	}
	t.Run("a plan fits the width", func(t *testing.T) {
		screen, code := onTerminal(t, true, nil, "--dry-run", model)
		if code != 0 || !strings.Contains(screen, "weight-only") {
			t.Errorf("exit code %d, screen:\n%s", code, screen)
		}
		for l := range strings.Lines(screen) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(l, "\n")); n > 80 {
				t.Errorf("%d columns: %s", n, l)
			}
		}
	})
	t.Run("no model goes to a terminal", func(t *testing.T) {
		screen, code := onTerminal(t, true, nil, model, "-")
		if code != 2 || !strings.Contains(screen, "the model would go to the terminal") {
			t.Errorf("exit code %d, screen:\n%q", code, screen)
		}
	})
}

func TestProgress(t *testing.T) {
	master, slave := openTerminal(t)
	p := newProgress(slave)
	p.update("verifying", 1, 9) // too early
	p.start = p.start.Add(-progressAfter)
	p.update("verifying", 2, 9)
	p.update("verifying", 3, 9) // too soon after
	p.last = time.Time{}
	p.update(strings.Repeat("long ", 40), 4, 9)
	p.clear()
	p.clear() // nothing is left to take away
	want := "\r\x1b[Kverifying 2 of 9" + "\r\x1b[K" + strings.Repeat("long ", 40)[:79] + "\r\x1b[K"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(master, got); err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if newProgress(os.NewFile(master.Fd()+1000, "no terminal")) != nil {
		t.Error("progress without a terminal")
	}
}
