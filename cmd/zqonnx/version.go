package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/kernels/cpu"
)

const versionHelp = ""

func versionCommand(*pflag.FlagSet) action {
	return func(_ context.Context, e *env, _ []string) error {
		_, err := fmt.Fprintf(e.stdout, "zqonnx %s, %s %s/%s, kernels on %s\n", zqonnx.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, cpu.Current())
		return as(errNotWritten, err)
	}
}
