package quantize

import (
	"math"
	"math/big"
	"math/bits"
)

// A Histogram is the Collector that every method of choosing a range can be
// served from. It counts the finite values in buckets of their leading bits
// (sign, exponent, the first 7 bits of the mantissa), so that a bucket is at
// most 1/128 as wide as its values are large, and keeps exact sums of the
// values and of their squares.
//
// A binade with values takes 1 KiB, the whole 512 KiB at most; an ordinary
// activation has 20 to 60 of the 510 binades. Sums are exact for up to 2^41 values.
type Histogram struct {
	extremes Extremes
	binades  [2 * 256]*binade // by sign and exponent; the rows of Inf and NaN stay empty
}

const (
	mantissaBits = 23
	prefixBits   = 7
	prefixes     = 1 << prefixBits
)

// A binade has the values of one sign and exponent: ±(h + f)·2^k, where f is
// the stored mantissa, an integer below 2^23, and h and k follow from the exponent.
type binade struct {
	count  [prefixes]uint64 // by the leading bits of f
	sum    uint64           // Σf
	square [2]uint64        // Σf², low word first
}

// Observe implements Collector.
func (h *Histogram) Observe(x []float32) {
	h.extremes.Observe(x)
	for _, v := range x {
		b := math.Float32bits(v)
		e := h.binades[b>>mantissaBits]
		if e == nil {
			if b&^signBit >= infBits {
				continue
			}
			e = new(binade)
			h.binades[b>>mantissaBits] = e
		}
		e.count[b>>(mantissaBits-prefixBits)%prefixes]++
		f := uint64(b % (1 << mantissaBits))
		e.sum += f
		var carry uint64
		e.square[0], carry = bits.Add64(e.square[0], f*f, 0)
		e.square[1] += carry
	}
}

// Merge implements Collector.
func (h *Histogram) Merge(c Collector) error {
	o, ok := c.(*Histogram)
	if !ok {
		return mergeError(h, c)
	}
	h.extremes.merge(&o.extremes)
	for i, from := range o.binades {
		if from == nil {
			continue
		}
		if h.binades[i] == nil {
			h.binades[i] = new(binade)
		}
		h.binades[i].add(from)
	}
	return nil
}

func (e *binade) add(o *binade) {
	for i, n := range o.count {
		e.count[i] += n
	}
	e.sum += o.sum
	low, carry := bits.Add64(e.square[0], o.square[0], 0)
	e.square = [2]uint64{low, e.square[1] + o.square[1] + carry}
}

func (e *binade) values() uint64 {
	var n uint64
	for _, c := range e.count {
		n += c
	}
	return n
}

// Seen implements Collector.
func (h *Histogram) Seen() Extremes { return h.extremes }

// Moments returns mean and (population) variance of the finite values, each
// computed exactly and rounded to float64; zeros when there are none.
func (h *Histogram) Moments() (mean, variance float64) {
	if h.extremes.Count == 0 {
		return 0, 0
	}
	// In units of 2^-149, the least float32, and of its square.
	sum, square := new(big.Int), new(big.Int)
	for i, e := range h.binades {
		if e == nil {
			continue
		}
		// A value is (hidden + f) << shift.
		exponent := i % 256
		shift, hidden := uint(max(exponent-1, 0)), uint64(0)
		if exponent > 0 {
			hidden = 1 << mantissaBits
		}
		n := new(big.Int).SetUint64(e.values())
		s1 := new(big.Int).SetUint64(e.sum)
		s2 := new(big.Int).SetUint64(e.square[1])
		s2.Lsh(s2, 64).Add(s2, new(big.Int).SetUint64(e.square[0]))
		one := new(big.Int).SetUint64(hidden)
		// Σ(hidden+f)² = Σf² + hidden·(2Σf + n·hidden)
		t := new(big.Int).Mul(n, one)
		s2.Add(s2, new(big.Int).Mul(one, new(big.Int).Add(new(big.Int).Lsh(s1, 1), t)))
		s1.Add(s1, t)
		if i >= 256 {
			s1.Neg(s1)
		}
		sum.Add(sum, s1.Lsh(s1, shift))
		square.Add(square, s2.Lsh(s2, 2*shift))
	}
	n := new(big.Int).SetUint64(h.extremes.Count)
	mean = scaledRatio(sum, n, -149)
	// n²·variance = n·Σx² − (Σx)²
	square.Mul(square, n).Sub(square, new(big.Int).Mul(sum, sum))
	return mean, scaledRatio(square, n.Mul(n, n), -298)
}

// scaledRatio is a/b·2^exponent, rounded to float64 once (twice if subnormal).
func scaledRatio(a, b *big.Int, exponent int) float64 {
	r, _ := new(big.Rat).SetFrac(a, b).Float64()
	return math.Ldexp(r, exponent)
}

// A bucket has n values between lo and hi; lo == hi when they are all the same.
// n is whole but in mixtures.
type bucket struct{ lo, hi, n float64 }

// buckets returns the buckets that have values, from the least to the greatest.
// The outermost end at the exact extremes.
func (h *Histogram) buckets() []bucket {
	var r []bucket
	for i := 255; i > 0; i-- {
		r = h.binades[i+255].appendTo(r, i-1, -1)
	}
	for i := range 255 {
		r = h.binades[i].appendTo(r, i, 1)
	}
	if len(r) > 0 {
		first, last := &r[0], &r[len(r)-1]
		first.lo = float64(h.extremes.Min)
		last.hi = float64(h.extremes.Max)
		first.hi, last.lo = max(first.hi, first.lo), min(last.lo, last.hi)
	}
	return r
}

func (e *binade) appendTo(r []bucket, exponent int, sign float64) []bucket {
	if e == nil {
		return r
	}
	base := prefixes
	if exponent == 0 {
		base = 0
	}
	unit := math.Ldexp(sign, max(exponent, 1)-127-prefixBits)
	for i := range e.count {
		if sign < 0 {
			i = prefixes - 1 - i
		}
		if n := e.count[i]; n > 0 {
			near, far := float64(base+i)*unit, float64(base+i+1)*unit
			r = append(r, bucket{min(near, far), max(near, far), float64(n)})
		}
	}
	return r
}
