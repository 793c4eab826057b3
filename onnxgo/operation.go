package onnxgo

import (
	"fmt"
	"maps"
	"slices"
	"unsafe"

	onnxgo "github.com/owulveryck/onnx-go"
	"gorgonia.org/tensor"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/carrier"
)

// An operation is one call of an operator, or the call of a whole model.
type operation struct {
	name     string
	attrs    []*onnx.Attribute
	operands []*value    // nil: left out
	outputs  []*value    // nil: left out
	model    *onnx.Model // of a carrier
}

// sourceless are the operators without inputs. The decoder invents one for them.
var sourceless = []string{"Constant", "RandomNormal", "RandomUniform", "SequenceEmpty"}

func newOperation(o onnxgo.Operation, operands, outputs []*value) (*operation, error) {
	op := &operation{name: o.Name, operands: operands, outputs: outputs}
	if model, ok := o.Attributes[carrier.Attribute].(string); ok && o.Name == carrier.Operator {
		return op, op.unpack(model)
	}
	if slices.Contains(sourceless, o.Name) {
		op.operands = nil
	}
	for _, name := range slices.Sorted(maps.Keys(o.Attributes)) {
		a, err := attribute(name, o.Attributes[name])
		if err != nil {
			return nil, &onnxgo.ErrNotImplemented{Operator: o.Name, AttributeName: name, Message: err.Error()}
		}
		op.attrs = append(op.attrs, a)
	}
	if !slices.ContainsFunc(opsets, op.fits) {
		return nil, &onnxgo.ErrNotImplemented{Operator: o.Name, Message: "the engine has no such operator"}
	}
	return op, nil
}

// unpack reads the model of a carrier.
func (op *operation) unpack(model string) error {
	var err error
	op.model, err = carrier.Parse(unsafe.Slice(unsafe.StringData(model), len(model))) // only read, as models in memory are
	if err != nil {
		return err
	}
	if len(op.operands) == 1 && len(op.model.Graph.Feeds()) == 0 {
		op.operands = nil // invented
	}
	return carrier.CheckArity(op.model, len(op.operands), len(op.outputs))
}

// attribute makes ours of what the decoder made of an attribute.
func attribute(name string, v any) (*onnx.Attribute, error) {
	switch v := v.(type) {
	case float32:
		return onnx.AttrF(name, v), nil
	case int64:
		return onnx.AttrI(name, v), nil
	case string:
		return onnx.AttrS(name, v), nil
	case []float32:
		return onnx.AttrFs(name, v...), nil
	case []int64:
		return onnx.AttrIs(name, v...), nil
	case []string:
		a := &onnx.Attribute{Name: name, Kind: onnx.AttrStrings}
		for _, s := range v {
			a.Strings = append(a.Strings, []byte(s))
		}
		return a, nil
	case tensor.Tensor:
		t, err := toTensor(v, onnx.Undefined)
		if err != nil {
			return nil, err
		}
		return onnx.AttrT(name, t), nil
	}
	return nil, fmt.Errorf("the file does not say of which type it is, or onnx-go passes it as %T", v)
}

// assumed is the version of the standard operator set that a model is taken to be of. The decoder drops what the file says.
const assumed = 10

// opsets are the versions in the order in which they are tried. A model that needs another one than the assumed tells it: by an
// operator that the assumed one has no more, or not yet, or by an operand that was an attribute.
var opsets = func() (list []int64) {
	for v := int64(assumed); v >= 7; v-- {
		list = append(list, v)
	}
	for v := int64(assumed + 1); v <= onnx.MaxOpset; v++ {
		list = append(list, v)
	}
	return list
}()

// grown lists the operators that take more operands since a version than before.
var grown = map[string]struct {
	operands int // the most until then
	since    int64
}{
	"Clip": {1, 11}, "Pad": {1, 11}, "Resize": {2, 11},
	"Dropout": {1, 12},
	"Squeeze": {1, 13}, "Unsqueeze": {1, 13}, "Split": {1, 13}, "ReduceSum": {1, 13},
	"ReduceL1": {1, 18}, "ReduceL2": {1, 18}, "ReduceLogSum": {1, 18}, "ReduceLogSumExp": {1, 18}, "ReduceMax": {1, 18},
	"ReduceMean": {1, 18}, "ReduceMin": {1, 18}, "ReduceProd": {1, 18}, "ReduceSumSquare": {1, 18},
}

// fits reports whether the engine has the operator at that version of the standard's operator set, with so many operands.
func (op *operation) fits(version int64) bool {
	if g, ok := grown[op.name]; ok && len(op.operands) > g.operands && version < g.since {
		return false
	}
	return op.model != nil || engine.Supports(&onnx.Node{Op: op.name}, version)
}

// opset returns the first version that all operations fit.
func opset(ops []*operation) (int64, error) {
	for _, v := range opsets {
		if !slices.ContainsFunc(ops, func(op *operation) bool { return !op.fits(v) }) {
			return v, nil
		}
	}
	at := slices.IndexFunc(ops, func(op *operation) bool { return !op.fits(assumed) })
	return 0, &onnxgo.ErrNotImplemented{
		Operator: ops[at].name,
		Message:  fmt.Sprintf("it is not of opset %d, and no other opset has all operators of the model; Wrap the model, which keeps its opset", assumed),
	}
}
