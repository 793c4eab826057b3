package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/quantize"
)

// A Given is what a user knows of the codes of an activation.
type Given struct {
	Range     *[2]float32      // what is to be represented; nil: what calibration finds
	Params    *quantize.Params // scale and zero point themselves
	Symmetric bool             // the zero point is 128
}

// givenMethod is the method of such parameters in a plan.
const givenMethod = "given"

// given returns the parameters of a family that the user knows, if it has such a tensor.
func (m *planner) given(f *family) (Given, bool) {
	for _, v := range slices.Concat(f.sources, f.tensors) {
		if g, ok := m.Given[v.Name()]; ok {
			return g, true
		}
	}
	return Given{}, false
}

// givenTo returns the parameters of a family whose tensors' values lie between lo and hi.
func (g Given) givenTo(f *family, lo, hi float32) (Activation, error) {
	name := f.sources[0].Name()
	if p := g.Params; p != nil {
		lo, hi = ends(*p)
		switch {
		case f.floor && p.ZeroPoint != 0:
			return Activation{}, fmt.Errorf("%w: tensor %q: a Relu or Clip is part of its codes, which need the zero point 0, not %d", ErrChoice, name, p.ZeroPoint)
		case f.bound > 0 && hi > f.bound:
			return Activation{}, fmt.Errorf("%w: tensor %q: a Clip is part of its codes, which may reach to %v, not to %v: give a smaller scale", ErrChoice, name, f.bound, hi)
		}
		return Activation{Type: "uint8", Method: givenMethod, Scale: p.Scale, ZeroPoint: p.ZeroPoint, Range: [2]float32{lo, hi}}, nil
	}
	if g.Range != nil {
		lo, hi = g.Range[0], g.Range[1]
	}
	switch {
	case f.floor:
		lo, hi = 0, max(hi, 0)
	case g.Symmetric:
		hi = max(hi, -lo)
		return Activation{Type: "uint8", Method: givenMethod, Scale: max(hi/127, quantize.MinScale), ZeroPoint: 128, Range: [2]float32{-hi, hi}}, nil
	}
	return f.activation(givenMethod, lo, hi), nil
}

// TensorOverrides are wishes for single tensors, as ONNX Runtime's tools take them.
type TensorOverrides struct {
	Overrides []Override
	Given     map[string]Given // by the names of the model as it was read
}

// overrideTypes has the types of weights in ONNX Runtime's words.
var overrideTypes = map[string]string{"QInt8": "int8", "QUInt8": "uint8", "QInt4": "int4", "QUInt4": "uint4"}

// A tensorOverride is an entry of the file. The fields that are not supported are known, so that the error names them.
type tensorOverride struct {
	QuantType   string          `json:"quant_type"`
	Scale       *single         `json:"scale"`
	ZeroPoint   *single         `json:"zero_point"`
	Rmin        *single         `json:"rmin"`
	Rmax        *single         `json:"rmax"`
	Symmetric   *bool           `json:"symmetric"`
	Axis        *int            `json:"axis"`
	ReduceRange bool            `json:"reduce_range"`
	Convert     json.RawMessage `json:"convert"`
}

// A single is a number, or an array of one.
type single float64

func (s *single) UnmarshalJSON(b []byte) error {
	var list []float64
	if err := json.Unmarshal(b, &list); err == nil && len(list) == 1 {
		*s = single(list[0])
		return nil
	}
	return json.Unmarshal(b, (*float64)(s))
}

// ReadTensorOverrides reads the JSON of ONNX Runtime's TensorQuantOverrides for a model: tensor name → a list of {quant_type, scale,
// zero_point, rmin, rmax, symmetric, axis}, of one entry, or for weights of as many as there are channels. Errors wrap ErrChoice.
func ReadTensorOverrides(b []byte, g *onnx.Graph) (TensorOverrides, error) {
	all := TensorOverrides{Given: map[string]Given{}}
	var file map[string][]tensorOverride
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return all, fmt.Errorf("%w: line %d: %w", ErrChoice, lineOf(b, err), err)
	}
	keys := g.Keys()
	for _, name := range slices.Sorted(maps.Keys(file)) {
		fail := func(format string, args ...any) (TensorOverrides, error) {
			return all, fmt.Errorf("%w: tensor %q: %s", ErrChoice, name, fmt.Sprintf(format, args...))
		}
		v, entries := g.Value(name), file[name]
		switch {
		case v == nil:
			return fail("the model has none of that name")
		case len(entries) == 0:
			return fail("an empty list says nothing")
		}
		for _, o := range entries {
			if o.Convert != nil || o.ReduceRange {
				return fail("convert and reduce_range are not supported")
			}
		}
		if producer, _ := v.Producer(); v.Const() == nil && (producer == nil || producer.Constant() == nil) {
			given, err := entries[0].activation(len(entries))
			if err != nil {
				return fail("%v", err)
			}
			all.Given[name] = given
			continue
		}
		form, err := weightForm(entries)
		if err != nil {
			return fail("%v", err)
		}
		for _, u := range v.Uses() {
			all.Overrides = append(all.Overrides, Override{Glob: keys[u.Node], Choice: Choice{Weights: form}})
		}
	}
	return all, nil
}

// activation returns what an entry says of an activation, whose list has so many.
func (o tensorOverride) activation(entries int) (g Given, err error) {
	switch {
	case entries > 1 || o.Axis != nil:
		return g, fmt.Errorf("an activation has one scale, no axis")
	case o.QuantType != "" && o.QuantType != "QUInt8":
		return g, fmt.Errorf("quant_type %s: activations are QUInt8", o.QuantType)
	case (o.Scale == nil) != (o.ZeroPoint == nil), (o.Rmin == nil) != (o.Rmax == nil):
		return g, fmt.Errorf("scale and zero_point go together, and so do rmin and rmax")
	case o.Scale != nil && (o.Rmin != nil || o.Symmetric != nil):
		return g, fmt.Errorf("scale and zero_point leave nothing for rmin, rmax and symmetric to say")
	}
	if o.Scale != nil {
		p := quantize.Params{Scale: float32(*o.Scale), ZeroPoint: int32(*o.ZeroPoint)}
		if !(p.Scale >= quantize.MinScale) || p.Scale-p.Scale != 0 || p.ZeroPoint < 0 || p.ZeroPoint > 255 || single(p.ZeroPoint) != *o.ZeroPoint {
			return g, fmt.Errorf("scale %v and zero point %v make no codes of 8 bits", *o.Scale, *o.ZeroPoint)
		}
		g.Params = &p
	}
	if o.Rmin != nil {
		r := [2]float32{float32(*o.Rmin), float32(*o.Rmax)}
		if !(r[0] < r[1]) || r[1]-r[0]-(r[1]-r[0]) != 0 {
			return g, fmt.Errorf("%v to %v is no range", *o.Rmin, *o.Rmax)
		}
		g.Range = &r
	}
	g.Symmetric = o.Symmetric != nil && *o.Symmetric
	return g, nil
}

// weightForm returns the form that the entries for weights ask for.
func weightForm(entries []tensorOverride) (Form, error) {
	first := entries[0]
	for _, o := range entries {
		switch {
		case o.Scale != nil || o.ZeroPoint != nil || o.Rmin != nil || o.Rmax != nil:
			return Form{}, fmt.Errorf("scale, zero_point, rmin and rmax are not supported for weights, whose rounding finds them")
		case o.QuantType != first.QuantType:
			return Form{}, fmt.Errorf("quant_type %s and %s for channels of one tensor", first.QuantType, o.QuantType)
		}
	}
	name := first.QuantType
	if name == "" {
		name = "QInt8"
	}
	format, ok := overrideTypes[name]
	if !ok {
		return Form{}, fmt.Errorf("quant_type %s is not supported for weights; there are %s", name, strings.Join(slices.Sorted(maps.Keys(overrideTypes)), ", "))
	}
	row, _ := quantize.FormatNamed(format)
	if first.Symmetric != nil && *first.Symmetric != row.Grid.Symmetric {
		return Form{}, fmt.Errorf("symmetric %v does not go with %s, whose codes have their zero where the type has it", *first.Symmetric, name)
	}
	return Form{Type: format, Storage: "auto"}, nil
}
