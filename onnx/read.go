package onnx

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// ErrBadModel is wrapped by every error that a bad or unsupported model file causes.
var ErrBadModel = errors.New("bad model")

type modelError struct{ text string }

func (e *modelError) Error() string { return e.text }
func (e *modelError) Unwrap() error { return ErrBadModel }

// badModel returns an error that wraps ErrBadModel.
func badModel(format string, args ...any) error { return &modelError{fmt.Sprintf(format, args...)} }

// quote quotes a name from a file for a message; a hostile name may be gigantic.
func quote(name string) string {
	const most = 100
	if len(name) > most {
		return fmt.Sprintf("%q... (%d bytes)", name[:most], len(name))
	}
	return fmt.Sprintf("%q", name)
}

// maxStream bounds what is read from a pipe, which cannot be mapped: no model in one file may be larger than 2 GB.
const maxStream = 1 << 31

// Read reads a model file. Tensors are views of the mapped file, or of mapped external files in the same folder: nothing
// is copied or decoded before its first use. The files must stay as they are while the model is used; see Guard.
// The errors that the file causes wrap ErrBadModel.
func Read(path string) (*Model, error) {
	src := &source{name: path, dir: filepath.Dir(path), files: map[string]*mapping{}}
	b, err := src.openModel(path)
	if err != nil {
		return nil, err
	}
	m, err := parse(b, src)
	if err != nil {
		src.close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Parse reads a model from memory, which the model shares and which must not be changed afterwards. External data are
// refused, because there is no folder that they could lie in.
func Parse(b []byte) (*Model, error) { return parse(b, &source{name: "model"}) }

func parse(b []byte, src *source) (m *Model, err error) {
	err = Guard(func() error {
		skeleton, data, err := cut(modelMessage, b)
		if err != nil {
			return err
		}
		p := &onnxpb.ModelProto{}
		if err := proto.Unmarshal(skeleton, p); err != nil {
			return badModel("damaged: %v", err)
		}
		d := &decoder{src: src, data: data}
		m, err = d.model(p)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.file = src
	src.refs.Add(1)
	return m, nil
}

// Close gives the mapped files back when every clone of the model is closed too. Nothing that came from the model, tensors
// in other models included, may be used afterwards. A program that ends soon need not call it.
func (m *Model) Close() {
	if m.file != nil && m.file.refs.Add(-1) == 0 {
		m.file.close()
	}
	m.file = nil
}

// openModel returns the contents of the model file, mapped where that is possible.
func (s *source) openModel(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		b, err := io.ReadAll(io.LimitReader(f, maxStream))
		if err == nil && int64(len(b)) == maxStream {
			err = badModel("%s: more than 2 GB from a pipe; give a file instead", path)
		}
		return b, err
	}
	s.model = &mapping{name: path, info: st, size: st.Size()}
	err = s.model.open(f)
	return s.model.data, err
}

// nodeLabel names a node in messages.
func nodeLabel(name, op string, outputs []string) string {
	switch {
	case name != "":
		return fmt.Sprintf("node %s (%s)", quote(name), op)
	case len(outputs) > 0:
		return fmt.Sprintf("the %s node of output %s", op, quote(outputs[0]))
	}
	return "a node " + strings.TrimSpace(op)
}
