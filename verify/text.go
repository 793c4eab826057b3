package verify

import (
	"bufio"
	"io"

	"github.com/zqonnx/zqonnx/internal/termtext"
)

// escapes are the terminal's codes for the tones.
var escapes = map[tone]string{good: termtext.Good, bad: termtext.Bad}

// WriteText writes the report for a terminal: aligned tables, in colours if color is set. Where width, in characters, is
// positive, names in the first column are cut in the middle so that a line fits, if that suffices.
func (r *Report) WriteText(w io.Writer, color bool, width int) error {
	b := bufio.NewWriter(w)
	for i, s := range r.sections() {
		if i > 0 {
			b.WriteString("\n")
		}
		title := s.title
		if color {
			title = termtext.Paint(title, termtext.Bold)
		}
		b.WriteString(title + "\n")
		for _, n := range s.notes {
			b.WriteString("  " + termtext.Printable(n) + "\n")
		}
		if len(s.rows) == 0 {
			continue
		}
		t := termtext.Table{Width: width, Indent: "  ", Right: s.right()}
		if color {
			t.Escape = func(row, column int, _ string) string {
				if row == 0 {
					return termtext.Bold
				}
				return escapes[s.rows[row-1][column].tone]
			}
		}
		if err := t.Write(b, s.texts()); err != nil {
			return err
		}
	}
	return b.Flush()
}

// texts are the table with its header in front.
func (s section) texts() [][]string {
	table := [][]string{s.header}
	for _, cells := range s.rows {
		row := make([]string, len(cells))
		for j, c := range cells {
			row[j] = c.text
		}
		table = append(table, row)
	}
	return table
}

// right has an r in the place of each column of numbers.
func (s section) right() string {
	var columns []byte
	for _, c := range s.rows[0] {
		if c.tone == right {
			columns = append(columns, 'r')
		} else {
			columns = append(columns, ' ')
		}
	}
	return string(columns)
}
