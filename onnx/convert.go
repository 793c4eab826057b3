package onnx

import (
	"slices"
	"strings"
)

// MaxOpset is the newest version of the standard operator set that ConvertOpset raises models to.
const MaxOpset = 25

// opsetIR has, for each version of the standard operator set, the first IR version of an ONNX release that had it.
var opsetIR = []struct{ opset, ir int64 }{{1, 3}, {9, 4}, {10, 5}, {11, 6}, {12, 7}, {15, 8}, {19, 9}, {21, 10}, {23, 11}, {24, 12}, {25, 13}}

// MinIR returns the lowest IR version that goes with a version of the standard operator set.
func MinIR(opset int64) int64 {
	ir := int64(3)
	for _, r := range opsetIR {
		if opset >= r.opset {
			ir = r.ir
		}
	}
	return ir
}

// ConvertOpset raises m to a newer version of the standard operator set, up to MaxOpset, functions and subgraphs included, and the
// IR version to what goes with it. Every node computes what it computed before. Where that cannot be had, because an operator is
// unknown or a rank that a step needs cannot be inferred, the error names the node and m is left as it was.
// Nodes of other domains are not changed.
func ConvertOpset(m *Model, to int64) error {
	from := m.Opset("")
	switch {
	case to > MaxOpset:
		return badModel("opset %d is not known; the newest to convert to is %d", to, MaxOpset)
	case from == 0:
		return badModel("the model imports no version of the standard operator set")
	case to < from:
		return badModel("opset %d cannot be lowered to %d", from, to)
	}
	// Tried on a copy first: steps may fail in the middle.
	trial := m.Clone()
	defer trial.Close()
	if err := convertModel(trial, from, to); err != nil {
		return err
	}
	return convertModel(m, from, to)
}

func convertModel(m *Model, from, to int64) error {
	types := newInference(m, InferOptions{})
	types.graph(m.Graph)
	if err := (&conversion{inference: types}).run(m.Graph, from, to); err != nil {
		return err
	}
	for _, f := range m.Functions {
		at := slices.IndexFunc(f.Opsets, func(o Opset) bool { return canonicalDomain(o.Domain) == "" })
		if at < 0 || f.Opsets[at].Version >= to {
			continue
		}
		c := &conversion{inference: newInference(&Model{}, InferOptions{}), function: f}
		if err := c.run(f.Body, f.Opsets[at].Version, to); err != nil {
			return err
		}
		f.Opsets[at].Version = to
	}
	m.SetOpset("", to)
	m.IRVersion = max(m.IRVersion, MinIR(to))
	return nil
}

// A conversion raises one main graph or function body.
type conversion struct {
	*inference           // what was found before the first step; nothing about values that steps add
	function   *Function // nil: the main graph
	from, to   int64
	version    int64 // of the step being made
}

func (c *conversion) run(g *Graph, from, to int64) error {
	c.from, c.to = from, to
	for c.version = from + 1; c.version <= to; c.version++ {
		for _, n := range slices.Collect(g.AllNodes()) {
			if canonicalDomain(n.Domain) != "" {
				continue
			}
			steps, known := conversionSteps[n.Op]
			if !known {
				return c.refuse(n, "the operator is not known")
			}
			step := steps[c.version]
			if step == nil {
				continue
			}
			if n.Output(0) == nil {
				return c.refuse(n, "it has no first output")
			}
			if slices.ContainsFunc(n.Attrs, func(a *Attribute) bool { return a.Ref != "" }) {
				return c.refuse(n, "an attribute is given by the function's caller")
			}
			if err := step(c, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuse returns the error for a node that cannot be raised.
func (c *conversion) refuse(n *Node, why string) error {
	where := ""
	if c.function != nil {
		where = " of function " + quote(c.function.Name)
	}
	return badModel("opset %d cannot be raised to %d: %s node %s%s at opset %d: %s; convert the model with its exporter, or go on without what needs opset %d",
		c.from, c.to, n.Op, quote(n.Key()), where, c.version, why, c.to)
}

// A step makes one node of the version before valid at the version it stands under, computing the same.
type step func(c *conversion, n *Node) error

// conversionSteps has a row for every operator that is known; the versions that are not in the row changed nothing that a valid
// node of the version before would notice: they added types, or attributes and inputs whose default is the old behaviour.
var conversionSteps = map[string]map[int64]step{}

func init() {
	row := func(version int64, s step, ops string) {
		for _, op := range strings.Fields(ops) {
			if conversionSteps[op] == nil {
				conversionSteps[op] = map[int64]step{}
			}
			if version > 0 {
				conversionSteps[op][version] = s
			}
		}
	}
	row(0, nil, `Acos Acosh AffineGrid ArgMax ArgMin Asin Asinh Atan Atanh AveragePool Bernoulli BitShift BitwiseAnd BitwiseNot BitwiseOr
		BitwiseXor BlackmanWindow CastLike Celu CenterCropPad Col2Im Compress ConcatFromSequence Constant ConstantOfShape Conv ConvInteger
		ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear Det DynamicQuantizeLinear Einsum Erf Expand EyeLike Flatten
		Gather GatherElements GatherND Gelu GlobalAveragePool GlobalMaxPool GreaterOrEqual HammingWindow HannWindow HardSwish Identity If
		ImageDecoder IsInf IsNaN LRN LayerNormalization LessOrEqual Loop LpNormalization MatMul MatMulInteger MaxPool MaxRoiPool
		MaxUnpool MeanVarianceNormalization MelWeightMatrix Mish Mod Multinomial NegativeLogLikelihoodLoss NonMaxSuppression NonZero Not
		OneHot Optional OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RandomNormal
		RandomNormalLike RandomUniform RandomUniformLike Range RegexFullMatch ReverseSequence RotaryEmbedding Round STFT ScatterElements
		ScatterND SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap Shape Shrink Sign
		Sin Sinh Size SoftmaxCrossEntropyLoss Softplus Softsign SpaceToDepth SplitToSequence StringConcat StringNormalizer StringSplit
		Swish Tan TensorScatter TfIdfVectorizer ThresholdedRelu Transpose Trilu Unique Where`)

	row(2, renameAttr("paddings", "pads"), "Pad")
	row(2, splitInputToAttr, "Split")
	row(2, floatToInt("p", 2), "LpPool GlobalLpPool")
	row(4, statedDefault(AttrI("axis", 1)), "Concat")
	row(5, attrsToInputs("shape"), "Reshape")
	row(6, dropAttrs("consumed_inputs"), `Abs Add BatchNormalization Ceil Clip Div Dropout Elu Exp Floor HardSigmoid InstanceNormalization
		LeakyRelu Log Max Mean Min Mul Neg PRelu Reciprocal Relu Sigmoid Sqrt Sub Sum Tanh`)
	row(6, seluDefaults, "Selu")
	row(6, castByNumber, "Cast")
	row(6, refusal("tiles and axis were inputs"), "Tile")
	row(7, numpyBroadcast, "Add And Div Equal Greater Less Mul Or Pow Sub Xor")
	row(7, dropAttrs("broadcast"), "Gemm")
	row(7, channelSlope, "PRelu")
	row(7, leaveTraining, "BatchNormalization Dropout")
	row(7, dropAttrs("output_sequence"), "GRU LSTM RNN")
	row(7, upsampleScales, "Upsample")
	row(9, dropSpatial, "BatchNormalization")
	row(9, floatsToInput("scales"), "Upsample")
	row(9, refusal("the batch axis of scans is gone"), "Scan")
	row(10, boolMask, "Dropout")
	row(10, attrsToInputs("starts", "ends", "axes"), "Slice")
	row(10, countToInput, "TopK")
	row(10, rename("Resize"), "Upsample")
	row(11, resizeModes, "Resize")
	row(11, boundsToInputs, "Clip")
	row(11, padsToInputs, "Pad")
	row(11, rename("ScatterElements"), "Scatter")
	row(12, ratioToInput, "Dropout")
	row(13, alongOneAxis, "Hardmax LogSoftmax Softmax")
	row(13, attrsToInputs("axes"), "ReduceSum Squeeze Unsqueeze")
	row(13, attrsToInputs("split"), "Split")
	row(13, dropEmptyScales, "Resize")
	row(14, inferenceOutputs, "BatchNormalization")
	row(16, statedDefault(AttrS("coordinate_transformation_mode", "output_half_pixel")), "RoiAlign")
	row(18, attrsToInputs("axes"), "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare")
	row(18, countOutputs, "Split")
	row(20, axisToInput, "DFT")
	row(20, gridModes, "GridSample")
	row(21, scaleByChannel, "GroupNormalization")
	row(24, refusal("the operator's definition changed"), "Attention")
	row(25, refusal("the operator's definition changed"), "Attention")
}
