// Package onnxpb is the wire format of ONNX, generated from zqonnx/onnx.proto.
package onnxpb

//go:generate go run -C ../../tools ./protogen
