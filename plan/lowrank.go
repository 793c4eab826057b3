package plan

import (
	"fmt"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// A LowRank makes up for a part of what quantization does to the weights of a product: Y += (X·A)·B.
type LowRank struct {
	Method string  `json:"method"` // of quantize.Compensations
	Rank   int     `json:"rank"`
	Gain   float64 `json:"gain_db"` // of the product's output, on samples that nothing was learned from
	// Codes are A [K, Rank] and B [Rank, N], deflated int8; base64 in JSON. Scales are those of the Rank terms.
	Codes  []byte    `json:"codes"`
	Scales []float32 `json:"scales"`
}

// written returns the term as a plan has it.
func (c *compensated) written() *LowRank {
	if c == nil {
		return nil
	}
	f := c.factors
	return &LowRank{Method: c.method, Rank: len(f.Scales), Gain: round(c.gain), Codes: deflated(slices.Concat(f.A, f.B)), Scales: f.Scales}
}

// Key is equal for equal terms.
func (l *LowRank) Key() string {
	if l == nil {
		return ""
	}
	return fmt.Sprint(string(l.Codes), string(onnx.Of(l.Scales).Bytes()))
}

// Factors returns the factors of the correction of a product of k inputs and n outputs.
func (l *LowRank) Factors(k, n int) (*quantize.Factors, error) {
	if l.Rank > min(k, n) {
		return nil, fmt.Errorf("the plan's correction of rank %d is above the rank of %d×%d weights", l.Rank, k, n)
	}
	codes := make([]int8, l.Rank*(k+n))
	if err := inflate(codes, l.Codes); err != nil {
		return nil, err
	}
	return &quantize.Factors{A: codes[:l.Rank*k], B: codes[l.Rank*k:], Scales: l.Scales}, nil
}

func (l *LowRank) check() error {
	if _, ok := quantize.CompensationNamed(l.Method); !ok {
		return fmt.Errorf("a correction by %q is unknown", l.Method)
	}
	if l.Rank < 1 || len(l.Scales) != l.Rank {
		return fmt.Errorf("a correction of rank %d with %d scales", l.Rank, len(l.Scales))
	}
	for _, v := range l.Scales {
		if !(v >= quantize.MinScale) || v-v != 0 {
			return fmt.Errorf("the scale %v of a correction is none", v)
		}
	}
	return nil
}
