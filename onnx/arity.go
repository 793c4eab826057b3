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

// outputs has, at index k, the standard's operators with k outputs at most, in any version; those in anyOutputs have any number
// of them, and all others that shape inference knows one.
var outputs = [...]string{
	2: "CausalConvWithState Dropout GRU LinearAttention MaxPool RNN SoftmaxCrossEntropyLoss StringSplit TopK",
	3: "DynamicQuantizeLinear LSTM LayerNormalization",
	4: "Attention Unique",
	5: "BatchNormalization",
}

var anyOutputs = strings.Fields("If Loop Scan SequenceMap Split")

// stated are the attributes that the standard's operators have no default for, in the opsets from the first to before the last;
// 0: in all from then on.
var stated = []struct {
	ops, names string
	kind       AttrKind
	from, to   int64
}{
	{"AveragePool MaxPool MaxUnpool", "kernel_shape", AttrInts, 1, 0},
	{"LpPool", "kernel_shape", AttrInts, 2, 0},
	{"MaxRoiPool", "pooled_shape", AttrInts, 1, 0},
	{"BitCast Cast", "to", AttrInt, 6, 0}, // a string before
	{"BitShift", "direction", AttrString, 1, 0},
	{"Einsum", "equation", AttrString, 1, 0},
	{"Concat", "axis", AttrInt, 4, 0},
	{"ConcatFromSequence", "axis", AttrInt, 1, 0},
	{"DepthToSpace SpaceToDepth", "blocksize", AttrInt, 1, 0},
	{"GroupNormalization", "num_groups", AttrInt, 1, 0},
	{"LRN", "size", AttrInt, 1, 0},
	{"LinearAttention", "q_num_heads kv_num_heads", AttrInt, 1, 0},
	{"If", "then_branch else_branch", AttrGraph, 1, 0},
	{"Loop Scan SequenceMap", "body", AttrGraph, 1, 0},
	{"Scan", "num_scan_inputs", AttrInt, 8, 0},
	{"RandomNormal RandomUniform", "shape", AttrInts, 1, 0},
	{"TfIdfVectorizer", "mode", AttrString, 1, 0},
	{"TfIdfVectorizer", "max_gram_length max_skip_count min_gram_length", AttrInt, 1, 0},
	{"TfIdfVectorizer", "ngram_counts ngram_indexes", AttrInts, 1, 0},
	{"Pad", "pads", AttrInts, 2, 11},
	{"Slice", "starts ends", AttrInts, 1, 10},
	{"TopK", "k", AttrInt, 1, 10},
	{"Unsqueeze", "axes", AttrInts, 1, 13},
	{"Upsample", "scales", AttrFloats, 7, 9},
}

// optionalOutputs are the standard's operators whose first output may be left out.
var optionalOutputs = strings.Fields("GRU If LSTM Loop RNN Scan Split")

// alike are the standard's operators whose operands all have one element type in every version.
var alike = strings.Fields("Add And BitwiseAnd BitwiseOr BitwiseXor Concat Conv ConvTranspose Div Einsum Equal Gemm Greater GreaterOrEqual Less " +
	"LessOrEqual MatMul Max Mean Min Mod Mul Or PRelu Sub Sum Xor")

// TakesOneType reports whether all operands of n must have the same element type.
func TakesOneType(n *Node) bool { return n.Is(alike...) }

var requiredInputs, mostInputs, mostOutputs = byName(required[:]), byName(most[:]), byName(outputs[:])

// statedOf has the rows of stated that an operator is in.
var statedOf = func() map[string][]int {
	rows := map[string][]int{}
	for i, row := range stated {
		for _, op := range strings.Fields(row.ops) {
			rows[op] = append(rows[op], i)
		}
	}
	return rows
}()

func byName(table []string) map[string]int {
	counts := map[string]int{}
	for k, names := range table {
		for _, name := range strings.Fields(names) {
			counts[name] = k
		}
	}
	return counts
}

// CheckOperands reports an input, output or attribute that a node of the standard's domain needs in that opset and leaves out, or
// an input or output too many, so that those who read the node need not look. The error wraps ErrBadModel.
func CheckOperands(n *Node, opset int64) error {
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
	if inferTable[n.Op] != nil && !slices.Contains(anyOutputs, n.Op) {
		for _, v := range n.outputs[min(max(mostOutputs[n.Op], 1), len(n.outputs)):] {
			if v != nil {
				return badModel("output %q is one more than the operator has", v.name)
			}
		}
	}
	for _, i := range statedOf[n.Op] {
		row := &stated[i]
		if opset < row.from || row.to > 0 && opset >= row.to {
			continue
		}
		for _, name := range strings.Fields(row.names) {
			if a := n.Attr(name); a == nil || a.Kind != row.kind && a.Ref == "" {
				return badModel("attribute %q, which the operator needs, is missing", name)
			}
		}
	}
	return nil
}
