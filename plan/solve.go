package plan

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// A source is one way to see one tensor: the Grams of the rows it gives. Layers that see the same share them.
type source struct {
	node    *onnx.Node // one of those that see it
	input   *onnx.Value
	view    inputView
	centred bool                            // the layer's bias makes up for the mean of its error
	seen    func(*onnx.Tensor) *onnx.Tensor // returns the float input as the layers see it
	grams   []*quantize.Gram
}

// A solvable is a constant that one or several layers multiply with, and what they see.
type solvable struct {
	sites   []*Site
	sources []*source
}

// solve finds the learned roundings of the weights of Convs and products from what their inputs look like in the calibration
// data: their codes stand in the sites' codings. (Layer by layer, without labels, as ZeroQuant's distillation: 2206.01861 §4.3.)
func (m *planner) solve(sites []*Site) error {
	if m.Calibration == nil {
		return nil
	}
	var all []*solvable
	byWeight, bySource := map[*onnx.Value]*solvable{}, map[string]*source{}
	for _, s := range sites {
		view, ok := viewOf(s)
		if !ok || view.columns > largestGram || s.Weight(0).Const().Len() < MinWeights {
			continue
		}
		w := byWeight[s.Weight(0)]
		if w == nil {
			w = new(solvable)
			byWeight[s.Weight(0)] = w
			all = append(all, w)
		} else if w.sites[0].Kind != s.Kind || w.sites[0].Axes[0] != s.Axes[0] || m.form(w.sites[0]) != m.form(s) {
			continue
		}
		src := m.source(s, view)
		key := src.key(m.scheme[s])
		if bySource[key] == nil {
			bySource[key] = src
		}
		w.sites, w.sources = append(w.sites, s), append(w.sources, bySource[key])
	}
	if r, _ := quantize.RoundingNamed(m.Rounding); m.Rounding != "" && !r.Learned { // nothing is learned but low-rank terms
		all = slices.DeleteFunc(all, func(w *solvable) bool { return m.rank(w.sites[0]) == 0 })
	}
	for len(all) > 0 {
		n, bytes := 0, 0
		for n < len(all) && (n == 0 || bytes < maxGrams) {
			for _, src := range all[n].sources {
				bytes += src.view.bytes()
			}
			n++
		}
		if err := m.solveAtOnce(all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// source returns what site s sees.
func (m *planner) source(s *Site, view inputView) *source {
	src := &source{node: s.Node, input: s.Node.Input(s.Input()), view: view, seen: func(x *onnx.Tensor) *onnx.Tensor { return x }}
	switch {
	case m.layout != nil && m.layout.static[s.Node]:
		src.centred = s.Node.Is("Conv", "Gemm")
		src.seen = simulate(static(m.params[src.input].Params()))
	case m.scheme[s] == Token:
		src.seen = simulate(perToken(m.sigmaK))
	case m.scheme[s] == Dynamic:
		src.seen = simulate(perTensor())
	}
	return src
}

// key is equal for sources that give the same Grams.
func (s *source) key(scheme Scheme) string {
	n := s.node
	key := fmt.Sprint(s.input.Name(), "\x00", scheme, s.view, s.centred)
	if s.view.conv {
		key += fmt.Sprint(n.Input(1).Const().Dims[2:], n.Ints("strides"), n.Ints("dilations"), n.Ints("pads"), n.Str("auto_pad", ""))
	}
	return key
}

// solveAtOnce gathers the Grams of some constants in one pass over the data, and solves for them.
func (m *planner) solveAtOnce(all []*solvable) error {
	if err := m.gather(all); err != nil {
		return err
	}
	solvers := map[*source]func() []*quantize.Solver{} // made once, by the first that needs them
	for _, w := range all {
		if src := w.sources[0]; solvers[src] == nil {
			solvers[src] = sync.OnceValue(func() []*quantize.Solver { return newSolvers(src.grams) })
		}
	}
	// Each on its own, so that the number of threads cannot be seen in the result.
	work, errs := make(chan *solvable), make([]error, cmp.Or(m.Threads, runtime.GOMAXPROCS(0)))
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			for w := range work {
				var known []*quantize.Solver
				if len(w.sources) == 1 {
					known = solvers[w.sources[0]]()
				} else {
					known = newSolvers(merged(w.sources))
				}
				learned, offered, err := m.solveFor(w.sites[0], known)
				if err != nil && errs[i] == nil {
					errs[i] = err
				}
				for _, s := range w.sites {
					m.coding[s].learned, m.coding[s].offered = learned, offered
				}
			}
		})
	}
	for i, w := range all {
		m.Progress("rounding weights", i, len(all))
		work <- w
	}
	close(work)
	group.Wait()
	for _, w := range all {
		for _, src := range w.sources {
			src.grams = nil
		}
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// newSolvers prepares Grams; nil when nothing can be learned from one of them.
func newSolvers(grams []*quantize.Gram) []*quantize.Solver {
	var all []*quantize.Solver
	for _, g := range grams {
		s, err := quantize.NewSolver(g)
		if err != nil {
			return nil
		}
		all = append(all, s)
	}
	return all
}

// merged adds up what all users of a constant see.
func merged(sources []*source) []*quantize.Gram {
	var sum []*quantize.Gram
	for i := range sources[0].grams {
		g := quantize.NewGram(sources[0].grams[i].K)
		for _, s := range sources {
			if err := g.Merge(s.grams[i]); err != nil {
				panic(err) // users of one constant have as many columns
			}
		}
		sum = append(sum, g)
	}
	return sum
}

// solveFor returns the codes of a site's weights in all learned roundings, by name, and those beside low-rank terms.
func (m *planner) solveFor(s *Site, known []*quantize.Solver) (learned map[string]*quantize.Weights, offered []*compensated, err error) {
	if known == nil {
		return nil, nil, nil
	}
	learned = map[string]*quantize.Weights{}
	var best *quantize.Weights
	rounding := quantize.Roundings[0].Name
	for _, r := range quantize.Roundings {
		if !r.Learned || m.Rounding != "" && r.Name != m.Rounding {
			continue
		}
		q, err := s.quantize(0, m.stored(s, r.Name), onnx.Data[float32](s.Weight(0).Const()), known)
		if err != nil {
			return nil, nil, fmt.Errorf("weights %q: %w", s.Weight(0).Name(), err)
		}
		learned[r.Name] = q
		best, rounding = q, r.Name // each is better than those before
	}
	if m.rank(s) == 0 {
		return learned, nil, nil
	}
	if best == nil {
		if best, err = QuantizeSite(s, 0, m.stored(s, rounding)); err != nil {
			return nil, nil, err
		}
		if r, ok := quantize.RoundingNamed(m.Rounding); ok && (r.Fits == nil || r.Fits(best)) {
			rounding = r.Name
		}
	}
	offered, err = m.offer(s, best, rounding, known)
	return learned, offered, err
}

// gather runs the calibration samples that nothing is judged by, if there are enough, and observes the sources' inputs.
func (m *planner) gather(all []*solvable) error {
	inputs := map[string][]*source{}
	for _, w := range all {
		for _, src := range w.sources {
			if src.grams == nil {
				for range src.view.groups {
					src.grams = append(src.grams, quantize.NewGram(src.view.columns))
				}
				inputs[src.input.Name()] = append(inputs[src.input.Name()], src)
			}
		}
	}
	sequences := m.learnFrom(2, 8)
	var failed error
	var scratch []float32
	taps := map[string]func(*onnx.Tensor){}
	runs := 0 // of all samples, if the other sequences are as long
	for name, sources := range inputs {
		taps[name] = func(x *onnx.Tensor) {
			for _, src := range sources {
				if err := src.view.observe(src.grams, src.node, src.seen(x), src.view.limit(runs), &scratch); err != nil && failed == nil {
					failed = fmt.Errorf("node %q: %w", m.keys[src.node], err)
				}
			}
		}
	}
	for i, k := range sequences {
		m.Progress("looking at inputs", i, len(sequences))
		runs = len(sequences) * len(slices.Collect(m.Calibration.Sequence(k)))
		err := m.Calibration.Run(k, 0, func(_ *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			outputs, err := m.runner.program.Run(m.ctx, feeds, &engine.RunOptions{Tap: taps, Outputs: m.Calibration.States()})
			return outputs, cmp.Or(err, failed)
		})
		if err != nil {
			return err
		}
	}
	for _, sources := range inputs {
		for _, src := range sources {
			if src.centred {
				for i, g := range src.grams {
					src.grams[i] = g.Centred()
				}
			}
		}
	}
	return nil
}

// learnFrom returns the sequences of the calibration data that roundings are learned from: not those that they are judged by,
// where there are enough others. As many are taken as can be run so many times each, but the least.
func (m *planner) learnFrom(runs float64, least int) []int {
	held := m.heldBack()
	var free []int
	for i := range m.Calibration.Len() {
		if !slices.Contains(held, i) {
			free = append(free, i)
		}
	}
	return some(free, m.affordable(runs, min(least, len(free)), len(free)))
}

// heldBack returns the sequences of the calibration data that nothing is learned from: those that are judged by. Where there are few
// others it is none, but for low-rank terms, which are judged by a quarter of them.
func (m *planner) heldBack() []int {
	judged := m.runner.sequences
	if m.Calibration == nil || m.Calibration.Len() >= 2*len(judged) {
		return judged
	}
	if len(m.lowRanks()) == 0 {
		return nil
	}
	var quarter []int
	for i := 3; i < len(judged); i += 4 {
		quarter = append(quarter, judged[i])
	}
	return quarter
}
