package plan

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/target"
)

// A region is a set of static nodes between which tensors pass as codes.
type region struct {
	nodes   []*onnx.Node
	tensors []*onnx.Value
}

// regions returns the regions of the layout, in the order of their tensors.
func (l *layout) regions() []*region {
	of := map[*onnx.Node]*region{}
	for _, v := range l.tensors {
		r := &region{}
		for _, n := range l.sharing(v) {
			switch o := of[n]; {
			case o == nil:
				of[n] = r
				r.nodes = append(r.nodes, n)
			case o != r:
				for _, k := range r.nodes {
					of[k] = o
				}
				o.nodes, o.tensors = append(o.nodes, r.nodes...), append(o.tensors, r.tensors...)
				r = o
			}
		}
		r.tensors = append(r.tensors, v)
	}
	var all []*region
	seen := map[*region]bool{}
	for _, v := range l.tensors {
		for _, n := range l.sharing(v) {
			if r := of[n]; !seen[r] {
				seen[r] = true
				all = append(all, r)
			}
		}
	}
	return all
}

// sharing returns the static nodes that make or take the codes of v.
func (l *layout) sharing(v *onnx.Value) []*onnx.Node {
	var nodes []*onnx.Node
	if n := l.maker(v); n != nil {
		nodes = append(nodes, n)
	}
	for _, u := range v.Uses() {
		if l.takes(u) {
			nodes = append(nodes, u.Node)
		}
	}
	return nodes
}

// dropUnpaid takes the regions out of the layout that integers make slower than float, and reports whether it found one:
// small convolutions cost less than turning their inputs into codes and their outputs back.
func (m *planner) dropUnpaid() bool {
	if m.Activations != ModeAuto || m.runner == nil || m.Target.Convs == nil {
		return false
	}
	found := false
	for _, r := range m.layout.regions() {
		if slices.ContainsFunc(r.tensors, m.kept.has) { // the model is quantized there already
			continue
		}
		float, static := m.regionCost(r)
		if static <= float {
			continue
		}
		for _, n := range r.nodes {
			s := m.site[n]
			if s == nil || m.scheme[s] != Static {
				continue
			}
			m.scheme[s] = m.fallback(s)
			m.unpaid[s] = Reason{
				ID:      "integers-cost",
				Text:    fmt.Sprintf("weights stored in 8 bits, computed in float: in integers the %d nodes here would take longer", len(r.nodes)),
				Numbers: map[string]float64{"float_us": round(float), "static_us": round(static)},
			}
			found = true
		}
	}
	return found
}

// regionCost estimates the microseconds of a region's convolutions and products in float and in integers, each with what it
// costs to enter and to leave. Nodes between them count as equal in both.
func (m *planner) regionCost(r *region) (float, static float64) {
	convs := m.Target.Convs
	for _, n := range r.nodes {
		s := m.site[n]
		switch {
		case s == nil:
		case s.Kind == Conv:
			c := m.convCosts(s)
			float, static = float+c.float, static+c.static
		case s.Kind == Product:
			c := m.cost(s)
			float += c.float
			static += min(c.dynamic, c.float) // the codes are there already
		}
	}
	for _, v := range r.tensors {
		made := m.layout.maker(v) != nil
		leaves := v.IsOutput() || slices.ContainsFunc(v.Uses(), func(u onnx.Use) bool { return !m.layout.takes(u) })
		if made && leaves || !made && v.Const() == nil {
			signal := rewrite.Rank(v) == 3
			float += convs[target.ConvForm{Form: target.FloatForm, Signal: signal}].Crossing(m.elements(v))
			static += convs[target.ConvForm{Form: target.StaticForm, Signal: signal}].Crossing(m.elements(v))
		}
	}
	return float, static
}

// elements returns how many elements v has in the first sample; 0 when that is not known.
func (m *planner) elements(v *onnx.Value) float64 {
	if d := m.runner.dims[v.Name()]; d != nil {
		return float64(onnx.NumElements(d))
	}
	n := 1.0
	for _, d := range rewrite.Shape(v) {
		if d.Size < 0 {
			return 0
		}
		n *= float64(d.Size)
	}
	return n
}

// channelBlock is how many output channels the target computes at once.
const channelBlock = 16

// convCosts estimates a convolution inside a chain at the shapes of the first sample; zero where they are not known.
func (m *planner) convCosts(s *Site) costs {
	in, out := m.runner.dims[s.Node.Input(0).Name()], m.runner.dims[s.Node.Output(0).Name()]
	w := s.Weight(0).Const().Dims
	if len(in) != len(w) || len(out) != len(w) || len(w) < 3 {
		return costs{}
	}
	taps, all := 1.0, 1.0
	for i := 2; i < len(w); i++ {
		taps *= realTaps(in[i], out[i], w[i], at(s.Node.Ints("strides"), i-2), at(s.Node.Ints("dilations"), i-2))
		all *= float64(out[i] * w[i])
	}
	batch, perChannel := float64(out[0]), float64(w[1])
	blocks := float64((w[0] + channelBlock - 1) / channelBlock * channelBlock)
	shape := target.ConvShape{
		MACs:    batch * blocks * perChannel * taps,
		Outputs: float64(onnx.NumElements(out)),
		Taps:    batch * all,
		Columns: batch * all * float64(in[1]),
		Weights: float64(onnx.NumElements(w)),
	}
	form := target.ConvForm{Form: target.FloatForm, Signal: len(w) == 3, Depthwise: w[1] == 1 && in[1] > 1}
	c := costs{float: m.Target.Convs[form].Inside(shape)}
	form.Form, shape.MACs = target.StaticForm, batch*blocks*perChannel*all
	c.static = m.Target.Convs[form].Inside(shape)
	return c
}

// at returns element i of strides or dilations, which are 1 where they are left out.
func at(x []int64, i int) int64 {
	if i < len(x) {
		return x[i]
	}
	return 1
}

// realTaps returns how many pairs of output and kernel position along one axis meet an input that is no padding. Padding lies
// evenly on both sides.
func realTaps(in, out, kernel, stride, dilation int64) float64 {
	before := max(0, (out-1)*stride+(kernel-1)*dilation+1-in) / 2
	n := 0
	for o := range out {
		for k := range kernel {
			if i := o*stride + k*dilation - before; i >= 0 && i < in {
				n++
			}
		}
	}
	return float64(n)
}
