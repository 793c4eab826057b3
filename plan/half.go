package plan

import "github.com/zqonnx/zqonnx/onnx"

// half is the form of weights that are no codes but float16: they take half of their bytes, and a Cast, which the runtime folds
// when it loads the model, makes them float32 again.
var half = Form{Type: "float16"}

// IsHalf reports whether weights are stored in float16.
func (f Form) IsHalf() bool { return f == half }

// Half returns constant operand i rounded to float16.
func (s *Site) Half(i int) *onnx.Tensor {
	t := s.Weight(i).Const()
	h := onnx.Zeros(onnx.Float16, t.Dims...)
	onnx.SetFloats(h, onnx.Data[float32](t))
	return h
}

// mostHalfNoise is the share of a channel's energy that float16 may take: its 11 bits take a tenth of it, but numbers that are
// too large or too small for it are lost.
const mostHalfNoise = 1e-6

// bearsHalf reports whether float16 holds the weights of every channel.
func (s *Site) bearsHalf() bool {
	for i := range s.Inputs {
		x := onnx.Data[float32](s.Weight(i).Const())
		y, err := s.Half(i).Float32s()
		if err != nil {
			return false
		}
		dims, axis := s.shape(i)
		channels, inner := int(dims[axis]), int(onnx.NumElements(dims[axis+1:]))
		energy, noise := make([]float64, channels), make([]float64, channels)
		for k := range x {
			c := k / inner % channels
			a, d := float64(x[k]), float64(y[k])-float64(x[k])
			energy[c] += float64(a * a)
			noise[c] += float64(d * d)
		}
		for c := range energy {
			if !(noise[c] <= mostHalfNoise*energy[c]) {
				return false
			}
		}
	}
	return true
}
