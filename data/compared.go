package data

import (
	"math"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// comparisons are the operators that a number is told apart by. holds is the comparison of an integer x with a constant c;
// yes and no are, relative to c, a value for which it holds and one for which it does not.
var comparisons = map[string]struct {
	holds   func(x, c int64) bool
	yes, no int64
}{
	"Equal":          {func(x, c int64) bool { return x == c }, 0, 1},
	"Greater":        {func(x, c int64) bool { return x > c }, 1, 0},
	"GreaterOrEqual": {func(x, c int64) bool { return x >= c }, 0, -1},
	"Less":           {func(x, c int64) bool { return x < c }, -1, 0},
	"LessOrEqual":    {func(x, c int64) bool { return x <= c }, 0, 1},
}

// mirrored has the comparison that is the same with the operands exchanged.
var mirrored = map[string]string{
	"Equal": "Equal", "Greater": "Less", "Less": "Greater", "GreaterOrEqual": "LessOrEqual", "LessOrEqual": "GreaterOrEqual",
}

// inverses has, for operators on x and a constant c, what x must be for the result y; false when no integer does that.
// The second function is for c as the first operand.
var inverses = map[string][2]func(y, c int64) (x int64, ok bool){
	"Add": {subtract, subtract},
	"Sub": {
		func(y, c int64) (int64, bool) { return subtract(y, -c) },
		func(y, c int64) (int64, bool) { return subtract(c, y) },
	},
	"Mul": {divide, divide},
	"Div": {func(y, c int64) (int64, bool) { return y * c, c == 0 || y*c/c == y }, nil},
}

func subtract(y, c int64) (int64, bool) { return y - c, (y-c < y) == (c > 0) }

func divide(y, c int64) (int64, bool) {
	if c == 0 || y%c != 0 || c == -1 && y == math.MinInt64 {
		return 0, false
	}
	return y / c, true
}

// A comparison is one of an input with a constant; c is what the input itself would have to be equal to the constant.
type comparison struct {
	op string
	c  int64
}

// valuesCompared returns values of the scalar v among which every comparison of it with a constant holds and fails, in the
// order of the graph: the sampling rate for which a model chooses a branch. It is empty when v is compared with nothing.
func valuesCompared(v *onnx.Value) []int64 {
	var found []comparison
	findComparisons(v, func(y int64) (int64, bool) { return y, true }, map[*onnx.Value]bool{v: true}, &found)
	var values []int64
	need := func(want bool) {
		for _, f := range found {
			row := comparisons[f.op]
			if !slices.ContainsFunc(values, func(x int64) bool { return row.holds(x, f.c) == want }) {
				x := f.c + row.no
				if want {
					x = f.c + row.yes
				}
				values = append(values, x)
			}
		}
	}
	need(true)
	need(false)
	return values
}

// findComparisons follows v, a function of the input whose inverse is back.
func findComparisons(v *onnx.Value, back func(int64) (int64, bool), seen map[*onnx.Value]bool, found *[]comparison) {
	for u := range carried(v) {
		if len(u.Node.Inputs()) != 2 || !u.Node.Is(u.Node.Op) {
			continue
		}
		op := u.Node.Op
		for _, c := range fewInts(u.Node.Input(1 - u.Index)) {
			if _, ok := comparisons[op]; ok {
				if x, ok := back(c); ok {
					if u.Index == 1 {
						op = mirrored[u.Node.Op]
					}
					*found = append(*found, comparison{op, x})
				}
				continue
			}
			out, inverse := u.Node.Output(0), inverses[op][u.Index]
			if inverse == nil || out == nil || seen[out] {
				continue
			}
			seen[out] = true
			findComparisons(out, func(y int64) (int64, bool) {
				x, ok := inverse(y, c)
				if !ok {
					return 0, false
				}
				return back(x)
			}, seen, found)
		}
	}
}

// fewInts returns the elements of a constant that holds a few whole numbers; nil for others.
func fewInts(v *onnx.Value) []int64 {
	for depth := 0; v != nil && depth < 8; depth++ {
		n, _ := v.Producer()
		t := v.Const()
		if t == nil && n != nil {
			t = n.Constant()
		}
		switch {
		case t != nil && t.Len() > 8:
			return nil
		case t != nil && kinds[t.Type] == 'f':
			f, err := t.Float32s()
			if err != nil {
				return nil
			}
			var x []int64
			for _, e := range f {
				if i := int64(e); float32(i) == e {
					x = append(x, i)
				}
			}
			return x
		case t != nil:
			x, err := t.Int64s()
			if err != nil {
				return nil
			}
			return x
		case n == nil || !n.Is("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"):
			return nil
		}
		v = n.Input(0)
	}
	return nil
}
