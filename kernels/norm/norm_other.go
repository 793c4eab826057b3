//go:build !amd64

package norm

func sums(_ *[sumLanes]float32, x []float32) []float32 { return x }

func means(_ *[momentLanes]float64, x []float32) []float32 { return x }

func squares(_ *[momentLanes]float32, x []float32, _ float32) []float32 { return x }

func affine(_, _ []float32, _, _ float32, _, _ []float32) int { return 0 }

func distributed(_, _ []float32, _, _ float32, _, _ []float32) int { return 0 }

func maxima(x []float32) (float32, int) { return x[0], 0 }
