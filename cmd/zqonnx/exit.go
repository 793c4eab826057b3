package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/search"
	"github.com/zqonnx/zqonnx/verify"
)

// The command's own kinds of error.
var (
	errUsage      = errors.New("usage")
	errGate       = errors.New("a gate failed")
	errNotWritten = errors.New("output not written")
	errDiffer     = errors.New("the models differ")
)

// Exit codes that no error stands for.
const (
	exitDone        = 0
	exitInternal    = 1
	exitInterrupted = 130
)

// exits gives every kind of error its exit code. An error may be of several kinds: the first row counts.
var exits = []struct {
	kind error
	code int
}{
	{errNotWritten, 7},
	{errUsage, 2},
	{verify.ErrUsage, 2},
	{data.ErrBadOption, 2},
	{plan.ErrChoice, 2},
	{zqonnx.ErrBadPlan, 2},
	{search.ErrWork, 7},
	{zqonnx.ErrNothing, 6},
	{search.ErrMetric, 4},
	{errGate, 5},
	{data.ErrBadData, 4},
	{engine.ErrInput, 4},
	{onnx.ErrBadModel, 3},
	{engine.ErrUnsupported, 3},
	{fs.ErrNotExist, 2}, // behind the data: a file that vanished from a sample is a data problem
	{fs.ErrPermission, 2},
	{errDiffer, 1},
}

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	}
	for _, e := range exits {
		if errors.Is(err, e.kind) {
			return e.code
		}
	}
	return exitInternal
}

// message is what is said about an error; "" when nothing is.
func message(ctx context.Context, err error) string {
	switch {
	case err == nil || errors.Is(err, errDiffer):
		return ""
	case ctx.Err() != nil:
		return "interrupted; nothing was left half written"
	}
	text := err.Error()
	for _, kind := range []error{verify.ErrUsage, data.ErrBadOption, plan.ErrChoice, onnx.ErrBadModel} {
		text = strings.TrimPrefix(text, kind.Error()+": ")
		text = strings.TrimSuffix(text, " ("+kind.Error()+")")
		text = strings.TrimSuffix(text, ": "+kind.Error())
		text = strings.Replace(text, ": "+kind.Error()+": ", ": ", 1)
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = clipped(l)
	}
	return strings.Join(lines, "\n")
}

// clipped leaves out the middle of a line that a gigantic name in a file makes gigantic.
func clipped(line string) string {
	const most = 1000 // bytes; paths and names in earnest stay whole
	if len(line) <= most {
		return line
	}
	return strings.ToValidUTF8(line[:most/2], "") + " … " + strings.ToValidUTF8(line[len(line)-most/2:], "")
}

// A fault is an error of a kind that its text need not name.
type fault struct {
	kind error
	err  error
}

func (f *fault) Error() string   { return f.err.Error() }
func (f *fault) Unwrap() []error { return []error{f.kind, f.err} }

// as makes err one of the kind; nil stays nil.
func as(kind, err error) error {
	if err == nil {
		return nil
	}
	return &fault{kind, err}
}

func usagef(format string, args ...any) error { return as(errUsage, fmt.Errorf(format, args...)) }
