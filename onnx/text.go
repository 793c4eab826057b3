package onnx

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/x448/float16"
)

// Text returns the model in a form for people and tests: a line for each input, initializer, node and output. It is
// deterministic; long lists and tensors are cut short.
func (m *Model) Text() string {
	w := &textWriter{}
	fmt.Fprintf(&w.Builder, "model ir=%d", m.IRVersion)
	for _, o := range m.Opsets {
		d := o.Domain
		if d == "" {
			d = "ai.onnx"
		}
		fmt.Fprintf(&w.Builder, " %s=%d", textName(d), o.Version)
	}
	w.WriteByte('\n')
	w.graph(m.Graph)
	for _, f := range m.Functions {
		w.function(f)
	}
	return w.String()
}

// Text returns the graph in the form of Model.Text:
//
//	input %x f32[N,784]
//	const %w f32[10,784]
//	const %b f32[10] = {0, 1, ...}
//	%y f32[N,10] = Gemm(%x, %w, %b) transB=1 # name
//	output %y f32[N,10]
func (g *Graph) Text() string {
	w := &textWriter{}
	w.graph(g)
	return w.String()
}

const (
	textValues = 8  // elements of a tensor that are shown
	textList   = 32 // elements of an attribute that are shown
)

type textWriter struct {
	strings.Builder
	indent string
}

func (w *textWriter) line(format string, args ...any) {
	w.WriteString(w.indent)
	fmt.Fprintf(&w.Builder, format, args...)
	w.WriteByte('\n')
}

func (w *textWriter) graph(g *Graph) {
	for _, v := range g.inputs {
		if v.constant == nil {
			w.line("input %s", typedName(v))
		}
	}
	for _, v := range g.consts {
		listed := ""
		if v.input {
			listed = " # listed as input"
		}
		w.line("const %s %s%s", valueText(v), tensorText(v.constant, " = "), listed)
	}
	for n := range g.Nodes() {
		w.node(n)
	}
	for _, v := range g.outputs {
		w.line("output %s", typedName(v))
	}
}

func (w *textWriter) function(f *Function) {
	name := f.Name
	if f.Domain != "" {
		name = f.Domain + "." + name
	}
	if f.Overload != "" {
		name += ":" + f.Overload
	}
	attrs := append([]string{}, f.Attributes...)
	for _, a := range f.Defaults {
		attrs = append(attrs, w.attribute(a))
	}
	w.line("function %s(%s) {", textName(name), strings.Join(attrs, ", "))
	w.indented(f.Body)
	w.line("}")
}

func (w *textWriter) indented(g *Graph) {
	old := w.indent
	w.indent += "  "
	w.graph(g)
	w.indent = old
}

func (w *textWriter) node(n *Node) {
	outs := make([]string, len(n.outputs))
	for i, v := range n.outputs {
		outs[i] = typedName(v)
	}
	ins := make([]string, len(n.inputs))
	for i, v := range n.inputs {
		ins[i] = valueText(v)
	}
	op := n.Op
	if canonicalDomain(n.Domain) != "" {
		op = n.Domain + "." + op
	}
	if n.Overload != "" {
		op += ":" + n.Overload
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s = %s(%s)", strings.Join(outs, ", "), textName(op), strings.Join(ins, ", "))
	for _, a := range n.Attrs {
		b.WriteString(" " + w.attribute(a))
	}
	if n.Name != "" {
		b.WriteString(" # " + textName(n.Name))
	}
	w.line("%s", b.String())
}

// attribute returns NAME=VALUE. A graph spans several lines.
func (w *textWriter) attribute(a *Attribute) string {
	return textName(a.Name) + "=" + w.attributeValue(a)
}

func (w *textWriter) attributeValue(a *Attribute) string {
	if a.Ref != "" {
		return "@" + textName(a.Ref)
	}
	switch a.Kind {
	case AttrFloat:
		return floatText(float64(a.Float), 32)
	case AttrInt:
		return strconv.FormatInt(a.Int, 10)
	case AttrString:
		return textString(a.Bytes)
	case AttrTensor:
		return tensorText(a.Tensor, "")
	case AttrGraph:
		return w.graphText(a.Graph)
	case AttrTypeProto:
		return a.Type.String()
	case AttrFloats:
		return listText("[", len(a.Floats), textList, func(i int) string { return floatText(float64(a.Floats[i]), 32) })
	case AttrInts:
		return listText("[", len(a.Ints), textList, func(i int) string { return strconv.FormatInt(a.Ints[i], 10) })
	case AttrStrings:
		return listText("[", len(a.Strings), textList, func(i int) string { return textString(a.Strings[i]) })
	case AttrTensors:
		return listText("[", len(a.Tensors), textList, func(i int) string { return tensorText(a.Tensors[i], "") })
	case AttrGraphs:
		return listText("[", len(a.Graphs), textList, func(i int) string { return w.graphText(a.Graphs[i]) })
	case AttrTypeProtos:
		return listText("[", len(a.Types), textList, func(i int) string { return a.Types[i].String() })
	case AttrSparseTensor, AttrSparseTensors:
		return "sparse"
	}
	return fmt.Sprintf("kind%d", a.Kind)
}

func (w *textWriter) graphText(g *Graph) string {
	if g == nil {
		return "{}"
	}
	inner := &textWriter{indent: w.indent}
	inner.indented(g)
	return "{\n" + inner.String() + w.indent + "}"
}

func typedName(v *Value) string {
	if v == nil {
		return "_"
	}
	if v.Type == nil {
		return valueText(v)
	}
	return valueText(v) + " " + v.Type.String()
}

func valueText(v *Value) string {
	if v == nil {
		return "_"
	}
	return "%" + textName(v.name)
}

// textName quotes a name that could be mistaken for something else.
func textName(s string) string {
	odd := func(r rune) bool {
		return !unicode.IsGraphic(r) || unicode.IsSpace(r) || strings.ContainsRune(`"(),=#{}%`, r) || r == unicode.ReplacementChar
	}
	if s == "" || len(s) > 200 || strings.ContainsFunc(s, odd) {
		return quote(s)
	}
	return s
}

func textString(b []byte) string {
	return quote(string(b[:min(len(b), 1000)]))
}

func listText(open string, n, most int, item func(int) string) string {
	var b strings.Builder
	b.WriteString(open)
	for i := range min(n, most) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(item(i))
	}
	if n > most {
		fmt.Fprintf(&b, ", ... %d more", n-most)
	}
	return b.String() + map[string]string{"[": "]", "{": "}"}[open]
}

// tensorText returns type, dimensions and, behind sep, the elements of a small tensor.
func tensorText(t *Tensor, sep string) string {
	if t == nil {
		return "?"
	}
	head := typeOfTensor(t).String()
	n, ok := CountElements(t.Dims)
	if !ok || n > textValues {
		return head
	}
	if err := t.Load(); err != nil {
		return head + sep + "{damaged}"
	}
	item := elementText(t)
	if item == nil {
		return head
	}
	return head + sep + listText("{", int(n), textValues, item)
}

// elementText returns what formats an element of t; nil where the package has no form for it.
func elementText(t *Tensor) func(int) string {
	switch t.Type {
	case String:
		return func(i int) string { return textString(t.strs[i]) }
	case Float32:
		d := Data[float32](t)
		return func(i int) string { return floatText(float64(d[i]), 32) }
	case Float64:
		d := Data[float64](t)
		return func(i int) string { return floatText(d[i], 64) }
	case Float16:
		d := Data[uint16](t)
		return func(i int) string { return floatText(float64(float16.Frombits(d[i]).Float32()), 32) }
	case BFloat16:
		d := Data[uint16](t)
		return func(i int) string { return floatText(float64(math.Float32frombits(uint32(d[i])<<16)), 32) }
	case Uint64:
		d := Data[uint64](t)
		return func(i int) string { return strconv.FormatUint(d[i], 10) }
	case Uint4, Uint2, Int4, Int2:
		b, bits := t.Bytes(), t.Type.Bits()
		signed := t.Type == Int4 || t.Type == Int2
		return func(i int) string {
			v := int(b[i*bits/8]) >> (i * bits % 8) & (1<<bits - 1)
			if signed && v >= 1<<(bits-1) {
				v -= 1 << bits
			}
			return strconv.Itoa(v)
		}
	}
	if d, err := t.Int64s(); err == nil {
		return func(i int) string { return strconv.FormatInt(d[i], 10) }
	}
	return nil
}

// floatText writes a float so that it can be told from an integer.
func floatText(f float64, bits int) string {
	s := strconv.FormatFloat(f, 'g', -1, bits)
	if !strings.ContainsAny(s, ".eIN") {
		s += ".0"
	}
	return s
}
