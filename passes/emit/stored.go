package emit

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/passes/prepare"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
)

// storeWeights replaces constant weights by Mul(Cast(int8), scale), which the runtime folds to float when it loads the model.
func (e *emitter) storeWeights() error {
	type scaledKey struct {
		stored *stored
		graph  *onnx.Graph // of the nodes: what a branch computes exists there only
	}
	scaled := map[scaledKey]*onnx.Value{}
	return e.each(func(s *plan.Site, d *plan.Node) error {
		for i, in := range s.Inputs {
			if isHalf(d) {
				s.Node.SetInput(in, e.half(s, i))
				continue
			}
			st, inFloat, err := e.inFloat(s, i, d.Weights)
			if err != nil {
				return err
			}
			key := scaledKey{st, s.Node.Graph()}
			if scaled[key] == nil {
				scaled[key] = inFloat()
			}
			float, err := e.besideWeights(s, d.Weights, scaled[key])
			if err != nil {
				return err
			}
			s.Node.SetInput(in, float)
		}
		return nil
	}, plan.WeightOnly, plan.Conv, plan.Product, plan.Recurrent, plan.Stored)
}

func isHalf(d *plan.Node) bool { return d.Weights != nil && d.Weights.IsHalf() }

// half stores constant operand i of a site in float16, behind a Cast.
func (e *emitter) half(s *plan.Site, i int) *onnx.Value {
	v := s.Weight(i)
	if e.widened[v] == nil {
		e.widened[v] = widened(v, e.constant(v.Graph(), v.Name()+"_float16", s.Half(i)))
	}
	return e.widened[v]
}

// inFloat stores constant operand i of a site, and returns what computes it in float for the site's node.
func (e *emitter) inFloat(s *plan.Site, i int, w *plan.Weights) (*stored, func() *onnx.Value, error) {
	if w != nil && inRows(w) {
		b, err := e.blocked(s, i, w)
		if err != nil {
			return nil, nil, err
		}
		return b.stored, func() *onnx.Value { return e.float(s.Node, b) }, nil
	}
	st, err := e.weights(s, i, w, asIs)
	return st, func() *onnx.Value { return e.scaled(s.Node, st) }, err
}

// inRows reports whether weights have scales or zero points that do not simply broadcast over them.
func inRows(w *plan.Weights) bool {
	f, _ := quantize.FormatNamed(w.Type)
	return w.Block > 0 || !f.Grid.Symmetric
}

// inFewBits writes the products that take weights as they are stored.
func (e *emitter) inFewBits() error {
	return e.each(func(s *plan.Site, d *plan.Node) error {
		switch {
		case d.Weights == nil:
		case d.Weights.Storage == plan.Native:
			return e.nbits(s, d)
		case d.Weights.Storage == plan.QDQ:
			return e.inBlocks(s, d)
		}
		return nil
	}, plan.WeightOnly, plan.Product)
}

// storeHalves stores those float32 constants that the plan left alone in a half-precision type of the input model, so that the
// file does not grow because the model computes in float32.
func (e *emitter) storeHalves() error {
	for _, v := range e.floats {
		if v.Const() == nil || v.Const().Len() < plan.MinWeights || v.IsInput() { // nil: no longer there
			continue
		}
		for _, half := range e.prepared.Halves {
			if t := prepare.Narrowed(v.Const(), half); t != nil {
				storeHalf(v, t)
				break
			}
		}
	}
	return nil
}

// storeHalf puts a Cast of t, which has the same numbers, in the place of the constant v.
func storeHalf(v *onnx.Value, t *onnx.Tensor) {
	g := v.Graph()
	if onnx.Replace(v, widened(v, g.AddConst(v.Name()+"_"+t.Type.String(), t))) {
		g.DropConst(v)
	}
}

// widened casts the constant half, which stands for v, to float32.
func widened(v, half *onnx.Value) *onnx.Value {
	return v.Graph().InsertAfter(nil, onnx.NodeSpec{
		Op: "Cast", Inputs: []*onnx.Value{half}, Outputs: []string{v.Name() + "_f32"}, Attrs: []*onnx.Attribute{onnx.AttrI("to", int64(onnx.Float32))},
	}).Output(0)
}

// halfTable replaces Gather(table, i) by Cast(Gather(halves, i)).
func (e *emitter) halfTable(s *plan.Site) error {
	n, v := s.Node, s.Weight(0)
	table := e.constant(v.Graph(), v.Name()+"_float16", s.Half(0))
	rows := e.before(n, "Gather", n.Output(0).Name()+"_rows", []*onnx.Value{table, n.Input(1)})
	return e.replace(n, e.before(n, "Cast", n.Output(0).Name()+"_f32", []*onnx.Value{rows}, onnx.AttrI("to", int64(onnx.Float32))))
}

// scaled computes stored weights in float, in front of n.
func (e *emitter) scaled(n *onnx.Node, st *stored) *onnx.Value {
	name := st.name
	float := e.before(n, "Cast", name+"_cast", []*onnx.Value{e.int8(n, st)}, onnx.AttrI("to", int64(onnx.Float32)))
	return e.before(n, "Mul", name+"_scaled", []*onnx.Value{float, e.broadcastScales(st)})
}

// broadcastScales returns the scales in the shape in which they broadcast over the codes.
func (e *emitter) broadcastScales(st *stored) *onnx.Value {
	q := st.weights
	if q.Axis == quantize.PerTensor || q.Axis == len(q.Dims)-1 { // the last axis of the codes too
		return st.scales
	}
	dims := q.ScaleDims()
	if len(st.dims) > len(dims) {
		dims = append(slices.Clone(st.dims[:len(st.dims)-1]), 1)
	}
	return e.constant(st.scales.Graph(), st.scales.Name(), st.scales.Const().Reshaped(dims...))
}

// tables replaces Gather(table, i) by Gather(codes, i) · Gather(row scales, i): the table is never float in memory.
func (e *emitter) tables() error {
	return e.each(func(s *plan.Site, d *plan.Node) error {
		switch {
		case d.Weights != nil && d.Weights.Storage == plan.Native:
			return e.gatherBlocks(s, d)
		case d.Weights != nil && d.Weights.Storage != plan.Plain:
			return e.blockedTable(s, d)
		}
		n := s.Node
		if isHalf(d) {
			return e.halfTable(s)
		}
		st, err := e.weights(s, 0, d.Weights, asIs)
		if err != nil {
			return err
		}
		name := n.Output(0).Name()
		rows := e.before(n, "Gather", name+"_rows", []*onnx.Value{st.codes, n.Input(1)})
		float := e.before(n, "Cast", name+"_cast", []*onnx.Value{rows}, onnx.AttrI("to", int64(onnx.Float32)))
		scale := e.broadcastScales(st)
		if st.weights.Axis != quantize.PerTensor {
			scale = e.before(n, "Gather", name+"_row_scale", []*onnx.Value{scale, n.Input(1)})
		}
		return e.replace(n, e.before(n, "Mul", name+"_scaled", []*onnx.Value{float, scale}))
	}, plan.WeightOnly, plan.Table)
}
