package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx/internal/termtext"
	"github.com/zqonnx/zqonnx/onnx"
)

const diffHelp = `
Inputs, outputs, initializers and nodes are compared by name, tensors by what
they hold, nodes in any order. Exit code 1 when the models differ.

      --no-color           NO_COLOR does the same
  -q, --quiet              say nothing but errors
`

func diffCommand(f *pflag.FlagSet) action {
	f.Bool("no-color", false, "")
	quiet := f.BoolP("quiet", "q", false, "")
	return func(ctx context.Context, e *env, args []string) error {
		var sides [2][]part
		for i, path := range args {
			in, err := e.read(ctx, path)
			if err != nil {
				return err
			}
			if sides[i], err = parts(in.model); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		d := difference(sides[0], sides[1])
		if d.same() {
			return nil
		}
		if !*quiet {
			if err := d.write(e.stdout, e.colors(e.stdout)); err != nil {
				return as(errNotWritten, err)
			}
		}
		return errDiffer
	}
}

// A part is one thing in a model: what it is and is called, how it reads, and its contents.
type part struct {
	kind, name string
	text       string // of Model.Text
	contents   string // hash of all tensors and lists in it, which the text cuts short
}

// parts takes a model apart, in the order of its text.
func parts(m *onnx.Model) ([]part, error) {
	g := m.Graph
	consts, nodes, functions, inputs, outputs := g.Consts(), slices.Collect(g.Nodes()), m.Functions, g.Feeds(), g.Outputs()
	var list []part
	for _, text := range textItems(m.Text()) {
		p := part{text: text}
		h := &hasher{w: sha256.New()}
		switch p.kind, _, _ = strings.Cut(text, " "); p.kind {
		case "model":
		case "input":
			p.name, inputs = inputs[0].Name(), inputs[1:]
		case "output":
			p.name, outputs = outputs[0].Name(), outputs[1:]
		case "const":
			p.name = consts[0].Name()
			h.tensor(consts[0].Const())
			consts = consts[1:]
		case "function":
			p.name = functions[0].Domain + "." + functions[0].Name + ":" + functions[0].Overload
			h.graph(functions[0].Body)
			for _, a := range functions[0].Defaults {
				h.attribute(a)
			}
			functions = functions[1:]
		default:
			p.kind, p.name = "node", firstOutput(nodes[0])
			h.node(nodes[0])
			nodes = nodes[1:]
		}
		if h.err != nil {
			return nil, h.err
		}
		p.contents = hex.EncodeToString(h.w.Sum(nil))
		list = append(list, p)
	}
	return list, nil
}

// firstOutput names a node by the first tensor it makes: optional outputs may be left out.
func firstOutput(n *onnx.Node) string {
	for _, v := range n.Outputs() {
		if v != nil {
			return v.Name()
		}
	}
	return ""
}

// textItems splits a model's text; what stands in a subgraph or function belongs to the line before.
func textItems(text string) []string {
	var items []string
	for line := range strings.Lines(text) {
		if len(items) > 0 && strings.ContainsAny(line[:1], " }") {
			items[len(items)-1] += line
		} else {
			items = append(items, line)
		}
	}
	return items
}

// A hasher hashes what a model's text may leave out.
type hasher struct {
	w   hash.Hash
	err error
}

func (h *hasher) tensor(t *onnx.Tensor) {
	if t == nil || h.err != nil {
		return
	}
	if h.err = t.Load(); h.err != nil {
		return
	}
	fmt.Fprintln(h.w, t.Type, t.Dims)
	if t.Type == onnx.String {
		fmt.Fprintf(h.w, "%q\n", t.Strings())
		return
	}
	h.w.Write(t.Bytes())
}

func (h *hasher) node(n *onnx.Node) {
	for _, a := range n.Attrs {
		h.attribute(a)
	}
}

func (h *hasher) attribute(a *onnx.Attribute) {
	fmt.Fprintf(h.w, "%q %v %q %q\n", a.Name, a.Ints, a.Strings, a.Bytes)
	for _, f := range a.Floats {
		fmt.Fprintf(h.w, "%x ", f)
	}
	h.tensor(a.Tensor)
	for _, t := range a.Tensors {
		h.tensor(t)
	}
	if a.Graph != nil {
		h.graph(a.Graph)
	}
	for _, g := range a.Graphs {
		h.graph(g)
	}
}

func (h *hasher) graph(g *onnx.Graph) {
	for _, v := range g.Consts() {
		h.tensor(v.Const())
	}
	for n := range g.Nodes() {
		h.node(n)
	}
}

// A delta is what one model has and the other has not.
type delta struct {
	changes []change
	orders  []string // kinds of part that are the same in another order
}

// A change is a part before and after; one of them is nil where it is new or gone.
type change struct{ before, after *part }

func (d delta) same() bool { return len(d.changes) == 0 && len(d.orders) == 0 }

// difference pairs the parts by kind and name.
func difference(a, b []part) delta {
	type key struct{ kind, name string }
	after := map[key]*part{}
	for i := range b {
		after[key{b[i].kind, b[i].name}] = &b[i]
	}
	var d delta
	for i := range a {
		k := key{a[i].kind, a[i].name}
		q := after[k]
		delete(after, k)
		if q == nil || *q != a[i] {
			d.changes = append(d.changes, change{&a[i], q})
		}
	}
	for i := range b {
		if after[key{b[i].kind, b[i].name}] == &b[i] {
			d.changes = append(d.changes, change{nil, &b[i]})
		}
	}
	for _, kind := range []string{"input", "output"} {
		x, y := namesOf(a, kind), namesOf(b, kind)
		if !slices.Equal(x, y) && slices.Equal(slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))) {
			d.orders = append(d.orders, kind)
		}
	}
	return d
}

func namesOf(list []part, kind string) []string {
	var names []string
	for _, p := range list {
		if p.kind == kind {
			names = append(names, p.name)
		}
	}
	return names
}

// kinds are written in this order.
var kinds = []struct{ kind, title string }{
	{"model", "model"}, {"input", "inputs"}, {"output", "outputs"}, {"const", "initializers"}, {"node", "nodes"}, {"function", "functions"},
}

func (d delta) write(w io.Writer, colors map[string]string) error {
	b := bufio.NewWriter(w)
	line := func(sign, text string) {
		for one := range strings.Lines(text) {
			fmt.Fprintln(b, termtext.Paint(sign+" "+termtext.Printable(strings.TrimSuffix(one, "\n")), colors[sign]))
		}
	}
	for _, k := range kinds {
		list := slices.DeleteFunc(slices.Clone(d.changes), func(c change) bool {
			return c.before != nil && c.before.kind != k.kind || c.before == nil && c.after.kind != k.kind
		})
		if len(list) > 0 {
			fmt.Fprintf(b, "%s: %s\n", k.title, countChanges(list))
		}
		for _, c := range list {
			switch {
			case c.after != nil && c.before != nil && c.before.text == c.after.text:
				line("~", strings.TrimRight(c.before.text, "\n")+"  (contents differ)")
			default:
				if c.before != nil {
					line("-", c.before.text)
				}
				if c.after != nil {
					line("+", c.after.text)
				}
			}
		}
	}
	for _, kind := range d.orders {
		fmt.Fprintf(b, "%ss: in another order\n", kind)
	}
	return b.Flush()
}

func countChanges(list []change) string {
	var gone, added, changed int
	for _, c := range list {
		switch {
		case c.after == nil:
			gone++
		case c.before == nil:
			added++
		default:
			changed++
		}
	}
	var words []string
	for _, n := range []struct {
		count int
		text  string
	}{{gone, "gone"}, {added, "new"}, {changed, "changed"}} {
		if n.count > 0 {
			words = append(words, fmt.Sprintf("%d %s", n.count, n.text))
		}
	}
	return joined(words)
}
