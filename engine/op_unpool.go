package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
)

// makeMaxUnpool puts elements where a MaxPool found them; all others are 0. Where the output is stated, what the window makes of the input
// lies in its first corner.
func makeMaxUnpool(_ *builder, n *onnx.Node) (kernel, error) {
	w, err := readWindow(n)
	if err != nil {
		return nil, err
	}
	if w.auto != "NOTSET" {
		return nil, fmt.Errorf("auto_pad %q is %w", w.auto, ErrUnsupported)
	}
	return func(r *run) error {
		x, index := r.in(0), r.ints(1)
		axes := x.Rank() - 2
		if axes < 1 || len(w.kernel) != axes || w.strides != nil && len(w.strides) != axes || w.pads != nil && len(w.pads) != 2*axes || len(index) != x.Len() {
			return fmt.Errorf("X of shape %v with %d indices, kernel_shape %v, strides %v, pads %v: %w", x.Dims, len(index), w.kernel, w.strides, w.pads, onnx.ErrBadModel)
		}
		inner := append(r.shape(x.Rank())[:0], x.Dims...)
		for i, k := range w.kernel {
			stride, pads := int64(1), int64(0)
			if w.strides != nil {
				stride = w.strides[i]
			}
			if w.pads != nil {
				pads = w.pads[i] + w.pads[axes+i]
			}
			inner[2+i] = (inner[2+i]-1)*stride + k - pads
		}
		r.check(onnx.Float32, inner)
		dims := inner
		if stated := r.ints(2); stated != nil {
			if len(stated) != len(inner) {
				return fmt.Errorf("output_shape %v for rank %d: %w", stated, len(inner), onnx.ErrBadModel)
			}
			dims = append(r.shape(len(stated))[:0], stated...)
		}
		for i, d := range inner {
			if d > dims[i] {
				return fmt.Errorf("what the window makes has shape %v, the output is stated as %v: %w", inner, dims, onnx.ErrBadModel)
			}
		}
		values := r.float32In(0)
		y := onnx.Data[float32](r.out(0, onnx.Float32, dims...))
		clear(y)
		total := onnx.NumElements(inner)
		for i, at := range index {
			if at < 0 || at >= total {
				return fmt.Errorf("index %d is outside of %d elements", at, total)
			}
			to, stride := int64(0), int64(1)
			for a := len(inner) - 1; a >= 0; a-- {
				to += at % inner[a] * stride
				at /= inner[a]
				stride *= dims[a]
			}
			y[to] = values[i]
		}
		return nil
	}, nil
}
