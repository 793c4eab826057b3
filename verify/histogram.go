package verify

import (
	"math"

	"github.com/zqonnx/zqonnx/metric"
	"github.com/zqonnx/zqonnx/onnx"
)

// A Histogram counts values: Counts[i] of them lie between Bounds[i] and Bounds[i+1]. Values that are not finite are not
// counted.
type Histogram struct {
	Bounds []metric.Number `json:"bounds"`
	Counts []uint64        `json:"counts"`
}

// values returns how many values were counted.
func (h *Histogram) values() uint64 {
	var n uint64
	for _, c := range h.Counts {
		n += c
	}
	return n
}

const (
	linearBuckets = 64 // of the histogram of a constant
	perOctave     = 4  // buckets of a tally
	octaves       = 12 // below the greatest value: 4 more than 8 bits tell apart
)

// A tally counts float32 values as they come, in fixed memory: by their leading bits, which are the sign, the exponent and
// two bits of the fraction.
type tally [1 << 11]uint64

const (
	tallyShift = 32 - 11
	negative   = 1 << 10  // the sign's bit in a bucket's number; the others are the magnitude
	infinite   = 255 << 2 // the first magnitude that is not finite
)

func (t *tally) add(x []float32) {
	for _, v := range x {
		t[math.Float32bits(v)>>tallyShift]++
	}
}

// magnitude is the least absolute value of a bucket.
func magnitude(bucket int) float64 {
	return float64(math.Float32frombits(uint32(bucket) << tallyShift))
}

// histogram returns the buckets between the least and the greatest value, those too small to matter as one around zero; nil
// when nothing was counted.
func (t *tally) histogram() *Histogram {
	top := func(sign int) int { // one beyond the last bucket in use
		for m := infinite - 1; m > 0; m-- {
			if t[sign+m] > 0 {
				return m + 1
			}
		}
		return 0
	}
	below, above := top(negative), top(0)
	floor := max(below, above) - octaves*perOctave
	floor = max(1, floor-floor%perOctave)
	for floor < max(below, above)-perOctave && t.empty(floor, floor+perOctave) {
		floor += perOctave
	}
	h := &Histogram{}
	add := func(bound float64, count uint64) {
		h.Bounds, h.Counts = append(h.Bounds, metric.Number(bound)), append(h.Counts, count)
	}
	for m := below - 1; m >= floor; m-- {
		add(-magnitude(m+1), t[negative+m])
	}
	var around uint64
	for m := range floor {
		around += t[m] + t[negative+m]
	}
	add(-magnitude(floor), around)
	for m := floor; m < above; m++ {
		add(magnitude(m), t[m])
	}
	h.Bounds = append(h.Bounds, metric.Number(magnitude(max(floor, above))))
	if h.values() == 0 {
		return nil
	}
	return h
}

// empty reports whether no value of either sign has a magnitude from one bucket to before another.
func (t *tally) empty(from, to int) bool {
	for m := from; m < to; m++ {
		if t[m]+t[negative+m] > 0 {
			return false
		}
	}
	return true
}

// linear is the histogram of a constant, in buckets of equal width between plus and minus its greatest magnitude.
func linear(x []float32) *Histogram {
	top := 0.0
	for _, v := range x {
		if a := math.Abs(float64(v)); a > top && !math.IsInf(a, 0) {
			top = a
		}
	}
	if top == 0 {
		top = 1
	}
	const half = linearBuckets / 2
	h := &Histogram{Counts: make([]uint64, linearBuckets)}
	for i := range linearBuckets + 1 {
		h.Bounds = append(h.Bounds, metric.Number(top*float64(i-half)/half))
	}
	for _, v := range x {
		if r := float64(v) / top; r >= -1 && r <= 1 {
			h.Counts[min(half+int(math.Floor(r*half)), linearBuckets-1)]++
		}
	}
	return h
}

// codeHistogram is the histogram of codes over all that their type has; nil when it is none of codeTypes.
func codeHistogram(t *onnx.Tensor) *Histogram {
	all, ok := codeTypes[t.Type]
	if !ok {
		return nil
	}
	least, width := all.least, (all.greatest-all.least+1)/linearBuckets
	h := &Histogram{Counts: make([]uint64, linearBuckets)}
	for b := least; b <= all.greatest+1; b += width {
		h.Bounds = append(h.Bounds, metric.Number(b))
	}
	switch t.Type { // without a copy: embedding tables are large
	case onnx.Int8:
		countCodes(h, onnx.Data[int8](t), least, width)
	case onnx.Uint8:
		countCodes(h, onnx.Data[uint8](t), least, width)
	case onnx.Int16:
		countCodes(h, onnx.Data[int16](t), least, width)
	case onnx.Uint16:
		countCodes(h, onnx.Data[uint16](t), least, width)
	}
	return h
}

func countCodes[E int8 | uint8 | int16 | uint16](h *Histogram, codes []E, least, width int64) {
	for _, c := range codes {
		h.Counts[(int64(c)-least)/width]++
	}
}
