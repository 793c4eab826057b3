package prepare

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// InlineBranches puts the branch that an If always takes in its place.
var InlineBranches = rewrite.Pass{
	Name: "inline-branches",
	Doc:  "put the branch of an If whose condition is constant in the place of the If",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		for {
			inlined := 0
			for g := range rewrite.Graphs(m) {
				for n := range g.Nodes() {
					if b := takenBranch(n); b != nil {
						inlineBranch(c, n, b)
						inlined++
					}
				}
			}
			if inlined == 0 {
				return nil
			}
			c.Logf("%d branches that are always taken stand in place of their If", inlined)
			// Shapes that the branches did not agree on are known now, and more conditions with them.
			if err := FoldShapes.Run(c, m); err != nil {
				return err
			}
		}
	},
}

// takenBranch returns the branch that n, an If, takes by a constant condition; else nil.
func takenBranch(n *onnx.Node) *onnx.Graph {
	if !n.Is("If") {
		return nil
	}
	cond, ok := rewrite.ConstInts(n.Input(0))
	if !ok || len(cond) != 1 {
		return nil
	}
	name := "else_branch"
	if cond[0] != 0 {
		name = "then_branch"
	}
	if a := n.Attr(name); a != nil && a.Graph != nil && len(a.Graph.Outputs()) == len(n.Outputs()) {
		return a.Graph
	}
	return nil
}

// inlineBranch moves the nodes and initializers of a branch in front of the If n, which it removes. Nodes are named by the
// keys that they had; tensors keep their names as far as no other graph has them.
func inlineBranch(c *rewrite.Context, n *onnx.Node, branch *onnx.Graph) {
	g := n.Graph()
	now := map[*onnx.Value]*onnx.Value{}
	names := map[*onnx.Value]string{}
	var order []*onnx.Value
	became := func(old, v *onnx.Value) {
		v.Type, v.Doc, v.Metadata = old.Type, old.Doc, old.Metadata
		now[old], names[v] = v, old.Name()
		order = append(order, v)
		onnx.ReplaceUses(old, v)
		c.Trace.Became(old, v)
	}
	for _, old := range branch.Consts() {
		became(old, g.AddConst(old.Name(), old.Const()))
	}
	keys := branch.Keys()
	for old := range branch.Nodes() {
		s := onnx.NodeSpec{Op: old.Op, Domain: old.Domain, Name: keys[old], Inputs: old.Inputs(), Attrs: old.Attrs}
		for _, v := range old.Outputs() {
			if v == nil {
				s.Outputs = append(s.Outputs, "")
				continue
			}
			s.Outputs = append(s.Outputs, v.Name())
		}
		moved := g.InsertBefore(n, s)
		moved.Overload, moved.Doc, moved.Metadata = old.Overload, old.Doc, old.Metadata
		old.Attrs = nil // the graphs in them are moved's
		for i, v := range old.Outputs() {
			if v != nil {
				became(v, moved.Output(i))
			}
		}
		for _, inner := range moved.Subgraphs() {
			handOn(inner, now)
		}
	}
	for i, out := range n.Outputs() {
		if out == nil {
			continue
		}
		v := branch.Outputs()[i]
		if moved := now[v]; moved != nil {
			v = moved
		}
		if !onnx.Replace(out, v) {
			v = g.InsertBefore(n, onnx.NodeSpec{Op: "Identity", Inputs: []*onnx.Value{v}, Outputs: []string{out.Name()}}).Output(0)
			onnx.Replace(out, v)
		}
		c.Trace.Became(out, v)
	}
	g.Remove(n)
	taken := map[string]bool{}
	collectNames(g.Root(), taken)
	for _, v := range order {
		if name := names[v]; !taken[name] && v.Graph() != nil && !slices.Contains(g.Outputs(), v) {
			taken[name] = true
			v.Rename(name)
		}
	}
}

// handOn makes the graphs inside g that hand on a moved value of the branch hand on what it is now.
func handOn(g *onnx.Graph, now map[*onnx.Value]*onnx.Value) {
	for i, v := range g.Outputs() {
		if moved := now[v]; moved != nil {
			g.SetOutput(i, moved)
		}
	}
	for n := range g.Nodes() {
		for _, s := range n.Subgraphs() {
			handOn(s, now)
		}
	}
}

// collectNames notes the names of the values of g and the graphs inside.
func collectNames(g *onnx.Graph, names map[string]bool) {
	for _, v := range g.Inputs() {
		names[v.Name()] = true
	}
	for _, v := range g.Consts() {
		names[v.Name()] = true
	}
	for n := range g.Nodes() {
		for _, v := range n.Outputs() {
			if v != nil {
				names[v.Name()] = true
			}
		}
		for _, s := range n.Subgraphs() {
			collectNames(s, names)
		}
	}
}
