package data

import (
	"iter"

	"github.com/zqonnx/zqonnx/onnx"
)

// indexing has a row for each operator input that holds positions in another input: which axis of the table they count.
var indexing = []struct {
	op    string
	index int
	table int
	axis  string // attribute, 0 by default
}{
	{"Gather", 1, 0, "axis"},
	{"GatherElements", 1, 0, "axis"},
	{"ScatterElements", 1, 0, "axis"},
	{"GatherBlockQuantized", 1, 0, "gather_axis"}, // com.microsoft
	{"EmbedLayerNormalization", 0, 2, ""},         // com.microsoft: word ids
	{"EmbedLayerNormalization", 1, 4, ""},         // com.microsoft: segment ids
}

// carriers are the operators whose output 0 holds values of the inputs listed, if in other places or types.
var carriers = map[string][]int{
	"Cast": {0}, "Identity": {0}, "Reshape": {0}, "Flatten": {0}, "Squeeze": {0}, "Unsqueeze": {0}, "Transpose": {0}, "Slice": {0},
	"Split": {0}, "Expand": {0}, "Tile": {0}, "Clip": {0}, "Gather": {0}, "Where": {1, 2}, "Max": {0, 1}, "Min": {0, 1}, "Concat": {0, 1},
}

// carried iterates over the places that take v, or the output of a carrier of it.
func carried(v *onnx.Value) iter.Seq[onnx.Use] {
	return func(yield func(onnx.Use) bool) {
		seen := map[*onnx.Value]bool{v: true}
		for work := []*onnx.Value{v}; len(work) > 0; {
			v, work = work[0], work[1:]
			for _, u := range v.Uses() {
				if !yield(u) {
					return
				}
				for _, i := range carriers[u.Node.Op] {
					if i != u.Index || !u.Node.Is(u.Node.Op) {
						continue
					}
					for _, out := range u.Node.Outputs() {
						if out != nil && !seen[out] {
							seen[out] = true
							work = append(work, out)
						}
					}
				}
			}
		}
	}
}

// rowsIndexed returns the rows of the smallest table that values of v are positions in; 0 when they are none.
func rowsIndexed(v *onnx.Value) int64 {
	rows := int64(0)
	for u := range carried(v) {
		for _, x := range indexing {
			if x.op != u.Node.Op || x.index != u.Index {
				continue
			}
			if n := extent(u.Node.Input(x.table), u.Node.Int(x.axis, 0)); n > 0 && (rows == 0 || n < rows) {
				rows = n
			}
		}
	}
	return rows
}

// extent returns the size of v along an axis where the file tells it, else 0. Tables are often stored in another type and
// converted: the size is that of what is stored.
func extent(v *onnx.Value, axis int64) int64 {
	for depth := 0; v != nil && depth < 8; depth++ {
		var dims []int64
		n, _ := v.Producer()
		switch {
		case v.Const() != nil:
			dims = v.Const().Dims
		case n != nil && n.Is("Constant") && n.Attr("value") != nil && n.Attr("value").Tensor != nil:
			dims = n.Attr("value").Tensor.Dims
		case v.Type != nil && v.Type.Shape != nil:
			dims = sizes(v.Type.Shape)
		}
		if axis < 0 {
			axis += int64(len(dims))
		}
		if axis >= 0 && axis < int64(len(dims)) && dims[axis] >= 0 {
			return dims[axis]
		}
		if n == nil || !n.Is("Identity", "Cast", "DequantizeLinear", "Mul") {
			return 0
		}
		v = n.Input(0)
	}
	return 0
}
