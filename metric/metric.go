// Package metric measures how near a quantized model's numbers are to those of
// the float model. It knows no graph.
//
// Sums are in float64, in the order of the elements and then of the samples, so
// that a result is the same bits everywhere. A value that is not finite is
// counted, and makes the figures it enters NaN or infinite: it is never skipped.
package metric

import (
	"encoding/json"
	"fmt"
	"math"
)

// MaxSQNR in dB is what identical outputs get; −MaxSQNR is the least.
const MaxSQNR = 200

// A Comparison accumulates how far outputs are from their reference, sample by
// sample. The zero value is ready to use.
type Comparison struct {
	// Classes is the size of the last axis when it holds the scores of classes
	// (logits or probabilities); 0 leaves out Top1 and KL. To be set before
	// the first sample.
	Classes int

	samples, values, nonFinite uint64
	signal, noise              float64 // Σref², Σ(got−ref)²
	absolute, largest          float64 // Σ|got−ref|, max|got−ref|
	cosine, leastCosine        float64 // Σ and min over samples
	rows, same                 uint64  // rows of classes, those with the same best class
	divergence                 float64 // Σ over rows
	labelled                   labelled
}

// Observe adds one sample: the reference and the output to be judged, of equal
// length, a multiple of Classes.
func (c *Comparison) Observe(ref, got []float32) error {
	return c.ObserveAll([][]float32{ref}, [][]float32{got})
}

// ObserveAll adds one sample of several tensors, taken as one long vector.
func (c *Comparison) ObserveAll(ref, got [][]float32) error { return c.observe(ref, got, nil) }

// ObserveLabelled adds one sample whose rows of classes have labels, one a row: the index of the true class, or a negative
// number where there is none.
func (c *Comparison) ObserveLabelled(ref, got []float32, labels []int64) error {
	return c.observe([][]float32{ref}, [][]float32{got}, labels)
}

func (c *Comparison) observe(ref, got [][]float32, labels []int64) error {
	if len(ref) != len(got) {
		return fmt.Errorf("%d tensors cannot be compared with %d", len(got), len(ref))
	}
	for i := range ref {
		if len(ref[i]) != len(got[i]) {
			return fmt.Errorf("tensor %d: %d values cannot be compared with %d", i, len(got[i]), len(ref[i]))
		}
		if c.Classes > 0 && len(ref[i])%c.Classes != 0 {
			return fmt.Errorf("tensor %d: %d values are not rows of %d classes", i, len(ref[i]), c.Classes)
		}
	}
	// The sample is summed apart and then added, so that merging samples that
	// were observed elsewhere gives the same bits.
	s := Comparison{Classes: c.Classes, samples: 1}
	var dot, square float64 // Σref·got, Σgot²
	equal := true
	for i := range ref {
		for j, r := range ref[i] {
			a, b := float64(r), float64(got[i][j])
			d := b - a
			if b-b != 0 {
				s.nonFinite++
			}
			s.signal += float64(a * a)
			s.noise += float64(d * d)
			dot += float64(a * b)
			square += float64(b * b)
			d = math.Abs(d)
			s.absolute += d
			s.largest = max(s.largest, d) // NaN stays
			equal = equal && a == b
		}
		s.values += uint64(len(ref[i]))
		s.observeRows(ref[i], got[i])
		if labels != nil {
			if err := s.labelled.observe(ref[i], got[i], labels, c.Classes); err != nil {
				return err
			}
		}
	}
	s.cosine = cosine(dot, s.signal, square, equal)
	s.leastCosine = s.cosine
	c.add(&s)
	return nil
}

// cosine of the angle between two vectors; where one has no length, 1 if they
// are equal and 0 if not.
func cosine(dot, aa, bb float64, equal bool) float64 {
	if d := math.Sqrt(aa) * math.Sqrt(bb); d != 0 {
		return dot / d
	}
	if equal {
		return 1
	}
	return 0
}

// Merge adds the samples of o after those of c. Samples that are observed one
// by one in Comparisons of their own and merged in their order give the bits
// that observing them in one Comparison gives.
func (c *Comparison) Merge(o *Comparison) error {
	if c.Classes != o.Classes {
		return fmt.Errorf("a comparison of %d classes cannot take in one of %d", c.Classes, o.Classes)
	}
	c.add(o)
	return nil
}

func (c *Comparison) add(o *Comparison) {
	if o.samples == 0 {
		return
	}
	if c.samples == 0 {
		c.leastCosine = o.leastCosine
	}
	c.samples += o.samples
	c.values += o.values
	c.nonFinite += o.nonFinite
	c.signal += o.signal
	c.noise += o.noise
	c.absolute += o.absolute
	c.largest = max(c.largest, o.largest)
	c.cosine += o.cosine
	c.leastCosine = min(c.leastCosine, o.leastCosine)
	c.rows += o.rows
	c.same += o.same
	c.divergence += o.divergence
	c.labelled.add(o.labelled)
}

// A Result holds the figures of a Comparison.
type Result struct {
	Samples   uint64 `json:"samples"`
	Values    uint64 `json:"values"`
	NonFinite uint64 `json:"nonfinite_values,omitempty"` // NaN and Inf among the judged values

	// 10·log10(Σref²/Σ(got−ref)²) in dB over all values of all samples, within
	// ±MaxSQNR; MaxSQNR when nothing differs.
	SQNR Number `json:"sqnr"`
	// Mean and least cosine over the samples.
	Cosine    Number `json:"cosine"`
	CosineMin Number `json:"cosine_min"`
	MaxAbs    Number `json:"max_abs"`
	MeanAbs   Number `json:"mean_abs"`
	// The share of rows whose best class is the reference's, and the mean
	// Kullback-Leibler divergence of a row in nats. Nil without classes.
	Top1 *Number `json:"top1,omitempty"`
	KL   *Number `json:"kl,omitempty"`
	// Nil without labels.
	Labels *Labels `json:"labels,omitempty"`
}

// Result returns the figures; all are NaN when no sample was observed.
func (c *Comparison) Result() Result {
	n := float64(c.samples)
	r := Result{
		Samples: c.samples, Values: c.values, NonFinite: c.nonFinite,
		SQNR:      Number(SQNR(c.signal, c.noise)),
		Cosine:    Number(c.cosine / n),
		CosineMin: Number(c.leastCosine),
		MaxAbs:    Number(c.largest),
		MeanAbs:   Number(c.absolute / max(float64(c.values), 1)),
	}
	if c.samples == 0 {
		nan := Number(math.NaN())
		r.SQNR, r.CosineMin, r.MaxAbs, r.MeanAbs = nan, nan, nan, nan
	}
	if c.Classes > 0 {
		rows := float64(c.rows)
		top1, kl := Number(float64(c.same)/rows), Number(c.divergence/rows)
		r.Top1, r.KL = &top1, &kl
	}
	r.Labels = c.labelled.figures()
	return r
}

// SQNR is the ratio of two energies in dB, within ±MaxSQNR: MaxSQNR without
// noise, NaN if one is NaN.
func SQNR(signal, noise float64) float64 {
	if noise == 0 && signal == signal {
		return MaxSQNR
	}
	return min(max(10*ln(signal/noise)/ln10, -MaxSQNR), MaxSQNR)
}

// A Number is a float64 that JSON can hold: null when it is not finite.
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if n-n != 0 {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON implements json.Unmarshaler; null becomes NaN.
func (n *Number) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(b, (*float64)(n))
}

// Noise is the energy of the error as a multiple of the reference's, Σ(got−ref)²/Σref², within the bounds of SQNR; 0 when
// nothing differs.
func (c *Comparison) Noise() float64 {
	if c.noise == 0 {
		return 0
	}
	return min(c.noise/c.signal, 1e20) // NaN stays
}
