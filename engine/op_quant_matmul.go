package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
)

var quantMatMulOps = []op{
	{"", "MatMulInteger", 10, 0, makeMatMulInteger},
	{"", "QLinearMatMul", 10, 0, makeQLinearMatMul},
	{msDomain, "MatMulIntegerToFloat", 1, 0, makeMatMulIntegerToFloat},
	{msDomain, "DynamicQuantizeMatMul", 1, 0, makeDynamicQuantizeMatMul},
	{msDomain, "QGemm", 1, 0, makeQGemm},
}

func makeMatMulInteger(b *builder, n *onnx.Node) (kernel, error) {
	p := &productInt8{}
	if err := p.prepack(b, n.Input(1), n.Input(3)); err != nil {
		return nil, err
	}
	return func(r *run) error {
		p.shape.set(r, r.in(0).Dims, r.in(1).Dims)
		if err := p.operandB(r, 1, 3); err != nil {
			return err
		}
		if err := p.operandA(r.in(0), r.in(2)); err != nil {
			return err
		}
		p.c = onnx.Data[int32](r.out(0, onnx.Int32, p.shape.dims...))
		p.run(r)
		return nil
	}, nil
}

// makeQLinearMatMul takes a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point.
func makeQLinearMatMul(b *builder, n *onnx.Node) (kernel, error) {
	p := &productInt8{}
	if err := p.prepack(b, n.Input(3), n.Input(5)); err != nil {
		return nil, err
	}
	return func(r *run) error {
		p.shape.set(r, r.in(0).Dims, r.in(3).Dims)
		if err := p.operandB(r, 3, 5); err != nil {
			return err
		}
		if err := p.operandA(r.in(0), r.in(2)); err != nil {
			return err
		}
		return p.requantized(r, 1, r.in(4), 6, p.shape.dims)
	}, nil
}

// requantized runs the product to codes of the scale and zero point that are inputs y and y+1; the scale of A is input sa.
func (p *productInt8) requantized(r *run, sa int, sb *onnx.Tensor, y int, dims []int64) error {
	a, err := r.oneScale(sa)
	if err != nil {
		return err
	}
	scale, err := r.oneScale(y)
	if err != nil {
		return err
	}
	bs, err := columnScales(sb, p.shape.n)
	if err != nil {
		return err
	}
	dt, zero, err := outputCodes(r.in(y + 1))
	if err != nil {
		return err
	}
	p.tail = tailInt8{
		multiplier: r.multipliers(p.shape.n, a, bs, scale), zero: zero, signed: dt == onnx.Int8,
		codes: r.out(0, dt, dims...).Bytes(),
	}
	p.run(r)
	return nil
}

// outputCodes returns type and value of an output's zero point.
func outputCodes(t *onnx.Tensor) (onnx.DataType, int32, error) {
	if t == nil {
		return onnx.Uint8, 0, nil
	}
	if t.Len() != 1 || t.Type != onnx.Uint8 && t.Type != onnx.Int8 {
		return 0, 0, fmt.Errorf("an output zero point of %s%v is %w", t.Type, t.Dims, ErrUnsupported)
	}
	return t.Type, codeAt(t.Type, t.Bytes(), 0), nil
}

// oneScale returns the value of a scale per tensor, input i.
func (r *run) oneScale(i int) (float32, error) {
	t := r.in(i)
	if t == nil || t.Len() != 1 || !isFloat32(t) {
		return 0, fmt.Errorf("input %d must be a scale of one float: %w", i, ErrUnsupported)
	}
	s, err := t.Float32s()
	if err != nil {
		return 0, err
	}
	return s[0], nil
}

// columnScales returns the scales of B, one or n.
func columnScales(t *onnx.Tensor, n int) ([]float32, error) {
	if t == nil || !isFloat32(t) || t.Len() != 1 && t.Len() != n {
		return nil, fmt.Errorf("scale of B: one float or one a column (%d) is needed: %w", n, ErrUnsupported)
	}
	return t.Float32s()
}

// floats runs the product to float32: f32(f32(acc)·f32(a·b[n])), with rowScale f32(f32(f32(acc)·b[n])·rowScale[m]), then the bias is
// added.
func (p *productInt8) floats(r *run, a float32, rowScale []float32, sb, bias *onnx.Tensor, dims []int64) error {
	n := p.shape.n
	bs, err := columnScales(sb, n)
	if err != nil {
		return err
	}
	p.tail = tailInt8{floats: onnx.Data[float32](r.out(0, onnx.Float32, dims...)), rowScale: rowScale}
	if rowScale != nil {
		a = 1
	}
	p.tail.multiplier = r.multipliers(n, a, bs, 0)
	if bias != nil {
		if bias.Type != onnx.Float32 || bias.Len() != n {
			return fmt.Errorf("bias of %s%v; %d floats are needed: %w", bias.Type, bias.Dims, n, onnx.ErrBadModel)
		}
		p.tail.bias = onnx.Data[float32](bias)
	}
	p.run(r)
	return nil
}

// makeMatMulIntegerToFloat takes A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias.
func makeMatMulIntegerToFloat(b *builder, n *onnx.Node) (kernel, error) {
	p := &productInt8{}
	if err := p.prepack(b, n.Input(1), n.Input(5)); err != nil {
		return nil, err
	}
	return func(r *run) error {
		p.shape.set(r, r.in(0).Dims, r.in(1).Dims)
		if err := p.operandB(r, 1, 5); err != nil {
			return err
		}
		if err := p.operandA(r.in(0), r.in(4)); err != nil {
			return err
		}
		if s := r.in(2); s != nil && s.Len() > 1 {
			if s.Type != onnx.Float32 || s.Len() != p.shape.m*len(p.shape.a) {
				return fmt.Errorf("a_scale of %s%v for %d rows is %w", s.Type, s.Dims, p.shape.m, ErrUnsupported)
			}
			return p.floats(r, 0, onnx.Data[float32](s), r.in(3), r.in(6), p.shape.dims)
		}
		a, err := r.oneScale(2)
		if err != nil {
			return err
		}
		return p.floats(r, a, nil, r.in(3), r.in(6), p.shape.dims)
	}, nil
}

// makeDynamicQuantizeMatMul takes A, B, b_scale, b_zero_point, bias.
func makeDynamicQuantizeMatMul(b *builder, n *onnx.Node) (kernel, error) {
	p := &productInt8{}
	if err := p.prepack(b, n.Input(1), n.Input(3)); err != nil {
		return nil, err
	}
	var d dynamicQuantizer
	return func(r *run) error {
		x := r.in(0)
		if x.Type != onnx.Float32 {
			return fmt.Errorf("A of %s is %w", x.Type, ErrUnsupported)
		}
		p.shape.set(r, x.Dims, r.in(1).Dims)
		if err := p.operandB(r, 1, 3); err != nil {
			return err
		}
		p.a, p.signed, p.perBatch = scratch[uint8](r, x.Len()), false, 0
		scale, zero := d.run(r, p.a, onnx.Data[float32](x))
		p.zeroA = append(p.zeroA[:0], int32(zero))
		return p.floats(r, scale, nil, r.in(2), r.in(4), p.shape.dims)
	}, nil
}

// makeQGemm takes A, a_scale, a_zero_point, B, b_scale, b_zero_point, C, y_scale, y_zero_point. Without y_scale the result is
// float32. C is int32 with scale a_scale·b_scale.
func makeQGemm(b *builder, n *onnx.Node) (kernel, error) {
	if n.Float("alpha", 1) != 1 {
		return nil, fmt.Errorf("alpha %v is %w", n.Float("alpha", 1), ErrUnsupported)
	}
	transA := n.Int("transA", 0) != 0
	p := &productInt8{transposed: n.Int("transB", 0) != 0}
	if err := p.prepack(b, n.Input(3), n.Input(5)); err != nil {
		return nil, err
	}
	g := &generalProduct{transA: transA, transB: p.transposed}
	return func(r *run) error {
		s := &p.shape
		// Beyond the operator's own definition, A may have batches in front: lowering makes such from MatMul and Add.
		batched := !transA && !p.transposed && r.in(0).Rank() > 2
		if batched {
			s.set(r, r.in(0).Dims, r.in(3).Dims)
		} else if err := g.shapes(r.in(0), r.in(3), s); err != nil {
			return err
		}
		if err := p.operandB(r, 3, 5); err != nil {
			return err
		}
		if err := p.operandA(r.in(0), r.in(2)); err != nil {
			return err
		}
		if transA {
			a := scratch[uint8](r, s.m*s.k)
			transpose(a, p.a, s.k, s.m)
			p.a = a
		}
		if c := r.in(6); c != nil {
			if c.Type != onnx.Int32 || c.Len() != s.n && c.Len() != 1 {
				return fmt.Errorf("C of %s%v is %w", c.Type, c.Dims, ErrUnsupported)
			}
			p.bias = onnx.Data[int32](c)
			if len(p.bias) != s.n {
				one := p.bias[0]
				p.bias = scratch[int32](r, s.n)
				for j := range p.bias {
					p.bias[j] = one
				}
			}
		}
		dims := s.dims
		if !batched {
			dims = r.shape(2)
			dims[0], dims[1] = int64(s.m), int64(s.n)
		}
		if r.in(7) != nil {
			return p.requantized(r, 1, r.in(4), 7, dims)
		}
		a, err := r.oneScale(1)
		if err != nil {
			return err
		}
		return p.floats(r, a, nil, r.in(4), nil, dims)
	}, nil
}
