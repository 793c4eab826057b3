package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/carrier"
	"github.com/zqonnx/zqonnx/verify"
)

// standardStream is the path that means stdin or stdout.
const standardStream = "-"

// An input is a model and the file it came from.
type input struct {
	model *onnx.Model
	file  verify.File // its bytes include those of external data
	files []string    // all that was read; none when it came through a pipe
}

// newInput returns what a file holds: the model, or the one inside a carrier.
func newInput(m *onnx.Model, file verify.File) (*input, error) {
	inside, err := carrier.Unpack(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Path, err)
	}
	file.Opset = inside.Opset("")
	return &input{inside, file, m.Files()}, nil
}

// named puts the model's name in front of an error that does not name a file of its own.
func (in *input) named(err error) error {
	var inData *data.Error
	if errors.As(err, &inData) || errors.Is(err, data.ErrBadOption) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%s: %w", in.file.Path, err)
}

// read reads a model from a path, or from stdin.
func (e *env) read(ctx context.Context, path string) (*input, error) {
	if path == standardStream {
		return readStream(ctx, "stdin", e.stdin)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, missing(path, err)
	}
	if info.IsDir() {
		return nil, usagef("%s is a folder, not a model file", path)
	}
	if !info.Mode().IsRegular() {
		f, err := os.Open(path)
		if err != nil {
			return nil, missing(path, err)
		}
		defer f.Close()
		return readStream(ctx, path, f)
	}
	file, err := verify.Describe(path)
	if err != nil {
		return nil, missing(path, err)
	}
	m, err := onnx.Read(path)
	if err != nil {
		return nil, err
	}
	file.Bytes = storedBytes(m)
	return newInput(m, file)
}

// missing is the error for an input file that cannot be opened.
func missing(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	hint := ""
	if errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == path {
		hint = didYouMean(path, commandNames(), "the command ")
	}
	return usagef("%s: %w%s", path, err, hint)
}

// storedBytes returns the size of a model's files.
func storedBytes(m *onnx.Model) int64 {
	var n int64
	for _, path := range m.Files() {
		if info, err := os.Stat(path); err == nil {
			n += info.Size()
		}
	}
	return n
}

// readStream reads a model from a pipe. A read that blocks does not outlive an interrupt.
func readStream(ctx context.Context, name string, r io.Reader) (*input, error) {
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(io.LimitReader(r, math.MaxInt32+1))
		done <- result{b, err}
	}()
	var got result
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case got = <-done:
	}
	switch {
	case got.err != nil:
		return nil, usagef("%s: %w", name, got.err)
	case len(got.b) > math.MaxInt32:
		return nil, usagef("%s: more than 2 GB; give the model as a file", name)
	}
	m, err := onnx.Parse(got.b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	sum := sha256.Sum256(got.b)
	return newInput(m, verify.File{Path: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(got.b))})
}

// checkFolder tells before the work that a file cannot be written.
func checkFolder(path string) error {
	info, err := os.Stat(filepath.Dir(path))
	switch {
	case err != nil:
		return as(errNotWritten, fmt.Errorf("%s cannot be written: %w", path, err))
	case !info.IsDir():
		return as(errNotWritten, fmt.Errorf("%s cannot be written: %s is no folder", path, filepath.Dir(path)))
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return as(errNotWritten, fmt.Errorf("%s cannot be written: it is no regular file", path))
	}
	return nil
}

// writeFile writes a file whole or not at all.
func writeFile(path string, fill func(io.Writer) error) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8]+".tmp")
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err == nil {
		defer os.Remove(temporary) // fails after the rename, as it should
		err = errors.Join(fill(f), f.Close())
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return as(errNotWritten, fmt.Errorf("%s: %w", path, plainError(err)))
	}
	return nil
}

// plainError takes the temporary file's name out of an error about it.
func plainError(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
