package plan

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

// Existing is the quantization that a model came with: trained (QAT), or made by another tool. Its QuantizeLinear and
// DequantizeLinear are taken out, so that the rest sees a float model, and noted here. Nothing of it is lost: what does not come
// to lie between integers gets back what it had.
type Existing struct {
	// Reference is the model with its own quantization, which the result is measured against; nil when it has none.
	Reference *onnx.Model
	// Constants are those that were stored as codes, or rounded to them: weights, operands of Add and Mul, biases.
	Constants map[*onnx.Value]*Constant

	params  map[*onnx.Value]Activation // of tensors
	names   map[*onnx.Value]string     // that the model has for them behind their DequantizeLinear
	pairs   map[onnx.Use]bool          // inputs that took the tensor as it comes out there
	retyped map[*onnx.Value]bool       // tensors that were int8
}

// A Constant is a tensor as codes.
type Constant struct {
	// Codes, Scales and Zeros are the inputs of the DequantizeLinear it comes from; Zeros may be nil. Axis is -1 for one scale.
	Codes, Scales, Zeros *onnx.Tensor
	Axis                 int
	// Weights are they as int8; nil for int32.
	Weights *quantize.Weights
	from    onnx.DataType // that the model has; float32 where it rounds floats each time
}

// Name returns the name that the model has for the tensor v behind its DequantizeLinear; "" when it has none there.
func (e *Existing) Name(v *onnx.Value) string { return e.names[v] }

// wholeGrid has all codes of int8: trained weights may use -128.
var wholeGrid = quantize.Grid{Name: "int8", Bits: 8, Min: math.MinInt8, Max: math.MaxInt8, Symmetric: true}

// isLinear reports whether n turns floats to codes or back.
func isLinear(n *onnx.Node) bool { return n.Is("QuantizeLinear", "DequantizeLinear") }

// absorb takes the quantization of the main graph out of it. What it does not know (blocks, 4 and 16 bits, floats of 8 bits, codes
// that pass through other operators) stays where it is.
func absorb(c *rewrite.Context, m *onnx.Model) Existing {
	g := m.Graph
	var linear []*onnx.Node
	for n := range g.Nodes() {
		if isLinear(n) {
			linear = append(linear, n)
		}
	}
	if len(linear) == 0 {
		return Existing{}
	}
	e := Existing{
		Reference: m.Clone(), Constants: map[*onnx.Value]*Constant{}, params: map[*onnx.Value]Activation{}, names: map[*onnx.Value]string{},
		pairs: map[onnx.Use]bool{}, retyped: map[*onnx.Value]bool{},
	}
	e.constants(c, linear)
	for _, n := range linear {
		if n.Graph() == g && n.Is("QuantizeLinear") {
			e.retype(n)
			e.pair(c, n)
		}
	}
	for _, n := range linear {
		if n.Graph() == g {
			e.offer(n)
		}
	}
	rewrite.RemoveDead(g)
	return e
}

// codesOf returns the parameters of a QuantizeLinear or DequantizeLinear with one scale, and the type of the codes.
func codesOf(n *onnx.Node) (quantize.Params, onnx.DataType, bool) {
	var p quantize.Params
	scale := constant(n, 1)
	if scale == nil || scale.Type != onnx.Float32 || scale.Len() != 1 || scale.Load() != nil || n.Int("block_size", 0) != 0 {
		return p, 0, false
	}
	p.Scale = onnx.Data[float32](scale)[0]
	t := onnx.Uint8
	if n.Is("DequantizeLinear") {
		t = rewrite.Elem(n.Input(0))
	} else if to := n.Int("output_dtype", 0); to != 0 {
		t = onnx.DataType(to)
	}
	if zero := n.Input(2); zero != nil {
		z := zero.Const()
		if z == nil || z.Len() != 1 || z.Load() != nil {
			return p, 0, false
		}
		t = z.Type
		if x, err := z.Int64s(); err == nil {
			p.ZeroPoint = int32(x[0])
		}
	}
	return p, t, p.Scale > 0 && p.Scale <= math.MaxFloat32 && (t == onnx.Uint8 || t == onnx.Int8)
}

// constants makes floats of constants that are stored as codes, and of those that are rounded to codes each time.
func (e *Existing) constants(c *rewrite.Context, linear []*onnx.Node) {
	type key struct {
		codes, scale, zero *onnx.Value
		axis               int64
	}
	known := map[key]*onnx.Value{}
	for _, n := range linear {
		from := n.Input(0)
		if q := rewrite.ProducedBy(from, "QuantizeLinear"); q != nil && sameParams(q, n) {
			from = q.Input(0)
		}
		out := n.Output(0)
		if !n.Is("DequantizeLinear") || from == nil || from.Const() == nil || out.IsOutput() || rewrite.Elem(out) != onnx.Float32 {
			continue
		}
		k := key{from, n.Input(1), n.Input(2), n.Int("axis", 1)}
		v := known[k]
		if v == nil {
			made := constantOf(n, from)
			if made == nil {
				continue
			}
			v = e.add(n.Graph(), strings.TrimSuffix(from.Name(), "_quantized"), made)
			known[k] = v
		}
		onnx.ReplaceUses(out, v)
		c.Trace.Became(out, v)
		n.Graph().Remove(n)
		e.transpose(c, v)
	}
}

// sameParams reports whether a DequantizeLinear undoes a QuantizeLinear.
func sameParams(q, dq *onnx.Node) bool {
	for i := 1; i < 3; i++ {
		a, b := constant(q, i), constant(dq, i)
		if a == nil && b == nil && q.Input(i) == nil && dq.Input(i) == nil && q.Int("output_dtype", 0) == 0 {
			continue
		}
		if a == nil || b == nil || a.Type != b.Type || !slices.Equal(a.Dims, b.Dims) || a.Load() != nil || b.Load() != nil || !slices.Equal(a.Bytes(), b.Bytes()) {
			return false
		}
	}
	return q.Int("axis", 1) == dq.Int("axis", 1) && q.Int("block_size", 0) == dq.Int("block_size", 0)
}

// constantOf reads the constant that a DequantizeLinear makes of codes, or of floats that a QuantizeLinear rounds before; nil
// where it is none of 8 bits, or an int32 bias.
func constantOf(n *onnx.Node, from *onnx.Value) *Constant {
	t, scales, zeros := from.Const(), constant(n, 1), constant(n, 2)
	if scales == nil || scales.Type != onnx.Float32 || n.Int("block_size", 0) != 0 || zeros == nil && n.Input(2) != nil {
		return nil
	}
	if t.Load() != nil || scales.Load() != nil || zeros != nil && zeros.Load() != nil {
		return nil
	}
	k := &Constant{Codes: t, Scales: scales, Zeros: zeros, Axis: quantize.PerTensor, from: t.Type}
	if scales.Len() > 1 || scales.Rank() > 0 && t.Rank() > 1 {
		if k.Axis = int(n.Int("axis", 1)); k.Axis < 0 {
			k.Axis += t.Rank()
		}
		if k.Axis < 0 || k.Axis >= t.Rank() || scales.Rank() != 1 || scales.Dims[0] != t.Dims[k.Axis] {
			if scales.Len() > 1 {
				return nil
			}
			k.Axis = quantize.PerTensor
		}
	}
	if slices.ContainsFunc(onnx.Data[float32](scales), func(s float32) bool { return !(s > 0) || s > math.MaxFloat32 }) ||
		zeros != nil && zeros.Len() != scales.Len() {
		return nil
	}
	if t.Type == onnx.Int32 {
		return k
	}
	typ := t.Type
	if typ == onnx.Float32 {
		if typ = onnx.Uint8; zeros != nil {
			typ = zeros.Type
		}
	}
	if typ != onnx.Int8 && typ != onnx.Uint8 || zeros != nil && zeros.Type != typ {
		return nil
	}
	k.Weights = &quantize.Weights{Grid: wholeGrid, Dims: slices.Clone(t.Dims), Axis: k.Axis, Scales: slices.Clone(onnx.Data[float32](scales)), Codes: make([]int8, t.Len())}
	k.Weights.Zeros = make([]int8, scales.Len())
	if zeros != nil {
		shift(k.Weights.Zeros, zeros)
	} else if typ == onnx.Uint8 {
		for i := range k.Weights.Zeros {
			k.Weights.Zeros[i] = math.MinInt8
		}
	}
	if t.Type == onnx.Float32 {
		k.Weights.Round(onnx.Data[float32](t))
	} else {
		shift(k.Weights.Codes, t)
	}
	if !slices.ContainsFunc(k.Weights.Zeros, func(z int8) bool { return z != 0 }) {
		k.Weights.Zeros = nil
	}
	return k
}

// shift copies codes of int8, or of uint8 less 128.
func shift(to []int8, t *onnx.Tensor) {
	if t.Type == onnx.Int8 {
		copy(to, onnx.Data[int8](t))
		return
	}
	for i, c := range onnx.Data[uint8](t) {
		to[i] = int8(int(c) - 128)
	}
}

// add makes a float constant.
func (e *Existing) add(g *onnx.Graph, name string, k *Constant) *onnx.Value {
	if w := k.Weights; w != nil && (k.from == onnx.Float32 || k.Codes == nil) {
		k.Codes = onnx.Of(w.Codes, w.Dims...)
		k.Zeros = onnx.Zeros(onnx.Int8, k.Scales.Dims...)
		copy(onnx.Data[int8](k.Zeros), w.Zeros)
	}
	v := g.AddConst(name, k.float())
	e.Constants[v] = k
	if w := k.Weights; w != nil && w.Axis == quantize.PerTensor {
		p := quantize.Params{Scale: w.Scales[0]}
		if w.Zeros != nil {
			p.ZeroPoint = int32(w.Zeros[0])
		}
		e.params[v] = activationOf(p, onnx.Int8)
	}
	return v
}

// float returns the values of a constant.
func (k *Constant) float() *onnx.Tensor {
	if k.Weights != nil {
		return onnx.Of(k.Weights.Dequantize(), k.Weights.Dims...)
	}
	x, scales, inner := make([]float32, k.Codes.Len()), onnx.Data[float32](k.Scales), 1
	if k.Axis != quantize.PerTensor {
		inner = int(onnx.NumElements(k.Codes.Dims[k.Axis+1:]))
	}
	for i, c := range onnx.Data[int32](k.Codes) {
		x[i] = float32(float32(c) * scales[i/inner%len(scales)])
	}
	return onnx.Of(x, k.Codes.Dims...)
}

// transpose lets those who take the constant v behind a Transpose take transposed codes.
func (e *Existing) transpose(c *rewrite.Context, v *onnx.Value) {
	k := e.Constants[v]
	for _, u := range slices.Clone(v.Uses()) {
		n := u.Node
		if !n.Is("Transpose") || k.Weights == nil || len(k.Weights.Dims) != 2 || n.Graph() != v.Graph() || n.Output(0).IsOutput() {
			continue
		}
		if perm := n.Ints("perm"); perm != nil && !slices.Equal(perm, []int64{1, 0}) {
			continue
		}
		w := *k.Weights
		rows, cols := int(w.Dims[0]), int(w.Dims[1])
		w.Dims, w.Codes = []int64{w.Dims[1], w.Dims[0]}, make([]int8, len(w.Codes))
		for i, code := range k.Weights.Codes {
			w.Codes[i%cols*rows+i/cols] = code
		}
		if w.Axis != quantize.PerTensor {
			w.Axis = 1 - w.Axis
		}
		t := e.add(v.Graph(), v.Name()+"_transposed", &Constant{Scales: k.Scales, Axis: w.Axis, Weights: &w})
		onnx.ReplaceUses(n.Output(0), t)
		c.Trace.Became(n.Output(0), t)
		n.Graph().Remove(n)
	}
}

// retype makes uint8 of int8 codes of activations, which runtimes on x86 do not compute with: the same numbers.
func (e *Existing) retype(q *onnx.Node) {
	p, t, ok := codesOf(q)
	if !ok || t != onnx.Int8 || q.Output(0).IsOutput() || q.Input(0).Const() != nil {
		return
	}
	nodes := []*onnx.Node{q}
	for _, u := range q.Output(0).Uses() {
		if !e.undoes(u, q) {
			return
		}
		nodes = append(nodes, u.Node)
	}
	zero := q.Graph().AddConst(q.Input(0).Name()+"_zero_point", onnx.Scalar(uint8(p.ZeroPoint+128)))
	for _, n := range nodes {
		n.SetInput(2, zero)
		n.DropAttr("output_dtype")
	}
	q.Output(0).Type = q.Output(0).Type.Clone()
	q.Output(0).Type.Elem = onnx.Uint8
	e.retyped[q.Input(0)] = true
}

// undoes reports whether u is a DequantizeLinear of the codes that q makes.
func (e *Existing) undoes(u onnx.Use, q *onnx.Node) bool {
	if !u.Node.Is("DequantizeLinear") || u.Index != 0 || u.Node.Graph() != q.Graph() {
		return false
	}
	a, s, known := codesOf(q)
	b, t, ok := codesOf(u.Node)
	return known && ok && a == b && s == t
}

// pair takes a QuantizeLinear and those DequantizeLinear out that undo it.
func (e *Existing) pair(c *rewrite.Context, q *onnx.Node) {
	p, t, ok := codesOf(q)
	x := q.Input(0)
	if !ok || t != onnx.Uint8 || x == nil || x.Const() != nil || !isFloat32(x) {
		return
	}
	a := activationOf(p, t)
	if old, ok := e.params[x]; ok && old != a {
		return // it was quantized in another way before
	}
	for _, u := range slices.Clone(q.Output(0).Uses()) {
		out := u.Node.Output(0)
		inside := func(u onnx.Use) bool { return u.Node.Graph() != q.Graph() }
		if !e.undoes(u, q) || out.IsOutput() || slices.ContainsFunc(out.Uses(), inside) {
			continue
		}
		e.params[x] = a
		if e.names[x] == "" {
			e.names[x] = out.Name()
		}
		for _, taker := range out.Uses() {
			e.pairs[taker] = true
		}
		onnx.ReplaceUses(out, x)
		c.Trace.Became(out, x)
		q.Graph().Remove(u.Node)
	}
	rewrite.RemoveUnused(q)
}

// activationOf returns parameters in their uint8 form.
func activationOf(p quantize.Params, t onnx.DataType) Activation {
	if t == onnx.Int8 {
		p.ZeroPoint += 128
	}
	lo, hi := ends(p)
	return Activation{Type: "uint8", Scale: p.Scale, ZeroPoint: p.ZeroPoint, Range: [2]float32{lo, hi}}
}

// offer notes the parameters of codes that stay: who computes what is turned to them, or takes what comes from them, needs no
// others.
func (e *Existing) offer(n *onnx.Node) {
	p, t, ok := codesOf(n)
	v := n.Output(0)
	if n.Is("QuantizeLinear") {
		v, ok = n.Input(0), ok && t == onnx.Uint8
	}
	if _, known := e.params[v]; ok && !known && v.Const() == nil && isFloat32(v) {
		e.params[v] = activationOf(p, t)
	}
}

// bends reports whether a Relu or Clip has codes of its own, because it does not vanish into the QuantizeLinear behind it: from
// codes to codes of the same scale.
func (e *Existing) bends(n *onnx.Node) bool {
	p, ok := e.params[n.Output(0)]
	return ok && n.Is("Relu", "Clip") && bounded(n) && tops(n, p) && (p.ZeroPoint != 0 || e.pairs[onnx.Use{Node: n}])
}

// tops reports whether codes end where a Relu or Clip does, or before.
func tops(n *onnx.Node, p Activation) bool {
	hi := upper(n)
	return hi == 0 || math.RoundToEven(float64(float32(hi/p.Scale)))+float64(p.ZeroPoint) >= 255
}

// has reports whether the parameters of v are known.
func (e *Existing) has(v *onnx.Value) bool {
	_, ok := e.params[v]
	return ok
}

// stays reports whether the codes behind a Relu or Clip, as the model has them, do not end where it does, or whether the model
// quantizes what it takes: it does not vanish then.
func (e *Existing) stays(n *onnx.Node) bool {
	p, ok := e.params[n.Output(0)]
	return e.pairs[onnx.Use{Node: n}] || ok && (p.ZeroPoint != 0 || !tops(n, p))
}

// Keeps is the rounding of weights that the model came with as codes.
const Keeps = "kept"

// alreadyQuantized and completed are the reasons of nodes whose quantization the model came with, all of it or in part.
const alreadyQuantized, completed = "already-quantized", "completed"

// derived returns a copy that also knows the parameters of those tensors whose codes the target only moves to where they are known,
// or bends.
func (e Existing) derived(t *target.Target, g *onnx.Graph) Existing {
	e.params = maps.Clone(e.params)
	l := layout{target: t, kept: &e}
	for _, n := range slices.Backward(slices.Collect(g.Nodes())) {
		v := n.Input(0)
		if v == nil || v.Const() != nil || e.has(v) || !l.moves(n) && !e.bends(n) || !isFloat32(v) {
			continue
		}
		for _, o := range n.Outputs() {
			if p, ok := e.params[o]; ok && (l.moves(n) || rewrite.OnlyUse(v) == n) { // negative numbers become 0 sooner or later
				e.params[v] = p
				break
			}
		}
	}
	return e
}

// splitScales takes nodes out of the layout that would move codes between tensors which came with different parameters, and
// reports whether it found one.
func (m *planner) splitScales() bool {
	found := false
	for _, v := range m.layout.tensors {
		a, ok := m.kept.params[v]
		if n := m.layout.maker(v); ok && a != m.params[v] && n != nil {
			m.why[n] = Reason{ID: "scales-differ", Text: "the model has different scales before and behind it, between which codes cannot move"}
			found = true
		}
	}
	return found
}

// endInFloat lets products end in float that are static only because the model quantizes their inputs, where that is for the sake
// of no other product and convolution: sums and the like would be in integers, at a loss, between floats. It reports whether it
// found one.
func (m *planner) endInFloat() bool {
	found := false
	for _, s := range m.sites {
		if s.Kind != Product || m.mode(s) == ModeStatic || !m.layout.static[s.Node] || !m.keptInput(s) || m.layout.maker(s.Node.Input(s.Input())) != nil {
			continue
		}
		end := m.layout.end(s.Node)
		weighted := func(u onnx.Use) bool { return m.layout.rule(u.Node).Support == target.Weighted && m.layout.takes(u) }
		if !m.float[end] && !m.kept.has(end) && m.layout.coded(s.Node, end) && !slices.ContainsFunc(end.Uses(), weighted) {
			m.float[end], found = true, true
		}
	}
	return found
}

// keptInput reports whether the model quantizes what a site's weights are multiplied with.
func (m *planner) keptInput(s *Site) bool {
	return m.kept.pairs[onnx.Use{Node: s.Node, Index: s.Input()}]
}

// keptInputs returns the parameters of the inputs that a node stays to take through QuantizeLinear and DequantizeLinear.
func (m *planner) keptInputs(n *onnx.Node) map[string]Activation {
	var a map[string]Activation
	for i, v := range n.Inputs() {
		if m.kept.pairs[onnx.Use{Node: n, Index: i}] {
			if a == nil {
				a = map[string]Activation{}
			}
			a[v.Name()] = m.kept.params[v]
		}
	}
	return a
}

// tellOrigin completes the decision for a node by what the model came with.
func (m *planner) tellOrigin(n *onnx.Node, d *Node) {
	if d.Scheme != Static && d.Scheme != Fused {
		d.Activations = m.keptInputs(n)
	}
	r := m.origin(n)
	if r.ID == "" || m.why[n].ID != "" {
		return
	}
	s := m.site[n]
	switch {
	case d.Scheme == Static:
		d.Reason = r
	case d.Scheme == Float || d.Scheme == WeightOnly && s.Kept != nil && s.Kind != Table:
		d.Scheme, d.Reason = Float, r
	}
}

// Touches reports whether a node of the prepared model takes what the model came with as codes, or computes with codes.
func (e *Existing) Touches(n *onnx.Node) bool {
	for i, v := range n.Inputs() {
		if e.Constants[v] != nil || e.pairs[onnx.Use{Node: n, Index: i}] || rewrite.ProducedBy(v, "QuantizeLinear", "DequantizeLinear") != nil {
			return true
		}
	}
	return IsQuantized(n.Op)
}

// IsQuantized reports whether an operator exists in quantized models only.
func IsQuantized(op string) bool {
	return strings.Contains(op, "Quantize") || strings.Contains(op, "quantize") || strings.HasPrefix(op, "QLinear") || strings.HasSuffix(op, "Integer") ||
		slices.Contains([]string{"QGemm", "QAttention", "MatMulIntegerToFloat", "MatMulNBits"}, op)
}

// origin returns the reason of a node that the model came with quantized, all of it or in part; an empty one for others.
func (m *planner) origin(n *onnx.Node) Reason {
	e := &m.kept
	switch {
	case !e.Touches(n):
		return Reason{}
	case m.layout != nil && m.layout.static[n] && !m.whole(n):
		return Reason{ID: completed, Text: "the model came with part of its quantization, which is kept; the rest was added, or put as the target computes it"}
	}
	return Reason{ID: alreadyQuantized, Text: "the model came with its quantization, which is kept"}
}

// whole reports whether a static node is already as it will be.
func (m *planner) whole(n *onnx.Node) bool {
	e, s := &m.kept, m.site[n]
	for i, v := range n.Inputs() {
		k, computed := e.Constants[v], onnx.Uint8
		switch {
		case k != nil && k.Weights == nil:
			computed = onnx.Int32
		case s != nil && i == s.Inputs[0]:
			computed = onnx.Int8
		}
		switch {
		case v == nil:
		case k != nil:
			if k.from != computed || k.Zeros == nil && computed != onnx.Int32 {
				return false
			}
		case e.pairs[onnx.Use{Node: n, Index: i}]:
			if e.retyped[v] {
				return false
			}
		case slices.Contains(m.layout.operands(n), i) && rewrite.ProducedBy(v, "DequantizeLinear") == nil || v.Const() != nil && isFloat32(v):
			return false
		}
	}
	direct := func(u onnx.Use) bool { return !e.pairs[u] && !u.Node.Is("QuantizeLinear") }
	for _, o := range n.Outputs() {
		if len(n.Outputs()) == 1 {
			o = m.layout.end(n)
		}
		if o != nil && m.layout.coded(n, o) && (!e.has(o) || e.retyped[o] || o.IsOutput() || slices.ContainsFunc(o.Uses(), direct)) {
			return false
		}
	}
	return !e.bends(n)
}

// unusable says why weights that the model came with as codes only stay as they are; empty when the target computes with them.
func (s *Site) unusable() string {
	switch w := s.Kept; {
	case w == nil || s.Kind != Conv && s.Kind != Product && s.Kind != Table:
		return fmt.Sprintf("weights of %s that are quantized already are kept as they are", s.Node.Op)
	case w.Axis != quantize.PerTensor && w.Axis != s.Axes[0]:
		return fmt.Sprintf("its quantized weights have scales along axis %d, with which no runtime computes in integers: they are kept as they are", w.Axis)
	case w.Zeros != nil && s.Kind == Table:
		return "its quantized table has zero points: it is kept as it is"
	}
	return ""
}
