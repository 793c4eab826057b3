package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/carrier"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
	"github.com/zqonnx/zqonnx/verify"
)

const quantizeHelp = `
Data
      --calib PATH         calibration data: a folder of samples, or one sample
      --calib-limit N      take N of them, evenly spaced
      --data PATH          data to verify on; else some are held back of --calib
      --dim NAME=N         size of a symbolic dimension (repeatable)
      --state OUT=IN       feed an output back as an input (repeatable)
      --value IN=V         a constant for an input the data lack (repeatable)
      --seed N             of the synthetic samples used where there are no data
      --labels NAME        array of the data that holds the true classes
Choice
      --activations MODE   auto, token, dynamic, static or float [auto]
      --weights TYPE       int8, int4, uint4, kmeans4, int3, int2 ... [int8]
                           zqonnx help precision has more
      --equalize HOW       auto, none, smooth, awq or cle [auto]
      --range METHOD       minmax, moving-average, percentile, entropy, mse,
                           octav, sigma or auto [minmax]
      --percentile P       kept by --range percentile, in percent [99.99]
      --sigma-k K          of --range sigma: mean ± K standard deviations
      --include GLOB       only nodes of this key or output (repeatable)
      --exclude GLOB       not nodes of this key or output (repeatable)
      --exclude-op TYPE    not nodes of this operator (repeatable)
      --target NAME        ort-x64 [ort-x64]
      --opset N            raise the model at least to this opset
      --emit FORM          onnx, or onnx-go: a carrier for that library [onnx]
      --plan FILE          carry out this plan instead of making one
      --write-plan FILE    save the plan
      --dry-run            print the plan, a line a node, and write no model
Proof
      --fail-if EXPR       gate, e.g. 'sqnr < 20 @layers' (repeatable; exit 5)
      --report FILE        .html, .json, .md or .xml for JUnit (repeatable)
      --semantics KIND     fused as a runtime does, or literal [fused]
      --no-verify          do not compare with the float model
      --no-write-on-fail   write no model when a gate fails
Other
      --threads N          [one a core]; results do not depend on it
      --force              OUT may be the file IN
      --no-color           NO_COLOR does the same
  -q, --quiet              say nothing but errors
  -v, --verbose            say what becomes of every node
`

const precisionHelp = `
More flags of the main job: weights of fewer bits, and a search for the mix of
int8, 6, 4, 3 and 2 bits that loses least for each byte it saves.

Weights
      --block N            weights of a channel that share a scale [all]
      --storage HOW        below 8 bits: auto, folded, native or qdq [auto]
      --accuracy-level N   of MatMulNBits: 1 float32, 4 int8 [1]
      --rounding HOW       rtn, squant, diffusion, hqq, gptq, adaround [best]
      --compensate HOW     bias; lorc or lqer: low-rank terms beside it; or none
                           (repeatable) [bias]
      --rank N             of the terms of lorc and lqer, at most [8]
      --preset NAME        zq-w8a8, zq-w4a8, zq-w4/8a8, hero-m1, -m2 or -m3
      --override G=WISH    nodes that glob G matches: float, or a list such as
                           weights:int4,block:32,storage:qdq,activations:token
                           (repeatable, the last counts)
      --overrides FILE     ONNX Runtime's TensorQuantOverrides, as JSON
Search
      --max-drop X         the smallest model that loses at most X by the metric
      --target-size SIZE   the best model of at most 300000, 1.5MB, 40% of float
      --metric NAME        distance, cosine, kl, top1, accuracy, cross-entropy;
                           sqnr, max_abs, mean_abs for --target-size alone
                           [accuracy with --labels, else distance]
      --metric-cmd CMD     a command that prints a number, greater is better:
                           './score.sh {model}'
      --metric-timeout T   of one run of it [10m]
      --work DIR           keep measurements there; an interrupted search goes
                           on where it was

Exit code 5 when no model reaches the goals; the best one found is written.
--write-plan has the plan, --report all that was measured.
`

// A quantizeJob is the main job: its flags, and how it stands.
type quantizeJob struct {
	options   zqonnx.Options
	target    string
	emit      string // one of emitForms
	semantics engine.Semantics
	judgement
	planFile, writePlan, preset, overrides                 string
	search                                                 searchFlags
	dryRun, noVerify, noWriteOnFail, quiet, verbose, force bool

	env    *env
	begin  time.Time
	in     *input
	out    string
	file   verify.File // what was written
	result *zqonnx.Result
	report *verify.Report // nil with --no-verify
}

// emitForms are the forms in which the model is written: as it is, or in a carrier that onnx-go can load.
const (
	emitONNX   = "onnx"
	emitONNXGo = "onnx-go"
)

var emitForms = []string{emitONNX, emitONNXGo}

// quantizeRules are the combinations in which a flag would do nothing.
var quantizeRules = []rule{
	{flag: "calib-limit", needs: "calib", why: "there is nothing to limit"},
	{flag: "labels", needs: "calib|data", why: "they are an array of the data"},
	{flag: "percentile", needs: "range=percentile", why: "no other method uses it"},
	{flag: "sigma-k", needs: "range=sigma", why: "no other method uses it"},
	{flag: "no-write-on-fail", needs: "fail-if", why: "only a gate can fail"},
	{flag: "max-drop", why: "the search chooses how weights are stored", without: []string{"weights", "block", "storage", "accuracy-level"}},
	{flag: "target-size", why: "the search chooses how weights are stored", without: []string{"weights", "block", "storage", "accuracy-level"}},
	{flag: "preset", why: "it says how weights and activations are quantized", without: []string{
		"weights", "block", "storage", "accuracy-level", "activations", "max-drop", "target-size",
	}},
	{flag: "metric", needs: "max-drop|target-size", why: "nothing else is judged by it"},
	{flag: "metric-cmd", needs: "max-drop|target-size", why: "nothing else is judged by it"},
	{flag: "metric", why: "a model is judged by one figure", without: []string{"metric-cmd"}},
	{flag: "metric-timeout", needs: "metric-cmd", why: "it is the command's"},
	{flag: "work", needs: "max-drop|target-size", why: "it keeps what a search measures"},
	{flag: "plan", why: "a plan holds all decisions", without: []string{
		"max-drop", "target-size", "preset", "override", "overrides",
		"calib", "activations", "weights", "block", "storage", "accuracy-level", "rounding", "equalize", "compensate", "rank", "range", "include", "exclude", "exclude-op", "target", "write-plan",
	}},
	{flag: "dry-run", why: "it makes no model to verify", without: []string{
		"data", "labels", "fail-if", "report", "semantics", "no-verify", "force", "emit", "quiet",
	}},
	{flag: "no-verify", why: "they are about the verification", without: []string{"data", "labels", "fail-if", "report", "semantics"}},
	{flag: "quiet", why: "they contradict each other", without: []string{"verbose"}},
}

func quantizeCommand(f *pflag.FlagSet) action {
	j := &quantizeJob{target: target.Targets[0].Name, emit: emitONNX}
	o := &j.options
	f.StringVar(&o.Calib, "calib", "", "")
	positive(f, "calib-limit", &o.Feeding.Limit)
	f.StringVar(&o.Data, "data", "", "")
	feedingFlags(f, &o.Feeding)

	choice(f, &o.Activations, "activations", modeNames)
	choice(f, &o.Weights.Type, "weights", formatNames)
	positive(f, "block", &o.Weights.Block)
	choice(f, &o.Weights.Storage, "storage", storageNames)
	positive(f, "accuracy-level", &o.Weights.AccuracyLevel)
	choice(f, &o.Rounding, "rounding", names(quantize.Roundings, func(r quantize.Rounding) string { return r.Name }))
	choice(f, &o.Equalize, "equalize", names(plan.Equalizes, func(e plan.Equalize) string { return string(e) }))
	choices(f, &o.Compensate, "compensate", plan.Compensations)
	positive(f, "rank", &o.Rank)
	choice(f, &o.Range.Method, "range", names(quantize.Methods, func(m quantize.Method) string { return m.Name }))
	aboveZero(f, "percentile", &o.Range.Percentile)
	aboveZero(f, "sigma-k", &o.Range.SigmaK)
	f.StringArrayVar(&o.Include, "include", nil, "")
	f.StringArrayVar(&o.Exclude, "exclude", nil, "")
	f.StringArrayVar(&o.ExcludeOps, "exclude-op", nil, "")
	choice(f, &j.target, "target", names(target.Targets, func(t *target.Target) string { return t.Name }))
	f.Int64Var(&o.Opset, "opset", 0, "")
	choice(f, &j.emit, "emit", emitForms)
	j.search.define(f)
	f.StringVar(&j.overrides, "overrides", "", "")
	choice(f, &j.preset, "preset", names(plan.Presets, func(p plan.Preset) string { return p.Name }))
	define(f, "override", func(v string) error {
		w, err := parseOverride(v)
		o.Overrides = append(o.Overrides, w)
		return err
	})
	f.StringVar(&j.planFile, "plan", "", "")
	f.StringVar(&j.writePlan, "write-plan", "", "")
	f.BoolVar(&j.dryRun, "dry-run", false, "")

	judgementFlags(f, &j.judgement)
	runFlags(f, &j.semantics, &o.Threads)
	f.BoolVar(&j.noVerify, "no-verify", false, "")
	f.BoolVar(&j.noWriteOnFail, "no-write-on-fail", false, "")

	f.BoolVar(&j.force, "force", false, "")
	f.Bool("no-color", false, "")
	f.BoolVarP(&j.quiet, "quiet", "q", false, "")
	f.BoolVarP(&j.verbose, "verbose", "v", false, "")
	return func(ctx context.Context, e *env, args []string) error {
		if err := checkRules(f, slices.Concat(quantizeRules, precisionRules)); err != nil {
			return err
		}
		j.env, j.begin = e, time.Now()
		return j.run(ctx, args)
	}
}

func names[T any](list []T, name func(T) string) []string {
	var s []string
	for _, x := range list {
		s = append(s, name(x))
	}
	return s
}

// run reads, quantizes, writes what it verified, and tells.
func (j *quantizeJob) run(ctx context.Context, args []string) error {
	if err := j.prepare(ctx, args); err != nil {
		return err
	}
	var err error
	j.result, err = zqonnx.Quantize(ctx, j.in.model, j.options)
	nothing := errors.Is(err, zqonnx.ErrNothing)
	if err != nil && !nothing {
		return j.in.named(err)
	}
	if j.dryRun {
		if err := writePlanTable(j.env.stdout, terminalWidth(j.env.stdout), j.result.Plan); err != nil {
			return as(errNotWritten, err)
		}
	}
	if nothing {
		return fmt.Errorf("%s: %w, nothing is written; zqonnx --dry-run says why of every node", j.in.file.Path, err)
	}
	if j.writePlan != "" {
		if err := writeFile(j.writePlan, j.result.Plan.Write); err != nil {
			return err
		}
	}
	if j.dryRun {
		return j.tell(nil)
	}
	err = j.deliver(ctx)
	if j.report == nil {
		return j.tell(err)
	}
	if e := j.judgement.write(j.report); e != nil && (err == nil || errors.Is(err, errGate)) {
		err = e
	}
	return j.tell(err)
}

// tell prints the summary, unless the job failed for another reason than a gate, and returns the final error.
func (j *quantizeJob) tell(err error) error {
	if err == nil && j.report != nil {
		err = failed(j.report)
	}
	if found := j.result.Found; err == nil && found != nil && found.Unmet != "" {
		err = as(errGate, errors.New(found.Unmet))
	}
	if err == nil || errors.Is(err, errGate) {
		j.env.progress.clear()
		if !j.quiet && !j.dryRun {
			j.summarize()
		}
	}
	return err
}

// prepare checks everything that can be known before the work.
func (j *quantizeJob) prepare(ctx context.Context, args []string) error {
	o := &j.options
	switch {
	case len(args) == 2 && j.dryRun:
		return usagef("--dry-run writes no model; leave %s out", args[1])
	case len(args) == 1 && !j.dryRun:
		return usagef("where to? zqonnx needs IN.onnx OUT.onnx; %q alone can be looked at with zqonnx inspect, or --dry-run", args[0])
	case len(args) == 2:
		j.out = args[1]
	}
	if err := j.checkRange(); err != nil {
		return err
	}
	if err := o.Range.Check(); err != nil {
		return as(errUsage, err)
	}
	if o.Opset < 0 || o.Opset > onnx.MaxOpset {
		return usagef("--opset %d: the newest known one is %d", o.Opset, onnx.MaxOpset)
	}
	var err error
	if o.Target, err = target.Find(j.target); err != nil {
		return as(errUsage, err)
	}
	if j.in, err = j.env.read(ctx, args[0]); err != nil {
		return err
	}
	o.SHA256, o.Progress = j.in.file.SHA256, j.env.progress.update
	if o.Search, err = j.search.options(j.in.file, j.semantics); err != nil {
		return err
	}
	if err := j.checkCompensation(); err != nil {
		return err
	}
	if err := j.checkOutputs(); err != nil {
		return err
	}
	if err := j.checkNames(); err != nil {
		return err
	}
	if j.overrides != "" {
		if err := j.readOverrides(); err != nil {
			return err
		}
	}
	for i := range plan.Presets {
		if plan.Presets[i].Name == j.preset {
			o.Preset = &plan.Presets[i]
		}
	}
	if j.planFile != "" {
		o.Plan, err = readPlan(j.planFile, j.in.file)
	}
	return err
}

// checkCompensation refuses compensations that would do nothing.
func (j *quantizeJob) checkCompensation() error {
	o := &j.options
	lowRank := ""
	for _, name := range o.Compensate {
		c, ok := quantize.CompensationNamed(name)
		switch {
		case name == plan.CompensateNone && len(o.Compensate) > 1:
			return usagef("--compensate %s excludes all others: leave it or them out", name)
		case ok && c.Solver && o.Calib == "":
			return usagef("--compensate %s needs --calib: it is made from what the layers see; --compensate lorc is not", name)
		case ok:
			lowRank = name
		}
	}
	if lowRank == "" && o.Rank > 0 {
		return usagef("--rank needs --compensate lorc or lqer: nothing else has a rank")
	}
	all := j.preset == "" && j.overrides == "" && len(o.Overrides) == 0 && o.Search == nil // have the weights of the flag
	if f, ok := quantize.FormatNamed(cmp.Or(o.Weights.Type, quantize.Formats[0].Name)); ok && all && lowRank != "" && f.Bits >= 8 {
		return usagef("--compensate %s and --weights %s exclude each other: a low-rank term is for weights of fewer than 8 bits, and takes no more bytes than those would", lowRank, f.Name)
	}
	return nil
}

// checkRange refuses methods that would do nothing: fixed ranges need data, and those of tokens are made by two of the methods. Where
// nodes have modes of their own, any method may be of use.
func (j *quantizeJob) checkRange() error {
	o := &j.options
	single := j.preset != "" || j.overrides != "" || len(o.Overrides) > 0
	switch method := o.Range.Method; {
	case method == "":
		o.Range.Method = quantize.Methods[0].Name
	case o.Activations == plan.ModeToken && !single && method != "minmax" && method != "sigma":
		return usagef("--range %s and --activations token exclude each other: a token's range is minmax or sigma", method)
	case (o.Activations == plan.ModeDynamic || o.Activations == plan.ModeFloat) && !single:
		return usagef("--range %s and --activations %s exclude each other: it makes no range", method, o.Activations)
	case o.Activations != plan.ModeToken && o.Calib == "":
		return usagef("--range needs --calib: no range is made without data")
	}
	return nil
}

// checkOutputs refuses what must not or cannot be written.
func (j *quantizeJob) checkOutputs() error {
	files := append(slices.Clone(j.reports), j.writePlan)
	if j.out == standardStream {
		if terminalWidth(j.env.stdout) > 0 {
			return usagef("the model would go to the terminal; redirect stdout or name a file")
		}
		if len(j.in.files) > 1 && j.emit == emitONNX {
			return usagef("%s has external data, which do not fit through stdout; name an output file", j.in.file.Path)
		}
	} else {
		files = append(files, j.out)
	}
	for _, name := range files {
		if name == "" {
			continue
		}
		if of := sameFile(name, j.in.files); of >= 0 && !(of == 0 && name == j.out && j.force) {
			hint := ""
			if of == 0 && name == j.out {
				hint = "; --force allows it"
			}
			return usagef("%s belongs to the model that is read, which is never overwritten%s", name, hint)
		}
		if err := checkFolder(name); err != nil {
			return err
		}
	}
	return nil
}

// sameFile returns which of the files name is; -1 when it is none.
func sameFile(name string, files []string) int {
	a, err := os.Stat(name)
	if err != nil {
		return -1
	}
	return slices.IndexFunc(files, func(f string) bool {
		b, err := os.Stat(f)
		return err == nil && os.SameFile(a, b)
	})
}

// checkNames refuses globs and operators that match nothing: a misspelt one would silently change the result.
func (j *quantizeJob) checkNames() error {
	keys := j.in.model.Graph.Keys()
	var ops []string
	for n := range keys {
		ops = append(ops, n.Op)
	}
	for _, op := range j.options.ExcludeOps {
		if !slices.Contains(ops, op) {
			slices.Sort(ops)
			return usagef("--exclude-op %s: the model has no such operator%s", op, didYouMean(op, ops, ""))
		}
	}
	var overridden []string
	for _, w := range j.options.Overrides {
		overridden = append(overridden, w.Glob)
		if w.Activations == plan.ModeStatic && j.options.Calib == "" {
			return usagef("--override %s=activations:static needs --calib: no range is made without data", w.Glob)
		}
	}
	for _, list := range []struct {
		flag  string
		globs []string
	}{{"include", j.options.Include}, {"exclude", j.options.Exclude}, {"override", overridden}} {
		if err := checkGlobs(list.flag, list.globs, keys); err != nil {
			return err
		}
	}
	return nil
}

// checkGlobs refuses globs that match no node.
func checkGlobs(flag string, globs []string, keys map[*onnx.Node]string) error {
	for _, g := range globs {
		if _, err := path.Match(g, ""); err != nil {
			return usagef("--%s %q: %w", flag, g, err)
		}
		if !matchesAny(g, keys) {
			return usagef("--%s %q matches no node and no node's output; * does not match a /; zqonnx --dry-run lists the keys", flag, g)
		}
	}
	return nil
}

func matchesAny(glob string, keys map[*onnx.Node]string) bool {
	matches := func(name string) bool {
		ok, _ := path.Match(glob, name)
		return ok || glob == name
	}
	for n, key := range keys {
		if matches(key) || slices.ContainsFunc(n.Outputs(), func(v *onnx.Value) bool { return v != nil && matches(v.Name()) }) {
			return true
		}
	}
	return false
}

// readPlan reads a plan made for the model.
func readPlan(name string, model verify.File) (*plan.Plan, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, missing(name, err)
	}
	p, err := plan.Read(b)
	if err != nil {
		return nil, usagef("%s: %w", name, err)
	}
	if p.SHA256 != model.SHA256 {
		line := 1 + bytes.Count(b[:max(0, bytes.Index(b, []byte(`"model_sha256"`)))], []byte("\n"))
		return nil, usagef("%s: line %d: the plan is for another model, of SHA-256 %.12s; %s has %.12s", name, line, p.SHA256, model.Path, model.SHA256)
	}
	return p, nil
}

// emitted returns the quantized model in the form in which it is written.
func (j *quantizeJob) emitted() (*onnx.Model, error) {
	if j.emit == emitONNX {
		return j.result.Model, nil
	}
	m, err := carrier.Pack(j.result.Model)
	if errors.Is(err, onnx.ErrBadModel) {
		return nil, j.in.named(err)
	}
	return m, as(errUsage, err)
}

// deliver writes the model, or sends it to stdout, once it was read back and verified.
func (j *quantizeJob) deliver(ctx context.Context) error {
	m, err := j.emitted()
	if err != nil {
		return err
	}
	if j.out == standardStream {
		return j.deliverStream(ctx, m)
	}
	var refused error
	err = m.WriteFile(ctx, j.out, onnx.WriteOptions{Overwrite: j.force, Accept: func(temporary string) error {
		refused = j.acceptFile(ctx, temporary)
		return refused
	}})
	if refused != nil {
		return refused
	}
	if errors.Is(err, onnx.ErrBadModel) { // the input, which is read meanwhile
		return j.in.named(err)
	}
	if err != nil {
		return as(errNotWritten, fmt.Errorf("%s cannot be written: %w", j.out, plainError(err)))
	}
	return nil
}

func (j *quantizeJob) acceptFile(ctx context.Context, name string) error {
	file, err := verify.Describe(name)
	if err != nil {
		return err
	}
	m, err := onnx.Read(name)
	if err != nil {
		return fmt.Errorf("the written model cannot be read back: %s", err)
	}
	defer m.Close()
	file.Path, file.Bytes = j.out, storedBytes(m)
	in, err := newInput(m, file)
	if err != nil {
		return fmt.Errorf("the written model cannot be read back: %s", err)
	}
	return j.accept(ctx, in.model, in.file)
}

func (j *quantizeJob) deliverStream(ctx context.Context, m *onnx.Model) error {
	b, err := m.Marshal()
	if err != nil {
		return as(errUsage, err) // more than 2 GB
	}
	out, err := readStream(ctx, "stdout", bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("the written model cannot be read back: %s", err)
	}
	if err := j.accept(ctx, out.model, out.file); err != nil {
		return err
	}
	if _, err := io.Copy(j.env.stdout, bytes.NewReader(b)); err != nil {
		return as(errNotWritten, fmt.Errorf("stdout: %w", plainError(err)))
	}
	return nil
}

// accept decides whether the model that was read back goes out. It sets the report.
func (j *quantizeJob) accept(ctx context.Context, m *onnx.Model, file verify.File) error {
	j.file = file
	if err := onnx.Check(m); err != nil {
		return fmt.Errorf("the quantized model is not valid: %s", err)
	}
	if j.noVerify {
		return j.smoke(ctx, m)
	}
	models := verify.Models{Float: j.in.file, Quantized: file}
	r, err := j.verify(ctx, m, models)
	if errors.Is(err, engine.ErrUnsupported) && len(j.gates) == 0 {
		r, err = verify.NotVerified(err.Error()), nil
		r.Tool, r.Models = "zqonnx "+zqonnx.Version, models
	}
	if err != nil {
		return err
	}
	describePlan(r, j.result.Plan)
	if found := j.result.Found; found != nil {
		r.Search = &found.Log
	}
	j.report = r
	if j.noWriteOnFail {
		return failed(r)
	}
	return nil
}

// verify compares the two models. The error wraps engine.ErrUnsupported when they cannot be run.
func (j *quantizeJob) verify(ctx context.Context, m *onnx.Model, models verify.Models) (*verify.Report, error) {
	if j.result.Check == nil {
		return nil, as(engine.ErrUnsupported, j.result.NotMeasured)
	}
	return verify.Run(ctx, j.in.model, m, j.result.Layers, j.result.Check, verify.Options{
		Semantics: j.semantics, Threads: j.options.Threads, Gates: j.gates, Tool: "zqonnx " + zqonnx.Version, Models: models,
		Histograms: len(j.reports) > 0,
		Progress:   func(done, of int) { j.env.progress.update("verifying", done, of) },
	})
}

// smoke runs the model on one sample, to see that it runs at all.
func (j *quantizeJob) smoke(ctx context.Context, m *onnx.Model) error {
	set := j.result.Check
	if set == nil {
		return nil
	}
	p, err := engine.Compile(m, engine.Options{Threads: j.options.Threads})
	if err == nil {
		for s := range set.Sequence(0) {
			var feeds map[string]*onnx.Tensor
			if feeds, err = s.Feeds(nil); err == nil {
				_, err = p.Run(ctx, feeds, nil)
			}
			break
		}
	}
	if errors.Is(err, engine.ErrUnsupported) {
		return nil
	}
	return err
}

// joined lists words for people: a, b and c.
func joined(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
