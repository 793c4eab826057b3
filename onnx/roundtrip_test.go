package onnx

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
	"github.com/zqonnx/zqonnx/internal/shareddata"
)

// sharedFile finds a file of the folder with real models and conformance cases, or skips the test.
func sharedFile(t testing.TB, name string) string {
	t.Helper()
	path, err := shareddata.Path(name)
	if err != nil {
		t.Skip(err)
	}
	return path
}

// conformance calls f for every model of the official backend cases.
func conformance(t testing.TB, f func(name string, b []byte)) {
	t.Helper()
	file, err := os.Open(sharedFile(t, shareddata.Conformance))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(h.Name, ".onnx") {
			continue
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		f(h.Name, b)
	}
}

// sameProto reports whether two serialized models say the same; unknown fields count.
func sameProto(t testing.TB, a, b []byte) string {
	t.Helper()
	p, q := &onnxpb.ModelProto{}, &onnxpb.ModelProto{}
	if err := proto.Unmarshal(a, p); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, q); err != nil {
		t.Fatal(err)
	}
	if proto.Equal(p, q) {
		return ""
	}
	return cmp.Diff(p, q, protocmp.Transform())
}

// roundTrip checks that reading and writing changes nothing, nor does a clone.
func roundTrip(t testing.TB, name string, b []byte) *Model {
	t.Helper()
	m, err := Parse(b)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	out, err := m.Marshal()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	if diff := sameProto(t, b, out); diff != "" {
		t.Errorf("%s: written otherwise than read (-read +written):\n%.2000s", name, diff)
	}
	again, err := m.Clone().Marshal()
	if err != nil || !bytes.Equal(out, again) {
		t.Errorf("%s: the clone is written otherwise (%v)", name, err)
	}
	if err := Check(m); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if err := Check(m.Clone()); err != nil {
		t.Errorf("%s, cloned: %v", name, err)
	}
	if m.Text() != m.Clone().Text() {
		t.Errorf("%s: the clone has another text", name)
	}
	return m
}

func TestRoundTripConformance(t *testing.T) {
	n := 0
	conformance(t, func(name string, b []byte) {
		n++
		roundTrip(t, name, b)
	})
	if n < 1800 {
		t.Errorf("only %d models", n)
	}
	t.Logf("%d models", n)
}

func TestRoundTripModels(t *testing.T) {
	names, _ := filepath.Glob(filepath.Join(sharedFile(t, "models"), "*", "*.onnx"))
	if len(names) < 12 {
		t.Errorf("only %d models", len(names))
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, name, b)
		m, err := Read(name)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out.onnx")
		if err := m.Write(out); err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := sameProto(t, b, written); diff != "" {
			t.Errorf("%s: written otherwise than read:\n%.2000s", name, diff)
		}
		m.Close()
	}
}
