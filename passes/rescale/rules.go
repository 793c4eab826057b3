package rescale

import (
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// A rule says how scales get over an operator: back from its first output, and forth from one of its inputs.
type rule struct {
	back  func(s *Scaling, n *onnx.Node, p pattern) bool
	forth func(s *Scaling, n *onnx.Node, input int, p pattern) bool
}

// rules has the operators that are linear in each channel. All others are in the way.
var rules map[string]rule

func init() { // the functions look at the table
	same := rule{sameBack, sameForth}    // f(s·x) = s·f(x) for all elements
	spatial := rule{poolBack, poolForth} // for those of one channel
	view := rule{viewBack, viewForth}    // moves elements
	tile := rule{tileBack, tileForth}    // repeats them
	gained := rule{back: gainBack}       // gain and shift behind a normalization
	additive := rule{addBack, addForth}  // all operands are scaled
	rules = map[string]rule{
		"Identity": same, "Relu": same, "LeakyRelu": same, "Neg": same, "Abs": same,
		"MaxPool": spatial, "AveragePool": spatial, "GlobalAveragePool": spatial, "GlobalMaxPool": spatial,
		"Reshape": view, "Flatten": view, "Squeeze": view, "Unsqueeze": view,
		"Transpose": {transposeBack, transposeForth},
		"Tile":      tile, "Expand": tile,
		"Add": additive, "Sub": additive,
		"Mul":                {mulBack, mulForth},
		"Div":                {divBack, divForth},
		"MatMul":             {matMulBack, matMulForth},
		"Gemm":               {gemmBack, gemmForth},
		"Conv":               {convBack, convForth},
		"LayerNormalization": gained, "RMSNormalization": gained, "SimplifiedLayerNormalization": gained,
	}
}

func sameBack(s *Scaling, n *onnx.Node, p pattern) bool         { return s.scale(n.Input(0), p) }
func sameForth(s *Scaling, n *onnx.Node, _ int, p pattern) bool { return s.scale(n.Output(0), p) }

// alongChannels reports whether p varies along axis 1 of v alone.
func alongChannels(v *onnx.Value, p pattern) bool {
	rank := rewrite.Rank(v)
	return rank >= 3 && p.axis() == 1-rank
}

func poolBack(s *Scaling, n *onnx.Node, p pattern) bool {
	return alongChannels(n.Output(0), p) && !rewrite.Used(n.Output(1)) && s.scale(n.Input(0), p)
}

func poolForth(s *Scaling, n *onnx.Node, _ int, p pattern) bool {
	return alongChannels(n.Input(0), p) && !rewrite.Used(n.Output(1)) && s.scale(n.Output(0), p)
}

func viewBack(s *Scaling, n *onnx.Node, p pattern) bool {
	p, ok := p.reshaped(rewrite.Shape(n.Output(0)), rewrite.Shape(n.Input(0)))
	return ok && s.scale(n.Input(0), p)
}

func viewForth(s *Scaling, n *onnx.Node, input int, p pattern) bool {
	p, ok := p.reshaped(rewrite.Shape(n.Input(0)), rewrite.Shape(n.Output(0)))
	return ok && input == 0 && s.scale(n.Output(0), p)
}

func tileBack(s *Scaling, n *onnx.Node, p pattern) bool {
	p, ok := p.folded(rewrite.Shape(n.Input(0)), rewrite.Shape(n.Output(0)), s.tie)
	return ok && s.scale(n.Input(0), p)
}

func tileForth(s *Scaling, n *onnx.Node, input int, p pattern) bool {
	p, ok := p.repeated(rewrite.Shape(n.Input(0)), rewrite.Shape(n.Output(0)))
	return ok && input == 0 && s.scale(n.Output(0), p)
}

// permutation returns where axis i of the output comes from, and where axis i of the input goes to.
func permutation(n *onnx.Node) (from, to []int) {
	rank := rewrite.Rank(n.Input(0))
	perm := n.Ints("perm")
	if rank < 1 || perm != nil && len(perm) != rank {
		return nil, nil
	}
	from, to = make([]int, rank), make([]int, rank)
	for i := range rank {
		from[i] = rank - 1 - i
		if perm != nil {
			from[i] = int(perm[i])
		}
		to[from[i]] = i
	}
	return from, to
}

func transposeBack(s *Scaling, n *onnx.Node, p pattern) bool {
	_, to := permutation(n)
	return to != nil && s.scale(n.Input(0), p.transposed(to))
}

func transposeForth(s *Scaling, n *onnx.Node, _ int, p pattern) bool {
	from, _ := permutation(n)
	return from != nil && s.scale(n.Output(0), p.transposed(from))
}

// add scales all operands and the result.
func (s *Scaling) add(n *onnx.Node, p pattern) bool {
	for i, v := range n.Inputs() {
		if v.Const() != nil {
			if !s.edit(edit{node: n, input: i, divide: true, pattern: p}) {
				return false
			}
		} else if !s.scale(v, p) {
			return false
		}
	}
	return s.scale(n.Output(0), p)
}

func addBack(s *Scaling, n *onnx.Node, p pattern) bool         { return s.add(n, p) }
func addForth(s *Scaling, n *onnx.Node, _ int, p pattern) bool { return s.add(n, p) }

// power tells how often the scales divide a factor: 1, 0, or -1 for a constant that is multiplied by them.
func (s *Scaling) power(n *onnx.Node, input int) int {
	if _, ok := s.patterns[n.Input(input)]; ok {
		return 1
	}
	for _, e := range s.edits {
		switch {
		case e.node != n || e.input != input:
		case e.divide:
			return 1
		default:
			return -1
		}
	}
	return 0
}

// balanced reports whether a product or quotient is divided by the scales as often as its factors are: it may have been reached
// from several sides.
func (s *Scaling) balanced(n *onnx.Node) bool {
	out := 0
	if _, ok := s.patterns[n.Output(0)]; ok {
		out = 1
	}
	switch {
	case n.Is("Mul"):
		return out == s.power(n, 0)+s.power(n, 1)
	case n.Is("Div"):
		return out == s.power(n, 0)-s.power(n, 1)
	}
	return true
}

// mulBack lets a constant operand absorb the scales, else one of the computed ones.
func mulBack(s *Scaling, n *onnx.Node, p pattern) bool {
	for i := range n.Inputs() {
		if s.edit(edit{node: n, input: i, divide: true, pattern: p}) {
			return true
		}
	}
	for _, v := range n.Inputs() {
		m := s.mark()
		if s.scale(v, p) {
			return true
		}
		s.undo(m)
	}
	return false
}

func mulForth(s *Scaling, n *onnx.Node, input int, p pattern) bool {
	_, out := s.patterns[n.Output(0)]
	return out || s.edit(edit{node: n, input: 1 - input, pattern: p}) || s.scale(n.Output(0), p)
}

func divBack(s *Scaling, n *onnx.Node, p pattern) bool {
	return s.edit(edit{node: n, input: 1, pattern: p}) || s.scale(n.Input(0), p)
}

func divForth(s *Scaling, n *onnx.Node, input int, p pattern) bool {
	_, out := s.patterns[n.Output(0)]
	return input == 0 && (out || s.edit(edit{node: n, input: 1, divide: true, pattern: p}) || s.scale(n.Output(0), p))
}

// matMulBack scales the columns of the second operand: a constant, or one computed.
func matMulBack(s *Scaling, n *onnx.Node, p pattern) bool {
	if w := n.Input(1); w.Const() != nil {
		return p.axis() == -1 && w.Const().Rank() == 2 && s.edit(edit{node: n, input: 1, divide: true, pattern: p})
	}
	return columnsOnly(n, p) && s.scale(n.Input(1), p)
}

// columnsOnly reports whether scales of columns of the second operand are those of columns of the product: rows have none, and
// the batches are the same.
func columnsOnly(n *onnx.Node, p pattern) bool {
	rank := rewrite.Rank(n.Output(0))
	return (len(p.dims) < 2 || p.dims[len(p.dims)-2] == 1) && n.Input(0) != n.Input(1) &&
		rank >= 2 && rewrite.Rank(n.Input(0)) == rank && rewrite.Rank(n.Input(1)) == rank
}

func matMulForth(s *Scaling, n *onnx.Node, input int, p pattern) bool {
	if input == 1 {
		return columnsOnly(n, p) && s.scale(n.Output(0), p)
	}
	w := n.Input(1).Const()
	return w != nil && w.Rank() == 2 && p.axis() == -1 && s.edit(edit{node: n, input: 1, pattern: p.moved(-2)})
}

// gemmAxes returns the axes of a Gemm's weights for its columns and its rows, counted from the end.
func gemmAxes(n *onnx.Node) (columns, rows int) {
	if n.Int("transB", 0) != 0 {
		return -2, -1
	}
	return -1, -2
}

func gemmBack(s *Scaling, n *onnx.Node, p pattern) bool {
	columns, _ := gemmAxes(n)
	return p.axis() == -1 && s.edit(edit{node: n, input: 1, divide: true, pattern: p.moved(columns)}) &&
		(n.Input(2) == nil || s.edit(edit{node: n, input: 2, divide: true, pattern: p}))
}

func gemmForth(s *Scaling, n *onnx.Node, input int, p pattern) bool {
	_, rows := gemmAxes(n)
	return input == 0 && n.Int("transA", 0) == 0 && p.axis() == -1 && s.edit(edit{node: n, input: 1, pattern: p.moved(rows)})
}

func convBack(s *Scaling, n *onnx.Node, p pattern) bool {
	return alongChannels(n.Output(0), p) && s.edit(edit{node: n, input: 1, divide: true, pattern: p.moved(-rewrite.Rank(n.Output(0)))}) &&
		(n.Input(2) == nil || s.edit(edit{node: n, input: 2, divide: true, pattern: p.moved(-1)}))
}

func convForth(s *Scaling, n *onnx.Node, input int, p pattern) bool {
	return input == 0 && alongChannels(n.Input(0), p) && s.edit(edit{node: n, input: 1, pattern: p, grouped: true})
}

// gainBack scales gain and shift of a normalization over the last axis.
func gainBack(s *Scaling, n *onnx.Node, p pattern) bool {
	axis, rank := n.Int("axis", -1), rewrite.Rank(n.Output(0))
	if axis != -1 && axis != int64(rank-1) || p.axis() != -1 || len(n.Outputs()) > 1 && n.Is("SimplifiedLayerNormalization") {
		return false
	}
	return s.edit(edit{node: n, input: 1, divide: true, pattern: p}) &&
		(n.Input(2) == nil || s.edit(edit{node: n, input: 2, divide: true, pattern: p}))
}
