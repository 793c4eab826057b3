// Package target knows what a runtime does with a quantized graph, as data: for each operator whether it has an integer
// kernel and under which conditions, else why not; and what a matrix product costs in each form zqonnx can write.
//
// The rules are measurements (docs of the project, "What to emit for ONNX Runtime"); placement, inspect and the plan's
// reasons all read this one table.
package target

import "fmt"

// Support says what a runtime makes of DequantizeLinear → operator → QuantizeLinear.
type Support int

const (
	// None: the operator runs in float between the DequantizeLinear and the QuantizeLinear.
	None Support = iota
	// Weighted operators have an integer kernel when their second input is a constant.
	Weighted
	// Integer operators have an integer kernel for any scales.
	Integer
	// Moving operators run on the codes when scale and zero point of input and output are bit-equal.
	Moving
	// Absorbed operators vanish into the QuantizeLinear behind them when its range makes them redundant.
	Absorbed
)

// A Rule is what a target does with one operator.
type Rule struct {
	Op      string
	Support Support
	// Range is the fixed range of the output where the operator has one: [0, Range) in steps of Range/256, zero point 0.
	Range float32
	// FloatOut: the integer kernel may end in float, without a QuantizeLinear behind it.
	FloatOut bool
	// Shrinks: the operator gives less than it takes, so that moving codes pays even where float follows.
	Shrinks bool
	// Why tells people why an operator of Support None stays float.
	Why string
}

// A Target is one runtime on one kind of CPU.
type Target struct {
	Name  string
	Doc   string
	rules map[string]Rule
	Costs map[Form]Cost
	Convs map[ConvForm]ConvCost
	LSTMs map[Form]LSTMCost // FloatForm and DynamicForm
}

// Rule returns the rule for an operator of the standard domain; operators without a row have no integer kernel.
func (t *Target) Rule(op string) Rule {
	if r, ok := t.rules[op]; ok {
		return r
	}
	return Rule{Op: op, Why: fmt.Sprintf("%s has no integer kernel in %s", op, t.Doc)}
}

// A Form is a way to write a matrix product with constant weights.
type Form string

// The forms of a matrix product.
const (
	FloatForm   Form = "float"
	DynamicForm Form = "dynamic"
	TokenForm   Form = "token"
	Token21Form Form = "token21" // token-wise with the blocked QuantizeLinear of opset 21
)

// A Cost is the time of a product [M,K]·[K,N] in microseconds on one thread:
// Call + X·M·K + MAC·M·K·N + Y·M·N + W·K·N.
type Cost struct{ Call, X, MAC, Y, W float64 }

// Of returns the microseconds of a product.
func (c Cost) Of(m, k, n float64) float64 {
	return c.Call + c.X*m*k + c.MAC*m*k*n + c.Y*m*n + c.W*k*n
}

// StaticForm is an operator between DequantizeLinear and QuantizeLinear with fixed parameters.
const StaticForm Form = "static"

// A ConvForm is a way to compute a kind of convolution.
type ConvForm struct {
	Form      Form // FloatForm or StaticForm
	Signal    bool // along one axis, else over two and more
	Depthwise bool // every output channel sees one input channel
}

// A ConvCost is the time of convolutions in microseconds on one thread. A chain of them costs Border + X·elements where it
// is entered and where it is left (quantizing, dequantizing, changing the layout), and inside, for each, the rest.
type ConvCost struct{ Border, X, Call, MAC, Y, Tap, Column, W float64 }

// A ConvShape is what the time of a convolution depends on.
type ConvShape struct {
	MACs    float64 // output channels counted in blocks of 16; in float without those that padding takes part in
	Outputs float64 // elements
	Taps    float64 // output places times kernel places
	Columns float64 // taps times input channels
	Weights float64
}

// Inside returns the microseconds of a convolution within a chain.
func (c ConvCost) Inside(s ConvShape) float64 {
	return c.Call + c.MAC*s.MACs + c.Y*s.Outputs + c.Tap*s.Taps + c.Column*s.Columns + c.W*s.Weights
}

// Crossing returns the microseconds of a tensor of so many elements that enters or leaves a chain.
func (c ConvCost) Crossing(elements float64) float64 { return c.Border + c.X*elements }

// An LSTMCost is the time of an LSTM in microseconds on one thread.
type LSTMCost struct{ Call, Direction, Step, Gate, MAC, W float64 }

// Of returns the microseconds of an LSTM with weights [directions, 4·hidden, inputs] over so many steps of all sequences.
func (c LSTMCost) Of(directions, steps, hidden, inputs float64) float64 {
	gates, weights := directions*4*hidden, directions*4*hidden*(inputs+hidden)
	return c.Call + c.Direction*directions + c.Step*directions*steps + c.Gate*steps*gates + c.MAC*steps*weights + c.W*weights
}

// Targets are the known ones; the first is the default.
var Targets = []*Target{ortX64}

// Find returns the target of that name.
func Find(name string) (*Target, error) {
	for _, t := range Targets {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, fmt.Errorf("unknown target %q", name)
}
