// Package reduce folds rows of numbers. The order of every sum is fixed, so that results depend neither on the instruction
// set nor on threads: element k goes to partial sum k mod 8, and the 8 are added as a tree (0+4, 1+5, ..., then 0+2, ...), as
// ONNX Runtime on x86 does in rows of whole eights.
package reduce

import "math"

// Lanes is the number of partial sums.
const Lanes = 8

// Sum returns the sum of x.
func Sum(x []float32) float32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for ; len(x) >= Lanes; x = x[Lanes:] {
		s0 += x[0]
		s1 += x[1]
		s2 += x[2]
		s3 += x[3]
		s4 += x[4]
		s5 += x[5]
		s6 += x[6]
		s7 += x[7]
	}
	s := [Lanes]float32{s0, s1, s2, s3, s4, s5, s6, s7}
	for j, v := range x {
		s[j] += v
	}
	return tree(&s)
}

// SumSquares returns the sum of squares; each square is rounded.
func SumSquares(x []float32) float32 { return SumSquaredDeviations(x, 0) }

// SumSquaredDeviations returns the sum of (x-mean)²; each difference and square is rounded.
func SumSquaredDeviations(x []float32, mean float32) float32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	square := func(v float32) float32 { return float32((v - mean) * (v - mean)) }
	for ; len(x) >= Lanes; x = x[Lanes:] {
		s0 += square(x[0])
		s1 += square(x[1])
		s2 += square(x[2])
		s3 += square(x[3])
		s4 += square(x[4])
		s5 += square(x[5])
		s6 += square(x[6])
		s7 += square(x[7])
	}
	s := [Lanes]float32{s0, s1, s2, s3, s4, s5, s6, s7}
	for j, v := range x {
		s[j] += square(v)
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
