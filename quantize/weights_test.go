package quantize

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestQuantizeWeights(t *testing.T) {
	w := []float32{
		127, -63.5, 0, 2.5,
		-254, 3, 0, 1,
	}
	for _, c := range []struct {
		name   string
		dims   []int64
		axis   int
		scales []float32
		codes  []int8
		shape  []int64
	}{
		{"rows", []int64{2, 4}, 0, []float32{1, 2}, []int8{127, -64, 0, 2, -127, 2, 0, 0}, []int64{2, 1}},
		{"columns", []int64{2, 4}, 1, []float32{2, 0.5, MinScale, 2.5 / 127}, []int8{64, -127, 0, 127, -127, 6, 0, 51}, []int64{1, 4}},
		{"per tensor", []int64{2, 4}, PerTensor, []float32{2}, []int8{64, -32, 0, 1, -127, 2, 0, 0}, []int64{1, 1}},
		{"Conv", []int64{2, 2, 1, 2}, 0, []float32{1, 2}, []int8{127, -64, 0, 2, -127, 2, 0, 0}, []int64{2, 1, 1, 1}},
		{"middle axis", []int64{2, 2, 2}, 1, []float32{2, 2.5 / 127}, []int8{64, -32, 0, 127, -127, 2, 0, 51}, []int64{1, 2, 1}},
		{"vector", []int64{8}, PerTensor, []float32{2}, []int8{64, -32, 0, 1, -127, 2, 0, 0}, []int64{1}},
	} {
		q, err := QuantizeWeights(w, c.dims, c.axis, Int8Weights)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(q.Scales, c.scales) || !slices.Equal(q.Codes, c.codes) {
			t.Errorf("%s: scales %v codes %v, want %v and %v", c.name, q.Scales, q.Codes, c.scales, c.codes)
		}
		if s := q.ScaleDims(); !slices.Equal(s, c.shape) {
			t.Errorf("%s: scales broadcast as %v, want %v", c.name, s, c.shape)
		}
	}
}

func TestScalarWeight(t *testing.T) {
	q, err := QuantizeWeights([]float32{-254}, nil, PerTensor, Int8Weights)
	if err != nil || q.Scales[0] != 2 || q.Codes[0] != -127 {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestWeightsThatCannotBeQuantized(t *testing.T) {
	for _, c := range []struct {
		w    []float32
		dims []int64
		axis int
		g    Grid
		text string
	}{
		{[]float32{1, 2, 3, nan}, []int64{2, 2}, 0, Int8Weights, "weight [1 1] of shape [2 2] is NaN"},
		{[]float32{1, -inf, 3, nan}, []int64{2, 2}, 1, Int8Weights, "weight [0 1] of shape [2 2] is -Inf"},
		{[]float32{1, 2, inf}, []int64{3}, PerTensor, Int8Weights, "weight [2] of shape [3] is +Inf"},
		{[]float32{1}, []int64{1}, 1, Int8Weights, "axis 1"},
		{[]float32{1}, []int64{1}, -2, Int8Weights, "axis -2"},
		{[]float32{1}, []int64{2}, 0, Int8Weights, "shape [2] does not describe 1 weights"},
		{nil, []int64{0, 1 << 60}, 1, Int8Weights, "does not describe 0 weights"},
		{nil, []int64{1 << 32, 1 << 32}, 1, Int8Weights, "does not describe 0 weights"},
		{[]float32{1}, []int64{-1, -1}, 1, Int8Weights, "shape [-1 -1]"},
		{[]float32{1}, []int64{1}, 0, Uint8, "symmetric"},
		{[]float32{1}, []int64{1}, 0, Grid{Name: "int16", Bits: 16, Min: -32767, Max: 32767, Symmetric: true}, "at most 8 bits"},
	} {
		q, err := QuantizeWeights(c.w, c.dims, c.axis, c.g)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v %v axis %d: %v, %v; want %q", c.w, c.dims, c.axis, q, err, c.text)
		}
	}
}

// For any shape, axis and finite weights: each code is the formula's with its
// channel's scale, and no weight is off by more than half a step.
func TestQuantizeWeightsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.Int64Range(1, 5), 1, 4).Draw(t, "dims")
		axis := rapid.IntRange(PerTensor, len(dims)-1).Draw(t, "axis")
		n, _ := volume(dims)
		w := rapid.SliceOfN(rapid.OneOf(rapid.Float32(), rapid.Float32Range(-1, 1), rapid.Just(float32(0))), n, n).Draw(t, "w")
		q, err := QuantizeWeights(w, dims, axis, Int8Weights)
		if err != nil {
			t.Fatal(err)
		}
		largest := make([]float64, len(q.Scales))
		back := q.Dequantize()
		for i, v := range w {
			c := 0
			if axis != PerTensor {
				c = int(index(i, dims)[axis])
			}
			p := Params{Scale: q.Scales[c]}
			largest[c] = max(largest[c], math.Abs(float64(v)))
			if want := quantizeOne(v, p, Int8Weights); int32(q.Codes[i]) != want {
				t.Errorf("weight %v: code %d, want %d", v, q.Codes[i], want)
			}
			if want := float32(float32(q.Codes[i]) * p.Scale); back[i] != want {
				t.Errorf("weight %v: dequantized to %v, want %v", v, back[i], want)
			}
			if d := math.Abs(float64(back[i]) - float64(v)); d > 0.50002*float64(p.Scale) {
				t.Errorf("weight %v became %v with scale %v", v, back[i], p.Scale)
			}
		}
		for c, s := range q.Scales {
			if want := max(float32(largest[c]/127), MinScale); s != want && !(largest[c] > 3.4e38 && s == math.Nextafter32(want, 0)) {
				t.Errorf("channel %d: scale %v, want %v", c, s, want)
			}
		}
	})
}

func BenchmarkQuantizeWeights(b *testing.B) {
	w := sample(1<<22, gauss)
	for _, c := range []struct {
		name string
		dims []int64
		axis int
	}{
		{"MatMul columns", []int64{2048, 2048}, 1},
		{"rows", []int64{2048, 2048}, 0},
		{"Conv 3x3", []int64{1 << 10, 1 << 12}, 0},
		{"per tensor", []int64{1 << 22}, PerTensor},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := QuantizeWeights(w, c.dims, c.axis, Int8Weights); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, len(w))
		})
	}
}
