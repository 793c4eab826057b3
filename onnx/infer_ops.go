package onnx

import "slices"

// inferTable has a function for every operator that inference knows; operators of other domains have the domain in front.
// A function reads c's inputs and attributes and sets what follows for the outputs; what it cannot know it leaves out.
var inferTable = map[string]func(*call){}

func init() {
	rows := func(f func(*call), ops ...string) {
		for _, op := range ops {
			inferTable[op] = f
		}
	}
	rows(sameAsInput, "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Celu", "Clip", "Cos", "Cosh",
		"CumProd", "CumSum", "Elu", "Erf", "Exp", "Floor", "Gelu", "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
		"InstanceNormalization", "LRN", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Mish", "Neg",
		"Not", "PRelu", "RMSNormalization", "Reciprocal", "Relu", "ReverseSequence", "RotaryEmbedding", "Round", "Scatter",
		"ScatterElements", "ScatterND", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus", "Softsign", "Sqrt",
		"Swish", "Tan", "Tanh", "TensorScatter", "ThresholdedRelu", "Trilu",
		"com.microsoft.BiasGelu", "com.microsoft.FastGelu", "com.microsoft.Gelu", "com.microsoft.QuickGelu",
		"com.microsoft.QLinearLeakyRelu", "com.microsoft.QLinearSigmoid", "com.microsoft.QLinearSoftmax")
	rows(elementwise, "Add", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Max", "Mean", "Min", "Mod", "Mul", "Pow", "Sub", "Sum")
	rows(truthOfPair, "And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor")
	rows(func(c *call) { c.set(0, Bool, c.shape(0)) }, "IsInf", "IsNaN")
	rows(func(c *call) { c.set(0, c.elem(0), c.broadcast(0, 3)) }, "com.microsoft.QLinearAdd", "com.microsoft.QLinearMul")
	rows(reduce, "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
		"ReduceSum", "ReduceSumSquare")
	rows(argReduce, "ArgMax", "ArgMin")
	rows(pool, "AveragePool", "LpPool", "MaxPool", "com.microsoft.QLinearAveragePool")
	rows(globalPool, "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "com.microsoft.QLinearGlobalAveragePool")
	rows(random, "RandomNormal", "RandomUniform")
	rows(randomLike, "RandomNormalLike", "RandomUniformLike", "Bernoulli", "EyeLike")
	rows(recurrent, "GRU", "LSTM", "RNN", "com.microsoft.DynamicQuantizeLSTM")
	rows(window, "BlackmanWindow", "HammingWindow", "HannWindow")
	rows(loss, "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
	for op, f := range map[string]func(*call){
		"Attention":          attention,
		"BatchNormalization": batchNorm, "Cast": castType, "CastLike": func(c *call) { c.set(0, c.elem(1), c.shape(0)) },
		"Col2Im": col2Im, "Compress": compress, "Concat": concat, "Constant": constantType, "ConstantOfShape": constantOfShape,
		"Conv": conv, "ConvInteger": convInteger, "ConvTranspose": convTranspose, "DepthToSpace": depthToSpace,
		"DequantizeLinear": dequantize, "Det": det, "Dropout": dropoutType, "DynamicQuantizeLinear": dynamicQuantize, "Einsum": einsum,
		"Expand": expand, "Flatten": flatten, "Gather": gather, "GatherElements": func(c *call) { c.set(0, c.elem(0), c.shape(1)) },
		"GatherND": gatherND, "Gemm": gemm, "GridSample": gridSample, "If": ifNode, "LayerNormalization": layerNorm, "Loop": loop,
		"MatMul": matMul, "MatMulInteger": matMulInteger, "NonMaxSuppression": func(c *call) { c.set(0, Int64, []Dim{Symbol(""), Fixed(3)}) },
		"NonZero": nonZero, "OneHot": oneHot, "Pad": pad, "QLinearConv": qLinearConv, "QLinearMatMul": qLinearMatMul,
		"QuantizeLinear": quantize, "Range": rangeType, "Reshape": reshape, "Resize": resize, "RoiAlign": roiAlign, "STFT": stft, "Scan": scan,
		"Shape": shapeType, "Size": func(c *call) { c.set(0, Int64, []Dim{}) }, "Slice": slice, "SpaceToDepth": spaceToDepth,
		"Split": split, "Squeeze": squeeze, "Tile": tile, "TopK": topK, "Transpose": transposeType, "Unique": unique,
		"Unsqueeze": unsqueeze, "Upsample": upsample, "Where": func(c *call) { c.set(0, c.elem(1), c.broadcast(0, 1, 2)) },
		"SequenceLength": func(c *call) { c.set(0, Int64, []Dim{}) }, "SequenceConstruct": sequenceConstruct, "SequenceAt": sequenceAt,
		"SequenceInsert": func(c *call) { c.setType(0, sequenceOnly(c.typ(0))) }, "SequenceErase": func(c *call) { c.setType(0, sequenceOnly(c.typ(0))) },
		"com.microsoft.DynamicQuantizeMatMul": matMul, "com.microsoft.MatMulIntegerToFloat": matMulIntegerToFloat,
		"com.microsoft.GatherBlockQuantized": gatherBlockQuantized, "com.microsoft.MatMulNBits": matMulNBits, "com.microsoft.QGemm": qGemm, "com.microsoft.QLinearConcat": qLinearConcat,
	} {
		inferTable[op] = f
	}
}

func sameAsInput(c *call) { c.setType(0, c.typ(0)) }

// all returns the indices of all inputs.
func (c *call) all() []int {
	k := make([]int, len(c.n.inputs))
	for i := range k {
		k[i] = i
	}
	return k
}

// elementwise also covers opset 6 and below, where the second operand broadcasts by attributes and never changes the shape.
func elementwise(c *call) {
	if c.opset < 7 {
		c.set(0, c.elem(0), c.shape(0))
		return
	}
	c.set(0, c.elem(0), c.broadcast(c.all()...))
}

func truthOfPair(c *call) {
	if c.opset < 7 {
		c.set(0, Bool, c.shape(0))
		return
	}
	c.set(0, Bool, c.broadcast(0, 1))
}

func castType(c *call) {
	to := DataType(c.n.Int("to", 0)) // a string before opset 6
	if !to.Valid() {
		to = Undefined
	}
	c.set(0, to, c.shape(0))
}

func constantType(c *call) {
	if t := c.n.Constant(); t != nil {
		c.setType(0, typeOfTensor(t))
	}
}

func constantOfShape(c *call) {
	elem := Float32
	if a := c.n.Attr("value"); a != nil && a.Tensor != nil {
		elem = a.Tensor.Type
	}
	c.set(0, elem, c.shapeFrom(0))
}

// shapeFrom returns the shape that integer input i lists; nil when not even its length is known.
func (c *call) shapeFrom(i int) []Dim {
	if d := c.data[c.n.Input(i)]; d != nil {
		out := make([]Dim, len(d.e))
		for k, e := range d.e {
			out[k] = e.size()
		}
		return out
	}
	if s := c.shape(i); len(s) == 1 && s[0].Size >= 0 && s[0].Size <= maxData {
		return unknown(int(s[0].Size))
	}
	return nil
}

func dropoutType(c *call) {
	c.setType(0, c.typ(0))
	mask := Bool
	if c.opset < 10 {
		mask = c.elem(0)
	}
	c.set(1, mask, c.shape(0))
}

func batchNorm(c *call) {
	c.setType(0, c.typ(0))
	for i := 1; i < len(c.n.outputs); i++ {
		c.set(i, c.elem(3), c.shape(3))
	}
}

func layerNorm(c *call) {
	c.setType(0, c.typ(0))
	s := c.shape(0)
	if s == nil {
		return
	}
	axis, ok := c.axis("axis", -1, len(s))
	if !ok {
		return
	}
	reduced := slices.Clone(s)
	for i := axis; i < len(s); i++ {
		reduced[i] = Fixed(1)
	}
	stash := DataType(c.n.Int("stash_type", 1))
	c.set(1, stash, reduced)
	c.set(2, stash, reduced)
}

func reduce(c *call) { c.set(0, c.elem(0), c.reduced()) }

// reduced returns the shape behind a reduction.
func (c *call) reduced() []Dim {
	s := c.shape(0)
	if s == nil {
		return nil
	}
	since := int64(18)
	if c.n.Op == "ReduceSum" {
		since = 13
	}
	keep := c.n.Int("keepdims", 1) != 0
	flags, stated, ok := c.axes(1, since, len(s))
	if !ok {
		if keep {
			return unknown(len(s))
		}
		return nil
	}
	if none := !stated || !slices.Contains(flags, true); none && c.n.Int("noop_with_empty_axes", 0) != 0 {
		return s
	} else if none {
		flags = slices.Repeat([]bool{true}, len(s))
	}
	return drop(s, flags, keep)
}

// drop removes the flagged dimensions, or makes them 1.
func drop(s []Dim, flags []bool, keep bool) []Dim {
	out := []Dim{}
	for i, d := range s {
		switch {
		case !flags[i]:
			out = append(out, d)
		case keep:
			out = append(out, Fixed(1))
		}
	}
	return out
}

func argReduce(c *call) {
	var out []Dim
	if s := c.shape(0); s != nil {
		if axis, ok := c.axis("axis", 0, len(s)); ok {
			flags := make([]bool, len(s))
			flags[axis] = true
			out = drop(s, flags, c.n.Int("keepdims", 1) != 0)
		}
	}
	c.set(0, Int64, out)
}

func matMul(c *call) { c.set(0, c.elem(0), c.product(0, 1)) }

func matMulInteger(c *call) { c.set(0, Int32, c.product(0, 1)) }

func matMulIntegerToFloat(c *call) { c.set(0, c.elem(2), c.product(0, 1)) }

func qLinearMatMul(c *call) { c.set(0, c.elem(7), c.product(0, 3)) }

// product returns the shape of the matrix product of inputs i and j by numpy's rules.
func (c *call) product(i, j int) []Dim {
	a, b := c.shape(i), c.shape(j)
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	inner, rows, columns := a[len(a)-1], []Dim{}, []Dim{}
	if len(a) > 1 {
		rows = a[len(a)-2 : len(a)-1]
		a = a[:len(a)-2]
	} else {
		a = nil
	}
	k := b[0]
	if len(b) > 1 {
		k, columns, b = b[len(b)-2], b[len(b)-1:], b[:len(b)-2]
	} else {
		b = nil
	}
	if inner.Size >= 0 && k.Size >= 0 && inner.Size != k.Size {
		c.bad("the inner sizes %d and %d differ", inner.Size, k.Size)
		return nil
	}
	batch := c.broadcastDims(a, b)
	if batch == nil {
		return nil
	}
	return chain(batch, rows, columns)
}

func gemm(c *call) { c.set(0, c.elem(0), c.gemmShape(0, 1)) }

func qGemm(c *call) {
	elem := c.elem(8)
	if c.n.Input(8) == nil {
		elem = c.elem(1) // without an output zero point the output is float, as the scale
	}
	c.set(0, elem, c.gemmShape(0, 3))
}

func (c *call) gemmShape(i, j int) []Dim {
	a, b := c.shape(i), c.shape(j)
	if len(a) != 2 || len(b) != 2 {
		return unknown(2)
	}
	m, n := a[0], b[1]
	if c.n.Int("transA", 0) != 0 {
		m = a[1]
	}
	if c.n.Int("transB", 0) != 0 {
		n = b[0]
	}
	return []Dim{m, n}
}

func matMulNBits(c *call) {
	if a := c.shape(0); len(a) > 0 {
		c.set(0, c.elem(0), append(slices.Clone(a[:len(a)-1]), Fixed(c.n.Int("N", -1))))
	}
}

// gatherBlockQuantized gathers from data whose last dimension counts bytes where they are uint8.
func gatherBlockQuantized(c *call) {
	data, at := slices.Clone(c.shape(0)), c.shape(1)
	if len(data) == 0 || at == nil {
		c.set(0, c.elem(2), nil)
		return
	}
	axis, ok := c.axis("gather_axis", 0, len(data))
	if !ok {
		return
	}
	if last := &data[len(data)-1]; c.elem(0) == Uint8 && last.Size > 0 && last.Size < 1<<56 {
		if bits := c.n.Int("bits", 4); bits > 0 {
			*last = Fixed(last.Size * 8 / bits)
		}
	}
	c.set(0, c.elem(2), chain(data[:axis], at, data[axis+1:]))
}

func quantize(c *call) {
	elem := Uint8
	switch {
	case c.n.Input(2) != nil:
		elem = c.elem(2)
	case DataType(c.n.Int("output_dtype", 0)).Valid():
		elem = DataType(c.n.Int("output_dtype", 0))
	}
	c.set(0, elem, c.shape(0))
}

func dequantize(c *call) {
	elem := c.elem(1)
	if dt := DataType(c.n.Int("output_dtype", 0)); dt.Valid() {
		elem = dt
	}
	c.set(0, elem, c.shape(0))
}

func dynamicQuantize(c *call) {
	c.set(0, Uint8, c.shape(0))
	c.set(1, Float32, []Dim{})
	c.set(2, Uint8, []Dim{})
}

func random(c *call) {
	var s []Dim
	if dims := c.n.Ints("shape"); dims != nil {
		s = make([]Dim, len(dims))
		for i, d := range dims {
			s[i] = Fixed(max(d, 0))
		}
	}
	c.set(0, DataType(c.n.Int("dtype", 1)), s)
}

func randomLike(c *call) {
	elem := DataType(c.n.Int("dtype", 0))
	if !elem.Valid() {
		elem = c.elem(0)
	}
	c.set(0, elem, c.shape(0))
}

func window(c *call) {
	size := Symbol("")
	if n, ok := c.known(0); ok && len(n) == 1 && n[0] >= 0 {
		size = Fixed(n[0])
	}
	c.set(0, DataType(c.n.Int("output_datatype", 1)), []Dim{size})
}

func rangeType(c *call) {
	size := Symbol("")
	var x [3]int64
	all := true
	for i := range x {
		v, ok := c.known(i)
		if all = all && ok && len(v) == 1; all {
			x[i] = v[0]
		}
	}
	if all {
		if n, ok := rangeLen(x[0], x[1], x[2]); ok {
			size = Fixed(n)
		}
	}
	c.set(0, c.elem(0), []Dim{size})
}

func shapeType(c *call) {
	size := Symbol("")
	if s := c.shape(0); s != nil {
		from, to := shapeRange(c, len(s))
		size = Fixed(int64(to - from))
	}
	c.set(0, Int64, []Dim{size})
}

func det(c *call) {
	if s := c.shape(0); len(s) >= 2 {
		c.set(0, c.elem(0), s[:len(s)-2:len(s)-2])
	}
}

func nonZero(c *call) {
	rank := Symbol("")
	if s := c.shape(0); s != nil {
		rank = Fixed(int64(max(len(s), 1)))
	}
	c.set(0, Int64, []Dim{rank, Symbol("")})
}

// einsum follows the letters of the equation; with an ellipsis the shape stays unknown.
func einsum(c *call) {
	terms, out := parseEinsum(c.n.Str("equation", ""))
	if terms == nil || len(terms) != len(c.n.inputs) {
		c.set(0, c.elem(0), nil)
		return
	}
	sizes := map[rune]Dim{}
	for i, term := range terms {
		s := c.shape(i)
		if s == nil || len(s) != len(term) {
			c.set(0, c.elem(0), unknown(len(out)))
			return
		}
		for k, letter := range term {
			if have, ok := sizes[letter]; !ok || have == Fixed(1) || have.Size < 0 && s[k].Size >= 0 {
				sizes[letter] = s[k]
			}
		}
	}
	dims := make([]Dim, len(out))
	for i, letter := range out {
		d, ok := sizes[letter]
		if !ok {
			c.bad("output letter %q is in no input", letter)
			d = Symbol("")
		}
		dims[i] = d
	}
	c.set(0, c.elem(0), dims)
}
