package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/verify"
)

// A setter is a flag that a function reads, each time it is given.
type setter struct {
	set  func(string) error
	last string
}

func (s *setter) String() string { return s.last }
func (s *setter) Type() string   { return "value" }
func (s *setter) Set(v string) error {
	s.last = v
	return s.set(v)
}

// define adds a flag that set reads.
func define(f *pflag.FlagSet, name string, set func(string) error) {
	f.Var(&setter{set: set}, name, "")
}

// choice is a flag that takes one of some names.
func choice[T ~string](f *pflag.FlagSet, at *T, name string, of []string) {
	define(f, name, func(v string) error {
		if err := oneOf(v, of); err != nil {
			return err
		}
		*at = T(v)
		return nil
	})
}

func oneOf(v string, of []string) error {
	if slices.Contains(of, v) {
		return nil
	}
	return fmt.Errorf("there is no %q%s; it is one of %s", v, didYouMean(v, of, ""), strings.Join(of, ", "))
}

// What flags and overrides choose from.
var (
	formatNames  = names(quantize.Formats, func(f quantize.Format) string { return f.Name })
	storageNames = names(plan.Storages, func(s plan.Storage) string { return string(s) })
	modeNames    = names(plan.Modes, func(m plan.Mode) string { return string(m) })
	metricNames  = names(metric.Metrics, func(m metric.Metric) string { return m.Name })
)

// choices is a repeatable flag that takes some of some names.
func choices(f *pflag.FlagSet, at *[]string, name string, of []string) {
	var one string
	choice(f, &one, name, of)
	set := f.Lookup(name).Value.(*setter)
	check := set.set
	set.set = func(v string) error {
		if err := check(v); err != nil {
			return err
		}
		*at = append(*at, one)
		return nil
	}
}

// pairs is a repeatable flag KEY=VALUE.
func pairs(f *pflag.FlagSet, name, form string, put func(key, value string) error) {
	seen := map[string]bool{}
	define(f, name, func(v string) error {
		key, value, ok := strings.Cut(v, "=")
		if !ok || key == "" || value == "" {
			return fmt.Errorf("%q is not of the form %s", v, form)
		}
		if seen[key] {
			return fmt.Errorf("%q is one time too many: %s is given already", v, key)
		}
		seen[key] = true
		return put(key, value)
	})
}

// positive is a flag that takes a number from 1 on.
func positive(f *pflag.FlagSet, name string, at *int) {
	define(f, name, func(v string) (err error) { *at, err = fromOne(v); return err })
}

func fromOne(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no number from 1 on", v)
	}
	return n, nil
}

// aboveZero is a flag that takes a number above 0.
func aboveZero(f *pflag.FlagSet, name string, at *float64) {
	define(f, name, func(v string) error {
		x, err := strconv.ParseFloat(v, 64)
		if err != nil || !(x > 0) {
			return fmt.Errorf("%q is no number above 0", v)
		}
		*at = x
		return nil
	})
}

// feedingFlags are about how a model's inputs are given.
func feedingFlags(f *pflag.FlagSet, o *data.Options) {
	o.Dims, o.State, o.Values = map[string]int64{}, map[string]string{}, map[string]string{}
	pairs(f, "dim", "NAME=N", func(key, value string) error {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no size", value)
		}
		o.Dims[key] = n
		return nil
	})
	pairs(f, "state", "OUT=IN", func(key, value string) error { o.State[key] = value; return nil })
	pairs(f, "value", "IN=V", func(key, value string) error { o.Values[key] = value; return nil })
	f.Uint64Var(&o.Seed, "seed", 0, "")
	f.StringVar(&o.Labels, "labels", "", "")
}

// runFlags are about how the engine runs.
func runFlags(f *pflag.FlagSet, s *engine.Semantics, threads *int) {
	*s = engine.Fused
	names := map[string]engine.Semantics{engine.Fused.String(): engine.Fused, engine.Literal.String(): engine.Literal}
	of := slices.Sorted(maps.Keys(names))
	define(f, "semantics", func(v string) error {
		var ok bool
		if *s, ok = names[v]; !ok {
			return fmt.Errorf("there are no %q semantics%s; they are %s", v, didYouMean(v, of, ""), strings.Join(of, " or "))
		}
		return nil
	})
	positive(f, "threads", threads)
}

// judgement is what a verification is held against and where it is reported.
type judgement struct {
	gates   []verify.Gate
	reports []string
}

func judgementFlags(f *pflag.FlagSet, j *judgement) {
	define(f, "fail-if", func(v string) error {
		g, err := verify.ParseGate(v)
		j.gates = append(j.gates, g)
		return err
	})
	define(f, "report", func(v string) error {
		j.reports = append(j.reports, v)
		return verify.CheckPath(v)
	})
}

// write writes the report files.
func (j *judgement) write(r *verify.Report) error {
	for _, path := range j.reports {
		if err := r.WriteFile(path); err != nil {
			return as(errNotWritten, fmt.Errorf("report %s: %w", path, plainError(err)))
		}
	}
	return nil
}

// failed returns the error for gates that failed.
func failed(r *verify.Report) error {
	var list []string
	for _, g := range r.Gates {
		if !g.Pass {
			list = append(list, fmt.Sprintf("%s (it is %s at %s)", g.Expr, numberText(float64(g.Value)), g.Where))
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return as(errGate, errors.New("gate failed: "+list[0]))
	}
	return as(errGate, fmt.Errorf("%d gates failed: %s", len(list), strings.Join(list, "; ")))
}

// A rule forbids combinations of flags in which one would do nothing. A flag with a certain value is FLAG=VALUE.
type rule struct {
	flag    string
	needs   string   // another, or one of FLAG|FLAG
	without []string // what must not be there too
	why     string
}

// precisionRules are of flags that the main job and the ranking have.
var precisionRules = []rule{
	{flag: "activations=static", needs: "calib", why: "no range is made without data"},
	{flag: "block", why: "integer products have one scale a channel, and blocks are for products in float", without: []string{
		"activations=token", "activations=dynamic",
	}},
}

// checkRules returns the first broken rule.
func checkRules(f *pflag.FlagSet, rules []rule) error {
	for _, r := range rules {
		has := func(flag string) bool {
			name, value, _ := strings.Cut(flag, "=")
			return f.Changed(name) && (value == "" || f.Lookup(name).Value.String() == value)
		}
		if !has(r.flag) {
			continue
		}
		written := func(flag string) string { return "--" + strings.Replace(flag, "=", " ", 1) }
		if flags := strings.Split(r.needs, "|"); r.needs != "" && !slices.ContainsFunc(flags, has) {
			return usagef("%s needs %s: %s", written(r.flag), strings.Join(names(flags, written), " or "), r.why)
		}
		for _, other := range r.without {
			if has(other) {
				return usagef("%s and %s exclude each other: %s", written(r.flag), written(other), r.why)
			}
		}
	}
	return nil
}

// flagError says what is wrong with a flag, in our words.
func flagError(f *pflag.FlagSet, c *command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return usagef("there is no flag -%s; %s", unknown.GetSpecifiedShortnames(), c.seeHelp())
	case errors.As(err, &unknown):
		var names []string
		f.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		return usagef("there is no flag --%s%s; %s", unknown.GetSpecifiedName(), didYouMean(unknown.GetSpecifiedName(), names, "--"), c.seeHelp())
	case errors.As(err, &invalid):
		cause := strings.TrimPrefix(invalid.Unwrap().Error(), verify.ErrUsage.Error()+": ")
		if value := strconv.Quote(invalid.GetValue()); !strings.Contains(cause, value) {
			cause = value + " " + cause // pflag says: must be an integer
		}
		return usagef("--%s: %s", invalid.GetFlag().Name, cause)
	}
	return usagef("%w; %s", err, c.seeHelp())
}

// didYouMean suggests the name that was probably meant; "" when none is near.
func didYouMean(name string, names []string, prefix string) string {
	best, at := "", 1+len(name)/3
	for _, n := range names {
		d := distance(name, n)
		if strings.HasPrefix(n, name) {
			d = min(d, 1)
		}
		if d <= at && (best == "" || d < at) {
			best, at = n, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + prefix + best + "?)"
}

// distance is the edits (insert, delete, replace) that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
