package quantize

import (
	"fmt"
	"slices"
)

// A Layer is what is known of the layer that weights belong to.
type Layer struct {
	// Kernel is how many consecutive weights of a channel see neighbouring inputs: kH·kW of a Conv, 1 of a matrix.
	Kernel int
	// Solvers know the input of each group of channels; nil: nothing was seen of it.
	Solvers []*Solver
}

// A Rounding is a way to choose the codes of weights. Each is one function and one row; which fits a layer is measured.
type Rounding struct {
	Name, Doc string
	// Learned roundings need the layer's Solvers.
	Learned bool
	// Fits tells what weights a rounding is for; nil: any.
	Fits func(q *Weights) bool
	// Apply rounds q's codes anew from w, the weights q was made from.
	Apply func(q *Weights, w []float32, l Layer) error
}

// Roundings are the known ones; the first is what QuantizeWeights does.
var Roundings = []Rounding{
	{Name: "rtn", Doc: "each weight to the nearest code", Apply: known(func(*Weights, []float32, Layer) {})},
	{Name: "squant", Doc: "errors cancel over kernels and channels (SQuant)", Fits: func(q *Weights) bool { return q.Simple() && q.Axis == 0 }, Apply: known(func(q *Weights, w []float32, l Layer) { q.Balance(w, l.Kernel) })},
	{Name: "diffusion", Doc: "errors are carried on to the next weight of the channel", Fits: (*Weights).Simple, Apply: known(func(q *Weights, w []float32, _ Layer) { q.Diffuse(w) })},
	{Name: "hqq", Doc: "errors of a block are sparse (HQQ)", Fits: func(q *Weights) bool { return q.Zeros != nil }, Apply: known(func(q *Weights, w []float32, _ Layer) { q.rows(w, (*Rows).HQQ) })},
	{Name: "gptq", Doc: "errors are made up for by the weights to come, as the layer's inputs hang together (GPTQ)", Learned: true, Apply: solved((*Solver).GPTQ)},
	{Name: "adaround", Doc: "GPTQ, then code after code and the scales to the least error of the layer's output", Learned: true, Apply: solved(adaround)},
}

// RoundingNamed returns the row of that name.
func RoundingNamed(name string) (Rounding, bool) {
	i := slices.IndexFunc(Roundings, func(r Rounding) bool { return r.Name == name })
	if i < 0 {
		return Rounding{}, false
	}
	return Roundings[i], true
}

// rows does f to all rows of q.
func (q *Weights) rows(w []float32, f func(*Rows)) {
	r := q.Rows(w, 0, layoutOf(q.Dims, q.Axis).channels)
	f(r)
	q.SetRows(r, 0)
}

// known makes a rounding of what needs nothing but the weights.
func known(f func(*Weights, []float32, Layer)) func(*Weights, []float32, Layer) error {
	return func(q *Weights, w []float32, l Layer) error {
		f(q, w, l)
		return nil
	}
}

// solved makes a rounding of what a Solver does to rows. Channels that would end above their start stay as they were.
func solved(f func(*Solver, *Rows)) func(*Weights, []float32, Layer) error {
	return func(q *Weights, w []float32, l Layer) error {
		channels := layoutOf(q.Dims, q.Axis).channels
		if len(l.Solvers) == 0 || channels%len(l.Solvers) != 0 {
			return fmt.Errorf("%d channels cannot be solved for with %d Gram matrices", channels, len(l.Solvers))
		}
		each := channels / len(l.Solvers)
		if q.start != nil {
			q.restart(w, l.Solvers)
		}
		for i, s := range l.Solvers {
			r := q.Rows(w, i*each, (i+1)*each)
			if r.K != s.k {
				return fmt.Errorf("channels of %d weights do not fit a Gram matrix of %d inputs", r.K, s.k)
			}
			s.Improve(r, func(r *Rows) { f(s, r) })
			q.SetRows(r, i*each)
		}
		return nil
	}
}

func adaround(s *Solver, r *Rows) {
	s.GPTQ(r)
	s.Descend(r)
	s.FitScales(r)
	s.Descend(r)
}
