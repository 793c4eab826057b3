package plan

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// rowsPerInput is how many rows of a layer's input are looked at for each of its columns: more change little, and layers
// over large pictures have millions. leastRows is for layers of few columns.
const rowsPerInput, leastRows = 32, 4096

// maxGrams bounds the memory of the Grams that are gathered at a time, in bytes; a layer with more has them alone.
const maxGrams = 512 << 20

// largestGram is the number of columns above which a layer is not solved for.
const largestGram = 8192

// An inputView sees the input of a Conv or product as the rows that its filters are multiplied with: of each group of channels.
type inputView struct {
	groups, columns int
	conv            bool
}

// viewOf returns how site s sees its input; ok is false for what is no linear layer of it.
func viewOf(s *Site) (v inputView, ok bool) {
	w := s.Weight(0).Const()
	switch s.Kind {
	case Product:
		return inputView{groups: 1, columns: w.Len() / int(max(w.Dims[s.Axes[0]], 1))}, true
	case Conv:
		groups := int(s.Node.Int("group", 1))
		if w.Rank() < 3 || w.Rank() > 5 || groups < 1 || w.Dims[0]%int64(groups) != 0 {
			return v, false
		}
		return inputView{groups: groups, columns: int(onnx.NumElements(w.Dims[1:])), conv: true}, true
	}
	return v, false
}

// bytes is what the Grams of the view take.
func (v *inputView) bytes() int { return v.groups * v.columns * (v.columns + 1) * 8 }

// limit is the number of rows that are looked at in each of so many runs.
func (v *inputView) limit(runs int) int {
	return (max(leastRows, rowsPerInput*v.columns) + runs - 1) / runs
}

// observe adds up to limit evenly spaced rows of input x of node n to the Grams of its groups.
func (v *inputView) observe(grams []*quantize.Gram, n *onnx.Node, x *onnx.Tensor, limit int, scratch *[]float32) error {
	return v.rows(n, x, limit, scratch, func(group int, rows []float32) { grams[group].Observe(rows) })
}

// rows calls f with up to limit evenly spaced rows of input x of node n, for each of its groups.
func (v *inputView) rows(n *onnx.Node, x *onnx.Tensor, limit int, scratch *[]float32, f func(group int, rows []float32)) error {
	data := onnx.Data[float32](x)
	if !v.conv {
		if len(data)%v.columns != 0 {
			return fmt.Errorf("input of shape %v has no rows of %d", x.Dims, v.columns)
		}
		rows := len(data) / v.columns
		if rows <= limit {
			f(0, data)
			return nil
		}
		buf := (*scratch)[:0]
		for i := range limit {
			at := i * rows / limit * v.columns
			buf = append(buf, data[at:at+v.columns]...)
		}
		*scratch = buf
		f(0, buf)
		return nil
	}
	g, err := geometryOf(n, x.Dims)
	if err != nil {
		return err
	}
	batch, pixels, inputs, taps := int(x.Dims[0]), g.Pixels(), g.Inputs(), g.Taps()
	rows := batch * pixels
	channels := v.columns / taps
	if int(x.Dims[1]) != channels*v.groups {
		return fmt.Errorf("input of shape %v for %d groups of %d channels", x.Dims, v.groups, channels)
	}
	count := min(rows, limit)
	for group := range v.groups {
		if cap(*scratch) < count*v.columns {
			*scratch = make([]float32, count*v.columns)
		}
		buf := (*scratch)[:count*v.columns]
		clear(buf)
		for i := range count {
			at := i * rows / count
			image := data[(at/pixels*int(x.Dims[1])+group*channels)*inputs:]
			row := buf[i*v.columns:]
			g.Window(at%pixels, func(tap, in int) {
				for c := range channels {
					row[c*taps+tap] = image[c*inputs+in]
				}
			})
		}
		f(group, buf)
	}
	return nil
}

// geometryOf returns where the windows of a Conv lie on an input with dims x.
func geometryOf(n *onnx.Node, x []int64) (conv.Geometry, error) {
	k := len(x) - 2
	kernel, strides, dilations, pads := n.Input(1).Const().Dims[2:], n.Ints("strides"), n.Ints("dilations"), n.Ints("pads")
	g := conv.Geometry{}
	if k < 1 || k > 3 || len(kernel) != k || strides != nil && len(strides) != k || dilations != nil && len(dilations) != k || pads != nil && len(pads) != 2*k {
		return g, fmt.Errorf("a Conv of shape %v with a kernel %v", x, kernel)
	}
	for a := range 3 {
		g.In[a], g.Out[a], g.Kernel[a], g.Stride[a], g.Dilation[a] = 1, 1, 1, 1, 1
	}
	for i := range k {
		a := 3 - k + i
		g.In[a], g.Kernel[a] = int(x[2+i]), int(kernel[i])
		if strides != nil {
			g.Stride[a] = int(strides[i])
		}
		if dilations != nil {
			g.Dilation[a] = int(dilations[i])
		}
		extent := (g.Kernel[a]-1)*g.Dilation[a] + 1
		switch auto := n.Str("auto_pad", "NOTSET"); auto {
		case "SAME_UPPER", "SAME_LOWER":
			missing := max(((g.In[a]+g.Stride[a]-1)/g.Stride[a]-1)*g.Stride[a]+extent-g.In[a], 0)
			g.Pad[a], g.After[a] = missing/2, missing-missing/2
			if auto == "SAME_LOWER" {
				g.Pad[a], g.After[a] = g.After[a], g.Pad[a]
			}
		case "NOTSET":
			if pads != nil {
				g.Pad[a], g.After[a] = int(pads[i]), int(pads[k+i])
			}
		}
		g.Out[a] = (g.In[a]+g.Pad[a]+g.After[a]-extent)/g.Stride[a] + 1
		if g.In[a] < 1 || g.Out[a] < 1 {
			return g, fmt.Errorf("a Conv of shape %v with a kernel %v", x, kernel)
		}
	}
	return g, nil
}
