package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestGenerated compares the committed code with what the schema gives.
func TestGenerated(t *testing.T) {
	dir := filepath.Join("..", root)
	files, err := generate(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the schema gives: run go generate ./internal/onnxpb", name)
		}
	}
	if len(files) != 1 {
		t.Errorf("%d files", len(files))
	}
}
