package zqonnx_test

import (
	"archive/tar"
	"compress/gzip"
	"flag"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
	"github.com/zqonnx/zqonnx/internal/shareddata"
	"github.com/zqonnx/zqonnx/onnx"
)

// spoil changes a model as the edits say, one after the other. What is no model stays as it is.
func spoil(model, edits []byte) []byte {
	p := &onnxpb.ModelProto{}
	if len(edits) == 0 || proto.Unmarshal(model, p) != nil || p.Graph == nil {
		return model
	}
	s := &spoiler{p: p, edits: edits}
	for n := 0; len(s.edits) > 0 && n < 16; n++ {
		s.collect(p.Graph)
		if len(s.nodes) == 0 {
			break
		}
		spoilers[s.pick(len(spoilers))](s)
	}
	b, err := proto.Marshal(p)
	if err != nil {
		return model
	}
	return b
}

// A spoiler reads its choices from the edits; behind their end all choices are 0.
type spoiler struct {
	p      *onnxpb.ModelProto
	edits  []byte
	graphs []*onnxpb.GraphProto
	nodes  []*onnxpb.NodeProto
	names  []string // of tensors
}

func (s *spoiler) collect(g *onnxpb.GraphProto) {
	if g == s.p.Graph {
		s.graphs, s.nodes, s.names = nil, nil, []string{""}
	}
	s.graphs = append(s.graphs, g)
	for _, v := range g.Input {
		s.names = append(s.names, v.GetName())
	}
	for _, t := range g.Initializer {
		s.names = append(s.names, t.GetName())
	}
	for _, n := range g.Node {
		s.nodes = append(s.nodes, n)
		s.names = append(s.names, n.Output...)
		for _, a := range n.Attribute {
			if a.G != nil {
				s.collect(a.G)
			}
		}
	}
}

func (s *spoiler) pick(n int) int {
	if n <= 1 || len(s.edits) == 0 {
		return 0
	}
	c := int(s.edits[0])
	s.edits = s.edits[1:]
	return c % n
}

func pickOf[T any](s *spoiler, list []T) (item T, ok bool) {
	if len(list) == 0 {
		return item, false
	}
	return list[s.pick(len(list))], true
}

var numbers = []int64{
	0, 1, -1, 2, -2, 3, 4, 5, 7, 8, 16, 64, -3, -5, 127, 1000, 65535, 1 << 20, 1<<31 - 1, -1 << 31, 1 << 32, 1 << 40, 1 << 60, math.MaxInt64, math.MinInt64, math.MinInt64 + 1,
}

func (s *spoiler) number() int64 { return numbers[s.pick(len(numbers))] }

var floats = []float32{0, 1, -1, 1e-30, 1e30, -1e30, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 0.5, 1e-45, 3e38, 1e10}

// attributes are names that operators look for, with the kind they expect.
var attributes = []struct {
	name string
	kind onnxpb.AttributeProto_AttributeType
}{
	{"axis", onnxpb.AttributeProto_INT},
	{"axes", onnxpb.AttributeProto_INTS},
	{"perm", onnxpb.AttributeProto_INTS},
	{"group", onnxpb.AttributeProto_INT},
	{"pads", onnxpb.AttributeProto_INTS},
	{"strides", onnxpb.AttributeProto_INTS},
	{"dilations", onnxpb.AttributeProto_INTS},
	{"kernel_shape", onnxpb.AttributeProto_INTS},
	{"output_padding", onnxpb.AttributeProto_INTS},
	{"output_shape", onnxpb.AttributeProto_INTS},
	{"ceil_mode", onnxpb.AttributeProto_INT},
	{"blocksize", onnxpb.AttributeProto_INT},
	{"split", onnxpb.AttributeProto_INTS},
	{"num_outputs", onnxpb.AttributeProto_INT},
	{"to", onnxpb.AttributeProto_INT},
	{"dtype", onnxpb.AttributeProto_INT},
	{"hidden_size", onnxpb.AttributeProto_INT},
	{"k", onnxpb.AttributeProto_INT},
	{"batch_axis", onnxpb.AttributeProto_INT},
	{"time_axis", onnxpb.AttributeProto_INT},
	{"keepdims", onnxpb.AttributeProto_INT},
	{"block_size", onnxpb.AttributeProto_INT},
	{"transA", onnxpb.AttributeProto_INT},
	{"transB", onnxpb.AttributeProto_INT},
	{"start", onnxpb.AttributeProto_INT},
	{"end", onnxpb.AttributeProto_INT},
	{"num_scan_inputs", onnxpb.AttributeProto_INT},
	{"layout", onnxpb.AttributeProto_INT},
	{"storage_order", onnxpb.AttributeProto_INT},
	{"allowzero", onnxpb.AttributeProto_INT},
	{"batch_dims", onnxpb.AttributeProto_INT},
	{"epsilon", onnxpb.AttributeProto_FLOAT},
	{"alpha", onnxpb.AttributeProto_FLOAT},
	{"clip", onnxpb.AttributeProto_FLOAT},
	{"auto_pad", onnxpb.AttributeProto_STRING},
	{"mode", onnxpb.AttributeProto_STRING},
	{"direction", onnxpb.AttributeProto_STRING},
	{"equation", onnxpb.AttributeProto_STRING},
	{"activations", onnxpb.AttributeProto_STRINGS},
	{"size", onnxpb.AttributeProto_INT},
}

var texts = []string{"", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "reflect", "edge", "wrap", "bidirectional", "reverse", "linear", "cubic", "ij,jk->ik", "...i,i...->i", "ii->", "Affine", "CRD"}

// spoilers is the table of edits.
var spoilers = []func(*spoiler){
	// A number of an attribute.
	(*spoiler).attribute, (*spoiler).attribute, (*spoiler).attribute, (*spoiler).attribute,
	func(s *spoiler) { // an attribute that the node does not have
		n := s.node()
		a := attributes[s.pick(len(attributes))]
		made := &onnxpb.AttributeProto{Name: proto.String(a.name), Type: a.kind.Enum()}
		s.fill(made)
		n.Attribute = append(n.Attribute, made)
	},
	func(s *spoiler) { // drop an attribute
		if n := s.node(); len(n.Attribute) > 0 {
			i := s.pick(len(n.Attribute))
			n.Attribute = slices.Delete(n.Attribute, i, i+1)
		}
	},
	func(s *spoiler) { // an attribute of another kind
		if a, ok := pickOf(s, s.node().Attribute); ok {
			a.Type = onnxpb.AttributeProto_AttributeType(s.pick(15)).Enum()
		}
	},
	func(s *spoiler) { // another input
		if n := s.node(); len(n.Input) > 0 {
			n.Input[s.pick(len(n.Input))] = s.names[s.pick(len(s.names))]
		}
	},
	func(s *spoiler) { // swap inputs
		if n := s.node(); len(n.Input) > 1 {
			i, j := s.pick(len(n.Input)), s.pick(len(n.Input))
			n.Input[i], n.Input[j] = n.Input[j], n.Input[i]
		}
	},
	func(s *spoiler) { // fewer inputs
		if n := s.node(); len(n.Input) > 0 {
			n.Input = n.Input[:s.pick(len(n.Input))]
		}
	},
	func(s *spoiler) { // more inputs
		n := s.node()
		n.Input = append(n.Input, s.names[s.pick(len(s.names))])
	},
	func(s *spoiler) { // fewer outputs
		if n := s.node(); len(n.Output) > 0 {
			n.Output = n.Output[:s.pick(len(n.Output))]
		}
	},
	func(s *spoiler) { // one output more
		n := s.node()
		n.Output = append(n.Output, n.GetOpType()+"_more")
	},
	func(s *spoiler) { // another operator
		s.node().OpType = proto.String(s.nodes[s.pick(len(s.nodes))].GetOpType())
	},
	func(s *spoiler) { // another opset
		if o, ok := pickOf(s, s.p.OpsetImport); ok {
			o.Version = proto.Int64(int64(s.pick(28)))
		}
	},
	func(s *spoiler) { // the shape of an input
		if v, ok := pickOf(s, s.graphs[s.pick(len(s.graphs))].Input); ok {
			s.shape(v)
		}
	},
	func(s *spoiler) { // the stated shape of an inner tensor or output
		g := s.graphs[s.pick(len(s.graphs))]
		if v, ok := pickOf(s, slices.Concat(g.Output, g.ValueInfo)); ok {
			s.shape(v)
		}
	},
	func(s *spoiler) { // the type of an input
		if v, ok := pickOf(s, s.p.Graph.Input); ok && v.GetType().GetTensorType() != nil {
			v.Type.GetTensorType().ElemType = proto.Int32(int32(s.pick(27)))
		}
	},
	func(s *spoiler) { // an input becomes a constant
		if len(s.p.Graph.Input) > 1 {
			i := s.pick(len(s.p.Graph.Input))
			s.constant(s.p.Graph.Input[i])
			s.p.Graph.Input = slices.Delete(s.p.Graph.Input, i, i+1)
		}
	},
	func(s *spoiler) { // the elements of a constant
		if t, ok := pickOf(s, s.graphs[s.pick(len(s.graphs))].Initializer); ok {
			s.elements(t)
		}
	},
	func(s *spoiler) { // the dims of a constant, with the same elements
		if t, ok := pickOf(s, s.p.Graph.Initializer); ok {
			switch s.pick(4) {
			case 0:
				t.Dims = append(t.Dims, 1)
			case 1:
				t.Dims = append([]int64{1}, t.Dims...)
			case 2:
				if n, ok := onnx.CountElements(t.Dims); ok {
					t.Dims = []int64{n}
				}
			default:
				slices.Reverse(t.Dims)
			}
		}
	},
	func(s *spoiler) { // a constant of another size
		if t, ok := pickOf(s, s.p.Graph.Initializer); ok {
			var dims []int64
			for range s.pick(5) {
				dims = append(dims, int64(s.pick(5)))
			}
			s.fillConstant(t, dims, onnxpb.TensorProto_DataType(t.GetDataType()))
		}
	},
	func(s *spoiler) { // a constant of another type
		if t, ok := pickOf(s, s.p.Graph.Initializer); ok {
			s.fillConstant(t, t.Dims, onnxpb.TensorProto_DataType(s.pick(27)))
		}
	},
	func(s *spoiler) { // a duplicate of a node
		g := s.graphs[s.pick(len(s.graphs))]
		if n, ok := pickOf(s, g.Node); ok && len(n.Output) > 0 {
			n = proto.CloneOf(n)
			for i, o := range n.Output {
				n.Output[i] = o + "_twice"
			}
			g.Node = append(g.Node, n)
			g.Output = append(g.Output, &onnxpb.ValueInfoProto{Name: proto.String(n.Output[0])})
		}
	},
	func(s *spoiler) { // another output of a graph
		g := s.graphs[s.pick(len(s.graphs))]
		if len(g.Output) > 0 {
			g.Output[s.pick(len(g.Output))] = &onnxpb.ValueInfoProto{Name: proto.String(s.names[s.pick(len(s.names))])}
		}
	},
	func(s *spoiler) { // the name of a node
		s.node().Name = proto.String(s.nodes[s.pick(len(s.nodes))].GetName())
	},
}

func (s *spoiler) node() *onnxpb.NodeProto { return s.nodes[s.pick(len(s.nodes))] }

func (s *spoiler) attribute() {
	if a, ok := pickOf(s, s.node().Attribute); ok {
		s.fill(a)
	}
}

func (s *spoiler) fill(a *onnxpb.AttributeProto) {
	switch a.GetType() {
	case onnxpb.AttributeProto_INT:
		a.I = proto.Int64(s.number())
	case onnxpb.AttributeProto_FLOAT:
		a.F = proto.Float32(floats[s.pick(len(floats))])
	case onnxpb.AttributeProto_STRING:
		a.S = []byte(texts[s.pick(len(texts))])
	case onnxpb.AttributeProto_STRINGS:
		a.Strings = append(a.Strings, []byte(texts[s.pick(len(texts))]))
	case onnxpb.AttributeProto_TENSOR:
		if a.T != nil {
			s.elements(a.T)
		}
	case onnxpb.AttributeProto_INTS:
		switch s.pick(6) {
		case 0:
			a.Ints = append(a.Ints, s.number())
		case 1:
			a.Ints = a.Ints[:max(len(a.Ints)-1, 0)]
		default:
			if len(a.Ints) > 0 {
				a.Ints[s.pick(len(a.Ints))] = s.number()
			}
		}
	}
}

func (s *spoiler) shape(v *onnxpb.ValueInfoProto) {
	t := v.GetType().GetTensorType()
	if t == nil {
		return
	}
	dims := t.GetShape().GetDim()
	small := []int64{0, 1, 2, 3, 5, 8, 33}
	switch s.pick(5) {
	case 0:
		t.Shape = nil
		return
	case 1:
		dims = append(dims, &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: small[s.pick(len(small))]}})
	case 2:
		dims = dims[:max(len(dims)-1, 0)]
	default:
		if len(dims) > 0 {
			d := &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: small[s.pick(len(small))]}}
			switch s.pick(8) {
			case 0:
				d = &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "N"}}
			case 1:
				d = &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: s.number()}}
			}
			dims[s.pick(len(dims))] = d
		}
	}
	t.Shape = &onnxpb.TensorShapeProto{Dim: dims}
}

// constant makes an initializer of what an input says it is.
func (s *spoiler) constant(v *onnxpb.ValueInfoProto) {
	tensor := v.GetType().GetTensorType()
	var dims []int64
	for _, d := range tensor.GetShape().GetDim() {
		dims = append(dims, min(max(d.GetDimValue(), 1), 64))
	}
	t := &onnxpb.TensorProto{Name: v.Name}
	s.fillConstant(t, dims, onnxpb.TensorProto_DataType(tensor.GetElemType()))
	s.p.Graph.Initializer = append(s.p.Graph.Initializer, t)
}

// fillConstant gives t raw data. What would be large is left alone.
func (s *spoiler) fillConstant(t *onnxpb.TensorProto, dims []int64, dt onnxpb.TensorProto_DataType) {
	count, ok := onnx.CountElements(dims)
	n := onnx.DataType(dt).ByteSize(count)
	if !ok || n > 1<<16 || dt == onnxpb.TensorProto_STRING {
		return
	}
	*t = onnxpb.TensorProto{Name: t.Name, Dims: dims, DataType: proto.Int32(int32(dt)), RawData: make([]byte, n)}
	r := rand.New(rand.NewPCG(uint64(s.pick(256)), 1))
	for i := range t.RawData {
		t.RawData[i] = byte(r.Uint32())
	}
	if dt == onnxpb.TensorProto_FLOAT {
		for i := 3; i < len(t.RawData); i += 4 { // of the size of weights
			t.RawData[i] = 0x3e | t.RawData[i]&0x80
		}
	}
	if dt == onnxpb.TensorProto_BOOL {
		for i := range t.RawData {
			t.RawData[i] &= 1
		}
	}
	if dt == onnxpb.TensorProto_INT64 || dt == onnxpb.TensorProto_INT32 {
		s.elements(t)
	}
}

// elements overwrites an element, or all, of a constant.
func (s *spoiler) elements(t *onnxpb.TensorProto) {
	m := &onnxpb.ModelProto{Graph: &onnxpb.GraphProto{Initializer: []*onnxpb.TensorProto{{Name: proto.String("t"), DataType: t.DataType, Dims: t.Dims, RawData: t.RawData, Int64Data: t.Int64Data, FloatData: t.FloatData, Int32Data: t.Int32Data}}}}
	b, err := proto.Marshal(m)
	if err != nil {
		return
	}
	p, err := onnx.Parse(b)
	if err != nil {
		return
	}
	x := p.Graph.Consts()[0].Const()
	if x.Load() != nil || x.Len() == 0 || x.Len() > 1<<16 || len(x.Bytes()) == 0 {
		return
	}
	x = x.Clone()
	switch i, all := s.pick(x.Len()), s.pick(3) == 0; x.Type {
	case onnx.Int64:
		overwrite(onnx.Data[int64](x), i, all, s.number())
	case onnx.Int32:
		overwrite(onnx.Data[int32](x), i, all, int32(s.number()))
	case onnx.Float32:
		overwrite(onnx.Data[float32](x), i, all, floats[s.pick(len(floats))])
	default:
		overwrite(x.Bytes(), i%len(x.Bytes()), all, byte(s.pick(256)))
	}
	t.RawData, t.Int64Data, t.FloatData, t.Int32Data, t.DoubleData, t.Uint64Data = x.Bytes(), nil, nil, nil, nil, nil
}

func overwrite[T any](list []T, i int, all bool, v T) {
	list[i] = v
	for k := range list {
		if all {
			list[k] = v
		}
	}
}

// spoiltSeeds are the models that are spoilt: graphs with the forms that quantization knows and, for a long fuzzing where they
// are at hand, those of ONNX's conformance cases.
func spoiltSeeds(t testing.TB) [][]byte {
	var seeds [][]byte
	for _, build := range seedGraphs {
		b, err := build().Marshal()
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	if f := flag.Lookup("test.fuzz"); f == nil || f.Value.String() == "" {
		return seeds
	}
	return append(seeds, conformanceModels(t)...)
}

// conformanceModels returns the models of nodes in ONNX's backend tests.
func conformanceModels(t testing.TB) [][]byte {
	name, err := shareddata.Path(shareddata.Conformance)
	if err != nil {
		return nil
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var models [][]byte
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return models
		}
		if err != nil {
			t.Fatal(err)
		}
		if group := path.Base(path.Dir(path.Dir(h.Name))); path.Base(h.Name) != "model.onnx" || group == "light" || group == "real" || h.Size > 1<<13 {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		models = append(models, b)
	}
}
