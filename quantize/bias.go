package quantize

import (
	"fmt"
	"math"
)

// A Bias is an int32 bias for the accumulators of an integer Conv, Gemm or
// MatMul: its scale is f32(scale of the input · scale of the weights) to the
// bit, its zero point 0. Any other scale makes ONNX Runtime fuse and compute
// wrongly, or not fuse.
type Bias struct {
	Codes   []int32
	Scales  []float32 // as many as Weights.Scales
	Weights *Weights  // those given, or a copy with larger scales
	Raised  []int     // channels whose weight scale had to be raised
}

// QuantizeBias rounds bias (one number per channel of the output) to
// rint(bias/s) with s = f32(inputScale · weight scale). |code| is at most
//
//	max(2^31−1 − 255·127·K, 2^30),  K = weights per channel
//
// which leaves room for the products of uint8 inputs and int8 weights. Where a
// bias exceeds this, or s is not a normal float32, the weights' scale is raised
// to the least float32 that mends it and that channel of w, from which weights
// was made, is rounded anew. Weights with a single scale are raised together.
func QuantizeBias(bias []float32, inputScale float32, w []float32, weights *Weights) (Bias, error) {
	channels := len(weights.Scales)
	if len(bias) == 0 || channels != 1 && len(bias) != channels {
		return Bias{}, fmt.Errorf("bias of %d values for weights of %d channels", len(bias), channels)
	}
	if !(inputScale > 0) || inputScale > math.MaxFloat32 {
		return Bias{}, fmt.Errorf("input scale %v is not a positive number", inputScale)
	}
	limit := maxBias(len(weights.Codes) / len(bias))
	b := Bias{Codes: make([]int32, len(bias)), Scales: make([]float32, channels), Weights: weights}
	// The biases that share a weight scale: all of them, or one.
	shared := len(bias) / channels
	for c := range channels {
		values := bias[c*shared : (c+1)*shared]
		largest := 0.0
		for i, v := range values {
			if v-v != 0 {
				return Bias{}, fmt.Errorf("bias %d is %v: only finite biases can be quantized", c*shared+i, v)
			}
			largest = max(largest, math.Abs(float64(v)))
		}
		sw, err := raiseScale(weights.Scales[c], inputScale, largest, limit)
		if err != nil {
			return Bias{}, fmt.Errorf("bias of channel %d: %w", c, err)
		}
		if sw != weights.Scales[c] {
			b.Raised = append(b.Raised, c)
			if b.Weights == weights {
				b.Weights = weights.Clone()
			}
			b.Weights.setScale(w, c, sw)
		}
		b.Scales[c] = float32(inputScale * sw)
		for i, v := range values {
			b.Codes[c*shared+i] = int32(biasCode(float64(v), b.Scales[c]))
		}
	}
	return b, nil
}

func maxBias(k int) float64 {
	return float64(max(math.MaxInt32-255*127*int64(min(k, 1<<20)), 1<<30))
}

func biasCode(v float64, scale float32) float64 { return math.RoundToEven(v / float64(scale)) }

// raiseScale returns the least weight scale from sw on that brings bias, a
// magnitude, to a code of at most limit and the bias scale to a normal float32.
func raiseScale(sw, inputScale float32, bias, limit float64) (float32, error) {
	fits := func(sw float32) bool {
		s := float32(inputScale * sw)
		return s >= minNormal && biasCode(bias, s) <= limit
	}
	if !fits(sw) {
		// Just below the answer; the last few units by trial.
		need := max(bias/(limit+0.5), minNormal) / float64(inputScale)
		sw = max(sw, float32(need*(1-0x1p-22)))
		for !fits(sw) && sw <= math.MaxFloat32 {
			sw = math.Nextafter32(sw, float32(math.Inf(1)))
		}
	}
	if s := float32(inputScale * sw); sw > math.MaxFloat32 || s > math.MaxFloat32 {
		return 0, fmt.Errorf("input scale %v times weight scale %v is no finite number", inputScale, sw)
	}
	return sw, nil
}

const minNormal = 0x1p-126

// CorrectBias adds to the float bias, per output channel, what quantization
// takes from the mean of a layer's output: bias + (mean of the float layer −
// mean of the quantized layer), rounded once. A nil bias counts as zeros.
// (Bias correction, DFQ, 1906.04721 §4.2.)
func CorrectBias(bias []float32, meanFloat, meanQuantized []float64) ([]float32, error) {
	n := len(meanFloat)
	if len(meanQuantized) != n || bias != nil && len(bias) != n {
		return nil, fmt.Errorf("bias of %d channels, means of %d and %d", len(bias), n, len(meanQuantized))
	}
	r := make([]float32, n)
	copy(r, bias)
	for c := range r {
		r[c] = float32(float64(r[c]) + (meanFloat[c] - meanQuantized[c]))
		if r[c]-r[c] != 0 {
			return nil, fmt.Errorf("corrected bias of channel %d is %v (means %v and %v)", c, r[c], meanFloat[c], meanQuantized[c])
		}
	}
	return r, nil
}
