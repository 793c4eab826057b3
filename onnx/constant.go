package onnx

// Constant returns the tensor that a Constant node makes; nil for another operator, a sparse value, and a value given by a
// function's attribute.
func (n *Node) Constant() *Tensor {
	if !n.Is("Constant") {
		return nil
	}
	for _, a := range n.Attrs {
		if a.Ref != "" {
			return nil
		}
		switch a.Name {
		case "value":
			return a.Tensor
		case "value_float":
			return Scalar(a.Float)
		case "value_int":
			return Scalar(a.Int)
		case "value_string":
			return NewStrings([]int64{}, [][]byte{a.Bytes})
		case "value_floats":
			return Of(a.Floats)
		case "value_ints":
			return Of(a.Ints)
		case "value_strings":
			return NewStrings([]int64{int64(len(a.Strings))}, a.Strings)
		}
	}
	return nil
}
