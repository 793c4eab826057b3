package verify

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
)

// escapes are the terminal's codes for the tones.
var escapes = map[tone]string{good: "\x1b[32m", bad: "\x1b[1;31m"}

const (
	escapeBold  = "\x1b[1m"
	escapeReset = "\x1b[0m"
)

// WriteText writes the report for a terminal: aligned tables, in colours if color is set. Where width, in characters, is
// positive, names in the first column are cut in the middle so that a line fits, if that suffices.
func (r *Report) WriteText(w io.Writer, color bool, width int) error {
	b := bufio.NewWriter(w)
	paint := func(s, escape string) string {
		if !color || escape == "" || s == "" {
			return s
		}
		return escape + s + escapeReset
	}
	for i, s := range r.sections() {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(paint(s.title, escapeBold) + "\n")
		for _, n := range s.notes {
			b.WriteString("  " + printable(n) + "\n")
		}
		if len(s.rows) == 0 {
			continue
		}
		widths := s.fit(width)
		line := func(cells []cell, escape string) {
			var row strings.Builder
			for j, c := range cells {
				text := elide(printable(c.text), widths[j])
				gap := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(text))
				text = paint(text, escape+escapes[c.tone])
				if c.tone == right {
					row.WriteString("  " + gap + text)
				} else {
					row.WriteString("  " + text + gap)
				}
			}
			b.WriteString(strings.TrimRight(row.String(), " ") + "\n")
		}
		line(s.head(), escapeBold)
		for _, cells := range s.rows {
			line(cells, "")
		}
	}
	return b.Flush()
}

// head is the header as cells that stand over the columns.
func (s section) head() []cell {
	cells := make([]cell, len(s.header))
	for j, h := range s.header {
		cells[j].text = h
		if s.rows[0][j].tone == right {
			cells[j].tone = right
		}
	}
	return cells
}

// least is what an elided name keeps.
const least = 16

// fit returns the widths of the columns, the first one narrowed so that the whole has the width.
func (s section) fit(width int) []int {
	widths := make([]int, len(s.header))
	total := 0
	for j := range widths {
		widths[j] = utf8.RuneCountInString(s.header[j])
		for _, row := range s.rows {
			widths[j] = max(widths[j], utf8.RuneCountInString(printable(row[j].text)))
		}
		total += widths[j] + 2
	}
	if width > 0 && total > width && widths[0] > least {
		widths[0] = max(least, widths[0]-(total-width))
	}
	return widths
}

// elide cuts the middle out of a text that is too long: both ends of a node's name tell something.
func elide(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	head := (n - 1) / 2
	return string(r[:head]) + "…" + string(r[len(r)-(n-1-head):])
}

// printable replaces what a model's names could do to a terminal or a table.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == '\u2028' || c == '\u2029' {
			return '�'
		}
		return c
	}, s)
}
