// Command zqonnx quantizes ONNX models and proves that the result is right.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/zqonnx/zqonnx/onnx"
)

func main() { os.Exit(zqonnxMain()) }

func zqonnxMain() (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	e := newEnv(os.Stdin, os.Stdout, os.Stderr)
	defer func() {
		if p := recover(); p != nil {
			e.progress.clear()
			fmt.Fprintf(e.stderr, "zqonnx: internal error: %v\n%s\nThis is a bug in zqonnx; please report it with the text above and, if you can, the model.\n", p, debug.Stack())
			code = exitInternal
		}
	}()
	err := onnx.Guard(func() error { return dispatch(ctx, e, os.Args[1:]) })
	e.progress.clear()
	if text := message(ctx, err); text != "" {
		fmt.Fprintln(e.stderr, "zqonnx:", text)
	}
	return exitCode(ctx, err)
}
