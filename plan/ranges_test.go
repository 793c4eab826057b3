package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
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
		for _, method := range []string{"minmax", "mse", "moving-average", quantize.Auto} {
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

// tails makes a tensor of heavy tails, the cube of a convolution, that a layer takes, and gives it besides as it is.
func tails(b *builder) {
	c := b.conv("c", b.input("x", 1, 8, 16, 16))
	cube := b.op("Mul", "cube", in(b.op("Mul", "square", in(c, c)), c))
	last := b.op("Mul", "last", in(b.op("Mul", "again", in(c, c)), c))
	y := b.op("Conv", "y", in(cube, b.normal("wy", 0.1, 8, 8, 3, 3)))
	b.output(b.op("Conv", "z", in(y, b.normal("wz", 0.1, 8, 8, 3, 3))), b.op("MaxPool", "p", in(last), onnx.AttrIs("kernel_shape", 2, 2)))
}

// Auto clips heavy tails where a layer averages over them, and neither what the model gives nor with few samples.
func TestAutoRange(t *testing.T) {
	for _, c := range []struct {
		samples int
		clipped bool
	}{{64, true}, {leastRangeSamples - 1, false}} {
		auto := func(method string) map[string]Activation {
			_, p := planned(t, build(tails), func(o *Options) {
				prep, err := Prepare(build(tails), 0)
				if err != nil {
					t.Fatal(err)
				}
				o.Range.Method, o.Equalize, o.Calibration, o.Guard.Samples = method, EqualizeNone, samplesOf(t, prep, c.samples), 8
			})
			return parameters(p)
		}
		chosen, widest := auto(quantize.Auto), auto("minmax")
		for name, a := range chosen {
			if a.Method == "" || a.Method == quantize.Auto {
				t.Errorf("%s: method %q", name, a.Method)
			}
		}
		if got := chosen["cube"].Scale < 0.9*widest["cube"].Scale; got != c.clipped {
			t.Errorf("%d samples: cube has %v, its extremes %v", c.samples, chosen["cube"], widest["cube"])
		}
		if chosen["last"] != widest["last"] {
			t.Errorf("%d samples: last has %v, its extremes %v", c.samples, chosen["last"], widest["last"])
		}
	}
}

// What is chosen by what rounding and clipping cost.
func TestBestRange(t *testing.T) {
	offers := []quantize.Candidate{{Method: "minmax", Noise: 10}, {Method: "entropy", Noise: 7, Clipping: 1}, {Method: "mse", Noise: 6, Clipping: 3}}
	for _, c := range []struct {
		name             string
		clip             float64 // the squared error that clipping made in the samples
		rounded, clipped float64 // dB
		want             string
	}{
		{"clipping costs no more than rounding", 3, 40, 40 + decibels(0.3), "mse"},
		{"clipping costs twice as much", 3, 40, 40 + decibels(0.6), "entropy"},
		{"clipping costs 5 times as much", 3, 40, 40 + decibels(1.5), "minmax"},
		{"clipping costs less", 3, 40, 60, "mse"},
		{"the samples hardly show what is clipped", 0.5, 40, 60, "minmax"},
		{"nobody takes it", 3, metric.MaxSQNR, metric.MaxSQNR, "minmax"},
	} {
		k := contest{offers: offers, tight: offers[2], round: disturbed{1000, 100}, clip: disturbed{100 * c.clip, 100}}
		if got := k.best(c.rounded, c.clipped); got.Method != c.want {
			t.Errorf("%s: %s, want %s", c.name, got.Method, c.want)
		}
	}
	k := contest{offers: []quantize.Candidate{{Method: "minmax", Noise: 10}, {Method: "mse", Noise: 9.5, Clipping: 0.1}}, round: disturbed{1000, 100}, clip: disturbed{10, 100}}
	k.tight = k.offers[1]
	if got := k.best(40, 60); got.Method != "minmax" {
		t.Errorf("a gain of 5 %%: %s", got.Method)
	}
}
