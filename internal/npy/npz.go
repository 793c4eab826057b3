package npy

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/zqonnx/zqonnx/onnx"
)

// An Archive is an open .npz file. Arrays are read one at a time, on demand.
type Archive struct {
	entries map[string]*zip.File
	names   []string
	size    uint64
	file    *os.File
}

// Open opens a .npz file and reads its directory, but no array.
func Open(path string) (*Archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		var a *Archive
		if a, err = NewArchive(f, info.Size()); err == nil {
			a.file = f
			return a, nil
		}
	}
	f.Close()
	return nil, err
}

// NewArchive reads the directory of an archive of size bytes.
func NewArchive(r io.ReaderAt, size int64) (*Archive, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, zipError(err)
	}
	a := &Archive{entries: map[string]*zip.File{}, size: uint64(size)}
	for _, f := range z.File {
		name, ok := strings.CutSuffix(f.Name, ".npy")
		switch {
		case !ok:
			return nil, bad("the entry %q is no .npy array", f.Name)
		case a.entries[name] != nil:
			return nil, bad("the array %q is there twice", name)
		}
		a.entries[name] = f
		a.names = append(a.names, name)
	}
	slices.Sort(a.names)
	return a, nil
}

// Names returns the names of the arrays, sorted.
func (a *Archive) Names() []string { return a.names }

// Close closes the file that Open opened.
func (a *Archive) Close() error {
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}

// Header reads the header of an array.
func (a *Archive) Header(name string) (*Header, error) {
	h, _, r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	return h, r.Close()
}

// Read reads an array.
func (a *Archive) Read(name string) (*onnx.Tensor, error) {
	h, size, r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t, err := h.ReadData(r, size)
	if err != nil {
		return nil, zipError(err)
	}
	return t, nil
}

// open reads the header of an array and returns how many bytes the archive says stand behind it.
func (a *Archive) open(name string) (*Header, int64, io.ReadCloser, error) {
	f := a.entries[name]
	if f == nil {
		return nil, 0, nil, bad("it holds no array %q", name)
	}
	// No deflate stream grows more than 1032-fold: a size beyond that is a lie, and believing it would cost memory.
	packed, unpacked := f.CompressedSize64, f.UncompressedSize64
	if packed > a.size || unpacked>>10 > packed+packed/64+1 || f.Method == zip.Store && packed != unpacked {
		return nil, 0, nil, bad("the archive of %d bytes cannot hold %d bytes that unpack to %d", a.size, packed, unpacked)
	}
	r, err := f.Open()
	if err != nil {
		return nil, 0, nil, zipError(err)
	}
	c := &counter{r: r}
	h, err := ReadHeader(c)
	if err != nil {
		r.Close()
		return nil, 0, nil, zipError(err)
	}
	return h, int64(unpacked) - c.n, r, nil
}

// zipError says what the zip package found in words that fit a data file.
func zipError(err error) error {
	switch {
	case errors.Is(err, zip.ErrFormat):
		return bad("no .npz archive: it is no zip file, or a truncated one")
	case errors.Is(err, zip.ErrChecksum):
		return bad("the archive is damaged: wrong checksum")
	case errors.Is(err, zip.ErrAlgorithm):
		return bad("the archive is compressed in a way that NumPy does not use")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return bad("the archive is truncated")
	}
	var pathErr *os.PathError
	if errors.Is(err, ErrFormat) || errors.As(err, &pathErr) {
		return err
	}
	return fmt.Errorf("%w: %w", err, ErrFormat)
}

// A Writer writes a .npz archive, one array after the other, stored without compression. Equal arrays in equal order give
// equal bytes.
type Writer struct {
	zip *zip.Writer
	has map[string]bool
}

// NewWriter returns a Writer to w.
func NewWriter(w io.Writer) *Writer { return &Writer{zip: zip.NewWriter(w), has: map[string]bool{}} }

// epoch is the time of every entry: the earliest that zip knows, as NumPy writes it.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Add writes an array under a name that no other has.
func (w *Writer) Add(name string, t *onnx.Tensor) error {
	if w.has[name] {
		return fmt.Errorf("two arrays named %q for one archive", name)
	}
	w.has[name] = true
	e, err := w.zip.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: zip.Store, Modified: epoch})
	if err != nil {
		return err
	}
	b := bufio.NewWriter(e)
	if err := Write(b, t); err != nil {
		return fmt.Errorf("array %q: %w", name, err)
	}
	return b.Flush()
}

// Close writes the directory. It does not close the underlying writer.
func (w *Writer) Close() error { return w.zip.Close() }
