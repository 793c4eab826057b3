package move

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naive copies element by element, as the doc comment of Layout says.
func naive(l *Layout, dst, src []int32) {
	index := make([]int, len(l.Dims))
	for _, d := range l.Dims {
		if d == 0 {
			return
		}
	}
	for {
		d, s := l.DstAt, l.SrcAt
		for k, i := range index {
			d += i * l.Dst[k]
			s += i * l.Src[k]
		}
		dst[d] = src[s]
		k := len(index) - 1
		for ; k >= 0; k-- {
			if index[k]++; index[k] < l.Dims[k] {
				break
			}
			index[k] = 0
		}
		if k < 0 {
			return
		}
	}
}

// TestRun: any layout, with permuted, repeated, reversed and dropped source dimensions, run in any pieces.
func TestRun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rank := rapid.IntRange(0, 5).Draw(t, "rank")
		dims := make([]int, rank)
		n := 1
		for i := range dims {
			dims[i] = rapid.SampledFrom([]int{1, 2, 3, 5, 33, 70, 0}).Draw(t, "dim")
			if n*max(dims[i], 1) > 1<<14 {
				dims[i] = 1
			}
			n *= dims[i]
		}
		order := rapid.Permutation(seq(rank)).Draw(t, "order")
		srcStride := make([]int, rank)
		size, at := 1, 0
		for _, i := range order {
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0: // repeated
			case 1: // reversed
				srcStride[i] = -size
				at += (max(dims[i], 1) - 1) * size
				size *= max(dims[i], 1)
			default:
				srcStride[i] = size
				size *= max(dims[i], 1)
			}
		}
		build := func() *Layout {
			l := &Layout{}
			stride := n
			for i, d := range dims {
				if d > 0 {
					stride /= d
				}
				l.Add(d, stride, srcStride[i])
			}
			l.SrcAt, l.DstAt = at, 3
			return l
		}
		src := make([]int32, size)
		for i := range src {
			src[i] = int32(i + 1)
		}
		want, got := make([]int32, n+6), make([]int32, n+6) // guards on both sides
		naive(build(), want, src)
		l := build()
		units := l.Plan()
		for lo := 0; lo < units; {
			hi := rapid.IntRange(lo+1, units).Draw(t, "hi")
			Run(l, got, src, lo, hi)
			lo = hi
		}
		if !slices.Equal(got, want) {
			t.Fatalf("dims %v source strides %v: got %v, want %v", dims, srcStride, got, want)
		}
	})
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func BenchmarkTranspose(b *testing.B) {
	for _, c := range []struct {
		dims, perm []int
	}{
		{[]int{8, 128, 12, 64}, []int{0, 2, 1, 3}}, {[]int{768, 768}, []int{1, 0}}, {[]int{1, 64, 56, 56}, []int{0, 2, 3, 1}},
	} {
		b.Run(fmt.Sprint(c.dims, c.perm), func(b *testing.B) {
			strides := make([]int, len(c.dims))
			n := 1
			for i := len(c.dims) - 1; i >= 0; i-- {
				strides[i] = n
				n *= c.dims[i]
			}
			src, dst := make([]uint32, n), make([]uint32, n)
			var l Layout
			b.SetBytes(int64(4 * n))
			for b.Loop() {
				l.Reset()
				m := n
				for _, p := range c.perm {
					m /= c.dims[p]
					l.Add(c.dims[p], m, strides[p])
				}
				Run(&l, dst, src, 0, l.Plan())
			}
		})
	}
}
