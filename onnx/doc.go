// Package onnx is the ONNX document: read, edit, check, infer shapes, convert opsets, write.
//
// Model, Graph, Node, Value, Tensor, Attribute and Type stand for the ONNX ideas of the same names. A Value knows its
// producer and its uses, across subgraph borders; edits go through methods that keep both sides in step. What the
// package does not model (training info, device configurations, unknown fields, ...) is kept and written back.
// The package knows no arithmetic.
//
// Read maps a file: tensors are views of it, decoded on first use, and read-only. Where other programs may cut the file
// meanwhile, work on tensors runs under Guard. Write and WriteFile stream them back, whole or not at all.
package onnx
