package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx/internal/termtext"
	"github.com/zqonnx/zqonnx/kernels/cpu"
)

// A command is a row of the table that dispatch and help read.
type command struct {
	name    string // "" is the main job
	args    string
	summary string
	least   int    // arguments
	most    int    // arguments
	help    string // what stands under the usage line; names every flag that flags defines
	// flags defines the command's flags and returns what runs it once they are set.
	flags func(*pflag.FlagSet) action
}

type action func(ctx context.Context, e *env, args []string) error

// commands is the table; init fills it because help reads it.
var commands []command

func init() {
	commands = []command{
		{"", "IN.onnx OUT.onnx", "quantize a model", 1, 2, quantizeHelp, quantizeCommand},
		{"inspect", "MODEL", "what is inside, what can be quantized", 1, 1, inspectHelp, inspectCommand},
		{"verify", "FLOAT QUANT", "compare layer by layer, hold to gates", 2, 2, verifyHelp, verifyCommand},
		{"sensitivity", "MODEL", "rank the layers by the damage they do", 1, 1, sensitivityHelp, sensitivityCommand},
		{"run", "MODEL -o DIR", "run a model, outputs as .npz", 1, 1, runHelp, runCommand},
		{"diff", "A B", "structural difference of two models", 2, 2, diffHelp, diffCommand},
		{"passes", "", "the passes that models go through", 0, 0, passesHelp, passesCommand},
		{"version", "", "version, and the CPU's instruction set", 0, 0, versionHelp, versionCommand},
		{"help", "[COMMAND]", "help on a command", 0, 1, helpHelp, helpCommand},
	}
}

func find(name string) *command {
	for i := range commands {
		if commands[i].name == name {
			return &commands[i]
		}
	}
	return nil
}

// A page is more help on the main job, for flags that its own screen has no room for.
type page struct{ name, text string }

var pages = []page{{"precision", precisionHelp}}

// defaultWidth is what a line has where nothing says how wide the terminal is.
const defaultWidth = 80

// env is the world around a command.
type env struct {
	stdin          io.Reader
	stdout, stderr *os.File
	progress       *progress
	color          bool // unless --no-color
}

func newEnv(stdin, stdout, stderr *os.File) *env {
	return &env{stdin: stdin, stdout: stdout, stderr: stderr, progress: newProgress(stderr), color: os.Getenv("NO_COLOR") == ""}
}

// colored reports whether to colour what goes to f.
func (e *env) colored(f *os.File) bool {
	return e.color && terminalWidth(f) > 0 && os.Getenv("TERM") != "dumb"
}

// colors are the escapes of verdicts that go to f.
func (e *env) colors(f *os.File) map[string]string {
	if !e.colored(f) {
		return nil
	}
	return map[string]string{"pass": termtext.Good, "FAIL": termtext.Bad, "+": termtext.Good, "-": termtext.Bad}
}

// dispatch runs the command that the arguments name.
func dispatch(ctx context.Context, e *env, args []string) error {
	if err := cpu.Err(); err != nil {
		return as(errUsage, err)
	}
	if len(args) == 0 {
		fmt.Fprint(e.stderr, find("").usage())
		return usagef("no model given")
	}
	if args[0] == "--version" {
		args[0] = "version"
	}
	c := find(args[0])
	if c == nil || c.name == "" {
		c = find("")
	} else {
		args = args[1:]
	}
	f := pflag.NewFlagSet(c.name, pflag.ContinueOnError)
	f.Usage = func() {}
	run := c.flags(f)
	noColor := f.Lookup("no-color")
	switch err := f.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		_, err := io.WriteString(e.stdout, c.usage())
		return as(errNotWritten, err)
	case err != nil:
		return flagError(f, c, err)
	}
	if noColor != nil && noColor.Changed {
		e.color = false
	}
	if err := c.checkArgs(f.Args()); err != nil {
		return err
	}
	return run(ctx, e, f.Args())
}

func (c *command) checkArgs(args []string) error {
	switch n := len(args); {
	case n < c.least:
		return usagef("%s needs %s; %s", c.title(), c.args, c.seeHelp())
	case n > c.most && c.name == "":
		return usagef("%q is one argument too many%s; %s", args[c.most], didYouMean(args[0], commandNames(), "the command "), c.seeHelp())
	case n > c.most:
		return usagef("%q is one argument too many; %s", args[c.most], c.seeHelp())
	}
	return nil
}

func (c *command) title() string { return strings.TrimSpace("zqonnx " + c.name) }

func (c *command) seeHelp() string { return fmt.Sprintf("see %s --help", c.title()) }

// usage is the whole help of a command.
func (c *command) usage() string {
	var b strings.Builder
	if c.name != "" {
		fmt.Fprintf(&b, "usage: %s\n\n%s.\n%s", strings.Join(strings.Fields(c.title()+" [flags] "+c.args), " "), capital(c.summary), c.help)
		return b.String()
	}
	b.WriteString("usage: zqonnx [flags] IN.onnx OUT.onnx  quantize; \"-\" is stdin or stdout\n")
	for _, o := range commands[1:] {
		fmt.Fprintf(&b, "       %-32s %s\n", strings.TrimSpace(o.title()+" "+o.args), o.summary)
	}
	b.WriteString(c.help)
	return b.String()
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

const helpHelp = ""

func helpCommand(*pflag.FlagSet) action {
	return func(_ context.Context, e *env, args []string) error {
		name := ""
		if len(args) > 0 {
			name = args[0]
		}
		text := ""
		for _, p := range pages {
			if p.name == name {
				text = strings.TrimPrefix(p.text, "\n")
			}
		}
		if c := find(name); c != nil {
			text = c.usage()
		}
		if text == "" {
			return usagef("no command %q%s", name, didYouMean(name, append(commandNames(), names(pages, func(p page) string { return p.name })...), ""))
		}
		_, err := io.WriteString(e.stdout, text)
		return as(errNotWritten, err)
	}
}

func commandNames() []string {
	var names []string
	for _, c := range commands[1:] {
		names = append(names, c.name)
	}
	return names
}
