package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx/internal/termtext"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/passes/emit"
	"github.com/zqonnx/zqonnx/passes/prepare"
)

const passesHelp = ""

func passesCommand(*pflag.FlagSet) action {
	return func(_ context.Context, e *env, _ []string) error {
		t := termtext.Table{Width: cmp.Or(terminalWidth(e.stdout), defaultWidth), Indent: "  ", Wrapped: true}
		for i, p := range []struct {
			title string
			rewrite.Pipeline
		}{
			{"Preparation: the float model in its normal form", prepare.Float32Passes},
			{"Emission: the plan carried out", emit.Passes(nil, nil)},
		} {
			if i > 0 {
				fmt.Fprintln(e.stdout)
			}
			fmt.Fprintln(e.stdout, p.title)
			var rows [][]string
			for _, pass := range p.Pipeline {
				rows = append(rows, []string{pass.Name, pass.Doc})
			}
			if err := t.Write(e.stdout, rows); err != nil {
				return as(errNotWritten, err)
			}
		}
		return nil
	}
}
