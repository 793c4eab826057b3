package onnx

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// fullModel returns a model that uses every message and field of the standard.
func fullModel() *onnxpb.ModelProto {
	str, i64, i32 := proto.String, proto.Int64, proto.Int32
	meta := func() []*onnxpb.StringStringEntryProto {
		return []*onnxpb.StringStringEntryProto{{Key: str("k"), Value: str("v")}, {Key: str("l"), Value: str("w")}}
	}
	f32 := func(dims ...int64) *onnxpb.TypeProto {
		shape := &onnxpb.TensorShapeProto{}
		for _, d := range dims {
			shape.Dim = append(shape.Dim, &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
		}
		return &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{ElemType: i32(1), Shape: shape}}}
	}
	info := func(name string, t *onnxpb.TypeProto) *onnxpb.ValueInfoProto {
		return &onnxpb.ValueInfoProto{Name: str(name), Type: t, DocString: str("doc of " + name), MetadataProps: meta()}
	}
	raw := func(name string) *onnxpb.TensorProto {
		return &onnxpb.TensorProto{
			Name: str(name), DataType: i32(1), Dims: []int64{2}, RawData: []byte{1, 2, 3, 4, 5, 6, 7, 8}, DocString: str("tensor"),
			MetadataProps: meta(), Segment: &onnxpb.TensorProto_Segment{Begin: i64(0), End: i64(2)}, DataLocation: onnxpb.TensorProto_DEFAULT.Enum(),
		}
	}
	typed := func(name string, dt int32, dims ...int64) *onnxpb.TensorProto {
		return &onnxpb.TensorProto{Name: str(name), DataType: i32(dt), Dims: dims}
	}
	floats, doubles, ints, longs, ulongs, strings := typed("floats", 1, 2), typed("doubles", 11, 1), typed("ints", 6, 3), typed("longs", 7, 1), typed("ulongs", 13, 1), typed("strings", 8, 2)
	floats.FloatData = []float32{1, -2}
	doubles.DoubleData = []float64{3}
	ints.Int32Data = []int32{-1, 0, 1}
	longs.Int64Data = []int64{1 << 40}
	ulongs.Uint64Data = []uint64{1 << 63}
	strings.StringData = [][]byte{[]byte("a"), {}}
	sparse := func(name string) *onnxpb.SparseTensorProto {
		at := typed("", 7, 2)
		at.Int64Data = []int64{1, 3}
		return &onnxpb.SparseTensorProto{Values: raw(name), Indices: at, Dims: []int64{2, 2}}
	}
	types := []*onnxpb.TypeProto{
		f32(1, 2),
		{Denotation: str("IMAGE"), Value: &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{ElemType: i32(2), Shape: &onnxpb.TensorShapeProto{Dim: []*onnxpb.TensorShapeProto_Dimension{
			{Denotation: str("DATA_BATCH"), Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "N"}},
			{},
			{Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: ""}},
			{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: -5}},
		}}}}},
		{Value: &onnxpb.TypeProto_SequenceType{SequenceType: &onnxpb.TypeProto_Sequence{ElemType: f32()}}},
		{Value: &onnxpb.TypeProto_MapType{MapType: &onnxpb.TypeProto_Map{KeyType: i32(8), ValueType: f32(3)}}},
		{Value: &onnxpb.TypeProto_OptionalType{OptionalType: &onnxpb.TypeProto_Optional{ElemType: f32(3)}}},
		{Value: &onnxpb.TypeProto_SparseTensorType{SparseTensorType: &onnxpb.TypeProto_SparseTensor{ElemType: i32(1), Shape: &onnxpb.TensorShapeProto{}}}},
		{Value: &onnxpb.TypeProto_OpaqueType{OpaqueType: &onnxpb.TypeProto_Opaque{Domain: str("d"), Name: str("n")}}},
	}
	subgraph := func(out string) *onnxpb.GraphProto {
		return &onnxpb.GraphProto{
			Name:        str("sub"),
			Initializer: []*onnxpb.TensorProto{raw(out + "_w")},
			Node:        []*onnxpb.NodeProto{{OpType: str("Add"), Input: []string{"x", out + "_w"}, Output: []string{out}}},
			Output:      []*onnxpb.ValueInfoProto{info(out, f32(2))},
		}
	}
	attr := func(name string, t onnxpb.AttributeProto_AttributeType, a *onnxpb.AttributeProto) *onnxpb.AttributeProto {
		a.Name, a.Type, a.DocString = str(name), t.Enum(), str("doc")
		return a
	}
	attrs := []*onnxpb.AttributeProto{
		attr("f", onnxpb.AttributeProto_FLOAT, &onnxpb.AttributeProto{F: proto.Float32(1.5)}),
		attr("i", onnxpb.AttributeProto_INT, &onnxpb.AttributeProto{I: i64(-3)}),
		attr("s", onnxpb.AttributeProto_STRING, &onnxpb.AttributeProto{S: []byte("\xff not UTF-8")}),
		attr("t", onnxpb.AttributeProto_TENSOR, &onnxpb.AttributeProto{T: raw("inner")}),
		attr("g", onnxpb.AttributeProto_GRAPH, &onnxpb.AttributeProto{G: subgraph("in1")}),
		attr("floats", onnxpb.AttributeProto_FLOATS, &onnxpb.AttributeProto{Floats: []float32{1, 2}}),
		attr("ints", onnxpb.AttributeProto_INTS, &onnxpb.AttributeProto{Ints: []int64{1, -2}}),
		attr("strings", onnxpb.AttributeProto_STRINGS, &onnxpb.AttributeProto{Strings: [][]byte{[]byte("a"), {}}}),
		attr("tensors", onnxpb.AttributeProto_TENSORS, &onnxpb.AttributeProto{Tensors: []*onnxpb.TensorProto{raw("t1"), raw("t2")}}),
		attr("graphs", onnxpb.AttributeProto_GRAPHS, &onnxpb.AttributeProto{Graphs: []*onnxpb.GraphProto{subgraph("in2"), subgraph("in3")}}),
		attr("sparse", onnxpb.AttributeProto_SPARSE_TENSOR, &onnxpb.AttributeProto{SparseTensor: sparse("sp")}),
		attr("sparses", onnxpb.AttributeProto_SPARSE_TENSORS, &onnxpb.AttributeProto{SparseTensors: []*onnxpb.SparseTensorProto{sparse("sp"), sparse("sq")}}),
		attr("tp", onnxpb.AttributeProto_TYPE_PROTO, &onnxpb.AttributeProto{Tp: types[2]}),
		attr("tps", onnxpb.AttributeProto_TYPE_PROTOS, &onnxpb.AttributeProto{TypeProtos: types}),
	}
	inputs := []*onnxpb.ValueInfoProto{info("x", f32(2)), info("listed", f32(2))}
	for i, t := range types {
		inputs = append(inputs, info("in_"+string(rune('a'+i)), t))
	}
	device := &onnxpb.NodeDeviceConfigurationProto{
		ConfigurationId: str("two"), PipelineStage: i32(1),
		ShardingSpec: []*onnxpb.ShardingSpecProto{{
			TensorName: str("x"), Device: []int64{0, 1},
			IndexToDeviceGroupMap: []*onnxpb.IntIntListEntryProto{{Key: i64(0), Value: []int64{0, 1}}},
			ShardedDim: []*onnxpb.ShardedDimProto{{Axis: i64(0), SimpleSharding: []*onnxpb.SimpleShardedDimProto{
				{NumShards: i64(2), Dim: &onnxpb.SimpleShardedDimProto_DimValue{DimValue: 2}}, {NumShards: i64(2), Dim: &onnxpb.SimpleShardedDimProto_DimParam{DimParam: "N"}},
			}}},
		}},
	}
	return &onnxpb.ModelProto{
		IrVersion: i64(14), ProducerName: str("p"), ProducerVersion: str("1"), Domain: str("d"), ModelVersion: i64(7), DocString: str("doc"),
		OpsetImport:   []*onnxpb.OperatorSetIdProto{{Domain: str(""), Version: i64(28)}, {Domain: str("local"), Version: i64(1)}},
		MetadataProps: meta(),
		Configuration: []*onnxpb.DeviceConfigurationProto{{Name: str("two"), NumDevices: i32(2), Device: []string{"a", "b"}}},
		TrainingInfo: []*onnxpb.TrainingInfoProto{{
			Initialization: subgraph("init"), Algorithm: subgraph("step"), InitializationBinding: meta(), UpdateBinding: meta(),
		}},
		Graph: &onnxpb.GraphProto{
			Name: str("main"), DocString: str("doc"), MetadataProps: meta(),
			Input:             inputs,
			Initializer:       []*onnxpb.TensorProto{raw("listed"), raw("own"), floats, doubles, ints, longs, ulongs, strings},
			SparseInitializer: []*onnxpb.SparseTensorProto{sparse("scattered")},
			Node: []*onnxpb.NodeProto{
				{
					Name: str("n1"), OpType: str("Op"), Domain: str("local"), Overload: str("o"), DocString: str("doc"), MetadataProps: meta(),
					Input: []string{"x", "", "scattered"}, Output: []string{"", "y"}, Attribute: attrs, DeviceConfigurations: []*onnxpb.NodeDeviceConfigurationProto{device},
				},
				{OpType: str("Add"), Input: []string{"y", "own"}, Output: []string{"z"}},
			},
			Output:    []*onnxpb.ValueInfoProto{info("z", f32(2)), info("y", types[1])},
			ValueInfo: []*onnxpb.ValueInfoProto{info("own", f32(2)), info("y", f32(2)), info("y", f32(2)), info("stranger", f32(2))},
			QuantizationAnnotation: []*onnxpb.TensorAnnotation{{
				TensorName: str("x"), QuantParameterTensorNames: meta(),
			}},
		},
		Functions: []*onnxpb.FunctionProto{{
			Name: str("Op"), Domain: str("local"), Overload: str("o"), DocString: str("doc"), MetadataProps: meta(),
			Input: []string{"a", "b", "c"}, Output: []string{"e", "d"}, Attribute: []string{"alpha"},
			AttributeProto: []*onnxpb.AttributeProto{attr("beta", onnxpb.AttributeProto_FLOAT, &onnxpb.AttributeProto{F: proto.Float32(0)}), attr("body", onnxpb.AttributeProto_GRAPH, &onnxpb.AttributeProto{G: &onnxpb.GraphProto{
				Input: []*onnxpb.ValueInfoProto{info("p", nil)}, Node: []*onnxpb.NodeProto{{OpType: str("Relu"), Input: []string{"p"}, Output: []string{"q"}}}, Output: []*onnxpb.ValueInfoProto{info("q", nil)},
			}})},
			OpsetImport: []*onnxpb.OperatorSetIdProto{{Domain: str(""), Version: i64(28)}},
			Node: []*onnxpb.NodeProto{
				{OpType: str("LeakyRelu"), Input: []string{"a"}, Output: []string{"d"}, Attribute: []*onnxpb.AttributeProto{attr("alpha", onnxpb.AttributeProto_FLOAT, &onnxpb.AttributeProto{RefAttrName: str("alpha")})}},
				{OpType: str("Identity"), Input: []string{"d"}, Output: []string{"e"}},
			},
			ValueInfo: []*onnxpb.ValueInfoProto{info("d", f32(2))},
		}},
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFullModel round-trips a model that uses every field that the schema has.
func TestFullModel(t *testing.T) {
	p := fullModel()
	used := map[protoreflect.FullName]bool{}
	eachMessage(p.ProtoReflect(), func(m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			used[f.FullName()] = true
			return true
		})
	})
	delete(used, "zqonnx.AttributeProto.ref_attr_name")
	fields := 0
	messages := p.ProtoReflect().Descriptor().ParentFile().Messages()
	for i := range messages.Len() {
		for k := range messages.Get(i).Fields().Len() {
			f := messages.Get(i).Fields().Get(k)
			if f.Name() == "external_data" || f.Name() == "ref_attr_name" {
				continue // other tests
			}
			fields++
			if !used[f.FullName()] {
				t.Errorf("the model does not use %s", f.FullName())
			}
		}
	}
	if fields < 100 {
		t.Errorf("%d fields", fields)
	}
	b := marshal(t, p)
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if diff := sameProto(t, b, out); diff != "" {
		t.Errorf("-read +written:\n%s", diff)
	}
	if again, err := m.Clone().Marshal(); err != nil || !bytes.Equal(out, again) {
		t.Errorf("the clone is written otherwise (%v)", err)
	}
	if err := m.Graph.verify(); err != nil {
		t.Error(err)
	}
	if err := Check(m); err != nil {
		t.Errorf("%v", err)
	}
	golden := filepath.Join("testdata", "full.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(m.Text()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != m.Text() {
		t.Errorf("the text form is not that of %s (run with -update): %v\n%s", golden, err, m.Text())
	}
}

// eachMessage calls f for m and every message inside.
func eachMessage(m protoreflect.Message, f func(protoreflect.Message)) {
	f(m)
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Message() == nil || !m.Has(fd) {
			continue
		}
		if !fd.IsList() {
			eachMessage(m.Get(fd).Message(), f)
			continue
		}
		for k, list := 0, m.Get(fd).List(); k < list.Len(); k++ {
			eachMessage(list.Get(k).Message(), f)
		}
	}
}

// TestPresence clears every field of the full model in turn, sets it to its zero value, and adds an unknown field to every
// message: whatever can still be read must be written back alike.
func TestPresence(t *testing.T) {
	type site struct{ message, field int }
	var sites []site
	n := 0
	eachMessage(fullModel().ProtoReflect(), func(m protoreflect.Message) {
		for k := range m.Descriptor().Fields().Len() {
			if f := m.Descriptor().Fields().Get(k); m.Has(f) || !f.IsList() && f.Message() == nil {
				sites = append(sites, site{n, k})
			}
		}
		sites = append(sites, site{n, -1})
		n++
	})
	read := 0
	try := func(s site, what string, change func(m protoreflect.Message, f protoreflect.FieldDescriptor) bool) {
		p, i, name := fullModel(), 0, ""
		changed := false
		eachMessage(p.ProtoReflect(), func(m protoreflect.Message) {
			if i == s.message {
				var f protoreflect.FieldDescriptor
				name = string(m.Descriptor().Name())
				if s.field >= 0 {
					f = m.Descriptor().Fields().Get(s.field)
					name = string(f.FullName())
				}
				changed = change(m, f)
			}
			i++
		})
		if !changed {
			return
		}
		b := marshal(t, p)
		m, err := Parse(b)
		if err != nil {
			return // a name that is missed, a tensor without data
		}
		read++
		out, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if diff := sameProto(t, b, out); diff != "" {
			t.Errorf("%s %s (message %d): -read +written\n%s", what, name, s.message, diff)
		}
		if again, err := m.Clone().Marshal(); err != nil || !bytes.Equal(out, again) {
			t.Errorf("%s %s: the clone is written otherwise (%v)", what, name, err)
		}
	}
	for _, s := range sites {
		if s.field < 0 {
			try(s, "unknown field in", func(m protoreflect.Message, _ protoreflect.FieldDescriptor) bool {
				m.SetUnknown(append(varintField(900, 5), bytesField(901, 1, 2)...))
				return true
			})
			continue
		}
		try(s, "without", func(m protoreflect.Message, f protoreflect.FieldDescriptor) bool {
			has := m.Has(f)
			m.Clear(f)
			return has
		})
		try(s, "zero", func(m protoreflect.Message, f protoreflect.FieldDescriptor) bool {
			if f.IsList() || f.Message() != nil {
				if f.Message() != nil && !f.IsList() {
					m.Set(f, m.NewField(f))
					return true
				}
				return false
			}
			m.Set(f, f.Default())
			return true
		})
	}
	if read < 1500 {
		t.Errorf("only %d of the changed models could be read", read)
	}
	t.Logf("%d sites, %d models read", len(sites), read)
}
