package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

const (
	defaultWidth = 80
	leastKey     = 16 // what an elided column keeps
	leastText    = 24 // what a wrapped column keeps
)

// The terminal's escapes.
const (
	escapeGood  = "\x1b[32m"
	escapeBad   = "\x1b[1;31m"
	escapeReset = "\x1b[0m"
)

// A table is how rows are written: in aligned columns.
type table struct {
	width  int               // characters of a line; 0: any number, nothing is cut or wrapped
	indent string            // before each line
	right  string            // has an r in the place of each column that is flush right
	elided int               // the column whose middle is cut out where the width asks for it; the last one is wrapped
	colors map[string]string // escapes of cells by their text
}

func (t table) write(w io.Writer, rows [][]string) error {
	var b strings.Builder
	widths := t.fit(rows)
	for _, row := range rows {
		var line strings.Builder
		line.WriteString(t.indent)
		at := utf8.RuneCountInString(t.indent)
		for j, cell := range row {
			cell = printable(cell)
			if j == len(widths)-1 {
				hang := "\n" + strings.Repeat(" ", at)
				line.WriteString(strings.Join(wrap(cell, widths[j]), hang))
				break
			}
			if j == t.elided {
				cell = elide(cell, widths[j])
			}
			gap := strings.Repeat(" ", max(0, widths[j]-utf8.RuneCountInString(cell)))
			if escape := t.colors[cell]; escape != "" {
				cell = escape + cell + escapeReset
			}
			if j < len(t.right) && t.right[j] == 'r' {
				line.WriteString(gap + cell + "  ")
			} else {
				line.WriteString(cell + gap + "  ")
			}
			at += widths[j] + 2
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// fit returns the widths of the columns.
func (t table) fit(rows [][]string) []int {
	widths := columnWidths(rows)
	last := len(widths) - 1
	if t.width <= 0 || last <= 0 {
		return widths
	}
	room := t.width - utf8.RuneCountInString(t.indent) - 2*last
	for _, n := range widths[:last] {
		room -= n
	}
	if least := min(leastText, widths[last]); room < least && widths[t.elided] > leastKey {
		cut := min(widths[t.elided]-leastKey, least-room)
		widths[t.elided] -= cut
		room += cut
	}
	widths[last] = min(widths[last], max(room, leastText))
	return widths
}

func columnWidths(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for j, cell := range row {
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// wrap breaks a text at spaces into lines of the width; longer words stay whole.
func wrap(text string, width int) []string {
	if utf8.RuneCountInString(text) <= width {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
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
			return utf8.RuneError
		}
		return c
	}, s)
}
