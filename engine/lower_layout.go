package engine

import "github.com/zqonnx/zqonnx/onnx"

// channelsLast reports whether the program holds v with its channels last.
func (b *builder) channelsLast(v *onnx.Value) bool { return false }
