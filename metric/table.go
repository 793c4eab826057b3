package metric

import "math"

// A Metric is one figure of a Result, by the name that gates, searches and reports use.
type Metric struct {
	Name, Unit, Doc string
	LowerIsBetter   bool
	Of              func(Result) float64 // NaN where the Result lacks it
	// Drop is what the judged model has lost against the reference, 0 where nothing; nil for a figure that has no such scale.
	Drop  func(Result) float64
	Needs string // what must be there for a Result to have the figure; "": every Result has it
}

const (
	needsClasses = "an output with a class axis"
	needsLabels  = "labels"
)

// Metrics are the figures that a gate or a search may ask for.
var Metrics = []Metric{
	{
		Name: "cosine", Doc: "mean cosine over the samples",
		Of:   func(r Result) float64 { return float64(r.Cosine) },
		Drop: func(r Result) float64 { return 1 - float64(r.Cosine) },
	},
	{Name: "sqnr", Unit: "dB", Doc: "signal-to-quantization-noise ratio, energies pooled", Of: func(r Result) float64 { return float64(r.SQNR) }},
	{Name: "max_abs", LowerIsBetter: true, Doc: "largest absolute error", Of: func(r Result) float64 { return float64(r.MaxAbs) }},
	{Name: "mean_abs", LowerIsBetter: true, Doc: "mean absolute error", Of: func(r Result) float64 { return float64(r.MeanAbs) }},
	{
		Name: "top1", Doc: "share of rows with the same best class",
		Of:    func(r Result) float64 { return orNaN(r.Top1) },
		Drop:  func(r Result) float64 { return 1 - orNaN(r.Top1) },
		Needs: needsClasses,
	},
	{
		Name: "kl", Unit: "nat", LowerIsBetter: true, Doc: "mean Kullback-Leibler divergence of a row",
		Of:    func(r Result) float64 { return orNaN(r.KL) },
		Drop:  func(r Result) float64 { return orNaN(r.KL) },
		Needs: needsClasses,
	},
	{
		Name: "distance", LowerIsBetter: true, Doc: "1 − cosine or, where there are classes, the KL divergence, whichever is greater",
		Of:   distance,
		Drop: distance,
	},
	{
		Name: "accuracy", Doc: "share of labelled rows whose best class is the label",
		Of:    func(r Result) float64 { return float64(r.labels().Accuracy) },
		Drop:  func(r Result) float64 { l := r.labels(); return float64(l.FloatAccuracy - l.Accuracy) },
		Needs: needsLabels,
	},
	{
		Name: "cross-entropy", Unit: "nat", LowerIsBetter: true, Doc: "mean of −ln p(label) over labelled rows",
		Of:    func(r Result) float64 { return float64(r.labels().CrossEntropy) },
		Drop:  func(r Result) float64 { l := r.labels(); return float64(l.CrossEntropy - l.FloatCrossEntropy) },
		Needs: needsLabels,
	},
}

// Named returns the metric of that name; nil when there is none.
func Named(name string) *Metric {
	for i := range Metrics {
		if Metrics[i].Name == name {
			return &Metrics[i]
		}
	}
	return nil
}

// Goodness is the figure turned so that more is better.
func (m *Metric) Goodness(r Result) float64 {
	if m.LowerIsBetter {
		return -m.Of(r)
	}
	return m.Of(r)
}

// In reports whether the Result has the figure.
func (m *Metric) In(r Result) bool {
	switch m.Needs {
	case needsClasses:
		return r.Top1 != nil
	case needsLabels:
		return r.Labels != nil
	}
	return true
}

func distance(r Result) float64 {
	d := 1 - float64(r.Cosine)
	if r.KL != nil {
		d = max(d, float64(*r.KL))
	}
	return d
}

// labels returns the figures of labelled rows, NaN where there are none.
func (r Result) labels() Labels {
	if r.Labels == nil {
		nan := Number(math.NaN())
		return Labels{0, nan, nan, nan, nan}
	}
	return *r.Labels
}

func orNaN(n *Number) float64 {
	if n == nil {
		return math.NaN()
	}
	return float64(*n)
}
