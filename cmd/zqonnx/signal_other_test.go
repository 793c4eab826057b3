//go:build !unix

package main

import "os"

var terminate = os.Kill // the scripts that signal run on unix only
