package carrier_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/carrier"
)

// packed returns a carrier of m, written and read again.
func packed(t *testing.T, m *onnx.Model) *onnx.Model {
	t.Helper()
	c, err := carrier.Pack(m)
	if err != nil {
		t.Fatal(err)
	}
	return reread(t, c)
}

func reread(t *testing.T, m *onnx.Model) *onnx.Model {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if m, err = onnx.Parse(b); err != nil {
		t.Fatal(err)
	}
	return m
}

func names(values []*onnx.Value) string {
	var s []string
	for _, v := range values {
		s = append(s, v.Name()+":"+v.Type.String())
	}
	return strings.Join(s, " ")
}

func TestWhatComesOutIsWhatWentIn(t *testing.T) {
	files, err := filepath.Glob("../../testmodels/*/model.onnx")
	if err != nil || len(files) == 0 {
		t.Fatalf("no models: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := onnx.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		c := packed(t, m)
		if have, want := names(c.Graph.Inputs()), names(m.Graph.Feeds()); have != want {
			t.Errorf("%s: the carrier's inputs are %s, want %s", file, have, want)
		}
		if have, want := names(c.Graph.Outputs()), names(m.Graph.Outputs()); have != want {
			t.Errorf("%s: the carrier's outputs are %s, want %s", file, have, want)
		}
		if err := onnx.Check(c); err != nil {
			t.Errorf("%s: the carrier is not valid: %v", file, err)
		}
		inside, err := carrier.Unpack(c)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := m.Marshal()
		if have, _ := inside.Marshal(); !bytes.Equal(have, want) {
			t.Errorf("%s: another model came out", file)
		}
		again, err := carrier.Pack(c)
		if err != nil || again != c {
			t.Errorf("%s: packing a carrier gives %v, %v; want the carrier", file, again, err)
		}
		if same, err := carrier.Unpack(m); err != nil || same != m {
			t.Errorf("%s: unpacking what is no carrier gives %v, %v; want itself", file, same, err)
		}
	}
}

func TestExternalDataAreTakenIn(t *testing.T) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(1024)))
	w := g.AddConst("w", onnx.Zeros(onnx.Float32, 1024))
	g.AddOutput(g.Append(onnx.NodeSpec{Op: "Add", Inputs: []*onnx.Value{x, w}, Outputs: []string{"y"}}).Output(0))
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}
	path := filepath.Join(t.TempDir(), "m.onnx")
	if err := m.WriteFile(t.Context(), path, onnx.WriteOptions{External: true}); err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if len(m.Files()) != 2 {
		t.Fatalf("the model has the files %v, want external data", m.Files())
	}
	inside, err := carrier.Unpack(packed(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if v := inside.Graph.Value("w"); v == nil || v.Const() == nil || v.Const().Load() != nil {
		t.Error("the constant is not in the carrier")
	}
}

// TestPlaceholders: the decoder makes a tensor of every stated type, and fails or panics where it cannot.
func TestPlaceholders(t *testing.T) {
	types := []struct {
		stated *onnx.Type
		kept   bool
	}{
		{onnx.TensorOf(onnx.Float32, onnx.Symbol("N"), onnx.Fixed(3)), true},
		{onnx.ScalarOf(onnx.Int64), true},
		{onnx.TensorOf(onnx.Float16, onnx.Fixed(3)), false},
		{onnx.TensorOf(onnx.Int4, onnx.Fixed(4)), false},
		{onnx.TensorOf(onnx.Float32, onnx.Fixed(2), onnx.Fixed(0)), false},
		{onnx.TensorOf(onnx.Float32, onnx.Fixed(1<<40), onnx.Fixed(1<<40)), false},
		{nil, false},
	}
	for _, typ := range types {
		g := onnx.NewGraph("g")
		x := g.AddInput("x", typ.stated)
		g.AddOutput(x) // handed through: the output of the carrier needs another name
		c := packed(t, &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g})
		in, out := c.Graph.Inputs()[0], c.Graph.Outputs()[0]
		if kept := in.Type != nil && in.Type.String() == typ.stated.String(); kept != typ.kept {
			t.Errorf("%s: the carrier states %s", typ.stated, in.Type)
		}
		if in.Name() != "x" || out.Name() == "x" {
			t.Errorf("input and output are called %q and %q", in.Name(), out.Name())
		}
		if _, err := carrier.Unpack(c); err != nil {
			t.Error(err)
		}
	}
}

func TestNoTensor(t *testing.T) {
	g := onnx.NewGraph("g")
	g.AddOutput(g.AddInput("s", &onnx.Type{Kind: onnx.KindSequence, Inner: onnx.TensorOf(onnx.Float32)}))
	_, err := carrier.Pack(&onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g})
	if err == nil || !strings.Contains(err.Error(), `input "s" is seq(f32[...])`) {
		t.Errorf("got %v", err)
	}
}

func TestDamaged(t *testing.T) {
	carried := func(t *testing.T) (*onnx.Model, *onnx.Node) {
		m, err := onnx.Read("../../testmodels/mlp-digits/model.onnx")
		if err != nil {
			t.Fatal(err)
		}
		c := packed(t, m)
		for n := range c.Graph.Nodes() {
			return c, n
		}
		panic("no node")
	}
	for name, damage := range map[string]struct {
		do   func(*onnx.Model, *onnx.Node)
		want string
	}{
		"cut":           {func(_ *onnx.Model, n *onnx.Node) { a := n.Attr(carrier.Attribute); a.Bytes = a.Bytes[:len(a.Bytes)/2] }, "the model in the carrier"},
		"empty":         {func(_ *onnx.Model, n *onnx.Node) { n.Attr(carrier.Attribute).Bytes = nil }, "the model in the carrier"},
		"no model":      {func(_ *onnx.Model, n *onnx.Node) { n.DropAttr(carrier.Attribute) }, `no string attribute "model"`},
		"a number":      {func(_ *onnx.Model, n *onnx.Node) { n.SetAttr(onnx.AttrI(carrier.Attribute, 1)) }, `no string attribute "model"`},
		"another input": {func(c *onnx.Model, n *onnx.Node) { n.SetInput(1, c.Graph.AddInput("z", nil)) }, "the carrier has 2 inputs and 1 outputs, the model in it 1 and 1"},
		"two nodes": {func(c *onnx.Model, n *onnx.Node) {
			c.Graph.Append(onnx.NodeSpec{Op: "Relu", Inputs: n.Outputs(), Outputs: []string{"z"}})
		}, "must be the only node, here there are 2"},
		"nested": {func(c *onnx.Model, n *onnx.Node) { n.Attr(carrier.Attribute).Bytes, _ = c.Marshal() }, "a carrier in the carrier"},
	} {
		t.Run(name, func(t *testing.T) {
			c, n := carried(t)
			damage.do(c, n)
			_, err := carrier.Unpack(reread(t, c))
			if !errors.Is(err, onnx.ErrBadModel) || !strings.Contains(err.Error(), damage.want) {
				t.Errorf("got %v, want a bad model: %s", err, damage.want)
			}
		})
	}
}

func FuzzUnpack(f *testing.F) {
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(2)))
	g.AddOutput(g.Append(onnx.NodeSpec{Op: "Add", Inputs: []*onnx.Value{x, g.AddConst("w", onnx.Of([]float32{1, 2}))}, Outputs: []string{"y"}}).Output(0))
	m := &onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 13}}, Graph: g}
	c, err := carrier.Pack(m)
	if err != nil {
		f.Fatal(err)
	}
	b, err := c.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := onnx.Parse(b)
		if err != nil {
			return
		}
		if _, err := carrier.Unpack(m); err != nil && !errors.Is(err, onnx.ErrBadModel) {
			t.Errorf("%v wraps no ErrBadModel", err)
		}
	})
}
