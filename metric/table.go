package metric

import "math"

// A Metric is one figure of a Result, by the name that gates and reports use.
type Metric struct {
	Name, Unit, Doc string
	LowerIsBetter   bool
	Of              func(Result) float64 // NaN where the Result lacks it
}

// Metrics are the figures that a gate may ask for.
var Metrics = []Metric{
	{Name: "cosine", Doc: "mean cosine over the samples", Of: func(r Result) float64 { return float64(r.Cosine) }},
	{Name: "sqnr", Unit: "dB", Doc: "signal-to-quantization-noise ratio, energies pooled", Of: func(r Result) float64 { return float64(r.SQNR) }},
	{Name: "max_abs", LowerIsBetter: true, Doc: "largest absolute error", Of: func(r Result) float64 { return float64(r.MaxAbs) }},
	{Name: "mean_abs", LowerIsBetter: true, Doc: "mean absolute error", Of: func(r Result) float64 { return float64(r.MeanAbs) }},
	{Name: "top1", Doc: "share of rows with the same best class", Of: func(r Result) float64 { return orNaN(r.Top1) }},
	{Name: "kl", Unit: "nat", LowerIsBetter: true, Doc: "mean Kullback-Leibler divergence of a row", Of: func(r Result) float64 { return orNaN(r.KL) }},
}

func orNaN(n *Number) float64 {
	if n == nil {
		return math.NaN()
	}
	return float64(*n)
}
