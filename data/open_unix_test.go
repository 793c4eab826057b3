//go:build unix

package data

import (
	"syscall"
	"testing"
)

// A pipe in the folder would block a reader for ever.
func TestOnlyRegularFilesAreOpened(t *testing.T) {
	write(t, map[string]any{"d/1.npy": img(0), "s/x.txt": ""})
	if err := syscall.Mkfifo("d/2.npy", 0o666); err != nil {
		t.Skip("there are no named pipes here:", err)
	}
	_, err := Open("d", imageModel(), Options{})
	if err == nil || err.Error() != "d/2.npy: no regular file" {
		t.Errorf("got %v", err)
	}
	if err := syscall.Mkfifo("s/image.npy", 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = Open("s", imageModel(), Options{})
	if err == nil || err.Error() != "s/image.npy: no regular file" {
		t.Errorf("got %v", err)
	}
}
