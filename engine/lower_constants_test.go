package engine

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zqonnx/zqonnx/onnx"
)

// storedForms are ways to store int8 codes from -8 to 7 in half the bytes, for a constant subgraph to unpack.
var storedForms = map[string]func(n *net, codes []int8, dims []int64) *onnx.Value{
	"int8": func(n *net, codes []int8, dims []int64) *onnx.Value { return n.con(onnx.Of(codes, dims...)) },
	"int4": func(n *net, codes []int8, dims []int64) *onnx.Value {
		return n.op("Cast", "w8", []*onnx.Value{n.con(packCodes(onnx.Int4, codes, dims))}, onnx.AttrI("to", int64(onnx.Int8)))
	},
	"codebook": func(n *net, codes []int8, dims []int64) *onnx.Value {
		book := onnx.Of([]int8{0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1})
		index := n.op("Cast", "index", []*onnx.Value{n.con(packCodes(onnx.Uint4, codes, dims))}, onnx.AttrI("to", int64(onnx.Int32)))
		return n.op("Gather", "w8", []*onnx.Value{n.con(book), index})
	},
	"pairs": func(n *net, codes []int8, dims []int64) *onnx.Value {
		table := onnx.Zeros(onnx.Int8, 256, 2)
		for i := range 256 {
			onnx.Data[int8](table)[2*i], onnx.Data[int8](table)[2*i+1] = int8(i<<4)>>4, int8(i)>>4
		}
		packed := packCodes(onnx.Uint4, codes, []int64{int64(len(codes))})
		bytes := onnx.Of(packed.Bytes())
		index := n.op("Cast", "index", []*onnx.Value{n.con(bytes)}, onnx.AttrI("to", int64(onnx.Int32)))
		pairs := n.op("Gather", "pairs", []*onnx.Value{n.con(table), index})
		if len(codes)%2 != 0 {
			pairs = n.op("Reshape", "flat", []*onnx.Value{pairs, n.con(onnx.Of([]int64{-1}))})
			pairs = n.op("Slice", "exact", []*onnx.Value{pairs, n.con(onnx.Of([]int64{0})), n.con(onnx.Of([]int64{int64(len(codes))}))})
		}
		return n.op("Reshape", "w8", []*onnx.Value{pairs, n.con(onnx.Of(dims))})
	},
	"planes": func(n *net, codes []int8, dims []int64) *onnx.Value { // high·4 + low, two bits each
		high, low := onnx.Zeros(onnx.Int2, dims...), onnx.Zeros(onnx.Uint2, dims...)
		for i, c := range codes {
			setCode(onnx.Int2, high.Bytes(), i, int32(c>>2))
			setCode(onnx.Uint2, low.Bytes(), i, int32(c&3))
		}
		to8 := onnx.AttrI("to", int64(onnx.Int8))
		h := n.op("Mul", "h4", []*onnx.Value{n.op("Cast", "h", []*onnx.Value{n.con(high)}, to8), n.con(onnx.Scalar(int8(4)))})
		return n.op("Add", "w8", []*onnx.Value{h, n.op("Cast", "l", []*onnx.Value{n.con(low)}, to8)})
	},
}

func packCodes(dt onnx.DataType, codes []int8, dims []int64) *onnx.Tensor {
	t := onnx.Zeros(dt, dims...)
	for i, c := range codes {
		setCode(dt, t.Bytes(), i, int32(c))
	}
	return t
}

// TestStoredWeightsFuse: however the codes are stored, the same integer operators run on them, and give the same bits.
func TestStoredWeightsFuse(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	random := func(count int) []int8 {
		codes := make([]int8, count)
		for i := range codes {
			codes[i] = int8(r.IntN(16) - 8)
		}
		return codes
	}
	for _, c := range []struct {
		name, want string
		dims       []int64
		build      func(n *net, w *onnx.Value) *onnx.Value
	}{
		{"conv", "QuantizeLinear QLinearConv DequantizeLinear", []int64{3, 5, 3, 3}, func(n *net, w *onnx.Value) *onnx.Value {
			d := n.op("DequantizeLinear", "d", []*onnx.Value{w, n.con(filledFloats(1, 1, 3)), n.con(onnx.Zeros(onnx.Int8, 3))}, onnx.AttrI("axis", 0))
			return n.quantize(n.op("Conv", "y", []*onnx.Value{n.quantize(n.x, 0.02, zero120), d}), 0.3, zero120)
		}},
		{"matmul", "QuantizeLinear MatMulIntegerToFloat", []int64{7, 9}, func(n *net, w *onnx.Value) *onnx.Value {
			d := n.op("DequantizeLinear", "d", []*onnx.Value{w, n.con(filledFloats(1, 1, 9))}, onnx.AttrI("axis", 1))
			return n.op("MatMul", "y", []*onnx.Value{n.quantize(n.x, 0.02, zero120), d})
		}},
		{"gemm with a scale in half precision", "QuantizeLinear QGemm", []int64{7, 10}, func(n *net, w *onnx.Value) *onnx.Value {
			half := onnx.Zeros(onnx.Float16, 10)
			onnx.SetFloats(half, onnx.Data[float32](filledFloats(1, 1, 10)))
			scale := n.op("Cast", "scale", []*onnx.Value{n.con(half)}, onnx.AttrI("to", int64(onnx.Float32)))
			d := n.op("DequantizeLinear", "d", []*onnx.Value{w, scale, n.con(onnx.Zeros(onnx.Int8, 10))}, onnx.AttrI("axis", 1))
			return n.op("Gemm", "y", []*onnx.Value{n.quantize(n.x, 0.02, zero120), d})
		}},
		{"float weights", "MatMul", []int64{7, 9}, func(n *net, w *onnx.Value) *onnx.Value {
			f := n.op("Cast", "f", []*onnx.Value{w}, onnx.AttrI("to", int64(onnx.Float32)))
			return n.op("MatMul", "y", []*onnx.Value{n.x, n.op("Mul", "scaled", []*onnx.Value{f, n.con(filledFloats(1, 1, 9))})})
		}},
		{"weight only, in 8 bits", "MatMulDequantized", []int64{7, 9}, func(n *net, w *onnx.Value) *onnx.Value {
			d := n.op("DequantizeLinear", "d", []*onnx.Value{w, n.con(filledFloats(1, 1, 9))}, onnx.AttrI("axis", 1))
			return n.op("MatMul", "y", []*onnx.Value{n.x, d})
		}},
	} {
		codes, x := random(int(onnx.NumElements(c.dims))), []int64{4, 7}
		if len(c.dims) == 4 {
			x = []int64{2, 5, 6, 6}
		}
		feeds := map[string]*onnx.Tensor{"x": filledFloats(5, 1, x...)}
		run := func(form string) *onnx.Tensor {
			n := newNet(x...)
			m := n.model(c.build(n, storedForms[form](n, codes, c.dims)))
			m.Opsets[0].Version = 25
			p := compiled(t, m, Options{Semantics: Fused})
			if got := opsOf(p); got != c.want {
				t.Errorf("%s stored as %s: compiled to %s, not %s", c.name, form, got, c.want)
			}
			for _, name := range []string{"index", "pairs", "h", "h4"} {
				if p.Has(name) {
					t.Errorf("%s stored as %s: %q is kept though nothing needs it", c.name, form, name)
				}
			}
			return ran(t, p, feeds, nil)[p.Outputs()[0]]
		}
		want := run("int8")
		for form := range storedForms {
			if d := cmp.Diff(onnx.Data[float32](want), onnx.Data[float32](run(form))); d != "" {
				t.Errorf("%s stored as %s: %s", c.name, form, d)
			}
		}
	}
}

// TestHugeResultsAreNotFolded: a constant much larger than what it is made of is computed when it is needed.
func TestHugeResultsAreNotFolded(t *testing.T) {
	for _, s := range []Semantics{Literal, Fused} {
		for _, c := range []struct {
			side int64
			want string
		}{{1000, "Add"}, {4000, "ConstantOfShape Add"}} {
			n := newNet(1)
			p := compiled(t, n.model(n.op("Add", "y", []*onnx.Value{n.x, n.op("ConstantOfShape", "c", []*onnx.Value{n.con(onnx.Of([]int64{c.side, c.side}))})})), Options{Semantics: s})
			if got := opsOf(p); got != c.want {
				t.Errorf("%v: a constant of %d MB: compiled to %s", s, c.side*c.side*4>>20, got)
			}
			y := ran(t, p, map[string]*onnx.Tensor{"x": onnx.Of([]float32{3})}, nil)["y"]
			if f := onnx.Data[float32](y); len(f) != int(c.side*c.side) || f[0] != 3 || f[len(f)-1] != 3 {
				t.Errorf("%v: %d elements, the first %v", s, len(f), f[0])
			}
		}
	}
}
