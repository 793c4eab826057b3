package reduce

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestSums holds Sum, SumSquares and Columns to the definition in the package comment, spelled by Fold.
func TestSums(t *testing.T) {
	add := func(a, b float32) float32 { return a + b }
	rapid.Check(t, func(t *rapid.T) {
		rows, columns := rapid.IntRange(0, 70).Draw(t, "rows"), rapid.IntRange(1, 5).Draw(t, "columns")
		x := make([]float32, rows*columns)
		for i := range x {
			x[i] = rapid.Float32Range(-1e6, 1e6).Draw(t, "x")
		}
		squares := make([]float32, len(x))
		for i, v := range x {
			squares[i] = v * v
		}
		if got, want := Sum(x), Fold(x, 0, add); got != want {
			t.Fatalf("Sum: %g, want %g", got, want)
		}
		if got, want := SumSquares(x), Fold(squares, 0, add); got != want {
			t.Fatalf("SumSquares: %g, want %g", got, want)
		}
		dst := make([]float32, columns)
		Columns(dst, x, rows, columns, make([]float32, Lanes*columns))
		for c, got := range dst {
			var column []float32
			for r := range rows {
				column = append(column, x[r*columns+c])
			}
			if want := Sum(column); got != want {
				t.Fatalf("column %d: %g, want %g", c, got, want)
			}
		}
	})
}

// TestOrder: sums of small numbers count where a plain loop, which begins with the large one, loses each.
func TestOrder(t *testing.T) {
	x := make([]float32, 33)
	x[0] = 1
	for i := 1; i < len(x); i++ {
		x[i] = 0x1p-25
	}
	plain := float32(0)
	for _, v := range x {
		plain += v
	}
	if got, want := Sum(x), float32(1+7*0x1p-23); got != want || plain != 1 {
		t.Errorf("%v, want %v; plain %v", got, want, plain)
	}
}

func TestExtremes(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	same := func(a, b float32) bool { return a == b || a != a && b != b }
	for _, c := range []struct {
		x        []float32
		max, min float32
	}{
		{[]float32{3, -1, 2}, 3, -1}, {[]float32{1, nan, 2}, nan, nan}, {nil, -inf, inf},
	} {
		if a, b := Max(c.x), Min(c.x); !same(a, c.max) || !same(b, c.min) {
			t.Errorf("%v: max %v, min %v", c.x, a, b)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	x := make([]float32, 768)
	for i := range x {
		x[i] = float32(i%7) - 3
	}
	b.SetBytes(4 * 768)
	for b.Loop() {
		x[0] = Sum(x)
	}
}
