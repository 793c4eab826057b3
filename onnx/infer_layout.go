package onnx

import (
	"slices"
	"strings"
)

// parseEinsum splits an equation into the letters of its inputs and its output; nil with an ellipsis or in a form it does not know.
func parseEinsum(equation string) (terms [][]rune, out []rune) {
	equation = strings.ReplaceAll(equation, " ", "")
	if equation == "" || strings.Contains(equation, ".") {
		return nil, nil
	}
	left, right, explicit := strings.Cut(equation, "->")
	count := map[rune]int{}
	for _, t := range strings.Split(left, ",") {
		terms = append(terms, []rune(t))
		for _, letter := range t {
			count[letter]++
		}
	}
	if explicit {
		return terms, []rune(right)
	}
	for letter, n := range count {
		if n == 1 {
			out = append(out, letter)
		}
	}
	slices.Sort(out)
	return terms, out
}

func reshape(c *call) {
	in := c.shape(0)
	var target *ints
	if c.opset < 5 {
		a := c.n.Ints("shape")
		target = &ints{dims: []int64{int64(len(a))}}
		for _, v := range a {
			target.e = append(target.e, number(v))
		}
	} else {
		target = c.data[c.n.Input(1)]
	}
	if target == nil {
		c.set(0, c.elem(0), c.shapeFrom(1))
		return
	}
	out, computed, rest := make([]Dim, len(target.e)), -1, Fixed(1)
	left := slices.Clone(in) // the input's sizes that the target does not repeat
	for i, e := range target.e {
		switch {
		case e.number && e.value == -1:
			if computed >= 0 {
				c.bad("two sizes are to be computed")
				return
			}
			computed = i
			continue
		case e.number && e.value == 0 && c.n.Int("allowzero", 0) == 0:
			out[i] = Symbol("")
			if in != nil && i < len(in) {
				out[i] = in[i]
			}
		default:
			out[i] = e.size()
		}
		if k := slices.IndexFunc(left, func(d Dim) bool { return d.Size < 0 && same(d, out[i]) }); k >= 0 {
			left = slices.Delete(left, k, k+1) // the same symbol on both sides: it cancels
		} else {
			rest = times(rest, out[i])
		}
	}
	if computed >= 0 {
		out[computed] = Symbol("")
		if all := product(left); in != nil && rest.Size > 0 {
			switch {
			case all.Size >= 0 && all.Size%rest.Size != 0:
				c.bad("%d elements do not divide into the shape %v", all.Size, out)
			case all.Size >= 0:
				out[computed] = Fixed(all.Size / rest.Size)
			case rest.Size == 1:
				out[computed] = all
			}
		}
	}
	c.set(0, c.elem(0), out)
}

func flatten(c *call) {
	s := c.shape(0)
	if s == nil {
		c.set(0, c.elem(0), unknown(2))
		return
	}
	axis := c.n.Int("axis", 1)
	if axis < 0 {
		axis += int64(len(s))
	}
	if axis < 0 || axis > int64(len(s)) {
		c.bad("axis %d of a tensor of rank %d", axis, len(s))
		return
	}
	c.set(0, c.elem(0), []Dim{product(s[:axis]), product(s[axis:])})
}

func squeeze(c *call) {
	s := c.shape(0)
	if s == nil {
		c.set(0, c.elem(0), nil)
		return
	}
	flags, stated, ok := c.axes(1, 13, len(s))
	if ok && !stated {
		flags = make([]bool, len(s))
		for i, d := range s {
			if ok = ok && d.Size >= 0; d == Fixed(1) {
				flags[i] = true
			}
		}
	}
	if !ok {
		c.set(0, c.elem(0), nil)
		return
	}
	c.set(0, c.elem(0), drop(s, flags, false))
}

func unsqueeze(c *call) {
	s := c.shape(0)
	added := -1
	if c.opset < 13 {
		added = len(c.n.Ints("axes"))
	} else if d := c.data[c.n.Input(1)]; d != nil {
		added = len(d.e)
	} else if l := c.shape(1); len(l) == 1 && l[0].Size >= 0 && l[0].Size <= maxData {
		added = int(l[0].Size)
	}
	if s == nil || added < 0 {
		c.set(0, c.elem(0), nil)
		return
	}
	flags, _, ok := c.axes(1, 13, len(s)+added)
	if !ok {
		c.set(0, c.elem(0), unknown(len(s)+added))
		return
	}
	out, next := make([]Dim, len(flags)), 0
	for i, f := range flags {
		if f {
			out[i] = Fixed(1)
			continue
		}
		if next == len(s) {
			c.bad("an axis is named twice")
			return
		}
		out[i] = s[next]
		next++
	}
	c.set(0, c.elem(0), out)
}

func transposeType(c *call) {
	s := c.shape(0)
	perm := c.n.Ints("perm")
	if s == nil {
		if perm != nil {
			s = unknown(len(perm))
		}
		c.set(0, c.elem(0), s)
		return
	}
	out := slices.Clone(s)
	if perm == nil {
		slices.Reverse(out)
	} else if len(perm) != len(s) {
		c.bad("perm has %d axes, the tensor %d", len(perm), len(s))
		return
	}
	for i, p := range perm {
		if p < 0 || int(p) >= len(s) {
			c.bad("axis %d of a tensor of rank %d", p, len(s))
			return
		}
		out[i] = s[p]
	}
	c.set(0, c.elem(0), out)
}

func concat(c *call) { c.concat(c.all(), 1) }

// qLinearConcat has the output's scale and zero point, then tensor, scale and zero point of each part.
func qLinearConcat(c *call) {
	var parts []int
	for i := 2; i < len(c.n.inputs); i += 3 {
		parts = append(parts, i)
	}
	c.concat(parts, 0)
}

func (c *call) concat(parts []int, def int64) {
	if len(parts) == 0 {
		return
	}
	elem := c.elem(parts[0])
	var out []Dim
	for k, i := range parts {
		s := c.shape(i)
		if s == nil {
			c.set(0, elem, nil)
			return
		}
		axis, ok := c.axis("axis", def, len(s))
		if !ok {
			return
		}
		if k == 0 {
			out = slices.Clone(s)
			continue
		}
		if len(s) != len(out) {
			c.bad("parts of ranks %d and %d", len(out), len(s))
			return
		}
		for j, d := range s {
			switch {
			case j == axis:
				out[j] = plus(out[j], d)
			case out[j].Size >= 0 && d.Size >= 0 && out[j].Size != d.Size:
				c.bad("parts of sizes %d and %d on axis %d", out[j].Size, d.Size, j)
				return
			case out[j].Size < 0 && (d.Size >= 0 || out[j].Param == ""):
				out[j] = d // all parts have the same size here
			}
		}
	}
	c.set(0, elem, out)
}

func split(c *call) {
	elem, s := c.elem(0), c.shape(0)
	parts := len(c.n.outputs)
	if s == nil {
		for i := range parts {
			c.set(i, elem, nil)
		}
		return
	}
	axis, ok := c.axis("axis", 0, len(s))
	if !ok {
		return
	}
	sizes := make([]Dim, parts)
	for i := range sizes {
		sizes[i] = Symbol("")
	}
	stated := c.n.Ints("split")
	given := stated != nil
	if c.opset >= 13 || c.opset < 2 && c.n.Input(1) != nil {
		stated, _ = c.known(1)
		given = c.n.Input(1) != nil
	}
	switch {
	case stated != nil && len(stated) == parts:
		for i, v := range stated {
			sizes[i] = number(v).size()
		}
	case !given && s[axis].Size >= 0 && parts > 0:
		// Even parts; the last is smaller where they cannot be (opset 18).
		each := (s[axis].Size + int64(parts) - 1) / int64(parts)
		left := s[axis].Size
		for i := range sizes {
			sizes[i] = Fixed(min(each, left))
			left -= sizes[i].Size
		}
	}
	for i := range parts {
		out := slices.Clone(s)
		out[axis] = sizes[i]
		c.set(i, elem, out)
	}
}

func gather(c *call) {
	s, at := c.shape(0), c.shape(1)
	if s == nil || at == nil {
		c.set(0, c.elem(0), nil)
		return
	}
	if axis, ok := c.axis("axis", 0, len(s)); ok {
		c.set(0, c.elem(0), chain(s[:axis], at, s[axis+1:]))
	}
}

func gatherND(c *call) {
	s, at := c.shape(0), c.shape(1)
	batch := c.n.Int("batch_dims", 0)
	if s == nil || len(at) == 0 || at[len(at)-1].Size < 0 {
		c.set(0, c.elem(0), nil)
		return
	}
	depth := at[len(at)-1].Size
	if batch < 0 || batch >= int64(len(at)) || depth > int64(len(s)) || batch+depth > int64(len(s)) {
		c.bad("indices of %d numbers for a tensor of rank %d", depth, len(s))
		return
	}
	c.set(0, c.elem(0), chain(at[:len(at)-1], s[batch+depth:]))
}

func expand(c *call) {
	target := c.shapeFrom(1)
	if s := c.shape(0); s != nil && target != nil {
		c.set(0, c.elem(0), c.broadcastDims(s, target))
		return
	}
	c.set(0, c.elem(0), nil)
}

func tile(c *call) {
	s := c.shape(0)
	if s == nil {
		c.set(0, c.elem(0), nil)
		return
	}
	out := unknown(len(s))
	if d := c.data[c.n.Input(1)]; d != nil && c.opset >= 6 && len(d.e) == len(s) {
		for i, e := range d.e {
			out[i] = times(s[i], e.size())
		}
	}
	c.set(0, c.elem(0), out)
}

func pad(c *call) {
	s := c.shape(0)
	if s == nil {
		c.set(0, c.elem(0), nil)
		return
	}
	pads := c.n.Ints("pads")
	switch {
	case c.opset < 2:
		pads = c.n.Ints("paddings")
	case c.opset >= 11:
		pads, _ = c.known(1)
	}
	axes := make([]int64, len(s))
	for i := range axes {
		axes[i] = int64(i)
	}
	if c.n.Input(3) != nil {
		var ok bool
		if axes, ok = c.known(3); !ok {
			c.set(0, c.elem(0), unknown(len(s)))
			return
		}
	}
	if len(pads) != 2*len(axes) {
		c.set(0, c.elem(0), unknown(len(s)))
		return
	}
	out := slices.Clone(s)
	for i, a := range axes {
		if k, ok := c.within(a, len(s)); ok {
			out[k] = grow(out[k], pads[i]+pads[i+len(axes)])
		}
	}
	c.set(0, c.elem(0), out)
}

// grow returns d + by, which may be negative.
func grow(d Dim, by int64) Dim {
	switch {
	case by == 0:
		return d
	case d.Size < 0 || d.Size > maxSize || by > maxSize || d.Size+by < 0:
		return Symbol("")
	}
	return Fixed(d.Size + by)
}

func depthToSpace(c *call) { c.blocks(false) }

func spaceToDepth(c *call) { c.blocks(true) }

// blocks moves blocks of b·b pixels into channels, or back.
func (c *call) blocks(toDepth bool) {
	s, b := c.shape(0), c.n.Int("blocksize", 0)
	if len(s) != 4 || b < 1 || b > 1<<20 {
		c.set(0, c.elem(0), nil)
		return
	}
	if toDepth {
		c.set(0, c.elem(0), []Dim{s[0], times(s[1], Fixed(b*b)), divide(s[2], b), divide(s[3], b)})
		return
	}
	c.set(0, c.elem(0), []Dim{s[0], divide(s[1], b*b), times(s[2], Fixed(b)), times(s[3], Fixed(b))})
}

func divide(d Dim, by int64) Dim {
	switch {
	case by == 1:
		return d
	case d.Size < 0 || d.Size%by != 0:
		return Symbol("")
	}
	return Fixed(d.Size / by)
}

func oneHot(c *call) {
	s := c.shape(0)
	if s == nil {
		c.set(0, c.elem(2), nil)
		return
	}
	axis, ok := c.axis("axis", -1, len(s)+1)
	if !ok {
		return
	}
	depth := Symbol("")
	if d := c.data[c.n.Input(1)]; d != nil && len(d.e) == 1 {
		depth = d.e[0].size()
	}
	c.set(0, c.elem(2), slices.Insert(slices.Clone(s), axis, depth))
}

func topK(c *call) {
	s := c.shape(0)
	var out []Dim
	if s != nil {
		axis, ok := c.axis("axis", -1, len(s))
		if !ok {
			return
		}
		k := Symbol("")
		if c.opset < 10 {
			k = number(c.n.Int("k", -1)).size()
		} else if d := c.data[c.n.Input(1)]; d != nil && len(d.e) == 1 {
			k = d.e[0].size()
		}
		out = slices.Clone(s)
		out[axis] = k
	}
	c.set(0, c.elem(0), out)
	c.set(1, Int64, out)
}

func unique(c *call) {
	var out []Dim
	if s := c.shape(0); c.n.Attr("axis") == nil {
		out = unknown(1)
	} else if s != nil {
		axis, ok := c.axis("axis", 0, len(s))
		if !ok {
			return
		}
		out = slices.Clone(s)
		out[axis] = Symbol("")
	}
	c.set(0, c.elem(0), out)
	for i := 1; i < 4; i++ {
		c.set(i, Int64, unknown(1))
	}
}

func compress(c *call) {
	if c.n.Attr("axis") == nil {
		c.set(0, c.elem(0), unknown(1))
		return
	}
	s := c.shape(0)
	if s == nil {
		c.set(0, c.elem(0), nil)
		return
	}
	if axis, ok := c.axis("axis", 0, len(s)); ok {
		out := slices.Clone(s)
		out[axis] = Symbol("")
		c.set(0, c.elem(0), out)
	}
}
