// Package zqonnx quantizes ONNX models the ZeroQuant way and proves that the result is right.
//
// Quantize analyses a float model, chooses what becomes of every node, and carries that out on a copy of the graph. Verify
// runs both graphs and compares them layer by layer. Neither needs another runtime.
package zqonnx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/passes/emit"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/search"
	"github.com/zqonnx/zqonnx/target"
	"github.com/zqonnx/zqonnx/verify"
)

// Version of the tool; it stands in plans and reports.
const Version = "0.1.0"

var (
	// ErrNothing is returned when nothing in the model could be quantized.
	ErrNothing = errors.New("nothing could be quantized")
	// ErrBadPlan is wrapped by errors about a given plan that the model cannot be rewritten by.
	ErrBadPlan = errors.New("the plan does not fit the model")
)

// Options of Quantize. The zero value, but for Target, is a sensible choice.
type Options struct {
	Target      *target.Target // nil: ONNX Runtime on x86-64
	Activations plan.Mode      // "": auto
	Range       quantize.RangeRule
	Weights     plan.Form     // asked for; zero: int8
	Rounding    string        // of quantize.Roundings; "": whichever loses least
	Equalize    plan.Equalize // "": auto
	Compensate  []string      // of plan.Compensations; biases are corrected but for "none"
	Rank        int           // of low-rank terms; 0: plan.DefaultRank
	Guard       plan.Guard
	Include     []string // globs over node keys and output tensors
	Exclude     []string
	ExcludeOps  []string
	Overrides   []plan.Override       // for nodes by globs, the last first
	Given       map[string]plan.Given // parameters of activations that the user knows, by their names in the model
	Preset      *plan.Preset          // in place of Activations and Weights; nil: none
	Plan        *plan.Plan            // carry this out instead of making one
	Search      *Search               // look for a plan that reaches goals instead
	SHA256      string                // of the model file, for the plan
	Opset       int64                 // raise the model at least to this opset

	Calib    string       // path of calibration data; "": none
	Data     string       // path of verification data; "": held back from Calib, else probes
	Feeding  data.Options // how inputs are given
	Threads  int
	Progress func(what string, done, of int)
}

// A Search has the goals that a plan is to reach, and the figure that they are about. Command may stand in place of Metric; where
// there is neither, the figure is the accuracy if the data have labels, else the distance of the outputs.
type Search struct {
	search.Goals
	Metric    *metric.Metric
	Command   *search.Command
	Work      string // folder to keep measurements in, with which an interrupted search goes on; "": none
	Budget    float64
	Semantics engine.Semantics // in which candidates are run
}

// A Result is a quantized model and how it came about.
type Result struct {
	Model  *onnx.Model
	Plan   *plan.Plan
	Layers []verify.Layer // of the quantized model, paired with the float model's
	Check  *data.Set      // what to verify on; nil when the engine cannot run the model
	Log    []string       // what was done to the model before it was planned, a line each
	// NotMeasured says why the engine could not run the float model, so that the plan was made by rules only.
	NotMeasured error
	// Found is what a search found; nil without one.
	Found *search.Result
}

// Quantize makes a quantized copy of m. Errors wrap onnx.ErrBadModel, data.ErrBadData, data.ErrBadOption, ErrNothing, ErrBadPlan, or
// engine.ErrUnsupported when data are given for a model that the engine cannot run, and plan.ErrChoice for a preset that does not fit it.
func Quantize(ctx context.Context, m *onnx.Model, o Options) (*Result, error) {
	o, prep, s, err := o.analyse(ctx, m)
	if err != nil {
		return nil, err
	}

	// Choose.
	p := o.Plan
	var found *search.Result
	switch {
	case o.Search != nil:
		if found, err = o.search(ctx, m, prep, s); err != nil {
			return nil, err
		}
		p = found.Plan
	case p == nil:
		made := o.plan(s)
		if o.Preset != nil {
			if err := o.Preset.Apply(prep.Model, &made); err != nil {
				return nil, err
			}
		}
		if p, err = plan.Make(ctx, prep, made); err != nil {
			return nil, err
		}
	}
	if o.Plan == nil {
		p.Tool, p.SHA256 = "zqonnx "+Version, o.SHA256
	}
	r := &Result{Plan: p, Found: found, Check: s.check, NotMeasured: s.notMeasured}
	if !p.Quantizes() {
		if kept, _ := p.Kept(); kept > 0 {
			return r, fmt.Errorf("%w: the model already is, in %d nodes, which would be kept as they are", ErrNothing, kept)
		}
		return r, ErrNothing
	}

	// Execute, on the copy.
	if p.Opset > prep.Model.Opset("") || found != nil {
		if prep, err = plan.Prepare(m, max(o.Opset, p.Opset)); err != nil {
			return nil, err
		}
	}
	layers := floatLayers(prep, p)
	if err := emit.Apply(prep, p); err != nil {
		if o.Plan != nil {
			err = fmt.Errorf("%w: %w", ErrBadPlan, err)
		}
		return nil, err
	}
	r.Log = prep.Log
	r.Model, r.Layers = prep.Model, pairLayers(prep.Trace, layers)
	sign(r.Model)
	return r, nil
}

// analyse brings the graph into its normal form and finds samples to measure it on. The options are returned with their defaults, and
// with the names that tensors have in the prepared model.
func (o Options) analyse(ctx context.Context, m *onnx.Model) (Options, *plan.Prepared, samples, error) {
	o = o.withDefaults()
	prep, err := plan.Prepare(m, o.Opset)
	if err != nil {
		return o, nil, samples{}, err
	}
	s, err := o.samples(ctx, prep)
	if err != nil {
		return o, nil, s, err
	}
	o.Given, err = givenIn(prep, o.Given)
	return o, prep, s, err
}

func sign(m *onnx.Model) { m.Producer, m.ProducerVersion = "zqonnx", Version }

// search looks for the plan that reaches the goals. The model must be one that the engine runs.
func (o Options) search(ctx context.Context, m *onnx.Model, prep *plan.Prepared, s samples) (*search.Result, error) {
	if s.notMeasured != nil {
		return nil, s.notMeasured
	}
	by := o.Search.Metric
	switch {
	case by != nil || o.Search.Command != nil:
	case o.Feeding.Labels != "":
		by = metric.Named("accuracy")
	default:
		by = metric.Named("distance")
	}
	check := []*data.Set{s.check}
	if s.check.Source == data.HeldBack {
		seen := s.calibration.Limited(0)
		seen.Source = data.Seen
		check = append(check, seen)
	}
	key := ""
	if o.Search.Work != "" {
		var err error
		if key, err = o.key(s); err != nil {
			return nil, err
		}
	}
	return search.Run(ctx, prep, o.plan(s), search.Options{
		Goals: o.Search.Goals, Metric: by, Command: o.Search.Command, Check: check, Model: m, Semantics: o.Search.Semantics,
		Work: o.Search.Work, Key: key, Budget: o.Search.Budget,
		Build: func(p *plan.Plan) (*onnx.Model, error) {
			prep, err := plan.Prepare(m, max(o.Opset, p.Opset))
			if err != nil {
				return nil, err
			}
			sign(prep.Model)
			return prep.Model, emit.Apply(prep, p)
		},
	})
}

// key tells apart what a search's measurements depend on: the model, the options, and the samples' elements.
func (o Options) key(s samples) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%+v\n", []any{
		Version, o.SHA256, o.Target.Name, o.Activations, o.Range, o.Weights, o.Rounding, o.Equalize, o.Compensate, o.Rank, o.Guard, o.Include, o.Exclude, o.ExcludeOps, o.Overrides, givenText(o.Given), o.Opset, o.Feeding,
	})
	for _, set := range []*data.Set{s.calibration, s.probes, s.check} {
		if set == nil {
			continue
		}
		for i := range set.Len() {
			err := set.Run(i, 1, func(sample *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
				for _, name := range slices.Sorted(maps.Keys(feeds)) {
					fmt.Fprintf(h, "%q %v\n", name, feeds[name].Dims)
					if feeds[name].Type != onnx.String {
						h.Write(feeds[name].Bytes())
					}
				}
				labels, err := sample.Labels()
				fmt.Fprintln(h, labels)
				return nil, err
			})
			if err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// plan returns the options of plans that are made with samples.
func (o Options) plan(s samples) plan.Options {
	return plan.Options{
		Target: o.Target, Activations: o.Activations, Range: o.Range, Weights: o.Weights, Rounding: o.Rounding, Equalize: o.Equalize,
		Compensate: o.Compensate, Rank: o.Rank,
		Calibration: s.calibration, Probes: s.probes, Program: s.program, Overrides: o.Overrides, Given: o.Given,
		Include: o.Include, Exclude: o.Exclude, ExcludeOps: o.ExcludeOps, Threads: o.Threads, Guard: o.Guard, Progress: o.Progress,
	}
}

// Sensitivity measures the damage that quantization does to m node by node, and ranks the nodes by a metric. Nothing is written,
// and of Options those count that a plan is made by. Errors are those of Quantize, and wrap verify.ErrUsage for a metric that the
// outputs or the data do not allow.
func Sensitivity(ctx context.Context, m *onnx.Model, by *metric.Metric, o Options) (*search.Sensitivity, error) {
	o, prep, s, err := o.analyse(ctx, m)
	if err != nil {
		return nil, err
	}
	if s.notMeasured != nil {
		return nil, s.notMeasured
	}
	r, err := search.Rank(ctx, prep, o.plan(s), by)
	if err != nil {
		return nil, err
	}
	if len(r.Nodes) == 0 {
		return nil, ErrNothing
	}
	r.Tool, r.Data.Source = "zqonnx "+Version, string(data.Synthetic)
	if s.calibration != nil {
		r.Data.Source = string(data.Given)
	}
	return r, nil
}

// givenIn returns the given parameters by the names that tensors have in the prepared model.
func givenIn(prep *plan.Prepared, given map[string]plan.Given) (map[string]plan.Given, error) {
	found := map[string]plan.Given{}
	for name, g := range given {
		v := prep.Trace.Value(name)
		if v == nil {
			return nil, fmt.Errorf("%w: tensor %q is gone when the model is simplified: what made it became part of another node", plan.ErrChoice, name)
		}
		found[v.Name()] = g
	}
	return found, nil
}

// givenText tells apart what is given.
func givenText(given map[string]plan.Given) string {
	b, _ := json.Marshal(given) // plain numbers, finite ones
	return string(b)
}

func (o Options) withDefaults() Options {
	if o.Target == nil {
		o.Target = target.Targets[0]
	}
	if o.Activations == "" {
		o.Activations = plan.ModeAuto
	}
	if o.Equalize == "" {
		o.Equalize = plan.EqualizeAuto
	}
	if o.Range.Method == "" {
		o.Range.Method = "minmax"
	}
	if o.Guard == (plan.Guard{}) {
		o.Guard = plan.DefaultGuard
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	return o
}

// samples are what a model is measured on.
type samples struct {
	calibration *data.Set       // nil without data
	probes      *data.Set       // nil with data, or when the engine cannot run the model
	check       *data.Set       // for verification
	program     *engine.Program // that the probes were tried on
	notMeasured error
}

// samples opens the data, or makes probes in the first sizes with which the model runs.
func (o Options) samples(ctx context.Context, prep *plan.Prepared) (samples, error) {
	var s samples
	g := prep.Model.Graph
	if o.Calib != "" {
		feeding := o.Feeding
		feeding.Unlabelled = o.Data != "" // whose labels are asked for
		set, err := data.Open(o.Calib, g, feeding)
		if err != nil {
			return s, err
		}
		s.calibration, s.check = set.Split()
	}
	if o.Data != "" {
		feeding := o.Feeding
		feeding.Limit = 0
		set, err := data.Open(o.Data, g, feeding)
		if err != nil {
			return s, err
		}
		s.check = set
	}
	if s.calibration != nil {
		return s, nil
	}
	s.probes, s.program, s.notMeasured = probes(ctx, prep.Reference(), o.Feeding, o.Threads)
	if err := s.notMeasured; errors.Is(err, data.ErrBadOption) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return s, err
	}
	if err := neverRuns(s.notMeasured); err != nil {
		return s, err
	}
	if s.check == nil {
		s.check = s.probes
	}
	return s, nil
}

// neverRuns returns the error of a node that fails for a fault of the model, with which no runtime could run it; else nil.
func neverRuns(err error) error {
	var node *engine.NodeError
	if errors.As(err, &node) && node.Blame == onnx.ErrBadModel && errors.Is(err, onnx.ErrBadModel) {
		return node
	}
	return nil
}

// Probes makes synthetic samples in the first sizes of the ladder with which the engine runs the model. Where the model
// chooses branches by an input, values of it that do not go with these sizes are left out.
func Probes(ctx context.Context, m *onnx.Model, feeding data.Options, threads int) (*data.Set, error) {
	set, _, err := probes(ctx, m, feeding, threads)
	return set, err
}

// probes also returns the program that runs them, with literal semantics.
func probes(ctx context.Context, m *onnx.Model, feeding data.Options, threads int) (*data.Set, *engine.Program, error) {
	p, err := engine.Compile(m, engine.Options{Threads: threads})
	if err != nil {
		return nil, nil, err
	}
	var first error
	for _, dims := range data.ProbeLadder(m.Graph, feeding) {
		feeding.Dims = dims
		set, err := data.Probes(m.Graph, feeding)
		if err != nil {
			return nil, nil, err
		}
		failed := make([]error, set.Variants())
		for i := range failed {
			if failed[i] = tryProbe(ctx, p, set, i); ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
		}
		if slices.Contains(failed, nil) {
			return set.Without(func(variant int) bool { return failed[variant] != nil }), p, nil
		}
		if first == nil {
			first = failed[0]
		}
	}
	return nil, nil, fmt.Errorf("no probe runs: %w", first)
}

// maxProbeSteps bounds the nodes that a probe runs, loops included.
const maxProbeSteps = 1 << 24

// tryProbe runs the first sample of a sequence.
func tryProbe(ctx context.Context, p *engine.Program, set *data.Set, sequence int) error {
	return set.Run(sequence, 1, func(_ *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
		return p.Run(ctx, feeds, &engine.RunOptions{MaxSteps: maxProbeSteps})
	})
}
