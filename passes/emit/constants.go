package emit

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// constantKey is what makes two initializers of a graph the same.
type constantKey struct {
	graph       *onnx.Graph
	typ         onnx.DataType
	dims, bytes string
}

// constant returns an initializer of g that holds t: all equal scales, zero points and axes are one.
func (e *emitter) constant(g *onnx.Graph, name string, t *onnx.Tensor) *onnx.Value {
	key := constantKey{g, t.Type, fmt.Sprint(t.Dims), string(t.Bytes())}
	v := e.constants[key]
	if v == nil {
		v = g.AddConst(name, t)
		e.constants[key] = v
	}
	return v
}

// zeroPoint returns the zero point of an activation.
func (e *emitter) zeroPoint(g *onnx.Graph, z int32) *onnx.Value {
	return e.constant(g, fmt.Sprintf("zp_%d", z), onnx.Scalar(uint8(z)))
}

// zeroPoints returns the zero points of weights, which are all 0 but in what a model came with. ONNX Runtime fuses no Gemm
// without them.
func (e *emitter) zeroPoints(g *onnx.Graph, of string, q *quantize.Weights, dims ...int64) *onnx.Value {
	if q.Zeros != nil {
		return e.constant(g, of+"_zp", onnx.Of(q.Zeros, dims...))
	}
	name := "weight_zp"
	for _, d := range dims {
		name += fmt.Sprintf("_%d", d)
	}
	return e.constant(g, name, onnx.Zeros(onnx.Int8, dims...))
}

// An arrangement is how the codes of weights lie in the file.
type arrangement int

const (
	asIs       arrangement = iota // as the float weights did
	transposed                    // the last two axes changed places
	rows                          // a matrix with a row for each channel
)

// storedKey names one way to store one constant: weights that several nodes share are stored once.
type storedKey struct {
	value       *onnx.Value
	axis        int
	rounding    string
	solved      string // codes and scales found from data
	form        plan.Form
	arrangement arrangement
}

// keyOf returns the key of constant operand i of a site.
func keyOf(s *plan.Site, i int, w *plan.Weights, a arrangement) storedKey {
	key := storedKey{value: s.Weight(i), axis: s.Axes[i], rounding: s.Rounding(), arrangement: a}
	if w != nil {
		key.rounding, key.solved, key.form = w.Rounding, w.Solved.Key(), w.Form
		if w.Axis == quantize.PerTensor {
			key.axis = quantize.PerTensor
		}
	}
	return key
}

// stored are weights as initializers, in the graph that held the float ones.
type stored struct {
	graph         *onnx.Graph
	name          string  // of the codes
	dims          []int64 // of the codes, arranged
	codes         *onnx.Value
	scales, zeros *onnx.Value
	weights       *quantize.Weights // before they were arranged; of recurrent nodes as a matrix of the rows of all directions

	packed     *packed                     // codes of few bits, which become int8 where they are needed; nil: codes are int8
	packedName string                      // of the initializers that hold them
	rows       []int64                     // number of rows that are packed each; nil: all in one
	bytes      []*onnx.Value               // they, as initializers
	unpacked   map[*onnx.Graph]*onnx.Value // they, as int8
}

// weights stores constant operand i of a site.
func (e *emitter) weights(s *plan.Site, i int, w *plan.Weights, a arrangement) (*stored, error) {
	return e.once(keyOf(s, i, w, a), func() (*stored, error) {
		q, err := plan.QuantizeSite(s, i, w)
		if err != nil {
			return nil, err
		}
		return e.store(s.Weight(i), q, a, bitsOf(w)), nil
	})
}

// once makes what is stored under a key unless it is there.
func (e *emitter) once(key storedKey, store func() (*stored, error)) (*stored, error) {
	st := e.stored[key]
	if st == nil {
		var err error
		if st, err = store(); err != nil {
			return nil, err
		}
		e.stored[key] = st
	}
	return st, nil
}

// store makes the initializers of the quantized weights of v.
func (e *emitter) store(v *onnx.Value, q *quantize.Weights, a arrangement, bits int) *stored {
	g, name := v.Graph(), v.Name()
	codes, dims := q.Codes, v.Const().Dims
	if a == transposed {
		codes, dims = transpose(codes, dims)
	}
	scales := onnx.Of(q.Scales)
	if q.Axis == quantize.PerTensor {
		scales = onnx.Scalar(q.Scales[0])
	}
	st := &stored{graph: g, name: name, dims: dims, weights: q}
	st.hold(codes, bits)
	st.scales, st.zeros = e.constant(g, name+"_scale", scales), e.zeroPoints(g, name, q, scales.Dims...)
	return st
}

// hold makes an int8 initializer of codes, or packs them, of fewer bits, in so many rows.
func (st *stored) hold(codes []int8, bits int, rows ...int64) {
	if bits == 8 {
		st.codes = st.graph.AddConst(st.name+"_quantized", onnx.Of(codes, st.dims...))
		st.name = st.codes.Name()
		return
	}
	st.rows, st.packedName, st.name = rows, st.name+"_packed", st.name+"_quantized"
	st.packed, st.unpacked = pack(st.weights, bits, codes, len(codes)/int(onnx.NumElements(rows))), map[*onnx.Graph]*onnx.Value{}
}

// bitsOf returns how many bits a code takes in the file.
func bitsOf(w *plan.Weights) int {
	if w == nil {
		return 8
	}
	f, _ := quantize.FormatNamed(w.Type)
	return f.Bits
}

// transpose changes the places of the last two axes.
func transpose[E any](codes []E, dims []int64) ([]E, []int64) {
	r := len(dims)
	rows, cols := int(dims[r-2]), int(dims[r-1])
	t := make([]E, len(codes))
	for at := 0; at < len(codes); at += rows * cols {
		for i := range rows {
			for j := range cols {
				t[at+j*rows+i] = codes[at+i*cols+j]
			}
		}
	}
	dims = append(append([]int64{}, dims[:r-2]...), dims[r-1], dims[r-2])
	return t, dims
}

// dequantized puts DequantizeLinear behind stored weights, for n alone; axis is that of the channels in the stored tensor. What is
// computed from constants has short names: in small models, long ones take as many bytes as the scales.
func (e *emitter) dequantized(n *onnx.Node, st *stored, axis int) *onnx.Value {
	var attrs []*onnx.Attribute
	if st.weights.Axis != quantize.PerTensor {
		attrs = append(attrs, onnx.AttrI("axis", int64(axis)))
	}
	return e.before(n, "DequantizeLinear", "weight", []*onnx.Value{e.int8(n, st), st.scales, st.zeros}, attrs...)
}
