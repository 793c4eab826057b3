package termtext

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	rows := [][]string{
		{"/a/very/long/name/of/a/node", "Conv", "7", "a text that does not fit on the line and is wrapped"},
		{"/b", "Relu", "12", "short"},
	}
	for _, c := range []struct {
		name string
		t    Table
		want string
	}{
		{"as wide as need be", Table{Right: "  r", Wrapped: true}, "" +
			"/a/very/long/name/of/a/node  Conv   7  a text that does not fit on the line and is wrapped\n" +
			"/b                           Relu  12  short\n"},
		{"narrow", Table{Width: 60, Right: "  r", Indent: " ", Wrapped: true}, "" +
			" /a/very/lon…e/of/a/node  Conv   7  a text that does not fit\n" +
			"                                    on the line and is\n" +
			"                                    wrapped\n" +
			" /b                       Relu  12  short\n"},
		{"coloured", Table{Wrapped: true, Escape: func(_, _ int, cell string) string { return map[string]string{"Relu": Bad}[cell] }}, "" +
			"/a/very/long/name/of/a/node  Conv  7   a text that does not fit on the line and is wrapped\n" +
			"/b                           " + Bad + "Relu" + Reset + "  12  short\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			if err := c.t.Write(&b, rows); err != nil {
				t.Fatal(err)
			}
			if b.String() != c.want {
				t.Errorf("got\n%swant\n%s", b.String(), c.want)
			}
		})
	}
	var b strings.Builder
	if err := (Table{Wrapped: true}).Write(&b, [][]string{{"a\x1b[2J\nb", "c"}}); err != nil || strings.ContainsAny(strings.TrimSuffix(b.String(), "\n"), "\x1b\n") {
		t.Errorf("a name reaches the terminal as it is: %q, %v", b.String(), err)
	}
}

func TestElide(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{{"abcdefgh", 8, "abcdefgh"}, {"abcdefgh", 7, "abc…fgh"}, {"abcdefgh", 4, "a…gh"}, {"äöüäöü", 3, "ä…ü"}} {
		if got := elide(c.text, c.n); got != c.want {
			t.Errorf("elide(%q, %d) = %q, want %q", c.text, c.n, got, c.want)
		}
	}
}
