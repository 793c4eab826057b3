package onnx

// extra holds what a protobuf message carried beyond the fields this package models, to be written back.
type extra struct{}

// tensorSource says how a file stored a tensor, so that it can be written back alike.
type tensorSource struct{}

// source is the file a model was read from.
type source struct{}
