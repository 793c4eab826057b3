package quantize

import (
	"math"

	"github.com/zqonnx/zqonnx/kernels/mathf"
)

// A layer computes the same from its inputs divided by scales s, one for each column, and its weights multiplied by them. That
// moves what is hard to quantize from one side to the other.

// leastDenominator bounds what is divided by.
const leastDenominator = 1e-5

// SmoothScales returns s = x^α / w^(1−α) for the greatest magnitudes x of the inputs and w of the weights in every column; 1
// where one of them is 0. (SmoothQuant, 2211.10438.)
func SmoothScales(x, w []float32, alpha float64) []float32 {
	s := make([]float32, len(x))
	for k := range s {
		s[k] = 1
		if x[k] > 0 && w[k] > 0 {
			s[k] = balance(float64(x[k]), float64(w[k]), alpha)
		}
	}
	return s
}

func balance(x, w, alpha float64) float32 {
	s := mathf.Pow64(x, alpha) / mathf.Pow64(max(w, leastDenominator), 1-alpha)
	return float32(min(max(s, leastDenominator), 1/leastDenominator))
}

// ColumnMax raises into to the greatest magnitudes of r's columns: call it for all layers that share an input.
func (r *Rows) ColumnMax(into []float32) {
	for c := range r.N {
		for i, v := range r.W[c*r.K:][:r.K] {
			into[i] = max(into[i], float32(math.Abs(float64(v))))
		}
	}
}

// Shifts returns the middle between the extremes of every column of a layer's input. Inputs from which it is subtracted have
// the least magnitudes; see Product for what then belongs to the bias. (Outlier Suppression+, 2304.09145.)
func Shifts(lo, hi []float32) []float32 {
	z := make([]float32, len(lo))
	for k := range z {
		z[k] = float32((float64(lo[k]) + float64(hi[k])) / 2)
	}
	return z
}

// Product returns the layer's output for the input x [K], without bias: N values.
func (r *Rows) Product(x []float32) []float32 {
	y := make([]float32, r.N)
	for c := range y {
		sum := 0.0
		for i, v := range r.W[c*r.K:][:r.K] {
			sum += float64(v) * float64(x[i])
		}
		y[c] = float32(sum)
	}
	return y
}

// Equalised returns the Gram of (x − z)/s; z nil: 0.
func (g *Gram) Equalised(z, s []float32) *Gram {
	e := &Gram{K: g.K, Rows: g.Rows, XX: make([]float64, len(g.XX)), Sum: make([]float64, g.K)}
	shift := make([]float64, g.K)
	for i := range z {
		shift[i] = float64(z[i])
	}
	n := float64(g.Rows)
	for i, a := range shift {
		e.Sum[i] = (g.Sum[i] - float64(n*a)) / float64(s[i])
		for j := i; j < g.K; j++ {
			b := shift[j]
			sum := g.XX[i*g.K+j] - float64(a*g.Sum[j]) - float64(b*g.Sum[i]) + float64(n*a*b)
			if i == j {
				sum = max(sum, 0)
			}
			e.XX[i*g.K+j] = sum / (float64(s[i]) * float64(s[j]))
		}
	}
	return e
}

// smoothAlphas are the exponents that Smooth tries, in twentieths.
const smoothFrom, smoothTo = 6, 18

// Smooth returns SmoothScales for the α among 0.3, 0.35 … 0.9 with the least error of the outputs of the layers, which share
// an input of greatest magnitudes x, seen in so many rows: that of rounding the scaled weights as NewRows does, and that of
// rounding the scaled input to int8 per tensor, whose noise has the variance step²/12.
func (s *Solver) Smooth(layers []*Rows, x []float32, rows int64) (scales []float32, alpha float64) {
	w := make([]float32, s.k)
	for _, r := range layers {
		r.ColumnMax(w)
	}
	least := math.Inf(1)
	for i := smoothFrom; i <= smoothTo; i++ {
		a := float64(i) / 20
		try := SmoothScales(x, w, a)
		most := 0.0
		for k, v := range x {
			most = max(most, float64(v)/float64(try[k]))
		}
		step := most / float64(Int8Weights.Max)
		loss := 0.0
		for _, r := range layers {
			scaled := r.scaled(try)
			energy := 0.0
			for _, v := range scaled.W {
				energy += float64(v) * float64(v)
			}
			loss += s.unscaledLoss(scaled, try) + float64(float64(rows)*step*step/12*energy)
		}
		if loss < least {
			scales, alpha, least = try, a, loss
		}
	}
	return scales, alpha
}

// scaled returns r for inputs divided by s, rounded as NewRows does.
func (r *Rows) scaled(s []float32) *Rows {
	w := make([]float32, len(r.W))
	for i, v := range r.W {
		w[i] = float32(v * s[i%r.K])
	}
	return NewRows(w, r.N, r.K, r.Block, r.Grid)
}

// unscaledLoss is the error of the outputs of a layer scaled by scales, under the H of its input before that.
func (s *Solver) unscaledLoss(r *Rows, scales []float32) float64 {
	e := &Rows{N: r.N, K: r.K, Block: r.K, W: make([]float32, len(r.W)), Codes: make([]int8, len(r.W)), Scales: make([]float32, r.N)}
	row := make([]float64, r.K)
	for c := range r.N {
		r.errors(c, row)
		for i, v := range row {
			e.W[c*r.K+i] = float32(v / float64(scales[i]))
		}
	}
	return sum(s.Loss(e))
}

// awqSteps is the number of ratios that AWQ tries.
const awqSteps = 20

// AWQ scales the columns of layers that share an input so that the weights which count most are rounded best, and returns
// the scales: of s = rms(x)^r / mean|w|^(1−r), r = 0, 1/20 … 19/20, each divided by √(max·min), and of s = 1, those with the
// least error of the layers' outputs. The layers become the weights for inputs divided by s, rounded, and clipped for them
// (see Clip). (2306.00978; with the root of the mean square, which H knows, instead of the mean magnitude.)
func (s *Solver) AWQ(layers []*Rows) []float32 {
	energy := s.Energy()
	all := sum(energy) / float64(s.k)
	mean := make([]float64, s.k)
	rows := 0
	for _, r := range layers {
		rows += r.N
		for i, v := range r.W {
			mean[i%s.k] += math.Abs(float64(v))
		}
	}
	best, least := make([]float32, s.k), math.Inf(1)
	for ratio := range awqSteps + 1 {
		try := make([]float32, s.k)
		lo, hi := math.Inf(1), 0.0
		for k := range try {
			try[k] = 1
			if ratio < awqSteps && mean[k] > 0 {
				try[k] = balance(math.Sqrt(energy[k]/all), mean[k]/float64(rows), float64(ratio)/awqSteps)
			}
			lo, hi = min(lo, float64(try[k])), max(hi, float64(try[k]))
		}
		for k := range try {
			try[k] = float32(float64(try[k]) / math.Sqrt(lo*hi))
		}
		loss := 0.0
		for _, r := range layers {
			loss += s.unscaledLoss(r.scaled(try), try)
		}
		if loss < least {
			best, least = try, loss
		}
	}
	for k, v := range best {
		energy[k] /= float64(v) * float64(v)
	}
	for _, r := range layers {
		*r = *r.scaled(best)
		r.Clip(energy, false)
	}
	return best
}
