// Package move copies elements between strided layouts: transposes, slices, repetitions and concatenations are one loop.
package move

import "slices"

// A Layout says where elements come from and go to: element (i₀, i₁, ...) of Dims goes from SrcAt + Σ i·Src to
// DstAt + Σ i·Dst. Strides count elements; a source stride may be 0 or negative.
type Layout struct {
	Dims, Dst, Src []int
	DstAt, SrcAt   int

	tiled  bool // the last two dimensions are a transpose
	blocks int  // of the last dimension but one, when tiled
}

// Reset makes l the layout of one element at the beginning.
func (l *Layout) Reset() {
	l.Dims, l.Dst, l.Src = l.Dims[:0], l.Dst[:0], l.Src[:0]
	l.DstAt, l.SrcAt = 0, 0
}

// Add appends a dimension.
func (l *Layout) Add(dim, dst, src int) {
	l.Dims, l.Dst, l.Src = append(l.Dims, dim), append(l.Dst, dst), append(l.Src, src)
}

// tile is the side of the squares that a transpose goes through, so that both sides stay in the cache.
const tile = 32

// Plan merges and orders the dimensions and returns the number of units for Run: 0 when there is nothing to copy.
func (l *Layout) Plan() (units int) {
	k := 0
	for i, d := range l.Dims {
		switch {
		case d == 0:
			return 0
		case d == 1:
			continue
		case k > 0 && l.Dst[k-1] == d*l.Dst[i] && l.Src[k-1] == d*l.Src[i]:
			l.Dims[k-1] *= d
			l.Dst[k-1], l.Src[k-1] = l.Dst[i], l.Src[i]
			continue
		}
		l.Dims[k], l.Dst[k], l.Src[k] = d, l.Dst[i], l.Src[i]
		k++
	}
	l.Dims, l.Dst, l.Src = l.Dims[:k], l.Dst[:k], l.Src[:k]
	if k == 0 {
		l.Add(1, 1, 1)
		k = 1
	}
	l.tiled = false
	if l.Src[k-1] != 1 && l.Src[k-1] != 0 {
		if j := slices.Index(l.Src, 1); j >= 0 && l.Dims[j] >= 4 && l.Dims[k-1] >= 4 {
			l.tiled = true
			for ; j < k-2; j++ { // any order of the dimensions copies the same
				l.Dims[j], l.Dims[j+1] = l.Dims[j+1], l.Dims[j]
				l.Dst[j], l.Dst[j+1] = l.Dst[j+1], l.Dst[j]
				l.Src[j], l.Src[j+1] = l.Src[j+1], l.Src[j]
			}
		}
	}
	units = 1
	for _, d := range l.Dims[:k-1] {
		units *= d
	}
	if l.tiled {
		l.blocks = (l.Dims[k-2] + tile - 1) / tile
		units = units / l.Dims[k-2] * l.blocks
	}
	return units
}

// Unit returns how many elements a unit copies, about.
func (l *Layout) Unit() int {
	n := l.Dims[len(l.Dims)-1]
	if l.tiled {
		n *= tile
	}
	return n
}

// Run copies units lo … hi-1 of those Plan counted.
func Run[T any](l *Layout, dst, src []T, lo, hi int) {
	k := len(l.Dims)
	if l.tiled {
		for u := lo; u < hi; u++ {
			d, s := l.at(u/l.blocks, k-2)
			transpose(l, dst, src, d, s, u%l.blocks*tile)
		}
		return
	}
	n, ds, ss := l.Dims[k-1], l.Dst[k-1], l.Src[k-1]
	for u := lo; u < hi; u++ {
		d, s := l.at(u, k-1)
		switch {
		case ds == 1 && ss == 1:
			copy(dst[d:d+n], src[s:s+n])
		case ds == 1 && ss == 0:
			x := src[s]
			for i := range dst[d : d+n] {
				dst[d+i] = x
			}
		default:
			for range n {
				dst[d] = src[s]
				d += ds
				s += ss
			}
		}
	}
}

// at returns where the row begins that has number u among the first k dimensions.
func (l *Layout) at(u, k int) (dst, src int) {
	dst, src = l.DstAt, l.SrcAt
	for j := k - 1; j >= 0; j-- {
		i := u % l.Dims[j]
		u /= l.Dims[j]
		dst += i * l.Dst[j]
		src += i * l.Src[j]
	}
	return dst, src
}

// transpose copies a block of up to tile rows of the last dimension but one; the source runs along that one.
func transpose[T any](l *Layout, dst, src []T, d0, s0, first int) {
	k := len(l.Dims)
	rows, columns := min(tile, l.Dims[k-2]-first), l.Dims[k-1]
	dRow, dColumn, sColumn := l.Dst[k-2], l.Dst[k-1], l.Src[k-1]
	for c0 := 0; c0 < columns; c0 += tile {
		c1 := min(c0+tile, columns)
		for i := range rows {
			d := d0 + (first+i)*dRow + c0*dColumn
			s := s0 + first + i + c0*sColumn
			for range c1 - c0 {
				dst[d] = src[s]
				d += dColumn
				s += sColumn
			}
		}
	}
}
