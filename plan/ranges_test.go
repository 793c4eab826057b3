package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// parameters returns those of all tensors of a plan, by name.
func parameters(p *Plan) map[string]Activation {
	all := map[string]Activation{}
	for _, n := range p.Nodes {
		for name, a := range n.Activations {
			all[name] = a
		}
	}
	return all
}

// Which operands of a Concat get its parameters.
func TestJoinedConcats(t *testing.T) {
	concat := func(b *builder, out string, of ...*onnx.Value) *onnx.Value {
		return b.op("Concat", out, of, onnx.AttrI("axis", 1))
	}
	end := func(b *builder, v *onnx.Value, channels int64) {
		b.output(b.op("Conv", "y", in(v, b.normal("wy", 0.1, 8, channels, 3, 3))))
	}
	relu := func(b *builder, out string, v *onnx.Value) *onnx.Value {
		return b.op("Relu", out, in(b.conv("c"+out, v)))
	}
	for _, c := range []struct {
		name  string
		build func(b *builder)
		alike string // tensors that have one set of parameters, in groups
	}{
		{"two that only it takes", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			end(b, concat(b, "cat", b.conv("p", x), b.conv("q", x)), 16)
		}, "p=q=cat"},
		{"one that others take", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			p := b.conv("p", x)
			end(b, concat(b, "cat", p, b.conv("q", p)), 16)
		}, "q=cat p"},
		{"an output", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			p := b.conv("p", x)
			end(b, concat(b, "cat", p, b.conv("q", x)), 16)
			b.output(p)
		}, "q=cat p"},
		{"moved before", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			pool := b.op("MaxPool", "pool", in(b.conv("p", x)), onnx.AttrIs("kernel_shape", 1, 1))
			end(b, concat(b, "cat", pool, b.conv("q", x)), 16)
		}, "p=pool=q=cat"},
		{"Concat of a Concat", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			end(b, concat(b, "outer", concat(b, "inner", b.conv("p", x), b.conv("q", x)), b.conv("r", x)), 24)
		}, "p=q=inner=r=outer"},
		{"Relu in all", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			end(b, concat(b, "cat", relu(b, "p", x), relu(b, "q", x)), 16)
		}, "p=q=cat"},
		{"Relu beside negative values", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			end(b, concat(b, "cat", relu(b, "p", x), b.conv("q", x)), 16)
		}, "q=cat p"},
		{"Relu in a Concat of a Concat with negative values", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			end(b, concat(b, "outer", concat(b, "inner", relu(b, "p", x), relu(b, "q", x)), b.conv("r", x)), 24)
		}, "p=q=inner r=outer"},
		{"Clip below the others", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			six := b.op("Clip", "six", in(b.conv("p", x), b.scalar("lo", 0), b.scalar("hi", 0.4)))
			end(b, concat(b, "cat", six, relu(b, "q", x)), 16)
		}, "q=cat six"},
		{"Sigmoid", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			end(b, concat(b, "cat", b.op("Sigmoid", "s", in(b.conv("p", x))), relu(b, "q", x)), 16)
		}, "q=cat s"},
		{"Relu behind it", func(b *builder) {
			x := b.input("x", 1, 8, 8, 8)
			end(b, b.op("Relu", "r", in(concat(b, "cat", b.conv("p", x), b.conv("q", x)))), 16)
		}, "p q r"},
	} {
		for _, method := range []string{"minmax", "mse", "moving-average"} {
			_, p := planned(t, build(c.build), func(o *Options) { o.Range.Method, o.Equalize = method, EqualizeNone })
			all := parameters(p)
			groups := map[Activation][]string{}
			for i, group := range strings.Fields(c.alike) {
				for _, name := range strings.Split(group, "=") {
					a, ok := all[name]
					if !ok {
						t.Fatalf("%s: %s has no parameters in %s", c.name, name, decisions(p))
					}
					groups[a] = append(groups[a], fmt.Sprint(i))
				}
			}
			if len(groups) != len(strings.Fields(c.alike)) {
				t.Errorf("%s, %s: want %s, got %v", c.name, method, c.alike, groups)
			}
			for _, g := range groups {
				if len(slices.Compact(g)) > 1 {
					t.Errorf("%s, %s: want %s, got %v", c.name, method, c.alike, groups)
				}
			}
		}
	}
}
