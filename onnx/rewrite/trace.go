package rewrite

import (
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// A Trace knows, for every tensor of the model it was made for, the value that carries its meaning now. Names are those of
// that model: the tensor's own in the main graph; inside subgraphs with the owner's key in front, as in node keys
// (If_3/then_branch/NAME). All methods may be called on a nil Trace, which records nothing.
type Trace struct {
	now   map[string]*onnx.Value   // no entry or nil: gone
	names map[*onnx.Value][]string // the inverse, in no order
}

// NewTrace starts a trace: every tensor of m is itself.
func NewTrace(m *onnx.Model) *Trace {
	t := &Trace{now: map[string]*onnx.Value{}, names: map[*onnx.Value][]string{}}
	t.enter(m.Graph, "")
	return t
}

func (t *Trace) enter(g *onnx.Graph, prefix string) {
	add := func(v *onnx.Value) {
		if v != nil && t.names[v] == nil {
			t.now[prefix+v.Name()] = v
			t.names[v] = []string{prefix + v.Name()}
		}
	}
	for _, v := range g.Inputs() {
		add(v)
	}
	for _, v := range g.Consts() {
		add(v)
	}
	for n := range g.Nodes() {
		for _, v := range n.Outputs() {
			add(v)
		}
		if len(n.Subgraphs()) == 0 {
			continue
		}
		for _, a := range n.Attrs {
			for _, s := range append(slices.Clone(a.Graphs), a.Graph) {
				if s != nil {
					t.enter(s, n.Key()+"/"+a.Name+"/")
				}
			}
		}
	}
}

// Became records that new now carries the meaning of old: the same numbers, up to rounding and quantization.
func (t *Trace) Became(old, new *onnx.Value) {
	if t == nil || old == new {
		return
	}
	for _, name := range t.names[old] {
		t.now[name] = new
	}
	t.names[new] = append(t.names[new], t.names[old]...)
	delete(t.names, old)
}

// Gone records that no value carries the meaning of old any more; old itself may live on with another meaning.
func (t *Trace) Gone(old *onnx.Value) {
	if t == nil {
		return
	}
	for _, name := range t.names[old] {
		delete(t.now, name)
	}
	delete(t.names, old)
}

// Value returns the value that carries the meaning of the original model's tensor of that name; nil when there is none left.
func (t *Trace) Value(name string) *onnx.Value {
	if t == nil {
		return nil
	}
	if v := t.now[name]; v != nil && v.Graph() != nil {
		return v
	}
	return nil
}

// Names returns the names of the original model's tensors whose meaning v carries, sorted.
func (t *Trace) Names(v *onnx.Value) []string {
	if t == nil {
		return nil
	}
	return slices.Sorted(slices.Values(t.names[v]))
}
