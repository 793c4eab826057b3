package quantize

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// A weight has the scale and the zero point of its channel's block, wherever the channels lie.
func TestDequantizeInBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.Int64Range(1, 7)
		dims := []int64{dim.Draw(t, "outer"), dim.Draw(t, "channels"), dim.Draw(t, "inner")}
		format := rapid.SampledFrom(Formats).Draw(t, "format")
		q, err := format.Blank(dims, 1, rapid.IntRange(0, 12).Draw(t, "block"))
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 1))
		for i := range q.Codes {
			q.Codes[i] = int8(r.IntN(16) - 8)
		}
		for i := range q.Scales {
			q.Scales[i] = r.Float32()
			if q.Zeros != nil {
				q.Zeros[i] = int8(r.IntN(16) - 8)
			}
		}
		outer, channels, inner := int(dims[0]), int(dims[1]), int(dims[2])
		got := q.Dequantize()
		for o := range outer {
			for c := range channels {
				for i := range inner {
					at, s := (o*channels+c)*inner+i, c*(len(q.Scales)/channels)
					if q.Block > 0 {
						s += (o*inner + i) / q.Block
					}
					want := float32(q.Codes[at])
					if q.Zeros != nil {
						want -= float32(q.Zeros[s])
					}
					if want *= q.Scales[s]; got[at] != want {
						t.Fatalf("weight [%d %d %d] is %v, want %v", o, c, i, got[at], want)
					}
				}
			}
		}
	})
}
