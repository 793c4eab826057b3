package engine

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/zqonnx/zqonnx/kernels/minifloat"
	"github.com/zqonnx/zqonnx/onnx"
)

var castOps = []op{
	{"", "Cast", 6, 0, makeCast},
	{"", "CastLike", 15, 0, makeCast},
}

// smallFormats are the floats that have no Go type.
var smallFormats = map[onnx.DataType]*minifloat.Format{
	onnx.Float16: &minifloat.Float16, onnx.BFloat16: &minifloat.BFloat16, onnx.Float8E4M3FN: &minifloat.Float8E4M3FN,
	onnx.Float8E4M3FNUZ: &minifloat.Float8E4M3FNUZ, onnx.Float8E5M2: &minifloat.Float8E5M2,
	onnx.Float8E5M2FNUZ: &minifloat.Float8E5M2FNUZ, onnx.Float4E2M1: &minifloat.Float4E2M1,
}

func isFloating(t onnx.DataType) bool {
	return t == onnx.Float32 || t == onnx.Float64 || smallFormats[t] != nil || t == onnx.Float8E8M0
}

func castable(t onnx.DataType) bool {
	switch t {
	case onnx.Bool, onnx.String, onnx.Uint8, onnx.Int8, onnx.Uint16, onnx.Int16, onnx.Uint32, onnx.Int32, onnx.Uint64, onnx.Int64,
		onnx.Uint4, onnx.Int4, onnx.Uint2, onnx.Int2:
		return true
	}
	return isFloating(t)
}

func makeCast(_ *builder, n *onnx.Node) (kernel, error) {
	saturate := n.Int("saturate", 1) != 0
	like := n.Op == "CastLike"
	to := onnx.DataType(n.Int("to", 0))
	up := n.Str("round_mode", "up")
	if !like && !castable(to) {
		return nil, fmt.Errorf("casting to %s is %w", to, ErrUnsupported)
	}
	var x, y *onnx.Tensor
	body := func(lo, hi int) { castInto(y, x, lo, hi, saturate) }
	return func(r *run) error {
		x = r.in(0)
		dt := to
		if like {
			dt = r.in(1).Type
		}
		if !castable(x.Type) || !castable(dt) {
			return fmt.Errorf("casting %s to %s is %w", x.Type, dt, ErrUnsupported)
		}
		y = r.out(0, dt, x.Dims...)
		switch {
		case dt == x.Type && dt != onnx.String:
			copy(y.Bytes(), x.Bytes())
		case dt == onnx.String || x.Type == onnx.String:
			return castStrings(y, x)
		case dt == onnx.Float8E8M0:
			castExponents(y, x, up, saturate)
		default:
			if dt.Bits() < 8 {
				clear(y.Bytes())
				body(0, x.Len()) // packed neighbours share bytes
			} else {
				r.par(x.Len(), 4<<10, body)
			}
		}
		x, y = nil, nil
		return nil
	}, nil
}

// castTo returns t as a tensor of dt: t itself, or one in new memory.
func castTo(t *onnx.Tensor, dt onnx.DataType) *onnx.Tensor {
	if t.Type == dt {
		return t
	}
	y := onnx.Zeros(dt, t.Dims...)
	castInto(y, t, 0, t.Len(), true)
	return y
}

// castInto converts elements lo … hi-1. Floats become integers by truncation, as processors do it: what does not fit becomes
// the least number of 32 or 64 bits, of which the low bits stay. Integers keep their low bits.
func castInto(y, x *onnx.Tensor, lo, hi int, saturate bool) {
	const chunk = 256
	var floats [chunk]float64
	var ints [chunk]int64
	for ; lo < hi; lo += chunk {
		n := min(chunk, hi-lo)
		switch {
		case isFloating(x.Type):
			loadFloats(floats[:n], x, lo)
			if isFloating(y.Type) {
				storeFloats(y, lo, floats[:n], saturate)
				continue
			}
			for i, v := range floats[:n] {
				ints[i] = truncate(v, y.Type)
			}
			storeInts(y, lo, ints[:n])
		default:
			loadInts(ints[:n], x, lo)
			switch {
			case y.Type == onnx.Float32 && x.Type == onnx.Uint64:
				for i, v := range ints[:n] {
					onnx.Data[float32](y)[lo+i] = float32(uint64(v))
				}
			case y.Type == onnx.Float32:
				d := onnx.Data[float32](y)[lo:]
				for i, v := range ints[:n] {
					d[i] = float32(v)
				}
			case isFloating(y.Type):
				for i, v := range ints[:n] {
					floats[i] = float64(v)
					if x.Type == onnx.Uint64 {
						floats[i] = float64(uint64(v))
					}
				}
				storeFloats(y, lo, floats[:n], saturate)
			default:
				storeInts(y, lo, ints[:n])
			}
		}
	}
}

// truncate converts v to an integer whose low bits are the element of type dt.
func truncate(v float64, dt onnx.DataType) int64 {
	switch dt {
	case onnx.Bool:
		if v != 0 {
			return 1
		}
		return 0
	case onnx.Uint64:
		if v >= 1<<63 && v < 1<<64 {
			return int64(uint64(v))
		}
	case onnx.Int64, onnx.Uint32:
	default:
		if v = math.Trunc(v); v >= -1<<31 && v < 1<<31 {
			return int64(v)
		}
		return math.MinInt32
	}
	if v >= -1<<63 && v < 1<<63 {
		return int64(v)
	}
	return math.MinInt64
}

func loadFloats(dst []float64, t *onnx.Tensor, at int) {
	switch t.Type {
	case onnx.Float32:
		for i, v := range onnx.Data[float32](t)[at:][:len(dst)] {
			dst[i] = float64(v)
		}
	case onnx.Float64:
		copy(dst, onnx.Data[float64](t)[at:])
	case onnx.BFloat16:
		for i, v := range onnx.Data[uint16](t)[at:][:len(dst)] {
			dst[i] = float64(math.Float32frombits(uint32(v) << 16))
		}
	case onnx.Float8E8M0:
		for i, v := range t.Bytes()[at:][:len(dst)] {
			dst[i] = minifloat.DecodeE8M0(v)
		}
	default:
		f, b := smallFormats[t.Type], t.Bytes()
		for i := range dst {
			if t.Type == onnx.Float16 {
				dst[i] = f.Decode(uint16(b[2*(at+i)]) | uint16(b[2*(at+i)+1])<<8)
			} else {
				dst[i] = f.Decode(uint16(codeAt(t.Type, b, at+i)))
			}
		}
	}
}

func storeFloats(t *onnx.Tensor, at int, src []float64, saturate bool) {
	switch t.Type {
	case onnx.Float32:
		d := onnx.Data[float32](t)[at:][:len(src)]
		for i, v := range src {
			d[i] = float32(v)
		}
	case onnx.Float64:
		copy(onnx.Data[float64](t)[at:], src)
	default:
		f, b := smallFormats[t.Type], t.Bytes()
		half := t.Type == onnx.Float16 || t.Type == onnx.BFloat16 // whose infinities are meant
		for i, v := range src {
			setCode(t.Type, b, at+i, int32(f.Encode(v, saturate && !half)))
		}
	}
}

func loadInts(dst []int64, t *onnx.Tensor, at int) {
	switch t.Type {
	case onnx.Int64, onnx.Uint64:
		b := t.Bytes()[8*at:]
		for i := range dst {
			dst[i] = int64(uint64(b[8*i]) | uint64(b[8*i+1])<<8 | uint64(b[8*i+2])<<16 | uint64(b[8*i+3])<<24 |
				uint64(b[8*i+4])<<32 | uint64(b[8*i+5])<<40 | uint64(b[8*i+6])<<48 | uint64(b[8*i+7])<<56)
		}
	case onnx.Uint32:
		for i, v := range onnx.Data[uint32](t)[at:][:len(dst)] {
			dst[i] = int64(v)
		}
	case onnx.Bool:
		for i, v := range onnx.Data[bool](t)[at:][:len(dst)] {
			dst[i] = 0
			if v {
				dst[i] = 1
			}
		}
	default:
		b := t.Bytes()
		for i := range dst {
			dst[i] = int64(codeAt(t.Type, b, at+i))
		}
	}
}

func storeInts(t *onnx.Tensor, at int, src []int64) {
	switch t.Type {
	case onnx.Int64:
		copy(onnx.Data[int64](t)[at:], src)
	case onnx.Uint64:
		d := onnx.Data[uint64](t)[at:][:len(src)]
		for i, v := range src {
			d[i] = uint64(v)
		}
	case onnx.Int32:
		d := onnx.Data[int32](t)[at:][:len(src)]
		for i, v := range src {
			d[i] = int32(v)
		}
	case onnx.Uint32:
		d := onnx.Data[uint32](t)[at:][:len(src)]
		for i, v := range src {
			d[i] = uint32(v)
		}
	case onnx.Bool:
		d := onnx.Data[bool](t)[at:][:len(src)]
		for i, v := range src {
			d[i] = v != 0
		}
	default:
		b := t.Bytes()
		for i, v := range src {
			setCode(t.Type, b, at+i, int32(v))
		}
	}
}

// castExponents rounds to powers of two: up, down, or to the nearest.
func castExponents(y, x *onnx.Tensor, mode string, saturate bool) {
	var v [1]float64
	var k [1]int64
	b := y.Bytes()
	for i := range b {
		if isFloating(x.Type) {
			loadFloats(v[:], x, i)
		} else {
			loadInts(k[:], x, i)
			v[0] = float64(k[0])
		}
		m, e := math.Frexp(v[0]) // m in [0.5, 1)
		code := e - 1 + 127
		if mode == "up" && m > 0.5 || mode == "nearest" && m >= 0.75 {
			code++
		}
		switch {
		case v[0] != v[0], v[0] < 0:
			code = 255
		case math.IsInf(v[0], 0) || code > 254:
			code = 254
			if !saturate {
				code = 255
			}
		case code < 0 || v[0] == 0:
			code = 0
		}
		b[i] = uint8(code)
	}
}

// castStrings reads and writes numbers as text.
func castStrings(y, x *onnx.Tensor) error {
	if x.Type == onnx.String && y.Type == onnx.String {
		copy(y.Strings(), x.Strings())
		return nil
	}
	var f [1]float64
	var k [1]int64
	if y.Type == onnx.String {
		for i := range y.Strings() {
			switch {
			case isFloating(x.Type):
				loadFloats(f[:], x, i)
				y.Strings()[i] = formatFloat(f[0], x.Type)
			case x.Type == onnx.Uint64:
				loadInts(k[:], x, i)
				y.Strings()[i] = strconv.AppendUint(nil, uint64(k[0]), 10)
			case x.Type == onnx.Bool:
				y.Strings()[i] = []byte("False")
				if onnx.Data[bool](x)[i] {
					y.Strings()[i] = []byte("True")
				}
			default:
				loadInts(k[:], x, i)
				y.Strings()[i] = strconv.AppendInt(nil, k[0], 10)
			}
		}
		return nil
	}
	clear(y.Bytes())
	for i, s := range x.Strings() {
		text := strings.TrimSpace(string(s))
		if !isFloating(y.Type) {
			if v, err := strconv.ParseInt(text, 10, 64); err == nil {
				k[0] = v
				storeInts(y, i, k[:])
				continue
			}
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil && !math.IsInf(v, 0) {
			return fmt.Errorf("%q is no number", text)
		}
		f[0] = v
		if isFloating(y.Type) {
			storeFloats(y, i, f[:], true)
		} else {
			k[0] = truncate(v, y.Type)
			storeInts(y, i, k[:])
		}
	}
	return nil
}

// formatFloat writes the shortest decimal that reads back as the same number, as NumPy does.
func formatFloat(v float64, dt onnx.DataType) []byte {
	switch {
	case v != v:
		return []byte("nan")
	case math.IsInf(v, 1):
		return []byte("inf")
	case math.IsInf(v, -1):
		return []byte("-inf")
	}
	bits := 32
	if dt == onnx.Float64 {
		bits = 64
	}
	if a := math.Abs(v); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.AppendFloat(nil, v, 'e', -1, bits)
	}
	s := strconv.AppendFloat(nil, v, 'f', -1, bits)
	if !strings.Contains(string(s), ".") {
		s = append(s, ".0"...)
	}
	return s
}
