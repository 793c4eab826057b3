package verify

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// A Comparison sums up how far the outputs of a quantized model are from those of its float model.
type Comparison struct {
	each   []*output
	pooled *metric.Comparison // of the float outputs; nil until there is one
}

// An output is a graph output and what was measured of it so far.
type output struct {
	name        string
	diff        metric.Comparison
	notMeasured string
}

// NewComparison compares the outputs of those names.
func NewComparison(outputs []string) *Comparison {
	c := new(Comparison)
	for _, name := range outputs {
		c.each = append(c.each, &output{name: name})
	}
	return c
}

// Observe adds the outputs of both models for one sample. Labels, nil for none, are those of the first output that has as many
// rows of classes.
func (c *Comparison) Observe(float, quant map[string]*onnx.Tensor, labels []int64) error {
	var ref, got [][]float32
	rows := []int{}
	for _, o := range c.each {
		a, b := float[o.name], quant[o.name]
		x, y, err := numbers(a, b)
		if err != nil {
			return fmt.Errorf("output %q: %w", o.name, err)
		}
		if x == nil {
			o.notMeasured = fmt.Sprintf("it holds %s", a.Type)
			continue
		}
		classes := classAxis(a)
		if o.diff.Result().Samples == 0 {
			o.diff.Classes = classes
		} else if o.diff.Classes != classes {
			o.diff.Classes = 0 // an axis that varies holds no classes
		}
		var own []int64
		if labels != nil && o.diff.Classes > 0 {
			if rows = append(rows, len(x)/classes); len(labels) == rows[len(rows)-1] {
				own, labels = labels, nil
			}
		}
		if err := o.observe(x, y, own); err != nil {
			return err
		}
		if a.Type.IsFloat() {
			ref, got = append(ref, x), append(got, y)
		}
	}
	if labels != nil {
		return fmt.Errorf("%w: %d labels, one for each row of scores, but the outputs with a class axis have %d rows", data.ErrBadData, len(labels), rows)
	}
	if len(ref) == 0 {
		return nil
	}
	if c.pooled == nil {
		c.pooled = new(metric.Comparison)
	}
	return c.pooled.ObserveAll(ref, got)
}

func (o *output) observe(ref, got []float32, labels []int64) error {
	if labels == nil {
		if err := o.diff.Observe(ref, got); err != nil {
			return fmt.Errorf("output %q: %w", o.name, err)
		}
		return nil
	}
	if err := o.diff.ObserveLabelled(ref, got, labels); err != nil {
		return fmt.Errorf("%w: output %q: %w", data.ErrBadData, o.name, err)
	}
	return nil
}

// Outputs returns what was measured so far.
func (c *Comparison) Outputs() Outputs {
	all := Outputs{Each: []OutputError{}}
	for _, o := range c.each {
		e := OutputError{Name: o.name, NotMeasured: o.notMeasured}
		if o.notMeasured == "" {
			f := o.diff.Result()
			e.Result, e.Classes = &f, o.diff.Classes
		}
		all.Each = append(all.Each, e)
	}
	if c.pooled != nil {
		f := c.pooled.Result()
		all.Pooled = &f
	}
	return all
}

// Result returns the figures of the model as a whole: those of all float outputs and, of classes and labels, those of the first
// output that has any. Without float outputs it has none.
func (o Outputs) Result() metric.Result {
	r := new(metric.Comparison).Result()
	if o.Pooled != nil {
		r = *o.Pooled
	}
	for _, e := range o.Each {
		if e.Result == nil {
			continue
		}
		if r.Top1 == nil {
			r.Top1, r.KL = e.Top1, e.KL
		}
		if r.Labels == nil {
			r.Labels = e.Labels
		}
	}
	return r
}

// classAxis returns the size of the axis that is taken to hold the scores of classes: C, where it is at least 2, of a float
// tensor [N, C], [N, T, C] or [N, C, 1, 1]; 0 of any other.
func classAxis(t *onnx.Tensor) int {
	dims := t.Dims
	if len(dims) == 4 && dims[2] == 1 && dims[3] == 1 {
		dims = dims[:2]
	}
	if n := len(dims); t.Type.IsFloat() && (n == 2 || n == 3) && dims[n-1] >= 2 {
		return int(dims[n-1])
	}
	return 0
}

// numbers returns the elements of two tensors as float32; nil where they hold no real numbers.
func numbers(a, b *onnx.Tensor) (x, y []float32, err error) {
	if a == nil || b == nil {
		return nil, nil, fmt.Errorf("one of the models gives no tensor")
	}
	if a.Type == onnx.String || a.Type == onnx.Complex64 || a.Type == onnx.Complex128 {
		return nil, nil, nil
	}
	if !slices.Equal(a.Dims, b.Dims) {
		return nil, nil, fmt.Errorf("the float model gives %s%v, the quantized model %s%v", a.Type, a.Dims, b.Type, b.Dims)
	}
	if x, err = a.Float32s(); err == nil {
		y, err = b.Float32s()
	}
	return x, y, err
}
