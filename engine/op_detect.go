package engine

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
)

var detectOps = []op{
	{"", "NonMaxSuppression", 10, 0, makeNonMaxSuppression},
	{"", "RoiAlign", 10, 0, half(makeRoiAlign)},
}

// box is two opposite corners, the lower one first.
type box struct{ x0, y0, x1, y1 float32 }

// cornerBox reads [y, x, y, x] of any two opposite corners.
func cornerBox(b []float32) box {
	return box{min(b[1], b[3]), min(b[0], b[2]), max(b[1], b[3]), max(b[0], b[2])}
}

// centerBox reads [x, y, width, height] with x and y of the center.
func centerBox(b []float32) box {
	w, h := b[2]/2, b[3]/2
	return box{b[0] - w, b[1] - h, b[0] + w, b[1] + h}
}

func (b box) area() float32 { return float32((b.x1 - b.x0) * (b.y1 - b.y0)) }

// overlaps reports whether the intersection of two boxes is more than that share of their union.
func (b box) overlaps(c box, share float32) bool {
	common := box{max(b.x0, c.x0), max(b.y0, c.y0), min(b.x1, c.x1), min(b.y1, c.y1)}
	if !(common.x1 > common.x0 && common.y1 > common.y0) {
		return false
	}
	both := common.area()
	union := b.area() + c.area() - both
	return b.area() > 0 && c.area() > 0 && union > 0 && both/union > share
}

// makeNonMaxSuppression selects, for each image and class, the boxes of the highest scores that overlap no box selected before.
func makeNonMaxSuppression(_ *builder, n *onnx.Node) (kernel, error) {
	read := cornerBox
	if n.Int("center_point_box", 0) != 0 {
		read = centerBox
	}
	var selected []int64
	var order []int
	var boxes, chosen []box
	return func(r *run) error {
		b, s := r.in(0), r.in(1)
		corners, scores := r.float32In(0), r.float32In(1)
		if b.Rank() != 3 || s.Rank() != 3 || b.Dims[2] != 4 || b.Dims[0] != s.Dims[0] || b.Dims[1] != s.Dims[2] {
			return fmt.Errorf("boxes of shape %v and scores of shape %v: [batches, boxes, 4] and [batches, classes, boxes] are needed: %w",
				b.Dims, s.Dims, onnx.ErrBadModel)
		}
		most := 0
		if v := r.ints(2); len(v) > 0 {
			most = int(max(v[0], 0))
		}
		share, least := float32(0), float32(math.Inf(-1))
		if v := r.float32In(3); len(v) > 0 {
			share = v[0]
		}
		if v := r.float32In(4); len(v) > 0 {
			least = v[0]
		}
		bounded := len(r.float32In(4)) > 0
		selected = selected[:0]
		batches, count, classes := int(b.Dims[0]), int(b.Dims[1]), int(s.Dims[1])
		for image := range batches {
			boxes = boxes[:0]
			for i := range count {
				boxes = append(boxes, read(corners[(image*count+i)*4:][:4]))
			}
			for class := range classes {
				score := scores[(image*classes+class)*count:][:count]
				order, chosen = order[:0], chosen[:0]
				for i, v := range score {
					if !bounded || v > least {
						order = append(order, i)
					}
				}
				slices.SortFunc(order, func(i, j int) int { return cmp.Or(cmp.Compare(score[j], score[i]), i-j) })
				for _, i := range order {
					if len(chosen) == most {
						break
					}
					if !slices.ContainsFunc(chosen, func(c box) bool { return boxes[i].overlaps(c, share) }) {
						chosen = append(chosen, boxes[i])
						selected = append(selected, int64(image), int64(class), int64(i))
					}
				}
			}
		}
		copy(onnx.Data[int64](r.out(0, onnx.Int64, int64(len(selected)/3), 3)), selected)
		return nil
	}, nil
}

// roiAlign is the attributes of RoiAlign.
type roiAlign struct {
	height, width, samples int // samples: a side of a bin; 0: by its size
	scale, offset          float32
	most                   bool // the greatest sample instead of their mean
}

// maxSamples bounds the samples of a bin, whose number follows from its size.
const maxSamples = 1 << 20

// makeRoiAlign pools regions of images into height×width bins from points between pixels.
func makeRoiAlign(b *builder, n *onnx.Node) (kernel, error) {
	z := roiAlign{
		height: int(n.Int("output_height", 1)), width: int(n.Int("output_width", 1)), samples: int(n.Int("sampling_ratio", 0)),
		scale: n.Float("spatial_scale", 1),
	}
	if z.height < 1 || z.width < 1 || z.height > 1<<20 || z.width > 1<<20 || z.samples > 1<<10 {
		return nil, fmt.Errorf("%d×%d bins of %d×%d samples: %w", z.height, z.width, z.samples, z.samples, onnx.ErrBadModel)
	}
	switch mode := n.Str("mode", "avg"); mode {
	case "avg":
	case "max":
		z.most = true
	default:
		return nil, fmt.Errorf("mode %q is %w", mode, ErrUnsupported)
	}
	def := "half_pixel"
	if b.opset(n) < 16 {
		def = "output_half_pixel"
	}
	switch mode := n.Str("coordinate_transformation_mode", def); mode {
	case "output_half_pixel":
	case "half_pixel":
		z.offset = 0.5
	default:
		return nil, fmt.Errorf("coordinate_transformation_mode %q is %w", mode, ErrUnsupported)
	}
	return z.run, nil
}

func (z *roiAlign) run(r *run) error {
	x, rois, images := r.in(0), r.in(1), r.ints(2)
	if x.Rank() != 4 || rois.Rank() != 2 || rois.Dims[1] != 4 || int64(len(images)) != rois.Dims[0] {
		return fmt.Errorf("X of shape %v, rois of shape %v and %d images of them: [N, C, H, W], [R, 4] and R are needed: %w",
			x.Dims, rois.Dims, len(images), onnx.ErrBadModel)
	}
	channels, h, w := int(x.Dims[1]), int(x.Dims[2]), int(x.Dims[3])
	pixels, corners := r.float32In(0), r.float32In(1)
	y := onnx.Data[float32](r.out(0, onnx.Float32, int64(len(images)), x.Dims[1], int64(z.height), int64(z.width)))
	for i, image := range images {
		if image < 0 || image >= x.Dims[0] {
			return fmt.Errorf("region %d is of image %d of %d", i, image, x.Dims[0])
		}
		if g := z.grid(corners[i*4:][:4]); !(g.tall*g.wide <= maxSamples) {
			return fmt.Errorf("region %d: %v×%v samples of a bin are %w", i, g.tall, g.wide, ErrUnsupported)
		}
	}
	if h == 0 || w == 0 {
		clear(y)
		return nil
	}
	bins := z.height * z.width
	r.each(len(images)*channels, func(i int) {
		region, channel := i/channels, i%channels
		plane := pixels[(int(images[region])*channels+channel)*h*w:][:h*w]
		z.pool(y[i*bins:][:bins], plane, h, w, corners[region*4:][:4])
	})
	return nil
}

// grid is where the samples of a region lie.
type grid struct {
	left, top  float32
	binH, binW float32
	tall, wide float64 // samples of a bin
}

// grid places the samples of a region [x, y, x, y].
func (z *roiAlign) grid(region []float32) grid {
	g := grid{left: float32(region[0]*z.scale) - z.offset, top: float32(region[1]*z.scale) - z.offset}
	width, height := float32(region[2]*z.scale)-z.offset-g.left, float32(region[3]*z.scale)-z.offset-g.top
	if z.offset == 0 {
		width, height = max(width, 1), max(height, 1)
	}
	g.binH, g.binW = height/float32(z.height), width/float32(z.width)
	g.tall, g.wide = float64(z.samples), float64(z.samples)
	if z.samples <= 0 {
		g.tall, g.wide = max(math.Ceil(float64(g.binH)), 0), max(math.Ceil(float64(g.binW)), 0)
	}
	return g
}

// pool computes the bins of a region of one plane.
func (z *roiAlign) pool(y, plane []float32, h, w int, region []float32) {
	g := z.grid(region)
	rows, columns := int(g.tall), int(g.wide)
	for i := range y {
		bin0, bin1 := float32(i/z.width), float32(i%z.width)
		sum, most := float32(0), float32(0)
		for a := range rows {
			atY := g.top + float32(bin0*g.binH) + float32((float32(a)+0.5)*g.binH)/float32(rows)
			for b := range columns {
				atX := g.left + float32(bin1*g.binW) + float32((float32(b)+0.5)*g.binW)/float32(columns)
				t := corners(plane, h, w, atY, atX)
				sum += t[0] + t[1] + t[2] + t[3]
				if v := max(t[0], t[1], t[2], t[3]); a+b == 0 || v > most {
					most = v
				}
			}
		}
		if y[i] = sum / float32(max(rows*columns, 1)); z.most {
			y[i] = most
		}
	}
}

// corners returns the four pixels around a point, each times its bilinear weight; zeros outside of the plane.
func corners(plane []float32, h, w int, y, x float32) [4]float32 {
	if !(y >= -1 && y <= float32(h) && x >= -1 && x <= float32(w)) {
		return [4]float32{}
	}
	y0, y1, ly := between(y, h)
	x0, x1, lx := between(x, w)
	hy, hx := 1-ly, 1-lx
	return [4]float32{
		float32(hy*hx) * plane[y0*w+x0], float32(hy*lx) * plane[y0*w+x1],
		float32(ly*hx) * plane[y1*w+x0], float32(ly*lx) * plane[y1*w+x1],
	}
}

// between returns the pixels on both sides of a coordinate on an axis of that size, and how far it is from the first.
func between(v float32, size int) (before, after int, distance float32) {
	v = max(v, 0)
	before = int(v)
	if before >= size-1 {
		return size - 1, size - 1, 0
	}
	return before, before + 1, v - float32(before)
}
