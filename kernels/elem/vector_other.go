//go:build !amd64

package elem

func binaryBlocks(operation, []float32, []float32, []float32, int, int) int { return 0 }

func clipBlocks(_, _ []float32, _, _ float32) int { return 0 }

func leakyReluBlocks(_, _ []float32, _ float32) int { return 0 }

func hardSigmoidBlocks(_, _ []float32, _, _ float32, _ bool) int { return 0 }

func magnitudeBlocks([]float32) (m uint32, done int) { return 0, 0 }
