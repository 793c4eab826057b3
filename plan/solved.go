package plan

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// Solved are codes and scales that were found from data: a plan carries them, so that it can be applied without the data.
type Solved struct {
	Codes  []byte    `json:"codes"`  // deflated int8, in the order of the weights; base64 in JSON
	Scales []float32 `json:"scales"` // [channels, blocks of a channel]
}

func newSolved(q *quantize.Weights) *Solved {
	var b bytes.Buffer
	z, _ := flate.NewWriter(&b, flate.BestSpeed) // the level is valid
	raw := make([]byte, len(q.Codes))
	for i, c := range q.Codes {
		raw[i] = byte(c)
	}
	_, err := z.Write(raw)
	if err = errors.Join(err, z.Close()); err != nil {
		panic(err) // a buffer takes all
	}
	return &Solved{Codes: b.Bytes(), Scales: q.Scales}
}

// Key is equal for equal codes and scales.
func (s *Solved) Key() string {
	if s == nil {
		return ""
	}
	return string(s.Codes) + string(onnx.Of(s.Scales).Bytes())
}

// apply puts codes and scales into q, whose shape they must have.
func (s *Solved) apply(q *quantize.Weights) error {
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(s.Codes)), int64(len(q.Codes))+1))
	if err != nil {
		return fmt.Errorf("the plan's codes cannot be read: %w", err)
	}
	if len(raw) != len(q.Codes) || len(s.Scales) != len(q.Scales) {
		return fmt.Errorf("the plan's codes and %d scales are not those of %d weights in %d channels", len(s.Scales), len(q.Codes), len(q.Scales))
	}
	for i, b := range raw {
		code := int8(b)
		if int32(code) < q.Grid.Min || int32(code) > q.Grid.Max {
			return fmt.Errorf("the plan's code %d is none of %s", code, q.Grid.Name)
		}
		q.Codes[i] = code
	}
	for i, v := range s.Scales {
		if !(v >= quantize.MinScale) || v-v != 0 {
			return fmt.Errorf("the plan's scale %v is none", v)
		}
		q.Scales[i] = v
	}
	return nil
}
