package verify

import (
	"strings"

	"github.com/zqonnx/zqonnx/internal/termtext"
)

// A searchChart shows the plans of a search by size and figure.
type searchChart struct {
	Table         htmlTable
	Moves         *htmlTable // nil: none
	Metric        string
	Width, Height int
	Bottom        string
	Y, X          []tick
	Others        string // path of the points that were not chosen
	Chosen        string // and of those that were
	Hits          []hit
}

// searchWidth is the width of the area in which points are drawn, searchMargin what is beside it.
const (
	searchWidth  = 480
	searchMargin = 12
)

// chart draws the points; nil when there are none.
func (s *Search) chart() *searchChart {
	if s == nil || len(s.Points) == 0 {
		return nil
	}
	var sizes, figures []float64
	for _, p := range s.Points {
		sizes, figures = append(sizes, float64(p.Bytes)), append(figures, float64(p.Metric))
	}
	x, xStep := axisOver(sizes, searchWidth)
	y, yStep := axisOver(figures, plotHeight)
	across := func(v float64) float64 { return searchMargin + x.at(v) }
	c := &searchChart{
		Metric: termtext.Printable(s.Metric), Width: searchWidth + 2*searchMargin, Height: plotTop + plotHeight + 26, Bottom: px(plotTop + plotHeight),
		Y: y.ticks(yStep, y.up),
	}
	for i, t := range x.ticks(xStep, across) {
		if i%2 == 0 {
			t.Text = bytesText(int64(x.low + float64(float64(i)*xStep)))
			c.X = append(c.X, t)
		}
	}
	table := section{title: "Plans that the search measured", header: []string{"plan", "size", s.Metric, "drop", ""}, notes: s.notes()}
	var chosen, others strings.Builder
	for _, p := range s.Points {
		to, mark := &others, cell{}
		if p.Chosen {
			to, mark = &chosen, cell{"chosen", good}
		}
		at := across(float64(p.Bytes))
		to.WriteString("M" + px(at) + " " + px(y.up(float64(p.Metric))) + point)
		value := number(exact, &p.Metric)
		c.Hits = append(c.Hits, hit{px(at - 8), "16", "search", termtext.Printable(p.Label + ": " + bytesText(p.Bytes) + ", " + s.Metric + " " + value.text)})
		table.rows = append(table.rows, []cell{{text: p.Label}, {bytesText(p.Bytes), right}, value, number(exact, p.Drop), mark})
	}
	c.Chosen, c.Others = chosen.String(), others.String()
	c.Table = tableOf("search", table, 0)
	if len(s.Moves) > 0 {
		moves := section{title: "Steps to fewer bits, in their order", header: []string{"nodes", "from", "to", "saves", "noise it adds"}}
		for _, m := range s.Moves {
			moves.rows = append(moves.rows, []cell{{text: strings.Join(m.Nodes, ", ")}, {text: m.From}, {text: m.To}, {bytesText(m.Saves), right}, number(short, &m.Noise)})
		}
		table := tableOf("search-steps", moves, 0)
		c.Moves = &table
	}
	return c
}

// notes say what was looked for, and whether it was found.
func (s *Search) notes() []string {
	var goals []string
	if s.MaxDrop != nil {
		goals = append(goals, "a drop of at most "+exact(float64(*s.MaxDrop)))
	}
	if s.MaxBytes > 0 {
		goals = append(goals, "at most "+bytesText(s.MaxBytes))
	}
	var notes []string
	if len(goals) > 0 {
		notes = append(notes, "Looked for: "+strings.Join(goals, ", ")+".")
	}
	if s.Unmet != "" {
		notes = append(notes, "Not reached: "+s.Unmet+".")
	}
	return notes
}
