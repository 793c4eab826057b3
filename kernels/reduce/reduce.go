// Package reduce folds rows of numbers. The order of every sum is fixed, so that results depend neither on the instruction
// set nor on threads: element k goes to partial sum k mod 16, and the 16 are added as a tree (0+8, 1+9, ..., then 0+4, ...).
package reduce

import "math"

// Lanes is the number of partial sums.
const Lanes = 16

// Sum returns the sum of x.
func Sum(x []float32) float32 {
	var s [Lanes]float32
	for half := 0; half < Lanes; half += 8 { // eight sums at a time stay in registers
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		i := half
		for ; i+8 <= len(x); i += Lanes {
			v := x[i : i+8 : i+8]
			s0 += v[0]
			s1 += v[1]
			s2 += v[2]
			s3 += v[3]
			s4 += v[4]
			s5 += v[5]
			s6 += v[6]
			s7 += v[7]
		}
		l := s[half : half+8]
		l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7] = s0, s1, s2, s3, s4, s5, s6, s7
		if i < len(x) {
			for j, v := range x[i:] {
				l[j] += v
			}
		}
	}
	return tree(&s)
}

// SumSquares returns the sum of squares; each square is rounded.
func SumSquares(x []float32) float32 {
	var s [Lanes]float32
	for half := 0; half < Lanes; half += 8 {
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		i := half
		for ; i+8 <= len(x); i += Lanes {
			v := x[i : i+8 : i+8]
			s0 += float32(v[0] * v[0])
			s1 += float32(v[1] * v[1])
			s2 += float32(v[2] * v[2])
			s3 += float32(v[3] * v[3])
			s4 += float32(v[4] * v[4])
			s5 += float32(v[5] * v[5])
			s6 += float32(v[6] * v[6])
			s7 += float32(v[7] * v[7])
		}
		l := s[half : half+8]
		l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7] = s0, s1, s2, s3, s4, s5, s6, s7
		if i < len(x) {
			for j, v := range x[i:] {
				l[j] += float32(v * v)
			}
		}
	}
	return tree(&s)
}

func tree(s *[Lanes]float32) float32 {
	for w := Lanes / 2; w > 0; w /= 2 {
		for i := range w {
			s[i] += s[i+w]
		}
	}
	return s[0]
}

// Columns stores in dst the sums of the columns of x, rows rows of len(dst) elements, ldx apart, in the order of Sum down
// each column. scratch has Lanes·len(dst) elements.
func Columns(dst, x []float32, rows, ldx int, scratch []float32) {
	n := len(dst)
	s := scratch[:Lanes*n]
	clear(s)
	for k := range rows {
		to, v := s[k%Lanes*n:][:n], x[k*ldx:][:n]
		for i := range to {
			to[i] += v[i]
		}
	}
	for w := Lanes / 2; w > 0; w /= 2 {
		for i := range w {
			a, b := s[i*n:][:n], s[(i+w)*n:][:n]
			for j := range a {
				a[j] += b[j]
			}
		}
	}
	copy(dst, s)
}

// Fold returns f over x in the order of Sum; empty is the neutral element of f.
func Fold[T any](x []T, empty T, f func(a, b T) T) T {
	var s [Lanes]T
	for i := range s {
		s[i] = empty
	}
	for i, v := range x {
		s[i%Lanes] = f(s[i%Lanes], v)
	}
	for w := Lanes / 2; w > 0; w /= 2 {
		for i := range w {
			s[i] = f(s[i], s[i+w])
		}
	}
	return s[0]
}

// Max returns the largest element of x, −∞ of none; NaN when there is one.
func Max(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		m = max(m, v)
	}
	return m
}

// Min returns the least element of x, +∞ of none; NaN when there is one.
func Min(x []float32) float32 {
	m := float32(math.Inf(1))
	for _, v := range x {
		m = min(m, v)
	}
	return m
}
