package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
)

// op is a row of the operator table: who makes the kernel of an operator in a range of opsets.
type op struct {
	domain, name string
	since, until int64 // opset versions, inclusive; until 0: open
	make         maker
}

const msDomain = "com.microsoft"

// ops is the operator table. It is filled in init because makers of control flow refer to it.
var ops map[[2]string][]op

func init() {
	ops = map[[2]string][]op{}
	for _, rows := range [][]op{
		controlOps, unaryOps, binaryOps, castOps, moveOps, shapeOps, selectOps, gatherOps, gatherBlocksOps, padOps,
		reduceOps, sortOps, rnnOps, loopOps, sequenceOps, einsumOps, detectOps, textOps,
		matmulOps, matmulBlocksOps, convOps, poolOps, normOps, resizeOps, quantOps, quantMatMulOps, quantConvOps, quantElementOps, layoutOps, fusedOps,
	} {
		for _, o := range rows {
			k := [2]string{o.domain, o.name}
			ops[k] = append(ops[k], o)
		}
	}
}

// aliases names the operators whose output 0 has the bytes of input 0.
var aliases = map[string]bool{"Reshape": true, "Squeeze": true, "Unsqueeze": true, "Flatten": true, "Identity": true, "Dropout": true}

func lookup(n *onnx.Node, version int64) (*op, error) {
	domain := n.Domain
	if domain == "ai.onnx" {
		domain = ""
	}
	rows := ops[[2]string{domain, n.Op}]
	for i := range rows {
		if o := &rows[i]; version >= o.since && (o.until == 0 || version <= o.until) {
			return o, nil
		}
	}
	if len(rows) > 0 {
		return nil, fmt.Errorf("the operator at opset %d is %w", version, ErrUnsupported)
	}
	return nil, fmt.Errorf("the operator is %w", ErrUnsupported)
}

// kernel makes the kernel of a node.
func (o *op) kernel(b *builder, n *onnx.Node) (k kernel, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = recovered(p)
		}
	}()
	return o.make(b, n)
}

// Supports reports whether the engine has a kernel for the node's operator at that opset version.
func Supports(n *onnx.Node, version int64) bool {
	_, err := lookup(n, version)
	return err == nil
}
