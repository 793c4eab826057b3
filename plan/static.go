package plan

import (
	"slices"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/target"
)

// A layout says which nodes of the main graph run in integers and which tensors lie between them as codes. It is found
// from the target's table: what would not fuse is not placed.
type layout struct {
	target *target.Target
	kept   *Existing
	// float names the tensors that must stay float, on the guard's word.
	float map[*onnx.Value]bool
	// static has the nodes with an integer kernel and those that move codes.
	static map[*onnx.Node]bool
	// fused has the Relu and Clip nodes that the QuantizeLinear behind them makes redundant, and the node each vanishes into.
	fused map[*onnx.Node]*onnx.Node
	// tensors are those that exist as codes, in graph order.
	tensors []*onnx.Value
}

// place lays out the graph around the weighted nodes. allowed says which of them may run in integers; those in follows only
// do so where their input comes from integers; barred nodes of any operator stay float.
func place(t *target.Target, kept *Existing, g *onnx.Graph, allowed, follows, barred map[*onnx.Node]bool, float map[*onnx.Value]bool) *layout {
	l := &layout{target: t, kept: kept, float: float, static: map[*onnx.Node]bool{}, fused: map[*onnx.Node]*onnx.Node{}}
	for n := range g.Nodes() {
		if barred[n] {
			continue
		}
		switch l.rule(n).Support {
		case target.Weighted:
			l.static[n] = allowed[n]
		case target.Integer, target.Moving:
			l.static[n] = isFloat32(n.Input(0)) || n.Is("Concat")
		}
	}
	l.fuse(g)
	// From the largest layout down: dropping a node may take the ground from its neighbours.
	for changed := true; changed; {
		changed = false
		for n := range g.Nodes() {
			if l.static[n] && !l.stands(n, follows[n]) {
				l.static[n] = false
				delete(l.fused, l.follower(n))
				changed = true
			}
		}
	}
	for n, ok := range l.static {
		if !ok {
			delete(l.static, n)
		}
	}
	l.collect(g)
	return l
}

func (l *layout) rule(n *onnx.Node) target.Rule {
	if n.Domain != "" && n.Domain != "ai.onnx" {
		return target.Rule{Op: n.Op}
	}
	if l.kept.bends(n) {
		return l.target.Rule("LeakyRelu") // with slope 0
	}
	return l.target.Rule(n.Op)
}

// moves reports whether a node only moves codes.
func (l *layout) moves(n *onnx.Node) bool { return l.rule(n).Support == target.Moving }

// fuse finds the Relu and Clip nodes that can vanish into the node before them.
func (l *layout) fuse(g *onnx.Graph) {
	for n := range g.Nodes() {
		if l.rule(n).Support != target.Absorbed || !bounded(n) || l.kept.stays(n) {
			continue
		}
		p, i := n.Input(0).Producer()
		if p == nil || i != 0 || !l.static[p] || p.Graph() != g || rewrite.OnlyUse(n.Input(0)) != n {
			continue
		}
		if s := l.rule(p); s.Support == target.Weighted || s.Support == target.Integer && s.Range == 0 {
			l.fused[n] = p
		}
	}
}

// bounded reports whether a QuantizeLinear with zero point at the type's minimum makes the node redundant: Relu, and Clip
// from 0 to a constant.
func bounded(n *onnx.Node) bool {
	if n.Is("Relu") {
		return true
	}
	lo, hi := constant(n, 1), constant(n, 2)
	return lo != nil && hi != nil && lo.Type == onnx.Float32 && hi.Type == onnx.Float32 && lo.Len() == 1 && hi.Len() == 1 &&
		onnx.Data[float32](lo)[0] == 0 && onnx.Data[float32](hi)[0] > 0
}

// upper returns the bound a fused Clip sets; 0 when there is none.
func upper(n *onnx.Node) float32 {
	if n != nil && n.Is("Clip") {
		return onnx.Data[float32](constant(n, 2))[0]
	}
	return 0
}

// follower returns the node fused into n; nil when there is none.
func (l *layout) follower(n *onnx.Node) *onnx.Node {
	if out := n.Output(0); out != nil && len(out.Uses()) == 1 {
		if f := out.Uses()[0].Node; l.fused[f] == n {
			return f
		}
	}
	return nil
}

// end returns the tensor in which the work of a static node ends: its output, or that of the node fused into it.
func (l *layout) end(n *onnx.Node) *onnx.Value {
	if f := l.follower(n); f != nil {
		return f.Output(0)
	}
	return n.Output(0)
}

// maker returns the static node whose codes v are; nil when v is computed in float.
func (l *layout) maker(v *onnx.Value) *onnx.Node {
	p, _ := v.Producer()
	if p == nil {
		return nil
	}
	if q := l.fused[p]; q != nil {
		p = q
	}
	if l.static[p] && (len(p.Outputs()) > 1 || l.end(p) == v) {
		return p
	}
	return nil
}

// operands returns the inputs that a static node takes as codes, constants of Add, Mul and Concat included.
func (l *layout) operands(n *onnx.Node) []int {
	switch l.rule(n).Support {
	case target.Weighted, target.Moving:
		return []int{0}
	case target.Integer:
		if l.kept.bends(n) {
			return []int{0}
		}
		var in []int
		for i := range n.Inputs() {
			in = append(in, i)
		}
		return in
	}
	return nil
}

// takes reports whether node u.Node takes its input u.Index as codes.
func (l *layout) takes(u onnx.Use) bool {
	return l.static[u.Node] && slices.Contains(l.operands(u.Node), u.Index) || u.Node.Is("QuantizeLinear") && l.kept.has(u.Node.Input(0))
}

// stands reports whether a node may stay in the layout.
func (l *layout) stands(n *onnx.Node, follows bool) bool {
	rule := l.rule(n)
	made := 0
	for _, i := range l.operands(n) {
		v := n.Input(i)
		switch {
		case v == nil || l.float[v]:
			return false
		case v.Const() != nil:
			if !isFloat32(v) || rule.Support != target.Integer {
				return false
			}
		default:
			if l.maker(v) != nil {
				made++
			}
		}
	}
	mayEnd := rule.FloatOut && l.kept.pairs[onnx.Use{Node: n}] // the model says that its input is codes
	for _, o := range n.Outputs() {
		if o != nil && (l.float[o] && !mayEnd || !isFloat32(o)) || l.float[l.end(n)] && !rule.FloatOut { // no floats: positions of MaxPool
			return false
		}
	}
	if rule.Support == target.Weighted {
		return !follows || made > 0
	}
	// In between: from integers and to integers at least once. Quantizing a second, float operand costs less than
	// dequantizing the first and quantizing the result.
	if made == 0 {
		return false
	}
	for _, o := range n.Outputs() {
		end := o
		if len(n.Outputs()) == 1 {
			end = l.end(n)
		}
		if o == nil {
			continue
		}
		if len(n.Outputs()) == 1 && end != o && len(o.Uses()) != 1 {
			return false
		}
		if slices.ContainsFunc(end.Uses(), l.takes) {
			return true
		}
	}
	// What shrinks a tensor that exists as codes anyway leaves less to dequantize.
	return rule.Shrinks && !l.rule(l.maker(n.Input(0))).FloatOut
}

// trap finds a weighted node that stays float between codes: from its DequantizeLinear and QuantizeLinear ONNX Runtime would
// conclude that it may quantize the weights itself, per tensor. It returns the node's input, which must stay float.
func (l *layout) trap() (*onnx.Value, *onnx.Node) {
	for _, v := range l.tensors {
		if l.maker(v) == nil || l.kept.has(v) { // what the model has is not undone
			continue
		}
		for _, u := range v.Uses() {
			n := u.Node
			if u.Index != 0 || l.static[n] || l.rule(n).Support != target.Weighted && !n.Is("ConvTranspose") {
				continue
			}
			end := n.Output(0)
			if f := rewrite.OnlyUse(end); f != nil && l.rule(f).Support == target.Absorbed {
				end = f.Output(0)
			}
			if slices.ContainsFunc(end.Uses(), l.takes) {
				return v, n
			}
		}
	}
	return nil, nil
}

// collect lists the tensors that exist as codes.
func (l *layout) collect(g *onnx.Graph) {
	seen := map[*onnx.Value]bool{}
	add := func(v *onnx.Value) {
		if v != nil && !seen[v] {
			seen[v] = true
			l.tensors = append(l.tensors, v)
		}
	}
	for n := range g.Nodes() {
		if !l.static[n] {
			continue
		}
		for _, i := range l.operands(n) {
			add(n.Input(i))
		}
		for _, o := range n.Outputs() {
			if o == nil {
				continue
			}
			if len(n.Outputs()) == 1 {
				o = l.end(n)
			}
			if l.coded(n, o) {
				add(o)
			}
		}
	}
}

// coded reports whether the output v of a static node is turned into codes: always, except that a product may end in float.
func (l *layout) coded(n *onnx.Node, v *onnx.Value) bool {
	return !l.rule(n).FloatOut || !l.float[v] && slices.ContainsFunc(v.Uses(), l.takes)
}

// source returns the tensor whose parameters v has: through nodes that only move codes to where they come from.
func (l *layout) source(v *onnx.Value) *onnx.Value {
	for {
		m := l.maker(v)
		if m == nil || !l.moves(m) {
			return v
		}
		v = m.Input(0)
	}
}

// readers returns who sees the codes of v: the static nodes that take them, and, where a static node makes them, all others too,
// since the float tensor exists nowhere then.
func (l *layout) readers(v *onnx.Value) []onnx.Use {
	made := l.maker(v) != nil
	return slices.DeleteFunc(slices.Clone(v.Uses()), func(u onnx.Use) bool { return !made && !l.takes(u) })
}

// overrides returns the edges that see the codes of v, with what they see. keys are those of the nodes.
func (l *layout) overrides(v *onnx.Value, keys map[*onnx.Node]string, f func(*onnx.Tensor) *onnx.Tensor) change {
	c := change{}
	for _, u := range l.readers(v) {
		c[engine.Edge{Node: keys[u.Node], Input: u.Index}] = f
	}
	if l.maker(v) != nil && v.IsOutput() {
		c[outputEdge(v.Name())] = f
	}
	return c
}

func isFloat32(v *onnx.Value) bool {
	if v == nil {
		return false
	}
	if c := v.Const(); c != nil {
		return c.Type == onnx.Float32
	}
	return v.Type == nil || v.Type.Kind == onnx.KindTensor && v.Type.Elem == onnx.Float32
}
