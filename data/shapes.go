package data

import (
	"math"
	"math/rand/v2"
	"slices"
)

// What probes look like. All is float64 and deterministic to the bit: products are converted before they are added, so that
// no compiler fuses the two (a product with a power of two is exact, fused or not), and of package math only what is exact
// is used.

// mix hashes numbers into one (splitmix64's finaliser after each).
func mix(keys ...uint64) uint64 {
	h := uint64(0)
	for _, k := range keys {
		h += k + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

func textKey(s string) uint64 {
	h := uint64(len(s))
	for _, b := range []byte(s) {
		h = mix(h, uint64(b))
	}
	return h
}

// unit maps a hash to [-1, 1).
func unit(h uint64) float64 { return float64(float64(h>>11)*0x1p-52) - 1 }

// sine returns the sine of an angle in turns, to about 1e-5.
func sine(turns float64) float64 {
	x := turns - math.Floor(turns+0.5)
	if x > 0.25 {
		x = 0.5 - x
	} else if x < -0.25 {
		x = -0.5 - x
	}
	x *= 2 * math.Pi
	z := float64(x * x)
	y := 1.0
	for _, d := range [...]float64{72, 42, 20, 6} {
		y = 1 - float64(z/d*y)
	}
	return float64(x * y)
}

// lattice is smooth noise: random values at whole numbers, blended between.
func lattice(x, y float64, key uint64) float64 {
	i, j := math.Floor(x), math.Floor(y)
	at := func(di, dj float64) float64 { return unit(mix(key, uint64(int64(i+di)), uint64(int64(j+dj)))) }
	u, v := smooth(x-i), smooth(y-j)
	return blend(blend(at(0, 0), at(1, 0), u), blend(at(0, 1), at(1, 1), u), v)
}

func smooth(t float64) float64 { return float64(float64(t*t) * (3 - float64(2*t))) }

func blend(a, b, t float64) float64 { return a + float64((b-a)*t) }

// pink is 1/f noise at a point of a field of the given size: octaves of equal amplitude, from the whole field down to two
// points, in about [-1, 1].
func pink(x, y, size float64, key uint64) float64 {
	sum, octaves := 0.0, 0.0
	for cell := size; cell >= 2 && octaves < 12; cell /= 2 {
		sum += lattice(x/cell, y/cell, mix(key, uint64(octaves)))
		octaves++
	}
	if octaves == 0 {
		return unit(key)
	}
	return 1.5 * sum / math.Sqrt(octaves)
}

// A wave is the probe of a signal along time, in about [-1, 1]. t runs on over the steps of a sequence; at is t within one
// step of n.
type wave func(t, at, n float64, key uint64) float64

var waves = []wave{
	func(t, _, n float64, key uint64) float64 { // sines, from one period a step up to half the points
		y := 0.0
		for k := range uint64(4) {
			spread := 0.5 + 0.5*unit(mix(key, k))
			frequency := blend(1, max(1, n/4), float64(float64(spread*spread)*spread)) / n
			y += sine(float64(frequency*t)+unit(mix(key, k, 1))) / float64(k+1)
		}
		return y / 2
	},
	func(t, _, n float64, key uint64) float64 { return pink(t, 0, n, key) },
	func(_, at, n float64, key uint64) float64 { // an impulse, somewhere in the first half
		if at == math.Floor(n*(0.25+float64(0.25*unit(key)))) {
			return 1
		}
		return 0.01 * unit(mix(key, uint64(at)))
	},
	func(t, at, n float64, key uint64) float64 { // decaying noise
		r := 1 - at/n
		r = float64(r * r)
		return float64(float64(r*r) * unit(mix(key, uint64(t))))
	},
	func(t, _, _ float64, key uint64) float64 { return 0.05 * unit(mix(key, uint64(t))) },
}

// signal fills f with a wave along the longest axis, another one for each place on the other axes.
func signal(f []float32, dims []int64, sequence, step int, key uint64) {
	time, stride := 0, int64(1)
	for i, n := range dims {
		if n >= dims[time] {
			time = i
		}
	}
	for _, n := range dims[time+1:] {
		stride *= n
	}
	n := dims[time]
	w := waves[sequence%len(waves)]
	for i := range f {
		at := int64(i) / stride % n
		line := uint64(int64(i)/(stride*n)*stride + int64(i)%stride)
		f[i] = float32(w(float64(at+int64(step)*n), float64(at), float64(n), mix(key, line)))
	}
}

// field fills f with 1/f noise over the last two axes.
func field(f []float32, dims []int64, key uint64) {
	h, w := dims[len(dims)-2], dims[len(dims)-1]
	for i := range f {
		y, x := int64(i)/w%h, int64(i)%w
		f[i] = float32(pink(float64(x), float64(y), float64(max(h, w)), mix(key, uint64(int64(i)/(h*w)))))
	}
}

// A scene is a picture in [0, 1]: the value of a channel at a point of [0, 1)².
type scene func(x, y float64, channel uint64) float64

// pictures make a scene for a picture of size points a side.
var pictures = []func(r *rand.Rand, size float64) scene{
	func(r *rand.Rand, _ float64) scene { // a gradient, of another direction in each channel
		var dx, dy [4]float64
		for c := range dx {
			dx[c], dy[c] = 2*r.Float64()-1, 2*r.Float64()-1
		}
		return func(x, y float64, c uint64) float64 {
			return 0.5 + float64(dx[c&3]*(x-0.5)) + float64(dy[c&3]*(y-0.5))
		}
	},
	func(r *rand.Rand, _ float64) scene { // edges: flat rectangles over each other, two of them pages with strokes as of text
		type box struct {
			x0, y0, x1, y1 float64
			colour         [4]float64
		}
		var boxes []box
		flat := func(x, y, w, h float64, colour [4]float64) {
			boxes = append(boxes, box{x, y, x + w, y + h, colour})
		}
		random := func() [4]float64 { return [4]float64{r.Float64(), r.Float64(), r.Float64(), r.Float64()} }
		flat(0, 0, 1, 1, random())
		for range 8 {
			flat(r.Float64()-0.25, r.Float64()-0.25, r.Float64(), r.Float64(), random())
		}
		for range 2 {
			x, y := 0.5*r.Float64(), 0.75*r.Float64()
			flat(x, y, 0.5, 0.125, [4]float64{1, 1, 1, 1})
			for range 12 {
				x += 0.01 + float64(0.025*r.Float64())
				flat(x, y+0.03, 0.01, 0.03+float64(0.03*r.Float64()), [4]float64{})
			}
		}
		return func(x, y float64, c uint64) float64 {
			for _, b := range slices.Backward(boxes) {
				if x >= b.x0 && x < b.x1 && y >= b.y0 && y < b.y1 {
					return b.colour[c&3]
				}
			}
			return 0
		}
	},
	func(r *rand.Rand, _ float64) scene { // blobs: round bumps, bright and dark
		var bx, by, radius [6]float64
		for i := range bx {
			bx[i], by[i], radius[i] = r.Float64(), r.Float64(), 0.1+float64(0.3*r.Float64())
		}
		colours := r.Uint64()
		return func(x, y float64, c uint64) float64 {
			v := 0.5
			for i := range bx {
				dx, dy := (x-bx[i])/radius[i], (y-by[i])/radius[i]
				if d := float64(dx*dx) + float64(dy*dy); d < 1 {
					v += float64(float64((1-d)*(1-d)) * unit(mix(colours, uint64(i), c)))
				}
			}
			return v
		}
	},
	func(r *rand.Rand, size float64) scene { // 1/f noise, the channels alike
		shared, own := r.Uint64(), r.Uint64()
		return func(x, y float64, c uint64) float64 {
			v := float64(0.4*pink(float64(x*size), float64(y*size), size, shared)) + float64(0.1*pink(float64(x*size), float64(y*size), size, mix(own, c)))
			return 0.5 + v
		}
	},
}

// picture fills f with pictures of one kind.
func picture(f []float32, dims []int64, channels, kind int, key uint64) {
	h, w, c := dims[1], dims[2], dims[3]
	if channels == 1 {
		c, h, w = dims[1], dims[2], dims[3]
	}
	size := float64(max(h, w))
	for n := range dims[0] {
		paint := pictures[kind%len(pictures)](rand.New(rand.NewPCG(key, uint64(n))), size)
		page := f[n*h*w*c : (n+1)*h*w*c]
		for i := range page {
			ch, y, x := int64(i)%c, int64(i)/c/w, int64(i)/c%w
			if channels == 1 {
				ch, y, x = int64(i)/(h*w), int64(i)/w%h, int64(i)%w
			}
			page[i] = float32(min(1, max(0, paint(float64(x)/size, float64(y)/size, uint64(ch)))))
		}
	}
}

// normalise maps [0, 1] to one of the ranges that models want, in turn: none is known to be right.
func normalise(f []float32, turn int) {
	r := [...]struct{ mean, scale float32 }{{0.5, 2}, {0.45, 4.4}, {0, 1}}[turn%3]
	for i, x := range f {
		f[i] = (x - r.mean) * r.scale
	}
}
