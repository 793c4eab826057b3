package onnx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// external says where the elements of a tensor stand outside of the model file.
type external struct {
	file           *mapping
	dir, location  string
	offset, length int64
}

// external checks the place that a tensor's external_data name. want is the number of bytes the tensor must have.
func (s *source) external(entries []*onnxpb.StringStringEntryProto, want int64) (*external, error) {
	x := &external{dir: s.dir, length: want}
	for _, e := range entries {
		var err error
		switch e.GetKey() {
		case "location":
			x.location = e.GetValue()
		case "offset":
			x.offset, err = strconv.ParseInt(e.GetValue(), 10, 64)
		case "length":
			x.length, err = strconv.ParseInt(e.GetValue(), 10, 64)
		}
		if err != nil {
			return nil, badModel("the external data's %s %s is no number", e.GetKey(), quote(e.GetValue()))
		}
	}
	if s.dir == "" {
		return nil, badModel("its data are in the external file %s, but the model was not read from a file; give the model's path", quote(x.location))
	}
	var err error
	if x.file, err = s.externalFile(x.location); err != nil {
		return nil, err
	}
	switch {
	case x.offset < 0 || x.length < 0 || x.offset > x.file.size || x.length > x.file.size-x.offset:
		return nil, badModel("its external data, %d bytes at offset %d, lie outside of %s, which has %d bytes", x.length, x.offset, quote(x.location), x.file.size)
	case x.length != want:
		return nil, badModel("its external data have %d bytes, but its type and dimensions ask for %d", x.length, want)
	}
	return x, nil
}

// externalFile finds the file of that name in the model's folder, which no link may lead out of.
func (s *source) externalFile(location string) (*mapping, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.files[location]; m != nil {
		return m, nil
	}
	name := filepath.FromSlash(location)
	switch {
	case location == "":
		return nil, badModel("its external data name no file")
	case strings.ContainsRune(location, 0):
		return nil, badModel("its external data file has an impossible name %s", quote(location))
	case filepath.IsAbs(name) || strings.HasPrefix(location, "/"):
		return nil, badModel("its external data file %s has an absolute path; it must lie in the model's folder", quote(location))
	case !filepath.IsLocal(name):
		return nil, badModel("its external data file %s lies outside of the model's folder", quote(location))
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	st, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, badModel("its external data file %s is missing", quote(filepath.Join(s.dir, name)))
	case err != nil:
		return nil, badModel("its external data file %s cannot be used (a link may not lead out of the model's folder): %v", quote(location), errors.Unwrap(err))
	case !st.Mode().IsRegular():
		return nil, badModel("its external data file %s is no regular file", quote(location))
	}
	m := &mapping{name: filepath.Join(s.dir, name), info: st, size: st.Size()}
	s.files[location] = m
	return m, nil
}

// bytes maps the file on first use.
func (x *external) bytes() ([]byte, error) {
	m := x.file
	m.once.Do(func() {
		m.err = func() error {
			root, err := os.OpenRoot(x.dir)
			if err != nil {
				return err
			}
			defer root.Close()
			f, err := root.Open(filepath.FromSlash(x.location))
			if err != nil {
				return badModel("%s: %v", m.name, err)
			}
			defer f.Close()
			st, err := f.Stat()
			if err != nil {
				return err
			}
			if st.Size() < m.size {
				return badModel("%s became shorter since the model was read", m.name)
			}
			return m.open(f)
		}()
	})
	if m.err != nil {
		return nil, m.err
	}
	return m.data[x.offset : x.offset+x.length : x.offset+x.length], nil
}
