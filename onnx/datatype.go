package onnx

import "fmt"

// A DataType is the element type of a tensor. The numbers are those of TensorProto.DataType.
type DataType int32

// The element types of ONNX up to IR 14.
const (
	Undefined      DataType = 0
	Float32        DataType = 1
	Uint8          DataType = 2
	Int8           DataType = 3
	Uint16         DataType = 4
	Int16          DataType = 5
	Int32          DataType = 6
	Int64          DataType = 7
	String         DataType = 8
	Bool           DataType = 9
	Float16        DataType = 10
	Float64        DataType = 11
	Uint32         DataType = 12
	Uint64         DataType = 13
	Complex64      DataType = 14
	Complex128     DataType = 15
	BFloat16       DataType = 16
	Float8E4M3FN   DataType = 17
	Float8E4M3FNUZ DataType = 18
	Float8E5M2     DataType = 19
	Float8E5M2FNUZ DataType = 20
	Uint4          DataType = 21
	Int4           DataType = 22
	Float4E2M1     DataType = 23
	Float8E8M0     DataType = 24
	Uint2          DataType = 25
	Int2           DataType = 26
	Float6E2M3     DataType = 27
	Float6E3M2     DataType = 28
)

// dataTypes has one row for each DataType: its name in the text form and the bits of one element (0: no fixed size).
var dataTypes = [...]struct {
	name string
	bits int
}{
	Undefined: {"undefined", 0}, Float32: {"f32", 32}, Uint8: {"u8", 8}, Int8: {"i8", 8}, Uint16: {"u16", 16}, Int16: {"i16", 16},
	Int32: {"i32", 32}, Int64: {"i64", 64}, String: {"string", 0}, Bool: {"bool", 8}, Float16: {"f16", 16}, Float64: {"f64", 64},
	Uint32: {"u32", 32}, Uint64: {"u64", 64}, Complex64: {"c64", 64}, Complex128: {"c128", 128}, BFloat16: {"bf16", 16},
	Float8E4M3FN: {"f8e4m3fn", 8}, Float8E4M3FNUZ: {"f8e4m3fnuz", 8}, Float8E5M2: {"f8e5m2", 8}, Float8E5M2FNUZ: {"f8e5m2fnuz", 8},
	Uint4: {"u4", 4}, Int4: {"i4", 4}, Float4E2M1: {"f4e2m1", 4}, Float8E8M0: {"f8e8m0", 8}, Uint2: {"u2", 2}, Int2: {"i2", 2},
	Float6E2M3: {"f6e2m3", 6}, Float6E3M2: {"f6e3m2", 6},
}

// Valid reports whether t is an element type this package knows.
func (t DataType) Valid() bool { return t > Undefined && int(t) < len(dataTypes) }

// Bits returns the bits of one element; 0 for strings and unknown types.
func (t DataType) Bits() int {
	if t < 0 || int(t) >= len(dataTypes) {
		return 0
	}
	return dataTypes[t].bits
}

// IsFloat reports whether t is a floating-point type of 16 bits or more.
func (t DataType) IsFloat() bool {
	return t == Float32 || t == Float16 || t == Float64 || t == BFloat16
}

// String returns the short name of the text form, such as "f32" or "u8".
func (t DataType) String() string {
	if t < 0 || int(t) >= len(dataTypes) {
		return fmt.Sprintf("type%d", int32(t))
	}
	return dataTypes[t].name
}

// ByteSize returns the bytes of n elements in ONNX's raw layout: elements below 8 bits are packed, low bits first.
func (t DataType) ByteSize(n int64) int64 { return (n*int64(t.Bits()) + 7) / 8 }
