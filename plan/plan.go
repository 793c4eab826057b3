// Package plan decides what becomes of every node of a model, and why. A Plan is made by analysis of the graph and the
// rules of the target, refined by calibration, chosen by cost and guarded by measurement; it is shown by --dry-run, saved
// and loaded as JSON, and carried out by passes/emit, which decides nothing.
package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/zqonnx/zqonnx/quantize"
)

// Schema is the version of the JSON form.
const Schema = 1

// A Scheme is what becomes of a node.
type Scheme string

// The schemes.
const (
	// Float: the node stays as it is.
	Float Scheme = "float"
	// Static: QuantizeLinear/DequantizeLinear with fixed parameters around the node; integers in the runtime.
	Static Scheme = "static"
	// Fused: the node vanishes into a static neighbour (Relu behind Conv).
	Fused Scheme = "fused"
	// Dynamic: activations quantized per tensor at run time.
	Dynamic Scheme = "dynamic"
	// Token: activations quantized per row of the last axis at run time (ZeroQuant's token-wise).
	Token Scheme = "token"
	// WeightOnly: weights stored as integers, computed in float.
	WeightOnly Scheme = "weight-only"
)

// A Plan says what becomes of every node of one model. Nodes are in graph order.
type Plan struct {
	Schema int    `json:"schema"`
	Tool   string `json:"tool"`
	SHA256 string `json:"model_sha256"` // of the input file
	Target string `json:"target"`
	Opset  int64  `json:"opset,omitempty"` // the model is raised to it at least; 0: no wish
	// Equalised scales the float model before anything is quantized, in this order.
	Equalised []Equalisation `json:"equalised,omitempty"`
	Nodes     []Node         `json:"nodes"`
}

// A Node is the decision for one node.
type Node struct {
	Key    string `json:"key"` // of the input model (formats.md)
	Op     string `json:"op"`
	Scheme Scheme `json:"scheme"`
	// Weights says how constant inputs are stored; nil when none is quantized.
	Weights *Weights `json:"weights,omitempty"`
	// Activations are the parameters of the tensors that a Static node takes or gives in integers, by tensor name; of another
	// node, those of the inputs that it takes through QuantizeLinear and DequantizeLinear, as it did before.
	Activations map[string]Activation `json:"activations,omitempty"`
	// SigmaK says how the scale of a token is found: by its mean ± SigmaK standard deviations; 0: by its largest magnitude.
	SigmaK float32 `json:"sigma_k,omitempty"`
	Reason Reason  `json:"reason"`
}

// Weights says how a node's constant operands are quantized.
type Weights struct {
	Form
	Axis     int     `json:"axis"` // of the channels that have scales of their own, in the tensor as the model stores it; -1: one scale
	Rounding string  `json:"rounding"`
	Solved   *Solved `json:"solved,omitempty"` // of a learned rounding, or beside a low-rank term
	// LowRank is added to the product with the weights; nil: nothing is.
	LowRank *LowRank `json:"low_rank,omitempty"`
	// Correction is added to the bias, per output channel: what quantization takes from the mean of the output.
	Correction []float32 `json:"bias_correction,omitempty"`
}

// An Activation is the quantization of one tensor.
type Activation struct {
	Type      string     `json:"type"`             // "uint8"
	Method    string     `json:"method,omitempty"` // of quantize.Methods, which chose the range; "given" by the user; "" for one that is the operator's
	Scale     float32    `json:"scale"`
	ZeroPoint int32      `json:"zero_point"`
	Range     [2]float32 `json:"range"`
}

// Params returns scale and zero point.
func (a Activation) Params() quantize.Params {
	return quantize.Params{Scale: a.Scale, ZeroPoint: a.ZeroPoint}
}

// ends returns the values of the first and the last code of uint8.
func ends(p quantize.Params) (lo, hi float32) {
	return float32(-p.ZeroPoint) * p.Scale, float32(255-p.ZeroPoint) * p.Scale
}

// A Reason says why a node has its scheme. IDs are stable and listed in the documentation.
type Reason struct {
	ID      string             `json:"id"`
	Text    string             `json:"text"`
	Numbers map[string]float64 `json:"numbers,omitempty"`
}

// Why says why the node has its scheme, and what was gained by what makes up for it.
func (n *Node) Why() string {
	if n.Weights == nil || n.Weights.LowRank == nil {
		return n.Reason.Text
	}
	l := n.Weights.LowRank
	return fmt.Sprintf("%s; a term of rank %d (%s) takes %.1f dB off the noise of its output", n.Reason.Text, l.Rank, l.Method, l.Gain)
}

// Quantizes reports whether any node becomes anything that it is not.
func (p *Plan) Quantizes() bool {
	for _, n := range p.Nodes {
		if n.Scheme != Float && n.Scheme != Fused && n.Reason.ID != alreadyQuantized {
			return true
		}
	}
	return false
}

// Kept counts the nodes that the model came with quantized, and those of them of which that was only a part.
func (p *Plan) Kept() (kept, parts int) {
	for _, n := range p.Nodes {
		switch n.Reason.ID {
		case completed:
			parts++
			fallthrough
		case alreadyQuantized:
			kept++
		}
	}
	return kept, parts
}

// Node returns the decision for the node of that key; nil when the plan has none.
func (p *Plan) Node(key string) *Node {
	for i := range p.Nodes {
		if p.Nodes[i].Key == key {
			return &p.Nodes[i]
		}
	}
	return nil
}

// Write writes the JSON form. Floats are in their shortest exact form.
func (p *Plan) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(p)
}

// Read reads the JSON form. Unknown fields, another schema and unknown schemes are errors that name the line.
func Read(b []byte) (*Plan, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var p Plan
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("line %d: %w", lineOf(b, err), err)
	}
	if end := d.InputOffset(); len(bytes.TrimSpace(b[end:])) > 0 {
		return nil, fmt.Errorf("line %d: something stands behind the plan", 1+bytes.Count(b[:end], []byte("\n")))
	}
	if p.Schema != Schema {
		return nil, fmt.Errorf("schema %d is not the one this version reads (%d)", p.Schema, Schema)
	}
	seen := map[string]bool{}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if len(n.Activations) == 0 {
			n.Activations = nil // written as none
		}
		if err := n.check(); err != nil {
			return nil, fmt.Errorf("node %q: %w", n.Key, err)
		}
		if seen[n.Key] {
			return nil, fmt.Errorf("node %q is there twice", n.Key)
		}
		seen[n.Key] = true
	}
	return &p, nil
}

// lineOf returns the line that a decoding error is about.
func lineOf(b []byte, err error) int {
	at := len(b)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at = int(syntax.Offset)
	case errors.As(err, &kind):
		at = int(kind.Offset)
	default: // an unknown field: only the text tells which
		if _, name, ok := strings.Cut(err.Error(), "unknown field "); ok {
			at = max(bytes.Index(b, []byte(name)), 0)
		}
	}
	return 1 + bytes.Count(b[:min(at, len(b))], []byte("\n"))
}

func (n *Node) check() error {
	switch n.Scheme {
	case Float, Fused:
	case Static, Dynamic, Token, WeightOnly:
		if w := n.Weights; w != nil {
			r, ok := quantize.RoundingNamed(w.Rounding)
			if !ok && w.Rounding != Keeps || w.Axis < -1 {
				return fmt.Errorf("weights along axis %d, rounding %q are unknown", w.Axis, w.Rounding)
			}
			if err := w.check(); err != nil {
				return err
			}
			if n.Scheme != WeightOnly && w.Form != usual && w.Form != (Form{Type: w.Type, Storage: Folded}) {
				return fmt.Errorf("scheme %q computes with int8 weights, folded ones too, in no blocks", n.Scheme)
			}
			if w.LowRank != nil {
				if err := w.LowRank.check(); err != nil {
					return err
				}
			}
			if (r.Learned || w.LowRank != nil) != (w.Solved != nil) {
				return fmt.Errorf("rounding %q, with solved codes: %v", w.Rounding, w.Solved != nil)
			}
		}
	default:
		return fmt.Errorf("unknown scheme %q", n.Scheme)
	}
	if n.SigmaK != 0 && !(n.Scheme == Token && n.SigmaK > 0) {
		return fmt.Errorf("scheme %q with ranges of tokens by %v standard deviations", n.Scheme, n.SigmaK)
	}
	for t, a := range n.Activations {
		if a.Type != "uint8" || !(a.Scale > 0) || a.ZeroPoint < 0 || a.ZeroPoint > 255 {
			return fmt.Errorf("tensor %q: type %q, scale %v, zero point %d make no quantization", t, a.Type, a.Scale, a.ZeroPoint)
		}
	}
	return nil
}
