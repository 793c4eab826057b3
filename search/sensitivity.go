// Package search looks for what a model can bear: how much each layer suffers from quantization, and which mix of weight formats
// makes the smallest model that loses no more than a user allows, by a figure of the user's own.
//
// It decides nothing inside a layer: plans are made, and reformed, by package plan, carried out by passes/emit, and measured whole
// by package verify or by a command of the user's.
package search

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/verify"
)

// Schema is the version of the JSON form of a Sensitivity.
const Schema = 1

// A Sensitivity ranks the quantizations of a model by the damage that they do to its outputs.
type Sensitivity struct {
	Schema int         `json:"schema"`
	Tool   string      `json:"tool"`
	Model  verify.File `json:"model"`
	Metric string      `json:"metric"` // that ranks, a name in metric.Metrics
	Data   verify.Data `json:"data"`
	// Together is the error of the outputs with all nodes quantized.
	Together metric.Result `json:"together"`
	Nodes    []NodeDamage  `json:"nodes"` // the worst first
}

// A NodeDamage is the error of the outputs where one node alone is quantized, nil where it has nothing to quantize.
type NodeDamage struct {
	Key         string         `json:"key"`
	Op          string         `json:"op"`
	Scheme      string         `json:"scheme"`
	Type        string         `json:"type,omitempty"`  // of the weights
	Block       int            `json:"block,omitempty"` // consecutive weights of a channel that share a scale; 0: all
	Bytes       int64          `json:"weight_bytes"`    // in float
	MACs        float64        `json:"macs"`            // multiply-adds in one sample
	Weights     *metric.Result `json:"weights,omitempty"`
	Activations *metric.Result `json:"activations,omitempty"`
	Both        *metric.Result `json:"both"` // the node as the plan has it
	Share       metric.Number  `json:"noise_share"`
}

// sensitivitySamples and sensitivityBudget bound what a ranking costs.
const (
	sensitivitySamples = 16
	sensitivityBudget  = 1e12
)

// Rank measures each quantization of the plan that Options make, on the float model: the weights of each node alone, its activations
// alone, both, and all nodes together. Nothing is taken back from what suffers. m says what ranks.
func Rank(ctx context.Context, prep *plan.Prepared, o plan.Options, m *metric.Metric) (*Sensitivity, error) {
	o.Guard.Stands = -metric.MaxSQNR
	o.Guard.Samples, o.Guard.Budget = max(o.Guard.Samples, sensitivitySamples), max(o.Guard.Budget, sensitivityBudget)
	p, err := plan.Make(ctx, prep, o)
	if err != nil {
		return nil, err
	}
	study, err := plan.NewStudy(ctx, prep, p, o)
	if err != nil {
		return nil, err
	}
	parts, err := study.Parts(p)
	if err != nil {
		return nil, err
	}
	r := &ranking{study: study}
	s := &Sensitivity{Schema: Schema, Metric: m.Name}
	var all []*plan.Change
	for i, part := range parts {
		d := p.Node(part.Key)
		n := NodeDamage{Key: part.Key, Op: part.Op, Scheme: string(d.Scheme), Bytes: part.Bytes, MACs: part.MACs}
		if d.Weights != nil {
			n.Type, n.Block = d.Weights.Type, d.Weights.Block
		}
		s.Nodes = append(s.Nodes, n)
		all = append(all, part.Weights, part.Activations)
		at := func(f func(*NodeDamage) **metric.Result) func(*metric.Result) {
			return func(r *metric.Result) { *f(&s.Nodes[i]) = r }
		}
		r.add(at(func(n *NodeDamage) **metric.Result { return &n.Weights }), part.Weights)
		r.add(at(func(n *NodeDamage) **metric.Result { return &n.Activations }), part.Activations)
		if part.Weights != nil && part.Activations != nil {
			r.add(at(func(n *NodeDamage) **metric.Result { return &n.Both }), plan.Together(part.Weights, part.Activations))
		}
	}
	r.add(func(r *metric.Result) { s.Together = *r }, plan.Together(all...))
	if s.Data.Samples, err = r.measure(ctx); err != nil {
		return nil, err
	}
	if !m.In(s.Together) {
		return nil, fmt.Errorf("%w: --metric %s needs %s", verify.ErrUsage, m.Name, m.Needs)
	}
	s.order(m)
	return s, nil
}

// A ranking is a list of changes to measure and of where the results go.
type ranking struct {
	study   *plan.Study
	changes []*plan.Change
	results []func(*metric.Result)
}

func (r *ranking) add(to func(*metric.Result), c *plan.Change) {
	if c != nil {
		r.changes, r.results = append(r.changes, c), append(r.results, to)
	}
}

// measure returns on how many samples.
func (r *ranking) measure(ctx context.Context) (samples int, err error) {
	all := make([]*verify.Comparison, len(r.changes))
	observers := make([]plan.Observer, len(r.changes))
	for i := range all {
		all[i] = verify.NewComparison(r.study.Outputs())
		observers[i] = all[i]
	}
	if err := r.study.Measure(ctx, "measuring layers", r.changes, observers); err != nil {
		return 0, err
	}
	for i, c := range all {
		figures := c.Outputs().Result()
		r.results[i](&figures)
	}
	return r.study.Samples(len(r.changes)), nil
}

// order sorts the nodes, the worst first.
func (s *Sensitivity) order(m *metric.Metric) {
	total := 0.0
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Both == nil {
			n.Both = cmp.Or(n.Weights, n.Activations)
		}
		total += noise(*n.Both)
	}
	for i := range s.Nodes {
		s.Nodes[i].Share = metric.Number(noise(*s.Nodes[i].Both) / max(total, tiny))
	}
	slices.SortStableFunc(s.Nodes, func(a, b NodeDamage) int {
		return cmp.Or(cmp.Compare(m.Goodness(*a.Both), m.Goodness(*b.Both)), cmp.Compare(a.Both.SQNR, b.Both.SQNR)) // NaN first
	})
}

const tiny = 1e-300
