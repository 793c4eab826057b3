//go:build !amd64

package conv

import "unsafe"

func transposeTiles(_, _ unsafe.Pointer, _, _, _, _ int) bool { return false }
