// Command zqonnx quantizes ONNX models and proves that the result is right.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	err := quantizeMain(ctx, args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "zqonnx:", err)
		return 1
	}
	return 0
}
