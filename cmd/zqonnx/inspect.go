package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/termtext"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/target"
)

const inspectHelp = `
      --target NAME        whose rules count: ort-x64 [ort-x64]
      --json               for programs
`

func inspectCommand(f *pflag.FlagSet) action {
	name := target.Targets[0].Name
	choice(f, &name, "target", names(target.Targets, func(t *target.Target) string { return t.Name }))
	asJSON := f.Bool("json", false, "")
	return func(ctx context.Context, e *env, args []string) error {
		in, err := e.read(ctx, args[0])
		if err != nil {
			return err
		}
		t, err := target.Find(name)
		if err != nil {
			return as(errUsage, err)
		}
		i := inspect(in, t)
		if *asJSON {
			return as(errNotWritten, writeJSON(e.stdout, i))
		}
		return as(errNotWritten, i.write(e.stdout, cmp.Or(terminalWidth(e.stdout), defaultWidth)))
	}
}

// writeJSON writes a value for programs, and so that people can read it.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// An inspection is what inspect finds in a model.
type inspection struct {
	Path       string           `json:"path"`
	SHA256     string           `json:"sha256"`
	Bytes      int64            `json:"bytes"`
	Producer   string           `json:"producer,omitempty"`
	IR         int64            `json:"ir_version"`
	Opsets     map[string]int64 `json:"opsets"`
	Inputs     []tensorInfo     `json:"inputs"`
	Outputs    []tensorInfo     `json:"outputs"`
	Parameters []parameterInfo  `json:"parameters"`
	Target     string           `json:"target"`
	Operators  []operatorInfo   `json:"operators"`
	Weights    []weightInfo     `json:"quantizable_weights"`
	Refused    []refusal        `json:"refused_weights"`
	Quantized  int              `json:"quantized_nodes"` // that are there already
	// The reasons why the model cannot be planned or run; empty when it can.
	NotPlanned string `json:"not_planned,omitempty"`
	NotRun     string `json:"not_run,omitempty"`
}

type tensorInfo struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// parameterInfo sums up the constants of one element type.
type parameterInfo struct {
	Type     string `json:"type"`
	Tensors  int    `json:"tensors"`
	Elements int64  `json:"elements"`
	Bytes    int64  `json:"bytes"`
}

type operatorInfo struct {
	Op       string `json:"op"` // with its domain unless that is ONNX's
	Count    int    `json:"count"`
	Prepared int    `json:"prepared"` // how many the preparation leaves or makes
	Engine   bool   `json:"engine"`   // has a kernel for all of them
	Target   string `json:"target"`   // what the target makes of it when the graph is quantized
}

// weightInfo sums up the weights of one operator that can be quantized.
type weightInfo struct {
	Op    string `json:"op"`
	Nodes int    `json:"nodes"`
	Bytes int64  `json:"bytes"`
}

// A refusal is a node with weights that cannot be quantized.
type refusal struct {
	Key    string `json:"key"`
	Op     string `json:"op"`
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

// supportText says what a target does with an operator between DequantizeLinear and QuantizeLinear.
var supportText = map[target.Support]string{
	target.Weighted: "integers where an operand is constant",
	target.Integer:  "integers between integer nodes",
	target.Moving:   "moves integer codes",
	target.Absorbed: "vanishes into the integer node before it",
}

func inspect(in *input, t *target.Target) *inspection {
	m := in.model
	i := &inspection{
		Path: in.file.Path, SHA256: in.file.SHA256, Bytes: in.file.Bytes, Target: t.Name, IR: m.IRVersion, Opsets: map[string]int64{},
		Producer: strings.TrimSpace(m.Producer + " " + m.ProducerVersion),
		Inputs:   tensorInfos(m.Graph.Feeds()), Outputs: tensorInfos(m.Graph.Outputs()),
		Parameters: parameters(m), Weights: []weightInfo{}, Refused: []refusal{},
	}
	for _, o := range m.Opsets {
		i.Opsets[cmp.Or(o.Domain, "ai.onnx")] = o.Version
	}
	prepared := m
	if prep, err := plan.Prepare(m, 0); err != nil {
		i.NotPlanned = err.Error()
	} else {
		prepared = prep.Model
		i.survey(prep)
	}
	i.Operators = operators(m, prepared, t)
	if _, err := engine.Compile(m, engine.Options{}); err != nil {
		i.NotRun = err.Error()
	}
	return i
}

func tensorInfos(values []*onnx.Value) []tensorInfo {
	list := []tensorInfo{}
	for _, v := range values {
		typ := "of unknown type"
		if v.Type != nil {
			typ = v.Type.String()
		}
		list = append(list, tensorInfo{v.Name(), typ})
	}
	return list
}

// operators counts the operators of a model and of its prepared form, the most frequent first.
func operators(m, prepared *onnx.Model, t *target.Target) []operatorInfo {
	byName := map[string]*operatorInfo{}
	of := func(n *onnx.Node) *operatorInfo {
		name := operatorName(n)
		if byName[name] == nil {
			byName[name] = &operatorInfo{Op: name, Engine: true, Target: fate(t, n)}
		}
		return byName[name]
	}
	for n := range m.Graph.AllNodes() {
		o := of(n)
		o.Count++
		o.Engine = o.Engine && engine.Supports(n, m.Opset(n.Domain))
	}
	for n := range prepared.Graph.AllNodes() {
		of(n).Prepared++
	}
	list := []operatorInfo{}
	for _, o := range byName {
		if o.Prepared == 0 && !plan.IsQuantized(o.Op) {
			o.Target = "folded away before"
		}
		list = append(list, *o)
	}
	slices.SortFunc(list, func(a, b operatorInfo) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Op, b.Op)) })
	return list
}

func isStandard(n *onnx.Node) bool { return n.Domain == "" || n.Domain == "ai.onnx" }

func operatorName(n *onnx.Node) string {
	if isStandard(n) {
		return n.Op
	}
	return n.Domain + "." + n.Op
}

// fate says what the target makes of a node's operator.
func fate(t *target.Target, n *onnx.Node) string {
	switch rule := t.Rule(n.Op); {
	case plan.IsQuantized(n.Op):
		return "is quantized already"
	case !isStandard(n):
		return "not an operator of the ONNX standard"
	case rule.Support == target.None:
		return rule.Why
	default:
		return supportText[rule.Support]
	}
}

// parameters sums up the constants of the model, those in subgraphs and Constant nodes included.
func parameters(m *onnx.Model) []parameterInfo {
	byType := map[onnx.DataType]*parameterInfo{}
	seen := map[*onnx.Value]bool{}
	add := func(t *onnx.Tensor) {
		if t == nil {
			return
		}
		p := byType[t.Type]
		if p == nil {
			p = &parameterInfo{Type: t.Type.String()}
			byType[t.Type] = p
		}
		n := onnx.NumElements(t.Dims)
		p.Tensors++
		p.Elements += n
		p.Bytes += t.Type.ByteSize(n)
	}
	graph := func(g *onnx.Graph) {
		for _, v := range g.Consts() {
			if !seen[v] {
				seen[v] = true
				add(v.Const())
			}
		}
	}
	graph(m.Graph)
	for n := range m.Graph.AllNodes() {
		add(n.Constant())
		for _, g := range n.Subgraphs() {
			graph(g)
		}
	}
	list := []parameterInfo{}
	for _, t := range slices.Sorted(maps.Keys(byType)) {
		list = append(list, *byType[t])
	}
	slices.SortStableFunc(list, func(a, b parameterInfo) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return list
}

// survey finds the weights that can be quantized, in the normal form that planning sees.
func (i *inspection) survey(prep *plan.Prepared) {
	for n := range prep.Model.Graph.AllNodes() {
		if prep.Existing.Touches(n) {
			i.Quantized++
		}
	}
	byOp := map[string]*weightInfo{}
	for _, s := range prep.Survey() {
		if s.Kept != nil {
			continue
		}
		if s.Refused.ID != "" {
			i.Refused = append(i.Refused, refusal{s.Key, s.Node.Op, s.Bytes(), s.Refused.ID, s.Refused.Text})
			continue
		}
		w := byOp[s.Node.Op]
		if w == nil {
			w = &weightInfo{Op: s.Node.Op}
			byOp[s.Node.Op] = w
		}
		w.Nodes++
		w.Bytes += s.Bytes()
	}
	for _, w := range byOp {
		i.Weights = append(i.Weights, *w)
	}
	slices.SortFunc(i.Weights, func(a, b weightInfo) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Op, b.Op)) })
}

// write writes the inspection for people.
func (i *inspection) write(w io.Writer, width int) error {
	t := termtext.Table{Width: width, Indent: "  ", Wrapped: true}
	var opsets []string
	for _, d := range slices.Sorted(maps.Keys(i.Opsets)) {
		opsets = append(opsets, fmt.Sprintf("%s %d", d, i.Opsets[d]))
	}
	fmt.Fprintln(w, termtext.Printable(i.Path))
	rows := [][]string{{"size", byteText(i.Bytes)}, {"format", fmt.Sprintf("IR %d, %s", i.IR, strings.Join(opsets, ", "))}}
	if i.Producer != "" {
		rows = append(rows, []string{"made by", i.Producer})
	}
	for _, list := range []struct {
		label   string
		tensors []tensorInfo
	}{{"inputs", i.Inputs}, {"outputs", i.Outputs}} {
		label := list.label
		for _, v := range list.tensors {
			rows = append(rows, []string{label, v.Name + " " + v.Type})
			label = ""
		}
	}
	label := "constants"
	for _, p := range i.Parameters {
		rows = append(rows, []string{label, fmt.Sprintf("%s: %d tensors, %d elements, %s", p.Type, p.Tensors, p.Elements, byteText(p.Bytes))})
		label = ""
	}
	if err := t.Write(w, rows); err != nil {
		return err
	}

	fmt.Fprintf(w, "\nOperators, and what %s makes of them in a quantized graph\n", i.Target)
	rows = [][]string{{"", "FILE", "PREPARED", ""}}
	for _, o := range i.Operators {
		text := o.Target
		if !o.Engine {
			text += "; zqonnx cannot run it"
		}
		rows = append(rows, []string{o.Op, fmt.Sprint(o.Count), fmt.Sprint(o.Prepared), text})
	}
	t.Right = " rr"
	if err := t.Write(w, rows); err != nil {
		return err
	}

	fmt.Fprintln(w, "\nWeights that can be quantized")
	rows = nil
	for _, x := range i.Weights {
		rows = append(rows, []string{x.Op, fmt.Sprint(x.Nodes), byteText(x.Bytes)})
	}
	if len(rows) == 0 {
		rows = [][]string{{"none"}}
	}
	if err := t.Write(w, rows); err != nil {
		return err
	}
	if len(i.Refused) > 0 {
		fmt.Fprintln(w, "\nWeights that cannot")
		rows = nil
		for _, r := range i.Refused {
			rows = append(rows, []string{r.Key, r.Op, r.Text})
		}
		t.Right = ""
		if err := t.Write(w, rows); err != nil {
			return err
		}
	}
	var notes []string
	if i.Quantized > 0 {
		notes = append(notes, fmt.Sprintf("Already quantized: %d nodes, whose scales and codes are kept.", i.Quantized))
	}
	if i.NotPlanned != "" {
		notes = append(notes, "It cannot be quantized: "+i.NotPlanned)
	}
	if i.NotRun != "" {
		notes = append(notes, "zqonnx cannot run it: "+i.NotRun)
	}
	for _, n := range notes {
		fmt.Fprintf(w, "\n%s\n", strings.Join(termtext.Wrap(termtext.Printable(n), width), "\n"))
	}
	return nil
}
