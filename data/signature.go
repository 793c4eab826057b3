package data

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
)

// A signature is what a model asks of its callers, and how Options answer it.
type signature struct {
	inputs  []port
	outputs []port
	dims    map[string]int64
	state   map[string]string // input → output
	values  map[string]string
	labels  *port // an array that is no input; nil: none
	// unlabelled samples lack it
	unlabelled bool
}

// arrays are the ports of the arrays that a sample may hold.
func (s *signature) arrays() []port {
	if s.labels == nil {
		return s.inputs
	}
	return append(slices.Clone(s.inputs), *s.labels)
}

func (s *signature) isLabels(p port) bool { return s.labels != nil && s.labels.name == p.name }

// A port is an input or output.
type port struct {
	name string
	typ  onnx.Type
}

func ports(values []*onnx.Value) []port {
	p := make([]port, len(values))
	for i, v := range values {
		p[i].name = v.Name()
		if v.Type != nil {
			p[i].typ = *v.Type.Clone()
		}
	}
	return p
}

func find(ports []port, name string) *port {
	i := slices.IndexFunc(ports, func(p port) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return &ports[i]
}

func names(ports []port) string {
	s := make([]string, len(ports))
	for i, p := range ports {
		s[i] = p.name
	}
	return strings.Join(s, ", ")
}

func newSignature(g *onnx.Graph, o Options) (*signature, error) {
	s := &signature{inputs: ports(g.Feeds()), outputs: ports(g.Outputs()), dims: o.Dims, state: map[string]string{}, values: o.Values, unlabelled: o.Unlabelled}
	for _, p := range s.inputs {
		if p.typ.Kind != onnx.KindTensor {
			return nil, fmt.Errorf("input %q is %s: only tensors can be given as data (%w)", p.name, &p.typ, onnx.ErrBadModel)
		}
	}
	for _, out := range slices.Sorted(maps.Keys(o.State)) {
		in := o.State[out]
		switch {
		case find(s.outputs, out) == nil:
			return nil, badOption("--state %s=%s: the model has no output %q; it has %s", out, in, out, names(s.outputs))
		case find(s.inputs, in) == nil:
			return nil, badOption("--state %s=%s: the model has no input %q; it has %s", out, in, in, names(s.inputs))
		case s.state[in] != "":
			return nil, badOption("--state: both %s and %s are fed back into %q", s.state[in], out, in)
		}
		s.state[in] = out
	}
	if o.Labels != "" {
		if find(s.inputs, o.Labels) != nil {
			return nil, badOption("--labels %s: the model has an input of that name; labels are an array that it does not take", o.Labels)
		}
		s.labels = &port{name: o.Labels, typ: onnx.Type{Kind: onnx.KindTensor, Elem: onnx.Int64}} // of any shape
	}
	known := s.symbols()
	for _, name := range slices.Sorted(maps.Keys(o.Dims)) {
		if !slices.Contains(known, name) {
			return nil, badOption("--dim %s=%d: no input has this dimension; there are: %s", name, o.Dims[name], orNone(known))
		}
		if o.Dims[name] < 0 {
			return nil, badOption("--dim %s=%d: a size cannot be negative", name, o.Dims[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Values)) {
		in := find(s.inputs, name)
		if in == nil {
			return nil, badOption("--value %s=%s: the model has no input %q; it has %s", name, o.Values[name], name, names(s.inputs))
		}
		if _, err := constant(*in, o.Values[name], newBinding(s.dims)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func orNone(s []string) string {
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, ", ")
}

func badOption(format string, args ...any) error {
	return fmt.Errorf(format+" (%w)", append(args, ErrBadOption)...)
}

// needed returns the inputs that the data must hold.
func (s *signature) needed() []port {
	return slices.DeleteFunc(slices.Clone(s.inputs), func(p port) bool {
		_, isConst := s.values[p.name]
		return isConst || s.state[p.name] != ""
	})
}

// symbols returns the names of all dimensions that are not fixed, in order of appearance.
func (s *signature) symbols() []string {
	var all []string
	for _, p := range s.inputs {
		for i := range p.typ.Shape {
			for _, name := range atoms(p, i) {
				if !slices.Contains(all, name) {
					all = append(all, name)
				}
			}
		}
	}
	return all
}

// symbol returns the name of dimension i of an input. Dimensions without a name, and those with one of the words that
// exporters write for no name, are not equal to each other: each gets a name of its own.
func symbol(p port, i int) string {
	switch name := p.typ.Shape[i].Param; name {
	case "", "?", "-1", "None":
		return fmt.Sprintf("%s[%d]", p.name, i)
	default:
		return name
	}
}

// atoms returns the names that make up dimension i: exporters write sums and products such as "past + 1".
func atoms(p port, i int) []string {
	if p.typ.Shape[i].Size >= 0 {
		return nil
	}
	var names []string
	for _, a := range strings.FieldsFunc(symbol(p, i), func(r rune) bool { return strings.ContainsRune(" +*", r) }) {
		if _, err := strconv.ParseInt(a, 10, 64); err != nil {
			names = append(names, a)
		}
	}
	return names
}

// A binding is what is known of symbolic dimensions: their sizes, and who says so.
type binding map[string]bound

type bound struct {
	size int64
	by   string
}

func newBinding(dims map[string]int64) binding {
	b := binding{}
	for name, size := range dims {
		b[name] = bound{size, "--dim says"}
	}
	return b
}

// size evaluates dimension i of p: a name that nothing is known of counts as 1.
func (b binding) size(p port, i int) int64 {
	if d := p.typ.Shape[i]; d.Size >= 0 {
		return d.Size
	}
	name := symbol(p, i)
	if k, ok := b[name]; ok {
		return k.size
	}
	sum := int64(0)
	for term := range strings.SplitSeq(name, "+") {
		product := int64(1)
		for factor := range strings.SplitSeq(term, "*") {
			factor = strings.TrimSpace(factor)
			n, err := strconv.ParseInt(factor, 10, 64)
			if k, ok := b[factor]; ok {
				n = k.size
			} else if err != nil {
				n = 1
			}
			product *= n
		}
		sum += product
	}
	return sum
}

func (b binding) sizes(p port) []int64 {
	dims := make([]int64, len(p.typ.Shape))
	for i := range dims {
		dims[i] = b.size(p, i)
	}
	return dims
}

// bind holds an array's shape against its port's and learns the sizes of symbols. The error says what is wrong with the
// array, in words that follow its name.
func (b binding) bind(p port, dims []int64) error {
	if p.typ.Shape == nil {
		return nil
	}
	if !fits(p.typ.Shape, dims) {
		return fmt.Errorf("has shape %s; the model wants %s%s", npy.ShapeText(dims), shapeText(p.typ.Shape), remedy(p.typ.Shape, dims))
	}
	for i, n := range dims {
		if p.typ.Shape[i].Size >= 0 {
			continue
		}
		name := symbol(p, i)
		if k, ok := b[name]; ok && k.size != n {
			return fmt.Errorf("has shape %s, which makes the dimension %s of %s %d; %s %d", npy.ShapeText(dims), name, shapeText(p.typ.Shape), n, k.by, k.size)
		}
		b[name] = bound{n, fmt.Sprintf("array %q makes it", p.name)}
	}
	return nil
}

func fits(want []onnx.Dim, dims []int64) bool {
	return slices.EqualFunc(want, dims, func(d onnx.Dim, n int64) bool { return d.Size < 0 || d.Size == n })
}

func shapeText(shape []onnx.Dim) string {
	s := make([]string, len(shape))
	for i, d := range shape {
		s[i] = d.String()
	}
	return "[" + strings.Join(s, ",") + "]"
}

// remedies are the usual mistakes: a way to change the array's shape, and what to tell if it would then fit.
var remedies = []struct {
	rank   int // of the array less that of the model's input
	change func(dims []int64) []int64
	text   string
}{
	{-1, func(d []int64) []int64 { return slices.Insert(d, 0, 1) }, "add the batch dimension"},
	{+1, func(d []int64) []int64 { return d[1:] }, "one sample a file, without a batch dimension"},
	{0, func(d []int64) []int64 { d[0] = 1; return d }, "one sample a file: split the batch"},
	{0, func(d []int64) []int64 { return permute(d, 0, 3, 1, 2) }, "transpose it from NHWC to NCHW"},
	{0, func(d []int64) []int64 { return permute(d, 0, 2, 3, 1) }, "transpose it from NCHW to NHWC"},
}

func remedy(want []onnx.Dim, dims []int64) string {
	for _, r := range remedies {
		if len(dims)-len(want) == r.rank && len(dims)+len(want) > 0 && fits(want, r.change(slices.Clone(dims))) {
			return ": " + r.text
		}
	}
	return ""
}

func permute(dims []int64, order ...int) []int64 {
	if len(dims) != len(order) {
		return dims
	}
	p := make([]int64, len(dims))
	for i, k := range order {
		p[i] = dims[k]
	}
	return p
}

// complete adds what the sample itself does not hold.
func (s *signature) complete(sample string, feeds, previous map[string]*onnx.Tensor) error {
	b := newBinding(s.dims)
	fail := func(in, problem string) error {
		return &Error{File: sample, Array: in, Problem: problem}
	}
	for _, p := range s.inputs {
		t := feeds[p.name]
		if out := s.state[p.name]; t == nil && out != "" && previous != nil {
			if previous[out] == nil {
				return fail(p.name, fmt.Sprintf("is fed from the output %q, which the sample before did not yield", out))
			}
			var err error
			if t, err = fit(previous[out], p.typ.Elem); err != nil {
				return fail(p.name, fmt.Sprintf("is fed from the output %q: it %v", out, err))
			}
			feeds[p.name] = t
		}
		if t == nil {
			continue
		}
		if err := b.bind(p, t.Dims); err != nil {
			return fail(p.name, err.Error())
		}
	}
	for _, p := range s.inputs {
		if feeds[p.name] != nil {
			continue
		}
		text, isConst := s.values[p.name]
		switch {
		case isConst:
			t, err := constant(p, text, b)
			if err != nil {
				return err
			}
			feeds[p.name] = t
		case s.state[p.name] != "" && (p.typ.Shape == nil || p.typ.Elem == onnx.Undefined):
			return fail(p.name, "is missing, and the model does not say the shape and type that it begins with as zero: add it to the first sample")
		case s.state[p.name] != "":
			dims := b.sizes(p)
			if err := checkSize(p, dims); err != nil {
				return err
			}
			feeds[p.name] = zeros(p.typ.Elem, dims)
		default:
			return fail(p.name, s.missing(p))
		}
	}
	return nil
}

// missing says that an input is not there, and the ways to give it.
func (s *signature) missing(p port) string {
	return fmt.Sprintf("is missing; the model wants %s: add it, or give --value %s=V for a constant, --state OUTPUT=%s for a state", &p.typ, p.name, p.name)
}

func zeros(t onnx.DataType, dims []int64) *onnx.Tensor {
	if t == onnx.String {
		return onnx.NewStrings(dims, make([][]byte, onnx.NumElements(dims)))
	}
	return onnx.Zeros(t, dims...)
}

// checkSize refuses to make up arrays larger than those that are read: a size in a model or flag is no reason for gigabytes.
func checkSize(p port, dims []int64) error {
	n := max(1, int64(p.typ.Elem.Bits()+7)/8)
	for _, d := range dims {
		if d > npy.MaxBytes/n {
			return badOption("input %q would take more than %d bytes with shape %s: fix its dimensions with --dim", p.name, int64(npy.MaxBytes), npy.ShapeText(dims))
		}
		n *= max(d, 1)
	}
	return nil
}

// An Error says what is wrong with a sample. It wraps ErrBadData.
type Error struct {
	File    string // file or folder of the sample
	Array   string // the input's name; empty when the file as a whole is bad
	Problem string // in words that follow the array's name
	Err     error  // the cause, may be nil
}

func (e *Error) Error() string {
	if e.Array == "" {
		return e.File + ": " + e.Problem
	}
	return fmt.Sprintf("%s: array %q %s", e.File, e.Array, e.Problem)
}

// Unwrap returns ErrBadData and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrBadData}
	}
	return []error{ErrBadData, e.Err}
}
