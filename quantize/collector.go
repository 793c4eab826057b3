package quantize

import (
	"errors"
	"fmt"
	"math"
)

// A Collector gathers what the range of a tensor is chosen from, in constant
// memory, from any number of slices of any length. Collectors form a monoid:
// however values are cut into slices, spread over collectors, ordered and
// merged, the state is the same to the last bit; only a MovingAverage needs its
// samples whole and in order. Zero values are ready to use.
type Collector interface {
	Observe(x []float32)
	// Merge adds what another collector of the same type has seen; the other
	// stays as it is and shares nothing with this one.
	Merge(Collector) error
	// Seen counts the values and gives the exact extremes of the finite ones.
	Seen() Extremes
}

// Extremes is the Collector of least and greatest value.
type Extremes struct {
	Count    uint64 // finite values
	NaN, Inf uint64 // values that are not finite; nothing else includes them
	Min, Max float32
}

// Observe implements Collector.
func (e *Extremes) Observe(x []float32) {
	lo, hi := e.bounds()
	nan, inf := e.NaN, e.Inf
	for _, v := range x {
		if math.Float32bits(v)&^signBit >= infBits {
			if v != v {
				nan++
			} else {
				inf++
			}
			continue
		}
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	e.Count += uint64(len(x)) - (nan - e.NaN) - (inf - e.Inf)
	e.NaN, e.Inf = nan, inf
	e.setBounds(lo, hi)
}

// Merge implements Collector.
func (e *Extremes) Merge(c Collector) error {
	o, ok := c.(*Extremes)
	if !ok {
		return mergeError(e, c)
	}
	e.merge(o)
	return nil
}

func (e *Extremes) merge(o *Extremes) {
	lo, hi := e.bounds()
	olo, ohi := o.bounds()
	e.Count, e.NaN, e.Inf = e.Count+o.Count, e.NaN+o.NaN, e.Inf+o.Inf
	e.setBounds(min(lo, olo), max(hi, ohi))
}

// Seen implements Collector.
func (e *Extremes) Seen() Extremes { return *e }

func (e *Extremes) bounds() (lo, hi float32) {
	if e.Count == 0 {
		return float32(math.Inf(1)), float32(math.Inf(-1))
	}
	return e.Min, e.Max
}

func (e *Extremes) setBounds(lo, hi float32) {
	if e.Count == 0 {
		return
	}
	// Which zero came first must not show: −0 becomes +0.
	if lo == 0 {
		lo = 0
	}
	if hi == 0 {
		hi = 0
	}
	e.Min, e.Max = lo, hi
}

const infBits = 0xFF << 23

// Errors that a range is refused with.
var (
	ErrNoValues  = errors.New("no values were observed")
	ErrNonFinite = errors.New("values are not finite")
)

// Err tells why no range can be chosen: ErrNonFinite or ErrNoValues, or nil.
func (e Extremes) Err() error {
	if e.NaN+e.Inf > 0 {
		return fmt.Errorf("%w: %d NaN and %d infinite among %d", ErrNonFinite, e.NaN, e.Inf, e.Count+e.NaN+e.Inf)
	}
	if e.Count == 0 {
		return ErrNoValues
	}
	return nil
}

func mergeError(into, from Collector) error {
	return fmt.Errorf("a %T cannot merge a %T", into, from)
}
