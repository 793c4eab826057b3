package search

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/verify"
)

// ErrWork is wrapped by errors about the folder that a search keeps its work in.
var ErrWork = errors.New("the work folder cannot be used")

// Goals are what a search is to reach.
type Goals struct {
	// MaxDrop is the most that the model may lose by the metric; nil: any. The smallest model that keeps to it is looked for.
	MaxDrop *float64
	// MaxBytes is the most that the file may have; 0: any. Without MaxDrop the best such model is looked for.
	MaxBytes int64
}

// Options of Run.
type Options struct {
	Goals
	Metric  *metric.Metric // nil: Command
	Command *Command
	Check   []*data.Set // samples that Metric is measured on: the worst figure counts
	// Model is the float model and Build what carries a plan out on it.
	Model     *onnx.Model
	Build     func(*plan.Plan) (*onnx.Model, error)
	Semantics engine.Semantics
	Work      string // folder to keep measurements in, with which an interrupted search goes on; "": none
	Key       string // what the results depend on besides these Options: the model's hash and what plans are made of
	Budget    float64
	Ladder    []plan.Form
}

// DefaultBudget is what measuring candidates may cost, in multiply-adds: some minutes on two cores.
const DefaultBudget = 4e12

// DefaultLadder are the forms that weights step down to from int8.
var DefaultLadder = []plan.Form{
	{Type: "int6", Storage: "auto"},
	{Type: "kmeans4", Storage: "auto"},
	{Type: "uint4", Block: 32, Storage: "auto"},
	{Type: "kmeans3", Storage: "auto"},
	{Type: "kmeans2", Storage: "auto"},
}

// leastCandidates is how many candidates the budget must allow; else fewer samples are taken. mostScores is how many models a
// command scores at most.
const leastCandidates, mostScores = 24, 48

// A Candidate is a plan that was carried out and measured.
type Candidate struct {
	Plan  *plan.Plan
	Bytes int64 // of the model's files
	Figure
}

// A Result is what a search found.
type Result struct {
	Candidate
	Log verify.Search
	// Unmet says which goal the best candidate misses, and by how much; "" when it misses none.
	Unmet string
}

// searcher is the state of a search.
type searcher struct {
	Options
	plan    plan.Options
	prep    *plan.Prepared
	ctx     context.Context
	journal *journal
	judge   judge
	samples int
	work    float64 // multiply-adds that one candidate costs
	spent   float64
	folder  string // for candidates' files
	log     verify.Search
	tried   []Candidate
	seen    map[string]int // in tried, by hash
}

// Run looks for the plan that reaches the goals best. The plan that options make is where it begins: as long as that loses too much, what
// does most damage keeps float activations, then float weights; then weights step down the ladder, those first that lose least
// for each byte that it saves.
//
// Errors are those of plan.Make and of measuring; they wrap ErrMetric or ErrWork. A goal that is not reached is no error.
func Run(ctx context.Context, prep *plan.Prepared, po plan.Options, o Options) (r *Result, err error) {
	s := &searcher{Options: o, plan: po, prep: prep, ctx: ctx, seen: map[string]int{}}
	if s.plan.Progress == nil {
		s.plan.Progress = func(string, int, int) {}
	}
	if s.Budget == 0 {
		s.Budget = DefaultBudget
	}
	if s.Ladder == nil {
		s.Ladder = DefaultLadder
	}
	if s.journal, err = openJournal(o.Work); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWork, err)
	}
	defer func() { err = errors.Join(err, s.journal.close()) }()
	if s.folder, err = os.MkdirTemp(o.Work, "candidate-"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWork, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.folder)) }()
	return s.run()
}

func (s *searcher) run() (*Result, error) {
	base, err := s.make(nil)
	if err != nil {
		return nil, err
	}
	if !base.Quantizes() {
		return &Result{Candidate: Candidate{Plan: base}}, nil
	}
	study, err := plan.NewStudy(s.ctx, s.prep, base, s.plan)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(study); err != nil {
		return nil, err
	}
	best, err := s.measure(base, "what is chosen without a search")
	if err != nil {
		return nil, err
	}
	if s.MaxDrop != nil && !s.keeps(best) {
		if best, err = s.retreat(study, best); err != nil {
			return nil, err
		}
		if study, err = plan.NewStudy(s.ctx, s.prep, best.Plan, s.plan); err != nil {
			return nil, err
		}
	}
	switch {
	case s.MaxDrop != nil && s.keeps(best):
		best, err = s.smallest(study, best)
	case s.MaxBytes > 0 && best.Bytes > s.MaxBytes:
		best, err = s.fitting(study, best)
	}
	if err != nil {
		return nil, err
	}
	return s.result(best), nil
}

// make plans with wishes for single nodes.
func (s *searcher) make(choices map[string]plan.Choice) (*plan.Plan, error) {
	o := s.plan
	o.Choices = choices
	return s.journal.plan(hash("plan", s.Key, choices), func() (*plan.Plan, error) { return plan.Make(s.ctx, s.prep, o) })
}

// prepare finds out what a candidate costs, and makes the judge.
func (s *searcher) prepare(study *plan.Study) error {
	s.log.Metric = "score"
	if s.Metric == nil {
		s.work = s.Budget / mostScores
		j := &scored{command: *s.Command}
		key := hash("float", s.Key, s.Command)
		if e, ok := s.journal.known[key]; ok && e.Value != nil {
			j.float = float64(*e.Value)
		} else {
			s.plan.Progress("scoring the float model", 0, 1)
			path, err := s.write(s.Model)
			if err != nil {
				return err
			}
			if j.float, err = j.command.Score(s.ctx, path); err != nil {
				return err
			}
			if err := s.record(entry{Key: key, Value: number(j.float)}); err != nil {
				return err
			}
		}
		s.judge, s.log.Float = j, number(j.float)
		return nil
	}
	s.log.Metric = s.Metric.Name
	j := &measured{metric: s.Metric}
	affordable := s.Budget / leastCandidates / max(1, study.Work())
	for _, set := range s.Check {
		set = set.Limited(max(1, min(set.Samples(), int(affordable)/len(s.Check))))
		ref, err := verify.NewReference(s.ctx, s.Model, set, verify.Options{
			Semantics: s.Semantics, Threads: s.plan.Threads, Progress: func(done, of int) { s.plan.Progress("running the float model", done, of) },
		})
		if err != nil {
			return err
		}
		j.references = append(j.references, ref)
		s.samples += ref.Samples()
		s.log.Data = append(s.log.Data, verify.Data{Source: string(set.Source), Samples: ref.Samples()})
	}
	s.judge, s.work = j, study.Work()*float64(s.samples)
	return nil
}

// known64 returns a number of the journal, in which NaN is none.
func known64(n *metric.Number) float64 {
	if n == nil {
		return math.NaN()
	}
	return float64(*n)
}

func number(v float64) *metric.Number { n := metric.Number(v); return &n }

// record writes an entry into the journal.
func (s *searcher) record(e entry) error {
	if err := s.journal.add(e); err != nil {
		return fmt.Errorf("%w: %w", ErrWork, err)
	}
	return nil
}

// write writes a model into the folder for candidates, which it then has for itself.
func (s *searcher) write(m *onnx.Model) (string, error) {
	old, err := os.ReadDir(s.folder)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrWork, err)
	}
	for _, e := range old {
		if err := os.RemoveAll(filepath.Join(s.folder, e.Name())); err != nil {
			return "", fmt.Errorf("%w: %w", ErrWork, err)
		}
	}
	path := filepath.Join(s.folder, "model.onnx")
	if err := m.WriteFile(s.ctx, path, onnx.WriteOptions{}); err != nil {
		if errors.Is(err, onnx.ErrBadModel) || s.ctx.Err() != nil {
			return "", err
		}
		return "", fmt.Errorf("%w: %w", ErrWork, err)
	}
	return path, nil
}

// bytes returns the size of the files in the folder for candidates.
func (s *searcher) bytes() (n int64, err error) {
	err = filepath.WalkDir(s.folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// measure carries a plan out and judges the model, unless that was done before.
func (s *searcher) measure(p *plan.Plan, label string) (Candidate, error) {
	key := hash("candidate", s.Key, s.log.Metric, s.Command, s.samples, s.Semantics, p)
	if i, ok := s.seen[key]; ok {
		return s.tried[i], nil
	}
	s.spent += s.work
	s.plan.Progress("searching: candidate", len(s.tried), int(s.Budget/s.work))
	c := Candidate{Plan: p}
	e, known := s.journal.known[key]
	if known {
		c.Bytes, c.Figure = e.Bytes, Figure{known64(e.Value), known64(e.Drop)}
	} else {
		m, err := s.Build(p)
		if err != nil {
			return c, err
		}
		path, err := s.write(m)
		if err != nil {
			return c, err
		}
		if c.Bytes, err = s.bytes(); err != nil {
			return c, fmt.Errorf("%w: %w", ErrWork, err)
		}
		if c.Figure, err = s.judge.judge(s.ctx, m, path); err != nil {
			return c, err
		}
		if err := s.record(entry{Key: key, Bytes: c.Bytes, Value: number(c.Value), Drop: number(c.Drop)}); err != nil {
			return c, err
		}
	}
	s.seen[key] = len(s.tried)
	s.tried = append(s.tried, c)
	s.log.Points = append(s.log.Points, verify.SearchPoint{Bytes: c.Bytes, Metric: metric.Number(c.Value), Drop: number(c.Drop), Label: label})
	return c, nil
}

// affords reports whether the budget has room for another candidate.
func (s *searcher) affords() bool { return s.spent+s.work <= s.Budget }

// keeps reports whether a candidate loses no more than it may.
func (s *searcher) keeps(c Candidate) bool { return s.MaxDrop == nil || c.Drop <= *s.MaxDrop } // NaN does not

// result finishes the log.
func (s *searcher) result(best Candidate) *Result {
	r := &Result{Candidate: best}
	for i := range s.log.Points {
		s.log.Points[i].Chosen = s.tried[i].Plan == best.Plan
	}
	s.log.MaxBytes = s.MaxBytes
	if s.MaxDrop != nil {
		s.log.MaxDrop = number(*s.MaxDrop)
	}
	name := s.log.Metric
	switch {
	case !s.keeps(best):
		r.Unmet = fmt.Sprintf("no model was found that loses at most %.4g (%s): the best of %d loses %.4g", *s.MaxDrop, name, len(s.tried), best.Drop)
	case s.MaxBytes > 0 && best.Bytes > s.MaxBytes && s.MaxDrop != nil:
		r.Unmet = fmt.Sprintf("the smallest model found that loses at most %.4g (%s) has %d bytes, more than %d", *s.MaxDrop, name, best.Bytes, s.MaxBytes)
	case s.MaxBytes > 0 && best.Bytes > s.MaxBytes:
		r.Unmet = fmt.Sprintf("the smallest model found has %d bytes, more than %d", best.Bytes, s.MaxBytes)
	}
	s.log.Unmet = r.Unmet
	r.Log = s.log
	return r
}

// bisect returns the largest k of least…most for which good, which is true of least, is true; it is asked as long as the budget lasts.
// Where good does not change just once, a k for which it is true is found all the same.
func (s *searcher) bisect(least, most int, good func(k int) (bool, error)) (int, error) {
	for k := most; least < most && s.affords(); k = (least + most + 1) / 2 {
		ok, err := good(k)
		if err != nil {
			return least, err
		}
		if ok {
			least = k
		} else {
			most = k - 1
		}
	}
	return least, nil
}

// noises returns the noise that each change makes alone, by energy, relative to the outputs.
func (s *searcher) noises(study *plan.Study, key string, changes []*plan.Change) ([]float64, error) {
	if e, ok := s.journal.known[key]; ok && len(e.Noise) == len(changes) {
		var n []float64
		for _, v := range e.Noise {
			n = append(n, float64(v))
		}
		return n, nil
	}
	r := &ranking{study: study}
	n, e := make([]float64, len(changes)), entry{Key: key}
	for i, c := range changes {
		r.add(func(f *metric.Result) { n[i] = noise(*f) }, c)
	}
	if _, err := r.measure(s.ctx); err != nil {
		return nil, err
	}
	for i, v := range n {
		if v != v {
			n[i] = math.Inf(1)
		}
		n[i] = min(n[i], math.MaxFloat64)
		e.Noise = append(e.Noise, metric.Number(n[i]))
	}
	return n, s.record(e)
}

// betterOf returns the one of two candidates that loses less; where neither does, the smaller one.
func (s *searcher) betterOf(a, b Candidate) Candidate {
	if s.judge.better(b.Figure, a.Figure) || !s.judge.better(a.Figure, b.Figure) && b.Bytes < a.Bytes {
		return b
	}
	return a
}
