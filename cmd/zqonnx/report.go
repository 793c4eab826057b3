package main

import (
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/verify"
)

// describePlan adds to a report what the plan made of the model.
func describePlan(r *verify.Report, p *plan.Plan) {
	r.Target = p.Target
	for _, n := range p.Nodes {
		r.Nodes = append(r.Nodes, verify.Node{Key: n.Key, Op: n.Op, Scheme: string(n.Scheme), ReasonID: n.Reason.ID, Reason: n.Why()})
	}
}
