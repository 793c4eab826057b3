package metric

// A Clip counts the values that quantization cuts off.
type Clip struct{ Clipped, Values uint64 }

// Observe counts the values of x beyond lo and hi, the least and the greatest
// value that do not saturate (quantize.Params.Limits). NaN counts as clipped.
func (c *Clip) Observe(x []float32, lo, hi float64) {
	for _, v := range x {
		if f := float64(v); !(f >= lo && f <= hi) {
			c.Clipped++
		}
	}
	c.Values += uint64(len(x))
}

// Merge adds the counts of another Clip.
func (c *Clip) Merge(o Clip) {
	c.Clipped += o.Clipped
	c.Values += o.Values
}

// Share is the clipped part of the values; 0 of none.
func (c Clip) Share() float64 { return float64(c.Clipped) / max(float64(c.Values), 1) }
