package onnx

import (
	"fmt"
	"slices"
)

// verify reports the first broken link of a main graph and what is inside: producers and uses that do not match, lists
// out of step with marks. Edits through the package's methods never break one.
func (g *Graph) verify() error {
	uses := map[*Value]map[Use]bool{}
	outputs := map[*Value]map[*Graph]int{}
	if err := g.verifyParts(uses, outputs); err != nil {
		return err
	}
	return g.verifyUses(uses, outputs)
}

// verifyParts checks everything but uses and output marks, which it collects as the nodes and graphs tell them.
func (g *Graph) verifyParts(uses map[*Value]map[Use]bool, outputs map[*Value]map[*Graph]int) error {
	defined := map[*Value]bool{}
	define := func(v *Value, what string) error {
		switch {
		case v.graph != g:
			return fmt.Errorf("%s %q belongs to another graph", what, v.name)
		case g.values[v.name] != v:
			return fmt.Errorf("%s %q is not known by its name", what, v.name)
		}
		defined[v] = true
		return nil
	}
	for _, v := range g.inputs {
		if err := define(v, "input"); err != nil {
			return err
		}
		if !v.input || v.producer != nil {
			return fmt.Errorf("input %q is not marked as one", v.name)
		}
	}
	for _, v := range g.consts {
		if err := define(v, "initializer"); err != nil {
			return err
		}
		if v.constant == nil || v.producer != nil {
			return fmt.Errorf("initializer %q has no tensor or has a producer", v.name)
		}
	}
	var prev *Node
	for n := g.first; n != nil; prev, n = n, n.next {
		if n.graph != g || n.prev != prev {
			return fmt.Errorf("node %q (%s) is not linked well", n.Name, n.Op)
		}
		for i, v := range n.outputs {
			if v == nil {
				continue
			}
			if defined[v] {
				return fmt.Errorf("value %q is defined twice", v.name)
			}
			if err := define(v, "output"); err != nil {
				return err
			}
			if v.producer != n || v.index != i || v.input || v.constant != nil {
				return fmt.Errorf("output %q does not know its producer", v.name)
			}
		}
		for i, v := range n.inputs {
			if v == nil {
				continue
			}
			if uses[v] == nil {
				uses[v] = map[Use]bool{}
			}
			uses[v][Use{n, i}] = true
		}
		for _, s := range n.Subgraphs() {
			if s.owner != n {
				return fmt.Errorf("a subgraph of node %q (%s) has another owner", n.Name, n.Op)
			}
			if err := s.verifyParts(uses, outputs); err != nil {
				return err
			}
		}
	}
	if prev != g.last {
		return fmt.Errorf("the last node is not linked well")
	}
	if len(defined) != len(g.values) {
		return fmt.Errorf("%d values are known by name, %d are defined", len(g.values), len(defined))
	}
	for _, v := range g.outputs {
		if outputs[v] == nil {
			outputs[v] = map[*Graph]int{}
		}
		outputs[v][g]++
	}
	return nil
}

func (g *Graph) verifyUses(uses map[*Value]map[Use]bool, outputs map[*Value]map[*Graph]int) error {
	for _, v := range g.values {
		if len(v.uses) != len(uses[v]) {
			return fmt.Errorf("%q knows %d uses, nodes have %d", v.name, len(v.uses), len(uses[v]))
		}
		for i, u := range v.uses {
			if !uses[v][u] || slices.Contains(v.uses[:min(i, 100)], u) {
				return fmt.Errorf("%q knows a use that is none or known twice: input %d of node %q (%s)", v.name, u.Index, u.Node.Name, u.Node.Op)
			}
		}
		total := 0
		for _, k := range outputs[v] {
			total += k
		}
		if total != len(v.outputIn) {
			return fmt.Errorf("%q is an output %d times but counts %d", v.name, total, len(v.outputIn))
		}
		for _, o := range v.outputIn {
			if outputs[v][o] == 0 {
				return fmt.Errorf("%q counts as output of a graph that has it not", v.name)
			}
		}
	}
	for n := range g.Nodes() {
		for _, s := range n.Subgraphs() {
			if err := s.verifyUses(uses, outputs); err != nil {
				return err
			}
		}
	}
	return nil
}
