package plan

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// A Role is what a node with weights does in a transformer.
type Role string

// The roles.
const (
	Embedding       Role = "embedding"        // a table of which rows are gathered
	QKV             Role = "qkv"              // makes queries, keys or values of an attention
	AttentionOutput Role = "attention-output" // takes what an attention gives
	FC1             Role = "fc1"              // a product in front of the nonlinearity of a feed-forward block
	FC2             Role = "fc2"              // and the one behind it
)

// Roles finds the roles of a prepared model's sites from how they are connected: around each product with what a Softmax gives, and in
// front of and behind nonlinearities. Sites that have none are left out.
func Roles(m *onnx.Model) map[string]Role {
	r := &roles{site: map[*onnx.Node]*Site{}, role: map[*Site]Role{}}
	sites := Survey(m)
	for _, s := range sites {
		r.site[s.Node] = s
		if s.Kind == Table {
			r.role[s] = Embedding
		}
	}
	for n := range m.Graph.AllNodes() {
		if n.Is("MatMul", "Einsum") && r.site[n] == nil {
			r.attention(n)
		}
	}
	for _, s := range sites {
		if s.Kind == Product && r.role[s] == "" {
			r.feedForward(s)
		}
	}
	found := map[string]Role{}
	for s, role := range r.role {
		found[s.Key] = role
	}
	return found
}

type roles struct {
	site map[*onnx.Node]*Site
	role map[*Site]Role
}

// moves are operators that only move what attention computes; bends are nonlinearities of feed-forward blocks, straight what may stand
// around them there.
var (
	moves    = operators("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Cast", "Flatten")
	bends    = operators("Relu", "Gelu", "FastGelu", "Erf", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "LeakyRelu", "Mish", "Softplus", "Clip")
	straight = operators("Add", "Mul", "Div", "Sub", "Reshape", "Identity", "Cast", "Dropout", "Pow")
)

func operators(names ...string) map[string]bool {
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return set
}

// attention looks whether n multiplies the result of a Softmax, and gives roles to the sites around it.
func (r *roles) attention(n *onnx.Node) {
	for i, v := range n.Inputs() {
		softmax := producedBy(v, func(p *onnx.Node) bool { return p.Is("Softmax") })
		if softmax == nil {
			continue
		}
		seen := map[*onnx.Value]bool{}
		for k, other := range n.Inputs() {
			if k != i {
				r.back(other, QKV, seen)
			}
		}
		r.back(softmax.Input(0), QKV, seen)
		r.forward(n.Output(0), AttentionOutput)
		return
	}
}

// producedBy returns the node that makes v, through nodes that move or mask it, if it is of that kind.
func producedBy(v *onnx.Value, kind func(*onnx.Node) bool) *onnx.Node {
	for range 8 {
		if v == nil {
			return nil
		}
		p, _ := v.Producer()
		if p == nil {
			return nil
		}
		if kind(p) {
			return p
		}
		if !moves[p.Op] && !p.Is("Dropout", "Where") {
			return nil
		}
		next := p.Input(0)
		if p.Is("Where") {
			next = p.Input(2)
		}
		v = next
	}
	return nil
}

// back gives a role to the products that v is computed from, nearest first.
func (r *roles) back(v *onnx.Value, role Role, seen map[*onnx.Value]bool) {
	if v == nil || seen[v] {
		return
	}
	seen[v] = true
	p, _ := v.Producer()
	if p == nil {
		return
	}
	if s := r.site[p]; s != nil {
		if s.Kind == Product && r.role[s] == "" {
			r.role[s] = role
		}
		return
	}
	if p.Is("LayerNormalization", "SimplifiedLayerNormalization", "Softmax", "ReduceMean", "Shape") {
		return
	}
	for _, in := range p.Inputs() {
		r.back(in, role, seen)
	}
}

// forward gives a role to the products that take v as it is.
func (r *roles) forward(v *onnx.Value, role Role) {
	if v == nil {
		return
	}
	for _, u := range v.Uses() {
		if s := r.site[u.Node]; s != nil {
			if s.Kind == Product && r.role[s] == "" {
				r.role[s] = role
			}
		} else if moves[u.Node.Op] {
			r.forward(u.Node.Output(0), role)
		}
	}
}

// feedForward looks for the product behind a nonlinearity behind site s.
func (r *roles) feedForward(s *Site) {
	type place struct {
		v    *onnx.Value
		bent bool
	}
	seen, gated := map[place]bool{}, map[*Site]bool{}
	var walk func(p place)
	walk = func(p place) {
		if p.v == nil || seen[p] {
			return
		}
		seen[p] = true
		for _, u := range p.v.Uses() {
			if t := r.site[u.Node]; t != nil {
				if t.Kind == Product && t.Input() == u.Index {
					gated[t] = gated[t] || p.bent
				}
				continue
			}
			if bends[u.Node.Op] || straight[u.Node.Op] {
				// What is multiplied with the bent half of a gate is part of it.
				gate := u.Node.Is("Mul") && isGate(u.Node, 1)
				walk(place{u.Node.Output(0), p.bent || bends[u.Node.Op] || gate})
			}
		}
	}
	walk(place{s.Node.Output(0), false})
	for t, bent := range gated {
		if bent && (r.role[t] == "" || r.role[t] == FC2) {
			r.role[s], r.role[t] = FC1, FC2
		}
	}
}

// isGate reports whether an operand of a Mul comes from a nonlinearity, or a product with one: the gate of a SwiGLU.
func isGate(n *onnx.Node, depth int) bool {
	return slices.ContainsFunc(n.Inputs(), func(v *onnx.Value) bool {
		p := producedBy(v, func(p *onnx.Node) bool { return bends[p.Op] || p.Is("Mul") })
		return p != nil && (bends[p.Op] || depth > 0 && isGate(p, depth-1))
	})
}

// A Preset is a mix of formats known from the literature.
type Preset struct {
	Name, Doc string
	Weights   string        // the format of all weights, but for
	Roles     map[Role]Form // those of these roles
	Only      []Role        // where not empty, all others stay float
}

// Presets are the known ones. Activations are quantized by rows at run time.
var Presets = []Preset{
	{Name: "zq-w8a8", Doc: "ZeroQuant: int8 everywhere", Weights: "int8"},
	{Name: "zq-w4a8", Doc: "ZeroQuant: int4 weights everywhere", Weights: "int4"},
	{Name: "zq-w4/8a8", Doc: "ZeroQuant: int4 weights in feed-forward blocks, int8 elsewhere", Weights: "int8", Roles: map[Role]Form{FC1: {Type: "int4"}, FC2: {Type: "int4"}}},
	{Name: "hero-m1", Doc: "ZeroQuant-HERO M1: int8 for embeddings, queries, keys and values, and the first product of feed-forward blocks", Weights: "int8", Only: []Role{Embedding, QKV, FC1}},
	{Name: "hero-m2", Doc: "ZeroQuant-HERO M2: the outputs of attentions too", Weights: "int8", Only: []Role{Embedding, QKV, FC1, AttentionOutput}},
	{Name: "hero-m3", Doc: "ZeroQuant-HERO M3: int8 everywhere", Weights: "int8"},
}

// ErrChoice is wrapped by errors about wishes that a model does not allow.
var ErrChoice = errors.New("bad choice")

// Apply makes options those of the preset for a prepared model. The error wraps ErrChoice.
func (p *Preset) Apply(m *onnx.Model, o *Options) error {
	choices, ok := p.choices(m)
	if !ok {
		return fmt.Errorf("%w: --preset %s tells apart what the nodes of a transformer do, and no attention and no feed-forward block was found in the model", ErrChoice, p.Name)
	}
	o.Activations, o.Weights, o.Choices = ModeToken, Form{Type: p.Weights, Storage: "auto"}, choices
	return nil
}

// choices returns what the preset wishes for the sites of a prepared model. It is false where the preset tells roles apart, and the model
// has none of them.
func (p *Preset) choices(m *onnx.Model) (map[string]Choice, bool) {
	if p.Roles == nil && p.Only == nil {
		return nil, true
	}
	roles, found := Roles(m), false
	choices := map[string]Choice{}
	for _, s := range Survey(m) {
		role := roles[s.Key]
		if form, ok := p.Roles[role]; ok {
			choices[s.Key], found = Choice{Weights: form}, true
		}
		if p.Only == nil {
			continue
		}
		if slices.Contains(p.Only, role) {
			found = found || role != Embedding
		} else {
			choices[s.Key] = Choice{Float: true, Why: Reason{ID: "chosen", Text: p.Name + " leaves it in float"}}
		}
	}
	return choices, found
}
