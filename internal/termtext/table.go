// Package termtext lays out text for terminals: tables in aligned columns, names from models made harmless, lines wrapped and cut.
package termtext

import (
	"io"
	"strings"
	"unicode/utf8"
)

const (
	leastName = 16 // what an elided column keeps
	leastText = 24 // what a wrapped column keeps
)

// The terminal's escapes.
const (
	Good  = "\x1b[32m"
	Bad   = "\x1b[1;31m"
	Bold  = "\x1b[1m"
	Reset = "\x1b[0m"
)

// Paint puts a text between an escape and Reset; "" leaves it as it is.
func Paint(text, escape string) string {
	if escape == "" || text == "" {
		return text
	}
	return escape + text + Reset
}

// A Table is how rows are written: in aligned columns.
type Table struct {
	Width   int                                       // characters of a line; 0: any number, nothing is cut or wrapped
	Indent  string                                    // before each line
	Right   string                                    // has an r in the place of each column that is flush right
	Elided  int                                       // the column whose middle is cut out where the width asks for it
	Wrapped bool                                      // the last column is flush left and unpainted, and wrapped where the width asks for it
	Escape  func(row, column int, cell string) string // what paints a cell; may be nil
}

// Write writes the rows, which may differ in length.
func (t Table) Write(w io.Writer, rows [][]string) error {
	var b strings.Builder
	widths := t.fit(rows)
	for i, row := range rows {
		var line strings.Builder
		line.WriteString(t.Indent)
		at := utf8.RuneCountInString(t.Indent)
		for j, cell := range row {
			cell = Printable(cell)
			if j == len(widths)-1 && t.Wrapped {
				hang := "\n" + strings.Repeat(" ", at)
				line.WriteString(strings.Join(Wrap(cell, widths[j]), hang))
				break
			}
			if j == t.Elided {
				cell = elide(cell, widths[j])
			}
			gap := strings.Repeat(" ", max(0, widths[j]-utf8.RuneCountInString(cell)))
			if t.Escape != nil {
				cell = Paint(cell, t.Escape(i, j, cell))
			}
			if j < len(t.Right) && t.Right[j] == 'r' {
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
func (t Table) fit(rows [][]string) []int {
	widths := columnWidths(rows)
	last := len(widths) - 1
	if t.Width <= 0 || last <= 0 {
		return widths
	}
	room := t.Width - utf8.RuneCountInString(t.Indent) - 2*last // for the last column
	for _, n := range widths[:last] {
		room -= n
	}
	least := widths[last]
	if t.Wrapped {
		least = min(leastText, least)
	}
	if room < least && widths[t.Elided] > leastName {
		cut := min(widths[t.Elided]-leastName, least-room)
		widths[t.Elided] -= cut
		room += cut
	}
	widths[last] = min(widths[last], max(room, least))
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

// Wrap breaks a text at spaces into lines of the width; longer words stay whole.
func Wrap(text string, width int) []string {
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

// Printable replaces what a model's names could do to a terminal or a table.
func Printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 || c == '\u2028' || c == '\u2029' {
			return utf8.RuneError
		}
		return c
	}, s)
}
