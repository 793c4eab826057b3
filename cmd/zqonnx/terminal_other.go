//go:build !unix

package main

import "os"

// terminalWidth returns 0: nothing is known about the terminals of this system, so that output is as into a file.
func terminalWidth(*os.File) int { return 0 }
