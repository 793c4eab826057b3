package npy

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
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

func FuzzNpz(f *testing.F) {
	seed(f, "*.npz")
	f.Fuzz(func(t *testing.T, b []byte) {
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
