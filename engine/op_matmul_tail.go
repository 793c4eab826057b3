package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/kernels/conv"
	"github.com/zqonnx/zqonnx/kernels/elem"
	"github.com/zqonnx/zqonnx/onnx"
)

// tailF32 is what happens to a tile of a float product while it is in the cache.
type tailF32 struct {
	scaled      bool // alpha·acc + beta·c[i*rowC + j*columnC]
	alpha, beta float32
	c           []float32
	rowC        int
	columnC     int

	act activation

	planes []float32 // the tile goes here transposed: column j is a plane
	plane  int       // elements of a plane
}

// Tile implements gemm.EpilogueF32.
func (t *tailF32) Tile(m0, n0, rows, columns int, c []float32, ldc int) {
	for i := range rows {
		row := c[i*ldc:][:columns]
		if t.scaled {
			t.scale(row, m0+i, n0)
		}
		t.act.apply(row)
	}
	if t.planes == nil {
		return
	}
	for j := range columns {
		to := t.planes[(n0+j)*t.plane+m0:][:rows]
		for i := range to {
			to[i] = c[i*ldc+j]
		}
	}
}

func (t *tailF32) scale(row []float32, m, n0 int) {
	elem.Mul(row, row, []float32{t.alpha}, 1, 0)
	if t.c == nil {
		return
	}
	for j, v := range row {
		row[j] = v + float32(t.beta*t.c[m*t.rowC+(n0+j)*t.columnC])
	}
}

// activation is the function that an operator of com.microsoft applies to its result.
type activation struct {
	kind        string // "": none
	alpha, beta float32
}

// readActivation reads the attributes activation and activation_params of Fused* operators.
func readActivation(n *onnx.Node) (activation, error) {
	a := activation{kind: n.Str("activation", "")}
	p := n.Floats("activation_params")
	if v := n.Attr("activation_alpha"); v != nil {
		p = append(p, v.Float)
	}
	if v := n.Attr("activation_beta"); v != nil {
		p = append(p, v.Float)
	}
	want, ok := map[string]int{"": 0, "Relu": 0, "Clip": 2, "LeakyRelu": 1}[a.kind]
	if !ok {
		return a, fmt.Errorf("activation %q is %w", a.kind, ErrUnsupported)
	}
	if len(p) < want {
		return a, fmt.Errorf("activation %q needs %d parameters, not %d: %w", a.kind, want, len(p), onnx.ErrBadModel)
	}
	if want > 0 {
		a.alpha = p[0]
	}
	if want > 1 {
		a.beta = p[1]
	}
	return a, nil
}

func (a *activation) apply(x []float32) {
	switch a.kind {
	case "Relu":
		conv.Relu(x)
	case "Clip":
		conv.Clip(x, a.alpha, a.beta)
	case "LeakyRelu":
		for i, v := range x {
			if v < 0 {
				x[i] = float32(v * a.alpha)
			}
		}
	}
}
