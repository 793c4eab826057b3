package onnx

import (
	"os"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

const (
	// externalFrom is the size from which a tensor goes to the external file: smaller ones are read with the model, and
	// runtimes need shapes and the like inside.
	externalFrom = 1024
	// externalAlign lets readers map every tensor.
	externalAlign = 4096
)

// An externalPlan lays tensors out in one external file.
type externalPlan struct {
	location string // the file's name; not known while the plan is made
	tensors  []*Tensor
	offsets  []int64
	size     int64
	at       map[*byte]int // place in tensors by the first byte: shared tensors are stored once
}

func newExternalPlan() *externalPlan { return &externalPlan{at: map[*byte]int{}} }

// add plans t, where it belongs into the external file, and makes p refer to it. A nil plan takes none.
func (x *externalPlan) add(t *Tensor, p *onnxpb.TensorProto, e *encoder) bool {
	if x == nil || t.Type.Bits() == 0 || t.Type.ByteSize(NumElements(t.Dims)) < externalFrom {
		return false
	}
	if err := t.Load(); err != nil {
		e.fail(err)
		return true
	}
	i, ok := x.at[&t.data[0]]
	if !ok || len(x.tensors[i].data) != len(t.data) {
		i = len(x.tensors)
		x.at[&t.data[0]] = i
		x.tensors = append(x.tensors, t)
		x.size = (x.size + externalAlign - 1) / externalAlign * externalAlign
		x.offsets = append(x.offsets, x.size)
		x.size += int64(len(t.data))
	}
	p.DataLocation = onnxpb.TensorProto_EXTERNAL.Enum()
	p.ExternalData = nil
	for _, kv := range [][2]string{
		{"location", x.location},
		{"offset", strconv.FormatInt(x.offsets[i], 10)},
		{"length", strconv.Itoa(len(t.data))},
	} {
		p.ExternalData = append(p.ExternalData, &onnxpb.StringStringEntryProto{Key: proto.String(kv[0]), Value: proto.String(kv[1])})
	}
	return true
}

// writeTo writes the external file.
func (x *externalPlan) writeTo(out *output) error {
	var gap [externalAlign]byte
	at := int64(0)
	for i, t := range x.tensors {
		if err := out.write(gap[:x.offsets[i]-at]); err != nil {
			return err
		}
		if err := out.write(t.data); err != nil {
			return err
		}
		at = x.offsets[i] + int64(len(t.data))
	}
	return out.flush()
}

// hasExternal reports whether the model that was read has external data.
func (s *source) hasExternal() bool { return s != nil && len(s.files) > 0 }

// refersTo reports whether path is one of the files that the model was read from.
func (s *source) refersTo(path string) bool {
	if s == nil {
		return false
	}
	st, err := os.Stat(path)
	if err != nil {
		return false
	}
	if s.model != nil && os.SameFile(st, s.model.info) {
		return true
	}
	for _, m := range s.files {
		if os.SameFile(st, m.info) {
			return true
		}
	}
	return false
}

// isModel reports whether path is the model file that was read.
func (s *source) isModel(path string) bool {
	st, err := os.Stat(path)
	return err == nil && s.model != nil && os.SameFile(st, s.model.info)
}
