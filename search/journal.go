package search

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/plan"
)

// A journal keeps what a search has measured, so that one that was interrupted goes on where it was. In memory only, where it has no
// folder. Entries are found by the hash of all that they depend on.
type journal struct {
	dir   string
	known map[string]entry
	file  *os.File
}

// An entry is a line of the journal.
type entry struct {
	Key   string          `json:"key"`
	Bytes int64           `json:"bytes,omitempty"` // of a candidate's model
	Value *metric.Number  `json:"value,omitempty"`
	Drop  *metric.Number  `json:"drop,omitempty"`
	Noise []metric.Number `json:"noise,omitempty"` // of changes alone
}

const journalName = "journal.jsonl"

// openJournal opens the journal of a folder, which is made if it is not there. A last line that was cut short is dropped.
func openJournal(dir string) (*journal, error) {
	j := &journal{dir: dir, known: map[string]entry{}}
	if dir == "" {
		return j, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, journalName)
	b, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	good := 0
	for line := range bytes.Lines(b) {
		var e entry
		if line[len(line)-1] != '\n' {
			break
		}
		if err := json.Unmarshal(line, &e); err != nil || e.Key == "" {
			return nil, fmt.Errorf("%s: line %d is not of a search: %v", name, 1+bytes.Count(b[:good], []byte("\n")), err)
		}
		j.known[e.Key] = e
		good += len(line)
	}
	if j.file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, err
	}
	if err := j.file.Truncate(int64(good)); err != nil {
		return nil, errors.Join(err, j.file.Close())
	}
	_, err = j.file.Seek(int64(good), 0)
	return j, err
}

// add writes an entry down for good.
func (j *journal) add(e entry) error {
	j.known[e.Key] = e
	if j.file == nil {
		return nil
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := j.file.Write(append(b, '\n')); err != nil {
		return err
	}
	return j.file.Sync()
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// plan returns the plan that make makes, or the one that it made for the same key before.
func (j *journal) plan(key string, make func() (*plan.Plan, error)) (*plan.Plan, error) {
	if j.dir == "" {
		return make()
	}
	name := filepath.Join(j.dir, "plan-"+key+".json")
	if b, err := os.ReadFile(name); err == nil {
		if p, err := plan.Read(b); err == nil {
			return p, nil
		}
	}
	p, err := make()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return nil, err
	}
	temporary := name + ".tmp"
	if err := os.WriteFile(temporary, b.Bytes(), 0o666); err != nil {
		return nil, err
	}
	return p, os.Rename(temporary, name)
}

// hash returns the key of what all parts together say.
func hash(parts ...any) string {
	h := sha256.New()
	e := json.NewEncoder(h)
	for _, p := range parts {
		if err := e.Encode(p); err != nil {
			panic(err) // parts are plain data
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
