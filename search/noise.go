package search

import (
	"github.com/zqonnx/zqonnx/kernels/mathf"
	"github.com/zqonnx/zqonnx/metric"
)

// noise returns the energy of an error by that of the signal; 0 where nothing differs.
func noise(r metric.Result) float64 {
	if float64(r.SQNR) >= metric.MaxSQNR {
		return 0
	}
	return mathf.Pow64(10, -float64(r.SQNR)/10)
}
