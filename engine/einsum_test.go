package engine

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/onnx"
)

// TestEinsum holds random equations of up to three operands to the definition: for every value of all labels, the product
// of the operands' elements is added to the result's.
func TestEinsum(t *testing.T) {
	const letters = "abcd"
	rapid.Check(t, func(t *rapid.T) {
		size := map[byte]int64{}
		for i := range letters {
			size[letters[i]] = rapid.Int64Range(1, 3).Draw(t, "size")
		}
		var terms []string
		var inputs []*onnx.Tensor
		used := ""
		for range rapid.IntRange(1, 3).Draw(t, "operands") {
			term := rapid.StringOfN(rapid.RuneFrom([]rune(letters)), 0, 3, -1).Draw(t, "term")
			var dims []int64
			for i := range term {
				dims = append(dims, size[term[i]])
			}
			x := onnx.Zeros(onnx.Float32, dims...)
			for i := range onnx.Data[float32](x) {
				onnx.Data[float32](x)[i] = float32(rapid.IntRange(-3, 3).Draw(t, "x"))
			}
			terms, inputs, used = append(terms, term), append(inputs, x), used+term
		}
		out := ""
		for _, l := range rapid.Permutation([]rune(letters)).Draw(t, "order") {
			if strings.ContainsRune(used, l) && rapid.Bool().Draw(t, "keep") {
				out += string(l)
			}
		}
		equation := strings.Join(terms, ",") + "->" + out
		y := singleNode{op: "Einsum", opset: 12, attrs: []*onnx.Attribute{onnx.AttrS("equation", equation)}, inputs: inputs}.run(t)[0]

		want := make([]float32, y.Len())
		value := map[byte]int64{}
		at := func(term string) (i int64) {
			for k := range term {
				i = i*size[term[k]] + value[term[k]]
			}
			return i
		}
		var visit func(rest string)
		visit = func(rest string) {
			if rest != "" {
				for v := range size[rest[0]] {
					value[rest[0]] = v
					visit(rest[1:])
				}
				return
			}
			p := float32(1)
			for i, term := range terms {
				p *= onnx.Data[float32](inputs[i])[at(term)]
			}
			want[at(out)] += p
		}
		var occurring string
		for i := range letters {
			if strings.Contains(used, letters[i:i+1]) {
				occurring += letters[i : i+1]
			}
		}
		visit(occurring)
		for i, g := range onnx.Data[float32](y) {
			if g != want[i] {
				t.Fatalf("%s: element %d is %v, want %v", equation, i, g, want[i])
			}
		}
	})
}

// TestEinsumEllipsis multiplies batches of matrices, one batch dimension broadcast, with the result's labels implied.
func TestEinsumEllipsis(t *testing.T) {
	a, b := castTo(numbered(2, 1, 2, 3), onnx.Float32), castTo(numbered(4, 3, 2), onnx.Float32)
	equation := []*onnx.Attribute{onnx.AttrS("equation", "...ij, ...jk")}
	y := singleNode{op: "Einsum", opset: 12, attrs: equation, inputs: []*onnx.Tensor{a, b}}.run(t)[0]
	want := singleNode{op: "MatMul", opset: 13, inputs: []*onnx.Tensor{a, b}}.run(t)[0]
	checkClose(t, "einsum", y, numbersOf(want), 0)
	if y.Rank() != 4 || y.Dims[1] != 4 {
		t.Errorf("shape %v, want %v", y.Dims, want.Dims)
	}
}
