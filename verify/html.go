package verify

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/zqonnx/zqonnx/internal/termtext"
	"github.com/zqonnx/zqonnx/metric"
)

//go:embed report.html
var pageText string

var pageTemplate = template.Must(template.New("report").Parse(pageText))

// WriteHTML writes the report as one HTML file that needs nothing else: neither network, fonts nor scripts; a small script
// of its own sorts and filters tables.
func (r *Report) WriteHTML(w io.Writer) error {
	b := bufio.NewWriter(w)
	if err := pageTemplate.Execute(b, r.page()); err != nil {
		return err
	}
	return b.Flush()
}

// A page is what the template shows. All text is printable already; the template escapes it.
type page struct {
	Title         string
	Tool          string
	Verdict       htmlCell
	Figures       []figureTile
	Summary       htmlTable
	Tables        []htmlTable // gates and outputs
	Errors        *errorChart
	Culprits      *htmlTable
	Layers        *htmlTable
	Distributions []distribution
	Schemes       *htmlTable
	Nodes         *htmlTable
	Search        *searchChart
}

// A figureTile is one number of the headline.
type figureTile struct{ Name, Value string }

// An htmlTable is a section.
type htmlTable struct {
	ID, Title string
	Notes     []string
	Head      []htmlCell
	Rows      []htmlRow
	Sortable  bool
}

type htmlRow struct {
	ID    string // "" for none
	Cells []htmlCell
}

// An htmlCell has one of the classes of cellClasses, or name for the cell that names its row.
type htmlCell struct{ Text, Class string }

const nameClass = "name"

var cellClasses = map[tone]string{good: "good", bad: "bad", right: "n", code: "code"}

// tableOf turns a section into a table whose rows are named by one of the columns.
func tableOf(id string, s section, name int) htmlTable {
	t := htmlTable{ID: id, Title: s.title}
	for _, n := range s.notes {
		t.Notes = append(t.Notes, termtext.Printable(n))
	}
	for i, text := range s.header {
		head := htmlCell{Text: termtext.Printable(text)}
		if len(s.rows) > 0 && s.rows[0][i].tone == right {
			head.Class = cellClasses[right]
		}
		t.Head = append(t.Head, head)
	}
	for _, cells := range s.rows {
		var row htmlRow
		for i, c := range cells {
			h := htmlCell{termtext.Printable(c.text), cellClasses[c.tone]}
			if i == name {
				h.Class = nameClass
			}
			row.Cells = append(row.Cells, h)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (r *Report) page() page {
	p := page{Title: r.title(), Tool: termtext.Printable(r.Tool), Verdict: r.verdict(), Summary: tableOf("summary", r.summary(), 0)}
	p.Schemes, p.Nodes = r.nodeTables()
	p.Search = r.Search.chart()
	if r.NotVerified != "" {
		return p
	}
	p.Figures = r.tiles()
	p.Tables = []htmlTable{tableOf("outputs", r.outputTable(), 0), tableOf("gates", r.gateTable(), 1)}
	if len(r.Layers) == 0 {
		return p
	}
	p.Errors = newErrorChart(r.Layers)
	culprits := tableOf("culprits", r.culpritTable(), 0)
	p.Culprits = &culprits
	layers := r.allLayers()
	p.Layers = &layers
	p.Distributions = r.distributionPlots()
	return p
}

// title names the files.
func (r *Report) title() string {
	float, quant := r.Models.Float.Path, r.Models.Quantized.Path
	switch {
	case float == "" && quant == "":
		return "Verification"
	case quant == "":
		return termtext.Printable(filepath.Base(float))
	}
	return termtext.Printable(filepath.Base(float) + " → " + filepath.Base(quant))
}

// verdict says in a sentence how the gates stand.
func (r *Report) verdict() htmlCell {
	failed := 0
	for _, g := range r.Gates {
		if !g.Pass {
			failed++
		}
	}
	switch {
	case r.NotVerified != "":
		return htmlCell{"Not verified", cellClasses[bad]}
	case len(r.Gates) == 0:
		return htmlCell{"Compared, without gates", ""}
	case failed > 0:
		return htmlCell{fmt.Sprintf("%d of %s failed", failed, plural(len(r.Gates), "gate")), cellClasses[bad]}
	}
	return htmlCell{plural(len(r.Gates), "gate") + " passed", cellClasses[good]}
}

// tiles are the figures that say most: of all outputs, and the first classes.
func (r *Report) tiles() []figureTile {
	var tiles []figureTile
	add := func(name string, format func(float64) string, n *metric.Number, unit string) {
		if n != nil {
			tiles = append(tiles, figureTile{name, numberText(format, float64(*n)) + unit})
		}
	}
	if p := r.Outputs.Pooled; p != nil {
		add("SQNR", dB, &p.SQNR, " dB")
		add("cosine", cosine, &p.Cosine, "")
	}
	i := slices.IndexFunc(r.Outputs.Each, func(o OutputError) bool { return o.Result != nil && o.Top1 != nil })
	if i >= 0 {
		add("top-1 agreement", percent, r.Outputs.Each[i].Top1, " %")
		add("KL divergence", short, r.Outputs.Each[i].KL, " nat")
	}
	if f, q := r.Models.Float.Bytes, r.Models.Quantized.Bytes; f > 0 && q > 0 {
		tiles = append(tiles, figureTile{"size of float", fmt.Sprintf("%.1f %%", 100*float64(q)/float64(f))})
	}
	return tiles
}

// rowID is the anchor of a layer's row.
func rowID(layer int) string { return "l" + strconv.Itoa(layer+1) }

// allLayers lists every layer in graph order, with what could not be measured.
func (r *Report) allLayers() htmlTable {
	s := section{title: "Layers", header: append([]string{"#"}, layerHeader...)}
	s.header = append(s.header, "remarks")
	for i, l := range r.Layers {
		remarks := l.NotAccumulated
		if l.NotOwn != "" && l.NotOwn != l.NotAccumulated {
			if remarks != "" {
				remarks += "; "
			}
			remarks += "alone: " + l.NotOwn
		}
		row := append([]cell{{strconv.Itoa(i + 1), right}}, l.cells()...)
		s.rows = append(s.rows, append(row, cell{text: remarks}))
	}
	if !slices.ContainsFunc(r.Layers, func(l LayerError) bool { return l.NotAccumulated != "" || l.NotOwn != "" }) {
		s.header = s.header[:len(s.header)-1]
		for i := range s.rows {
			s.rows[i] = s.rows[i][:len(s.header)]
		}
	}
	t := tableOf("layers", s, 1)
	t.Sortable = true
	for i := range t.Rows {
		t.Rows[i].ID = rowID(i)
	}
	return t
}

// nodeTables are what became of the nodes: counted by scheme and reason, and each; nil when no plan is known.
func (r *Report) nodeTables() (schemes, nodes *htmlTable) {
	if len(r.Nodes) == 0 {
		return nil, nil
	}
	type group struct {
		scheme, reason string
		count          int
		first          Node
	}
	var groups []group
	list := section{title: "Every node", header: []string{"node", "op", "scheme", "why"}}
	for _, n := range r.Nodes {
		i := slices.IndexFunc(groups, func(g group) bool { return g.scheme == n.Scheme && g.reason == n.ReasonID })
		if i < 0 {
			i = len(groups)
			groups = append(groups, group{n.Scheme, n.ReasonID, 0, n})
		}
		groups[i].count++
		list.rows = append(list.rows, []cell{{text: n.Key}, {text: n.Op}, {text: n.Scheme}, {text: n.Reason}})
	}
	slices.SortStableFunc(groups, func(a, b group) int { return b.count - a.count })
	counts := section{title: "What became of the nodes", header: []string{"nodes", "scheme", "reason", "for example"}}
	for _, g := range groups {
		counts.rows = append(counts.rows, []cell{
			{strconv.Itoa(g.count), right}, {text: g.scheme}, {text: g.reason}, {text: g.first.Key + ": " + g.first.Reason},
		})
	}
	s, n := tableOf("nodes", counts, 2), tableOf("every-node", list, 0)
	n.Sortable = true
	return &s, &n
}
