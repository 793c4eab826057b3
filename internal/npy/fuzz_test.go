package npy

import (
	"archive/zip"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func seed(f *testing.F, pattern string) {
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds %s: %v", pattern, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// What is read is written and read again unchanged; what is not read is refused as a format error.
func FuzzNpy(f *testing.F) {
	seed(f, "*.npy")
	f.Add(file(1, describe("'|S0'", "(3, 0)")))
	f.Add(file(1, strings.Replace(describe("'>c8'", "(2L, 1)"), "False", "True", 1), make([]byte, 16)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("%v does not wrap ErrFormat", err)
			}
			return
		}
		var w bytes.Buffer
		if err := Write(&w, a); err != nil {
			if strings.Contains(err.Error(), "UTF-8") {
				return // byte strings may hold anything
			}
			t.Fatal(err)
		}
		c, err := Read(&w, int64(w.Len()))
		if err != nil {
			t.Fatal(err)
		}
		if !same(a, c) {
			t.Fatalf("read %v, written and read again %v", a, c)
		}
	})
}

// An archive of one entry is built around content, then patch is laid over it: most random archives would fail at their
// checksums and directories, and never reach an array.
func FuzzNpz(f *testing.F) {
	for _, name := range []string{"stored.npz", "deflated.npz"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte{}, false, 0, b) // longer than the built archive: replaces it
	}
	array := file(1, describe("'<f4'", "(2,)"), make([]byte, 8)...)
	for _, deflate := range []bool{false, true} {
		b := build(array, deflate)
		f.Add(array, deflate, 0, []byte{})
		for _, field := range []int{8, 10, 20, 24, 42} { // flags, method, sizes, offset of the directory's entry
			f.Add(array, deflate, directory(b)+field, []byte{0xff, 0xff, 0xff, 0x7f})
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, deflate bool, at int, patch []byte) {
		b := build(content, deflate)
		at = max(0, min(at, len(b)))
		b = slices.Concat(b[:at], patch, b[min(len(b), at+len(patch)):])
		a, err := NewArchive(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("%v does not wrap ErrFormat", err)
			}
			return
		}
		for _, n := range a.Names() {
			x, err := a.Read(n)
			if err != nil {
				if !errors.Is(err, ErrFormat) {
					t.Fatalf("%v does not wrap ErrFormat", err)
				}
				continue
			}
			h, err := a.Header(n)
			if err != nil || h.Type != x.Type {
				t.Fatalf("array %q reads as %v, its header as %v, %v", n, x.Type, h, err)
			}
		}
	})
}

func build(content []byte, deflate bool) []byte {
	method := zip.Store
	if deflate {
		method = zip.Deflate
	}
	return zipped(method, "x.npy", string(content))
}
