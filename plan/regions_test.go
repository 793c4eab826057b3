package plan

import (
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/target"
)

// A region runs in integers where its convolutions save more than entering and leaving it cost.
func TestRegionsThatDoNotPay(t *testing.T) {
	for _, c := range []struct {
		name string
		dims []int64 // of the input
		n    int     // convolutions of as many channels
		mode Mode
		want Scheme
	}{
		{"small", []int64{1, 16, 4, 8}, 1, ModeAuto, WeightOnly},
		{"small, on demand", []int64{1, 16, 4, 8}, 1, ModeStatic, Static},
		{"large", []int64{1, 64, 16, 16}, 1, ModeAuto, Static},
		{"signal of a few frames", []int64{1, 16, 4}, 1, ModeAuto, WeightOnly},
		{"signal of many channels", []int64{1, 128, 4}, 1, ModeAuto, Static},
		{"a chain pays for its borders", []int64{1, 16, 8, 8}, 4, ModeAuto, Static},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, p := planned(t, build(func(b *builder) {
				x := b.input("x", c.dims...)
				shape, pads := []int64{c.dims[1], c.dims[1]}, []int64{}
				for range c.dims[2:] {
					shape, pads = append(shape, 3), append(pads, 1, 1)
				}
				for i := range c.n {
					name := string(rune('a' + i))
					x = b.op("Conv", name, in(x, b.normal("w"+name, 0.05, shape...)), onnx.AttrIs("pads", pads...))
				}
				b.output(b.op("Tanh", "y", in(x)))
			}), func(o *Options) { o.Target, o.Activations = target.Targets[0], c.mode })
			for _, n := range p.Nodes {
				if n.Op != "Conv" {
					continue
				}
				if n.Scheme != c.want {
					t.Errorf("%s is %s (%s), want %s", n.Key, n.Scheme, n.Reason.Text, c.want)
				}
				r := n.Reason
				if c.want == WeightOnly && (r.ID != "integers-cost" || r.Numbers["static_us"] <= r.Numbers["float_us"] || r.Numbers["float_us"] <= 0) {
					t.Errorf("%s: the reason is %+v", n.Key, r)
				}
			}
		})
	}
}

// Nodes that share codes are of one region, whoever makes them.
func TestRegions(t *testing.T) {
	prep, _ := planned(t, build(func(b *builder) {
		x := b.input("x", 1, 8, 8, 8)
		both := b.op("Add", "both", in(b.conv("a", x), b.conv("b", x)))
		tail := b.conv("tail", both)
		far := b.conv("far", b.op("Tanh", "tanh", in(tail)))
		b.output(b.op("Exp", "y", in(far)))
	}), nil)
	allowed := map[*onnx.Node]bool{}
	for n := range prep.Model.Graph.Nodes() {
		allowed[n] = n.Is("Conv")
	}
	var got []string
	for _, r := range place(target.Targets[0], &Existing{}, prep.Model.Graph, allowed, nil, nil, nil).regions() {
		var names, tensors []string
		for _, n := range r.nodes {
			names = append(names, n.Name)
		}
		for _, v := range r.tensors {
			tensors = append(tensors, v.Name())
		}
		got = append(got, strings.Join(names, " ")+": "+strings.Join(tensors, " "))
	}
	expect(t, strings.Join(got, "; "), "Conv_a Conv_b Add_both Conv_tail: x a b both tail; Conv_far: tanh far")
}

func TestRealTaps(t *testing.T) {
	for _, c := range []struct {
		in, out, kernel, stride, dilation int64
		want                              float64
	}{
		{4, 4, 1, 1, 1, 4},
		{4, 4, 3, 1, 1, 10}, // of 12, two meet padding
		{1, 1, 3, 1, 1, 1},
		{4, 2, 3, 1, 1, 6}, // no padding
		{8, 4, 3, 2, 1, 11},
		{8, 8, 3, 1, 2, 20},
	} {
		if got := realTaps(c.in, c.out, c.kernel, c.stride, c.dilation); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
