// Package data gives models their samples: calibration and verification data from .npz, .npy and .pb files, or synthetic
// probes where there are none.
//
// A Set is a list of sequences, a sequence a list of samples. A sample is a tensor for each input that a caller must give;
// it is read when it is asked for and nothing is kept, so that memory does not grow with the data. Sequences matter for
// stateful models only: without Options.State every sample is a sequence of its own.
//
//	for i := range set.Len() {
//		err := set.Run(i, 0, func(_ *data.Sample, feeds map[string]*onnx.Tensor) (outputs map[string]*onnx.Tensor, err error) {
//			return program.Run(ctx, feeds, nil)
//		})
//		...
//	}
package data

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

// ErrBadData is wrapped by every error about the data themselves: a file, an array, its type, shape or elements.
var ErrBadData = errors.New("bad data")

// ErrBadOption is wrapped by every error about Options that do not fit the model.
var ErrBadOption = errors.New("bad option")

// Options say how a model's inputs are given. The names in comments are the command's flags.
type Options struct {
	Limit  int               // --calib-limit: take this many samples, evenly spaced; 0 takes all. Probes: make this many
	Dims   map[string]int64  // --dim: sizes of symbolic dimensions; a dimension without a name is called INPUT[AXIS]
	State  map[string]string // --state: output → input that it is fed back into within a sequence
	Values map[string]string // --value: input → its constant where the data do not hold the input
	Seed   uint64            // --seed, for probes
	Labels string            // --labels: an array of each sample that is no input, with the index of the true class of each row of scores
	// Unlabelled says that samples may lack the labels.
	Unlabelled bool
}

// A Source says where the samples of a set come from, in the words of the report.
type Source string

// The sources.
const (
	Given     Source = "given"     // the user's
	HeldBack  Source = "held-back" // the user's, not used for calibration
	Seen      Source = "seen"      // the user's, used for calibration too
	Synthetic Source = "synthetic" // probes
)

// A Set is a list of sequences of samples. It is safe for concurrent use.
type Set struct {
	Source    Source
	sequences [][]*Sample
	variants  int // of probes
}

// Len returns the number of sequences.
func (s *Set) Len() int { return len(s.sequences) }

// Variants returns after how many sequences probes repeat the values that a model chooses its branches by; at least 1.
func (s *Set) Variants() int { return max(s.variants, 1) }

// Without returns the set without the sequences of some variants of probes.
func (s *Set) Without(bad func(variant int) bool) *Set {
	kept := &Set{Source: s.Source}
	for i, q := range s.sequences {
		if !bad(i % s.Variants()) {
			kept.sequences = append(kept.sequences, q)
		}
	}
	return kept
}

// Samples returns the number of samples in all sequences.
func (s *Set) Samples() int {
	n := 0
	for _, q := range s.sequences {
		n += len(q)
	}
	return n
}

// Sequence iterates over the samples of sequence i in order.
func (s *Set) Sequence(i int) iter.Seq[*Sample] { return slices.Values(s.sequences[i]) }

// Run takes the samples of sequence i through a model in order, at most limit of them where that is not 0: run computes the
// outputs for the feeds of a sample, and from them come the states that the next sample is fed with. Its errors are told with
// the sample's name.
func (s *Set) Run(i, limit int, run func(sample *Sample, feeds map[string]*onnx.Tensor) (outputs map[string]*onnx.Tensor, err error)) error {
	samples := s.sequences[i]
	if limit > 0 {
		samples = samples[:min(limit, len(samples))]
	}
	var outputs map[string]*onnx.Tensor
	for _, sample := range samples {
		feeds, err := sample.Feeds(outputs)
		if err != nil {
			return err
		}
		if outputs, err = run(sample, feeds); err != nil {
			return fmt.Errorf("%s: %w", sample.Name, err)
		}
	}
	return nil
}

// States returns the outputs that the next sample of a sequence is fed with, in order; never nil.
func (s *Set) States() []string {
	states := []string{}
	if s.Len() > 0 {
		states = slices.AppendSeq(states, maps.Values(s.sequences[0][0].model.state))
		slices.Sort(states)
	}
	return slices.Compact(states)
}

// From holdBackFrom sequences on, one in heldBackEvery is kept from calibration.
const (
	holdBackFrom  = 16
	heldBackEvery = 8
)

// Split divides a set into what to calibrate on and what to verify on. From 16 sequences on, every 8th is held back; fewer
// serve both ends, and verify is marked Seen. Probes stay Synthetic.
func (s *Set) Split() (calibrate, verify *Set) {
	calibrate, verify = &Set{Source: s.Source}, &Set{Source: HeldBack}
	if len(s.sequences) < holdBackFrom {
		calibrate.sequences, verify.sequences, verify.Source = s.sequences, s.sequences, Seen
	} else {
		for i, q := range s.sequences {
			part := calibrate
			if i%heldBackEvery == heldBackEvery-1 {
				part = verify
			}
			part.sequences = append(part.sequences, q)
		}
	}
	if s.Source == Synthetic {
		verify.Source = Synthetic
	}
	return calibrate, verify
}

// limit keeps n samples, evenly spaced over the sequences. Of a sequence it keeps the beginning: what comes later needs the
// state from before.
func limit(sequences [][]*Sample, n int) [][]*Sample {
	if n <= 0 {
		return sequences
	}
	kept := make([][]*Sample, 0, min(n, len(sequences)))
	count := cap(kept)
	for i := range count {
		q := sequences[i*len(sequences)/count]
		share := min(len(q), (n+count-i-1)/(count-i))
		kept = append(kept, q[:share])
		n -= share
	}
	return kept
}

// A Sample is one set of inputs, read anew at each call of Feeds.
type Sample struct {
	Name string // for messages: the file or folder, or the probe

	model  *signature
	read   func() (map[string]*onnx.Tensor, error) // the inputs that the sample itself holds, checked and of the model's types
	expect func() (map[string]*onnx.Tensor, error) // nil: none
	labels func() (*onnx.Tensor, error)            // nil: none
	check  func() error                            // tells by types and shapes alone whether read can work
}

// Feeds reads the sample and returns a tensor for every input of the model. An input that the sample lacks is, in this
// order: the output that Options.State feeds back into it, taken (not copied) from previous, the outputs of the sequence's
// sample before; the constant of Options.Values; zero, for a state when previous is nil. Symbolic dimensions of constants
// and zeros are those of the sample's other inputs, else of Options.Dims, else 1.
func (s *Sample) Feeds(previous map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
	feeds, err := s.read()
	if err != nil {
		return nil, err
	}
	return feeds, s.model.complete(s.Name, feeds, previous)
}

// Expected returns the output tensors that the sample's folder holds as output_K.pb, by name; nil when it holds none.
func (s *Sample) Expected() (map[string]*onnx.Tensor, error) {
	if s.expect == nil {
		return nil, nil
	}
	return s.expect()
}

// Labels returns the elements of the array that Options.Labels names; nil where it names none, or the sample may lack it and does.
func (s *Sample) Labels() ([]int64, error) {
	if s.labels == nil {
		return nil, nil
	}
	t, err := s.labels()
	if t == nil {
		return nil, err
	}
	return t.Int64s()
}

// Limited returns a set of n of the samples, evenly spaced over the sequences; of all, where n is 0.
func (s *Set) Limited(n int) *Set {
	return &Set{Source: s.Source, sequences: limit(s.sequences, n), variants: s.variants}
}
