package plan

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

// A Kind groups the operators whose weights are quantized alike.
type Kind int

// The kinds of site.
const (
	Product   Kind = iota // MatMul, Gemm: [M,K]·[K,N]
	Conv                  // Conv
	Table                 // Gather of rows of a constant table
	Recurrent             // LSTM with an integer form
	Stored                // anything whose constant weights can only be stored smaller
)

// A Site is a node with constant weights, and where they are.
type Site struct {
	Node *onnx.Node
	Key  string
	Kind Kind
	// Inputs are the positions of the constant operands and Axes the axis of each whose channels have a scale of their own.
	Inputs []int
	Axes   []int
	// Kept are the weights that the model came with as codes; nil for floats.
	Kept *quantize.Weights
	// Refused says why the weights cannot be quantized, or are not worth it (Small); empty when they are.
	Refused Reason
}

// Input returns the position of the activation that a product or convolution multiplies with its weights.
func (s *Site) Input() int {
	if s.Inputs[0] == 0 {
		return 1
	}
	return 0
}

// Weight returns the i-th constant operand.
func (s *Site) Weight(i int) *onnx.Value { return s.Node.Input(s.Inputs[i]) }

// Bytes returns the bytes of the constant operands in float.
func (s *Site) Bytes() int64 {
	var n int64
	for i := range s.Inputs {
		t := s.Weight(i).Const()
		n += t.Type.ByteSize(int64(t.Len()))
	}
	return n
}

// weighted has a row for each operator with constant weights: which inputs they are, and the axis of their channels.
var weighted = map[string]func(n *onnx.Node) (kind Kind, inputs, axes []int){
	"Conv":          func(*onnx.Node) (Kind, []int, []int) { return Conv, []int{1}, []int{0} },
	"ConvTranspose": func(*onnx.Node) (Kind, []int, []int) { return Stored, []int{1}, []int{1} },
	"MatMul":        matMulSite,
	"Gemm":          gemmSite,
	"Gather":        gatherSite,
	"LSTM":          lstmSite,
	"GRU":           func(*onnx.Node) (Kind, []int, []int) { return Stored, []int{1, 2}, []int{1, 1} },
	"RNN":           func(*onnx.Node) (Kind, []int, []int) { return Stored, []int{1, 2}, []int{1, 1} },
}

func matMulSite(n *onnx.Node) (Kind, []int, []int) {
	if w := constant(n, 1); w != nil {
		if w.Rank() == 2 {
			return Product, []int{1}, []int{1}
		}
		if w.Rank() > 2 {
			return Stored, []int{1}, []int{w.Rank() - 1}
		}
	}
	if w := constant(n, 0); w != nil && w.Rank() >= 2 {
		return Stored, []int{0}, []int{w.Rank() - 2}
	}
	return Stored, nil, nil
}

func gemmSite(n *onnx.Node) (Kind, []int, []int) {
	if w := constant(n, 1); w != nil && w.Rank() == 2 {
		axis := 1
		if n.Int("transB", 0) != 0 {
			axis = 0
		}
		if n.Int("transA", 0) == 0 && n.Float("alpha", 1) == 1 && n.Float("beta", 1) == 1 {
			return Product, []int{1}, []int{axis}
		}
		return Stored, []int{1}, []int{axis}
	}
	return Stored, nil, nil
}

func gatherSite(n *onnx.Node) (Kind, []int, []int) {
	if w := constant(n, 0); w != nil && w.Rank() == 2 && n.Int("axis", 0) == 0 {
		return Table, []int{0}, []int{0}
	}
	return Stored, nil, nil
}

// lstmSite tells which LSTMs com.microsoft.DynamicQuantizeLSTM can stand for.
func lstmSite(n *onnx.Node) (Kind, []int, []int) {
	if n.Int("layout", 0) == 0 && n.Int("input_forget", 0) == 0 {
		return Recurrent, []int{1, 2}, []int{1, 1}
	}
	return Stored, []int{1, 2}, []int{1, 1}
}

func constant(n *onnx.Node, i int) *onnx.Tensor {
	if v := n.Input(i); v != nil {
		return v.Const()
	}
	return nil
}

// MinWeights is the number of elements below which storing weights in 8 bits saves less than the nodes around them cost.
const MinWeights = 256

// minChannel is the number of weights per channel below which the scales outweigh what 8 bits save.
const minChannel = 3

// Survey finds the sites of a model, in graph order, subgraphs included.
func Survey(m *onnx.Model) []*Site {
	var sites []*Site
	keys := m.Graph.Keys()
	for g := range rewrite.Graphs(m) {
		for n := range g.Nodes() {
			row := weighted[n.Op]
			if row == nil || !n.Is(n.Op) {
				continue
			}
			kind, inputs, axes := row(n)
			s := &Site{Node: n, Key: keys[n], Kind: kind}
			for i, in := range inputs {
				if w := constant(n, in); w != nil {
					s.Inputs, s.Axes = append(s.Inputs, in), append(s.Axes, axes[i])
				}
			}
			if len(s.Inputs) < len(inputs) || len(s.Inputs) == 0 || !s.hasAxes() {
				continue
			}
			s.Refused = refuse(s)
			sites = append(sites, s)
		}
	}
	return sites
}

// hasAxes reports whether the constant operands have the axes that their channels lie along: a bad model's may not.
func (s *Site) hasAxes() bool {
	for i := range s.Inputs {
		if dims, axis := s.shape(i); axis >= len(dims) {
			return false
		}
	}
	return true
}

// weightsSmall is the reason of weights that are not worth storing.
const weightsSmall = "weights-small"

// Small reports whether the weights could be quantized, but are too few to be worth storing.
func (s *Site) Small() bool { return s.Refused.ID == weightsSmall }

func refuse(s *Site) Reason {
	var elements, channels int
	for i := range s.Inputs {
		v := s.Weight(i)
		t := v.Const()
		if t.Type != onnx.Float32 {
			return Reason{ID: "weights-not-float32", Text: fmt.Sprintf("the weights %q are %s; only float32 weights are quantized", v.Name(), t.Type)}
		}
		if !isFinite(t) {
			return Reason{ID: "weights-not-finite", Text: fmt.Sprintf("the weights %q hold NaN or infinite values", v.Name())}
		}
		elements += t.Len()
		if dims, a := s.shape(i); a < len(dims) {
			channels += int(dims[a])
		}
	}
	if elements < MinWeights {
		return Reason{ID: weightsSmall, Text: fmt.Sprintf("%d weights: storing them in 8 bits would save less than the nodes for it cost", elements)}
	}
	if elements < minChannel*channels {
		return Reason{ID: weightsSmall, Text: fmt.Sprintf("%d weights in %d channels: each would have a scale of its own, which would save nothing", elements, channels)}
	}
	return Reason{}
}

// isFinite reports whether a float32 tensor holds no NaN and no infinite values.
func isFinite(t *onnx.Tensor) bool {
	return !slices.ContainsFunc(onnx.Data[float32](t), func(x float32) bool { return x-x != 0 })
}

// whyFloat gives the reason for a node that is no site and was not placed in integers.
func whyFloat(t *target.Target, n *onnx.Node) Reason {
	switch r := t.Rule(n.Op); {
	case n.Domain != "" && n.Domain != "ai.onnx":
		return Reason{ID: "custom-operator", Text: fmt.Sprintf("%s.%s is not an operator of the ONNX standard", n.Domain, n.Op)}
	case r.Support == target.None:
		return Reason{ID: "no-integer-kernel", Text: r.Why}
	case r.Support == target.Weighted:
		return Reason{ID: "no-constant-operand", Text: "both operands are computed: quantizing them costs more time and accuracy than it saves"}
	}
	return Reason{ID: "not-between-integers", Text: "its neighbours run in float: going to integers and back would only cost time and accuracy"}
}

// Rounding is how weights are rounded where nothing was measured: convolutions see inputs of positive mean and alike
// neighbours, for which balanced errors cancel.
func (s *Site) Rounding() string {
	if s.Kind == Conv {
		return "squant"
	}
	return "rtn"
}

// kernel returns how many consecutive weights of a channel see neighbouring inputs.
func (s *Site) kernel(i int) int {
	if d := s.Weight(i).Const().Dims; s.Kind == Conv && len(d) > 2 {
		return int(onnx.NumElements(d[2:]))
	}
	return 1
}

// shape returns the shape in which operand i is quantized, and the axis of its channels there. The directions of recurrent
// nodes are independent: weights [directions, rows, K] are [directions·rows, K] with a scale for each row.
func (s *Site) shape(i int) (dims []int64, axis int) {
	d := s.Weight(i).Const().Dims
	if s.Node.Is("LSTM", "GRU", "RNN") && len(d) == 3 {
		return []int64{d[0] * d[1], d[2]}, 0
	}
	return d, s.Axes[i]
}

// QuantizeSite quantizes constant operand i of a site as w says; where w is nil, along its own axis with the site's rounding.
// Weights of recurrent nodes are quantized as the matrix [directions·rows, K].
func QuantizeSite(s *Site, i int, w *Weights) (*quantize.Weights, error) {
	if s.Kept != nil {
		return s.Kept, nil
	}
	if w == nil {
		w = &Weights{Form: usual, Axis: s.Axes[i], Rounding: s.Rounding()}
	}
	q, err := s.quantize(i, w, onnx.Data[float32](s.Weight(i).Const()), nil)
	if err != nil {
		return nil, fmt.Errorf("weights %q: %w", s.Weight(i).Name(), err)
	}
	return q, nil
}

// quantize quantizes x, the weights of operand i or others in their place, as w says. solvers are for learned roundings.
func (s *Site) quantize(i int, w *Weights, x []float32, solvers []*quantize.Solver) (*quantize.Weights, error) {
	dims, axis := s.shape(i)
	if w.Axis == quantize.PerTensor {
		axis = quantize.PerTensor
	}
	format, ok := quantize.FormatNamed(w.Type)
	if !ok {
		return nil, fmt.Errorf("unknown type %q", w.Type)
	}
	if w.Solved != nil {
		q, err := format.Blank(dims, axis, w.Block)
		if err != nil {
			return nil, err
		}
		return q, w.Solved.apply(q)
	}
	q, err := format.Quantize(x, dims, axis, w.Block)
	if err != nil {
		return nil, err
	}
	r, ok := quantize.RoundingNamed(w.Rounding)
	if !ok || r.Fits != nil && !r.Fits(q) {
		return nil, fmt.Errorf("rounding %q is not for weights of type %q in blocks of %d along axis %d", w.Rounding, w.Type, w.Block, w.Axis)
	}
	return q, r.Apply(q, x, quantize.Layer{Kernel: s.kernel(i), Solvers: solvers})
}
