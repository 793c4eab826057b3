package engine

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
)

var controlOps = []op{
	{"", "If", 1, 0, makeIf},
	{"", "Identity", 1, 0, makeIdentity},
}

// block runs a subgraph after its inputs were set.
func (r *run) block(b *block) error { return r.f.exec(b, nil) }

// take copies a value of a subgraph to output i: the subgraph's buffers are used again.
func (r *run) take(i, slot int) {
	v := r.f.values[slot]
	switch {
	case !r.wants(i):
	case v.isSeq || v.t == nil:
		r.f.values[r.s.out[i]] = v
	case v.t.Type == onnx.String:
		r.set(i, v.t)
	default:
		copy(r.out(i, v.t.Type, v.t.Dims...).Bytes(), v.t.Bytes())
	}
}

func makeIf(b *builder, n *onnx.Node) (kernel, error) {
	var branches [2]*block
	for i, name := range []string{"else_branch", "then_branch"} {
		a := n.Attr(name)
		if a == nil || a.Graph == nil {
			return nil, fmt.Errorf("attribute %q is missing: %w", name, onnx.ErrBadModel)
		}
		var err error
		if branches[i], err = b.subgraph(a.Graph); err != nil {
			return nil, err
		}
		if len(branches[i].outputs) != len(n.Outputs()) {
			return nil, fmt.Errorf("%s has %d outputs, the node %d: %w", name, len(branches[i].outputs), len(n.Outputs()), onnx.ErrBadModel)
		}
	}
	return func(r *run) error {
		c := r.in(0)
		if c.Type != onnx.Bool || c.Len() != 1 {
			return fmt.Errorf("the condition must be one bool, not %s%v", c.Type, c.Dims)
		}
		blk := branches[0]
		if onnx.Data[bool](c)[0] {
			blk = branches[1]
		}
		if err := r.block(blk); err != nil {
			return err
		}
		for i, o := range blk.outputs {
			r.take(i, o)
		}
		return nil
	}, nil
}

func makeIdentity(*builder, *onnx.Node) (kernel, error) {
	return func(r *run) error {
		if r.in(0) == nil { // a sequence or an empty optional
			r.f.values[r.s.out[0]] = r.f.values[r.s.in[0]]
			return nil
		}
		r.alias(0, 0, r.in(0).Dims...)
		return nil
	}, nil
}
