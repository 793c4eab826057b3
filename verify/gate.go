package verify

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/zqonnx/zqonnx/metric"
)

// A Gate fails the verification when its expression is true.
type Gate struct {
	Metric string // a name in metric.Metrics
	Op     string // < <= > >=
	Limit  float64
	Scope  string // "outputs", "layers", or a glob over node keys and tensors
}

// The scopes that are no globs.
const (
	scopeOutputs = "outputs" // each graph output
	scopeLayers  = "layers"  // each layer, by its accumulated error
)

// comparisons are the operators of a gate; a longer one stands before its beginning.
var comparisons = []struct {
	op string
	is func(a, b float64) bool
}{
	{"<=", func(a, b float64) bool { return a <= b }},
	{">=", func(a, b float64) bool { return a >= b }},
	{"<", func(a, b float64) bool { return a < b }},
	{">", func(a, b float64) bool { return a > b }},
}

// ParseGate reads METRIC OP NUMBER [@outputs|@layers|@GLOB], such as "sqnr < 20 @layers". Without a scope the gate is about
// the outputs. Errors wrap ErrUsage.
func ParseGate(s string) (Gate, error) {
	fail := func(format string, args ...any) (Gate, error) {
		return Gate{}, fmt.Errorf("%w: gate %q: %s; write METRIC OP NUMBER [@outputs|@layers|@GLOB], such as 'sqnr < 20'", ErrUsage, s, fmt.Sprintf(format, args...))
	}
	at := strings.IndexAny(s, "<>")
	if at < 0 {
		return fail("no comparison (< <= > >=)")
	}
	g := Gate{Metric: strings.TrimSpace(s[:at]), Scope: scopeOutputs}
	if metric.Named(g.Metric) == nil {
		return fail("unknown metric %q, there are %s", g.Metric, metricNames())
	}
	rest := s[at:]
	for _, c := range comparisons {
		if after, ok := strings.CutPrefix(rest, c.op); ok {
			g.Op, rest = c.op, after
			break
		}
	}
	number, scope, scoped := strings.Cut(rest, "@")
	var err error
	if g.Limit, err = strconv.ParseFloat(strings.TrimSpace(number), 64); err != nil || g.Limit-g.Limit != 0 {
		return fail("%q is no number", strings.TrimSpace(number))
	}
	if scoped {
		if g.Scope = strings.TrimSpace(scope); g.Scope == "" {
			return fail("nothing stands behind @")
		}
	}
	return g, nil
}

// String returns the expression that ParseGate reads back as g.
func (g Gate) String() string {
	return fmt.Sprintf("%s %s %s @%s", g.Metric, g.Op, strconv.FormatFloat(g.Limit, 'g', -1, 64), g.Scope)
}

// fails reports whether the gate's expression is true of a value; NaN fails.
func (g Gate) fails(v float64) bool {
	for _, c := range comparisons {
		if c.op == g.Op {
			return v != v || c.is(v, g.Limit)
		}
	}
	return true
}

func metricNames() string {
	var names []string
	for _, m := range metric.Metrics {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

// A GateResult is a gate and the worst value that it was held against.
type GateResult struct {
	Expr  string        `json:"expr"`
	Value metric.Number `json:"value"`
	Where string        `json:"where"` // the output or layer that has the value
	Pass  bool          `json:"pass"`
}

// A candidate is something that a gate may be about.
type candidate struct {
	name   string
	layer  bool
	result *metric.Result // nil: not measured
}

// covers reports whether the gate is about a layer or an output.
func (g Gate) covers(layer bool, names ...string) bool {
	switch g.Scope {
	case scopeOutputs:
		return !layer
	case scopeLayers:
		return layer
	}
	return slices.ContainsFunc(names, func(name string) bool {
		ok, _ := path.Match(g.Scope, name)
		return ok || g.Scope == name
	})
}

// candidates lists what the gate is about.
func (r *Report) candidates(g Gate) []candidate {
	var list []candidate
	for i := range r.Outputs.Each {
		if o := &r.Outputs.Each[i]; g.covers(false, o.Name) {
			list = append(list, candidate{o.Name, false, o.Result})
		}
	}
	for i := range r.Layers {
		if l := &r.Layers[i]; g.covers(true, l.Key, l.Tensor) {
			c := candidate{l.Key, true, nil}
			if l.Accumulated != nil {
				c.result = &l.Accumulated.Result
			}
			list = append(list, c)
		}
	}
	return list
}

// measures reports whether the candidate has the gate's figure.
func (g Gate) measures(c candidate) bool {
	return c.result != nil && metric.Named(g.Metric).In(*c.result)
}

// Evaluate sets the report's gates. A gate's value is the worst of what it matches. Gates that match nothing, or nothing
// that has the figure, are errors that wrap ErrUsage.
func (r *Report) Evaluate(gates []Gate) error {
	r.Gates = []GateResult{}
	if err := r.checkScopes(gates); err != nil {
		return err
	}
	for _, g := range gates {
		m := metric.Named(g.Metric)
		if m == nil {
			return fmt.Errorf("%w: gate %q: unknown metric, there are %s", ErrUsage, g, metricNames())
		}
		list := slices.DeleteFunc(r.candidates(g), func(c candidate) bool { return !g.measures(c) })
		if len(list) == 0 && m.Needs != "" {
			return fmt.Errorf("%w: gate %q: nothing that it matches has the figure %s, which needs %s", ErrUsage, g, m.Name, m.Needs)
		}
		if len(list) == 0 {
			return fmt.Errorf("%w: gate %q: nothing that it matches has the figure %s", ErrUsage, g, m.Name)
		}
		worst := slices.MinFunc(list, func(a, b candidate) int {
			return worseFirst(m.Goodness(*a.result), m.Goodness(*b.result))
		})
		r.Gates = append(r.Gates, g.result(worst))
	}
	return nil
}

// result holds one measured thing against the gate.
func (g Gate) result(c candidate) GateResult {
	v := metric.Named(g.Metric).Of(*c.result)
	return GateResult{Expr: g.String(), Value: metric.Number(v), Where: c.name, Pass: !g.fails(v)}
}

// checkScopes tells before the work begins that a gate matches nothing.
func (r *Report) checkScopes(gates []Gate) error {
	for _, g := range gates {
		if len(r.candidates(g)) == 0 {
			return fmt.Errorf("%w: gate %q matches no output and no layer", ErrUsage, g)
		}
	}
	return nil
}
