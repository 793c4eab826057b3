package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/internal/termtext"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/search"
	"github.com/zqonnx/zqonnx/verify"
)

// schemeText says in the summary how many nodes a scheme has, in this order.
var schemeText = []struct {
	scheme plan.Scheme
	text   string
}{
	{plan.Static, "static"},
	{plan.Fused, "fused into them"},
	{plan.Token, "token-wise"},
	{plan.Dynamic, "dynamic"},
	{plan.WeightOnly, "weights only"},
	{plan.Float, "float"},
}

// sourceText says where the samples of a verification are from.
var sourceText = map[data.Source]string{
	data.Given:     "given",
	data.HeldBack:  "held back from calibration",
	data.Seen:      "used for calibration too",
	data.Synthetic: "synthetic: no real data",
}

const mostWorst, mostGuarded = 3, 4

// summarize tells what was done, in one screen.
func (j *quantizeJob) summarize() {
	w, width := j.env.stderr, cmp.Or(terminalWidth(j.env.stderr), defaultWidth)
	if j.verbose {
		_ = writePlanTable(w, width, j.result.Plan)
		fmt.Fprintln(w)
	}
	written := j.file.Path
	if j.noWriteOnFail && j.report != nil && !j.report.Pass() {
		written += " (not written)"
	}
	fmt.Fprintln(w, termtext.Printable(fmt.Sprintf("%s → %s, %s", j.in.file.Path, written, seconds(time.Since(j.begin)))))
	rows := [][]string{{"size", sizeText(j.in.file.Bytes, j.file.Bytes)}, {"nodes", schemeCounts(j.result.Plan)}}
	add := func(label string, lines ...string) {
		for _, l := range lines {
			rows = append(rows, []string{label, l})
			label = ""
		}
	}
	if j.verbose {
		add("done", j.result.Log...)
	}
	if found := j.result.Found; found != nil {
		add("search", searchLines(found)...)
	}
	add("kept", kept(j.result.Plan)...)
	add("left", guarded(j.result.Plan)...)
	add("next", unused(j.result.Plan)...)
	if j.report == nil {
		add("outputs", "not compared: --no-verify")
	} else {
		add("outputs", outputLines(j.report)...)
	}
	t := termtext.Table{Width: width, Indent: "  ", Wrapped: true}
	_ = t.Write(w, rows)
	if j.report != nil {
		t.Elided, t.Right = 1, "  rr"
		_ = t.Write(w, worstRows(j.report))
		colors := j.env.colors(w)
		t.Elided, t.Right, t.Escape = 0, "", func(_, _ int, cell string) string { return colors[cell] }
		_ = t.Write(w, gateRows(j.report))
	}
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func sizeText(before, after int64) string {
	s := byteText(before) + " → " + byteText(after)
	if before > 0 {
		s += fmt.Sprintf(", %.1f %%", 100*float64(after)/float64(before))
	}
	return s
}

func byteText(n int64) string {
	for _, u := range []struct {
		least  float64
		format string
	}{{1e9, "%.2f GB"}, {1e6, "%.2f MB"}, {1e3, "%.1f kB"}} {
		if float64(n) >= u.least {
			return fmt.Sprintf(u.format, float64(n)/u.least)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// searchLines tell what was looked for, and what was found.
func searchLines(found *search.Result) []string {
	bits := map[string]int{}
	for _, n := range found.Plan.Nodes {
		if n.Weights != nil {
			bits[n.Weights.Type]++
		}
	}
	var types []string
	for _, f := range quantize.Formats {
		if bits[f.Name] > 0 {
			types = append(types, fmt.Sprintf("%d %s", bits[f.Name], f.Name))
		}
	}
	line := fmt.Sprintf("%s %s", found.Log.Metric, numberText(found.Value))
	if found.Drop == found.Drop {
		line += fmt.Sprintf(", dropped %s", numberText(found.Drop))
	}
	var sets []string
	for _, d := range found.Log.Data {
		sets = append(sets, samplesText(d.Samples, data.Source(d.Source)))
	}
	switch len(sets) {
	case 0:
	case 1:
		line += ", on " + sets[0]
	default:
		line += ", the worse of " + joined(sets)
	}
	lines := []string{line, fmt.Sprintf("the best of %d models measured; weights: %s", len(found.Log.Points), joined(types))}
	if found.Unmet != "" {
		lines = append(lines, found.Unmet)
	}
	return lines
}

func schemeCounts(p *plan.Plan) string {
	counts := map[plan.Scheme]int{}
	for _, n := range p.Nodes {
		counts[n.Scheme]++
	}
	var words []string
	for _, s := range schemeText {
		if n := counts[s.scheme]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, s.text))
		}
	}
	return joined(words)
}

// kept says what the model came with.
func kept(p *plan.Plan) []string {
	kept, completed := p.Kept()
	if kept == 0 {
		return nil
	}
	text := fmt.Sprintf("already quantized: %d nodes, kept", kept)
	if completed > 0 {
		text += fmt.Sprintf(", %d of them completed", completed)
	}
	return []string{text + "; all is compared with the model as it came"}
}

// guarded lists what was measured or found to bear no quantization.
func guarded(p *plan.Plan) []string {
	var lines []string
	for _, n := range p.Nodes {
		if n.Reason.ID == "guard" || n.Reason.ID == "heterogeneous-concat" {
			lines = append(lines, fmt.Sprintf("%s (%s): %s", n.Key, n.Scheme, n.Why()))
		}
	}
	if more := len(lines) - mostGuarded; more > 0 {
		lines = append(lines[:mostGuarded], fmt.Sprintf("and %d more: -v lists them", more))
	}
	return lines
}

// unused tells what the user could have for calibration data.
func unused(p *plan.Plan) []string {
	n := 0
	for _, d := range p.Nodes {
		if d.Reason.ID == "stored-no-data" {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("with --calib DATA, %d Conv could run in integers", n)}
}

func outputLines(r *verify.Report) []string {
	if r.NotVerified != "" {
		return []string{"not verified: " + r.NotVerified}
	}
	var figures []string
	if p := r.Outputs.Pooled; p != nil {
		figures = append(figures, "SQNR "+numberText(float64(p.SQNR))+" dB", "cosine "+strconv.FormatFloat(float64(p.Cosine), 'f', 6, 64))
	}
	for _, o := range r.Outputs.Each {
		if o.Result != nil && o.Top1 != nil {
			figures = append(figures, fmt.Sprintf("top-1 agreement %s %%", numberText(100*float64(*o.Top1))))
			break
		}
	}
	if l := r.Outputs.Result().Labels; l != nil {
		figures = append(figures, fmt.Sprintf("accuracy %s %% (float %s %%)", numberText(100*float64(l.Accuracy)), numberText(100*float64(l.FloatAccuracy))))
	}
	if len(figures) == 0 {
		figures = []string{"no output holds floats"}
	}
	return []string{strings.Join(figures, ", "), samplesText(r.Data.Samples, data.Source(r.Data.Source)) + ", " + r.Semantics + " semantics"}
}

// samplesText says how many samples there are and where they are from.
func samplesText(n int, from data.Source) string {
	if n == 1 {
		return fmt.Sprintf("1 sample (%s)", sourceText[from])
	}
	return fmt.Sprintf("%d samples (%s)", n, sourceText[from])
}

// worstRows lists the layers with the largest accumulated error, if any has one.
func worstRows(r *verify.Report) [][]string {
	layers := slices.DeleteFunc(slices.Clone(r.Layers), func(l verify.LayerError) bool { return l.Accumulated == nil })
	slices.SortStableFunc(layers, func(a, b verify.LayerError) int {
		return cmp.Compare(a.Accumulated.SQNR, b.Accumulated.SQNR) // NaN first
	})
	var rows [][]string
	label := "worst"
	for _, l := range layers[:min(mostWorst, len(layers))] {
		own := ""
		if l.Own != nil {
			own = "alone " + numberText(float64(l.Own.SQNR)) + " dB"
		}
		rows = append(rows, []string{fmt.Sprintf("%-7s", label), l.Key, numberText(float64(l.Accumulated.SQNR)) + " dB", own})
		label = ""
	}
	return rows
}

func gateRows(r *verify.Report) [][]string {
	var rows [][]string
	label := "gates"
	for _, g := range r.Gates {
		verdict := "FAIL"
		if g.Pass {
			verdict = "pass"
		}
		rows = append(rows, []string{fmt.Sprintf("%-7s", label), verdict, fmt.Sprintf("%s: %s at %s", g.Expr, numberText(float64(g.Value)), g.Where)})
		label = ""
	}
	return rows
}

func numberText(v float64) string {
	switch {
	case v != v:
		return "NaN"
	case math.IsInf(v, 0):
		return fmt.Sprintf("%+v", v)
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// writePlanTable writes a line for every node: its key, operator, scheme and why.
func writePlanTable(w io.Writer, width int, p *plan.Plan) error {
	rows := [][]string{{"NODE", "OPERATOR", "SCHEME", "WHY"}}
	for _, e := range p.Equalised {
		rows = append(rows, []string{e.Tensor, "", "equalised", e.Reason.Text})
	}
	for _, n := range p.Nodes {
		rows = append(rows, []string{n.Key, n.Op, string(n.Scheme), n.Why()})
	}
	return termtext.Table{Width: width, Wrapped: true}.Write(w, rows)
}
