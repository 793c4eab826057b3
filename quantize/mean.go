package quantize

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
)

// A ChannelMean gathers the mean over all axes but one. Its sums are exact, so
// it is a monoid as the Collectors are. The zero value is ready to use and
// takes its number of channels from the first tensor.
type ChannelMean struct {
	count     uint64     // values per channel
	sums      []exactSum // by channel
	nonFinite uint64
}

// Observe adds the row-major tensor x of shape dims, whose channels lie along
// axis. All tensors must have the same number of channels; empty ones are skipped.
func (m *ChannelMean) Observe(x []float32, dims []int64, axis int) error {
	if axis < 0 || axis >= len(dims) {
		return fmt.Errorf("channel axis %d is outside the shape %v", axis, dims)
	}
	if len(x) == 0 {
		return nil
	}
	if n, ok := volume(dims); !ok || n != len(x) {
		return fmt.Errorf("shape %v does not describe %d values", dims, len(x))
	}
	l := layoutOf(dims, axis)
	if err := m.size(l.channels); err != nil {
		return err
	}
	m.count += uint64(l.outer * l.inner)
	l.each(func(c, from, to int) {
		s := &m.sums[c]
		for _, v := range x[from:to] {
			if v-v != 0 {
				m.nonFinite++
				continue
			}
			s.add(v)
		}
	})
	return nil
}

func (m *ChannelMean) size(channels int) error {
	if m.sums == nil {
		m.sums = make([]exactSum, channels)
	}
	if len(m.sums) != channels {
		return fmt.Errorf("%d channels after tensors of %d", channels, len(m.sums))
	}
	return nil
}

// Merge adds what another ChannelMean has seen.
func (m *ChannelMean) Merge(o *ChannelMean) error {
	if o.sums == nil {
		return nil
	}
	if err := m.size(len(o.sums)); err != nil {
		return err
	}
	m.count += o.count
	m.nonFinite += o.nonFinite
	for c := range m.sums {
		m.sums[c].merge(&o.sums[c])
	}
	return nil
}

// Means returns the mean of every channel: the exact sum divided by the count,
// rounded to float64. ErrNonFinite if NaN or Inf was seen, ErrNoValues if nothing.
func (m *ChannelMean) Means() ([]float64, error) {
	if m.nonFinite > 0 {
		return nil, fmt.Errorf("%w: %d NaN or infinite", ErrNonFinite, m.nonFinite)
	}
	if m.count == 0 {
		return nil, ErrNoValues
	}
	n := new(big.Int).SetUint64(m.count)
	r := make([]float64, len(m.sums))
	for c := range r {
		r[c] = scaledRatio(m.sums[c].big(), n, -149)
	}
	return r, nil
}

// An exactSum is a sum of float32 in units of 2^-149, the least of them: a
// two's complement integer of 320 bits, low word first. 277 of them hold one
// value, the rest the sum of 2^42.
type exactSum [5]uint64

func (s *exactSum) add(v float32) {
	b := math.Float32bits(v)
	exponent := b >> mantissaBits & 0xFF
	f := uint64(b % (1 << mantissaBits))
	if exponent > 0 {
		f |= 1 << mantissaBits
		exponent--
	}
	// The sign is extended by arithmetic, since a branch on it would be guessed
	// wrong half of the time: −f = ^f + 1.
	sign := uint64(int64(int32(b)) >> 31)
	at, shift := exponent/64, exponent%64
	// A shift by 64 gives 0 in Go: nothing for the second word then.
	var carry uint64
	s[at], carry = bits.Add64(s[at], f<<shift^sign, sign&1)
	s[at+1], carry = bits.Add64(s[at+1], f>>(64-shift)^sign, carry)
	for i := at + 2; sign+carry != 0 && i < uint32(len(s)); i++ {
		s[i], carry = bits.Add64(s[i], sign, carry)
	}
}

func (s *exactSum) merge(o *exactSum) {
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], o[i], carry)
	}
}

func (s *exactSum) big() *big.Int {
	r := new(big.Int)
	negative := s[len(s)-1]>>63 == 1
	for i := len(s) - 1; i >= 0; i-- {
		word := s[i]
		if negative {
			word = ^word
		}
		r.Lsh(r, 64).Or(r, new(big.Int).SetUint64(word))
	}
	if negative {
		r.Not(r)
	}
	return r
}
