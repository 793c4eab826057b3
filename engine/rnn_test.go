package engine

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/onnx"
)

// rnnCase is a recurrent node in the shapes of the standard, layout 0.
type rnnCase struct {
	op                         string
	steps, batch, input, units int
	directions                 int
	reverse, linearReset       bool
	lengths                    []int32 // nil: all
	x, w, r, b, h, c, p        []float64
}

var gatesOf = map[string]int{"RNN": 1, "GRU": 3, "LSTM": 4}

// naive computes Y, Y_h and Y_c by the standard's equations.
func (k *rnnCase) naive() (y, yh, yc []float64) {
	sigmoid := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	n, g := k.units, gatesOf[k.op]
	y = make([]float64, k.steps*k.directions*k.batch*n)
	yh, yc = make([]float64, k.directions*k.batch*n), make([]float64, k.directions*k.batch*n)
	for d := range k.directions {
		w, r, bias := k.w[d*g*n*k.input:], k.r[d*g*n*n:], k.b[d*2*g*n:]
		for b := range k.batch {
			at := (d*k.batch + b) * n
			h, c := append([]float64{}, k.h[at:at+n]...), append([]float64{}, k.c[at:at+n]...)
			length := k.steps
			if k.lengths != nil {
				length = int(k.lengths[b])
			}
			for s := range length {
				t := s
				if k.reverse || d == 1 {
					t = length - 1 - s
				}
				in := func(gate, j int) float64 {
					v := bias[gate*n+j]
					for i := range k.input {
						v += k.x[(t*k.batch+b)*k.input+i] * w[(gate*n+j)*k.input+i]
					}
					return v
				}
				rec := func(gate, j int, h []float64) float64 {
					v := bias[(g+gate)*n+j]
					for i := range n {
						v += h[i] * r[(gate*n+j)*n+i]
					}
					return v
				}
				next, nextC := make([]float64, n), make([]float64, n)
				reset := make([]float64, n)
				for j := range n {
					reset[j] = h[j]
					if k.op == "GRU" {
						reset[j] = sigmoid(in(1, j)+rec(1, j, h)) * h[j]
					}
				}
				for j := range n {
					switch k.op {
					case "RNN":
						next[j] = math.Tanh(in(0, j) + rec(0, j, h))
					case "GRU":
						z := sigmoid(in(0, j) + rec(0, j, h))
						hidden := math.Tanh(in(2, j) + rec(2, j, reset))
						if k.linearReset {
							hidden = math.Tanh(in(2, j) + sigmoid(in(1, j)+rec(1, j, h))*rec(2, j, h))
						}
						next[j] = (1-z)*hidden + z*h[j]
					case "LSTM":
						p := k.p[d*3*n:]
						i, f := in(0, j)+rec(0, j, h)+p[j]*c[j], in(2, j)+rec(2, j, h)+p[2*n+j]*c[j]
						nextC[j] = sigmoid(f)*c[j] + sigmoid(i)*math.Tanh(in(3, j)+rec(3, j, h))
						next[j] = sigmoid(in(1, j)+rec(1, j, h)+p[n+j]*nextC[j]) * math.Tanh(nextC[j])
					}
				}
				h, c = next, nextC
				copy(y[((t*k.directions+d)*k.batch+b)*n:], h)
			}
			copy(yh[at:], h)
			copy(yc[at:], c)
		}
	}
	return y, yh, yc
}

func floatTensor(v []float64, dims ...int64) *onnx.Tensor {
	return castTo(onnx.Of(v, dims...), onnx.Float32)
}

func TestRecurrent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rnnCase{
			op: rapid.SampledFrom([]string{"RNN", "GRU", "LSTM"}).Draw(t, "op"), steps: rapid.IntRange(1, 4).Draw(t, "steps"),
			batch: rapid.IntRange(1, 3).Draw(t, "batch"), input: rapid.IntRange(1, 5).Draw(t, "input"), units: rapid.IntRange(1, 5).Draw(t, "units"),
			directions: 1, linearReset: rapid.Bool().Draw(t, "linear_before_reset"),
		}
		direction := rapid.SampledFrom([]string{"forward", "reverse", "bidirectional"}).Draw(t, "direction")
		if k.reverse = direction == "reverse"; direction == "bidirectional" {
			k.directions = 2
		}
		if rapid.Bool().Draw(t, "lengths") {
			for range k.batch {
				k.lengths = append(k.lengths, int32(rapid.IntRange(0, k.steps).Draw(t, "length")))
			}
		}
		random := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed")))
		fill := func(n int) []float64 {
			v := make([]float64, n)
			for i := range v {
				v[i] = float64(float32(random.NormFloat64() / 2))
			}
			return v
		}
		g, n, d := gatesOf[k.op], k.units, k.directions
		k.x, k.w, k.r, k.b = fill(k.steps*k.batch*k.input), fill(d*g*n*k.input), fill(d*g*n*n), fill(d*2*g*n)
		k.h, k.c, k.p = fill(d*k.batch*n), fill(d*k.batch*n), fill(d*3*n)
		d64, n64, g64, b64, s64, i64 := int64(d), int64(n), int64(g), int64(k.batch), int64(k.steps), int64(k.input)
		node := singleNode{
			op: k.op, opset: 14, outputs: 2, attrs: []*onnx.Attribute{
				onnx.AttrI("hidden_size", n64), onnx.AttrS("direction", direction), onnx.AttrI("linear_before_reset", 0),
			},
			inputs: []*onnx.Tensor{
				floatTensor(k.x, s64, b64, i64), floatTensor(k.w, d64, g64*n64, i64), floatTensor(k.r, d64, g64*n64, n64),
				floatTensor(k.b, d64, 2*g64*n64), nil, floatTensor(k.h, d64, b64, n64),
			},
		}
		if k.lengths != nil {
			node.inputs[4] = onnx.Of(k.lengths)
		}
		switch k.op {
		case "LSTM":
			node.outputs = 3
			node.inputs = append(node.inputs, floatTensor(k.c, d64, b64, n64), floatTensor(k.p, d64, 3*n64))
		case "GRU":
			if k.linearReset {
				node.attrs[2] = onnx.AttrI("linear_before_reset", 1)
			}
		}
		if rapid.Bool().Draw(t, "constant weights") {
			node.constant = []int{1, 2}
		}
		out := node.run(t)
		y, yh, yc := k.naive()
		for i, want := range [][]float64{y, yh, yc}[:node.outputs] {
			for j, g := range numbersOf(out[i]) {
				if math.Abs(g-want[j]) > 1e-5 {
					t.Fatalf("%s %s: output %d, element %d is %g, want %g", k.op, direction, i, j, g, want[j])
				}
			}
		}
	})
}

// TestQuantizedLSTM: the integer operator is the float one on inputs, states and weights that went through their codes.
func TestQuantizedLSTM(t *testing.T) {
	const steps, input, n = 3, 6, 4
	random := rand.New(rand.NewPCG(1, 2))
	codes := func(k int) ([]int8, []float64, []float32) { // [k, 4n], a scale a column
		q, w, scale := make([]int8, k*4*n), make([]float64, k*4*n), make([]float32, 4*n)
		for c := range scale {
			scale[c] = float32(0.003 + 0.002*random.Float64())
		}
		for i := range q {
			q[i] = int8(random.IntN(255) - 127)
			w[i] = float64(q[i]) * float64(scale[i%(4*n)])
		}
		return q, w, scale
	}
	wq, w, ws := codes(input)
	rq, r, rs := codes(n)
	x := make([]float32, steps*input)
	for i := range x {
		x[i] = float32(random.NormFloat64())
	}
	// through sends a row through uint8 codes over its range, which contains 0.
	through := func(v []float64) []float64 {
		lo, hi := 0.0, 0.0
		for _, e := range v {
			lo, hi = min(lo, e), max(hi, e)
		}
		out := make([]float64, len(v))
		if lo == hi {
			return out
		}
		s := (hi - lo) / 255
		z := math.RoundToEven(-lo / s)
		for i, e := range v {
			out[i] = (min(max(math.RoundToEven(e/s)+z, 0), 255) - z) * s
		}
		return out
	}
	xw := make([]float64, len(x))
	for i, v := range x {
		xw[i] = float64(v)
	}
	xq := through(xw) // all steps at once
	h, c := make([]float64, n), make([]float64, n)
	var want []float64
	sigmoid := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	for s := range steps {
		hq := through(h)
		gate := func(g, j int) (v float64) {
			for i := range input {
				v += xq[s*input+i] * w[i*4*n+g*n+j]
			}
			for i := range n {
				v += hq[i] * r[i*4*n+g*n+j]
			}
			return v
		}
		for j := range n {
			c[j] = sigmoid(gate(2, j))*c[j] + sigmoid(gate(0, j))*math.Tanh(gate(3, j))
		}
		for j := range n {
			h[j] = sigmoid(gate(1, j)) * math.Tanh(c[j])
		}
		want = append(want, h...)
	}
	out := singleNode{
		op: "DynamicQuantizeLSTM", domain: msDomain, opset: 14, attrs: []*onnx.Attribute{onnx.AttrI("hidden_size", n)},
		inputs: []*onnx.Tensor{
			onnx.Of(x, steps, 1, input), onnx.Of(wq, 1, input, 4*n), onnx.Of(rq, 1, n, 4*n), nil, nil, nil, nil, nil,
			onnx.Of(ws, 1, 4*n), onnx.Of(make([]int8, 4*n), 1, 4*n), onnx.Of(rs, 1, 4*n), onnx.Of(make([]int8, 4*n), 1, 4*n),
		},
		constant: []int{1, 2, 8, 9, 10, 11},
	}.run(t)
	checkClose(t, "DynamicQuantizeLSTM", out[0], want, 2e-6)
}
