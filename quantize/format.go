package quantize

import (
	"fmt"
	"slices"
)

// A Format is a way to write weights down in codes.
type Format struct {
	Name, Doc string
	Grid      Grid
	Bits      int // that a code takes in a file: 8 or less
	// Start gives rows on Grid, in blocks, scales, zero points, levels and nearest codes; energy weights the squared errors of columns
	// (K of them; nil: all alike). nil: whole channels, each with the finest scale that holds it (QuantizeWeights, Refine).
	Start func(r *Rows, energy []float64)
	// Levels is set where Start chooses the codes that are in use, for all channels together.
	Levels bool
}

// Formats are the known ones; the first is the usual one.
var Formats = []Format{
	{Name: "int8", Doc: "whole numbers −127…127", Grid: Int8Weights, Bits: 8},
	{Name: "uint8", Doc: "256 steps around a zero point", Grid: Int8, Bits: 8, Start: clip},
	{Name: "int6", Doc: "whole numbers −32…31", Grid: Int6, Bits: 6, Start: clip},
	{Name: "int4", Doc: "whole numbers −8…7", Grid: Int4, Bits: 4, Start: clip},
	{Name: "uint4", Doc: "16 steps around a zero point", Grid: Uint4, Bits: 4, Start: clip},
	{Name: "kmeans4", Doc: "16 of the codes of int8, those that fit the layer best", Grid: Int8Weights, Bits: 4, Start: levels(16), Levels: true},
	{Name: "int3", Doc: "whole numbers −4…3", Grid: Int3, Bits: 3, Start: clip},
	{Name: "uint3", Doc: "8 steps around a zero point", Grid: Uint3, Bits: 3, Start: clip},
	{Name: "kmeans3", Doc: "8 of the codes of int8", Grid: Int8Weights, Bits: 3, Start: levels(8), Levels: true},
	{Name: "int2", Doc: "whole numbers −2…1", Grid: Int2, Bits: 2, Start: clip},
	{Name: "uint2", Doc: "4 steps around a zero point", Grid: Uint2, Bits: 2, Start: clip},
	{Name: "kmeans2", Doc: "4 of the codes of int8", Grid: Int8Weights, Bits: 2, Start: levels(4), Levels: true},
	{Name: "ternary", Doc: "−1, 0 and 1 (XTC)", Grid: Int2, Bits: 2, Start: func(r *Rows, _ []float64) { r.Ternary() }, Levels: true},
	{Name: "binary", Doc: "−1 and 1 (XTC)", Grid: Int2, Bits: 1, Start: func(r *Rows, _ []float64) { r.Binary() }, Levels: true},
}

// clip searches ranges. Scales stay positive: integer kernels multiply them with those of activations.
func clip(r *Rows, energy []float64) { r.Clip(energy, false) }

func levels(count int) func(*Rows, []float64) {
	return func(r *Rows, energy []float64) {
		r.hold() // what FitLevels starts from
		r.FitLevels(count, energy)
	}
}

// FormatNamed returns the row of that name.
func FormatNamed(name string) (Format, bool) {
	i := slices.IndexFunc(Formats, func(f Format) bool { return f.Name == name })
	if i < 0 {
		return Format{}, false
	}
	return Formats[i], true
}

// Symmetric returns the format of as many bits without zero points, as integer kernels want weights.
func (f Format) Symmetric() Format {
	if f.Grid.Symmetric {
		return f
	}
	s, _ := FormatNamed(f.Name[1:]) // uint4: int4
	return s
}

// Simple reports whether codes in such blocks are whole channels' on an even grid around 0, as roundings that see nothing but
// weights want them.
func (f Format) Simple(block int) bool { return block == 0 && f.Grid.Symmetric && !f.Levels }

// Blank returns weights that have no codes and scales yet, in blocks of so many consecutive weights of a channel; 0: all of them.
func (f Format) Blank(dims []int64, axis, block int) (*Weights, error) {
	n, ok := volume(dims)
	if !ok {
		return nil, fmt.Errorf("shape %v holds no weights", dims)
	}
	if err := checkAxis(dims, axis); err != nil {
		return nil, err
	}
	l := layoutOf(dims, axis)
	k, blocks := l.outer*l.inner, 1
	if block < 0 || block >= k {
		block = 0
	}
	if block > 0 {
		blocks = (k + block - 1) / block
	}
	q := &Weights{Grid: f.Grid, Dims: slices.Clone(dims), Axis: axis, Block: block, Codes: make([]int8, n), start: f.Start}
	if f.Levels {
		q.Levels = []int8{} // some of the grid, that Start must choose
	}
	q.Scales = make([]float32, l.channels*blocks)
	if !f.Grid.Symmetric {
		q.Zeros = make([]int8, len(q.Scales))
	}
	return q, nil
}

// Quantize rounds the row-major tensor w in format f, in blocks of so many consecutive weights of a channel; 0: all of them.
// See QuantizeWeights for axes and errors.
func (f Format) Quantize(w []float32, dims []int64, axis, block int) (*Weights, error) {
	if f.Start == nil && block == 0 {
		q, err := QuantizeWeights(w, dims, axis, f.Grid)
		if err == nil {
			q.Refine(w)
		}
		return q, err
	}
	if err := checkWeights(w, dims, axis); err != nil {
		return nil, err
	}
	if f.Start == nil {
		f.Start = clip
	}
	q, err := f.Blank(dims, axis, block)
	if err == nil {
		q.restart(w, nil)
	}
	return q, err
}

// restart gives q its format's scales and codes, for what the layer sees: a Solver for each group of channels, or none.
func (q *Weights) restart(w []float32, solvers []*Solver) {
	energies := make([][]float64, max(len(solvers), 1))
	for i, s := range solvers {
		energies[i] = s.Energy()
	}
	if q.Levels != nil && len(energies) > 1 { // all channels have the same
		energies = make([][]float64, 1)
	}
	each := layoutOf(q.Dims, q.Axis).channels / len(energies)
	for i, energy := range energies {
		r := q.Rows(w, i*each, (i+1)*each)
		r.Levels = nil
		q.start(r, energy)
		q.SetRows(r, i*each)
	}
}

// Simple reports whether the codes are whole channels' on an even grid around 0.
func (q *Weights) Simple() bool { return q.Block == 0 && q.Zeros == nil && q.Levels == nil }

func checkAxis(dims []int64, axis int) error {
	if axis != PerTensor && (axis < 0 || axis >= len(dims)) {
		return fmt.Errorf("channel axis %d is outside the shape %v of the weights", axis, dims)
	}
	return nil
}

// checkWeights reports what cannot be quantized.
func checkWeights(w []float32, dims []int64, axis int) error {
	if err := checkAxis(dims, axis); err != nil {
		return err
	}
	if n, ok := volume(dims); !ok || n != len(w) {
		return fmt.Errorf("shape %v does not describe %d weights (or is empty)", dims, len(w))
	}
	if i := slices.IndexFunc(w, func(v float32) bool { return v-v != 0 }); i >= 0 {
		return fmt.Errorf("weight %v of shape %v is %v: only finite weights can be quantized", index(i, dims), dims, w[i])
	}
	return nil
}
