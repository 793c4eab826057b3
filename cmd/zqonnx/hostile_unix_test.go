//go:build unix

package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
	"github.com/zqonnx/zqonnx/onnx"
)

// maxHostileMemory is what the command may take for a file of a few kilobytes.
const maxHostileMemory = 300 << 20

// hostile is a valid model of a few kilobytes that spoil changes: y = MatMul(x, w).
func hostile(t *testing.T, spoil func(m *onnxpb.ModelProto)) []byte {
	t.Helper()
	w := make([]float32, 32*32)
	for i := range w {
		w[i] = float32(i%13) - 6
	}
	g := onnx.NewGraph("g")
	x := g.AddInput("x", onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(32)))
	y := g.Append(onnx.NodeSpec{Op: "MatMul", Name: "product", Inputs: []*onnx.Value{x, g.AddConst("w", onnx.Of(w, 32, 32))}, Outputs: []string{"y"}}).Output(0)
	y.Type = onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(32))
	g.AddOutput(y)
	b, err := (&onnx.Model{IRVersion: 8, Opsets: []onnx.Opset{{Version: 17}}, Graph: g}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(b, p); err != nil {
		t.Fatal(err)
	}
	spoil(p)
	if b, err = proto.Marshal(p); err != nil {
		t.Fatal(err)
	}
	return b
}

func pbInts(name string, v ...int64) *onnxpb.TensorProto {
	return &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(int32(onnx.Int64)), Dims: []int64{int64(len(v))}, Int64Data: v}
}

func pbNode(op string, in []string, out ...string) *onnxpb.NodeProto {
	return &onnxpb.NodeProto{OpType: &op, Name: proto.String("the" + op), Input: in, Output: out}
}

// between puts nodes in front of the product, whose input they compute as "z".
func between(m *onnxpb.ModelProto, consts []*onnxpb.TensorProto, nodes ...*onnxpb.NodeProto) {
	m.Graph.Initializer = append(m.Graph.Initializer, consts...)
	m.Graph.Node[0].Input[0] = "z"
	m.Graph.Node = append(nodes, m.Graph.Node...)
}

func external(location string, more ...string) func(m *onnxpb.ModelProto) {
	return func(m *onnxpb.ModelProto) {
		w := m.Graph.Initializer[0]
		w.RawData, w.FloatData, w.DataLocation = nil, nil, onnxpb.TensorProto_EXTERNAL.Enum()
		for i, kv := 0, append([]string{"location", location}, more...); i < len(kv); i += 2 {
			w.ExternalData = append(w.ExternalData, &onnxpb.StringStringEntryProto{Key: &kv[i], Value: &kv[i+1]})
		}
	}
}

// Hostile models end with an error of one line that names what is wrong, within seconds, little memory and without output.
func TestHostileModels(t *testing.T) {
	random := make([]byte, 4096)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(random); i++ {
		random[i] = byte(r.Uint32())
	}
	good := hostile(t, func(*onnxpb.ModelProto) {})
	bytesOf := func(b []byte) func(*testing.T) []byte { return func(*testing.T) []byte { return b } }
	model := func(spoil func(m *onnxpb.ModelProto)) func(*testing.T) []byte {
		return func(t *testing.T) []byte { return hostile(t, spoil) }
	}
	weights := func(spoil func(w *onnxpb.TensorProto)) func(*testing.T) []byte {
		return model(func(m *onnxpb.ModelProto) { spoil(m.Graph.Initializer[0]) })
	}
	loop := func(m *onnxpb.ModelProto) {
		n := pbNode("Loop", []string{"trips", "", "x"}, "z")
		info := func(name string) *onnxpb.ValueInfoProto { return &onnxpb.ValueInfoProto{Name: &name} }
		n.Attribute = []*onnxpb.AttributeProto{{Name: proto.String("body"), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: &onnxpb.GraphProto{
			Input:  []*onnxpb.ValueInfoProto{info("k"), info("c"), info("s")},
			Node:   []*onnxpb.NodeProto{pbNode("Identity", []string{"c"}, "c2"), pbNode("Neg", []string{"s"}, "s2")},
			Output: []*onnxpb.ValueInfoProto{info("c2"), info("s2")},
		}}}
		between(m, []*onnxpb.TensorProto{pbInts("trips", 1<<60)}, n)
	}
	for _, c := range []struct {
		name  string
		bytes func(*testing.T) []byte
		code  int
		want  string // of the line, behind the file's name
	}{
		{"good", bytesOf(good), 0, ""},
		{"empty", bytesOf(nil), 3, "no ONNX model"},
		{"random", bytesOf(random), 3, ""},
		{"text", bytesOf([]byte("ir_version: 8")), 3, ""},
		{"cut", bytesOf(good[:len(good)/2]), 3, "truncated|damaged|ends"},
		{"a length that lies", bytesOf([]byte{7<<3 | 2, 0xff, 0xff, 0xff, 0xff, 7, 1}), 3, "graph of ModelProto"},
		{"weights of 2^60 elements", weights(func(w *onnxpb.TensorProto) { w.Dims = []int64{1 << 30, 1 << 30} }), 3, `initializer "w".*impossible dimensions`},
		{"negative dimensions", weights(func(w *onnxpb.TensorProto) { w.Dims = []int64{-32, -32} }), 3, `initializer "w".*impossible dimensions`},
		{"weights longer than their bytes", weights(func(w *onnxpb.TensorProto) { w.Dims = []int64{1 << 20, 32} }), 3, `"w"`},
		{"an input of 2^60 elements", model(func(m *onnxpb.ModelProto) {
			m.Graph.Input[0].Type.GetTensorType().Shape.Dim[0].Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: 1 << 60}
		}), 3, `input "x" has the impossible shape`},
		{"cycle", model(func(m *onnxpb.ModelProto) { between(m, nil, pbNode("Relu", []string{"y"}, "z")) }), 3, "depend on each other"},
		{"duplicate name", model(func(m *onnxpb.ModelProto) { between(m, nil, pbNode("Relu", []string{"x"}, "x")) }), 3, `"x".*twice`},
		{"missing initializer", model(func(m *onnxpb.ModelProto) { m.Graph.Initializer = nil }), 3, `"w".*nothing defines`},
		{"weights of strings", weights(func(w *onnxpb.TensorProto) {
			*w = onnxpb.TensorProto{Name: w.Name, Dims: []int64{2}, DataType: proto.Int32(8), StringData: [][]byte{nil, nil}}
		}), 3, `"product".*string`},
		{"weights of another type", weights(func(w *onnxpb.TensorProto) { w.DataType = proto.Int32(int32(onnx.Int32)) }), 3, `"product".*one type`},
		{"weights that do not fit", weights(func(w *onnxpb.TensorProto) { w.Dims = []int64{16, 64} }), 3, `"product".*cannot multiply`},
		{"an operand missing", model(func(m *onnxpb.ModelProto) { m.Graph.Node[0].Input = []string{"x"} }), 3, `"product" \(MatMul\): input 1`},
		{"no output", model(func(m *onnxpb.ModelProto) { m.Graph.Node[0].Output = nil; m.Graph.Output = nil }), 3, `"product" \(MatMul\): output 0`},
		{"external data in ..", model(external("../w.bin")), 3, "w.bin"},
		{"external data behind a link", model(external("link")), 3, "link"},
		{"external data at an absolute path", model(external("/etc/passwd")), 3, "passwd"},
		{"external data that are missing", model(external("none")), 3, "none"},
		{"external data that are too short", model(external("short", "length", "4096")), 3, "short"},
		{"external data at 2^60", model(external("short", "offset", "1152921504606846976")), 3, "short"},
		{"a gigantic name", model(func(m *onnxpb.ModelProto) {
			m.Graph.Node[0].Name = proto.String(strings.Repeat("n", 1<<20))
			m.Graph.Node[0].Input = []string{"x"}
		}), 3, "n"},
		{"nested 1000 deep", model(func(m *onnxpb.ModelProto) {
			g := &onnxpb.GraphProto{}
			for range 1000 {
				n := pbNode("If", []string{"x"}, "z")
				n.Attribute = []*onnxpb.AttributeProto{{Name: proto.String("then_branch"), Type: onnxpb.AttributeProto_GRAPH.Enum(), G: g}}
				g = &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{n}}
			}
			m.Graph.Node = append(g.Node, m.Graph.Node...)
		}), 3, "nested too deep"},
		{"permutation twice", model(func(m *onnxpb.ModelProto) {
			n := pbNode("Transpose", []string{"x"}, "z")
			n.Attribute = []*onnxpb.AttributeProto{{Name: proto.String("perm"), Type: onnxpb.AttributeProto_INTS.Enum(), Ints: []int64{1, 1}}}
			between(m, nil, n)
		}), 3, `"theTranspose".*twice`},
		{"reshape to nothing", model(func(m *onnxpb.ModelProto) {
			between(m, []*onnxpb.TensorProto{pbInts("s", 7, -1)}, pbNode("Reshape", []string{"x", "s"}, "z"))
		}), 3, `"theReshape".*cannot become`},
		// What takes more memory or time than the model's size is reason for is not run, nor is the quantized model then verified.
		{"expand to 2^60", model(func(m *onnxpb.ModelProto) {
			between(m, []*onnxpb.TensorProto{pbInts("s", 1<<55, 32)}, pbNode("Expand", []string{"x", "s"}, "z"))
		}), 0, ""},
		{"expand to 1 GB", model(func(m *onnxpb.ModelProto) {
			between(m, []*onnxpb.TensorProto{pbInts("s", 1<<23, 32)}, pbNode("Expand", []string{"x", "s"}, "z"))
		}), 0, ""},
		{"a constant of 4 GB", model(func(m *onnxpb.ModelProto) {
			between(m, []*onnxpb.TensorProto{pbInts("s", 1<<25, 32)}, pbNode("ConstantOfShape", []string{"s"}, "z"))
		}), 0, ""},
		{"an input of 1 GB", model(func(m *onnxpb.ModelProto) {
			m.Graph.Input[0].Type.GetTensorType().Shape.Dim[0].Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: 1 << 23}
		}), 0, ""},
		{"a loop of 2^60 steps", model(loop), 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			dir := filepath.Join(top, "in")
			for _, err := range []error{
				os.Mkdir(dir, 0o777), os.WriteFile(filepath.Join(dir, "m.onnx"), c.bytes(t), 0o666), os.WriteFile(filepath.Join(dir, "short"), make([]byte, 64), 0o666),
				os.WriteFile(filepath.Join(top, "w.bin"), make([]byte, 4096), 0o666), os.Symlink("../w.bin", filepath.Join(dir, "link")),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			begin := time.Now()
			code, stderr, memory := runHere(t, dir, "-q", "m.onnx", "out.onnx")
			t.Logf("%v, %d MB: %s", time.Since(begin).Round(time.Millisecond), memory>>20, stderr)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if _, err := os.Stat(filepath.Join(dir, "out.onnx")); errors.Is(err, os.ErrNotExist) != (c.code != 0) {
				t.Errorf("the output: %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			line := strings.TrimPrefix(stderr, "zqonnx: m.onnx: ")
			if c.code != 0 && (line == stderr || strings.Count(stderr, "\n") != 1 || !regexp.MustCompile(c.want).MatchString(line) || len(stderr) > 1100) {
				t.Errorf("stderr: %.2000s", stderr)
			}
			if memory > maxHostileMemory {
				t.Errorf("%d MB of memory", memory>>20)
			}
		})
	}
}

// runHere runs the command in a folder; it returns its exit code, stderr and the most memory it had.
func runHere(t *testing.T, dir string, args ...string) (code int, stderr string, memory int64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := &exec.Cmd{Path: self, Args: append([]string{"zqonnx"}, args...), Dir: dir, Stderr: &out}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer late.Stop()
	_ = c.Wait()
	memory = int64(c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	if runtime.GOOS != "darwin" {
		memory <<= 10 // kilobytes elsewhere
	}
	return c.ProcessState.ExitCode(), out.String(), memory
}
