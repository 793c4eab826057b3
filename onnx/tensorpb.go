package onnx

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/zqonnx/zqonnx/internal/onnxpb"
)

// ParseTensor reads a serialized TensorProto, such as the input_0.pb of a test data set, and returns its name too. The
// tensor is a view of b, which must not be changed afterwards; typed fields are decoded on first use. External data are
// refused. Errors wrap ErrBadModel.
func ParseTensor(b []byte) (name string, t *Tensor, err error) {
	skeleton, data, err := cut(tensorMessage, b)
	if err != nil {
		return "", nil, err
	}
	p := &onnxpb.TensorProto{}
	if err := proto.Unmarshal(skeleton, p); err != nil {
		return "", nil, badModel("damaged: %v", err)
	}
	name = p.GetName()
	t, err = (&decoder{src: &source{name: "tensor"}, data: data}).tensor(p, "tensor "+quote(name))
	return name, t, err
}

// MarshalTensor returns t as a serialized TensorProto of that name.
func MarshalTensor(name string, t *Tensor) ([]byte, error) {
	var b bytes.Buffer
	err := Guard(func() error {
		e := &encoder{}
		p := e.tensor(t)
		p.Name = &name
		if e.err != nil {
			return e.err
		}
		skeleton, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if err != nil {
			return err
		}
		pieces, _ := splice(tensorMessage, skeleton, e.data)
		for _, piece := range pieces {
			b.Write(piece)
		}
		return nil
	})
	return b.Bytes(), err
}
