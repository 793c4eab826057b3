package plan

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// Solved are codes and scales that were found from data: a plan carries them, so that it can be applied without the data.
type Solved struct {
	Codes  []byte    `json:"codes"`  // deflated int8, in the order of the weights; base64 in JSON
	Scales []float32 `json:"scales"` // [channels, blocks of a channel]
	Zeros  []int8    `json:"zero_points,omitempty"`
	Levels []int8    `json:"levels,omitempty"` // the codes in use, ascending
}

func newSolved(q *quantize.Weights) *Solved {
	return &Solved{Codes: deflated(q.Codes), Scales: q.Scales, Zeros: q.Zeros, Levels: q.Levels}
}

// Key is equal for equal codes and scales.
func (s *Solved) Key() string {
	if s == nil {
		return ""
	}
	return fmt.Sprint(string(s.Codes), string(onnx.Of(s.Scales).Bytes()), s.Zeros, s.Levels)
}

// apply puts codes and scales into q, whose shape they must have.
func (s *Solved) apply(q *quantize.Weights) error {
	if len(s.Scales) != len(q.Scales) || len(s.Zeros) != len(q.Zeros) {
		return fmt.Errorf("the plan's %d scales and %d zero points are not those of %d weights with %d scales", len(s.Scales), len(s.Zeros), len(q.Codes), len(q.Scales))
	}
	if err := inflate(q.Codes, s.Codes); err != nil {
		return err
	}
	if !slices.IsSorted(s.Levels) {
		return fmt.Errorf("the plan's levels %d do not ascend", s.Levels)
	}
	for _, code := range q.Codes {
		if _, known := slices.BinarySearch(s.Levels, code); int32(code) < q.Grid.Min || int32(code) > q.Grid.Max || s.Levels != nil && !known {
			return fmt.Errorf("the plan's code %d is none of %s", code, q.Grid.Name)
		}
	}
	for i, v := range s.Scales {
		if !(v >= quantize.MinScale) || v-v != 0 {
			return fmt.Errorf("the plan's scale %v is none", v)
		}
		q.Scales[i] = v
	}
	for i, z := range s.Zeros {
		if int32(z) < q.Grid.Min || int32(z) > q.Grid.Max {
			return fmt.Errorf("the plan's zero point %d is none of %s", z, q.Grid.Name)
		}
		q.Zeros[i] = z
	}
	q.Levels = s.Levels
	return nil
}

func deflated(codes []int8) []byte {
	var b bytes.Buffer
	z, _ := flate.NewWriter(&b, flate.BestSpeed) // the level is valid
	raw := make([]byte, len(codes))
	for i, c := range codes {
		raw[i] = byte(c)
	}
	_, err := z.Write(raw)
	if err = errors.Join(err, z.Close()); err != nil {
		panic(err) // a buffer takes all
	}
	return b.Bytes()
}

// inflate reads as many codes as there are.
func inflate(codes []int8, b []byte) error {
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), int64(len(codes))+1))
	if err != nil {
		return fmt.Errorf("the plan's codes cannot be read: %w", err)
	}
	if len(raw) != len(codes) {
		return fmt.Errorf("the plan's %d codes are not those of %d weights", len(raw), len(codes))
	}
	for i, c := range raw {
		codes[i] = int8(c)
	}
	return nil
}
