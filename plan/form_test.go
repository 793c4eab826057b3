package plan

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// What is asked for becomes what a site can have.
func TestFormsOfSites(t *testing.T) {
	m := build(func(b *builder) {
		x := b.input("x", 64, 64)
		shared := b.normal("shared", 1, 64, 64)
		h := b.op("MatMul", "alone", []*onnx.Value{x, b.normal("w", 1, 64, 64)})
		h = b.op("MatMul", "first", []*onnx.Value{h, shared})
		h = b.op("MatMul", "second", []*onnx.Value{h, shared})
		b.output(b.op("MatMul", "small", []*onnx.Value{h, b.normal("v", 1, 64, 8)}))
	})
	sites := map[string]*Site{}
	for _, s := range Survey(m) {
		sites[s.Node.Output(0).Name()] = s
	}
	int4 := func(block int, storage Storage, level int) Form { return Form{"int4", block, storage, level} }
	for _, c := range []struct {
		site   string
		scheme Scheme
		asked  Form
		want   Form
	}{
		{"alone", WeightOnly, Form{Type: "int8", Storage: "auto"}, usual},
		{"alone", WeightOnly, int4(32, "auto", 0), int4(32, Native, 1)},
		{"alone", WeightOnly, int4(32, "auto", 4), int4(32, Native, 4)},
		{"alone", WeightOnly, int4(32, Folded, 0), int4(32, Folded, 0)},
		{"alone", WeightOnly, int4(24, Native, 0), int4(24, Folded, 0)},
		{"alone", WeightOnly, int4(0, "auto", 0), int4(0, Folded, 0)},
		{"alone", WeightOnly, Form{Type: "int8", Block: 32, Storage: Native}, Form{"int8", 32, Native, 4}},
		{"alone", WeightOnly, Form{Type: "int8", Block: 32, Storage: "auto"}, Form{"int8", 32, Folded, 0}},
		{"alone", WeightOnly, int4(32, QDQ, 0), int4(32, QDQ, 0)},
		{"first", WeightOnly, int4(32, QDQ, 0), int4(32, Folded, 0)},
		{"alone", Token, Form{Type: "uint4", Block: 32, Storage: "auto"}, int4(0, Folded, 0)},
		{"alone", Token, Form{Type: "uint8", Storage: "auto"}, usual},
		{"small", WeightOnly, int4(32, "auto", 0), usual},
	} {
		if got := c.asked.fit(sites[c.site], c.scheme); got != c.want {
			t.Errorf("%s, %s: %+v becomes %+v, want %+v", c.site, c.scheme, c.asked, got, c.want)
		}
		if err := c.want.check(); err != nil {
			t.Error(err)
		}
	}
}
