package emit

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// A layer is a graph with one site. Sizes are any; what an operator needs to be a multiple, the layer makes one.
type layer struct {
	name  string
	build func(b *builder, o, k int64) // o channels of some k weights
}

// layers has a row for each place where weights can stand.
var layers = []layer{
	{"matmul", func(b *builder, o, k int64) {
		b.output(b.op("MatMul", "y", in(b.input("x", 2, k), b.normal("w", k, o))))
	}},
	{"matmul-left", func(b *builder, o, k int64) {
		b.output(b.op("MatMul", "y", in(b.normal("w", o, k), b.input("x", 2, k, 3))))
	}},
	{"matmul-batch", func(b *builder, o, k int64) {
		b.output(b.op("MatMul", "y", in(b.input("x", 2, 4, k), b.normal("w", 2, k, o))))
	}},
	{"gemm", func(b *builder, o, k int64) {
		b.output(b.op("Gemm", "y", in(b.input("x", 2, k), b.normal("w", k, o), b.normal("b", o))))
	}},
	{"gemm-transposed", func(b *builder, o, k int64) {
		b.output(b.op("Gemm", "y", in(b.input("x", 2, k), b.normal("w", o, k)), onnx.AttrI("transB", 1)))
	}},
	{"gemm-scaled", func(b *builder, o, k int64) {
		b.output(b.op("Gemm", "y", in(b.input("x", 2, k), b.normal("w", k, o), b.normal("b", o)), onnx.AttrF("alpha", 0.5)))
	}},
	{"conv", func(b *builder, o, k int64) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, k, 4, 4), b.normal("w", o, k, 3, 3), b.normal("b", o))))
	}},
	{"conv-grouped", func(b *builder, o, k int64) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 2*k, 9), b.normal("w", 2*o, k, 5)), onnx.AttrI("group", 2)))
	}},
	{"conv-depthwise", func(b *builder, o, _ int64) {
		b.output(b.op("Conv", "y", in(b.input("x", 1, 2*o, 4, 4), b.normal("w", 2*o, 1, 3, 3)), onnx.AttrI("group", 2*o)))
	}},
	{"conv-transpose", func(b *builder, o, k int64) {
		b.output(b.op("ConvTranspose", "y", in(b.input("x", 1, 2*k, 5, 5), b.normal("w", 2*k, o, 3, 3)), onnx.AttrI("group", 2)))
	}},
	{"lstm", recurrentLayer("LSTM", 4, "forward")},
	{"gru", recurrentLayer("GRU", 3, "bidirectional")},
	{"rnn", recurrentLayer("RNN", 1, "reverse")},
	{"table", tableLayer()},
	{"table-1", tableLayer(5)},
	{"table-2", tableLayer(2, 3)},
	{"table-3", tableLayer(2, 1, 3)},
}

func recurrentLayer(op string, gates int64, direction string) func(*builder, int64, int64) {
	return func(b *builder, o, k int64) {
		d := int64(1)
		if direction == "bidirectional" {
			d = 2
		}
		y := b.ops(op, []string{"y", "y_h"}, in(b.input("x", 3, 1, k), b.normal("w", d, gates*o, k), b.normal("r", d, gates*o, o)),
			onnx.AttrI("hidden_size", o), onnx.AttrS("direction", direction))
		b.output(y...)
	}
}

func tableLayer(indices ...int64) func(*builder, int64, int64) {
	return func(b *builder, o, k int64) {
		b.output(b.op("Gather", "y", in(b.normal("w", o, k), b.inputOf("i", onnx.Int64, indices...))))
	}
}

// formsOf returns every form that a plan may give a site of that kind, for a type and a block.
func formsOf(kind plan.Kind, typ string, block int) []plan.Form {
	f, _ := quantize.FormatNamed(typ)
	if typ == "float16" || typ == "int8" && block == 0 {
		return []plan.Form{{Type: typ}}
	}
	all := []plan.Form{{Type: typ, Block: block, Storage: plan.Folded}}
	switch native := !f.Levels && 8%f.Bits == 0 && slices.Contains([]int{16, 32, 64, 128, 256}, block); {
	case native && kind == plan.Product:
		all = append(all, plan.Form{Type: typ, Block: block, Storage: plan.Native, AccuracyLevel: 1}, plan.Form{Type: typ, Block: block, Storage: plan.QDQ})
	case native && kind == plan.Table && f.Bits != 2:
		all = append(all, plan.Form{Type: typ, Block: block, Storage: plan.Native})
	}
	return all
}

// opsetOf returns the opset that a form needs, and opsets in which it is written in other ways.
func opsetsOf(f plan.Form) []int64 {
	row, _ := quantize.FormatNamed(f.Type)
	switch {
	case f.Storage == plan.QDQ && row.Bits == 2:
		return []int64{25}
	case f.Storage == plan.QDQ:
		return []int64{21}
	case f.Storage == plan.Native || row.Bits == 8:
		return []int64{13}
	}
	return []int64{13, castOpset}
}

// What is written computes the very weights that the plan dequantizes: every layer in every form.
func TestFewBits(t *testing.T) {
	for _, l := range layers {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			for _, f := range quantize.Formats {
				for _, block := range []int{0, 16, 32, 7} {
					checkLayer(t, l, 6, 37, f.Name, block)
				}
			}
			checkLayer(t, l, 6, 37, "float16", 0)
		})
	}
}

// And with any sizes.
func TestFewBitsOfAnySize(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		l := rapid.SampledFrom(layers).Draw(r, "layer")
		f := rapid.SampledFrom(quantize.Formats).Draw(r, "format")
		block := rapid.SampledFrom([]int{0, 1, 2, 3, 16, 32, 64, 50}).Draw(r, "block")
		checkLayer(r, l, rapid.Int64Range(1, 9).Draw(r, "channels"), rapid.Int64Range(1, 70).Draw(r, "weights"), f.Name, block)
	})
}

func checkLayer(t rapid.TB, l layer, o, k int64, typ string, block int) {
	t.Helper()
	first := build(13, func(b *builder) { l.build(b, o, k) })
	for _, form := range formsOf(plan.Survey(first)[0].Kind, typ, block) {
		for _, opset := range opsetsOf(form) {
			name := fmt.Sprintf("%s %dx%d %+v opset %d", l.name, o, k, form, opset)
			m := build(opset, func(b *builder) { l.build(b, o, k) })
			prep, err := plan.Prepare(m, 0)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			p := choice{scheme: plan.WeightOnly, form: form}.plan(prep)
			s := plan.Survey(prep.Model)[0]
			want, err := weightsMeant(s, p.Node(s.Key).Weights)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			check := func(_ rewrite.Pass, m *onnx.Model) error { return onnx.Check(m) }
			if err := Passes(p, prep).Run(&rewrite.Context{Trace: prep.Trace, Check: check}, prep.Model); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := sameWeights(prep.Model, s, form, want); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, prep.Model.Text())
			}
		}
	}
}

// weightsMeant returns the constant operands of a site, quantized and dequantized.
func weightsMeant(s *plan.Site, w *plan.Weights) ([]*onnx.Tensor, error) {
	var all []*onnx.Tensor
	for i := range s.Inputs {
		if w.IsHalf() {
			x, err := s.Half(i).Float32s()
			if err != nil {
				return nil, err
			}
			all = append(all, onnx.Of(x, s.Weight(i).Const().Dims...))
			continue
		}
		q, err := plan.QuantizeSite(s, i, w)
		if err != nil {
			return nil, err
		}
		all = append(all, onnx.Of(q.Dequantize(), s.Weight(i).Const().Dims...))
	}
	return all, nil
}

// sameWeights compares the operands of a site in the written model to the bit.
func sameWeights(m *onnx.Model, s *plan.Site, form plan.Form, want []*onnx.Tensor) error {
	switch {
	case s.Kind == plan.Table:
		return sameRows(m, want[0])
	case form.Storage == plan.Native:
		return sameNative(m, s, want[0])
	case form.Storage == plan.QDQ:
		for n := range m.Graph.Nodes() {
			if n.Op == "MatMul" {
				w, dims := onnx.Data[float32](want[0]), want[0].Dims
				if s.Axes[0] == 0 {
					w, dims = transpose(w, dims)
				}
				return same(m, n.Input(1), onnx.Of(w, dims...))
			}
		}
		return fmt.Errorf("no MatMul")
	}
	for i, in := range s.Inputs {
		if err := same(m, s.Node.Input(in), want[i]); err != nil {
			return err
		}
	}
	return nil
}

// same compares a tensor that is computed from constants only.
func same(m *onnx.Model, v *onnx.Value, want *onnx.Tensor) error {
	got := v.Const()
	if got == nil {
		out, err := literal(m, nil, v.Name())
		if err != nil {
			return err
		}
		got = out[v.Name()]
	}
	return sameBits(v.Name(), got, want)
}

func literal(m *onnx.Model, feeds map[string]*onnx.Tensor, outputs ...string) (map[string]*onnx.Tensor, error) {
	p, err := engine.Compile(m, engine.Options{Semantics: engine.Literal, Threads: 1})
	if err != nil {
		return nil, err
	}
	return p.Run(context.Background(), feeds, &engine.RunOptions{Outputs: outputs})
}

func sameBits(name string, got, want *onnx.Tensor) error {
	if !slices.Equal(got.Dims, want.Dims) {
		return fmt.Errorf("%q is %v, want %v", name, got.Dims, want.Dims)
	}
	a, b := onnx.Data[float32](got), onnx.Data[float32](want)
	for i := range a {
		if a[i] != b[i] { // signs of zeros do not matter
			return fmt.Errorf("%q[%d] is %v, want %v", name, i, a[i], b[i])
		}
	}
	return nil
}

// sameRows gathers all rows of a table, counted from either end.
func sameRows(m *onnx.Model, want *onnx.Tensor) error {
	dims := []int64{}
	for _, d := range m.Graph.Inputs()[0].Type.Shape {
		dims = append(dims, d.Size)
	}
	rows, k := want.Dims[0], want.Dims[1]
	n := onnx.NumElements(dims)
	for from := int64(0); from < rows; from += n {
		indices, picked := make([]int64, n), []float32{}
		for i := range indices {
			row := (from + int64(i)) % rows
			picked = append(picked, onnx.Data[float32](want)[row*k:][:k]...)
			if indices[i] = row; i%2 == 1 {
				indices[i] -= rows
			}
		}
		out, err := literal(m, map[string]*onnx.Tensor{"i": onnx.Of(indices, dims...)})
		if err != nil {
			return err
		}
		if err := sameBits("y", out["y"], onnx.Of(picked, append(slices.Clone(dims), k)...)); err != nil {
			return err
		}
	}
	return nil
}

// sameNative reads the operands of MatMulNBits as its contract says: rows of blocks of codes, the first of a byte in its low bits,
// counted from 2^(bits−1) where there are no zero points.
func sameNative(m *onnx.Model, s *plan.Site, want *onnx.Tensor) error {
	for n := range m.Graph.Nodes() {
		if n.Op != "MatMulNBits" {
			continue
		}
		k, o, bits, block := int(n.Int("K", 0)), int(n.Int("N", 0)), int(n.Int("bits", 0)), int(n.Int("block_size", 0))
		blocks := (k + block - 1) / block
		codes, scales := n.Input(1).Const(), onnx.Data[float32](n.Input(2).Const())
		if size := int64(block * bits / 8); !slices.Equal(codes.Dims, []int64{int64(o), int64(blocks), size}) || len(scales) != o*blocks {
			return fmt.Errorf("codes are %v, and there are %d scales", codes.Dims, len(scales))
		}
		read := func(x []uint8, at int) int { return int(x[at*bits/8]) >> (at * bits % 8) & (1<<bits - 1) }
		got := make([]float32, k*o)
		for c := range o {
			for i := range k {
				zero := 1 << (bits - 1)
				if z := n.Input(3); z != nil {
					per := 8 / bits
					row := onnx.Data[uint8](z.Const())[c*((blocks+per-1)/per):]
					zero = read(row, i/block)
				}
				v := float32(read(onnx.Data[uint8](codes), c*blocks*block+i)-zero) * scales[c*blocks+i/block]
				if s.Axes[0] == 0 {
					got[c*k+i] = v
				} else {
					got[i*o+c] = v
				}
			}
		}
		return sameBits("w", onnx.Of(got, want.Dims...), want)
	}
	return fmt.Errorf("no MatMulNBits")
}

// Integer kernels get the codes that the plan means, and their scales.
func TestFewBitsInIntegers(t *testing.T) {
	for _, l := range layers {
		kind := plan.Survey(build(13, func(b *builder) { l.build(b, 6, 37) }))[0].Kind
		for _, scheme := range []plan.Scheme{plan.Static, plan.Token, plan.Dynamic} {
			if !slices.Contains(forms[kind], scheme) || kind == plan.Recurrent {
				continue
			}
			for _, f := range quantize.Formats {
				if !f.Grid.Symmetric || f.Bits == 8 {
					continue
				}
				for _, opset := range []int64{13, castOpset} {
					t.Run(fmt.Sprintf("%s/%s/%s/%d", l.name, scheme, f.Name, opset), func(t *testing.T) {
						prep := prepared(t, build(opset, func(b *builder) { l.build(b, 6, 37) }))
						p := choice{scheme: scheme, form: plan.Form{Type: f.Name, Storage: plan.Folded}, codes: map[string]plan.Activation{"x": codesOf(-4, 4), "y": codesOf(-50, 50)}}.plan(prep)
						s := plan.Survey(prep.Model)[0]
						q, err := plan.QuantizeSite(s, 0, p.Node(s.Key).Weights)
						if err != nil {
							t.Fatal(err)
						}
						m := emitted(t, prep, p)
						if err := sameCodes(m, s, q); err != nil {
							t.Errorf("%v\n%s", err, m.Text())
						}
					})
				}
			}
		}
	}
}

// sameCodes finds the operand of the integer product: behind a DequantizeLinear, or of MatMulInteger.
func sameCodes(m *onnx.Model, s *plan.Site, q *quantize.Weights) error {
	for n := range m.Graph.Nodes() {
		var codes, scales *onnx.Value
		switch d, _ := nodeBefore(n, s.Inputs[0]); {
		case n.Op == "MatMulInteger":
			codes = n.Input(1)
		case (n == s.Node || n.Op == "MatMul") && d != nil && d.Op == "DequantizeLinear":
			codes, scales = d.Input(0), d.Input(1)
			if z := d.Input(2); z == nil || z.Const().Type != onnx.Int8 || !slices.Equal(z.Const().Dims, scales.Const().Dims) {
				return fmt.Errorf("ONNX Runtime wants zero points of the scales' shape")
			}
		default:
			continue
		}
		out, err := literal(m, nil, codes.Name())
		if err != nil {
			return err
		}
		want, dims := q.Codes, q.Dims
		if s.Node.Graph() == nil && s.Axes[0] == 0 { // a product of its own takes [K, N]
			want, dims = transpose(want, dims)
		}
		got := out[codes.Name()]
		if got.Type != onnx.Int8 || !slices.Equal(got.Dims, dims) || !slices.Equal(onnx.Data[int8](got), want) {
			return fmt.Errorf("codes %q are %s %v", codes, got.Type, got.Dims)
		}
		if scales != nil && !slices.Equal(onnx.Data[float32](scales.Const()), q.Scales) {
			return fmt.Errorf("scales are %v, want %v", onnx.Data[float32](scales.Const()), q.Scales)
		}
		return nil
	}
	return fmt.Errorf("there is no integer product")
}

func nodeBefore(n *onnx.Node, i int) (*onnx.Node, int) {
	if n.Input(i) == nil {
		return nil, 0
	}
	return n.Input(i).Producer()
}
