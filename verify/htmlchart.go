package verify

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/zqonnx/zqonnx/internal/termtext"
	"github.com/zqonnx/zqonnx/metric"
)

// Charts are SVG in pixels; y grows downwards.

// plotHeight is the height of the area in which values are drawn, plotTop what is above it.
const (
	plotHeight = 220
	plotTop    = 12
)

// An axis maps values from Low to High to pixels from 0 to Length.
type axis struct{ low, high, length float64 }

func (a axis) at(v float64) float64 {
	if v != v {
		v = a.low
	}
	v = min(max(v, a.low), a.high)
	return float64((v - a.low) / (a.high - a.low) * a.length)
}

// up is where a value lies on an axis that goes upwards.
func (a axis) up(v float64) float64 { return plotTop + a.length - a.at(v) }

// point is a line so short that only its caps are seen: a whole path of points is one element. Printers leave out squares of
// length 0.
const point = "h.01"

// A tick is a labelled place on an axis.
type tick struct{ At, Text string }

// axisOver is an axis over values, from and to multiples of a round step, and that step; values that are not finite are
// drawn at its ends.
func axisOver(values []float64, length float64) (axis, float64) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if v-v == 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	if low > high {
		low, high = 0, 1
	}
	step := roundStep((high - low) / 5)
	a := axis{math.Floor(low/step) * step, math.Ceil(high/step) * step, length}
	if a.high == a.low {
		a.high = a.low + step
	}
	return a, step
}

// roundStep is the least of 1, 2 and 5 times a power of ten that is not less than v; 1 for 0.
func roundStep(v float64) float64 {
	if !(v > 0) {
		return 1
	}
	step := 1.0
	for step < v {
		step *= 10
	}
	for step/10 >= v {
		step /= 10
	}
	for _, part := range []float64{0.2, 0.5} {
		if step*part >= v {
			return step * part
		}
	}
	return step
}

// ticks are the multiples of the step on the axis.
func (a axis) ticks(step float64, place func(float64) float64) []tick {
	var list []tick
	n := int(math.Round((a.high - a.low) / step))
	for i := range n + 1 {
		v := a.low + float64(float64(i)*step)
		list = append(list, tick{px(place(v)), strconv.FormatFloat(v, 'g', 6, 64)})
	}
	return list
}

// px writes a coordinate.
func px(v float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}

// An errorChart shows both errors of every layer in the order of the graph.
type errorChart struct {
	Width, Height int // of the plot, without the axis beside it
	Bottom        string
	Y, X          []tick
	Line          string // path through the accumulated errors
	Dots, Own     string // paths of points
	Missing       string // path of the layers that were not measured
	Dot           int    // size of a point
	Hits          []hit
	Exact         bool // some layers differ by nothing
}

// A hit is the area that belongs to a layer.
type hit struct{ X, Width, Row, Text string }

// newErrorChart draws the layers; nil when none was measured.
func newErrorChart(layers []LayerError) *errorChart {
	var values []float64
	measured, exact := false, false
	for _, l := range layers {
		for _, m := range []*Measurement{l.Accumulated, l.Own} {
			if m == nil {
				continue
			}
			measured = true
			if v := float64(m.SQNR); v < metric.MaxSQNR {
				values = append(values, v)
			} else if v == v {
				exact = true
			}
		}
	}
	if !measured {
		return nil
	}
	y, yStep := axisOver(values, plotHeight)
	step := min(max(900/len(layers), 2), 72)
	c := &errorChart{
		Width: step*len(layers) + 12, Height: plotTop + plotHeight + 26, Bottom: px(plotTop + plotHeight), Y: y.ticks(yStep, y.up),
		Dot: min(max(step*2/3, 3), 8), Exact: exact,
	}
	labels := int(roundStep(40 / float64(step)))
	var line, dots, own, missing strings.Builder
	drawing := false
	for i, l := range layers {
		x := float64(i*step) + float64(step)/2
		if i == 0 || (i+1)%labels == 0 {
			c.X = append(c.X, tick{px(x), strconv.Itoa(i + 1)})
		}
		if m := l.Accumulated; m != nil {
			at := px(x) + " " + px(y.up(float64(m.SQNR)))
			verb := "L"
			if !drawing {
				verb = "M"
			}
			drawing = true
			line.WriteString(verb + at)
			dots.WriteString("M" + at + point)
		} else {
			drawing = false
		}
		if m := l.Own; m != nil {
			own.WriteString("M" + px(x) + " " + px(y.up(float64(m.SQNR))) + point)
		}
		if l.Accumulated == nil && l.Own == nil {
			missing.WriteString("M" + px(x) + " " + c.Bottom + "v-8")
		}
		c.Hits = append(c.Hits, hit{px(float64(i * step)), px(float64(step)), rowID(i), l.hover(i)})
	}
	c.Line, c.Dots, c.Own, c.Missing = line.String(), dots.String(), own.String(), missing.String()
	return c
}

// hover is what a pointer over the layer shows.
func (l *LayerError) hover(i int) string {
	text := fmt.Sprintf("%d  %s (%s", i+1, l.Key, l.Op)
	if l.Scheme != "" {
		text += ", " + l.Scheme
	}
	sqnr := func(m *Measurement) string {
		if m == nil {
			return "not measured"
		}
		return numberText(dB, float64(m.SQNR)) + " dB"
	}
	return termtext.Printable(text + "): accumulated " + sqnr(l.Accumulated) + ", own " + sqnr(l.Own))
}

// A distribution shows how a layer's values fill their codes.
type distribution struct {
	Key, About, Row string
	Plots           []histogramPlot
}

// A histogramPlot is a histogram and what its codes reach.
type histogramPlot struct {
	Title, Caption string
	Bars           string // path
	Reach          []string
	Zero           *band // of values that become the code of zero
	X              []tick
}

// A band is a range of an axis.
type band struct{ X, Width string }

// The size of a histogram in its own units; the page scales it.
const (
	barsWidth  = 300
	barsHeight = 80
)

// distributionPlots are those of the layers that have some, in graph order.
func (r *Report) distributionPlots() []distribution {
	var list []distribution
	for i := range r.Layers {
		l := &r.Layers[i]
		d := distribution{Key: termtext.Printable(l.Key), About: l.Op, Row: rowID(i)}
		if l.Scheme != "" {
			d.About += ", " + l.Scheme
		}
		d.About = termtext.Printable(d.About)
		if w := l.Weights; w != nil {
			d.Plots = append(d.Plots, w.floatPlot(), w.codePlot())
		}
		if a := l.Activations; a != nil {
			d.Plots = append(d.Plots, a.plot(l.Clipped))
		}
		if len(d.Plots) > 0 {
			list = append(list, d)
		}
	}
	return list
}

func (w *Weights) floatPlot() histogramPlot {
	p := newHistogramPlot("Weights", w.Float)
	p.Caption = plural(int(w.Float.values()), "weight")
	if w.Range != nil {
		p.reach(w.Float, w.Range)
		p.Caption += fmt.Sprintf("; the codes reach %s", w.Range)
		if w.Scales.Count > 1 {
			p.Caption += ", where the scale is greatest"
		}
	}
	return p
}

func (w *Weights) codePlot() histogramPlot {
	p := newHistogramPlot("Codes of the weights", w.Codes)
	p.Caption = termtext.Printable(w.Type)
	switch s := w.Scales; {
	case s == nil:
	case s.Count == 1:
		p.Caption += "; one scale, " + short(float64(s.Least))
	default:
		p.Caption += fmt.Sprintf("; %d scales, %s to %s", s.Count, short(float64(s.Least)), short(float64(s.Greatest)))
	}
	return p
}

func (a *Activations) plot(clipped *metric.Number) histogramPlot {
	p := newHistogramPlot("Output values", a.Float)
	p.Caption = plural(int(a.Float.values()), "value")
	if a.Range == nil {
		p.Caption += "; no fixed range"
		return p
	}
	p.reach(a.Float, a.Range)
	p.Caption += fmt.Sprintf("; the codes reach %s", a.Range)
	if clipped != nil {
		p.Caption += ", " + numberText(percent, float64(*clipped)) + " % of the values are beyond"
	}
	half := float64(*a.Scale) / 2
	p.Caption += ", what is within ±" + short(half) + " becomes 0"
	from, to := a.Float.at(-half), a.Float.at(half)
	p.Zero = &band{px(from), px(to - from)}
	return p
}

func (s *Span) String() string {
	return short(float64(s.Low)) + " to " + short(float64(s.High))
}

// newHistogramPlot draws buckets of equal width; a bar's height is the square root of its count, so that rare values are
// seen.
func newHistogramPlot(title string, h *Histogram) histogramPlot {
	p := histogramPlot{Title: title}
	most := float64(slices.Max(h.Counts))
	width := float64(barsWidth) / float64(len(h.Counts))
	var bars strings.Builder
	for i, n := range h.Counts {
		if n == 0 {
			continue
		}
		height := max(math.Sqrt(float64(n)/most)*barsHeight, 1)
		fmt.Fprintf(&bars, "M%s %dv-%sH%sv%sz", px(float64(i)*width), barsHeight, px(height), px(float64(i+1)*width), px(height))
	}
	p.Bars = bars.String()
	label := func(bound, bucket int) string {
		if h.Bounds[bucket] < 0 && h.Bounds[bucket+1] > 0 { // of a tally: all that is nearly zero
			return "0"
		}
		return short(float64(h.Bounds[bound]))
	}
	last := len(h.Counts) - 1
	p.X = []tick{{"0", label(0, 0)}, {px(barsWidth), label(last+1, last)}}
	if zero := h.at(0); zero > barsWidth/4 && zero < barsWidth*3/4 {
		p.X = append(p.X, tick{px(zero), "0"})
	}
	return p
}

// at is where a value lies among the buckets, all drawn equally wide; values beyond are at the ends.
func (h *Histogram) at(v float64) float64 {
	n := len(h.Counts)
	width := float64(barsWidth) / float64(n)
	for i := range n {
		if lo, hi := float64(h.Bounds[i]), float64(h.Bounds[i+1]); v < hi {
			return (float64(i) + max(v-lo, 0)/(hi-lo)) * width
		}
	}
	return barsWidth
}

// reach marks the ends of a range, where they are among the values.
func (p *histogramPlot) reach(h *Histogram, s *Span) {
	for _, v := range []metric.Number{s.Low, s.High} {
		if v > h.Bounds[0] && v < h.Bounds[len(h.Counts)] {
			p.Reach = append(p.Reach, px(h.at(float64(v))))
		}
	}
}
