package engine

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/onnx"
)

// weightsCase is a line of testdata/weights.txt, which testdata/weights.py writes: what ONNX Runtime makes of weights of a few
// bits.
type weightsCase struct {
	t      *testing.T
	text   string
	fields map[string]string
	want   []float64
}

func (c *weightsCase) int(name string) int64 {
	v, err := strconv.ParseInt(c.fields[name], 10, 64)
	if err != nil {
		c.t.Fatalf("%s: %s: %v", c.text, name, err)
	}
	return v
}

func (c *weightsCase) ints(name string) (v []int64) {
	for s := range strings.SplitSeq(c.fields[name], ",") {
		i, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			c.t.Fatalf("%s: %s: %v", c.text, name, err)
		}
		v = append(v, i)
	}
	return v
}

func readWeightsCases(t *testing.T) (cases []*weightsCase) {
	f, err := os.Open("testdata/weights.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, result, ok := strings.Cut(lines.Text(), " : ")
		if !ok {
			continue
		}
		c := &weightsCase{t: t, text: text, fields: map[string]string{}}
		for field := range strings.FieldsSeq(text) {
			name, value, _ := strings.Cut(field, "=")
			c.fields[name] = value
		}
		for number := range strings.FieldsSeq(result) {
			v, err := strconv.ParseFloat(number, 64)
			if err != nil {
				t.Fatal(err)
			}
			c.want = append(c.want, v)
		}
		cases = append(cases, c)
	}
	return cases
}

// fill returns n numbers: those of weights.py.
func fill(n int64, seed uint32) []uint32 {
	x := make([]uint32, n)
	for i := range x {
		v := uint32(i)*0x9E3779B1 + seed*0x85EBCA77
		v = (v ^ v>>15) * 0x2C1B3C6D
		x[i] = v ^ v>>12
	}
	return x
}

func filledFloats(seed uint32, factor float32, dims ...int64) *onnx.Tensor {
	t := onnx.Zeros(onnx.Float32, dims...)
	for i, v := range fill(int64(t.Len()), seed) {
		onnx.Data[float32](t)[i] = float32(float64(v)/(1<<31)-1) * factor
	}
	return t
}

// filledCodes returns codes of a packed type.
func filledCodes(dt onnx.DataType, seed uint32, dims ...int64) *onnx.Tensor {
	t := onnx.Zeros(dt, dims...)
	for i, v := range fill(int64(t.Len()), seed) {
		setCode(dt, t.Bytes(), i, int32(v>>(32-dt.Bits())))
	}
	return t
}

// filledBytes returns the same as uint8, each row in whole bytes.
func filledBytes(bits int64, seed uint32, dims ...int64) *onnx.Tensor {
	last := dims[len(dims)-1]
	packed := append([]int64{}, dims...)
	packed[len(dims)-1] = (last*bits + 7) / 8
	t := onnx.Zeros(onnx.Uint8, packed...)
	dt := uintOf[bits]
	for i, v := range fill(onnx.NumElements(dims), seed) {
		row := t.Bytes()[int64(i)/last*packed[len(dims)-1]:]
		setCode(dt, row, i%int(last), int32(v>>(32-bits)))
	}
	return t
}

var elemNames = map[string]onnx.DataType{
	"INT2": onnx.Int2, "UINT2": onnx.Uint2, "INT4": onnx.Int4, "UINT4": onnx.Uint4, "INT8": onnx.Int8, "UINT8": onnx.Uint8,
}

func (c *weightsCase) nbits() *onnx.Tensor {
	m, k, n, block, bits := c.int("m"), c.int("k"), c.int("n"), c.int("block"), c.int("bits")
	blocks := (k + block - 1) / block
	s := singleNode{
		op: "MatMulNBits", domain: msDomain, opset: 21, constant: []int{1, 2, 3, 4, 5},
		attrs: []*onnx.Attribute{
			onnx.AttrI("K", k), onnx.AttrI("N", n), onnx.AttrI("bits", bits), onnx.AttrI("block_size", block), onnx.AttrI("accuracy_level", c.int("level")),
		},
		inputs: []*onnx.Tensor{filledFloats(5, 1, m, k), filledBytes(bits, 1, n, blocks, block), filledFloats(2, 1, n, blocks), nil, nil, nil},
	}
	switch c.fields["zeros"] {
	case "codes":
		s.inputs[3] = filledBytes(bits, 3, n, blocks)
	case "floats":
		s.inputs[3] = filledFloats(3, 8, n, blocks)
	}
	if c.int("bias") == 1 {
		s.inputs[5] = filledFloats(4, 1, n)
	}
	y := s.run(c.t)[0]
	s.constant = nil // weights that are fed
	if d := cmp.Diff(onnx.Data[float32](y), onnx.Data[float32](s.run(c.t)[0])); d != "" {
		c.t.Errorf("%s: with weights that are no constants %s", c.text, d)
	}
	return y
}

// dequantized is DequantizeLinear in front of MatMul or Gemm.
func (c *weightsCase) dequantized() *onnx.Tensor {
	m, k, n, block, dt := c.int("m"), c.int("k"), c.int("n"), c.int("block"), elemNames[c.fields["type"]]
	g := newNet(m, k)
	scales, attrs := []int64{n}, []*onnx.Attribute{onnx.AttrI("axis", 1)}
	switch {
	case block > 0:
		scales, attrs = []int64{(k + block - 1) / block, n}, []*onnx.Attribute{onnx.AttrI("axis", 0), onnx.AttrI("block_size", block)}
	case block < 0:
		scales = nil
	}
	in := []*onnx.Value{g.con(filledCodes(dt, 1, k, n)), g.con(filledFloats(2, 1, scales...))}
	if c.int("zeros") == 1 {
		in = append(in, g.con(filledCodes(dt, 3, scales...)))
	}
	d := g.op("DequantizeLinear", "d", in, attrs...)
	var y *onnx.Value
	if c.fields["op"] == "gemm" {
		y = g.op("Gemm", "y", []*onnx.Value{g.x, d, g.con(filledFloats(4, 1, n))})
	} else {
		y = g.op("MatMul", "y", []*onnx.Value{g.x, d})
	}
	model := g.model(y)
	model.Opsets[0].Version = 25
	p := compiled(c.t, model, Options{Semantics: Fused})
	if got := opsOf(p); got != "MatMulDequantized" {
		c.t.Fatalf("%s: compiled to %s", c.text, got)
	}
	feeds := map[string]*onnx.Tensor{"x": filledFloats(5, 1, m, k)}
	// Literal is the product of floats: near by, but not the same.
	literal := ran(c.t, compiled(c.t, model, Options{}), feeds, nil)["y"]
	if e := relativeError(literal, c.want); e > 0.03 || e < 1e-5 && dt.Bits() > 2 {
		c.t.Errorf("%s: literal has a relative error of %g to ONNX Runtime", c.text, e)
	}
	return ran(c.t, p, feeds, nil)["y"]
}

func (c *weightsCase) gather() *onnx.Tensor {
	dt, bits, block, axis, shape := elemNames[c.fields["type"]], c.int("bits"), c.int("block"), c.int("quantize"), c.ints("shape")
	scales := append([]int64{}, shape...)
	scales[axis] = (scales[axis] + block - 1) / block
	s := singleNode{
		op: "GatherBlockQuantized", domain: msDomain, opset: 21, constant: []int{0, 2, 3},
		attrs: []*onnx.Attribute{
			onnx.AttrI("bits", bits), onnx.AttrI("block_size", block), onnx.AttrI("gather_axis", c.int("gather")), onnx.AttrI("quantize_axis", axis),
		},
		inputs: []*onnx.Tensor{filledCodes(dt, 1, shape...), onnx.Of(c.ints("indices")), filledFloats(2, 1, scales...), filledCodes(dt, 3, scales...)},
	}
	if dt == onnx.Uint8 {
		s.inputs[0], s.inputs[3] = filledBytes(bits, 1, shape...), filledBytes(bits, 3, scales...)
	}
	if c.int("zeros") == 0 {
		s.inputs = s.inputs[:3]
	}
	return s.run(c.t)[0]
}

// relativeError is |got - want| / |want| over all elements.
func relativeError(got *onnx.Tensor, want []float64) float64 {
	d, w := 0.0, 0.0
	for i, v := range numbersOf(got) {
		want[i] = float64(float32(want[i])) // the file has nine digits
		d += (v - want[i]) * (v - want[i])
		w += want[i] * want[i]
	}
	return math.Sqrt(d / w)
}

func opsOf(p *Program) string {
	var names []string
	for _, s := range p.main.steps {
		names = append(names, s.op)
	}
	return strings.Join(names, " ")
}

// TestWeightsAsONNXRuntime: products differ by the order of float additions, gathered rows in nothing.
func TestWeightsAsONNXRuntime(t *testing.T) {
	worst := map[string]float64{}
	for _, c := range readWeightsCases(t) {
		op, limit := c.fields["op"], 6e-7
		var y *onnx.Tensor
		switch op {
		case "nbits":
			y = c.nbits()
		case "gather":
			y, limit = c.gather(), 0
		default:
			y = c.dequantized()
		}
		if y.Len() != len(c.want) {
			t.Fatalf("%s: %d elements, %d expected", c.text, y.Len(), len(c.want))
		}
		e := relativeError(y, c.want)
		if worst[op] = max(worst[op], e); !(e <= limit) {
			t.Errorf("%s: relative error %g", c.text, e)
		}
	}
	t.Logf("largest relative errors: %v", worst)
	for _, op := range []string{"nbits", "matmul", "gemm", "gather"} {
		if _, ok := worst[op]; !ok {
			t.Errorf("no case of %s", op)
		}
	}
}

func TestWeightsRefused(t *testing.T) {
	good := func() singleNode {
		return singleNode{
			op: "MatMulNBits", domain: msDomain, opset: 21, constant: []int{1, 2, 3, 4, 5},
			attrs:  []*onnx.Attribute{onnx.AttrI("K", 40), onnx.AttrI("N", 3), onnx.AttrI("bits", 4), onnx.AttrI("block_size", 32)},
			inputs: []*onnx.Tensor{filledFloats(5, 1, 2, 40), filledBytes(4, 1, 3, 2, 32), filledFloats(2, 1, 3, 2), filledBytes(4, 3, 3, 2)},
		}
	}
	checkRefused(t, good, []spoiled{
		{"no scales", func(c *singleNode) { c.inputs = c.inputs[:2] }, onnx.ErrBadModel},
		{"too few codes", func(c *singleNode) { c.inputs[1] = filledBytes(4, 1, 3, 1, 32) }, onnx.ErrBadModel},
		{"codes of int8", func(c *singleNode) { c.inputs[1] = filledCodes(onnx.Int8, 1, 3, 2, 16) }, onnx.ErrBadModel},
		{"too few scales", func(c *singleNode) { c.inputs[2] = filledFloats(2, 1, 3, 1) }, onnx.ErrBadModel},
		{"too few zero points", func(c *singleNode) { c.inputs[3] = filledBytes(4, 3, 1, 2) }, onnx.ErrBadModel},
		{"bias of another length", func(c *singleNode) { c.inputs = append(c.inputs, nil, filledFloats(4, 1, 2)) }, onnx.ErrBadModel},
		{"an order of rows", func(c *singleNode) { c.inputs = append(c.inputs, onnx.Zeros(onnx.Int32, 40)) }, ErrUnsupported},
		{"A of another width", func(c *singleNode) { c.inputs[0] = filledFloats(5, 1, 2, 41) }, onnx.ErrBadModel},
		{"A of integers", func(c *singleNode) { c.inputs[0] = onnx.Zeros(onnx.Int32, 2, 40) }, ErrUnsupported},
		{"3 bits", func(c *singleNode) { c.attrs[2] = onnx.AttrI("bits", 3) }, ErrUnsupported},
		{"blocks of 24", func(c *singleNode) { c.attrs[3] = onnx.AttrI("block_size", 24) }, onnx.ErrBadModel},
		{"no K", func(c *singleNode) { c.attrs = c.attrs[1:] }, onnx.ErrBadModel},
		{"float zero points of 8 bits", func(c *singleNode) {
			c.attrs[2], c.inputs[1], c.inputs[3] = onnx.AttrI("bits", 8), filledBytes(8, 1, 3, 2, 32), filledFloats(3, 1, 3, 2)
		}, onnx.ErrBadModel},
	})
}

// spoiled is a change to a node that runs, and the error that it brings.
type spoiled struct {
	name  string
	spoil func(c *singleNode)
	is    error
}

func checkRefused(t *testing.T, good func() singleNode, cases []spoiled) {
	t.Helper()
	if _, err := good().try(1); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		n := good()
		c.spoil(&n)
		if _, err := n.try(1); !errors.Is(err, c.is) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestGatherBlockQuantizedRefused(t *testing.T) {
	good := func() singleNode {
		return singleNode{
			op: "GatherBlockQuantized", domain: msDomain, opset: 21, attrs: []*onnx.Attribute{onnx.AttrI("block_size", 16), onnx.AttrI("bits", 4)},
			inputs: []*onnx.Tensor{filledBytes(4, 1, 5, 40), onnx.Of([]int64{1, 2}), filledFloats(2, 1, 5, 3), filledBytes(4, 3, 5, 3)},
		}
	}
	checkRefused(t, good, []spoiled{
		{"no scales", func(c *singleNode) { c.inputs = c.inputs[:2] }, onnx.ErrBadModel},
		{"too few scales", func(c *singleNode) { c.inputs[2] = filledFloats(2, 1, 5, 2) }, onnx.ErrBadModel},
		{"scales of another rank", func(c *singleNode) { c.inputs[2] = filledFloats(2, 1, 15) }, ErrUnsupported},
		{"too few zero points", func(c *singleNode) { c.inputs[3] = filledBytes(4, 3, 5, 2) }, onnx.ErrBadModel},
		{"zero points of another type", func(c *singleNode) { c.inputs[3] = filledCodes(onnx.Uint4, 3, 5, 3) }, onnx.ErrBadModel},
		{"3 bits", func(c *singleNode) { c.attrs[1] = onnx.AttrI("bits", 3) }, ErrUnsupported},
		{"blocks of 8", func(c *singleNode) { c.attrs[0] = onnx.AttrI("block_size", 8) }, onnx.ErrBadModel},
		{"columns of bytes", func(c *singleNode) { c.attrs = append(c.attrs, onnx.AttrI("gather_axis", 1)) }, ErrUnsupported},
		{"floats", func(c *singleNode) { c.inputs[0] = filledFloats(1, 1, 5, 40) }, ErrUnsupported},
		{"more rows than there is memory for", func(c *singleNode) {
			c.attrs = append(c.attrs, onnx.AttrI("gather_axis", 1), onnx.AttrI("quantize_axis", 2))
			c.inputs = []*onnx.Tensor{onnx.Zeros(onnx.Uint4, 1<<40, 3, 0), c.inputs[1], onnx.Zeros(onnx.Float32, 1<<40, 3, 0)}
		}, ErrUnsupported},
	})
}

// TestWeightsInHalfPrecision: activations and scales of float16 give the rounded result of the same in float32.
func TestWeightsInHalfPrecision(t *testing.T) {
	halved := func(t *onnx.Tensor) *onnx.Tensor {
		h := onnx.Zeros(onnx.Float16, t.Dims...)
		onnx.SetFloats(h, onnx.Data[float32](t))
		return h
	}
	for _, level := range []int64{0, 4} {
		run := func(convert func(*onnx.Tensor) *onnx.Tensor) *onnx.Tensor {
			return singleNode{
				op: "MatMulNBits", domain: msDomain, opset: 21, constant: []int{1, 2},
				attrs: []*onnx.Attribute{
					onnx.AttrI("K", 40), onnx.AttrI("N", 3), onnx.AttrI("bits", 4), onnx.AttrI("block_size", 32), onnx.AttrI("accuracy_level", level),
				},
				inputs: []*onnx.Tensor{convert(filledFloats(5, 1, 2, 40)), filledBytes(4, 1, 3, 2, 32), convert(filledFloats(2, 1, 3, 2))},
			}.run(t)[0]
		}
		got, want := run(halved), halved(run(func(t *onnx.Tensor) *onnx.Tensor { return castTo(halved(t), onnx.Float32) }))
		if d := cmp.Diff(want.Bytes(), got.Bytes()); d != "" || got.Type != onnx.Float16 {
			t.Errorf("level %d: %s %s", level, got.Type, d)
		}
	}
}

// TestWeightsAsDequantized: in float arithmetic a MatMulNBits is a MatMul of the dequantized weights, and a GatherBlockQuantized a
// Gather of a dequantized table, to the bit and on any number of threads.
func TestWeightsAsDequantized(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := int64(1) << rapid.IntRange(1, 3).Draw(t, "log2(bits)")
		block := int64(16) << rapid.IntRange(0, 5).Draw(t, "log2(block/16)")
		m, n := rapid.Int64Range(0, 9).Draw(t, "m"), rapid.Int64Range(1, 60).Draw(t, "n")
		k := block * rapid.Int64Range(1, 3).Draw(t, "blocks")
		threads := rapid.IntRange(1, 3).Draw(t, "threads")
		dt := uintOf[bits]
		same := func(what string, got, want *onnx.Tensor) {
			if d := cmp.Diff(onnx.Data[float32](want), onnx.Data[float32](got)); d != "" || !slices.Equal(want.Dims, got.Dims) {
				t.Fatalf("%s: %v, %v: %s", what, want.Dims, got.Dims, d)
			}
		}
		run := func(c singleNode) *onnx.Tensor {
			out, err := c.try(threads)
			if err != nil {
				t.Fatal(err)
			}
			return out[0]
		}
		blocked := []*onnx.Attribute{onnx.AttrI("axis", 1), onnx.AttrI("block_size", block)}
		weights := run(singleNode{op: "DequantizeLinear", opset: 25, attrs: blocked, inputs: []*onnx.Tensor{
			filledCodes(dt, 1, n, k), filledFloats(2, 1, n, k/block), filledCodes(dt, 3, n, k/block),
		}})
		a := filledFloats(5, 1, m, 2, k)
		same("product", run(singleNode{
			op: "MatMulNBits", domain: msDomain, opset: 21, constant: []int{1, 2, 3},
			attrs:  []*onnx.Attribute{onnx.AttrI("K", k), onnx.AttrI("N", n), onnx.AttrI("bits", bits), onnx.AttrI("block_size", block)},
			inputs: []*onnx.Tensor{a, filledBytes(bits, 1, n, k/block, block), filledFloats(2, 1, n, k/block), filledBytes(bits, 3, n, k/block)},
		}), run(singleNode{
			op: "MatMul", opset: 21, constant: []int{1},
			inputs: []*onnx.Tensor{a, run(singleNode{op: "Transpose", opset: 21, inputs: []*onnx.Tensor{weights}})},
		}))
		index := onnx.Of([]int64{n - 1, 0, -1, n / 2, -n, 0}, 3, 2)
		same("rows", run(singleNode{
			op: "GatherBlockQuantized", domain: msDomain, opset: 21, constant: []int{0, 2, 3},
			attrs:  []*onnx.Attribute{onnx.AttrI("bits", bits), onnx.AttrI("block_size", block)},
			inputs: []*onnx.Tensor{filledBytes(bits, 1, n, k), index, filledFloats(2, 1, n, k/block), filledBytes(bits, 3, n, k/block)},
		}), run(singleNode{op: "Gather", opset: 21, inputs: []*onnx.Tensor{weights, index}}))
	})
}

// BenchmarkMatMulNBits runs products of one worker; of the fastest run it gives the rate, which other work on the machine disturbs least.
func BenchmarkMatMulNBits(b *testing.B) {
	for _, s := range []struct{ m, k, n int64 }{{1, 4096, 4096}, {128, 768, 3072}} {
		for _, bits := range []int64{4, 8} {
			for _, block := range []int64{32, 128} {
				for _, level := range []int64{1, 4} {
					b.Run(fmt.Sprintf("%dx%dx%d/bits=%d/block=%d/level=%d", s.m, s.k, s.n, bits, block, level), func(b *testing.B) {
						model, feeds := singleNode{
							op: "MatMulNBits", domain: msDomain, opset: 21, constant: []int{1, 2},
							attrs: []*onnx.Attribute{
								onnx.AttrI("K", s.k), onnx.AttrI("N", s.n), onnx.AttrI("bits", bits), onnx.AttrI("block_size", block), onnx.AttrI("accuracy_level", level),
							},
							inputs: []*onnx.Tensor{filledFloats(5, 1, s.m, s.k), filledBytes(bits, 1, s.n, s.k/block, block), filledFloats(2, 1, s.n, s.k/block)},
						}.model()
						p := compiled(b, model, Options{Threads: 1})
						least := time.Hour
						for b.Loop() {
							start := time.Now()
							ran(b, p, feeds, nil)
							least = min(least, time.Since(start))
						}
						b.ReportMetric(float64(least.Nanoseconds()), "least-ns")
						b.ReportMetric(float64(2*s.m*s.k*s.n)/float64(least.Nanoseconds()), "GOPS")
					})
				}
			}
		}
	}
}
