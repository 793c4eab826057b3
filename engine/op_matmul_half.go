package engine

import (
	"math"
	"slices"
	"unsafe"

	"github.com/x448/float16"

	"github.com/zqonnx/zqonnx/onnx"
)

// half makes a float32 kernel run float16 and bfloat16 too: inputs are widened, output 0 is rounded once at the end.
func half(m maker) maker { return halfOutputs(1, m) }

// halfOutputs is half for a kernel whose first outputs have the type of its inputs.
func halfOutputs(count int, m maker) maker {
	return func(b *builder, n *onnx.Node) (kernel, error) {
		k, err := m(b, n)
		if err != nil {
			return nil, err
		}
		w := &widening{constants: make([]*onnx.Tensor, len(n.Inputs())), out: make([]onnx.Tensor, count), made: make([]bool, count)}
		return func(r *run) error {
			dt := halfType(r.inputs)
			if dt == onnx.Undefined {
				return k(r)
			}
			w.begin(r, dt)
			if err := k(r); err != nil {
				return err
			}
			w.end(r)
			return nil
		}, nil
	}
}

func halfType(inputs []*onnx.Tensor) onnx.DataType {
	for _, t := range inputs {
		if t != nil && (t.Type == onnx.Float16 || t.Type == onnx.BFloat16) {
			return t.Type
		}
	}
	return onnx.Undefined
}

// widening is a run of a float32 kernel on half-precision tensors.
type widening struct {
	half      onnx.DataType
	given     []*onnx.Tensor
	headers   []onnx.Tensor
	constants []*onnx.Tensor // widened once, by input
	out       []onnx.Tensor
	made      []bool
}

func (w *widening) begin(r *run, dt onnx.DataType) {
	w.half = dt
	clear(w.made)
	w.given = append(w.given[:0], r.inputs...)
	if len(w.headers) < len(r.inputs) {
		w.headers = make([]onnx.Tensor, len(r.inputs))
	}
	for i, t := range r.inputs {
		if t == nil || t.Type != dt {
			continue
		}
		if s := r.s.in[i]; r.f.p.consts[s] == t {
			if w.constants[i] == nil {
				w.constants[i] = onnx.Zeros(onnx.Float32, slices.Clone(t.Dims)...)
				widen(onnx.Data[float32](w.constants[i]), t)
			}
			r.inputs[i] = w.constants[i]
			continue
		}
		h := &w.headers[i]
		r.bindFloats(h, t.Dims)
		widen(onnx.Data[float32](h), t)
		r.inputs[i] = h
	}
	r.wide = w
}

// bindFloats makes t a float32 tensor in scratch.
func (r *run) bindFloats(t *onnx.Tensor, dims []int64) {
	n := int(onnx.NumElements(dims))
	words := r.words((n + 1) / 2)
	t.Bind(onnx.Float32, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 4*n), dims...)
}

func (w *widening) output(r *run, i int, dims []int64) *onnx.Tensor {
	r.bindFloats(&w.out[i], dims)
	w.made[i] = true
	return &w.out[i]
}

func (w *widening) end(r *run) {
	r.wide = nil
	for i := range w.out {
		if w.made[i] && r.wants(i) {
			onnx.SetFloats(r.out(i, w.half, w.out[i].Dims...), onnx.Data[float32](&w.out[i]))
		}
	}
}

func widen(dst []float32, t *onnx.Tensor) {
	src := onnx.Data[uint16](t)
	if t.Type == onnx.BFloat16 {
		for i, b := range src {
			dst[i] = math.Float32frombits(uint32(b) << 16)
		}
		return
	}
	for i, b := range src {
		dst[i] = float16.Frombits(b).Float32()
	}
}

// source returns input i as it was given, before any widening.
func (r *run) source(i int) *onnx.Tensor {
	if r.wide != nil && i < len(r.wide.given) {
		return r.wide.given[i]
	}
	return r.in(i)
}
