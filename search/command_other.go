//go:build !unix

package search

import (
	"context"
	"os/exec"
)

// shell makes a command that dies when the context ends.
func shell(ctx context.Context, line string) *exec.Cmd {
	return exec.CommandContext(ctx, "cmd", "/C", line)
}

// quoted makes one word for the shell.
func quoted(path string) string { return `"` + path + `"` }
