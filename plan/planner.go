package plan

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/quantize"
	"github.com/zqonnx/zqonnx/target"
)

// Mode says how activations are quantized where the user leaves the choice.
type Mode string

// The modes of --activations.
const (
	ModeAuto    Mode = "auto"
	ModeToken   Mode = "token"
	ModeDynamic Mode = "dynamic"
	ModeStatic  Mode = "static"
	ModeFloat   Mode = "float"
)

// Modes are the known ones.
var Modes = []Mode{ModeAuto, ModeToken, ModeDynamic, ModeStatic, ModeFloat}

// Options of Make.
type Options struct {
	Target      *target.Target
	Activations Mode
	Range       quantize.RangeRule
	Weights     Form              // asked for; where it does not fit, another one is taken. Zero: int8
	Rounding    string            // of quantize.Roundings, where it fits; "": the best of them
	Overrides   []Override        // for nodes by globs, the last first
	Given       map[string]Given  // parameters of activations that the user knows, by name in the prepared model
	Choices     map[string]Choice // for single nodes, by key
	Equalize    Equalize          // "": auto
	Compensate  []string          // of Compensations; biases are corrected but for "none"
	Rank        int               // of low-rank terms; 0: DefaultRank
	Calibration *data.Set         // real samples; nil: none
	Probes      *data.Set         // used for measuring when there is no calibration; nil: rules only
	Include     []string          // globs over keys and output tensors: only these; empty: all
	Exclude     []string
	ExcludeOps  []string
	Program     *engine.Program // of the prepared model, with literal semantics; nil: it is compiled
	Threads     int
	Guard       Guard
	Progress    func(what string, done, of int) // may be nil
}

// planner is the state of making one plan.
type planner struct {
	Options
	ctx    context.Context
	prep   *Prepared
	graph  *onnx.Graph
	sites  []*Site
	site   map[*onnx.Node]*Site
	keys   map[*onnx.Node]string
	kept   Existing // what the model came with, and what follows from it
	layout *layout
	params map[*onnx.Value]Activation
	stats  statistics
	// sigmaK is that of token-wise products.
	sigmaK float32
	// methods are the ranges' that were chosen by measuring, by a family's first source.
	methods map[*onnx.Value]string
	runner  *runner

	scheme map[*Site]Scheme
	why    map[*onnx.Node]Reason
	float  map[*onnx.Value]bool // tensors the guard keeps float
	// weightValues holds dequantized weights while a node runs, by input position.
	weightValues map[int][]float32

	cheaper   map[*Site]float64  // microseconds per-tensor dynamic would save
	unpaid    map[*Site]Reason   // why integers would make the region of a site slower
	sqnr      map[string]float64 // of each candidate of the guard, alone
	guarded   map[*onnx.Value]Reason
	equalised []Equalisation        // done to prep already
	wishes    map[*onnx.Node]Choice // for single nodes
	asked     map[*Site]Form        // of the weights of single sites, in place of Options.Weights
	coarse    map[*Site]Reason      // why the guard has taken another form
	coding    map[*Site]*coding     // of every site
}

// A coding is what was found for the weights of a site, for one form of them.
type coding struct {
	form       Form
	rounding   string                       // the best measured
	learned    map[string]*quantize.Weights // codes found from data, by rounding
	offered    []*compensated               // with low-rank terms that were found and not yet measured
	lowRank    *compensated                 // the one of these that was kept
	settled    bool                         // whether that has been decided
	correction []float32                    // of the bias
	change     change                       // that stands for the weights; nil: not made yet
}

// clone returns a coding to go back to.
func (k *coding) clone() *coding {
	c := *k
	c.change = maps.Clone(k.change) // biases are corrected in it
	return &c
}

// Make plans a prepared model. Facts it measures and the reasons it decides by are in the plan.
func Make(ctx context.Context, prep *Prepared, o Options) (*Plan, error) {
	m := newPlanner(ctx, prep, o)
	for _, decide := range making {
		if err := decide(m); err != nil {
			return nil, err
		}
	}
	return m.plan(), nil
}

// making a plan is deciding this, in order.
var making = []func(*planner) error{
	(*planner).filter,
	(*planner).measureShapes,
	(*planner).chooseSchemes,
	(*planner).guard,
	(*planner).equalise,        // after the guard: an equalised culprit may hide just above its limit
	(*planner).economise,       // bounded by the noise of all before
	(*planner).solveInSequence, // for what all of them leave of a layer's input
}

// newPlanner returns a planner that has decided nothing yet. Its model is its own where constants are scaled.
func newPlanner(ctx context.Context, prep *Prepared, o Options) *planner {
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	o.Equalize = cmp.Or(o.Equalize, EqualizeAuto)
	if prep.Existing.Reference != nil {
		o.Equalize = EqualizeNone // the scales that the model came with fit its tensors as they are
	}
	o.Weights.Type = cmp.Or(o.Weights.Type, usual.Type)
	o.Weights.Storage = cmp.Or(o.Weights.Storage, "auto")
	if o.Weights.Storage == QDQ && !raises(prep.Model) {
		o.Weights.Storage = Folded
	}
	o.Rank = cmp.Or(o.Rank, DefaultRank)
	if o.Equalize != EqualizeNone {
		private := *prep
		private.Model = prep.Model.Clone() // whose constants are scaled
		prep = &private
	}
	m := &planner{
		Options: o, ctx: ctx, prep: prep, graph: prep.Model.Graph, sites: prep.Survey(), site: map[*onnx.Node]*Site{},
		scheme: map[*Site]Scheme{}, why: map[*onnx.Node]Reason{}, float: map[*onnx.Value]bool{},
		params: map[*onnx.Value]Activation{}, methods: map[*onnx.Value]string{}, weightValues: map[int][]float32{}, keys: prep.Model.Graph.Keys(),
		cheaper: map[*Site]float64{}, unpaid: map[*Site]Reason{}, sqnr: map[string]float64{}, guarded: map[*onnx.Value]Reason{},
		asked: map[*Site]Form{}, coarse: map[*Site]Reason{}, coding: map[*Site]*coding{},
	}
	for _, s := range m.sites {
		m.site[s.Node], m.coding[s] = s, new(coding)
	}
	m.kept = prep.Existing.derived(m.Target, m.graph)
	if o.Activations == ModeToken && o.Range.Method == "sigma" {
		m.sigmaK = float32(o.Range.K(quantize.Int8))
	}
	return m
}

// filter keeps out what the user excluded and what cannot be quantized.
func (m *planner) filter() error {
	for n := range m.graph.AllNodes() {
		key := m.keys[n]
		switch {
		case slices.Contains(m.ExcludeOps, n.Op):
			m.why[n] = Reason{ID: "excluded", Text: "--exclude-op " + n.Op}
		case matches(m.Exclude, key, n):
			m.why[n] = Reason{ID: "excluded", Text: "--exclude"}
		case len(m.Include) > 0 && !matches(m.Include, key, n):
			m.why[n] = Reason{ID: "not-included", Text: "--include does not name it"}
		}
	}
	m.choose()
	for _, s := range m.sites {
		if s.Refused.ID != "" && !s.Small() && m.why[s.Node].ID == "" {
			m.why[s.Node] = s.Refused
		}
	}
	return nil
}

// matches reports whether a glob matches the node's key or one of its outputs.
func matches(globs []string, key string, n *onnx.Node) bool {
	for _, g := range globs {
		if ok, _ := path.Match(g, key); ok || g == key {
			return true
		}
		for _, o := range n.Outputs() {
			if ok, _ := path.Match(g, o.String()); o != nil && (ok || g == o.Name()) {
				return true
			}
		}
	}
	return false
}

// open reports whether the site's node is still to be decided or quantized: nothing speaks for float.
func (m *planner) open(s *Site) bool { return m.why[s.Node].ID == "" }

// measureShapes runs the float model on a few samples, which the guard and the choice measure on later.
func (m *planner) measureShapes() error {
	set := m.Calibration
	if set == nil {
		set = m.Probes
	}
	if set == nil {
		return nil
	}
	var watch []string
	for _, s := range m.sites {
		if s.Kind == Product || s.Kind == Conv {
			watch = append(watch, s.Node.Input(s.Input()).Name(), s.Node.Output(0).Name())
		}
		if s.Kind == Recurrent {
			watch = append(watch, s.Node.Input(s.Input()).Name())
		}
	}
	var err error
	m.runner, err = newRunner(m.ctx, m.prep.Reference(), m.Program, set, m.trials(set.Len()), m.Threads, watch)
	return err
}

// trials returns how many of n sequences decisions are measured on. With few bits one odd sample may have nearly all the noise, and a
// quarter of all are taken.
func (m *planner) trials(n int) int {
	if m.Weights.Type == usual.Type {
		return m.Guard.Samples
	}
	return max(m.Guard.Samples, min(n/4, m.Guard.Most))
}

// chooseSchemes decides by the table of defaults: static around convolutions where there are data, token-wise or per-tensor
// dynamic products where integers pay, weights stored small elsewhere.
func (m *planner) chooseSchemes() error {
	for _, s := range m.sites {
		if m.open(s) {
			m.scheme[s] = m.initial(s)
		}
	}
	m.closeSmall()
	if err := m.placeStatic(); err != nil {
		return err
	}
	if err := m.chooseRoundings(); err != nil {
		return err
	}
	m.pay()
	return m.correctBiases() // before the guard, which judges corrected layers
}

func (m *planner) initial(s *Site) Scheme {
	switch mode := m.mode(s); {
	case s.Kind == Product && mode == ModeAuto && m.wished(s).Block > 0:
		return WeightOnly // blocks are for products in float
	case s.Kind == Recurrent && mode != ModeFloat:
		return Dynamic
	case (s.Kind == Conv || s.Kind == Product) && s.Node.Graph() == m.graph && biasIsConstant(s.Node) &&
		(m.keptInput(s) || (m.Calibration != nil || m.kept.Reference != nil) && (mode == ModeAuto || mode == ModeStatic)):
		return Static
	case m.keptInput(s) || s.Kept != nil && s.Kept.Zeros != nil:
		return WeightOnly
	case s.Kind == Product && mode == ModeDynamic:
		return Dynamic
	case s.Kind == Product && mode != ModeFloat && mode != ModeStatic:
		return Token
	}
	return WeightOnly
}

// biasIsConstant reports whether the node has no bias or a constant, finite one that is the same for all rows of its output.
func biasIsConstant(n *onnx.Node) bool {
	if n.Input(2) == nil {
		return true
	}
	b := constant(n, 2)
	return b != nil && b.Type == onnx.Float32 && (b.Rank() == 0 || int64(b.Len()) == b.Dims[b.Rank()-1]) && isFinite(b)
}

// placeStatic lays out the integer regions, calibrates their tensors, breaks them up where ranges do not fit
// together and gives those up that would be slower than float.
func (m *planner) placeStatic() error {
	if m.Calibration == nil && m.kept.Reference == nil {
		return nil
	}
	for {
		m.lay()
		complete, err := m.calibrateTensors()
		if err != nil {
			return err
		}
		if complete && !m.splitScales() && !m.splitConcats() && !m.dropUnpaid() {
			return m.chooseRanges()
		}
	}
}

// lay finds the layout of the current schemes; static sites that are not in it fall back.
func (m *planner) lay() {
	allowed, follows, barred := map[*onnx.Node]bool{}, map[*onnx.Node]bool{}, map[*onnx.Node]bool{}
	for _, s := range m.sites {
		if m.open(s) && m.scheme[s] == Static {
			allowed[s.Node] = true
			follows[s.Node] = s.Kind == Product && m.mode(s) != ModeStatic && !m.keptInput(s)
		}
	}
	for n, why := range m.why {
		barred[n] = why.ID != ""
	}
	for {
		m.layout = place(m.Target, &m.kept, m.graph, allowed, follows, barred, m.float)
		if m.endInFloat() {
			continue
		}
		v, n := m.layout.trap()
		if v == nil {
			break
		}
		m.float[v] = true
		m.guarded[v] = Reason{ID: "float-between-integers", Text: fmt.Sprintf("%q stays float and must get a float input, else %s would quantize its weights by itself", m.keys[n], m.Target.Doc)}
	}
	for _, s := range m.sites {
		if m.scheme[s] == Static && !m.layout.static[s.Node] {
			m.scheme[s] = m.fallback(s)
			m.coding[s].correction, m.coding[s].change = nil, nil // which are for the integer form
		}
	}
	m.closeSmall()
}

// closeSmall leaves small weights that did not come to lie between integers float.
func (m *planner) closeSmall() {
	for _, s := range m.sites {
		if s.Small() && m.open(s) && m.scheme[s] != Static {
			m.why[s.Node] = s.Refused
		}
	}
}

// form returns how the weights of a site are written down, as its scheme allows.
func (m *planner) form(s *Site) Form {
	scheme := m.scheme[s]
	if scheme == "" {
		scheme = WeightOnly
	}
	return m.wished(s).fit(s, scheme)
}

// fallback is the scheme of a site that cannot be static.
func (m *planner) fallback(s *Site) Scheme {
	if s.Kind == Product && m.mode(s) == ModeAuto && m.wished(s).Block == 0 && !m.keptInput(s) && (s.Kept == nil || s.Kept.Zeros == nil) {
		return Token
	}
	return WeightOnly
}

// calibrateTensors makes the parameters of the layout's tensors, in one pass over the calibration data.
//
// A tensor that has no range, because it was never computed or holds NaN, stays float; then the result is false.
func (m *planner) calibrateTensors() (complete bool, err error) {
	if m.stats == nil && m.Calibration != nil {
		var names []string
		for _, v := range m.layout.tensors {
			if v.Const() == nil && !m.kept.has(v) {
				names = append(names, v.Name())
			}
		}
		m.stats, err = calibrate(m.ctx, m.runner.program, m.Calibration, m.Range, names, func(i, n int) { m.Progress("calibrating", i, n) })
		if err != nil {
			return false, err
		}
	}
	return m.ownRanges()
}

// maxConcatRatio is how far the scales of a Concat's operands may lie apart: beyond it the finest operand loses more than
// three of its eight bits, as boxes of 0…640 and scores of 0…1 under one scale do.
const maxConcatRatio = 8

// splitConcats takes heterogeneous Concats out of the layout and reports whether it found one.
func (m *planner) splitConcats() bool {
	found := false
	for n := range m.graph.Nodes() {
		if !m.layout.static[n] || !n.Is("Concat") || m.kept.has(n.Output(0)) {
			continue
		}
		lo, hi := float32(math.Inf(1)), float32(0)
		for _, v := range n.Inputs() {
			s := m.params[v].Scale
			lo, hi = min(lo, s), max(hi, s)
		}
		if hi > maxConcatRatio*lo {
			m.why[n] = Reason{ID: "heterogeneous-concat", Text: "its operands have too different ranges for one scale", Numbers: map[string]float64{"ratio": float64(hi / lo)}}
			m.float[n.Output(0)] = true
			found = true
		}
	}
	return found
}

// pay compares what the products cost in the target: those for which token-wise is no faster than float are stored; where
// per-tensor dynamic is faster, economise may take that later. LSTMs that are no faster in integers are stored, too.
func (m *planner) pay() {
	for _, s := range m.sites {
		if m.mode(s) != ModeAuto {
			continue
		}
		if s.Kind == Recurrent && m.scheme[s] == Dynamic && m.open(s) {
			m.payRecurrent(s)
		}
		if m.scheme[s] != Token || !m.open(s) {
			continue
		}
		c := m.cost(s)
		if c.token > c.float {
			m.scheme[s] = WeightOnly
			if c.dynamic < c.float {
				m.cheaper[s] = c.float - c.dynamic
			}
		}
	}
}

// costs are microseconds of one product or convolution in the target.
type costs struct{ float, token, blocked, dynamic, static float64 }

// numbers are those of a product in reasons.
func (c costs) numbers() map[string]float64 {
	return map[string]float64{"float_us": round(c.float), "token_us": round(c.token), "dynamic_us": round(c.dynamic)}
}

// cost estimates a product at the shapes of the first sample.
func (m *planner) cost(s *Site) costs {
	w := s.Weight(0).Const().Dims
	k, n := float64(w[0]), float64(w[1])
	if s.Axes[0] == 0 {
		k, n = n, k
	}
	rows := 1.0
	if m.runner != nil {
		if d := m.runner.dims[s.Node.Input(s.Input()).Name()]; d != nil {
			rows = float64(onnx.NumElements(d[:len(d)-1]))
		}
	}
	return costs{
		float:   m.Target.Costs[target.FloatForm].Of(rows, k, n),
		token:   m.Target.Costs[target.TokenForm].Of(rows, k, n),
		blocked: m.Target.Costs[target.Token21Form].Of(rows, k, n),
		dynamic: m.Target.Costs[target.DynamicForm].Of(rows, k, n),
	}
}

// blockedOpset is the opset whose QuantizeLinear takes the rows of the token-wise form as blocks, and that knows 4 bits.
const blockedOpset = 21

// raises reports whether a model can be brought to that opset.
func raises(m *onnx.Model) bool {
	return m.Opset("") >= blockedOpset || onnx.ConvertOpset(m.Clone(), blockedOpset) == nil
}

// worthRaising is the share of the products' float time that the blocked form must save for the model to be raised to it.
const worthRaising = 0.02

// opset returns the opset that the plan wants: the blocked one where token-wise products gain from it and the model can be
// raised to it.
func (m *planner) opset() int64 {
	if m.prep.Model.Opset("") >= blockedOpset {
		return 0
	}
	saved, float := 0.0, 0.0
	for _, s := range m.sites {
		if s.Kind != Product || !m.open(s) {
			continue
		}
		if m.form(s).Storage == QDQ {
			return blockedOpset
		}
		c := m.cost(s)
		float += c.float
		if m.scheme[s] == Token {
			saved += c.token - c.blocked
		}
	}
	if saved <= worthRaising*float || !raises(m.prep.Model) {
		return 0
	}
	return blockedOpset
}

// simulation returns the change that the current decisions make to the float model, and its parts as candidates for the guard.
func (m *planner) simulation() ([]candidate, error) {
	var all []candidate
	for _, s := range m.sites {
		if !m.open(s) {
			continue
		}
		w, err := m.weights(s)
		if err != nil {
			return nil, err
		}
		name := "weights of " + s.Key
		if f := m.form(s); f != usual {
			name = f.Type + " " + name
		}
		all = append(all, candidate{site: s, change: w, name: name, state: fmt.Sprint(m.form(s), m.coding[s].rounding, m.coding[s].correction)})
		if (s.Kind == Product || s.Kind == Recurrent) && (m.scheme[s] == Token || m.scheme[s] == Dynamic) {
			all = append(all, candidate{site: s, activation: true, change: m.dynamicChange(s, m.scheme[s]), name: "input of " + s.Key, state: string(m.scheme[s])})
		}
	}
	if m.layout != nil {
		for _, v := range m.layout.tensors {
			c := m.layout.overrides(v, m.keys, simulate(static(m.params[v].Params())))
			all = append(all, candidate{tensor: v, change: c, name: "tensor " + v.Name(), state: fmt.Sprint(m.params[v], c.edges())})
		}
	}
	return all, nil
}

// dynamicChange quantizes what a site's weights are multiplied with. An integer LSTM quantizes its hidden state before every
// step too; of that, the float graph has an edge for the first step only, which is all there is in a streaming model.
func (m *planner) dynamicChange(s *Site, scheme Scheme) change {
	inputs := []int{s.Input()}
	if s.Kind == Recurrent && s.Node.Input(initialH) != nil {
		inputs = append(inputs, initialH)
	}
	c := change{}
	for _, i := range inputs {
		f := perToken(m.sigmaK)
		if scheme == Dynamic {
			f = perTensor()
		}
		c[engine.Edge{Node: m.keys[s.Node], Input: i}] = simulate(f)
	}
	return c
}

// initialH is the position of an LSTM's hidden state before the first step.
const initialH = 5

// plan writes the decisions down.
func (m *planner) plan() *Plan {
	p := &Plan{Schema: Schema, Target: m.Target.Name, Opset: m.opset(), Equalised: m.equalised}
	for n := range m.graph.AllNodes() {
		d := Node{Key: m.keys[n], Op: n.Op, Scheme: Float, Reason: m.why[n]}
		s := m.site[n]
		switch {
		case m.layout != nil && m.layout.fused[n] != nil:
			d.Scheme = Fused
			d.Activations = m.activations(n, nil)
			d.Reason = Reason{ID: "fused", Text: fmt.Sprintf("vanishes into %q", m.keys[m.layout.fused[n]])}
		case m.layout != nil && m.layout.static[n]:
			d.Scheme = Static
			d.Activations = m.activations(n, m.layout.operands(n))
			d.Reason = Reason{ID: "integer-kernel", Text: "runs in integers in the target"}
		case s != nil && m.open(s):
			d.Scheme = m.scheme[s]
			d.Reason = m.reason(s)
			if d.Scheme == Token {
				d.SigmaK = m.sigmaK
			}
		case d.Reason.ID == "":
			d.Reason = whyFloat(m.Target, n)
		}
		m.tellOrigin(n, &d)
		if s != nil && d.Scheme != Float {
			d.Weights = m.decided(s)
			if r, ok := m.coarse[s]; ok {
				d.Reason = r
			}
		}
		p.Nodes = append(p.Nodes, d)
	}
	return p
}

// decided says how a site's weights are quantized.
func (m *planner) decided(s *Site) *Weights {
	if s.Kept != nil {
		return &Weights{Form: usual, Axis: s.Kept.Axis, Rounding: Keeps}
	}
	k := m.coding[s]
	rounding, q := k.rounding, k.learned[k.rounding]
	if k.lowRank != nil {
		rounding, q = k.lowRank.rounding, k.lowRank.weights
	}
	w := m.stored(s, rounding)
	w.Correction, w.LowRank = k.correction, k.lowRank.written()
	if q != nil {
		w.Solved = newSolved(q)
	}
	return w
}

// activations returns the parameters of the tensors a static or fused node takes (by input position) and gives as codes.
func (m *planner) activations(n *onnx.Node, operands []int) map[string]Activation {
	a := map[string]Activation{}
	for _, i := range operands {
		a[n.Input(i).Name()] = m.params[n.Input(i)]
	}
	for _, o := range n.Outputs() {
		if o == nil {
			continue
		}
		if p, ok := m.params[o]; ok && m.layout.maker(o) != nil {
			a[o.Name()] = p
		}
	}
	return a
}

func (m *planner) reason(s *Site) Reason {
	switch m.scheme[s] {
	case Token, Dynamic:
		if s.Kind == Recurrent {
			return Reason{ID: "integer-lstm", Text: "com.microsoft.DynamicQuantizeLSTM runs its products in integers"}
		}
		return Reason{ID: "integers-pay", Text: "its constant operand makes integers pay", Numbers: m.cost(s).numbers()}
	}
	return m.storedReason(s)
}

func (m *planner) storedReason(s *Site) Reason {
	for _, v := range []*onnx.Value{s.Node.Input(s.Input()), m.end(s.Node)} {
		if r, ok := m.guarded[v]; ok {
			return r
		}
	}
	switch {
	case m.unpaid[s].ID != "":
		return m.unpaid[s]
	case s.Kind == Product && m.mode(s) == ModeAuto:
		return Reason{ID: "stored", Text: m.storedText(s) + ": integers would not be faster here", Numbers: m.cost(s).numbers()}
	case s.Kind == Conv && m.Calibration == nil:
		return Reason{ID: "stored-no-data", Text: m.storedText(s) + ": static integers need --calib"}
	case s.Kind == Table:
		return Reason{ID: "stored-table", Text: "rows stored in 8 bits, scaled after they are gathered"}
	}
	return Reason{ID: "stored", Text: m.storedText(s)}
}

func (m *planner) storedText(s *Site) string {
	f, _ := quantize.FormatNamed(m.form(s).Type)
	return fmt.Sprintf("weights stored in %d bits, computed in float", f.Bits)
}

// end returns the tensor in which the work of a node would end as codes: its output, or that of the Relu or Clip behind it.
func (m *planner) end(n *onnx.Node) *onnx.Value {
	i := slices.IndexFunc(n.Outputs(), func(v *onnx.Value) bool { return v != nil }) // an LSTM may leave Y out
	if u := rewrite.OnlyUse(n.Output(i)); u != nil && m.Target.Rule(u.Op).Support == target.Absorbed && bounded(u) {
		return u.Output(0)
	}
	return n.Output(i)
}

func round(x float64) float64 { return math.Round(x*10) / 10 }

func nextBelow(x float32) float32 { return math.Nextafter32(x, 0) }
