package engine

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/zqonnx/zqonnx/onnx"
)

func randomFloats(r *rand.Rand, dims ...int64) *onnx.Tensor {
	t := onnx.Zeros(onnx.Float32, dims...)
	for i := range onnx.Data[float32](t) {
		onnx.Data[float32](t)[i] = float32(r.NormFloat64())
	}
	return t
}

func randomCodes(r *rand.Rand, dt onnx.DataType, dims ...int64) *onnx.Tensor {
	t := onnx.Zeros(dt, dims...)
	for i := range t.Bytes() {
		t.Bytes()[i] = uint8(r.Uint32())
	}
	return t
}

// convCase is a random 2-D convolution.
type convCase struct {
	n, c, h, w, o, groups    int64
	kernel, strides, dilates [2]int64
	pads                     [4]int64
}

func drawConv(t *rapid.T) convCase {
	draw := func(name string, lo, hi int) int64 { return int64(rapid.IntRange(lo, hi).Draw(t, name)) }
	c := convCase{n: draw("batch", 1, 2), h: draw("height", 5, 11), w: draw("width", 5, 11)}
	c.groups = []int64{1, 1, 2, 20}[draw("groups", 0, 3)]
	c.c, c.o = c.groups*draw("in", 1, 5), c.groups*draw("out", 1, 5)
	if c.groups == 20 {
		c.c, c.o = 20, 20
	}
	for i := range 2 {
		c.kernel[i], c.strides[i], c.dilates[i] = draw("kernel", 1, 3), draw("stride", 1, 2), draw("dilation", 1, 2)
		c.pads[i], c.pads[2+i] = draw("pad", 0, 2), draw("pad", 0, 2)
	}
	return c
}

func (c convCase) attrs() []*onnx.Attribute {
	return []*onnx.Attribute{
		onnx.AttrIs("kernel_shape", c.kernel[:]...), onnx.AttrIs("strides", c.strides[:]...), onnx.AttrIs("dilations", c.dilates[:]...),
		onnx.AttrIs("pads", c.pads[:]...), onnx.AttrI("group", c.groups),
	}
}

// each calls f for every output with the pairs of input and filter elements that meet in it, in the engine's order: taps
// first, then channels.
func (c convCase) each(f func(out int, o int64, pairs [][2]int)) (dims []int64) {
	size := func(in int64, i int) int64 {
		return (in+c.pads[i]+c.pads[2+i]-(c.kernel[i]-1)*c.dilates[i]-1)/c.strides[i] + 1
	}
	oh, ow := size(c.h, 0), size(c.w, 1)
	filterIn, filterOut, out := c.c/c.groups, c.o/c.groups, 0
	for n := range c.n {
		for o := range c.o {
			for y := range oh {
				for x := range ow {
					var pairs [][2]int
					for kh := range c.kernel[0] {
						for kw := range c.kernel[1] {
							for i := range filterIn {
								h, w := y*c.strides[0]-c.pads[0]+kh*c.dilates[0], x*c.strides[1]-c.pads[1]+kw*c.dilates[1]
								if h < 0 || h >= c.h || w < 0 || w >= c.w {
									continue
								}
								in := ((n*c.c+o/filterOut*filterIn+i)*c.h+h)*c.w + w
								pairs = append(pairs, [2]int{int(in), int(((o*filterIn+i)*c.kernel[0]+kh)*c.kernel[1] + kw)})
							}
						}
					}
					f(out, o, pairs)
					out++
				}
			}
		}
	}
	return []int64{c.n, c.o, oh, ow}
}

func TestConvIsTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConv(t)
		if c.h+c.pads[0]+c.pads[2] <= (c.kernel[0]-1)*c.dilates[0] || c.w+c.pads[1]+c.pads[3] <= (c.kernel[1]-1)*c.dilates[1] {
			return
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		x, w := randomFloats(r, c.n, c.c, c.h, c.w), randomFloats(r, c.o, c.c/c.groups, c.kernel[0], c.kernel[1])
		b := randomFloats(r, c.o)
		var want []float64
		dims := c.each(func(_ int, o int64, pairs [][2]int) {
			sum := float64(onnx.Data[float32](b)[o])
			for _, p := range pairs {
				sum += float64(onnx.Data[float32](x)[p[0]]) * float64(onnx.Data[float32](w)[p[1]])
			}
			want = append(want, sum)
		})
		var first *onnx.Tensor
		for _, constant := range [][]int{nil, {1, 2}} {
			for _, threads := range []int{1, 3} {
				got, err := singleNode{op: "Conv", opset: 13, attrs: c.attrs(), inputs: []*onnx.Tensor{x, w, b}, constant: constant}.try(threads)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(dims, got[0].Dims); d != "" {
					t.Fatal(d)
				}
				for i, v := range onnx.Data[float32](got[0]) {
					if math.Abs(float64(v)-want[i]) > 1e-4 {
						t.Fatalf("output %d is %v, not %v", i, v, want[i])
					}
				}
				if first == nil {
					first = got[0]
				}
				if d := cmp.Diff(onnx.Data[float32](first), onnx.Data[float32](got[0])); d != "" {
					t.Fatalf("%d threads, constants %v: other bits: %s", threads, constant, d)
				}
			}
		}
	})
}

func TestQLinearConvIsTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConv(t)
		if c.h+c.pads[0]+c.pads[2] <= (c.kernel[0]-1)*c.dilates[0] || c.w+c.pads[1]+c.pads[3] <= (c.kernel[1]-1)*c.dilates[1] {
			return
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		dt := []onnx.DataType{onnx.Uint8, onnx.Int8}[r.IntN(2)]
		x, w := randomCodes(r, dt, c.n, c.c, c.h, c.w), randomCodes(r, onnx.Int8, c.o, c.c/c.groups, c.kernel[0], c.kernel[1])
		zx, zy := randomCodes(r, dt), randomCodes(r, dt)
		bias, sw := onnx.Zeros(onnx.Int32, c.o), onnx.Zeros(onnx.Float32, c.o)
		for i := range c.o {
			onnx.Data[int32](bias)[i], onnx.Data[float32](sw)[i] = int32(r.IntN(20000)-10000), float32(r.Float64()*0.01+0.004)
		}
		const sx, sy = float32(0.0173), float32(0.11)
		code := func(t *onnx.Tensor, i int) int32 { return codeAt(t.Type, t.Bytes(), i) }
		limits := codeTypes[dt]
		var want []int32
		c.each(func(_ int, o int64, pairs [][2]int) {
			acc := onnx.Data[int32](bias)[o]
			for _, p := range pairs {
				acc += (code(x, p[0]) - code(zx, 0)) * code(w, p[1])
			}
			m := float32(sx*onnx.Data[float32](sw)[o]) / sy
			v := math.RoundToEven(float64(float32(float32(acc)*m))) + float64(code(zy, 0))
			want = append(want, int32(max(float64(limits[0]), min(v, float64(limits[1])))))
		})
		for _, constant := range [][]int{nil, {1, 2, 3, 4, 5, 6, 7, 8}} {
			got, err := singleNode{op: "QLinearConv", opset: 13, attrs: c.attrs(), constant: constant, inputs: []*onnx.Tensor{
				x, onnx.Scalar(sx), zx, w, sw, onnx.Scalar(int8(0)), onnx.Scalar(sy), zy, bias,
			}}.try(2)
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if v := code(got[0], i); v != want[i] {
					t.Fatalf("output %d is %d, not %d", i, v, want[i])
				}
			}
		}
	})
}

func TestConvErrorsNameTheCause(t *testing.T) {
	x, w := onnx.Zeros(onnx.Float32, 1, 4, 3, 3), onnx.Zeros(onnx.Float32, 2, 3, 3, 3)
	for _, c := range []struct {
		attrs []*onnx.Attribute
		w     *onnx.Tensor
	}{
		{nil, w}, // channels
		{[]*onnx.Attribute{onnx.AttrIs("strides", 0, 1)}, onnx.Zeros(onnx.Float32, 2, 4, 3, 3)},
		{[]*onnx.Attribute{onnx.AttrI("group", 3)}, w},
		{nil, onnx.Zeros(onnx.Float32, 2, 4, 5, 5)}, // larger than X
		{[]*onnx.Attribute{onnx.AttrIs("pads", 1)}, onnx.Zeros(onnx.Float32, 2, 4, 3, 3)},
		{[]*onnx.Attribute{onnx.AttrS("auto_pad", "SOMEHOW")}, onnx.Zeros(onnx.Float32, 2, 4, 3, 3)},
	} {
		_, err := singleNode{op: "Conv", opset: 13, attrs: c.attrs, inputs: []*onnx.Tensor{x, c.w}}.try(1)
		if err == nil {
			t.Errorf("%v with W %v: no error", c.attrs, c.w.Dims)
		}
	}
}

// runRepeatedly times runs of the node on one thread.
func runRepeatedly(b *testing.B, c singleNode) {
	m, feeds := c.model()
	p, err := Compile(m, Options{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.Run(context.Background(), feeds, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConv(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range []struct {
		name                 string
		c, o, size, k, group int64
	}{
		{"3x3_64", 64, 64, 56, 3, 1}, {"1x1_128", 128, 128, 28, 1, 1}, {"depthwise_128", 128, 128, 56, 3, 128},
	} {
		macs := float64(s.size * s.size * s.o * s.c / s.group * s.k * s.k)
		attrs := []*onnx.Attribute{onnx.AttrIs("kernel_shape", s.k, s.k), onnx.AttrIs("pads", s.k/2, s.k/2, s.k/2, s.k/2), onnx.AttrI("group", s.group)}
		float := singleNode{
			op: "Conv", opset: 13, attrs: attrs, constant: []int{1},
			inputs: []*onnx.Tensor{randomFloats(r, 1, s.c, s.size, s.size), randomFloats(r, s.o, s.c/s.group, s.k, s.k)},
		}
		integer := singleNode{
			op: "QLinearConv", opset: 13, attrs: attrs, constant: []int{1, 2, 3, 4, 5, 6, 7}, inputs: []*onnx.Tensor{
				randomCodes(r, onnx.Uint8, 1, s.c, s.size, s.size), onnx.Scalar[float32](0.02), onnx.Scalar[uint8](120),
				randomCodes(r, onnx.Int8, s.o, s.c/s.group, s.k, s.k), onnx.Scalar[float32](0.01), onnx.Scalar[int8](0),
				onnx.Scalar[float32](0.3), onnx.Scalar[uint8](120),
			},
		}
		for _, c := range []singleNode{float, integer} {
			b.Run(fmt.Sprintf("%s/%s", s.name, c.op), func(b *testing.B) {
				runRepeatedly(b, c)
				b.ReportMetric(2*macs*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GOPS")
			})
		}
	}
}
