package verify

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zqonnx/zqonnx/metric"
)

// Schema is the version of the report's JSON form, which docs/report.md describes.
const Schema = 1

// A Report is what a verification found; its JSON form is the report file.
type Report struct {
	Schema      int          `json:"schema"`
	Tool        string       `json:"tool"`
	Models      Models       `json:"models"`
	Semantics   string       `json:"semantics,omitempty"` // of the outputs' figures: "literal" or "fused"
	Data        Data         `json:"data"`
	Target      string       `json:"target,omitempty"`       // the runtime that the plan was made for
	NotVerified string       `json:"not_verified,omitempty"` // why there are no figures at all
	Outputs     Outputs      `json:"outputs"`
	Layers      []LayerError `json:"layers"` // in the order of the layers given
	Culprits    []Culprit    `json:"culprits"`
	Gates       []GateResult `json:"gates"`
	Nodes       []Node       `json:"nodes,omitempty"` // what became of them, in graph order; none where no plan is known
	Search      *Search      `json:"search,omitempty"`
}

// A Node is a node of the float model and what the plan made of it.
type Node struct {
	Key      string `json:"key"`
	Op       string `json:"op"`
	Scheme   string `json:"scheme"`
	ReasonID string `json:"reason_id"`
	Reason   string `json:"reason"`
}

// A Search holds what a search over plans measured, for a choice between size and fidelity.
type Search struct {
	Metric   string         `json:"metric"` // a name in metric.Metrics, or "score" of a command's number
	MaxDrop  *metric.Number `json:"max_drop,omitempty"`
	MaxBytes int64          `json:"max_bytes,omitempty"`
	Unmet    string         `json:"unmet,omitempty"` // the goal that was not reached
	Data     []Data         `json:"data,omitempty"`  // that the metric was measured on; the worst figure counts
	Float    *metric.Number `json:"float,omitempty"` // the float model's score
	Points   []SearchPoint  `json:"points"`          // in the order in which they were measured
	// Moves are the steps to fewer bits, in the order in which they were taken.
	Moves []SearchMove `json:"moves,omitempty"`
}

// A SearchPoint is one plan.
type SearchPoint struct {
	Bytes  int64          `json:"bytes"`
	Metric metric.Number  `json:"metric"`
	Drop   *metric.Number `json:"drop,omitempty"` // against the float model
	Label  string         `json:"label"`
	Chosen bool           `json:"chosen,omitempty"`
}

// A SearchMove writes the weights of some nodes, which share them, down in fewer bits.
type SearchMove struct {
	Nodes []string      `json:"nodes"`
	From  string        `json:"from"`
	To    string        `json:"to"`
	Saves int64         `json:"saves"` // bytes, estimated
	Noise metric.Number `json:"noise"` // that it adds alone: energy of the error by that of the outputs
}

// Models are the files compared.
type Models struct {
	Float     File `json:"float"`
	Quantized File `json:"quantized"`
}

// A File is a model file.
type File struct {
	Path   string `json:"path,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	Opset  int64  `json:"opset,omitempty"` // of the standard operators
}

// Describe hashes and measures a file.
func Describe(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return File{Path: path, SHA256: hex.EncodeToString(h.Sum(nil)), Bytes: n}, err
}

// Data says what was run.
type Data struct {
	Source  string `json:"source,omitempty"` // a data.Source
	Samples int    `json:"samples"`
}

// Outputs are the errors of the graph outputs.
type Outputs struct {
	// Pooled takes all float outputs of a sample as one vector; nil where there are none.
	Pooled *metric.Result `json:"pooled,omitempty"`
	Each   []OutputError  `json:"each"` // in graph order
}

// An OutputError is the error of one graph output. Exactly one of Result and NotMeasured is there.
type OutputError struct {
	Name        string `json:"name"`
	Classes     int    `json:"classes,omitempty"` // size of the class axis, 0 without one
	NotMeasured string `json:"not_measured,omitempty"`
	*metric.Result
}

// A LayerError holds the errors of one layer. Each is nil where it could not be measured, and its reason says why.
type LayerError struct {
	Key            string         `json:"key"`
	Op             string         `json:"op"`
	Scheme         string         `json:"scheme,omitempty"`
	Reason         string         `json:"reason,omitempty"`
	Tensor         string         `json:"tensor"`           // in the float model
	Quantized      string         `json:"quantized_tensor"` // in the quantized model
	Accumulated    *Measurement   `json:"accumulated,omitempty"`
	NotAccumulated string         `json:"accumulated_not_measured,omitempty"`
	Own            *Measurement   `json:"own,omitempty"`
	NotOwn         string         `json:"own_not_measured,omitempty"`
	Clipped        *metric.Number `json:"clipped,omitempty"` // share of the float tensor's values beyond the codes' range
	// Weights and Activations are there for the worst layers where Options.Histograms is set.
	Weights     *Weights     `json:"weights,omitempty"`
	Activations *Activations `json:"activations,omitempty"`
}

// A Measurement is an error and how the quantized model was run for it.
type Measurement struct {
	Semantics string `json:"semantics"`
	metric.Result
	noise float64 // energy of the error by that of the signal
}

// A Culprit is a layer that does damage of its own.
type Culprit struct {
	Key  string        `json:"key"`
	Op   string        `json:"op"`
	SQNR metric.Number `json:"own_sqnr"`
	// Share is the layer's part of the sum of all layers' own noise, each relative to the energy of its signal.
	Share metric.Number `json:"noise_share"`
	Mend  string        `json:"mend"` // the flags that keep the layer in float, quoted for a shell
}

// NotVerified is the report on a model that the engine cannot run.
func NotVerified(reason string) *Report {
	return &Report{Schema: Schema, NotVerified: reason, Outputs: Outputs{Each: []OutputError{}}, Layers: []LayerError{}, Culprits: []Culprit{}, Gates: []GateResult{}}
}

// Pass reports whether every gate passed.
func (r *Report) Pass() bool {
	return !slices.ContainsFunc(r.Gates, func(g GateResult) bool { return !g.Pass })
}

// most is how many layers and culprits a report for people shows.
const most = 10

// culprits ranks the layers by their own damage, worst first.
func culprits(layers []LayerError) []Culprit {
	var damaged []LayerError
	total := 0.0
	for _, l := range layers {
		if l.Own != nil && l.Own.noise != 0 {
			damaged = append(damaged, l)
			total += l.Own.noise
		}
	}
	slices.SortStableFunc(damaged, func(a, b LayerError) int { return worseFirst(-a.Own.noise, -b.Own.noise) })
	list := []Culprit{}
	for _, l := range damaged[:min(most, len(damaged))] {
		list = append(list, Culprit{
			Key: l.Key, Op: l.Op, SQNR: l.Own.SQNR, Share: metric.Number(l.Own.noise / total), Mend: "--exclude " + shellQuote(l.Key),
		})
	}
	return list
}

// worst returns the layers with the greatest accumulated error, worst first.
func (r *Report) worst() []LayerError {
	layers := slices.DeleteFunc(slices.Clone(r.Layers), func(l LayerError) bool { return l.Accumulated == nil })
	slices.SortStableFunc(layers, func(a, b LayerError) int {
		return worseFirst(float64(a.Accumulated.SQNR), float64(b.Accumulated.SQNR))
	})
	return layers[:min(most, len(layers))]
}

// worseFirst orders by a figure of which more is better; NaN is the worst.
func worseFirst(a, b float64) int { return cmp.Compare(a, b) } // cmp.Compare has NaN first

// shellQuote quotes a word for a shell; control characters in the $'...' form, so that the command stays one line.
func shellQuote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, c := range []byte(s) {
		switch {
		case c == '\'':
			b.WriteString(`'\''`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `'$'\x%02x''`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + "'"
}

// WriteJSON writes the report's JSON form: floats in their shortest exact form, null where they are not finite.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// formats are the forms of a report by the ending of its file.
var formats = map[string]func(*Report, io.Writer) error{
	".html": (*Report).WriteHTML,
	".json": (*Report).WriteJSON,
	".md":   (*Report).WriteMarkdown,
	".xml":  (*Report).WriteJUnit,
}

// CheckPath reports whether WriteFile knows the form of a file of that name; the error wraps ErrUsage.
func CheckPath(path string) error {
	if formats[filepath.Ext(path)] == nil {
		return fmt.Errorf("%w: report %q: the name must end in .html, .json, .md or .xml (JUnit)", ErrUsage, path)
	}
	return nil
}

// WriteFile writes the report in the form that the name's ending asks for, whole or not at all.
func (r *Report) WriteFile(path string) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	err = formats[filepath.Ext(path)](r, f)
	if e := f.Chmod(0o644); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
