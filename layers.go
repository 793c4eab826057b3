package zqonnx

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/verify"
)

// floatLayers lists the layers of a plan before the graph is rewritten: its quantized nodes, each with what was fused into
// it, by the names that the input model has for the tensors.
func floatLayers(prep *plan.Prepared, p *plan.Plan) []verify.Layer {
	byKey := map[string]*onnx.Node{}
	for n, key := range prep.Model.Graph.Keys() {
		byKey[key] = n
	}
	ends := map[*onnx.Node]*onnx.Value{} // where the work of a node with a fused follower ends
	for _, d := range p.Nodes {
		if n := byKey[d.Key]; n != nil && d.Scheme == plan.Fused {
			if before, _ := n.Input(0).Producer(); before != nil {
				ends[before] = n.Output(0)
			}
		}
	}
	equal, scaled := equalised(prep, p)
	var layers []verify.Layer
	for _, d := range p.Nodes {
		n := byKey[d.Key]
		if n == nil || n.Graph() != prep.Model.Graph || d.Scheme == plan.Float || d.Scheme == plan.Fused || n.Output(0) == nil {
			continue
		}
		out := n.Output(0)
		if v := ends[n]; v != nil {
			out = v
		}
		l := verify.Layer{Key: d.Key, Op: d.Op, Scheme: string(d.Scheme), Reason: d.Reason.Text, Float: original(prep, out), Weights: verify.WeightsOf(equal[d.Key]), Scaled: scaled}
		for _, in := range n.Inputs() {
			if in == nil || in.Const() != nil {
				continue
			}
			if name := original(prep, in); !slices.ContainsFunc(l.Inputs, func(p verify.Pair) bool { return p.Float == name }) {
				l.Inputs = append(l.Inputs, verify.Pair{Float: name})
			}
		}
		layers = append(layers, l)
	}
	return layers
}

// equalised returns the nodes of the float model as the plan equalises it, by key, and what becomes of the tensors of the input
// model that are scaled there. Where the plan does not fit, emit tells.
func equalised(prep *plan.Prepared, p *plan.Plan) (map[string]*onnx.Node, map[string]func(*onnx.Tensor) *onnx.Tensor) {
	m := prep.Model.Clone()
	done, _ := plan.CarryOut(p.Equalised, m)
	nodes := map[string]*onnx.Node{}
	for n, key := range m.Graph.Keys() {
		nodes[key] = n
	}
	scaled := map[string]func(*onnx.Tensor) *onnx.Tensor{}
	for i, s := range done {
		for _, v := range s.Values {
			was := prep.Model.Graph.Value(v.Name())
			if was == nil {
				continue // in a subgraph, where no layers are
			}
			name := original(prep, was)
			before := scaled[name]
			scaled[name] = func(t *onnx.Tensor) *onnx.Tensor {
				if before != nil {
					t = before(t)
				}
				return s.Divided(v, t, p.Equalised[i].Scales)
			}
		}
	}
	return nodes, scaled
}

// original returns the input model's name for a tensor, as its nodes take it; "" when it has none.
func original(prep *plan.Prepared, v *onnx.Value) string {
	if name := prep.Existing.Name(v); name != "" {
		return name
	}
	names := prep.Trace.Names(v)
	if slices.Contains(names, v.Name()) {
		return v.Name()
	}
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// pairLayers fills in, after the rewrite, where the tensors of the layers went. Layers whose output the input model does
// not have, or whose tensors are gone, are left out.
func pairLayers(t *rewrite.Trace, layers []verify.Layer) []verify.Layer {
	now := func(name string) string {
		if v := t.Value(name); v != nil {
			return v.Name()
		}
		return ""
	}
	for i := range layers {
		l := &layers[i]
		l.Quant = now(l.Float)
		for k := range l.Inputs {
			if l.Inputs[k].Quant = now(l.Inputs[k].Float); l.Inputs[k].Quant == "" {
				l.Inputs = nil // it cannot be fed alone
				break
			}
		}
	}
	return slices.DeleteFunc(layers, func(l verify.Layer) bool { return l.Quant == "" })
}
