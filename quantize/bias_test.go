package quantize

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func mustQuantize(t testing.TB, w []float32, dims []int64, axis int) *Weights {
	q, err := QuantizeWeights(w, dims, axis, Int8Weights)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestQuantizeBias(t *testing.T) {
	w := []float32{127, 1, 254, 2} // [O=2, I=2]: scales 1 and 2
	for _, c := range []struct {
		name   string
		axis   int
		bias   []float32
		codes  []int32
		scales []float32
	}{
		{"per channel, ties to even", 0, []float32{1.25, -5.5}, []int32{2, -6}, []float32{0.5, 1}},
		{"per tensor", PerTensor, []float32{1.25, -5.5}, []int32{1, -6}, []float32{1}},
		{"per tensor, more channels than the shape shows", PerTensor, []float32{1, 2, 3, 4}, []int32{1, 2, 3, 4}, []float32{1}},
		{"zero", 0, []float32{0, 0}, []int32{0, 0}, []float32{0.5, 1}},
	} {
		q := mustQuantize(t, w, []int64{2, 2}, c.axis)
		b, err := QuantizeBias(c.bias, 0.5, w, q)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(b.Codes, c.codes) || !slices.Equal(b.Scales, c.scales) || b.Weights != q || b.Raised != nil {
			t.Errorf("%s: %+v, want %v %v", c.name, b, c.codes, c.scales)
		}
	}
}

func TestBiasThatDoesNotFitRaisesItsChannelOnly(t *testing.T) {
	w := []float32{1e-9, 2e-9, 100, 127}
	q := mustQuantize(t, w, []int64{2, 2}, 0)
	b, err := QuantizeBias([]float32{3, 3}, 0.01, w, q)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Raised, []int{0}) || b.Scales[1] != float32(0.01) || b.Codes[1] != 300 {
		t.Errorf("%+v", b)
	}
	limit := float64(math.MaxInt32 - 255*127*2)
	if c := float64(b.Codes[0]); c > limit || c < limit*(1-1e-6) {
		t.Errorf("code %v, want just below %v", c, limit)
	}
	if q.Scales[0] == b.Weights.Scales[0] || !slices.Equal(b.Weights.Codes, []int8{0, 0, 100, 127}) || !slices.Equal(q.Codes, []int8{64, 127, 100, 127}) {
		t.Errorf("new weights %+v, given %+v", b.Weights, q)
	}
}

// Codes of a raised channel are those nearest to its weights, of the codes that there are: counted from a zero point that the
// weights have, and of the levels that they keep to.
func TestRaisedChannelsAreRoundedAsTheOthers(t *testing.T) {
	w := make([]float32, 64)
	for i := range w {
		w[i] = float32(i%7-3) * 0.3
		if i < 32 {
			w[i] *= 1e-7
		}
	}
	kept := &Weights{Grid: Int8, Dims: []int64{2, 32}, Codes: make([]int8, 64), Scales: []float32{1e-8, 0.01}, Zeros: []int8{9, -3}}
	kept.Round(w)
	all := map[string]*Weights{"zero points": kept}
	for _, f := range Formats {
		if !f.Grid.Symmetric {
			continue
		}
		q, err := f.Quantize(w, []int64{2, 32}, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name] = q
	}
	for name, q := range all {
		b, err := QuantizeBias([]float32{2, 3}, 0.01, w, q)
		if err != nil {
			t.Fatal(err)
		}
		q = b.Weights
		codes := q.Levels
		for c := q.Grid.Min; c <= q.Grid.Max && q.Levels == nil; c++ {
			codes = append(codes, int8(c))
		}
		for i, code := range q.Codes[:32] {
			least := math.Inf(1)
			for _, c := range codes {
				least = min(least, math.Abs(float64(w[i])-float64(q.value(c, 0))))
			}
			if got := math.Abs(float64(w[i]) - float64(q.value(code, 0))); !slices.Contains(codes, code) || got > least*(1+1e-6) {
				t.Errorf("%s: weight %v has code %d of scale %v, off by %v: %v is possible", name, w[i], code, q.Scales[0], got, least)
				break
			}
		}
		if !slices.Contains(b.Raised, 0) || slices.Contains(b.Raised, 1) {
			t.Errorf("%s: channels %v are raised", name, b.Raised)
		}
	}
}

// A dead channel with a bias, as a folded BatchNorm leaves it, keeps its bias.
func TestBiasOfADeadChannel(t *testing.T) {
	w := make([]float32, 6)
	w[0] = 1
	q := mustQuantize(t, w, []int64{2, 3}, 0)
	b, err := QuantizeBias([]float32{0, 0.7}, 0.02, w, q)
	if err != nil {
		t.Fatal(err)
	}
	if got := float64(b.Codes[1]) * float64(b.Scales[1]); math.Abs(got-0.7) > 1e-7 {
		t.Errorf("bias became %v", got)
	}
}

func TestBiasThatCannotBeQuantized(t *testing.T) {
	w := []float32{1, 2, 3, 4}
	q := mustQuantize(t, w, []int64{2, 2}, 0)
	huge := mustQuantize(t, []float32{math.MaxFloat32}, []int64{1, 1}, 0)
	for _, c := range []struct {
		bias  []float32
		scale float32
		q     *Weights
		text  string
	}{
		{[]float32{1}, 1, q, "bias of 1 values for weights of 2 channels"},
		{nil, 1, q, "bias of 0 values"},
		{[]float32{1, nan}, 1, q, "bias 1 is NaN"},
		{[]float32{-inf, 1}, 1, q, "bias 0 is -Inf"},
		{[]float32{1, 1}, 0, q, "input scale 0"},
		{[]float32{1, 1}, nan, q, "input scale NaN"},
		{[]float32{1, 1}, inf, q, "input scale +Inf"},
		{[]float32{1}, 1e30, huge, "no finite number"},
		{[]float32{3e38, 1}, 1e-44, q, "no finite number"},
	} {
		b, err := QuantizeBias(c.bias, c.scale, w, c.q)
		if err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("bias %v, scale %v: %+v, %v; want %q", c.bias, c.scale, b, err, c.text)
		}
	}
}

// Whatever the numbers: scales are the product to the bit, codes stay below the
// limit and are the nearest, a raised scale is the least that does it.
func TestQuantizeBiasProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		channels := rapid.IntRange(1, 3).Draw(t, "channels")
		k := rapid.SampledFrom([]int{1, 9, 40000}).Draw(t, "K")
		small := rapid.SliceOfN(rapid.Float32Range(-1e-3, 1e-3), channels, channels).Draw(t, "weights")
		w := make([]float32, channels*k)
		for c, v := range small {
			w[c*k] = v
		}
		q, err := QuantizeWeights(w, []int64{int64(channels), int64(k)}, 0, Int8Weights)
		if err != nil {
			t.Fatal(err)
		}
		bias := rapid.SliceOfN(rapid.OneOf(rapid.Float32Range(-1, 1), rapid.Float32Range(-1e20, 1e20)), channels, channels).Draw(t, "bias")
		sx := rapid.Float32Range(MinScale, 10).Draw(t, "input scale")
		b, err := QuantizeBias(bias, sx, w, q)
		if err != nil {
			t.Fatal(err)
		}
		limit := max(math.MaxInt32-255*127*float64(k), 1<<30)
		for c, s := range b.Scales {
			sw := b.Weights.Scales[c]
			if s != float32(sx*sw) || s < 0x1p-126 {
				t.Errorf("scale %v is not %v·%v or not normal", s, sx, sw)
			}
			code := float64(b.Codes[c])
			if math.Abs(code) > limit || math.Abs(code-float64(bias[c])/float64(s)) > 0.5 {
				t.Errorf("bias %v: code %v with scale %v, limit %v", bias[c], code, s, limit)
			}
			raised := slices.Contains(b.Raised, c)
			if raised != (sw != q.Scales[c]) {
				t.Errorf("channel %d: scale %v, was %v, raised %v", c, sw, q.Scales[c], raised)
			}
			if raised {
				less := float32(sx * math.Nextafter32(sw, 0))
				if math.RoundToEven(math.Abs(float64(bias[c]))/float64(less)) <= limit {
					t.Errorf("channel %d: %v would have done, not %v", c, math.Nextafter32(sw, 0), sw)
				}
				want := make([]int8, k)
				Quantize(want, w[c*k:(c+1)*k], Params{Scale: sw}, Int8Weights)
				if !slices.Equal(b.Weights.Codes[c*k:(c+1)*k], want) {
					t.Errorf("channel %d was not rounded anew", c)
				}
			}
		}
	})
}

func TestCorrectBias(t *testing.T) {
	got, err := CorrectBias([]float32{1, 2}, []float64{0.5, 0}, []float64{0.25, 1})
	if err != nil || !slices.Equal(got, []float32{1.25, 1}) {
		t.Errorf("%v, %v", got, err)
	}
	got, err = CorrectBias(nil, []float64{0.5}, []float64{0.25})
	if err != nil || !slices.Equal(got, []float32{0.25}) {
		t.Errorf("no bias: %v, %v", got, err)
	}
	for _, c := range []struct {
		bias  []float32
		f, q  []float64
		error string
	}{
		{[]float32{1}, []float64{1, 2}, []float64{1, 2}, "1 channels"},
		{nil, []float64{1}, nil, "means of 1 and 0"},
		{nil, []float64{math.NaN()}, []float64{0}, "channel 0 is NaN"},
		{nil, []float64{1e300}, []float64{0}, "channel 0 is +Inf"},
	} {
		if _, err := CorrectBias(c.bias, c.f, c.q); err == nil || !strings.Contains(err.Error(), c.error) {
			t.Errorf("%+v: error %v", c, err)
		}
	}
}

// The correction takes the mean error of a quantized layer away.
func TestBiasCorrectionRemovesTheMeanError(t *testing.T) {
	const rows, channels = 500, 3
	float, quantized := sample(rows*channels, gauss), sample(rows*channels, gauss)
	for i := range quantized {
		quantized[i] = float[i]*0.97 + 0.1*float32(i%channels) + 0.01*quantized[i]
	}
	mean := func(x []float32) []float64 {
		var m ChannelMean
		if err := m.Observe(x, []int64{rows, channels}, 1); err != nil {
			t.Fatal(err)
		}
		r, err := m.Means()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	bias, err := CorrectBias(nil, mean(float), mean(quantized))
	if err != nil {
		t.Fatal(err)
	}
	for i := range quantized {
		quantized[i] += bias[i%channels]
	}
	for c, m := range mean(quantized) {
		if d := math.Abs(m - mean(float)[c]); d > 1e-7 {
			t.Errorf("channel %d: mean is still off by %v", c, d)
		}
	}
}
