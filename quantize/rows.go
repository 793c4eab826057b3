package quantize

import "math"

// Rows are the weights of a layer as a matrix with a row for each output channel, the form in which they are solved for:
// [N, K], whatever axis the model has its channels along.
type Rows struct {
	N, K   int
	Grid   Grid
	Block  int       // consecutive weights of a row that share a scale; K: all of them
	W      []float32 // [N, K]
	Codes  []int8    // [N, K]
	Scales []float32 // [N, ceil(K/Block)]
	Zeros  []int8    // zero points beside Scales; nil: all 0
	Levels []int8    // the codes in use, ascending; nil: all of Grid
}

func (r *Rows) blocks() int { return (r.K + r.Block - 1) / r.Block }

// block returns the weights of block x of every row: from…to.
func (r *Rows) block(x int) (from, to int) { return x * r.Block, min((x+1)*r.Block, r.K) }

func (r *Rows) at(c, i int) int { return c*r.blocks() + i/r.Block }

func (r *Rows) scale(c, i int) float64 { return float64(r.Scales[r.at(c, i)]) }

func (r *Rows) zero(c, i int) float64 {
	if r.Zeros == nil {
		return 0
	}
	return float64(r.Zeros[r.at(c, i)])
}

// code returns the code of a weight, counted from its zero point.
func (r *Rows) code(c, i int) float64 { return float64(r.Codes[c*r.K+i]) - r.zero(c, i) }

// set gives a weight the code nearest to want and returns the value it then has.
func (r *Rows) set(c, i int, want float64) float64 {
	s, z := r.scale(c, i), r.zero(c, i)
	q := r.nearest(want/s, z)
	r.Codes[c*r.K+i] = int8(q)
	return (q - z) * s
}

// nearest returns the code nearest to u steps from another one.
func (r *Rows) nearest(u, from float64) float64 {
	if r.Levels == nil {
		return min(max(math.RoundToEven(u)+from, float64(r.Grid.Min)), float64(r.Grid.Max))
	}
	i := 0
	for i+1 < len(r.Levels) && 2*(u+from) > float64(r.Levels[i])+float64(r.Levels[i+1]) {
		i++
	}
	return float64(r.Levels[i])
}

// errors writes w − ŵ of row c to e.
func (r *Rows) errors(c int, e []float64) {
	for i := range r.K {
		e[i] = float64(r.W[c*r.K+i]) - float64(r.code(c, i)*r.scale(c, i))
	}
}

// Round gives every weight the nearest code.
func (r *Rows) Round() {
	for c := range r.N {
		for i := range r.K {
			r.set(c, i, float64(r.W[c*r.K+i]))
		}
	}
}
