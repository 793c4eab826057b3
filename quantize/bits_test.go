package quantize

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"testing"
)

// The same bits on every machine: what the ways to solve for a matrix made of it when this was written. .ci/run asks builds
// for several generations of processors.
func TestSolvedBits(t *testing.T) {
	const n, k = 150, 40
	r := rand.New(rand.NewPCG(1, 22))
	whole := func(n int) []float32 { // integers: sums and products are exact
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.IntN(101) - 50)
		}
		return x
	}
	x := whole(200 * k)
	for i := range x {
		x[i] += x[i/k*k] * float32(i%3)
	}
	s, w := solverOf(t, x, k), whole(n*k)
	greatest := make([]float32, k)
	for i := range greatest {
		greatest[i] = float32(i + 50)
	}
	rows := func(g Grid) *Rows { return NewRows(w, n, k, 16, g) }
	for _, c := range []struct {
		name string
		make func() any
		want uint64
	}{
		{"clip", func() any { r := rows(Uint4); r.Clip(s.Energy(), false); return r.Scales }, 0x1de5244e682306a0},
		{"clip, negative", func() any { r := rows(Int4); r.Clip(s.Energy(), true); return r.Scales }, 0x5f477a5002aee4f},
		{"hqq", func() any { r := rows(Uint4); r.HQQ(); return r.Scales }, 0xdfa6b48556959509},
		{"hqq, real", func() any { return rows(Uint4).HQQReal() }, 0x248b56f3eba88fdb},
		{"lorc", func() any { return LoRC(rows(Int4), 4).A }, 0xead6cd7743698902},
		{"lqer", func() any { return s.LQER(rows(Int4), 4).B }, 0x322a0e39ff36400},
		{"gram", func() any { return s.LowRank(rows(Int4), 4).A }, 0xc61731fe11f48ed0},
		{"k-means", func() any { return rows(Int8Weights).KMeans(16, s.Energy()).Levels }, 0x8db31ce60c108751},
		{"levels", func() any { r := rows(Int8Weights); r.FitLevels(16, s.Energy()); adaround(s, r); return r.Codes }, 0x683c84a77647a0d0},
		{"smooth", func() any { scales, _ := s.Smooth([]*Rows{rows(Int8Weights)}, greatest, 200); return scales }, 0x2197daf78e9d45b1},
		{"awq", func() any { return s.AWQ([]*Rows{rows(Int4)}) }, 0xc894144af53aee9c},
	} {
		h := fnv.New64a()
		if err := binary.Write(h, binary.LittleEndian, c.make()); err != nil {
			t.Fatal(err)
		}
		if got := h.Sum64(); got != c.want {
			t.Errorf("%s: %#x", c.name, got)
		}
	}
}
