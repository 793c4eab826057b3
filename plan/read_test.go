package plan

import (
	"strings"
	"testing"
)

func TestReadNamesTheLine(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown field", "{\n\"schema\": 1,\n\"colour\": 2,\n\"tool\": \"x\"\n}\n", `line 3: json: unknown field "colour"`},
		{"unknown field of a node", "{\n\"schema\": 1,\n\"nodes\": [\n{\"key\": \"a\",\n\"shape\": 1}]\n}\n", "line 5: "},
		{"wrong type", "{\n\"schema\": 1,\n\"tool\": 2,\n\"target\": \"x\"\n}\n", "line 3: "},
		{"syntax", "{\n\"schema\": 1,\n\"tool\": \"x\",,\n\"target\": \"x\"\n}\n", "line 3: "},
		{"cut off", "{\n\"schema\": 1,\n\"tool\": ", "line 3: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read([]byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s...", err, c.want)
			}
		})
	}
}
