package onnx

import "slices"

func conv(c *call) { c.set(0, c.elem(0), c.convShape(0, 1)) }

func convInteger(c *call) { c.set(0, Int32, c.convShape(0, 1)) }

func qLinearConv(c *call) { c.set(0, c.elem(7), c.convShape(0, 3)) }

// convShape returns the output shape of a convolution of input x with weights w [M, C/group, k...].
func (c *call) convShape(x, w int) []Dim {
	s, ws := c.shape(x), c.shape(w)
	if s == nil || ws == nil {
		return nil
	}
	if len(s) < 3 || len(ws) != len(s) {
		c.bad("an input of rank %d with weights of rank %d", len(s), len(ws))
		return nil
	}
	if channels := times(ws[1], Fixed(max(c.n.Int("group", 1), 1))); channels.Size >= 0 && s[1].Size >= 0 && channels.Size != s[1].Size {
		c.bad("%d input channels with weights for %d", s[1].Size, channels.Size)
	}
	kernel := slices.Clone(ws[2:])
	for i, k := range c.n.Ints("kernel_shape") {
		if i < len(kernel) {
			kernel[i] = number(k).size()
		}
	}
	return append([]Dim{s[0], ws[0]}, c.windows(s[2:], kernel)...)
}

// windows returns how many windows of the kernel's size fit on each spatial axis, by the attributes strides, dilations, pads, auto_pad
// and ceil_mode.
func (c *call) windows(in, kernel []Dim) []Dim {
	out := unknown(len(in))
	strides, dilations, pads := c.perAxis("strides", len(in), 1), c.perAxis("dilations", len(in), 1), c.perAxis("pads", 2*len(in), 0)
	if strides == nil || dilations == nil || pads == nil || len(kernel) != len(in) {
		c.bad("strides, dilations, pads or kernel do not fit %d spatial axes", len(in))
		return out
	}
	auto := c.n.Str("auto_pad", "NOTSET")
	for i, d := range in {
		k, stride := kernel[i], strides[i]
		begin, end := pads[i], pads[i+len(in)]
		switch {
		case stride < 1 || stride > maxSize || dilations[i] < 1 || dilations[i] > maxSize || k.Size > maxSize:
			c.bad("stride %d, dilation %d", stride, dilations[i])
			continue
		case auto == "SAME_UPPER" || auto == "SAME_LOWER":
			if stride == 1 {
				out[i] = d
			} else if d.Size >= 0 {
				out[i] = Fixed((d.Size + stride - 1) / stride)
			}
			continue
		case auto == "VALID":
			begin, end = 0, 0
		}
		span := grow(times(grow(k, -1), Fixed(dilations[i])), 1) // of the dilated kernel
		if span.Size < 0 || max(begin, end) > maxSize || min(begin, end) < -maxSize {
			continue
		}
		if stride == 1 && begin+end == span.Size-1 {
			out[i] = d // as many as there are pixels, whatever their number
			continue
		}
		if d.Size < 0 || d.Size > maxSize {
			continue
		}
		steps := d.Size + begin + end - span.Size
		switch {
		case steps < 0:
			c.bad("a kernel of %d on %d padded pixels", span.Size, d.Size+begin+end)
		case c.n.Int("ceil_mode", 0) == 0 || steps%stride == 0:
			out[i] = Fixed(steps/stride + 1)
		case (steps/stride+1)*stride < d.Size+begin: // else versions differ on a window that lies in the padding alone
			out[i] = Fixed(steps/stride + 2)
		}
	}
	return out
}

// perAxis returns an attribute of n numbers, all def where it is absent; nil when it has another length.
func (c *call) perAxis(name string, n int, def int64) []int64 {
	v := c.n.Ints(name)
	switch {
	case v == nil:
		return slices.Repeat([]int64{def}, n)
	case len(v) != n:
		return nil
	}
	return v
}

// convTranspose has weights [C, M/group, k...].
func convTranspose(c *call) {
	s, ws := c.shape(0), c.shape(1)
	if s == nil || ws == nil {
		c.set(0, c.elem(0), nil)
		return
	}
	n := len(s) - 2
	if n < 1 || len(ws) != len(s) {
		c.bad("an input of rank %d with weights of rank %d", len(s), len(ws))
		return
	}
	out := append([]Dim{s[0], times(ws[1], Fixed(max(c.n.Int("group", 1), 1)))}, unknown(n)...)
	strides, dilations := c.perAxis("strides", n, 1), c.perAxis("dilations", n, 1)
	pads, extra := c.perAxis("pads", 2*n, 0), c.perAxis("output_padding", n, 0)
	given := c.n.Ints("output_shape")
	for i := range n {
		d := &out[i+2]
		switch {
		case given != nil:
			// Some writers list batch and channels too.
			if k := len(given) - n + i; k >= 0 {
				*d = number(given[k]).size()
			}
		case strides == nil || dilations == nil || pads == nil || extra == nil:
			c.bad("strides, dilations, pads or output_padding do not fit %d spatial axes", n)
		case c.n.Str("auto_pad", "NOTSET") == "SAME_UPPER" || c.n.Str("auto_pad", "NOTSET") == "SAME_LOWER":
			*d = times(s[i+2], Fixed(max(strides[i], 0)))
		case strides[i] < 1 || dilations[i] < 1:
			c.bad("stride %d, dilation %d", strides[i], dilations[i])
		default:
			span := times(grow(ws[i+2], -1), Fixed(dilations[i]))
			if span.Size < 0 || max(pads[i], pads[i+n], extra[i]) > maxSize || min(pads[i], pads[i+n], extra[i]) < -maxSize {
				continue
			}
			if strides[i] == 1 && span.Size+extra[i] == pads[i]+pads[i+n] {
				*d = s[i+2]
				continue
			}
			if s[i+2].Size > 0 {
				*d = grow(times(grow(s[i+2], -1), Fixed(strides[i])), span.Size+1+extra[i]-pads[i]-pads[i+n])
			}
		}
	}
	c.set(0, c.elem(0), out)
}

func pool(c *call) {
	s := c.shape(0)
	kernel := c.n.Ints("kernel_shape")
	if len(s) < 3 || kernel == nil || c.n.Int("channels_last", 0) != 0 {
		c.set(0, c.elem(0), nil)
		return
	}
	k := make([]Dim, len(kernel))
	for i, v := range kernel {
		k[i] = number(v).size()
	}
	out := append(slices.Clone(s[:2]), c.windows(s[2:], k)...)
	c.set(0, c.elem(0), out)
	if c.n.Op == "MaxPool" {
		c.set(1, Int64, out)
	}
}

func globalPool(c *call) {
	s := slices.Clone(c.shape(0))
	if c.n.Int("channels_last", 0) != 0 {
		s = nil
	}
	for i := 2; i < len(s); i++ {
		s[i] = Fixed(1)
	}
	c.set(0, c.elem(0), s)
}

// recurrent has X [length, batch, features], or batch first with layout 1.
func recurrent(c *call) {
	length, batch := Symbol(""), Symbol("")
	batchFirst := c.n.Int("layout", 0) != 0
	if s := c.shape(0); len(s) == 3 {
		length, batch = s[0], s[1]
		if batchFirst {
			length, batch = batch, length
		}
	}
	hidden := number(c.n.Int("hidden_size", -1)).size()
	if s := c.shape(2); len(s) == 3 && hidden.Size < 0 && canonicalDomain(c.n.Domain) == "" {
		hidden = s[2]
	}
	directions := Fixed(1)
	if c.n.Str("direction", "forward") == "bidirectional" {
		directions = Fixed(2)
	}
	all, last := []Dim{length, directions, batch, hidden}, []Dim{directions, batch, hidden}
	if batchFirst {
		all, last = []Dim{batch, length, directions, hidden}, []Dim{batch, directions, hidden}
	}
	c.set(0, c.elem(0), all)
	c.set(1, c.elem(0), last)
	c.set(2, c.elem(0), last)
}

func upsample(c *call) {
	scales := c.n.Floats("scales")
	if c.opset >= 9 {
		scales = c.floats(1)
	}
	c.set(0, c.elem(0), scaled(c.shape(0), scales, nil))
}

// resize has scales as input 1 at opset 10; from 11 on roi, scales and sizes are inputs 1, 2 and 3.
func resize(c *call) {
	s := c.shape(0)
	if s == nil {
		c.set(0, c.elem(0), nil)
		return
	}
	at := 2
	if c.opset < 11 {
		at = 1
	}
	axes := make([]int64, len(s))
	for i := range axes {
		axes[i] = int64(i)
	}
	if a := c.n.Ints("axes"); a != nil {
		axes = slices.Clone(a)
	}
	for i, a := range axes {
		k, ok := c.within(a, len(s))
		if !ok {
			return
		}
		axes[i] = int64(k)
	}
	if c.n.Str("keep_aspect_ratio_policy", "stretch") != "stretch" {
		out := slices.Clone(s)
		for _, a := range axes {
			out[a] = Symbol("")
		}
		c.set(0, c.elem(0), out)
		return
	}
	if sizes := c.data[c.n.Input(3)]; sizes != nil && len(sizes.e) == len(axes) {
		out := slices.Clone(s)
		for i, a := range axes {
			out[a] = sizes.e[i].size()
		}
		c.set(0, c.elem(0), out)
		return
	}
	c.set(0, c.elem(0), scaled(s, c.floats(at), axes))
}

// floats returns the elements of a constant float input; nil when it is none.
func (c *call) floats(i int) []float32 {
	v := c.n.Input(i)
	if v == nil {
		return nil
	}
	t := v.constant
	if t == nil && v.producer != nil {
		t = v.producer.Constant()
	}
	if t == nil || t.Type != Float32 || NumElements(t.Dims) > maxData {
		return nil
	}
	x, err := t.Float32s()
	if err != nil {
		return nil
	}
	return x
}

// scaled returns the sizes floor(size·scale) on the axes (nil: all), as runtimes compute them in float32.
func scaled(s []Dim, scales []float32, axes []int64) []Dim {
	if s == nil {
		return nil
	}
	n := len(s)
	if axes != nil {
		n = len(axes)
	}
	out := slices.Clone(s)
	for i := range n {
		a := i
		if axes != nil {
			a = int(axes[i])
		}
		switch d := &out[a]; {
		case len(scales) != n:
			*d = Symbol("")
		case scales[i] == 1:
		case d.Size < 0 || !(scales[i] > 0) || float64(scales[i])*float64(d.Size) > maxSize:
			*d = Symbol("")
		default:
			*d = Fixed(int64(float32(d.Size) * scales[i]))
		}
	}
	return out
}

func roiAlign(c *call) {
	s, rois := c.shape(0), c.shape(1)
	if len(s) == 4 && len(rois) == 2 {
		c.set(0, c.elem(0), []Dim{rois[0], s[1], number(c.n.Int("output_height", 1)).size(), number(c.n.Int("output_width", 1)).size()})
	}
}

func gridSample(c *call) {
	s, grid := c.shape(0), c.shape(1)
	if len(s) >= 3 && len(grid) == len(s) {
		c.set(0, c.elem(0), chain(s[:2], grid[1:len(grid)-1]))
		return
	}
	c.set(0, c.elem(0), nil)
}

func col2Im(c *call) {
	s, image, block := c.shape(0), c.data[c.n.Input(1)], c.data[c.n.Input(2)]
	if len(s) != 3 || image == nil || block == nil {
		c.set(0, c.elem(0), nil)
		return
	}
	out := []Dim{s[0], Symbol("")}
	if b, ok := block.values(); ok && s[1].Size >= 0 {
		channels := s[1]
		for _, v := range b {
			if v < 1 {
				return
			}
			channels = divide(channels, v)
		}
		out[1] = channels
	}
	for _, e := range image.e {
		out = append(out, e.size())
	}
	c.set(0, c.elem(0), out)
}

// stft has a signal [batch, length, 1 or 2], frame_step, window and frame_length.
func stft(c *call) {
	batch, frames, bins := Symbol(""), Symbol(""), Symbol("")
	s := c.shape(0)
	if len(s) >= 2 {
		batch = s[0]
	}
	length := Symbol("")
	if n, ok := c.known(3); ok && len(n) == 1 {
		length = number(n[0]).size()
	} else if w := c.shape(2); len(w) == 1 {
		length = w[0]
	}
	if length.Size > 0 {
		bins = length
		if c.n.Int("onesided", 1) != 0 {
			bins = Fixed(length.Size/2 + 1)
		}
		if step, ok := c.known(1); ok && len(step) == 1 && step[0] > 0 && len(s) >= 2 && s[1].Size >= length.Size {
			frames = Fixed((s[1].Size-length.Size)/step[0] + 1)
		}
	}
	c.set(0, c.elem(0), []Dim{batch, frames, bins, Fixed(2)})
}

// attention has Q, K, V of [batch, heads, length, head size], or of [batch, length, heads·head size] with the heads as attributes, and
// perhaps keys and values of the past, which stand in front of the present ones.
func attention(c *call) {
	q, k, v := c.shape(0), c.shape(1), c.shape(2)
	if len(q) != len(k) || len(q) != len(v) || len(q) != 3 && len(q) != 4 {
		c.set(0, c.elem(0), nil)
		return
	}
	if len(q) == 3 {
		qHeads, kvHeads := c.n.Int("q_num_heads", 0), c.n.Int("kv_num_heads", 0)
		if qHeads < 1 || kvHeads < 1 {
			c.bad("tensors of rank 3 need q_num_heads and kv_num_heads")
			return
		}
		c.set(0, c.elem(0), []Dim{q[0], q[1], times(divide(v[2], kvHeads), Fixed(qHeads))})
		k, v = split3(k, kvHeads), split3(v, kvHeads)
	} else {
		c.set(0, c.elem(0), []Dim{q[0], q[1], q[2], v[3]})
	}
	for i, present := range [][]Dim{k, v} {
		out := slices.Clone(present)
		if past := c.shape(4 + i); len(past) == 4 {
			out[2] = plus(past[2], out[2])
		} else if c.n.Input(4+i) != nil {
			out[2] = Symbol("")
		}
		c.set(1+i, c.elem(1+i), out)
	}
}

// split3 returns [batch, length, heads·size] as [batch, heads, length, size].
func split3(s []Dim, heads int64) []Dim {
	return []Dim{s[0], Fixed(heads), s[1], divide(s[2], heads)}
}

// loss has scores [batch, classes, ...] and labels [batch, ...].
func loss(c *call) {
	if c.n.Str("reduction", "mean") == "none" {
		c.set(0, c.elem(0), c.shape(1))
	} else {
		c.set(0, c.elem(0), []Dim{})
	}
	if c.n.Op == "SoftmaxCrossEntropyLoss" {
		c.set(1, c.elem(0), c.shape(0))
	}
}
