package onnx

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
)

// maxModel is the largest model that fits into one file: protobuf's limit in other readers. A variable for tests.
var maxModel int64 = math.MaxInt32

// WriteOptions say how WriteFile writes. The zero value is right for most.
type WriteOptions struct {
	// External stores tensors of 1 KB or more in a file of their own beside the model. That is done without being asked when
	// the model was read with external data or exceeds 2 GB.
	External bool
	// Overwrite allows the output to replace the file that the model was read from.
	Overwrite bool
	// Accept, when set, is called with the path of the complete new model before it is renamed into place. Its error is
	// returned, and the old output stays.
	Accept func(path string) error
}

// Marshal returns the serialized model. External data are taken in.
func (m *Model) Marshal() ([]byte, error) {
	var b bytes.Buffer
	_, err := m.WriteTo(&b)
	return b.Bytes(), err
}

// WriteTo writes the serialized model to w, with external data taken in. The same model gives the same bytes. A model of
// more than 2 GB needs a second file for its data: use WriteFile.
func (m *Model) WriteTo(w io.Writer) (int64, error) {
	out := &output{ctx: context.Background(), w: w}
	err := Guard(func() error {
		pieces, size, err := (&encoder{}).encode(m)
		if err != nil {
			return err
		}
		if size > maxModel {
			return fmt.Errorf("the model has %d bytes, more than the 2 GB of one file; write it to a path, with external data", size)
		}
		if b, ok := w.(*bytes.Buffer); ok {
			b.Grow(int(size))
		}
		return out.pieces(pieces)
	})
	return out.n, err
}

// Write writes the model to a file: WriteFile with the defaults.
func (m *Model) Write(path string) error {
	return m.WriteFile(context.Background(), path, WriteOptions{})
}

// WriteFile writes the model to path, whole or not at all: into a temporary file beside it, which is renamed at the end.
// External data go to PATH.<first 12 digits of their SHA-256>.data, renamed before the model. Files that the model was
// read from are never written, except its own file where o.Overwrite allows it.
func (m *Model) WriteFile(ctx context.Context, path string, o WriteOptions) error {
	w := &fileWriter{ctx: ctx, path: path, accept: o.Accept}
	defer w.removeTemporary()
	err := Guard(func() error { return w.write(m, o) })
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

type fileWriter struct {
	ctx       context.Context
	path      string
	accept    func(path string) error
	mode      os.FileMode // of the file that is replaced; 0 when there is none
	temporary []string    // files to remove
}

func (w *fileWriter) removeTemporary() {
	for _, name := range w.temporary {
		os.Remove(name)
	}
}

func (w *fileWriter) write(m *Model, o WriteOptions) error {
	if st, err := os.Stat(w.path); err == nil {
		if !st.Mode().IsRegular() {
			return errors.New("this is no regular file")
		}
		w.mode = st.Mode().Perm()
		if w.path, err = filepath.EvalSymlinks(w.path); err != nil { // a link stays one
			return err
		}
	}
	if m.file.refersTo(w.path) {
		if !o.Overwrite || !m.file.isModel(w.path) {
			return errors.New("the model was read from this file; it is not overwritten")
		}
	}
	if o.External || m.file.hasExternal() {
		return w.writeExternal(m)
	}
	pieces, size, err := (&encoder{}).encode(m)
	if err != nil {
		return err
	}
	if size > maxModel {
		return w.writeExternal(m)
	}
	return w.writeModel(pieces)
}

func (w *fileWriter) writeModel(pieces [][]byte) error {
	name, err := w.create(nil, func(out *output) error { return out.pieces(pieces) })
	if err != nil {
		return err
	}
	return w.finish(name)
}

// finish puts the complete model in its place.
func (w *fileWriter) finish(name string) error {
	if w.accept != nil {
		if err := w.accept(name); err != nil {
			return err
		}
	}
	return w.rename(name, w.path)
}

// writeExternal writes the data first, because their hash is part of their file's name, which the model holds.
func (w *fileWriter) writeExternal(m *Model) error {
	plan := newExternalPlan()
	if _, _, err := (&encoder{external: plan}).encode(m); err != nil {
		return err
	}
	if len(plan.tensors) == 0 {
		pieces, _, err := (&encoder{}).encode(m)
		if err != nil {
			return err
		}
		return w.writeModel(pieces)
	}
	sum := sha256.New()
	data, err := w.create(sum, plan.writeTo)
	if err != nil {
		return err
	}
	final := newExternalPlan()
	final.location = filepath.Base(w.path) + "." + hex.EncodeToString(sum.Sum(nil))[:12] + ".data"
	pieces, size, err := (&encoder{external: final}).encode(m)
	if err != nil {
		return err
	}
	if size > maxModel {
		return fmt.Errorf("the model has %d bytes beside its external data, more than the 2 GB of one file", size)
	}
	model, err := w.create(nil, func(out *output) error { return out.pieces(pieces) })
	if err != nil {
		return err
	}
	target := filepath.Join(filepath.Dir(w.path), final.location)
	if m.file.refersTo(target) {
		// The file that these very bytes may come from stays as it is.
		same, err := sameContents(data, target)
		if err != nil {
			return err
		}
		if !same {
			return fmt.Errorf("%s belongs to the model that was read; it is not overwritten", target)
		}
		return w.finish(model)
	}
	_, missing := os.Stat(target)
	if err := w.rename(data, target); err != nil {
		return err
	}
	if missing != nil {
		w.temporary = append(w.temporary, target) // until the model that refers to it is in its place
	}
	err = w.finish(model)
	if err == nil {
		w.temporary = nil
	}
	return err
}

// create makes a temporary file beside the output and fills it.
func (w *fileWriter) create(sum hash.Hash, fill func(*output) error) (name string, err error) {
	name = filepath.Join(filepath.Dir(w.path), "."+filepath.Base(w.path)+"."+rand.Text()[:8]+".tmp")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // not os.CreateTemp: the umask counts
	if err != nil {
		return "", err
	}
	w.temporary = append(w.temporary, name)
	out := &output{ctx: w.ctx, w: f}
	if sum != nil {
		out.w = io.MultiWriter(f, sum)
	}
	err = fill(out)
	if err == nil && w.mode != 0 {
		err = f.Chmod(w.mode)
	}
	if err == nil {
		err = f.Sync()
	}
	return name, errors.Join(err, f.Close())
}

func (w *fileWriter) rename(from, to string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	// The new name must survive a crash too. Not every file system can sync a folder.
	if d, err := os.Open(filepath.Dir(to)); err == nil {
		_ = d.Sync()
		d.Close()
	}
	return nil
}

func sameContents(a, b string) (bool, error) {
	fa, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	ha, hb := sha256.New(), sha256.New()
	if _, err := io.Copy(ha, fa); err != nil {
		return false, err
	}
	if _, err := io.Copy(hb, fb); err != nil {
		return false, err
	}
	return bytes.Equal(ha.Sum(nil), hb.Sum(nil)), nil
}

// An output writes in chunks, so that it can be cancelled in between.
type output struct {
	ctx context.Context
	w   io.Writer
	buf []byte
	n   int64
}

const chunk = 1 << 20

func (o *output) pieces(ps [][]byte) error {
	for _, p := range ps {
		if err := o.write(p); err != nil {
			return err
		}
	}
	return o.flush()
}

// write gathers small pieces and passes large ones on chunk by chunk.
func (o *output) write(p []byte) error {
	if len(o.buf)+len(p) <= chunk/16 {
		o.buf = append(o.buf, p...)
		return nil
	}
	if err := o.flush(); err != nil {
		return err
	}
	for len(p) > 0 {
		k := min(len(p), chunk)
		if err := o.send(p[:k]); err != nil {
			return err
		}
		p = p[k:]
	}
	return nil
}

func (o *output) flush() error {
	err := o.send(o.buf)
	o.buf = o.buf[:0]
	return err
}

func (o *output) send(p []byte) error {
	if err := o.ctx.Err(); err != nil {
		return err
	}
	if len(p) == 0 {
		return nil
	}
	k, err := o.w.Write(p)
	o.n += int64(k)
	if errors.Is(err, syscall.EFAULT) { // the kernel meets the fault that Guard catches elsewhere
		return badModel("the file that the model was read from was truncated meanwhile")
	}
	return err
}
