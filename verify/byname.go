package verify

import (
	"slices"
	"strings"

	"github.com/zqonnx/zqonnx/onnx"
)

// LayersByName pairs the tensors of models whose relation is unknown, such as files that other tools made: every node of
// the float model's main graph whose output the quantized model has under the same name, and with the same meaning. Where
// the tensor goes through QuantizeLinear and DequantizeLinear, its meaning is behind them. A tensor is left out where an
// operator that took it is gone, because tools fold BatchNormalization, Relu and others into the node before, whose output
// keeps its name but then means something else: such nodes are one layer with those behind them.
func LayersByName(float, quant *onnx.Model) []Layer {
	float = float.Clone()
	_ = onnx.InferShapes(float, onnx.InferOptions{}) // for the types; cannot fail unless strict
	varying := varyingValues(float.Graph)
	keys := float.Graph.Keys()
	var layers []Layer
	for n := range float.Graph.Nodes() {
		out := n.Output(0)
		if out == nil || !varying[out] || moves[n.Op] || quantizers[n.Op] || !mayBeFloat(out) {
			continue
		}
		q := counterpart(out, quant.Graph)
		if q == nil {
			continue
		}
		l := Layer{Key: keys[n], Op: n.Op, Float: out.Name(), Quant: behindScales(q, false).Name()}
		b := body{varying: varying, quant: quant.Graph, seen: map[*onnx.Node]bool{}}
		if b.add(n) {
			l.Inputs = b.inputs
			if len(b.products) == 1 {
				l.Key, l.Op = keys[b.products[0]], b.products[0].Op
			}
		}
		layers = append(layers, l)
	}
	return layers
}

// A body is the nodes of a layer: its last one, and those before it whose outputs have no counterpart, because they were
// folded into one with it, as a Conv and its BatchNormalization. The layer is then called by its product.
type body struct {
	varying  map[*onnx.Value]bool
	quant    *onnx.Graph
	seen     map[*onnx.Node]bool
	inputs   []Pair
	products []*onnx.Node
}

// largestBody is the most nodes that count as one layer; a greater gap between counterparts is no fusion.
const largestBody = 16

// add reports whether everything that n computes its output from is known.
func (b *body) add(n *onnx.Node) bool {
	if b.seen[n] {
		return true
	}
	if b.seen[n] = true; len(b.seen) > largestBody || len(n.Subgraphs()) > 0 { // subgraphs may take any tensor from outside
		return false
	}
	if products[n.Op] {
		b.products = append(b.products, n)
	}
	for _, in := range n.Inputs() {
		if in == nil || !b.varying[in] {
			continue
		}
		q := counterpart(in, b.quant)
		if q == nil {
			if before, _ := in.Producer(); before == nil || !b.add(before) {
				return false
			}
			continue
		}
		if p := (Pair{in.Name(), behindScales(q, true).Name()}); !slices.Contains(b.inputs, p) {
			b.inputs = append(b.inputs, p)
		}
	}
	return true
}

// varyingValues returns the values that depend on the graph's inputs.
func varyingValues(g *onnx.Graph) map[*onnx.Value]bool {
	varying := map[*onnx.Value]bool{}
	for _, v := range g.Feeds() {
		varying[v] = true
	}
	for n := range g.Nodes() {
		if slices.ContainsFunc(n.Inputs(), func(v *onnx.Value) bool { return varying[v] }) || len(n.Subgraphs()) > 0 {
			for _, v := range n.Outputs() {
				varying[v] = true
			}
		}
	}
	delete(varying, nil)
	return varying
}

// moves names the operators that only move their input's elements: their outputs say nothing that the input did not.
var moves = map[string]bool{
	"Identity": true, "Reshape": true, "Flatten": true, "Squeeze": true, "Unsqueeze": true, "Transpose": true,
	"Slice": true, "Split": true, "Expand": true, "Tile": true, "Dropout": true,
}

var quantizers = map[string]bool{"QuantizeLinear": true, "DequantizeLinear": true, "DynamicQuantizeLinear": true}

// products names the operators that are never folded into the node before them.
var products = map[string]bool{
	"Conv": true, "ConvTranspose": true, "MatMul": true, "Gemm": true, "Einsum": true,
	"LSTM": true, "GRU": true, "RNN": true, "Attention": true, "MultiHeadAttention": true,
}

func mayBeFloat(v *onnx.Value) bool {
	return v.Type == nil || v.Type.Kind == onnx.KindTensor && (elem(v) == onnx.Undefined || elem(v).IsFloat())
}

// elem returns the element type that the model states for v, if any.
func elem(v *onnx.Value) onnx.DataType {
	if v.Type == nil {
		return onnx.Undefined
	}
	return v.Type.Elem
}

// counterpart returns the value of that name in the quantized graph, nil when there is none or its meaning is another.
func counterpart(v *onnx.Value, quant *onnx.Graph) *onnx.Value {
	q := quant.Value(v.Name())
	if q == nil || q.Const() != nil || elem(v) != onnx.Undefined && elem(q) != onnx.Undefined && elem(v).IsFloat() != elem(q).IsFloat() {
		return nil
	}
	if v.IsInput() || v.IsOutput() && q.IsOutput() {
		return q // part of what the model promises its callers
	}
	takers := map[string]bool{}
	addTakers(takers, q)
	for _, u := range v.Uses() {
		if !products[u.Node.Op] && !takers[u.Node.Op] {
			return nil
		}
	}
	return q
}

// addTakers adds the operators that take v, under the names of their float forms, those behind quantizers too.
func addTakers(takers map[string]bool, v *onnx.Value) {
	if v == nil {
		return
	}
	for _, u := range v.Uses() {
		takers[strings.TrimPrefix(u.Node.Op, "QLinear")] = true
		if quantizers[u.Node.Op] {
			addTakers(takers, u.Node.Output(0))
		}
	}
}

// behindScales returns the value behind the QuantizeLinear and DequantizeLinear that alone take v; v itself when something
// else takes it too. Where several DequantizeLinear take the codes any of them has the same numbers, but to give the tensor
// to all that take it, all of them must get it: then v itself is the place.
func behindScales(v *onnx.Value, toGive bool) *onnx.Value {
	if v.IsOutput() || len(v.Uses()) != 1 || v.Uses()[0].Node.Op != "QuantizeLinear" {
		return v
	}
	codes := v.Uses()[0].Node.Output(0)
	takers := codes.Uses()
	if len(takers) == 0 || toGive && len(takers) > 1 || takers[0].Node.Op != "DequantizeLinear" {
		return v
	}
	return takers[0].Node.Output(0)
}
