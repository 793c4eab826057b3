package engine

import (
	"bytes"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
)

// coded is a float tensor that a DequantizeLinear gives, or that a QuantizeLinear takes.
type coded struct {
	node        *onnx.Node
	codes       *onnx.Value
	scale, zero *onnx.Value // zero may be nil
	dt          onnx.DataType
	axis        int64
	scales      *onnx.Tensor
	zeros       *onnx.Tensor
}

func isQDQ(n *onnx.Node, op string) bool {
	return n != nil && n.Op == op && (n.Is(op) || n.Domain == msDomain) && n.Int("block_size", 0) == 0
}

func newCoded(n *onnx.Node, codes *onnx.Value) (coded, bool) {
	c := coded{node: n, codes: codes, scale: n.Input(1), zero: n.Input(2), axis: n.Int("axis", 1)}
	c.scales, c.zeros = rewrite.Const(c.scale), rewrite.Const(c.zero)
	if c.scales == nil || c.scales.Type != onnx.Float32 || c.zero != nil && c.zeros == nil {
		return c, false
	}
	if c.scales.Load() != nil || c.zeros != nil && c.zeros.Load() != nil {
		return c, false
	}
	switch {
	case c.zeros != nil:
		c.dt = c.zeros.Type
	case rewrite.Elem(codes) != onnx.Undefined:
		c.dt = rewrite.Elem(codes)
	default:
		c.dt = onnx.Uint8
	}
	return c, true
}

// dequantized returns what v is dequantized from, in the graph of the node that takes it.
func dequantized(v *onnx.Value, g *onnx.Graph) (coded, bool) {
	if v == nil {
		return coded{}, false
	}
	n, _ := v.Producer()
	if !isQDQ(n, "DequantizeLinear") || n.Graph() != g {
		return coded{}, false
	}
	return newCoded(n, n.Input(0))
}

// quantized returns the QuantizeLinear that is all that takes v.
func quantized(v *onnx.Value) (coded, bool) {
	n := rewrite.OnlyUse(v)
	if !isQDQ(n, "QuantizeLinear") || n.Input(0) != v || n.Graph() != v.Graph() {
		return coded{}, false
	}
	c, ok := newCoded(n, n.Output(0))
	return c, ok && c.perTensor()
}

func (c coded) perTensor() bool { return c.scales.Len() == 1 }

// perChannel reports whether there is one scale for all, or one for each of n indices of the axis.
func (c coded) perChannel(axis, rank, n int64) bool {
	if c.perTensor() {
		return true
	}
	a := c.axis
	if a < 0 {
		a += rank
	}
	return a == axis && c.scales.Rank() == 1 && int64(c.scales.Len()) == n
}

// same reports whether two tensors have bit-equal scale and zero point, per tensor.
func (c coded) same(d coded) bool {
	if c.dt != d.dt || !c.perTensor() || !d.perTensor() || !bytes.Equal(c.scales.Bytes(), d.scales.Bytes()) {
		return false
	}
	return c.zeroPoint() == d.zeroPoint()
}

func (c coded) zeroPoint() int32 {
	if c.zeros == nil {
		return 0
	}
	return codeAt(c.zeros.Type, c.zeros.Bytes(), 0)
}

// code8 reports whether c is per tensor and of 8 bits: what unary operators, Concat and Gemm take.
func (c coded) code8() bool { return c.perTensor() && c.is8() }

// activation reports whether Conv, MatMul and binary operators take c as an activation. ONNX Runtime on x86 has them for uint8
// only. It rewrites int8 to uint8 where one node takes the tensor; where several do, everything around stays float.
func (c coded) activation() bool {
	if !c.perTensor() {
		return false
	}
	return c.dt == onnx.Uint8 || c.dt == onnx.Int8 && (c.codes.Const() != nil || consumers(c.codes) <= 1)
}

// consumers returns how many nodes take codes, as they are or dequantized.
func consumers(codes *onnx.Value) int {
	count := 0
	if codes.IsOutput() {
		count++
	}
	for _, u := range codes.Uses() {
		if isQDQ(u.Node, "DequantizeLinear") {
			count += len(u.Node.Output(0).Uses())
			if u.Node.Output(0).IsOutput() {
				count++
			}
		} else {
			count++
		}
	}
	return count
}

// is8 reports whether weights of this type have an integer kernel.
func (c coded) is8() bool { return c.dt == onnx.Int8 || c.dt == onnx.Uint8 }

// eachNode calls f for the nodes of all graphs of m; f may remove the node.
func eachNode(m *onnx.Model, f func(n *onnx.Node)) {
	for g := range rewrite.Graphs(m) {
		for n := range g.Nodes() {
			f(n)
		}
	}
}

var dropRedundantClips = rewrite.Pass{
	Name: "drop-redundant-clips",
	Doc:  "remove a Relu or Clip whose bounds the QuantizeLinear behind it implies",
	Run: func(_ *rewrite.Context, m *onnx.Model) error {
		eachNode(m, func(n *onnx.Node) {
			if !n.Is("Relu", "Clip") {
				return
			}
			q, ok := quantized(n.Output(0))
			if !ok || !q.is8() || !implied(n, q) {
				return
			}
			q.node.SetInput(0, n.Input(0))
			n.Graph().Remove(n)
		})
		return nil
	},
}

// implied reports whether no code stands for a value that the Relu or Clip n would change.
func implied(n *onnx.Node, q coded) bool {
	limits := codeTypes[q.dt]
	if n.Op == "Relu" {
		return q.zeroPoint() == limits[0]
	}
	lo, hi, ok := clipBounds(n)
	s := onnx.Data[float32](q.scales)[0]
	return ok && float32(limits[0]-q.zeroPoint())*s >= lo && float32(limits[1]-q.zeroPoint())*s <= hi
}

// clipBounds returns the constant bounds of a Clip.
func clipBounds(n *onnx.Node) (lo, hi float32, ok bool) {
	const most = 3.4028234663852886e38
	lo, hi = n.Float("min", -most), n.Float("max", most)
	for i, bound := range []*float32{&lo, &hi} {
		v := n.Input(1 + i)
		if v == nil {
			continue
		}
		t := rewrite.Const(v)
		if t == nil || t.Type != onnx.Float32 || t.Len() != 1 || t.Load() != nil {
			return 0, 0, false
		}
		*bound = onnx.Data[float32](t)[0]
	}
	return lo, hi, true
}

// moves reports whether n only moves elements of its first input, or picks among them by order: it may run on codes.
func moves(n *onnx.Node) bool {
	switch {
	case n.Is("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Expand", "Tile", "DepthToSpace", "Split", "Identity"):
		return true
	case n.Is("Gather"), n.Is("Dropout"), n.Is("MaxPool"):
		return len(n.Outputs()) == 1
	case n.Is("ReduceMax"):
		return true
	case n.Is("Resize"):
		return n.Str("mode", "nearest") == "nearest" && n.Str("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize"
	}
	return false
}

// travels reports whether ONNX Runtime moves a lone DequantizeLinear or QuantizeLinear across n.
func travels(n *onnx.Node) bool {
	return n.Is("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Flatten", "Expand") && moves(n)
}

var sinkDequantize = rewrite.Pass{
	Name: "sink-dequantize",
	Doc:  "run operators that only move elements on codes, and dequantize behind them",
	Run: func(_ *rewrite.Context, m *onnx.Model) error {
		eachNode(m, func(n *onnx.Node) {
			if !moves(n) || n.Is("Gather") && n.Input(0).Const() != nil {
				return
			}
			x, ok := dequantized(n.Input(0), n.Graph())
			if !ok || !x.perTensor() || !x.is8() || x.codes.Const() != nil {
				return
			}
			for _, v := range n.Outputs() {
				// Where nothing can be gained the float form stays, as in ONNX Runtime.
				q, quantizes := quantized(v)
				if !(quantizes && q.same(x)) && !travels(n) {
					return
				}
			}
			g := n.Graph()
			names := make([]string, len(n.Outputs()))
			for i, v := range n.Outputs() {
				names[i] = v.Name() + "/codes"
			}
			inputs := slices.Clone(n.Inputs())
			inputs[0] = x.codes
			moved := g.InsertBefore(n, onnx.NodeSpec{Op: n.Op, Name: n.Name, Inputs: inputs, Outputs: names, Attrs: n.Attrs})
			for i, v := range n.Outputs() {
				out := moved.Output(i)
				out.Type = v.Type.Clone()
				if out.Type != nil {
					out.Type.Elem = x.dt
				}
			}
			if len(n.Outputs()) == 1 {
				become(n, x.node.Domain, "DequantizeLinear", "", nil, dequantizeInputs(moved.Output(0), x)...)
				return
			}
			for i, v := range n.Outputs() {
				d := g.InsertAfter(moved, onnx.NodeSpec{
					Op: "DequantizeLinear", Domain: x.node.Domain, Inputs: dequantizeInputs(moved.Output(i), x), Outputs: []string{v.Name() + "/values"},
				})
				d.Output(0).Type = v.Type.Clone()
				onnx.Replace(v, d.Output(0))
			}
			rewrite.RemoveUnused(n)
		})
		return nil
	},
}

func dequantizeInputs(v *onnx.Value, x coded) []*onnx.Value {
	if x.zero == nil {
		return []*onnx.Value{v, x.scale}
	}
	return []*onnx.Value{v, x.scale, x.zero}
}

var raiseQuantize = rewrite.Pass{
	Name: "raise-quantize",
	Doc:  "quantize in front of operators that only move elements",
	Run: func(_ *rewrite.Context, m *onnx.Model) error {
		for g := range rewrite.Graphs(m) {
			for _, n := range slices.Backward(slices.Collect(g.Nodes())) {
				if n.Graph() == nil || !travels(n) || len(n.Outputs()) != 1 {
					continue
				}
				q, ok := quantized(n.Output(0))
				x := n.Input(0)
				if !ok || !q.is8() || rewrite.OnlyUse(x) != n {
					continue
				}
				if p, _ := x.Producer(); p == nil || isQDQ(p, "DequantizeLinear") {
					continue
				}
				codes := g.InsertBefore(n, onnx.NodeSpec{
					Op: "QuantizeLinear", Domain: q.node.Domain, Inputs: dequantizeInputs(x, q), Outputs: []string{x.Name() + "/codes"},
				}).Output(0)
				if x.Type != nil {
					codes.Type = x.Type.Clone()
					codes.Type.Elem = q.dt
				}
				inputs := slices.Clone(n.Inputs())
				inputs[0] = codes
				become(q.node, n.Domain, n.Op, n.Name, n.Attrs, inputs...)
				rewrite.RemoveUnused(n)
			}
		}
		return nil
	},
}

var dropPairs = rewrite.Pass{
	Name: "drop-pairs",
	Doc:  "remove a QuantizeLinear behind a DequantizeLinear of the same scale and zero point",
	Run: func(c *rewrite.Context, m *onnx.Model) error {
		eachNode(m, func(n *onnx.Node) {
			if !isQDQ(n, "QuantizeLinear") {
				return
			}
			q, ok := newCoded(n, n.Output(0))
			x, ok2 := dequantized(n.Input(0), n.Graph())
			if ok && ok2 && q.same(x) && x.codes.Graph() == n.Graph() {
				name := n.Output(0).Name()
				codes := x.codes
				wasMade := codes.Const() == nil && !codes.IsInput() && !codes.IsOutput() && !n.Output(0).IsOutput()
				if rewrite.Bypass(c, n, codes) && wasMade && n.Graph() == nil {
					if p, _ := codes.Producer(); p != nil && moves(p) {
						codes.Rename(name) // the move runs under the name its quantized result had
					}
				}
			}
		})
		return nil
	},
}
