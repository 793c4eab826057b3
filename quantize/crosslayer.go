package quantize

import (
	"fmt"
	"math"
	"slices"
)

// A Linear is a Conv, Gemm or MatMul whose channels are scaled together with those of its neighbours.
type Linear struct {
	Out, In, Groups int
	Kernel          int       // weights between an input and an output channel: kH·kW of a Conv
	W               []float32 // [Out, In/Groups, Kernel]
	Bias            []float32 // [Out]; nil: 0
}

// output returns the weights of an output channel.
func (l *Linear) output(c int) []float32 {
	n := l.In / l.Groups * l.Kernel
	return l.W[c*n:][:n]
}

// eachInput calls f with all weights of an input channel, those to one output channel at a time.
func (l *Linear) eachInput(c int, f func(output int, w []float32)) {
	inputs, outputs := l.In/l.Groups, l.Out/l.Groups
	group := c / inputs
	for o := group * outputs; o < (group+1)*outputs; o++ {
		f(o, l.W[(o*inputs+c%inputs)*l.Kernel:][:l.Kernel])
	}
}

func (l *Linear) check() error {
	switch {
	case min(l.Out, l.In, l.Groups, l.Kernel) < 1 || l.In%l.Groups != 0 || l.Out%l.Groups != 0:
		return fmt.Errorf("%d outputs and %d inputs with kernels of %d do not make %d groups", l.Out, l.In, l.Kernel, l.Groups)
	case len(l.W) != l.Out*(l.In/l.Groups)*l.Kernel:
		return fmt.Errorf("%d weights where %d outputs and %d inputs in %d groups with kernels of %d need %d", len(l.W), l.Out, l.In, l.Groups, l.Kernel, l.Out*(l.In/l.Groups)*l.Kernel)
	case l.Bias != nil && len(l.Bias) != l.Out:
		return fmt.Errorf("a bias of %d values for %d outputs", len(l.Bias), l.Out)
	}
	return nil
}

func checkChain(chain []*Linear) error {
	for i, l := range chain {
		if err := l.check(); err != nil {
			return err
		}
		if i > 0 && chain[i-1].Out != l.In {
			return fmt.Errorf("%d outputs before %d inputs", chain[i-1].Out, l.In)
		}
	}
	return nil
}

// Rounds of Equalise: pairs pull at one another until no scale changes by more than equalEnough.
const (
	equaliseRounds = 40
	equalEnough    = 1e-3
)

// Equalise scales the channels between the layers of a chain, which nothing but Relu or another positively homogeneous function
// lies between, so that both sides have the same range in each: output channel i of a layer is divided by s = √(r1/r2), input
// channel i of the next one multiplied by it, with r1, r2 the greatest magnitudes of their weights. What the chain computes stays,
// up to rounding. A channel that has no weights on one side is left alone. It returns the scales between each layer and the next:
// whatever else is known of those channels is to be divided by them. (Data-free quantization, 1906.04721.)
func Equalise(chain []*Linear) ([][]float32, error) {
	if err := checkChain(chain); err != nil {
		return nil, err
	}
	total := make([][]float64, max(len(chain)-1, 0))
	for i := range total {
		total[i] = slices.Repeat([]float64{1}, chain[i].Out)
	}
	for range equaliseRounds {
		most := 0.0
		for i := range total {
			for c := range total[i] {
				s := equalisePair(chain[i], chain[i+1], c)
				total[i][c] *= s
				most = max(most, math.Abs(s-1))
			}
		}
		if most < equalEnough {
			break
		}
	}
	scales := make([][]float32, len(total))
	for i, t := range total {
		for _, s := range t {
			scales[i] = append(scales[i], float32(s))
		}
	}
	return scales, nil
}

func equalisePair(a, b *Linear, c int) float64 {
	r1, r2 := greatest(a.output(c)), 0.0
	b.eachInput(c, func(_ int, w []float32) { r2 = max(r2, greatest(w)) })
	if r1 == 0 || r2 == 0 {
		return 1
	}
	s := math.Sqrt(r1 / r2)
	multiply(a.output(c), 1/s)
	if a.Bias != nil {
		multiply(a.Bias[c:c+1], 1/s)
	}
	b.eachInput(c, func(_ int, w []float32) { multiply(w, s) })
	return s
}

func greatest(w []float32) float64 {
	lo, hi := extremes(w)
	return max(-lo, hi)
}

func multiply(w []float32, s float64) {
	for i, v := range w {
		w[i] = float32(float64(v) * s)
	}
}

// absorbedSigmas is how far below its mean a channel is taken to stay.
const absorbedSigmas = 3

// AbsorbBias moves what all outputs of a are above 0 by into the bias of b, which takes them through a Relu: with outputs of
// mean β and deviation γ (BatchNormalization's, folded into a) that is c = max(0, β − 3|γ|). It returns c. Where b is a Conv that pads
// with zeros, its edges see 0 instead of c and change. (Data-free quantization, 1906.04721.)
func AbsorbBias(a, b *Linear, beta, gamma []float32) ([]float32, error) {
	if err := checkChain([]*Linear{a, b}); err != nil {
		return nil, err
	}
	if len(beta) != a.Out || len(gamma) != a.Out {
		return nil, fmt.Errorf("%d means and %d deviations for %d outputs", len(beta), len(gamma), a.Out)
	}
	if a.Bias == nil {
		a.Bias = make([]float32, a.Out)
	}
	if b.Bias == nil {
		b.Bias = make([]float32, b.Out)
	}
	absorbed := make([]float32, a.Out)
	moved := make([]float64, b.Out)
	for c := range absorbed {
		absorbed[c] = float32(max(0, float64(beta[c])-absorbedSigmas*math.Abs(float64(gamma[c]))))
		a.Bias[c] -= absorbed[c]
		b.eachInput(c, func(output int, w []float32) {
			for _, v := range w {
				moved[output] += float64(v) * float64(absorbed[c])
			}
		})
	}
	for o, v := range moved {
		b.Bias[o] = float32(float64(b.Bias[o]) + v)
	}
	return absorbed, nil
}

// NormalRange returns the range of channels with means β and deviations γ, as a BatchNormalization leaves them: all β ± k·γ.
// There is at least one. It serves where no data are. (Data-free quantization, 1906.04721, with k = 6.)
func NormalRange(beta, gamma []float32, k float64) (lo, hi float32) {
	l, h := math.Inf(1), math.Inf(-1)
	for c := range beta {
		d := float64(k * math.Abs(float64(gamma[c])))
		l, h = min(l, float64(beta[c])-d), max(h, float64(beta[c])+d)
	}
	return float32(l), float32(h)
}
