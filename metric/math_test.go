package metric

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// ulps is the distance in units in the last place.
func ulps(got, want float64) float64 {
	return math.Abs(got-want) / (math.Nextafter(math.Abs(want), math.Inf(1)) - math.Abs(want))
}

func TestExpAndLnAreWithinTwoUlps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(-700, 700).Draw(t, "x")
		if u := ulps(exp(x), math.Exp(x)); u > 2 {
			t.Errorf("exp(%v) = %v, want %v: %v ulps", x, exp(x), math.Exp(x), u)
		}
		y := rapid.Float64Range(0x1p-1022, math.MaxFloat64).Draw(t, "y")
		if u := ulps(ln(y), math.Log(y)); u > 2 {
			t.Errorf("ln(%v) = %v, want %v: %v ulps", y, ln(y), math.Log(y), u)
		}
	})
}

// The edges are numpy's: math.Exp and math.Log are wrong there on amd64.
func TestExpAndLnAtTheEdges(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"exp 0", exp(0), 1},
		{"exp 710", exp(710), inf},
		{"exp 709.78", exp(709.78), 1.7928227943945155e+308},
		{"exp -745.13", exp(-745.13), math.SmallestNonzeroFloat64},
		{"exp -746", exp(-746), 0},
		{"exp -Inf", exp(-inf), 0},
		{"exp NaN", exp(nan), nan},
		{"ln 1", ln(1), 0},
		{"ln 0", ln(0), -inf},
		{"ln Inf", ln(inf), inf},
		{"ln -1", ln(-1), nan},
		{"ln NaN", ln(nan), nan},
		{"ln least", ln(math.SmallestNonzeroFloat64), -744.4400719213812},
	} {
		same := c.got == c.want || c.got != c.got && c.want != c.want || math.Abs(c.got/c.want-1) < 4e-16
		if !same {
			t.Errorf("%s = %v, want %v", c.name, c.got, c.want)
		}
	}
}

// Near 1 the relative error of ln must stay small too.
func TestLnNearOne(t *testing.T) {
	for i := -1000; i <= 1000; i++ {
		x := 1 + float64(i)*1e-5
		if i == 0 {
			continue
		}
		if u := ulps(ln(x), math.Log(x)); u > 2 {
			t.Errorf("ln(%v): %v ulps", x, u)
		}
	}
}
