package plan

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/passes/prepare"
)

// MinOpset is the lowest opset that has per-channel scales.
const MinOpset = 13

// Prepared is a model ready to be planned and rewritten: a private copy, its opset high enough, simplified, every node
// named by its key in the input model.
type Prepared struct {
	Model *onnx.Model
	Trace *rewrite.Trace // from the tensors of the input model
	Log   []string       // what was done to it, a line each
	// Halves are the half-precision types that the input model stores constants in. Their arithmetic is float32 now: no target
	// has another.
	Halves []onnx.DataType
	// Existing is the quantization that the input model has; Model is without it.
	Existing Existing
}

// Prepare makes the copy. It is deterministic: a plan made on one Prepared fits every other of the same model.
func Prepare(m *onnx.Model, opset int64) (*Prepared, error) {
	m = m.Clone()
	for _, v := range m.Graph.Inputs() {
		if v.Const() == nil && v.Type == nil {
			return nil, fmt.Errorf("%w: input %q has no type", onnx.ErrBadModel, v.Name())
		}
	}
	for _, v := range m.Graph.Feeds() {
		if !possible(v.Type) {
			return nil, fmt.Errorf("%w: input %q has the impossible shape %s", onnx.ErrBadModel, v.Name(), v.Type)
		}
	}
	for n := range m.Graph.AllNodes() {
		if err := onnx.CheckOperands(n, m.Opset(n.Domain)); err != nil {
			return nil, fmt.Errorf("node %q (%s): %w", n.Key(), n.Op, err)
		}
	}
	// Keys outlive rewrites as names: where a pass replaces a node, its successor takes over the name.
	for g := range rewrite.Graphs(m) {
		for n, key := range g.LocalKeys() {
			n.Name = key
		}
	}
	taken := map[string]bool{}
	keys := m.Graph.Keys()
	for n := range m.Graph.AllNodes() {
		if key := keys[n]; taken[key] {
			return nil, fmt.Errorf("%w: two nodes, one of them in a subgraph, are called %q: rename one", onnx.ErrBadModel, key)
		}
		taken[keys[n]] = true
	}
	p := &Prepared{Model: m, Trace: rewrite.NewTrace(m), Halves: prepare.HalfTypes(m)}
	if from, to := m.Opset(""), max(opset, MinOpset); from < to {
		if err := onnx.ConvertOpset(m, to); err != nil {
			return nil, err
		}
		p.Log = append(p.Log, fmt.Sprintf("opset raised from %d to %d", from, to))
	}
	log := func(pass, message string) { p.Log = append(p.Log, pass+": "+message) }
	c := &rewrite.Context{Trace: p.Trace, Log: log}
	if err := prepare.Float32Passes.Run(c, m); err != nil {
		return nil, err
	}
	p.Existing = absorb(c, m)
	return p, nil
}

// Reference returns the model that p is measured against: with the quantization that it came with.
func (p *Prepared) Reference() *onnx.Model {
	if p.Existing.Reference != nil {
		return p.Existing.Reference
	}
	return p.Model
}

// Survey finds the sites of the model, and what they came with.
func (p *Prepared) Survey() []*Site {
	sites := Survey(p.Model)
	for _, s := range sites {
		for i := range s.Inputs {
			k := p.Existing.Constants[s.Weight(i)]
			if k == nil {
				continue
			}
			if len(s.Inputs) == 1 {
				s.Kept = k.Weights
			}
			s.Refused = Reason{}
			if why := s.unusable(); why != "" {
				s.Refused = Reason{ID: alreadyQuantized, Text: why}
			}
		}
	}
	return sites
}

// possible reports whether there can be a tensor of the type: its fixed sizes alone must not exceed what can be counted.
func possible(t *onnx.Type) bool {
	if t == nil || t.Kind != onnx.KindTensor {
		return true
	}
	var fixed []int64
	for _, d := range t.Shape {
		if d.Size >= 0 {
			fixed = append(fixed, d.Size)
		}
	}
	_, ok := onnx.CountElements(fixed)
	return ok
}
