package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/verify"
)

// flagNames are the flags that a command defines.
func flagNames(c command) []string {
	f := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	c.flags(f)
	var names []string
	f.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// Help and flags cannot drift apart, and the help fits a screen.
func TestHelpNamesEveryFlag(t *testing.T) {
	named := regexp.MustCompile(`(?m)^ {2}(?:-\w, | {4})--([a-z-]+)`)
	for _, c := range commands {
		t.Run("zqonnx "+c.name, func(t *testing.T) {
			screens := []string{c.usage()}
			if c.name == "" {
				for _, p := range pages {
					screens = append(screens, p.text)
				}
			}
			var inHelp []string
			for _, m := range named.FindAllStringSubmatch(strings.Join(screens, ""), -1) {
				inHelp = append(inHelp, m[1])
			}
			slices.Sort(inHelp)
			if have := slices.Sorted(slices.Values(flagNames(c))); !slices.Equal(have, inHelp) {
				t.Errorf("flags %v\nhelp  %v", have, inHelp)
			}
			for _, s := range screens {
				lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
				if len(lines) > 50 {
					t.Errorf("%d lines are no screen", len(lines))
				}
				for _, l := range lines {
					if utf8.RuneCountInString(l) > 80 {
						t.Errorf("more than 80 columns: %s", l)
					}
				}
			}
		})
	}
}

// Every flag is in a script, so that none does nothing.
func TestScriptsUseEveryFlag(t *testing.T) {
	all := scripts(t)
	for _, c := range commands {
		for _, name := range flagNames(c) {
			if short := map[string]string{"quiet": "-q", "verbose": "-v", "output": "-o"}[name]; !regexp.MustCompile(`zqonnx `+c.name+`.*(--`+name+`|`+short+`x)\b`).MatchString(all) &&
				(short == "" || !regexp.MustCompile(`zqonnx `+c.name+`.* `+short+`\b`).MatchString(all)) {
				t.Errorf("zqonnx %s: no script uses --%s", c.name, name)
			}
		}
	}
}

// The user guide knows every flag, and every id of a reason.
func TestGuideIsComplete(t *testing.T) {
	guide, err := os.ReadFile("../../docs/usage.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		for _, name := range flagNames(c) {
			if !strings.Contains(string(guide), "--"+name) {
				t.Errorf("zqonnx %s: --%s is missing", c.name, name)
			}
		}
	}
	files, err := filepath.Glob("../../plan/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no planner: %v", err)
	}
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\bID:\s+"([a-z0-9-]+)"`).FindAllStringSubmatch(string(source), -1) {
			if !strings.Contains(string(guide), "`"+m[1]+"`") {
				t.Errorf("the reason %s is missing", m[1])
			}
		}
	}
}

// Help, guide and the page of ranges name every way to choose a range.
func TestRangeMethodsAreDocumented(t *testing.T) {
	_, help, _ := strings.Cut(quantizeHelp, "--range METHOD")
	help, _, _ = strings.Cut(help, "--percentile")
	var named []string
	for _, w := range regexp.MustCompile(`[a-z-]+`).FindAllString(strings.ReplaceAll(help, "["+quantize.Methods[0].Name+"]", ""), -1) {
		if w != "or" {
			named = append(named, w)
		}
	}
	have := names(quantize.Methods, func(m quantize.Method) string { return m.Name })
	if !slices.Equal(named, have) {
		t.Errorf("the help names %v, there are %v", named, have)
	}
	for _, page := range []string{"usage.md", "ranges.md"} {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range have {
			if !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("%s: %s is missing", page, name)
			}
		}
	}
}

func TestRulesNameFlags(t *testing.T) {
	for command, rules := range map[string][]rule{
		"": slices.Concat(quantizeRules, precisionRules), "sensitivity": slices.Concat(sensitivityRules, precisionRules), "verify": labelRules, "run": labelRules,
	} {
		have := flagNames(*find(command))
		for _, r := range rules {
			for _, f := range append(append(strings.Split(r.needs, "|"), r.flag), r.without...) {
				if name, _, _ := strings.Cut(f, "="); name != "" && !slices.Contains(have, name) {
					t.Errorf("%s: the rule of --%s names --%s, which does not exist", command, r.flag, f)
				}
			}
		}
	}
}

func TestExitCode(t *testing.T) {
	interrupted, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"done", context.Background(), nil, 0},
		{"unknown", context.Background(), errors.New("?"), 1},
		{"differ", context.Background(), errDiffer, 1},
		{"usage", context.Background(), usagef("x %w", fs.ErrExist), 2},
		{"gate that cannot be read", context.Background(), fmt.Errorf("%w: x", verify.ErrUsage), 2},
		{"option", context.Background(), fmt.Errorf("x (%w)", data.ErrBadOption), 2},
		{"missing file", context.Background(), fmt.Errorf("x: %w", fs.ErrNotExist), 2},
		{"misfit plan", context.Background(), fmt.Errorf("%w: x", zqonnx.ErrBadPlan), 2},
		{"model", context.Background(), fmt.Errorf("x: %w", onnx.ErrBadModel), 3},
		{"operator", context.Background(), fmt.Errorf("x: %w", engine.ErrUnsupported), 3},
		{"data", context.Background(), &data.Error{File: "x", Err: fs.ErrNotExist}, 4},
		{"tensor from a damaged sample", context.Background(), &data.Error{File: "x", Err: onnx.ErrBadModel}, 4},
		{"gate", context.Background(), as(errGate, errors.New("x")), 5},
		{"nothing", context.Background(), zqonnx.ErrNothing, 6},
		{"output", context.Background(), as(errNotWritten, fs.ErrNotExist), 7},
		{"interrupted", interrupted, errors.New("x"), 130},
	} {
		if got := exitCode(c.ctx, c.err); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	names := []string{"calib", "calib-limit", "data", "activations", "exclude", "exclude-op"}
	for _, c := range []struct{ name, want string }{
		{"calb", "calib"},
		{"calibration", ""},
		{"dta", "data"},
		{"act", "activations"},
		{"exclude-ops", "exclude-op"},
		{"zzz", ""},
	} {
		got := didYouMean(c.name, names, "")
		if want := map[bool]string{true: "", false: " (did you mean " + c.want + "?)"}[c.want == ""]; got != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
	}
}
