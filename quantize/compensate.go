package quantize

import (
	"fmt"
	"slices"
)

// A Compensation is a way to find a low-rank correction of quantized weights. Each is one row.
type Compensation struct {
	Name, Doc string
	// Solver is set where it needs to know what the layer sees.
	Solver  bool
	correct func(s *Solver) func(*Rows, int) *LowRank
}

// Compensations are the known ones.
var Compensations = []Compensation{
	{Name: "lorc", Doc: "the errors of the weights (LoRC)", correct: func(*Solver) func(*Rows, int) *LowRank { return LoRC }},
	{Name: "lqer", Doc: "the errors of the layer's output, as its inputs hang together (LQER, by the Gram matrix)", Solver: true, correct: func(s *Solver) func(*Rows, int) *LowRank { return s.LowRank }},
}

// CompensationNamed returns the row of that name.
func CompensationNamed(name string) (Compensation, bool) {
	i := slices.IndexFunc(Compensations, func(c Compensation) bool { return c.Name == name })
	if i < 0 {
		return Compensation{}, false
	}
	return Compensations[i], true
}

// Apply finds a correction of that rank for q, the codes of w in rounding r, and chooses codes and factors in turn, as long as that
// lowers the error: of the layer's output where its input is known, else of the weights. The layer has one group.
func (c Compensation) Apply(q *Weights, w []float32, rank int, r Rounding, l Layer) (*Factors, error) {
	if c.Solver && len(l.Solvers) == 0 || len(l.Solvers) > 1 {
		return nil, fmt.Errorf("%d Gram matrices make no correction of a layer", len(l.Solvers))
	}
	n, k, _ := q.Shape()
	rows := q.Rows(w, 0, n)
	var s *Solver
	loss := SquaredErrors
	if len(l.Solvers) == 1 {
		if s = l.Solvers[0]; s.k != k {
			return nil, fmt.Errorf("channels of %d weights do not fit a Gram matrix of %d inputs", k, s.k)
		}
		loss = s.Loss
	}
	var failed error
	correction := LoftQ(rows, rank, c.correct(s), func(rest *Rows) {
		if err := q.roundRows(rest, r, l); err != nil && failed == nil {
			failed = err
		}
	}, loss)
	if failed != nil {
		return nil, failed
	}
	f, err := correction.Int8()
	if err != nil {
		return nil, err
	}
	if r.Learned { // the codes make up for the rounded factors, too
		rest := f.LowRank().Residual(rows)
		s.Improve(rest, func(r *Rows) { s.Descend(r) })
		rows.Codes = rest.Codes
	}
	q.SetRows(rows, 0)
	return f, nil
}

// roundRows rounds rows that are written down as q is.
func (q *Weights) roundRows(rows *Rows, r Rounding, l Layer) error {
	v := *q
	v.Dims, v.Axis = []int64{int64(rows.N), int64(rows.K)}, 0
	v.Codes, v.Scales, v.Zeros, v.Levels = rows.Codes, rows.Scales, rows.Zeros, rows.Levels
	if v.start != nil && !r.Learned {
		v.restart(rows.W, l.Solvers)
	}
	err := r.Apply(&v, rows.W, l)
	rows.Levels = v.Levels
	return err
}
