// Package rewrite is how any edit of a model is made: a pass is a value, an ordered table of passes is a pipeline, and a
// trace records which value carries the meaning of each tensor of the original model.
package rewrite

import (
	"fmt"

	"github.com/zqonnx/zqonnx/onnx"
)

// A Pass is one kind of edit. Run changes the model in place; edits are whole or not at all.
type Pass struct {
	Name string // short, in kebab case
	Doc  string // one sentence: what it does; `zqonnx passes` prints it
	Run  func(*Context, *onnx.Model) error
}

// A Pipeline is a table of passes in the order in which they run.
type Pipeline []Pass

// A Context is what passes share during one run. Its zero value is ready to use.
type Context struct {
	Trace *Trace                               // where the tensors of the original model went; may be nil
	Log   func(pass, message string)           // what a pass has to tell; may be nil
	Check func(pass Pass, m *onnx.Model) error // runs after each pass; tests check the whole model here; may be nil

	pass string
}

// Logf reports something the user should know, on behalf of the running pass.
func (c *Context) Logf(format string, args ...any) {
	if c.Log != nil {
		c.Log(c.pass, fmt.Sprintf(format, args...))
	}
}

// Run runs the passes in order and stops at the first error, which names the pass.
func (p Pipeline) Run(c *Context, m *onnx.Model) error {
	for _, pass := range p {
		c.pass = pass.Name
		if err := pass.Run(c, m); err != nil {
			return fmt.Errorf("pass %s: %w", pass.Name, err)
		}
		if c.Check != nil {
			if err := c.Check(pass, m); err != nil {
				return fmt.Errorf("after pass %s: %w", pass.Name, err)
			}
		}
	}
	return nil
}
