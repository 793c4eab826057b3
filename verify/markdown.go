package verify

import (
	"bufio"
	"io"
	"strings"

	"github.com/zqonnx/zqonnx/internal/termtext"
)

// WriteMarkdown writes the report in GitHub's Markdown.
func (r *Report) WriteMarkdown(w io.Writer) error {
	b := bufio.NewWriter(w)
	for i, s := range r.sections() {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString("## " + s.title + "\n")
		for _, n := range s.notes {
			b.WriteString("\n" + markdownText(n) + "\n")
		}
		if len(s.rows) == 0 {
			continue
		}
		b.WriteString("\n")
		rule := "|"
		line := "|"
		for j, h := range s.header {
			line += " " + h + " |"
			if s.rows[0][j].tone == right {
				rule += " ---: |"
			} else {
				rule += " --- |"
			}
		}
		b.WriteString(line + "\n" + rule + "\n")
		for _, row := range s.rows {
			line := "|"
			for _, c := range row {
				line += " " + markdownCell(c) + " |"
			}
			b.WriteString(line + "\n")
		}
	}
	return b.Flush()
}

func markdownCell(c cell) string {
	switch text := markdownText(c.text); c.tone {
	case bad:
		return "**" + text + "**"
	case code:
		return markdownCode(c.text)
	default:
		return text
	}
}

// markdownCode is a code span: its fence is longer than any run of backticks inside.
func markdownCode(s string) string {
	s = termtext.Printable(s)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if fence != "`" {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", `\|`) + fence
}

// markdownText keeps names from being read as markup.
func markdownText(s string) string {
	return markup.Replace(termtext.Printable(s))
}

var markup = strings.NewReplacer(
	`\`, `\\`, `|`, `\|`, "*", `\*`, "_", `\_`, "`", "\\`", "<", `\<`, ">", `\>`, "[", `\[`, "]", `\]`, "~", `\~`, "#", `\#`, "&", `\&`,
)
