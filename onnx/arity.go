package onnx

import (
	"slices"
	"strings"
)

// required has, at index k, the standard's operators whose first k inputs must be there in every version; operators that
// are not listed need one.
var required = [...]string{
	0: "Constant Loop Optional OptionalHasElement RandomNormal RandomUniform Scan SequenceEmpty",
	2: "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor CastLike CenterCropPad Compress Conv ConvInteger ConvTranspose CumProd CumSum " +
		"DequantizeLinear Div Equal Expand Gather GatherElements GatherND Gemm Greater GreaterOrEqual LayerNormalization Less " +
		"LessOrEqual MatMul MatMulInteger Mod Mul Or PRelu Pow QuantizeLinear RMSNormalization ReverseSequence SequenceAt " +
		"SequenceInsert Sub TensorScatter Tile Xor",
	3: "GRU GroupNormalization InstanceNormalization LSTM OneHot RNN Range Scatter ScatterElements ScatterND Where",
	5: "BatchNormalization",
	8: "QLinearConv QLinearMatMul",
}

// most has, at index k, the standard's operators that never take more than k inputs, of those where a surplus operand would
// be mistaken for one.
var most = [...]string{
	2: "Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual MatMul Mod Mul Or PRelu Pow Sub Xor",
	3: "Conv ConvTranspose Gemm",
}

// optionalOutputs are the standard's operators whose first output may be left out.
var optionalOutputs = strings.Fields("GRU If LSTM Loop RNN Scan Split")

// alike are the standard's operators whose operands all have one element type in every version.
var alike = strings.Fields("Add And BitwiseAnd BitwiseOr BitwiseXor Concat Conv ConvTranspose Div Einsum Equal Gemm Greater GreaterOrEqual Less " +
	"LessOrEqual MatMul Max Mean Min Mod Mul Or PRelu Sub Sum Xor")

// TakesOneType reports whether all operands of n must have the same element type.
func TakesOneType(n *Node) bool { return n.Is(alike...) }

var requiredInputs, mostInputs = byName(required[:]), byName(most[:])

func byName(table []string) map[string]int {
	counts := map[string]int{}
	for k, names := range table {
		for _, name := range strings.Fields(names) {
			counts[name] = k
		}
	}
	return counts
}

// CheckOperands reports an input or output that a node of the standard's domain needs and leaves out, or an input too many, so
// that those who read the node need not look. The error wraps ErrBadModel.
func CheckOperands(n *Node) error {
	if canonicalDomain(n.Domain) != "" {
		return nil
	}
	k, ok := requiredInputs[n.Op]
	if !ok {
		k = 1
	}
	for i := range k {
		if n.Input(i) == nil {
			return badModel("input %d, which the operator needs, is missing", i)
		}
	}
	if k, ok := mostInputs[n.Op]; ok && len(n.inputs) > k {
		return badModel("%d inputs, the operator takes %d", len(n.inputs), k)
	}
	if n.Output(0) == nil && !slices.Contains(optionalOutputs, n.Op) {
		return badModel("output 0, which the operator needs, is missing")
	}
	return nil
}
