package onnx

import (
	"maps"
	"slices"
)

// Files returns the files that the model was read from: its own first, then those of its external data, sorted. There are
// none when it came from memory or a pipe.
func (m *Model) Files() []string {
	s := m.file
	if s == nil || s.model == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data := map[string]bool{}
	for _, f := range s.files {
		data[f.name] = true
	}
	return append([]string{s.model.name}, slices.Sorted(maps.Keys(data))...)
}
