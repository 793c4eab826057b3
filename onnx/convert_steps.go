package onnx

import (
	"math"
	"slices"
)

// constant returns a new constant for n: an initializer, or in a function, which has none, a Constant node in front of n.
func (c *conversion) constant(n *Node, name string, t *Tensor) *Value {
	name = n.Output(0).String() + "_" + name
	if c.function == nil {
		return n.graph.AddConst(name, t)
	}
	return n.graph.InsertBefore(n, NodeSpec{Op: "Constant", Outputs: []string{name}, Attrs: []*Attribute{AttrT("value", t)}}).Output(0)
}

// behind puts a node behind n: what used n's first output uses the new node's instead, under the same name. The node takes the old
// output as its first input.
func (c *conversion) behind(n *Node, s NodeSpec) *Node {
	out := n.Output(0)
	name := out.name
	s.Outputs = []string{name}
	added := n.graph.InsertAfter(n, s)
	v := added.Output(0)
	v.Type, out.Type = out.Type, nil
	Replace(out, v)
	if out.name == name { // no graph output, so Replace left the names alone
		out.Rename(n.graph.FreshName(name + "_" + n.Op))
		v.Rename(name)
	}
	if t := c.types[out]; t != nil {
		c.types[v] = t
		delete(c.types, out)
	}
	added.SetInput(0, out)
	return added
}

// rank returns the rank of input i of n, -1 when it is unknown.
func (c *conversion) rank(n *Node, i int) int {
	if t := c.types[n.Input(i)]; t != nil && t.Kind == KindTensor && t.Shape != nil {
		return len(t.Shape)
	}
	return -1
}

// scalar returns v as a tensor of rank 0 of the element type of n's first input; nil when that is unknown or no float.
func (c *conversion) scalar(n *Node, v float32) *Tensor {
	t := c.types[n.Input(0)]
	if t == nil {
		return nil
	}
	switch t.Elem {
	case Float32, Float64, Float16:
		s := Zeros(t.Elem, []int64{}...)
		SetFloats(s, []float32{v})
		return s
	}
	return nil
}

func (c *conversion) noElem(n *Node) error {
	return c.refuse(n, "the element type of "+quote(n.Input(0).String())+" is not known to be float")
}

func refusal(why string) step {
	return func(c *conversion, n *Node) error { return c.refuse(n, why) }
}

func rename(op string) step {
	return func(c *conversion, n *Node) error {
		n.Op = op
		return nil
	}
}

func dropAttrs(names ...string) step {
	return func(c *conversion, n *Node) error {
		for _, name := range names {
			n.DropAttr(name)
		}
		return nil
	}
}

func renameAttr(old, name string) step {
	return func(c *conversion, n *Node) error {
		if a := n.Attr(old); a != nil {
			a.Name = name
		}
		return nil
	}
}

// statedDefault states what was the default where the default changed.
func statedDefault(a *Attribute) step {
	return func(c *conversion, n *Node) error {
		if n.Attr(a.Name) == nil {
			own := *a
			n.SetAttr(&own)
		}
		return nil
	}
}

// attrsToInputs makes integer lists inputs 1, 2, ...; one that is absent stays left out.
func attrsToInputs(names ...string) step {
	return func(c *conversion, n *Node) error {
		for i, name := range names {
			if a := n.Attr(name); a != nil {
				n.SetInput(i+1, c.constant(n, name, Of(a.Ints)))
				n.DropAttr(name)
			}
		}
		return nil
	}
}

func floatsToInput(name string) step {
	return func(c *conversion, n *Node) error {
		if a := n.Attr(name); a != nil {
			n.SetInput(1, c.constant(n, name, Of(a.Floats)))
			n.DropAttr(name)
		}
		return nil
	}
}

func splitInputToAttr(c *conversion, n *Node) error {
	if n.Input(1) == nil {
		return nil
	}
	sizes, ok := (&call{inference: c.inference, n: n}).known(1)
	if !ok {
		return c.refuse(n, "the sizes of the parts are not constant")
	}
	n.SetAttr(AttrIs("split", sizes...))
	n.TrimInputs(1)
	return nil
}

func floatToInt(name string, def float32) step {
	return func(c *conversion, n *Node) error {
		v := n.Float(name, def)
		if v != float32(math.Trunc(float64(v))) {
			return c.refuse(n, name+" is no whole number")
		}
		n.SetAttr(AttrI(name, int64(v)))
		return nil
	}
}

// seluDefaults: the defaults got more digits.
func seluDefaults(c *conversion, n *Node) error {
	n.DropAttr("consumed_inputs")
	n.SetAttr(AttrF("alpha", n.Float("alpha", 1.6732)))
	n.SetAttr(AttrF("gamma", n.Float("gamma", 1.0507)))
	return nil
}

// castNames are the element types as Cast named them before opset 6.
var castNames = map[string]DataType{
	"FLOAT": Float32, "UINT8": Uint8, "INT8": Int8, "UINT16": Uint16, "INT16": Int16, "INT32": Int32, "INT64": Int64, "STRING": String,
	"BOOL": Bool, "FLOAT16": Float16, "DOUBLE": Float64, "UINT32": Uint32, "UINT64": Uint64, "COMPLEX64": Complex64, "COMPLEX128": Complex128,
}

func castByNumber(c *conversion, n *Node) error {
	to, ok := castNames[n.Str("to", "")]
	if !ok {
		return c.refuse(n, "no type is named "+quote(n.Str("to", "")))
	}
	n.SetAttr(AttrI("to", int64(to)))
	return nil
}

// numpyBroadcast: until opset 6 the second operand was laid over the first from an axis on, by default at its end.
func numpyBroadcast(c *conversion, n *Node) error {
	axis := n.Attr("axis")
	n.DropAttr("broadcast")
	n.DropAttr("axis")
	if axis == nil {
		return nil
	}
	a, b := c.rank(n, 0), c.rank(n, 1)
	if a < 0 || b < 0 {
		return c.refuse(n, "the ranks of its operands are not known")
	}
	at := axis.Int
	if at < 0 {
		at += int64(a)
	}
	behind := a - b - int(at)
	if at < 0 || int(at) > a || behind < 0 {
		return c.refuse(n, "its axis does not fit its operands")
	}
	c.trailingAxes(n, 1, b, behind)
	return nil
}

// trailingAxes gives input i, of that rank, more axes of size 1 at its end.
func (c *conversion) trailingAxes(n *Node, i, rank, more int) {
	if more == 0 {
		return
	}
	axes := make([]int64, more)
	for k := range axes {
		axes[k] = int64(rank + k)
	}
	u := n.graph.InsertBefore(n, NodeSpec{
		Op: "Unsqueeze", Inputs: []*Value{n.inputs[i]}, Outputs: []string{n.Output(0).String() + "_unsqueezed"},
		Attrs: []*Attribute{AttrIs("axes", axes...)},
	})
	n.SetInput(i, u.Output(0))
}

// channelSlope: until opset 6 a list of slopes was one a channel.
func channelSlope(c *conversion, n *Node) error {
	slope := c.types[n.Input(1)]
	x := c.rank(n, 0)
	switch {
	case slope == nil || slope.Shape == nil || x < 0:
		return c.refuse(n, "the ranks of its inputs are not known")
	case len(slope.Shape) == 1 && slope.Shape[0] != Fixed(1):
		c.trailingAxes(n, 1, 1, max(x-2, 0))
	}
	return nil
}

// leaveTraining: from opset 7 on these operators always work as at inference.
func leaveTraining(c *conversion, n *Node) error {
	if n.Int("is_test", 0) == 0 {
		return c.refuse(n, "it is in training mode (is_test=0)")
	}
	n.DropAttr("is_test")
	return nil
}

func upsampleScales(c *conversion, n *Node) error {
	n.SetAttr(AttrFs("scales", 1, 1, n.Float("height_scale", 1), n.Float("width_scale", 1)))
	n.DropAttr("height_scale")
	n.DropAttr("width_scale")
	return nil
}

func dropSpatial(c *conversion, n *Node) error {
	if n.Int("spatial", 1) == 0 {
		return c.refuse(n, "it normalizes every element by itself (spatial=0)")
	}
	n.DropAttr("spatial")
	return nil
}

// boolMask: the mask became bool. Where it is used it is cast to what it was.
func boolMask(c *conversion, n *Node) error {
	mask := n.Output(1)
	if mask == nil || !mask.inUse() {
		return nil
	}
	t := c.types[n.Input(0)]
	if t == nil || t.Elem == Undefined {
		return c.noElem(n)
	}
	added := n.graph.InsertAfter(n, NodeSpec{Op: "Cast", Outputs: []string{mask.name}, Attrs: []*Attribute{AttrI("to", int64(t.Elem))}})
	v := added.Output(0)
	v.Type, mask.Type = mask.Type, nil
	Replace(mask, v)
	added.SetInput(0, mask)
	return nil
}

func countToInput(c *conversion, n *Node) error {
	if k := n.Attr("k"); k != nil {
		n.SetInput(1, c.constant(n, "k", Of([]int64{k.Int})))
		n.DropAttr("k")
	}
	return nil
}

// resizeModes: opset 11 asks how pixels are placed; before, they began at the corner, and nearest took the pixel below when
// enlarging and, as runtimes did, the one above when shrinking.
func resizeModes(c *conversion, n *Node) error {
	scales := (&call{inference: c.inference, n: n}).floats(1)
	n.SetAttr(AttrS("coordinate_transformation_mode", "asymmetric"))
	if n.Str("mode", "nearest") == "nearest" {
		larger := slices.ContainsFunc(scales, func(s float32) bool { return s > 1 })
		smaller := slices.ContainsFunc(scales, func(s float32) bool { return s < 1 })
		switch {
		case scales == nil:
			return c.refuse(n, "its scales are not constant")
		case larger && smaller:
			return c.refuse(n, "it enlarges and shrinks at once")
		case smaller:
			n.SetAttr(AttrS("nearest_mode", "ceil"))
		default:
			n.SetAttr(AttrS("nearest_mode", "floor"))
		}
	}
	s := n.Input(1)
	n.SetInput(1, c.constant(n, "roi", Of([]float32{})))
	n.SetInput(2, s)
	return nil
}

func dropEmptyScales(c *conversion, n *Node) error {
	for i := 1; i < 3; i++ { // roi and scales could not be left out before
		if v := n.Input(i); v != nil && v.constant != nil && v.constant.Len() == 0 {
			n.SetInput(i, nil)
		}
	}
	return nil
}

func boundsToInputs(c *conversion, n *Node) error {
	for i, name := range []string{"min", "max"} {
		a := n.Attr(name)
		if a == nil {
			continue
		}
		t := c.scalar(n, a.Float)
		if t == nil {
			return c.noElem(n)
		}
		n.SetInput(i+1, c.constant(n, name, t))
		n.DropAttr(name)
	}
	return nil
}

func padsToInputs(c *conversion, n *Node) error {
	if err := attrsToInputs("pads")(c, n); err != nil {
		return err
	}
	if v := n.Float("value", 0); v != 0 && n.Str("mode", "constant") == "constant" {
		t := c.scalar(n, v)
		if t == nil {
			return c.noElem(n)
		}
		n.SetInput(2, c.constant(n, "value", t))
	}
	n.DropAttr("value")
	return nil
}

func ratioToInput(c *conversion, n *Node) error {
	if a := n.Attr("ratio"); a != nil {
		n.SetInput(1, c.constant(n, "ratio", Scalar(a.Float)))
		n.DropAttr("ratio")
	}
	return nil
}

// alongOneAxis: until opset 12 all axes from the given one on were taken as one. Where that is more than one axis, the tensor is
// made a matrix and afterwards what it was.
func alongOneAxis(c *conversion, n *Node) error {
	axis := n.Int("axis", 1)
	t := c.types[n.Input(0)]
	if t == nil || t.Shape == nil {
		if axis < 0 {
			return c.refuse(n, "the rank of its input is not known")
		}
	} else {
		rank := int64(len(t.Shape))
		if axis < 0 {
			axis += rank
		}
		if axis < 0 || axis > rank {
			return c.refuse(n, "its axis lies outside its input")
		}
		if axis < rank && product(t.Shape[axis+1:]) == Fixed(1) {
			n.SetAttr(AttrI("axis", axis))
			return nil
		}
	}
	g, x, name := n.graph, n.Input(0), n.Output(0).String()
	shape := g.InsertBefore(n, NodeSpec{Op: "Shape", Inputs: []*Value{x}, Outputs: []string{name + "_shape"}})
	flat := g.InsertBefore(n, NodeSpec{Op: "Flatten", Inputs: []*Value{x}, Outputs: []string{name + "_flat"}, Attrs: []*Attribute{AttrI("axis", axis)}})
	n.SetInput(0, flat.Output(0))
	n.SetAttr(AttrI("axis", -1))
	c.behind(n, NodeSpec{Op: "Reshape"}).SetInput(1, shape.Output(0))
	return nil
}

// inferenceOutputs: what was computed for training besides the result is gone.
func inferenceOutputs(c *conversion, n *Node) error {
	for _, v := range n.outputs[min(1, len(n.outputs)):] {
		if v != nil && v.inUse() {
			return c.refuse(n, "its outputs for training are used")
		}
	}
	for _, v := range n.outputs[min(1, len(n.outputs)):] {
		if v != nil {
			delete(n.graph.values, v.name)
			v.graph = nil
		}
	}
	n.outputs = n.outputs[:min(1, len(n.outputs))]
	return nil
}

func countOutputs(c *conversion, n *Node) error {
	if n.Input(1) == nil {
		n.SetAttr(AttrI("num_outputs", int64(len(n.outputs))))
	}
	return nil
}

func axisToInput(c *conversion, n *Node) error {
	n.SetInput(2, c.constant(n, "axis", Scalar(n.Int("axis", 1))))
	n.DropAttr("axis")
	return nil
}

func gridModes(c *conversion, n *Node) error {
	for old, name := range map[string]string{"bilinear": "linear", "bicubic": "cubic"} {
		if n.Str("mode", "") == old {
			n.SetAttr(AttrS("mode", name))
		}
	}
	return nil
}

// scaleByChannel: scale and bias were one number a group and are one a channel.
func scaleByChannel(c *conversion, n *Node) error {
	groups := n.Int("num_groups", 0)
	t := c.types[n.Input(0)]
	if t == nil || len(t.Shape) < 2 || t.Shape[1].Size < 0 || groups < 1 || t.Shape[1].Size%groups != 0 {
		return c.refuse(n, "its number of channels is not known")
	}
	each := int(t.Shape[1].Size / groups)
	for i, name := range []string{1: "scale", 2: "bias"} {
		if i == 0 || n.Input(i) == nil {
			continue
		}
		k := n.Input(i).constant
		if k == nil || k.Rank() != 1 || k.Dims[0] != groups || k.Type.Bits()%8 != 0 {
			return c.refuse(n, "its "+name+" is not constant")
		}
		if err := k.Load(); err != nil {
			return c.refuse(n, err.Error())
		}
		size := k.Type.Bits() / 8
		var data []byte
		for one := range slices.Chunk(k.Bytes(), size) {
			data = append(data, slices.Repeat(one, each)...)
		}
		n.SetInput(i, c.constant(n, name, New(k.Type, []int64{t.Shape[1].Size}, data)))
	}
	return nil
}
