package engine

import (
	"fmt"
	"strings"

	"github.com/zqonnx/zqonnx/onnx"
)

// required has, at index k, the standard's operators whose first k inputs must be there in every version; operators that
// are not listed need one.
var required = [...]string{
	0: "Constant Loop Optional OptionalHasElement Scan SequenceEmpty",
	2: "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor CastLike CenterCropPad Compress Conv ConvInteger ConvTranspose CumProd CumSum " +
		"DequantizeLinear Div Equal Expand Gather GatherElements GatherND Gemm Greater GreaterOrEqual LayerNormalization Less " +
		"LessOrEqual MatMul MatMulInteger Mod Mul Or PRelu Pow QuantizeLinear RMSNormalization ReverseSequence SequenceAt " +
		"SequenceInsert Sub TensorScatter Tile Xor",
	3: "GRU GroupNormalization InstanceNormalization LSTM OneHot RNN Range Scatter ScatterElements ScatterND Where",
	5: "BatchNormalization",
	8: "QLinearConv QLinearMatMul",
}

var requiredInputs = map[string]int{}

func init() {
	for k, names := range required {
		for _, name := range strings.Fields(names) {
			requiredInputs[name] = k
		}
	}
}

// checkInputs reports a required input that a node of the standard's domain leaves out, so that kernels need not.
func checkInputs(n *onnx.Node) error {
	if n.Domain != "" && n.Domain != "ai.onnx" {
		return nil
	}
	k, ok := requiredInputs[n.Op]
	if !ok {
		k = 1
	}
	for i := range k {
		if n.Input(i) == nil {
			return fmt.Errorf("input %d, which the operator needs, is missing: %w", i, onnx.ErrBadModel)
		}
	}
	return nil
}
