package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/zqonnx/zqonnx/onnx"
)

// ErrUnsupported is wrapped by the error for an operator, type or attribute the engine cannot run.
var ErrUnsupported = errors.New("not supported by the engine")

// ErrInput is wrapped by errors about the feeds of a run.
var ErrInput = errors.New("wrong input")

// errInternal is wrapped by errors that are faults of this program.
var errInternal = errors.New("internal error")

// A NodeError is the failure of one node. It is of the kind of its cause; operands that do not fit, the commonest cause, are
// the fault of whoever is to blame.
type NodeError struct {
	Key, Op string
	Err     error
	// Blame is onnx.ErrBadModel when the model alone leads there, ErrInput when other feeds may do better: the model leaves
	// sizes open, the feeds differ from the stated sizes, or their elements may be positions and sizes.
	Blame error
}

func (e *NodeError) Error() string { return fmt.Sprintf("node %q (%s): %v", e.Key, e.Op, e.Err) }

// Unwrap returns the cause and, where the cause is of no kind that others must know, whom to blame.
func (e *NodeError) Unwrap() []error {
	for _, kind := range []error{ErrUnsupported, ErrInput, onnx.ErrBadModel, errInternal, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(e.Err, kind) {
			return []error{e.Err}
		}
	}
	return []error{e.Err, e.Blame}
}

// blame says whose fault it is when operands do not fit in a run with these feeds.
func (p *Program) blame(feeds map[string]*onnx.Tensor) error {
	for _, in := range p.inputs {
		t := feeds[in.name]
		if t == nil || in.typ == nil || in.typ.Kind != onnx.KindTensor || !t.Type.IsFloat() || len(in.typ.Shape) != len(t.Dims) {
			return ErrInput
		}
		for i, d := range in.typ.Shape {
			if d.Size != t.Dims[i] {
				return ErrInput
			}
		}
	}
	return onnx.ErrBadModel
}

// errKernel carries an error out of a kernel's helpers.
type errKernel struct{ err error }

// recovered returns the error for what a kernel, or its maker, panicked with.
func recovered(p any) error {
	switch p := p.(type) {
	case errKernel:
		return p.err
	case *onnx.TypeError: // kernels are made for some types; they need not ask each operand
		return fmt.Errorf("%w: this is %w", p, ErrUnsupported)
	case interface{ Addr() uintptr }: // a mapped file changed under us
		return fmt.Errorf("%w: its file was truncated while it was read", onnx.ErrBadModel)
	case error:
		return fmt.Errorf("%w: %w\n%s", errInternal, p, debug.Stack())
	}
	return fmt.Errorf("%w: %v\n%s", errInternal, p, debug.Stack())
}
