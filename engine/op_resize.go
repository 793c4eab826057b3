package engine

import (
	"fmt"
	"math"

	"github.com/zqonnx/zqonnx/onnx"
)

var resizeOps = []op{
	{"", "Resize", 10, 0, half(makeResize)},
	{"", "Upsample", 7, 9, half(makeResize)},
}

// resize is the attributes of Resize. Before opset 11 the coordinates are asymmetric and the nearest pixel is the one below, or
// above along an axis that shrinks.
type resize struct {
	mode, coordinates, nearest string
	shrinking                  string // nearest along an axis that shrinks
	cubic, extrapolation       float32
	excludeOutside, antialias  bool
	policy                     string
	axes                       []int64
	scalesAttr                 []float32 // Upsample 7
	roi, scales, sizes         int       // inputs; -1: none
	fractional                 bool      // align_corners reckons with sizes that are not rounded: the standard's own reference does, ONNX Runtime does not
}

func makeResize(b *builder, n *onnx.Node) (kernel, error) {
	z := &resize{
		mode: n.Str("mode", "nearest"), coordinates: n.Str("coordinate_transformation_mode", "half_pixel"),
		nearest: n.Str("nearest_mode", "round_prefer_floor"), cubic: n.Float("cubic_coeff_a", -0.75),
		extrapolation: n.Float("extrapolation_value", 0), excludeOutside: n.Int("exclude_outside", 0) != 0,
		antialias: n.Int("antialias", 0) != 0, policy: n.Str("keep_aspect_ratio_policy", "stretch"), axes: n.Ints("axes"),
		roi: 1, scales: 2, sizes: 3, fractional: b.p.opts.Semantics == Literal,
	}
	z.shrinking = z.nearest
	if n.Op == "Upsample" || b.opset(n) < 11 {
		z.coordinates, z.nearest, z.shrinking, z.roi, z.scales, z.sizes = "asymmetric", "floor", "ceil", -1, 1, -1
		if z.mode == "bilinear" {
			z.mode = "linear"
		}
		if z.scalesAttr = n.Floats("scales"); z.scalesAttr != nil {
			z.scales = -1
		}
	}
	if z.mode != "nearest" && z.mode != "linear" && z.mode != "cubic" {
		return nil, fmt.Errorf("mode %q is %w", z.mode, ErrUnsupported)
	}
	if coordinateModes[z.coordinates] == nil {
		return nil, fmt.Errorf("coordinate_transformation_mode %q is %w", z.coordinates, ErrUnsupported)
	}
	if nearestModes[z.nearest] == nil {
		return nil, fmt.Errorf("nearest_mode %q is %w", z.nearest, ErrUnsupported)
	}
	last := b.channelsLast(n.Input(0))
	var state resizer
	return func(r *run) error {
		axes, err := z.resolve(r, r.firstDims(r.in(0).Dims, last))
		if err != nil {
			return err
		}
		if last { // the axes in the order they lie in
			channels := axes[1]
			copy(axes[1:], axes[2:])
			axes[len(axes)-1] = channels
		}
		return state.run(r, z, axes)
	}, nil
}

// resizedAxis is one axis of a Resize.
type resizedAxis struct {
	in, out  int
	resized  float32 // the size before it is rounded down to out
	scale    float32
	from, to float32 // of the region of interest
}

// resolve finds the sizes, from scales or sizes.
func (z *resize) resolve(r *run, dims []int64) ([]resizedAxis, error) {
	all := make([]resizedAxis, len(dims))
	for i, d := range dims {
		all[i] = resizedAxis{in: int(d), out: int(d), scale: 1, to: 1}
	}
	which := make([]int, 0, len(dims))
	if z.axes == nil {
		for i := range dims {
			which = append(which, i)
		}
	}
	for _, a := range z.axes {
		if a < 0 {
			a += int64(len(dims))
		}
		if a < 0 || a >= int64(len(dims)) {
			return nil, fmt.Errorf("axes %v for a tensor of rank %d: %w", z.axes, len(dims), onnx.ErrBadModel)
		}
		which = append(which, int(a))
	}
	scales := z.scalesAttr
	if z.scales >= 0 && r.in(z.scales) != nil && r.in(z.scales).Len() > 0 {
		var err error
		if scales, err = r.in(z.scales).Float32s(); err != nil {
			return nil, err
		}
	}
	switch {
	case scales != nil:
		if len(scales) != len(which) {
			return nil, fmt.Errorf("%d scales for %d axes: %w", len(scales), len(which), onnx.ErrBadModel)
		}
		for i, a := range which {
			if !(scales[i] > 0) || float64(scales[i])*float64(all[a].in) > 1<<31 {
				return nil, fmt.Errorf("scales %v: %w", scales, onnx.ErrBadModel)
			}
			all[a].scale, all[a].out = scales[i], int(math.Floor(float64(float32(all[a].in)*scales[i])))
		}
	case z.sizes >= 0 && r.in(z.sizes) != nil:
		sizes, err := r.in(z.sizes).Int64s()
		if err != nil {
			return nil, err
		}
		if len(sizes) != len(which) {
			return nil, fmt.Errorf("%d sizes for %d axes: %w", len(sizes), len(which), onnx.ErrBadModel)
		}
		z.setSizes(all, which, sizes)
	default:
		return nil, fmt.Errorf("neither scales nor sizes are given: %w", onnx.ErrBadModel)
	}
	for i := range all {
		all[i].resized = float32(all[i].out)
		if z.fractional && scales != nil {
			all[i].resized = float32(all[i].in) * all[i].scale
		}
	}
	if z.coordinates == "tf_crop_and_resize" && z.roi >= 0 && r.in(z.roi) != nil {
		roi, err := r.in(z.roi).Float32s()
		if err != nil {
			return nil, err
		}
		if len(roi) != 2*len(which) {
			return nil, fmt.Errorf("roi of %d numbers for %d axes: %w", len(roi), len(which), onnx.ErrBadModel)
		}
		for i, a := range which {
			all[a].from, all[a].to = roi[i], roi[len(which)+i]
		}
	}
	return all, nil
}

// setSizes applies sizes under the policy on aspect ratios.
func (z *resize) setSizes(all []resizedAxis, which []int, sizes []int64) {
	common := float32(0)
	if z.policy != "stretch" {
		for i, a := range which {
			s := float32(sizes[i]) / float32(all[a].in)
			if i == 0 || (s < common) == (z.policy == "not_larger") {
				common = s
			}
		}
	}
	for i, a := range which {
		x := &all[a]
		if z.policy == "stretch" {
			x.out, x.scale = int(sizes[i]), float32(sizes[i])/float32(x.in)
		} else {
			x.out, x.scale = int(math.Floor(float64(common*float32(x.in))+0.5)), common
		}
	}
}

// coordinateModes give the coordinate in the input of pixel o of the output.
var coordinateModes = map[string]func(a *resizedAxis, o float32) float32{
	"half_pixel": func(a *resizedAxis, o float32) float32 { return (o+0.5)/a.scale - 0.5 },
	"half_pixel_symmetric": func(a *resizedAxis, o float32) float32 {
		// The output is cut where the scaled size is no integer: keep the picture in the middle.
		adjustment := float32(a.out) / (a.scale * float32(a.in))
		center := float32(a.in) / 2
		return center*(1-adjustment) + (o+0.5)/a.scale - 0.5
	},
	"pytorch_half_pixel": func(a *resizedAxis, o float32) float32 {
		if a.out <= 1 {
			return 0
		}
		return (o+0.5)/a.scale - 0.5
	},
	"tf_half_pixel_for_nn": func(a *resizedAxis, o float32) float32 { return (o + 0.5) / a.scale },
	"align_corners": func(a *resizedAxis, o float32) float32 {
		if a.resized == 1 {
			return 0
		}
		return o * float32(a.in-1) / (a.resized - 1)
	},
	"asymmetric": func(a *resizedAxis, o float32) float32 { return o / a.scale },
	"tf_crop_and_resize": func(a *resizedAxis, o float32) float32 {
		in := float32(a.in - 1)
		if a.out > 1 {
			return a.from*in + float32(o*(a.to-a.from)*in)/float32(a.out-1)
		}
		return 0.5 * (a.from + a.to) * in
	},
}

// nearestModes round a coordinate.
var nearestModes = map[string]func(x float32) float64{
	"round_prefer_floor": func(x float32) float64 { return math.Ceil(float64(x) - 0.5) },
	"round_prefer_ceil":  func(x float32) float64 { return math.Floor(float64(x) + 0.5) },
	"floor":              func(x float32) float64 { return math.Floor(float64(x)) },
	"ceil":               func(x float32) float64 { return math.Ceil(float64(x)) },
}

// nearest returns the input that a coordinate is rounded to, of so many.
func nearest(mode string, x float32, inputs int) int {
	return int(max(0, min(nearestModes[mode](x), float64(inputs-1))))
}

// taps are the inputs that make an output along one axis: inputs first … first+len(weights)-1.
type taps struct {
	first   int
	weights []float32
	outside bool // of the region that has pixels: the output is the extrapolation value
}

// bytesPerTap is about what the taps of an output take.
const bytesPerTap = 64

// tapsOf returns the taps of every output of an axis.
func (z *resize) tapsOf(a *resizedAxis) []taps {
	out := make([]taps, a.out)
	coordinate := coordinateModes[z.coordinates]
	for o := range out {
		x := coordinate(a, float32(o))
		if a.in == a.out && a.scale == 1 && a.from == 0 && a.to == 1 {
			x = float32(o)
		}
		t := &out[o]
		t.outside = z.coordinates == "tf_crop_and_resize" && (x < 0 || x > float32(a.in-1))
		switch {
		case z.mode == "nearest" && a.scale < 1:
			t.first, t.weights = nearest(z.shrinking, x, a.in), []float32{1}
		case z.mode == "nearest":
			t.first, t.weights = nearest(z.nearest, x, a.in), []float32{1}
		case z.mode == "linear":
			*t = z.filter(a, float64(x), 1, func(d float64) float64 { return max(0, 1-math.Abs(d)) }, t.outside)
		default:
			*t = z.filter(a, float64(x), 2, z.cubicWeight, t.outside)
		}
	}
	return out
}

// cubicWeight is Keys' cubic convolution kernel.
func (z *resize) cubicWeight(d float64) float64 {
	a := float64(z.cubic)
	d = math.Abs(d)
	switch {
	case d <= 1:
		return ((a+2)*d-(a+3))*d*d + 1
	case d < 2:
		return ((a*d-5*a)*d+8*a)*d - 4*a
	}
	return 0
}

// filter weighs the inputs closer than radius to x; when antialiasing a shrinking axis the filter is as much wider.
func (z *resize) filter(a *resizedAxis, x, radius float64, weight func(d float64) float64, outside bool) taps {
	stretch := 1.0
	if z.antialias && a.scale < 1 {
		stretch = float64(a.scale)
	}
	// Farther outside than the filter reaches all coordinates are alike; a region of interest may lie anywhere, and be NaN.
	reach := radius/stretch + 1
	if x = max(-reach, min(x, float64(a.in)+reach)); x != x {
		x = 0
	}
	lo, hi := int(math.Floor(x-radius/stretch))+1, int(math.Ceil(x+radius/stretch))-1
	if hi < lo { // x is a pixel and the radius is 1
		lo, hi = int(math.Floor(x)), int(math.Floor(x))
	}
	first, last := max(0, min(lo, a.in-1)), max(0, min(hi, a.in-1))
	w, sum := make([]float64, last-first+1), 0.0
	for i := lo; i <= hi; i++ {
		v := weight((float64(i) - x) * stretch)
		at := max(0, min(i, a.in-1)) - first
		// What lies outside counts for the edge pixel, or, if excluded, not at all.
		if i != at+first && z.excludeOutside {
			continue
		}
		w[at] += v
		sum += v
	}
	t := taps{first: first, weights: make([]float32, len(w)), outside: outside}
	for i, v := range w {
		if sum != 0 {
			v /= sum
		}
		t.weights[i] = float32(v)
	}
	return t
}

// resizer runs a Resize axis by axis. It keeps the taps while the sizes stay.
type resizer struct {
	axes      []resizedAxis
	taps      [][]taps
	src, dst  []float32
	inner, in int
	now       []taps
	body      func(lo, hi int)
}

func (s *resizer) run(r *run, z *resize, axes []resizedAxis) error {
	tx := r.in(0)
	dims := r.shape(len(axes))
	same := len(s.axes) == len(axes)
	for i, a := range axes {
		dims[i] = int64(a.out)
		same = same && s.axes[i] == a
		if a.in == 0 && a.out > 0 {
			return fmt.Errorf("an empty axis cannot be resized to %d: %w", a.out, onnx.ErrBadModel)
		}
	}
	y := r.out(0, tx.Type, dims...)
	if y.Len() == 0 {
		return nil
	}
	if !same {
		s.axes, s.taps = axes, make([][]taps, len(axes))
		for i := range axes {
			r.fits(bytesPerTap * dims[i])
			s.taps[i] = z.tapsOf(&axes[i])
		}
	}
	if z.mode == "nearest" {
		if tx.Type.Bits() < 8 {
			return fmt.Errorf("X of %s is %w", tx.Type, ErrUnsupported)
		}
		s.gather(y.Bytes(), tx.Bytes(), tx.Type.Bits()/8)
		s.extrapolate(y, z.extrapolation)
		return nil
	}
	if tx.Type == onnx.Float32 {
		s.interpolate(r, onnx.Data[float32](y), onnx.Data[float32](tx))
		s.extrapolate(y, z.extrapolation)
		return nil
	}
	x, err := tx.Float32s()
	if err != nil {
		return err
	}
	limits, ok := codeTypes[tx.Type]
	if !ok && tx.Type != onnx.Float64 && tx.Type != onnx.Int32 {
		return fmt.Errorf("X of %s is %w", tx.Type, ErrUnsupported)
	}
	f := make([]float32, y.Len())
	s.interpolate(r, f, x)
	switch {
	case tx.Type == onnx.Float64:
		for i, v := range f {
			onnx.Data[float64](y)[i] = float64(v)
		}
	case tx.Type == onnx.Int32:
		for i, v := range f {
			onnx.Data[int32](y)[i] = int32(v)
		}
	default: // as ONNX Runtime: limited, then cut
		for i, v := range f {
			setCode(tx.Type, y.Bytes(), i, int32(max(float32(limits[0]), min(v, float32(limits[1])))))
		}
	}
	return nil
}

// gather copies the nearest elements, size bytes each.
func (s *resizer) gather(dst, src []byte, size int) {
	// Trailing axes that stay as they are make one long element.
	rank := len(s.axes)
	for rank > 0 && s.axes[rank-1].in == s.axes[rank-1].out && s.unchanged(rank-1) {
		rank--
		size *= s.axes[rank].in
	}
	if len(dst) == 0 {
		return
	}
	if rank == 0 {
		copy(dst, src)
		return
	}
	s.gatherAxis(dst, src, 0, rank, size)
}

func (s *resizer) unchanged(axis int) bool {
	for o, t := range s.taps[axis] {
		if t.first != o {
			return false
		}
	}
	return true
}

func (s *resizer) gatherAxis(dst, src []byte, axis, rank, size int) {
	a := &s.axes[axis]
	to, from := len(dst)/a.out, len(src)/a.in
	if axis == rank-1 {
		for o, t := range s.taps[axis] {
			copy(dst[o*size:][:size], src[t.first*size:])
		}
		return
	}
	for o, t := range s.taps[axis] {
		if o > 0 && s.taps[axis][o-1].first == t.first {
			copy(dst[o*to:][:to], dst[(o-1)*to:])
			continue
		}
		s.gatherAxis(dst[o*to:][:to], src[t.first*from:][:from], axis+1, rank, size)
	}
}

// interpolate weighs along one axis after the other, the last first.
func (s *resizer) interpolate(r *run, dst, src []float32) {
	if s.body == nil {
		s.body = s.lines
	}
	inner := 1
	steps := 0
	for i := range s.axes {
		if s.weighs(i) {
			steps++
		}
	}
	if steps == 0 {
		copy(dst, src)
		return
	}
	for i := len(s.axes) - 1; i >= 0; i-- {
		a := &s.axes[i]
		if s.weighs(i) {
			steps--
			s.src, s.now, s.inner, s.in = src, s.taps[i], inner, a.in
			n := len(src) / a.in * a.out
			s.dst = dst
			if steps > 0 {
				s.dst = scratch[float32](r, n)
			}
			src = s.dst
			if n > 0 {
				r.par(n/inner, max(4096/inner, 1), s.body)
			}
		}
		inner *= a.out
	}
	s.src, s.dst = nil, nil
}

// weighs reports whether axis i changes anything.
func (s *resizer) weighs(i int) bool {
	if s.axes[i].in != s.axes[i].out {
		return true
	}
	for o, t := range s.taps[i] {
		for k, w := range t.weights {
			if want := t.first+k == o; want && w != 1 || !want && w != 0 {
				return true
			}
		}
	}
	return false
}

// lines computes lines lo … hi-1, each of inner elements, of the result [.., out, inner].
func (s *resizer) lines(lo, hi int) {
	out := len(s.now)
	for l := lo; l < hi; l++ {
		t := &s.now[l%out]
		at := (l/out*s.in + t.first) * s.inner
		if s.inner == 1 {
			var sum float32
			for k, w := range t.weights {
				sum += float32(s.src[at+k] * w)
			}
			s.dst[l] = sum
			continue
		}
		to := s.dst[l*s.inner:][:s.inner]
		clear(to)
		for k, w := range t.weights {
			for j, v := range s.src[at+k*s.inner:][:s.inner] {
				to[j] += float32(v * w)
			}
		}
	}
}

// extrapolate sets what lies outside the region of interest.
func (s *resizer) extrapolate(y *onnx.Tensor, value float32) {
	any := false
	for _, axis := range s.taps {
		for _, t := range axis {
			any = any || t.outside
		}
	}
	if !any || y.Type != onnx.Float32 {
		return
	}
	for i := range onnx.Data[float32](y) {
		rest := i
		for a := len(s.axes) - 1; a >= 0; a-- {
			if s.taps[a][rest%s.axes[a].out].outside {
				onnx.Data[float32](y)[i] = value
				break
			}
			rest /= s.axes[a].out
		}
	}
}
