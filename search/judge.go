package search

import (
	"context"
	"errors"
	"math"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/verify"
)

// ErrMetric is wrapped by errors about the command that scores models.
var ErrMetric = errors.New("the metric command failed")

// A Figure is what a model is worth.
type Figure struct {
	Value float64
	Drop  float64 // what it has lost against the float model; NaN for a metric that has no drop, and for a model that gives NaN
}

// A judge gives models their figure. A model is a file too, for judges that are programs.
type judge interface {
	judge(ctx context.Context, m *onnx.Model, path string) (Figure, error)
	better(a, b Figure) bool
}

// measured judges by a built-in metric, on several sets of samples: the worst figure counts.
type measured struct {
	metric     *metric.Metric
	references []*verify.Reference
}

func (j *measured) judge(ctx context.Context, m *onnx.Model, _ string) (Figure, error) {
	var worst Figure
	for i, r := range j.references {
		f, err := j.figure(ctx, m, r)
		if err != nil {
			return f, err
		}
		if i == 0 || j.better(worst, f) {
			worst = f
		}
	}
	return worst, nil
}

func (j *measured) figure(ctx context.Context, m *onnx.Model, reference *verify.Reference) (Figure, error) {
	o, err := reference.Compare(ctx, m)
	if err != nil {
		return Figure{}, err
	}
	r := o.Result()
	if !j.metric.In(r) {
		return Figure{}, errors.Join(verify.ErrUsage, errors.New("--metric "+j.metric.Name+" needs "+j.metric.Needs))
	}
	f := Figure{j.metric.Of(r), math.NaN()}
	if j.metric.Drop != nil {
		f.Drop = j.metric.Drop(r)
	}
	return f, nil
}

func (j *measured) better(a, b Figure) bool {
	if j.metric.Drop != nil && (a.Drop == a.Drop || b.Drop == b.Drop) { // sets may be of different difficulty
		return a.Drop < b.Drop || b.Drop != b.Drop
	}
	if j.metric.LowerIsBetter {
		return a.Value < b.Value || b.Value != b.Value
	}
	return a.Value > b.Value || b.Value != b.Value
}

// scored judges by a program of the user's, whose number is the greater the better.
type scored struct {
	command Command
	float   float64
}

func (j *scored) judge(ctx context.Context, _ *onnx.Model, path string) (Figure, error) {
	v, err := j.command.Score(ctx, path)
	return Figure{v, j.float - v}, err
}

func (j *scored) better(a, b Figure) bool { return a.Value > b.Value }
