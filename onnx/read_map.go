package onnx

import (
	"errors"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// A source is the file a model was read from, with the files it refers to.
type source struct {
	name string
	dir  string // where external data may lie; "" when the model came from no file
	refs atomic.Int32

	model *mapping // nil when the model was read from memory or a pipe
	mu    sync.Mutex
	files map[string]*mapping // external data by location
}

// A mapping is an open file's contents in memory.
type mapping struct {
	name   string
	info   os.FileInfo
	size   int64
	once   sync.Once
	data   []byte
	err    error
	mapped bool
}

// mappings are the live ones, for Guard to find whose memory failed.
var mappings struct {
	sync.Mutex
	list []*mapping
}

// smallFile is the size up to which a file is read rather than mapped.
const smallFile = 1 << 16

// open fills m with the contents of a regular file. Where the file cannot be mapped it is read.
func (m *mapping) open(f *os.File) error {
	if int64(int(m.size)) != m.size {
		return badModel("%s: %d bytes are too many for this machine", m.name, m.size)
	}
	if m.size > smallFile {
		if b, err := mmap(f, int(m.size)); err == nil {
			m.data, m.mapped = b[:m.size:m.size], true
			mappings.Lock()
			mappings.list = append(mappings.list, m)
			mappings.Unlock()
			return nil
		}
	}
	m.data = make([]byte, m.size)
	if _, err := io.ReadFull(f, m.data); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return badModel("%s became shorter while it was read", m.name)
		}
		return err
	}
	return nil
}

func (m *mapping) close() {
	if m == nil || !m.mapped {
		return
	}
	mappings.Lock()
	mappings.list = slices.DeleteFunc(mappings.list, func(o *mapping) bool { return o == m })
	mappings.Unlock()
	munmap(m.data)
	m.mapped, m.data = false, nil
}

func (s *source) close() {
	s.model.close()
	for _, m := range s.files {
		m.close()
	}
}

// Guard runs f and turns the memory fault of a mapped model file that was truncated under us, or whose disk fails, into
// an error that wraps ErrBadModel. It protects the calling goroutine only: every goroutine that reads tensors of a model
// from a file and must not crash runs under its own Guard. Reading, writing and Tensor.Load do so themselves.
func Guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if fault, ok := r.(interface{ Addr() uintptr }); ok {
			if m := mappingAt(fault.Addr()); m != nil {
				err = badModel("%s cannot be read any more: it was truncated or its disk failed while the model was in use", m.name)
				return
			}
		}
		panic(r)
	}()
	return f()
}

func mappingAt(addr uintptr) *mapping {
	mappings.Lock()
	defer mappings.Unlock()
	for _, m := range mappings.list {
		start := uintptr(unsafe.Pointer(unsafe.SliceData(m.data)))
		if addr >= start && addr < start+uintptr(len(m.data)) {
			return m
		}
	}
	return nil
}
