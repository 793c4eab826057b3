package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/onnx"
)

// window is the attributes that convolutions and pools share.
type window struct {
	kernel, strides, dilations, pads []int64 // nil: absent
	auto                             string
	ceil                             bool
}

func readWindow(n *onnx.Node) (window, error) {
	w := window{
		kernel: n.Ints("kernel_shape"), strides: n.Ints("strides"), dilations: n.Ints("dilations"), pads: n.Ints("pads"),
		auto: n.Str("auto_pad", "NOTSET"), ceil: n.Int("ceil_mode", 0) != 0,
	}
	switch w.auto {
	case "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID":
	default:
		return w, fmt.Errorf("auto_pad %q is unknown: %w", w.auto, onnx.ErrBadModel)
	}
	for _, list := range [][]int64{w.kernel, w.strides, w.dilations} {
		for _, v := range list {
			if v <= 0 || v > 1<<30 {
				return w, fmt.Errorf("kernel_shape %v, strides %v, dilations %v must be positive: %w", w.kernel, w.strides, w.dilations, onnx.ErrBadModel)
			}
		}
	}
	return w, nil
}

// axes aligns spatial dims right in three axes; those missing are 1.
func axes(dims []int64) [3]int {
	a := [3]int{1, 1, 1}
	for i, d := range dims {
		a[3-len(dims)+i] = int(d)
	}
	return a
}

// geometry places the window with the given kernel on an input with these spatial dims.
func (w *window) geometry(r *run, spatial, kernel []int64) conv.Geometry {
	k := len(spatial)
	if k < 1 || k > 3 {
		r.failf("%d spatial axes are %w", k, ErrUnsupported)
	}
	if len(kernel) != k || w.strides != nil && len(w.strides) != k || w.dilations != nil && len(w.dilations) != k || w.pads != nil && len(w.pads) != 2*k {
		r.failf("kernel %v, strides %v, dilations %v and pads %v do not fit %d spatial axes: %w",
			clone(kernel), w.strides, w.dilations, w.pads, k, onnx.ErrBadModel)
	}
	g := conv.Geometry{In: axes(spatial), Out: [3]int{1, 1, 1}, Kernel: axes(kernel), Stride: axes(w.strides), Dilation: axes(w.dilations)}
	for i := range k {
		a := 3 - k + i
		before, after := 0, 0
		if w.pads != nil {
			before, after = int(w.pads[i]), int(w.pads[k+i])
		}
		extent := (g.Kernel[a]-1)*g.Dilation[a] + 1
		in, stride := g.In[a], g.Stride[a]
		switch w.auto {
		case "SAME_UPPER", "SAME_LOWER":
			out := (in + stride - 1) / stride
			total := max((out-1)*stride+extent-in, 0)
			before = total / 2
			if w.auto == "SAME_LOWER" {
				before = total - before
			}
			after = total - before
		case "VALID":
			before, after = 0, 0
		}
		room := in + before + after - extent
		if room < 0 {
			r.failf("a window of %d does not fit in %d (with padding)", extent, in+before+after)
		}
		out := room/stride + 1
		// The last window of ceil_mode must begin inside the input or its left padding.
		if w.ceil && room%stride != 0 && out*stride < in+before {
			out++
		}
		g.Out[a], g.Pad[a], g.After[a] = out, before, after
	}
	return g
}

// spatialOut returns dims of scratch: batch, channels, and the spatial dims of the result.
func (r *run) spatialOut(batch, channels int64, g *conv.Geometry, spatial int) []int64 {
	d := r.shape(2 + spatial)
	d[0], d[1] = batch, channels
	for i := range spatial {
		d[2+i] = int64(g.Out[3-spatial+i])
	}
	return d
}
