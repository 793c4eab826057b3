package verify

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/metric"
)

// A section is a part of the report for people: sentences and a table. Renderers know sections only.
type section struct {
	title  string
	notes  []string
	header []string
	rows   [][]cell
}

type cell struct {
	text string
	tone tone
}

// A tone colours a cell.
type tone int

const (
	plain tone = iota
	good
	bad
	right // a number, flush right
	code  // to be pasted: never cut
)

// sections are the report as people read it.
func (r *Report) sections() []section {
	all := []section{r.summary()}
	if r.NotVerified != "" {
		return all
	}
	all = append(all, r.gateTable(), r.outputTable())
	if len(r.Layers) > 0 {
		all = append(all, r.layerTable(), r.culpritTable())
	}
	return all
}

func (r *Report) summary() section {
	s := section{title: "Verification"}
	if r.NotVerified != "" {
		s.notes = append(s.notes, "Not verified: "+r.NotVerified)
	} else {
		s.notes = append(s.notes, fmt.Sprintf("%s, %s; the quantized model ran in %s semantics, the float model literally.",
			plural(r.Data.Samples, "sample"), sourceText(data.Source(r.Data.Source)), r.Semantics))
	}
	if r.Target != "" {
		s.notes = append(s.notes, "The quantized model is made for "+r.Target+".")
	}
	for _, m := range []struct {
		what string
		file File
	}{{"float", r.Models.Float}, {"quantized", r.Models.Quantized}} {
		if m.file == (File{}) {
			continue
		}
		size := bytesText(m.file.Bytes)
		if f := r.Models.Float.Bytes; m.file == r.Models.Quantized && f > 0 {
			size += fmt.Sprintf(", %.1f %% of float", 100*float64(m.file.Bytes)/float64(f))
		}
		s.rows = append(s.rows, []cell{{text: m.what}, {text: m.file.Path}, {text: size}, opsetCell(m.file.Opset), {text: "sha256 " + m.file.SHA256[:min(12, len(m.file.SHA256))]}})
	}
	if len(s.rows) > 0 {
		s.header = []string{"model", "file", "size", "opset", "hash"}
	}
	return s
}

func opsetCell(opset int64) cell {
	if opset == 0 {
		return cell{"–", right}
	}
	return cell{strconv.FormatInt(opset, 10), right}
}

// sourceText explains a data source.
func sourceText(s data.Source) string {
	switch s {
	case data.Given:
		return "given for verification"
	case data.HeldBack:
		return "held back from calibration"
	case data.Seen:
		return "seen: used for calibration too"
	case data.Synthetic:
		return "synthetic: probes, no real data"
	}
	return string(s)
}

func (r *Report) outputTable() section {
	s := section{title: "Outputs", header: []string{"output", "SQNR dB", "cosine", "max abs", "mean abs", "top-1 %", "KL nat"}}
	labelled := slices.ContainsFunc(r.Outputs.Each, func(o OutputError) bool { return o.Result != nil && o.Labels != nil })
	if labelled {
		s.header = append(s.header, "labels", "accuracy %", "float %", "loss nat", "float nat")
	}
	figures := func(f metric.Result) []cell {
		if labelled {
			return append(figures(f), labelFigures(f.Labels)...)
		}
		return figures(f)
	}
	for _, o := range r.Outputs.Each {
		if o.Result == nil {
			s.notes = append(s.notes, fmt.Sprintf("Output %q is not compared: %s.", o.Name, o.NotMeasured))
			continue
		}
		s.rows = append(s.rows, append([]cell{{text: o.Name}}, figures(*o.Result)...))
		if o.NonFinite > 0 {
			s.notes = append(s.notes, fmt.Sprintf("Output %q has values that are NaN or infinite: %d of %d.", o.Name, o.NonFinite, o.Values))
		}
	}
	if p := r.Outputs.Pooled; p != nil && len(s.rows) > 1 {
		s.rows = append(s.rows, append([]cell{{text: "all float outputs"}}, figures(*p)...))
	}
	return s
}

func figures(f metric.Result) []cell {
	c := []cell{number(dB, &f.SQNR), number(cosine, &f.Cosine), number(short, &f.MaxAbs), number(short, &f.MeanAbs)}
	return append(c, number(percent, f.Top1), number(short, f.KL))
}

func labelFigures(l *metric.Labels) []cell {
	if l == nil {
		return slices.Repeat([]cell{number(short, nil)}, 5)
	}
	return []cell{
		{strconv.FormatUint(l.Rows, 10), right},
		number(percent, &l.Accuracy), number(percent, &l.FloatAccuracy),
		number(short, &l.CrossEntropy), number(short, &l.FloatCrossEntropy),
	}
}

func (r *Report) layerTable() section {
	worst := r.worst()
	s := section{
		title:  "Worst layers",
		header: layerHeader,
		notes:  []string{fmt.Sprintf("%d of %s, by the error accumulated up to them; own is the error of the layer alone, fed with float inputs.", len(worst), plural(len(r.Layers), "layer"))},
	}
	for _, l := range worst {
		s.rows = append(s.rows, l.cells())
	}
	unmeasured, alone := 0, 0
	for _, l := range r.Layers {
		if l.Accumulated == nil {
			unmeasured++
		} else if l.Own == nil {
			alone++
		}
	}
	for _, n := range []struct {
		count int
		text  string
	}{{unmeasured, "could not be compared"}, {alone, "could not be run alone"}} {
		if n.count > 0 {
			s.notes = append(s.notes, fmt.Sprintf("%s %s; the JSON report says why.", plural(n.count, "layer"), n.text))
		}
	}
	return s
}

var layerHeader = []string{"layer", "op", "scheme", "SQNR dB", "cosine", "max abs", "own SQNR dB", "clipped %", "semantics"}

// cells are the layer's row under layerHeader.
func (l *LayerError) cells() []cell {
	var sqnr, cos, maxAbs, own *metric.Number
	semantics := ""
	if a := l.Accumulated; a != nil {
		sqnr, cos, maxAbs, semantics = &a.SQNR, &a.Cosine, &a.MaxAbs, a.Semantics
	}
	if l.Own != nil {
		own = &l.Own.SQNR
		if l.Own.Semantics != semantics {
			semantics += ", own " + l.Own.Semantics
		}
	}
	return []cell{
		{text: l.Key},
		{text: l.Op},
		{text: l.Scheme},
		number(dB, sqnr), number(cosine, cos), number(short, maxAbs),
		number(dB, own), number(percent, l.Clipped),
		{text: semantics},
	}
}

func (r *Report) culpritTable() section {
	s := section{title: "Culprits", header: []string{"layer", "op", "noise %", "own SQNR dB", "to keep it in float"}}
	if len(r.Culprits) == 0 {
		s.header, s.notes = nil, []string{"No layer is known to do damage of its own."}
	}
	for _, c := range r.Culprits {
		s.rows = append(s.rows, []cell{{text: c.Key}, {text: c.Op}, number(percent, &c.Share), number(dB, &c.SQNR), {c.Mend, code}})
	}
	return s
}

func (r *Report) gateTable() section {
	s := section{title: "Gates", header: []string{"", "fail if", "value", "where"}}
	if len(r.Gates) == 0 {
		s.header, s.notes = nil, []string{"No gates were asked for."}
	}
	for _, g := range r.Gates {
		verdict := cell{"FAIL", bad}
		if g.Pass {
			verdict = cell{"pass", good}
		}
		s.rows = append(s.rows, []cell{verdict, {text: g.Expr}, number(exact, &g.Value), {text: g.Where}})
	}
	return s
}

// number is a figure's cell; a dash where there is none.
func number(format func(float64) string, n *metric.Number) cell {
	if n == nil {
		return cell{"–", right}
	}
	return cell{numberText(format, float64(*n)), right}
}

func numberText(format func(float64) string, v float64) string {
	switch {
	case v != v:
		return "NaN"
	case math.IsInf(v, 0):
		return fmt.Sprintf("%+v", v)
	}
	return format(v)
}

func dB(v float64) string      { return strconv.FormatFloat(v, 'f', 1, 64) }
func cosine(v float64) string  { return strconv.FormatFloat(v, 'f', 6, 64) }
func short(v float64) string   { return strconv.FormatFloat(v, 'g', 3, 64) }
func exact(v float64) string   { return strconv.FormatFloat(v, 'g', 6, 64) }
func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 2, 64) }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func bytesText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.2f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}
