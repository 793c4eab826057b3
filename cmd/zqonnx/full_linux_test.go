package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// A disk that is full: exit 7, the old output stays, and nothing is left behind.
func TestFullDisk(t *testing.T) {
	top := t.TempDir()
	disk := filepath.Join(top, "disk")
	if err := os.Mkdir(disk, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no file system of 256 KB can be mounted: %v", err)
	}
	defer func() { _ = syscall.Unmount(disk, 0) }()
	if err := layers(12).Write(filepath.Join(top, "in.onnx")); err != nil {
		t.Fatal(err)
	}
	old := []byte("the old output")
	if err := os.WriteFile(filepath.Join(disk, "out.onnx"), old, 0o666); err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Read(filepath.Join(top, "in.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile(t.Context(), filepath.Join(top, "ext.onnx"), onnx.WriteOptions{External: true}); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"in.onnx", "ext.onnx"} {
		code, stderr, _ := runHere(t, top, "-q", in, filepath.Join("disk", "out.onnx"))
		if code != 7 || !strings.Contains(stderr, "out.onnx cannot be written: no space left on device") {
			t.Errorf("%s: exit code %d, %s", in, code, stderr)
		}
		now := contents(t, disk, nil)
		if string(now["out.onnx"]) != string(old) || len(now) != 1 {
			t.Errorf("%s: the disk has %d files", in, len(now))
		}
	}
}
