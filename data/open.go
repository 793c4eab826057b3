package data

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
)

// Open finds the samples at path for the graph's inputs and checks what every sample holds: names, types and shapes, but
// not the elements, which Feeds reads. path is one of
//
//   - a folder whose entries are the samples, in the order of their names (numbers in names count as numbers);
//   - one sample: a .npz file with an array for each input; a .npy or .pb file, for models with one input; or a folder
//     with an array for each input, NAME.npy, or input_K.pb for input K unless the tensor inside has an input's name.
//     Such a folder may hold the expected outputs too, as output_K.pb.
//
// With Options.Labels each sample holds an array of that name besides, which is no input: NAME.npy in a folder.
//
// A folder inside a folder is a sample, or a sequence: several samples in order. Hidden files and files of other types
// are passed over. Integers of another width are converted where no value changes, floats to the input's float type.
//
// Errors wrap ErrBadData, ErrBadOption, fs.ErrNotExist when there is nothing at path, or onnx.ErrBadModel when an input is
// no tensor.
func Open(path string, g *onnx.Graph, o Options) (*Set, error) {
	model, err := newSignature(g, o)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	f := &finder{model: model}
	var sequences [][]*Sample
	if info.IsDir() {
		sequences, err = f.folder(path, 0)
	} else {
		var s *Sample
		s, err = f.file(path, filepath.Base(path), info.Mode())
		sequences = [][]*Sample{{s}}
	}
	if err != nil {
		return nil, err
	}
	if len(o.State) == 0 {
		sequences = apart(sequences)
	}
	set := &Set{Source: Given, sequences: limit(sequences, o.Limit)}
	for _, q := range set.sequences {
		for _, s := range q {
			if err := s.check(); err != nil {
				return nil, err
			}
		}
	}
	return set, nil
}

// apart makes each sample a sequence.
func apart(sequences [][]*Sample) [][]*Sample {
	var all [][]*Sample
	for _, q := range sequences {
		for i := range q {
			all = append(all, q[i:i+1])
		}
	}
	return all
}

// A finder makes samples of files and folders.
type finder struct{ model *signature }

var (
	inputFile  = regexp.MustCompile(`^input_(\d{1,4})\.pb$`)
	outputFile = regexp.MustCompile(`^output_(\d{1,4})\.pb$`)
)

// formats says how the files that hold arrays are opened, by their names' ends.
var formats = map[string]func(path string) opener{".npz": openNpz, ".npy": openNpy, ".pb": openPb}

// maxDepth is a sample in a sequence in a folder.
const maxDepth = 2

// folder returns the sequences in a folder: one of one sample when the folder is a sample itself.
func (f *finder) folder(path string, depth int) ([][]*Sample, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") })
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return compareNames(a.Name(), b.Name()) })
	if slices.ContainsFunc(entries, f.isArray) {
		s, err := f.sample(path, entries)
		return [][]*Sample{{s}}, err
	}
	if depth == maxDepth {
		return nil, &Error{File: path, Problem: fmt.Sprintf("no sample; %s is the deepest folder that is looked into, and should hold %s", filepath.Base(path), f.wanted())}
	}
	var sequences [][]*Sample
	for _, e := range entries {
		inside := filepath.Join(path, e.Name())
		info, err := os.Stat(inside) // of what a link points to
		if err != nil {
			return nil, fileError(inside, err)
		}
		if info.IsDir() {
			within, err := f.folder(inside, depth+1)
			if err != nil {
				return nil, err
			}
			var q []*Sample
			for _, s := range within {
				q = append(q, s...)
			}
			sequences = append(sequences, q)
			continue
		}
		if formats[filepath.Ext(e.Name())] == nil {
			continue
		}
		s, err := f.file(inside, e.Name(), info.Mode())
		if err != nil {
			return nil, err
		}
		sequences = append(sequences, []*Sample{s})
	}
	if len(sequences) == 0 {
		return nil, &Error{File: path, Problem: "no samples in this folder: a sample is a .npz file, or a folder with " + f.wanted()}
	}
	return sequences, nil
}

// wanted lists the files of a sample that is a folder.
func (f *finder) wanted() string {
	var files []string
	for _, p := range f.model.needed() {
		files = append(files, p.name+".npy")
	}
	if p := f.model.labels; p != nil {
		files = append(files, p.name+".npy")
	}
	return orNone(files)
}

// isArray reports whether the entry's name makes its folder a sample.
func (f *finder) isArray(e fs.DirEntry) bool {
	name, isNpy := strings.CutSuffix(e.Name(), ".npy")
	return isNpy && find(f.model.arrays(), name) != nil || inputFile.MatchString(e.Name()) || outputFile.MatchString(e.Name())
}

// compareNames orders names with their numbers as numbers: frame_2 before frame_10.
func compareNames(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		n, m := digits(x), digits(y)
		if n > 0 && m > 0 {
			p, q := strings.TrimLeft(x[:n], "0"), strings.TrimLeft(y[:m], "0")
			if c := cmp.Or(cmp.Compare(len(p), len(q)), cmp.Compare(p, q)); c != 0 {
				return c
			}
			x, y = x[n:], y[m:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }

// file returns the sample that is one file.
func (f *finder) file(path, name string, mode fs.FileMode) (*Sample, error) {
	open := formats[filepath.Ext(name)]
	if open == nil {
		return nil, &Error{File: path, Problem: "no sample: a file must be .npz, .npy or .pb"}
	}
	if !mode.IsRegular() {
		return nil, &Error{File: path, Problem: "no regular file"}
	}
	return f.newSample(path, []opener{open(path)}, nil), nil
}

// sample returns the sample that is a folder.
func (f *finder) sample(path string, entries []fs.DirEntry) (*Sample, error) {
	var inputs, outputs []opener
	for _, e := range entries {
		file := filepath.Join(path, e.Name())
		format := formats[filepath.Ext(e.Name())]
		info, err := os.Stat(file)
		if err != nil {
			return nil, fileError(file, err)
		}
		number := func(m []string) int { k, _ := strconv.Atoi(m[1]); return k }
		switch in, out := inputFile.FindStringSubmatch(e.Name()), outputFile.FindStringSubmatch(e.Name()); {
		case format == nil && !info.IsDir():
		case info.IsDir(), !f.isArray(e):
			return nil, &Error{File: file, Problem: fmt.Sprintf("superfluous: its folder is a sample of %s and can hold nothing else", f.wanted())}
		case !info.Mode().IsRegular():
			return nil, &Error{File: file, Problem: "no regular file"}
		case in != nil:
			inputs = append(inputs, numbered(openPb(file), number(in)))
		case out != nil && f.skips(number(out)):
		case out != nil:
			outputs = append(outputs, numbered(openPb(file), number(out)))
		default:
			inputs = append(inputs, openNpy(file))
		}
	}
	return f.newSample(path, inputs, outputs), nil
}

// skips reports whether output k is no tensor: sequences and optionals are not compared with anything.
func (f *finder) skips(k int) bool {
	return k < len(f.model.outputs) && f.model.outputs[k].typ.Kind != onnx.KindTensor
}

func (f *finder) newSample(path string, inputs, outputs []opener) *Sample {
	s := &Sample{Name: path, model: f.model}
	s.check = func() error { return s.checkInputs(inputs) }
	s.read = func() (map[string]*onnx.Tensor, error) { return s.readInputs(inputs) }
	if f.model.labels != nil {
		s.labels = func() (*onnx.Tensor, error) { return s.readLabels(inputs) }
	}
	if outputs != nil {
		s.expect = func() (map[string]*onnx.Tensor, error) { return s.readOutputs(outputs) }
	}
	return s
}

// An array is one of a file's, before it is looked at.
type array struct {
	file   string
	name   string // of the tensor; may be empty
	number int    // which of the model's inputs or outputs it is by the file's name; -1 when that says nothing
	open   func() (contents, error)
}

// contents are an array whose header was read.
type contents struct {
	typ  onnx.DataType
	dims []int64
	read func() (*onnx.Tensor, error)
}

// An opener opens a file and returns its arrays; what it returns as done is called after the last was read.
type opener func() (arrays []array, done func() error, err error)

func openNpz(path string) opener {
	return func() ([]array, func() error, error) {
		z, err := npy.Open(path)
		if err != nil {
			return nil, nil, fileError(path, err)
		}
		var arrays []array
		for _, name := range z.Names() {
			arrays = append(arrays, array{path, name, -1, func() (contents, error) {
				h, err := z.Header(name)
				if err != nil {
					return contents{}, fmt.Errorf("cannot be read: %w", err)
				}
				return contents{h.Type, h.Dims, func() (*onnx.Tensor, error) { return z.Read(name) }}, nil
			}})
		}
		return arrays, z.Close, nil
	}
}

func openNpy(path string) opener {
	return func() ([]array, func() error, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, nil, fileError(path, err)
		}
		c, err := npyContents(f)
		if err != nil {
			f.Close()
			return nil, nil, fileError(path, err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".npy")
		return []array{{path, name, -1, func() (contents, error) { return c, nil }}}, f.Close, nil
	}
}

func npyContents(f *os.File) (contents, error) {
	h, err := npy.ReadHeader(f)
	if err != nil {
		return contents{}, err
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return contents{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return contents{}, err
	}
	return contents{h.Type, h.Dims, func() (*onnx.Tensor, error) { return h.ReadData(f, info.Size()-at) }}, nil
}

// openPb reads a serialized TensorProto, whole: its type and shape may stand behind its elements.
func openPb(path string) opener {
	return func() ([]array, func() error, error) {
		info, err := os.Stat(path)
		if err == nil && info.Size() > npy.MaxBytes {
			err = fmt.Errorf("larger than %d bytes", int64(npy.MaxBytes))
		}
		if err != nil {
			return nil, nil, fileError(path, err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, fileError(path, err)
		}
		name, t, err := onnx.ParseTensor(b)
		if err != nil {
			return nil, nil, fileError(path, err)
		}
		c := contents{t.Type, t.Dims, func() (*onnx.Tensor, error) { return t, t.Load() }}
		return []array{{path, name, -1, func() (contents, error) { return c, nil }}}, func() error { return nil }, nil
	}
}

// numbered says which input or output the only array of a file is.
func numbered(open opener, k int) opener {
	return func() ([]array, func() error, error) {
		arrays, done, err := open()
		for i := range arrays {
			arrays[i].number = k
		}
		return arrays, done, err
	}
}

// fileError names the file once: the errors of package os do themselves.
func fileError(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return &Error{File: path, Problem: p.Err.Error(), Err: err}
	}
	return &Error{File: path, Problem: trim(err), Err: err}
}

// trim drops what the text of a format error says of its kind.
func trim(err error) string {
	return strings.TrimSuffix(err.Error(), " ("+npy.ErrFormat.Error()+")")
}

// visit opens the files one after the other and calls f with the contents of each array and the port that it is meant
// for. The error of f follows the array's name.
func (s *Sample) visit(files []opener, ports []port, f func(c contents, p port) error) error {
	from := map[string]string{}
	visit := func(a array) error {
		p, err := s.port(a, ports)
		if err != nil {
			return err
		}
		first := from[p.name]
		from[p.name] = a.file
		if err := meet(a, *p, first, f); err != nil {
			return &Error{File: a.file, Array: p.name, Problem: trim(err), Err: err}
		}
		return nil
	}
	for _, open := range files {
		arrays, done, err := open()
		if err != nil {
			return err
		}
		for _, a := range arrays {
			if err = visit(a); err != nil {
				break
			}
		}
		_ = done() // the file was only read: nothing is lost when closing fails
		if err != nil {
			return err
		}
	}
	return nil
}

// meet looks at one array. first is the file that has given the port's array before, if any.
func meet(a array, p port, first string, f func(c contents, p port) error) error {
	if first != "" {
		return fmt.Errorf("is given twice, by %s too", filepath.Base(first))
	}
	c, err := a.open()
	if err != nil {
		return err
	}
	if err := convertible(c.typ, p.typ.Elem); err != nil {
		return err
	}
	return f(c, p)
}

// checkInputs tells by names, types and shapes alone whether readInputs can work.
func (s *Sample) checkInputs(files []opener) error {
	shapes := newBinding(s.model.dims)
	there := map[string]bool{}
	err := s.visit(files, s.model.arrays(), func(c contents, p port) error {
		there[p.name] = true
		return shapes.bind(p, c.dims)
	})
	if err != nil {
		return err
	}
	for _, p := range s.model.needed() {
		if !there[p.name] {
			return &Error{File: s.Name, Array: p.name, Problem: s.model.missing(p)}
		}
	}
	if p := s.model.labels; p != nil && !s.model.unlabelled && !there[p.name] {
		return &Error{File: s.Name, Array: p.name, Problem: "is missing: --labels names it"}
	}
	return nil
}

func (s *Sample) readInputs(files []opener) (map[string]*onnx.Tensor, error) {
	shapes := newBinding(s.model.dims)
	feeds := map[string]*onnx.Tensor{}
	err := s.visit(files, s.model.arrays(), func(c contents, p port) error {
		if s.model.isLabels(p) {
			return nil
		}
		// Checked again: the file may be another one by now.
		if err := shapes.bind(p, c.dims); err != nil {
			return err
		}
		t, err := c.load(p)
		if err != nil {
			return err
		}
		feeds[p.name] = t
		return finite(t)
	})
	return feeds, err
}

func (s *Sample) readLabels(files []opener) (labels *onnx.Tensor, err error) {
	err = s.visit(files, s.model.arrays(), func(c contents, p port) (err error) {
		if s.model.isLabels(p) {
			labels, err = c.load(p)
		}
		return err
	})
	if err == nil && labels == nil && !s.model.unlabelled { // the file is another one by now
		err = &Error{File: s.Name, Array: s.model.labels.name, Problem: "is missing: --labels names it"}
	}
	return labels, err
}

func (s *Sample) readOutputs(files []opener) (map[string]*onnx.Tensor, error) {
	outputs := map[string]*onnx.Tensor{}
	err := s.visit(files, s.model.outputs, func(c contents, p port) (err error) {
		outputs[p.name], err = c.load(p)
		return err
	})
	return outputs, err
}

// load reads the elements in the port's type.
func (c contents) load(p port) (*onnx.Tensor, error) {
	t, err := c.read()
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	return fit(t, p.typ.Elem)
}

// port finds the input or output that an array is meant for: by its name, by its file's number, or because there is no
// other.
func (s *Sample) port(a array, ports []port) (*port, error) {
	if p := find(ports, a.name); p != nil {
		return p, nil
	}
	if a.number >= 0 && a.number < len(ports) {
		return &ports[a.number], nil
	}
	needed := s.model.needed()
	if filepath.Ext(a.file) != ".npz" && a.number < 0 {
		if len(needed) == 1 {
			return find(ports, needed[0].name), nil
		}
		return nil, &Error{File: a.file, Problem: fmt.Sprintf("one array, but a sample of this model has %d: %s; make a .npz file of them, or a folder with %s",
			len(needed), names(needed), (&finder{s.model}).wanted())}
	}
	if a.name == "" {
		return nil, &Error{File: a.file, Problem: "superfluous; the model has " + names(ports)}
	}
	return nil, &Error{File: a.file, Array: a.name, Problem: "is superfluous; the model has " + names(ports)}
}
