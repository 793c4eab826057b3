//go:build !amd64

package mathf

func vector(function, []float32, []float32) int { return 0 }
