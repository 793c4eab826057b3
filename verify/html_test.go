package verify

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/metric"
)

// An element is one of a parsed page.
type element struct {
	name     string
	attrs    map[string]string
	children []*element
	text     string // that of all it holds
}

// all returns the elements of a name below e that have the class, if one is given.
func (e *element) all(name, class string) []*element {
	var list []*element
	for _, c := range e.children {
		if c.name == name && (class == "" || slices.Contains(strings.Fields(c.attrs["class"]), class)) {
			list = append(list, c)
		}
		list = append(list, c.all(name, class)...)
	}
	return list
}

// section returns the element of that id.
func (e *element) section(t *testing.T, id string) *element {
	t.Helper()
	for _, s := range e.all("section", "") {
		if s.attrs["id"] == id {
			return s
		}
	}
	t.Fatalf("the page has no section %q", id)
	return nil
}

// cells are the texts of a table's row.
func (e *element) cells() []string {
	var texts []string
	for _, c := range e.children {
		texts = append(texts, c.text)
	}
	return texts
}

var inline = regexp.MustCompile(`(?s)<(script|style)>.*?</(script|style)>`)

// parsePage reads a report as strict XML, which every element of it is but for the inline script and style.
func parsePage(t *testing.T, r *Report) (*element, string) {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	d := xml.NewDecoder(strings.NewReader(inline.ReplaceAllString(page, "")))
	root := &element{}
	open := []*element{root}
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("line %d: %v", 1+strings.Count(page[:d.InputOffset()], "\n"), err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attrs: map[string]string{}}
			for _, a := range token.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			parent := open[len(open)-1]
			parent.children = append(parent.children, e)
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, e := range open {
				e.text += string(token)
			}
		}
	}
	return root, page
}

// detailedReport is fullReport with all that only quantization by a plan knows.
func detailedReport(t *testing.T) *Report {
	r := fullReport(t)
	r.Target = "ort-x64"
	for i, l := range r.Layers {
		r.Nodes = append(r.Nodes, Node{l.Key, l.Op, l.Scheme, "reason-" + l.Scheme, fmt.Sprintf("because of %d", i)})
	}
	low, high := metric.Number(-2), metric.Number(6)
	r.Layers[0].Weights = &Weights{
		Type: "int8", Scales: &Scales{2, 0.25, 0.5}, Range: &Span{-64.25, 63.75},
		Float: linear([]float32{-80, 0, 1, 1, 80}), Codes: &Histogram{[]metric.Number{-128, 0, 128}, []uint64{1, 4}},
	}
	counts := new(tally)
	counts.add([]float32{-4, -1, 0, 0, 1, 7.5})
	r.Layers[0].Activations = &Activations{Range: &Span{low, high}, Scale: num(0.25), Float: counts.histogram()}
	r.Search = &Search{
		Metric: "sqnr", MaxDrop: num(0.25), MaxBytes: 900_000, Unmet: "no model is that small",
		Points: []SearchPoint{{1_000_000, 22.5, num(0.5), "all int8", false}, {1_500_000, 37.5, nil, "<head> in float", true}, {4_000_000, 200, nil, "float", false}},
		Moves:  []SearchMove{{[]string{"<a>", "b"}, "int8", "int4 (folded)", 12_345, 0.001}},
	}
	return r
}

func TestHTML(t *testing.T) {
	r := detailedReport(t)
	page, text := parsePage(t, r)

	if h := page.all("h1", "")[0].text; h != "net.onnx → net-int8.onnx" {
		t.Errorf("title %q", h)
	}
	if v := page.all("p", "verdict")[0]; v.text != "2 of 4 gates failed" || !strings.Contains(v.attrs["class"], "bad") {
		t.Errorf("verdict %q, class %q", v.text, v.attrs["class"])
	}
	for _, want := range []string{"12 samples, held back from calibration", "made for ort-x64", "4.21 MB", "1.09 MB, 25.9 % of float", "fedcba987654"} {
		if s := page.section(t, "summary"); !strings.Contains(s.text, want) {
			t.Errorf("the summary lacks %q", want)
		}
	}
	outputs := page.section(t, "outputs").all("tr", "")
	if got := strings.Join(outputs[1].cells(), " "); got != "scores 31.2 0.999120 0.125 0.0104 91.67 0.00213" {
		t.Errorf("outputs: %s", got)
	}
	gates := page.section(t, "gates").all("tr", "")
	if got := strings.Join(gates[4].cells(), " | "); got != "FAIL | sqnr < 25 @layers | 22.2 | it's|a `trap`�<b>" {
		t.Errorf("gates: %s", got)
	}

	// Each layer has a row, and an area of the chart that leads there.
	rows := page.section(t, "layers").all("tr", "")[1:]
	hits := page.section(t, "errors").all("a", "")
	if len(rows) != len(r.Layers) || len(hits) != len(r.Layers) {
		t.Fatalf("%d rows and %d areas for %d layers", len(rows), len(hits), len(r.Layers))
	}
	for i, row := range rows {
		if "#"+row.attrs["id"] != hits[i].attrs["href"] || row.all("th", "")[0].attrs["scope"] != "row" {
			t.Errorf("layer %d: row %v, area %v", i, row.attrs, hits[i].attrs)
		}
	}
	if got := strings.Join(rows[0].cells(), " "); got != "1 /stem/Conv Conv static 38.5 0.999900 0.0625 40.0 1.25 fused, own literal " {
		t.Errorf("row %q", got)
	}
	if got, want := hits[0].text, "1  /stem/Conv (Conv, static): accumulated 38.5 dB, own 40.0 dB"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := rows[3].text; !strings.Contains(got, `the quantized model has no tensor "gone"`) {
		t.Errorf("row without figures: %q", got)
	}

	culprits := page.section(t, "culprits").all("code", "")
	if len(culprits) != len(r.Culprits) || culprits[0].text != r.Culprits[0].Mend {
		t.Errorf("%d commands, the first %q", len(culprits), culprits[0].text)
	}
	schemes := page.section(t, "nodes").all("table", "")[0].all("tr", "")
	if got := strings.Join(schemes[1].cells(), " "); got != "10 static reason-static /stem/Conv: because of 0" {
		t.Errorf("schemes: %s", got)
	}
	if every := page.section(t, "nodes").all("table", "")[1].all("tr", ""); len(every) != 1+len(r.Nodes) {
		t.Errorf("%d nodes", len(every))
	}
	var captions []string
	for _, c := range page.section(t, "distributions").all("figcaption", "") {
		captions = append(captions, c.text)
	}
	for i, want := range []string{
		"5 weights; the codes reach -64.2 to 63.8, where the scale is greatest", "int8; 2 scales, 0.25 to 0.5",
		"6 values; the codes reach -2 to 6, 1.25 % of the values are beyond, what is within ±0.125 becomes 0",
	} {
		if i >= len(captions) || captions[i] != want {
			t.Errorf("captions %q, want %q", captions, want)
		}
	}
	if marks := page.section(t, "distributions").all("path", "reach"); len(marks) != 4 {
		t.Errorf("%d marks", len(marks))
	}
	search := page.section(t, "search")
	if got := strings.Join(search.all("tr", "")[2].cells(), " "); got != "<head> in float 1.50 MB 37.5 – chosen" {
		t.Errorf("search: %s", got)
	}
	for _, want := range []string{"Looked for: a drop of at most 0.25, at most 900.0 kB.", "Not reached: no model is that small."} {
		if !strings.Contains(strings.Join(strings.Fields(search.text), " "), want) {
			t.Errorf("the search lacks %q: %s", want, search.text)
		}
	}
	if got := strings.Join(search.all("tr", "")[5].cells(), " "); got != "<a>, b int8 int4 (folded) 12.3 kB 0.001" {
		t.Errorf("step: %s", got)
	}
	if n := len(search.all("a", "")); n != 3 {
		t.Errorf("%d points", n)
	}

	for _, bad := range []string{"http:", "https:", "//", "@import", "url(", "ZgotmplZ"} {
		markup := strings.ReplaceAll(strings.ReplaceAll(text, "// Without this", ""), "// last in", "")
		if strings.Contains(markup, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	var again bytes.Buffer
	if err := r.WriteHTML(&again); err != nil || again.String() != text {
		t.Errorf("another page for the same report, %v", err)
	}
}

// Every SVG has a title, or is hidden from those who listen.
func TestHTMLNamesItsCharts(t *testing.T) {
	page, _ := parsePage(t, detailedReport(t))
	for _, svg := range page.all("svg", "") {
		if svg.attrs["aria-hidden"] == "" && (len(svg.children) == 0 || svg.children[0].name != "title" || svg.children[0].text == "") {
			t.Errorf("a chart without title: %v", svg.attrs)
		}
	}
}

// Text from a model is text wherever it stands.
func TestHTMLEscapes(t *testing.T) {
	const hostile = "</title></style></svg><script>alert(1)</script>\"'<img src=x onerror=alert(2)>&amp;\x00\x1b[31m\u2028javascript:"
	r := detailedReport(t)
	r.Tool, r.Target, r.Semantics, r.Data.Source = hostile, hostile, hostile, hostile
	r.Models.Float.Path, r.Models.Quantized.Path = hostile, hostile
	r.Models.Float.SHA256 = hostile
	r.Outputs.Each[0].Name, r.Outputs.Each[1].Name, r.Outputs.Each[2].NotMeasured = hostile, hostile, hostile
	for i := range r.Layers {
		l := &r.Layers[i]
		l.Key, l.Op, l.Scheme, l.Reason, l.Tensor, l.NotOwn = hostile, hostile, hostile, hostile, hostile, hostile
	}
	r.Culprits = culprits(r.Layers)
	for i := range r.Nodes {
		r.Nodes[i] = Node{hostile, hostile, hostile, hostile, hostile}
	}
	for i := range r.Gates {
		r.Gates[i].Expr, r.Gates[i].Where = hostile, hostile
	}
	r.Layers[0].Weights.Type = hostile
	r.Search.Metric, r.Search.Points[0].Label = hostile, hostile
	clean, _ := parsePage(t, detailedReport(t))
	page, text := parsePage(t, r) // no element opens or closes where none should
	for _, name := range []string{"script", "style", "img", "svg", "title", "section"} {
		if got, want := len(page.all(name, "")), len(clean.all(name, "")); got != want {
			t.Errorf("%d elements %s, want %d", got, name, want)
		}
	}
	if strings.Count(text, "<script") != 1 || strings.Contains(text, "<img") || strings.ContainsAny(text, "\x00\x1b\u2028") {
		t.Error("markup or control characters of a name got through")
	}
	if got := page.section(t, "layers").all("tbody", "")[0].all("th", "")[0].text; !strings.HasPrefix(got, "</title></style></svg><script>alert(1)</script>\"'<img") {
		t.Errorf("the name reads %q", got)
	}
}

func TestHTMLWithoutFigures(t *testing.T) {
	r := NotVerified("operator example.Magic is not supported")
	r.Nodes = []Node{{"m", "Magic", "float", "custom-operator", "it is"}}
	page, _ := parsePage(t, r)
	if v := page.all("p", "verdict")[0].text; v != "Not verified" {
		t.Errorf("verdict %q", v)
	}
	if s := page.section(t, "summary").text; !strings.Contains(s, "operator example.Magic is not supported") {
		t.Errorf("summary %q", s)
	}
	if n := len(page.all("section", "")); n != 2 {
		t.Errorf("%d sections, want the summary and the nodes", n)
	}
	unmeasured := fullReport(t)
	for i := range unmeasured.Layers {
		l := &unmeasured.Layers[i]
		l.Accumulated, l.Own, l.NotAccumulated = nil, nil, "gone"
	}
	if page, _ := parsePage(t, unmeasured); len(page.all("svg", "")) != 0 {
		t.Error("a chart of nothing")
	}
}

// manyLayers has as many layers as a report of a large model.
func manyLayers(t *testing.T, n int) *Report {
	r := detailedReport(t)
	first := r.Layers[0]
	r.Layers, r.Nodes = nil, nil
	for i := range n {
		l := first
		l.Key = fmt.Sprintf("/model/layers.%d/self_attn/q_proj/MatMul", i)
		l.Accumulated = measured("fused", 30+20*float64(i%17)/17, 0.99, 0.1)
		l.Own = measured("fused", 45+20*float64(i%13)/13, 0.999, 0.01)
		if i >= 2*most {
			l.Weights, l.Activations = nil, nil
		}
		if i%50 == 7 {
			l.Accumulated, l.Own, l.NotAccumulated, l.NotOwn = nil, nil, "gone", "gone"
		}
		r.Layers = append(r.Layers, l)
		for _, op := range []string{"MatMul", "Add", "Mul"} {
			r.Nodes = append(r.Nodes, Node{l.Key + op, op, "float", "no-integer-kernel", "ort-x64 has no integers for it"})
		}
	}
	return r
}

func TestHTMLSize(t *testing.T) {
	var b bytes.Buffer
	if err := manyLayers(t, 500).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 1e6 {
		t.Errorf("%d bytes for 500 layers", b.Len())
	}
}

func TestRoundStep(t *testing.T) {
	for _, c := range []struct{ v, want float64 }{{0, 1}, {1, 1}, {1.1, 2}, {3, 5}, {7, 10}, {12, 20}, {100, 100}, {0.03, 0.05}} {
		if got := roundStep(c.v); got-c.want > 1e-12 || c.want-got > 1e-12 {
			t.Errorf("%v: %v, want %v", c.v, got, c.want)
		}
	}
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		values    []float64
		low, high float64
		ticks     int
	}{
		{[]float64{22, 61}, 20, 70, 6},
		{[]float64{40}, 40, 41, 2},
		{nil, 0, 1, 6},
		{[]float64{-3, 4}, -4, 4, 5},
	} {
		a, step := axisOver(c.values, 100)
		ticks := a.ticks(step, a.at)
		if a.low != c.low || a.high != c.high || len(ticks) != c.ticks || a.at(a.low-1) != 0 || a.at(a.high+1) != 100 {
			t.Errorf("%v: %v to %v, %d ticks", c.values, a.low, a.high, len(ticks))
		}
	}
}
