package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/search"
	"github.com/zqonnx/zqonnx/verify"
)

// searchFlags are those of the search for a plan that reaches goals.
type searchFlags struct {
	maxDrop *float64
	size    size
	metric  string
	command search.Command
	work    string
}

func (s *searchFlags) define(f *pflag.FlagSet) {
	define(f, "max-drop", func(v string) error {
		x, err := strconv.ParseFloat(v, 64)
		if err != nil || !(x >= 0) || math.IsInf(x, 0) {
			return fmt.Errorf("%q is no number from 0 on", v)
		}
		s.maxDrop = &x
		return nil
	})
	define(f, "target-size", func(v string) (err error) { s.size, err = parseSize(v); return err })
	choice(f, &s.metric, "metric", metricNames)
	define(f, "metric-cmd", func(v string) error {
		if !strings.Contains(v, search.Placeholder) {
			return fmt.Errorf("%q has no %s, which stands for the model to score", v, search.Placeholder)
		}
		s.command.Line = v
		return nil
	})
	s.command.Timeout = 10 * time.Minute
	define(f, "metric-timeout", func(v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			return fmt.Errorf("%q is no time such as 90s, 10m or 1h", v)
		}
		s.command.Timeout = d
		return nil
	})
	f.StringVar(&s.work, "work", "", "")
}

// options returns the search that was asked for; nil: none.
func (s *searchFlags) options(float verify.File, semantics engine.Semantics) (*zqonnx.Search, error) {
	if s.maxDrop == nil && s.size == (size{}) {
		return nil, nil
	}
	o := &zqonnx.Search{Goals: search.Goals{MaxDrop: s.maxDrop, MaxBytes: s.size.of(float.Bytes)}, Metric: metric.Named(s.metric), Work: s.work, Semantics: semantics}
	if s.command.Line != "" {
		o.Command = &s.command
	}
	if m := o.Metric; m != nil && m.Drop == nil && s.maxDrop != nil {
		return nil, usagef("--max-drop and --metric %s exclude each other: %s has no float value that something could be dropped from; it can choose with --target-size", m.Name, m.Name)
	}
	return o, nil
}

// A size is a number of bytes, or a share of the float model's.
type size struct {
	bytes int64
	share float64
}

func (s size) of(float int64) int64 {
	if s.share > 0 {
		return max(1, int64(s.share*float64(float)))
	}
	return s.bytes
}

// units are what may stand behind the number of a size.
var units = []struct {
	name  string
	bytes float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// parseSize reads 300000, 1.5MB, 2MiB or 40%.
func parseSize(text string) (size, error) {
	bad := fmt.Errorf("%q is no size such as 300000, 1.5MB, 2MiB or 40%% (of float)", text)
	number := func(s string) (float64, bool) {
		x, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		return x, err == nil && x > 0 && x < 1e18
	}
	if s, ok := strings.CutSuffix(text, "%"); ok {
		x, ok := number(s)
		if !ok {
			return size{}, bad
		}
		return size{share: x / 100}, nil
	}
	for _, u := range units {
		if s, ok := strings.CutSuffix(text, u.name); ok {
			if x, ok := number(s); ok && x*u.bytes >= 1 && x*u.bytes < 1e18 {
				return size{bytes: int64(x * u.bytes)}, nil
			}
			return size{}, bad
		}
	}
	return size{}, bad
}
