package plan

import (
	"cmp"
	"fmt"
	"math/bits"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/onnx/rewrite"
	"github.com/zqonnx/zqonnx/quantize"
)

// A Storage is how the codes of weights lie in the file.
type Storage string

// The storages.
const (
	// Plain: an int8 tensor.
	Plain Storage = ""
	// Folded: packed codes, which constant nodes unpack to int8 when the runtime loads the model.
	Folded Storage = "folded"
	// Native: the operand of MatMulNBits, which computes in float with the codes as they are, or of GatherBlockQuantized.
	Native Storage = "native"
	// QDQ: a tensor of few bits behind a DequantizeLinear in blocks, as the standard has it from opset 21 on.
	QDQ Storage = "qdq"
)

// Storages are those that can be asked for.
var Storages = []Storage{"auto", Folded, Native, QDQ}

// A Form is how the weights of a node are written down.
type Form struct {
	Type    string  `json:"type"`              // of quantize.Formats, or float16
	Block   int     `json:"block,omitempty"`   // consecutive weights of a channel that share a scale; 0: all of them
	Storage Storage `json:"storage,omitempty"` // "auto" where a form is asked for
	// AccuracyLevel is MatMulNBits' attribute: 1 computes in float32, 4 with activations in int8 by rows and blocks.
	AccuracyLevel int `json:"accuracy_level,omitempty"`
}

// String names the form in a few letters: the type, behind a stroke the block, and the storage in parentheses.
func (f Form) String() string {
	s := f.Type
	if f.Block > 0 {
		s += fmt.Sprintf("/%d", f.Block)
	}
	if f.Storage != Plain {
		s += " (" + string(f.Storage) + ")"
	}
	return s
}

// usual is the form of weights that nothing else is asked of.
var usual = Form{Type: "int8"}

// next returns the form of weights that do not bear the one they have; false where that is float32, as the model has them.
func (m *planner) next(s *Site) (Form, bool) {
	f := m.form(s)
	row, _ := quantize.FormatNamed(f.Type)
	switch {
	case f == half || s.Small() || s.Kept != nil:
		return Form{}, false
	case row.Bits < 8:
		return usual, true
	}
	return half, s.bearsHalf()
}

// minPacked is the number of weights below which unpacking codes of few bits takes more bytes than they save.
const minPacked = 1024

// Blocks of MatMulNBits are powers of two in this range: all that every version of ONNX Runtime computes rightly.
const leastBlock, mostBlock = 16, 256

// native reports whether MatMulNBits, and but for 2 bits GatherBlockQuantized, can hold the form.
func (f Form) native(row quantize.Format) bool {
	return !row.Levels && (row.Bits == 4 || row.Bits == 8 || row.Bits == 2) &&
		f.Block >= leastBlock && f.Block <= mostBlock && bits.OnesCount(uint(f.Block)) == 1
}

// fit returns what becomes of the form f, which was asked for, at a site of that scheme.
func (f Form) fit(s *Site, scheme Scheme) Form {
	if f == half {
		if scheme != WeightOnly {
			return usual
		}
		return half
	}
	row, _ := quantize.FormatNamed(f.Type)
	elements := 0
	for i := range s.Inputs {
		elements += s.Weight(i).Const().Len()
	}
	switch {
	case row.Bits < 8 && elements < minPacked, scheme != WeightOnly && s.Kind == Recurrent:
		return usual
	case scheme != WeightOnly:
		if row.Bits == 8 {
			return usual
		}
		return Form{Type: row.Symmetric().Name, Storage: Folded}
	case s.Kind == Table:
		if rewrite.Rank(s.Node.Input(1)) < 0 || len(s.Inputs) > 1 {
			return usual
		}
		if f.Storage == Native && f.native(row) && row.Bits != 2 {
			return Form{Type: f.Type, Block: f.Block, Storage: Native}
		}
	case s.Kind == Product && f.native(row):
		if f.Storage == QDQ {
			if len(s.Weight(0).Uses()) > 1 { // ONNX Runtime fuses no weights that others use, too
				break
			}
			return Form{Type: f.Type, Block: f.Block, Storage: QDQ}
		}
		if f.Storage == Native || row.Bits == 4 && f.Storage == "auto" {
			level := 1
			if row.Bits == 8 {
				level = 4 // ONNX Runtime's kernel in float takes 50 times as long
			}
			return Form{Type: f.Type, Block: f.Block, Storage: Native, AccuracyLevel: cmp.Or(f.AccuracyLevel, level)}
		}
	}
	if row.Name == usual.Type && f.Block == 0 {
		return usual
	}
	return Form{Type: f.Type, Block: f.Block, Storage: Folded}
}

// bytes returns what the codes, scales and zero points of a site's weights take in the file.
func (f Form) bytes(s *Site) int64 {
	row, _ := quantize.FormatNamed(f.Type)
	total := int64(0)
	for i := range s.Inputs {
		dims, axis := s.shape(i)
		elements, scales := onnx.NumElements(dims), int64(1)
		if axis >= 0 {
			scales = max(dims[axis], 1)
		}
		if f.Block > 0 {
			scales *= (elements/scales + int64(f.Block) - 1) / int64(f.Block)
		}
		perScale := int64(32)
		if !row.Grid.Symmetric {
			perScale += int64(row.Bits)
		}
		total += (elements*int64(row.Bits) + scales*perScale) / 8
	}
	return total
}

// check reports what makes no form.
func (f Form) check() error {
	if f == half {
		return nil
	}
	row, ok := quantize.FormatNamed(f.Type)
	switch {
	case !ok:
		return fmt.Errorf("weights of type %q are unknown", f.Type)
	case f.Block < 0:
		return fmt.Errorf("blocks of %d weights", f.Block)
	case f.Storage == Plain && f != usual:
		return fmt.Errorf("weights of type %q in blocks of %d have no storage", f.Type, f.Block)
	case (f.Storage == Native || f.Storage == QDQ) && !f.native(row):
		return fmt.Errorf("storage %q holds no weights of type %q in blocks of %d", f.Storage, f.Type, f.Block)
	case f.Storage != Plain && f.Storage != Folded && f.Storage != Native && f.Storage != QDQ:
		return fmt.Errorf("storage %q is unknown", f.Storage)
	case f.AccuracyLevel < 0 || f.AccuracyLevel > 4 || f.AccuracyLevel > 0 && f.Storage != Native:
		return fmt.Errorf("accuracy level %d is for MatMulNBits, and none above 4", f.AccuracyLevel)
	}
	return nil
}
