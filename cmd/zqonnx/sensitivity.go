package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/internal/termtext"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/search"
)

const sensitivityHelp = `
Each node is quantized alone: its weights, its activations, both; the rest of
the model is float. Nothing is taken back from what suffers.

      --calib PATH         samples: a folder of them or one; else synthetic
      --calib-limit N      take N of them, evenly spaced
      --dim NAME=N         size of a symbolic dimension (repeatable)
      --state OUT=IN       feed an output back as an input (repeatable)
      --value IN=V         a constant for an input the data lack (repeatable)
      --seed N             of the synthetic samples
      --labels NAME        array of the data that holds the true classes
      --metric NAME        sqnr, cosine, kl, top1, distance, accuracy,
                           cross-entropy, max_abs or mean_abs [sqnr]
      --activations MODE   auto, token, dynamic, static or float [auto]
      --weights TYPE       int8, int4, uint4, kmeans4, int3, int2 ... [int8]
      --block N            weights of a channel that share a scale [all]
      --exclude GLOB       not nodes of this key or output (repeatable)
  -o, --output FILE        .json, .csv or .md
      --threads N          [one a core]; results do not depend on it
  -q, --quiet              say nothing but errors
`

// sensitivityForms are the files that a ranking can be written to, by the ending of their names.
var sensitivityForms = map[string]func(io.Writer, *search.Sensitivity) error{
	".json": func(w io.Writer, s *search.Sensitivity) error { return writeJSON(w, s) },
	".csv":  writeSensitivityCSV,
	".md":   writeSensitivityMarkdown,
}

func sensitivityCommand(f *pflag.FlagSet) action {
	var o zqonnx.Options
	by := "sqnr"
	var output string
	f.StringVar(&o.Calib, "calib", "", "")
	positive(f, "calib-limit", &o.Feeding.Limit)
	feedingFlags(f, &o.Feeding)
	choice(f, &by, "metric", metricNames)
	choice(f, &o.Activations, "activations", modeNames)
	choice(f, &o.Weights.Type, "weights", formatNames)
	positive(f, "block", &o.Weights.Block)
	f.StringArrayVar(&o.Exclude, "exclude", nil, "")
	f.VarP(&setter{set: func(v string) error {
		if sensitivityForms[filepath.Ext(v)] == nil {
			return fmt.Errorf("%q must end in .json, .csv or .md", v)
		}
		output = v
		return nil
	}}, "output", "o", "")
	positive(f, "threads", &o.Threads)
	quiet := f.BoolP("quiet", "q", false, "")
	return func(ctx context.Context, e *env, args []string) error {
		if err := checkRules(f, slices.Concat(sensitivityRules, precisionRules)); err != nil {
			return err
		}
		if output != "" {
			if err := checkFolder(output); err != nil {
				return err
			}
		}
		in, err := e.read(ctx, args[0])
		if err != nil {
			return err
		}
		if err := checkGlobs("exclude", o.Exclude, in.model.Graph.Keys()); err != nil {
			return err
		}
		o.Progress = e.progress.update
		s, err := zqonnx.Sensitivity(ctx, in.model, metric.Named(by), o)
		if errors.Is(err, zqonnx.ErrNothing) {
			return fmt.Errorf("%s: %w; zqonnx --dry-run says why of every node", in.file.Path, err)
		}
		if err != nil {
			return in.named(err)
		}
		s.Model = in.file
		e.progress.clear()
		if output != "" {
			form := sensitivityForms[filepath.Ext(output)]
			if err := writeFile(output, func(w io.Writer) error { return form(w, s) }); err != nil {
				return err
			}
		}
		if *quiet {
			return nil
		}
		return as(errNotWritten, writeSensitivity(e.stdout, terminalWidth(e.stdout), s))
	}
}

// sensitivityRules are the combinations in which a flag would do nothing.
var sensitivityRules = []rule{
	{flag: "calib-limit", needs: "calib", why: "there is nothing to limit"},
	{flag: "labels", needs: "calib", why: "they are an array of the data"},
}

// sensitivityHeader names the columns of tables for people.
func sensitivityHeader(m *metric.Metric) []string {
	name := m.Name
	if m.Unit != "" {
		name += " " + m.Unit
	}
	return []string{"NODE", "OPERATOR", "SCHEME", "WEIGHTS", "MACS %", name + ": WEIGHTS", "ACTIVATIONS", "BOTH", "NOISE %"}
}

// sensitivityRows has a row for each node, the worst first, and one for all together.
func sensitivityRows(s *search.Sensitivity) [][]string {
	m := metric.Named(s.Metric)
	total := 0.0
	for _, n := range s.Nodes {
		total += n.MACs
	}
	value := func(r *metric.Result) string {
		if r == nil {
			return "–"
		}
		return numberText(m.Of(*r))
	}
	rows := [][]string{sensitivityHeader(m)}
	for _, n := range s.Nodes {
		format := cmp.Or(n.Type, "–")
		if n.Block > 0 {
			format += "/" + strconv.Itoa(n.Block)
		}
		rows = append(rows, []string{
			n.Key, n.Op, n.Scheme, format, percentText(n.MACs / max(total, 1)),
			value(n.Weights), value(n.Activations), value(n.Both), percentText(float64(n.Share)),
		})
	}
	return append(rows, []string{"all together", "", "", "", "", "", "", value(&s.Together), ""})
}

func percentText(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) }

func writeSensitivity(w io.Writer, width int, s *search.Sensitivity) error {
	if _, err := fmt.Fprintln(w, termtext.Printable(fmt.Sprintf("%s: each node alone, the worst first; on %s", s.Model.Path, samplesText(s.Data.Samples, data.Source(s.Data.Source))))); err != nil {
		return err
	}
	return termtext.Table{Width: width, Indent: "  ", Right: "    rrrrr"}.Write(w, sensitivityRows(s))
}

// writeSensitivityCSV writes a line a node: what each of its quantizations does to every figure.
func writeSensitivityCSV(w io.Writer, s *search.Sensitivity) error {
	c := csv.NewWriter(w)
	header := []string{"node", "operator", "scheme", "weights", "block", "weight_bytes", "macs", "noise_share"}
	for _, what := range []string{"weights", "activations", "both"} {
		for _, m := range metric.Metrics {
			header = append(header, what+"_"+m.Name)
		}
	}
	if err := c.Write(header); err != nil {
		return err
	}
	exact := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	for _, n := range s.Nodes {
		line := []string{n.Key, n.Op, n.Scheme, n.Type, strconv.Itoa(n.Block), strconv.FormatInt(n.Bytes, 10), exact(n.MACs), exact(float64(n.Share))}
		for _, r := range []*metric.Result{n.Weights, n.Activations, n.Both} {
			for _, m := range metric.Metrics {
				if r == nil || !m.In(*r) {
					line = append(line, "")
				} else {
					line = append(line, exact(m.Of(*r)))
				}
			}
		}
		if err := c.Write(line); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

func writeSensitivityMarkdown(w io.Writer, s *search.Sensitivity) error {
	var b strings.Builder
	for i, row := range sensitivityRows(s) {
		for _, cell := range row {
			b.WriteString("| " + strings.ReplaceAll(termtext.Printable(cell), "|", `\|`) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString("|---|---|---|---|---:|---:|---:|---:|---:|\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
