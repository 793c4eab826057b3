package emit

import "github.com/zqonnx/zqonnx/plan"

// equalise scales the float model as the planner did, before it looked at it.
func (e *emitter) equalise() error {
	done, err := plan.CarryOut(e.plan.Equalised, e.model)
	for _, s := range done {
		for _, v := range s.Values {
			if v.Graph() == e.model.Graph {
				e.smaller = append(e.smaller, v.Name())
			}
		}
	}
	return err
}

func (e *emitter) renameScaled() error {
	g := e.model.Graph
	for _, name := range e.smaller {
		if v := g.Value(name); v != nil {
			v.Rename(g.FreshName(name + "_scaled"))
		}
	}
	return nil
}
