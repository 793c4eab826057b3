package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/zqonnx/zqonnx/plan"
)

// wishes has the words of an override, and what each makes of a choice.
var wishes = map[string]func(c *plan.Choice, value string) error{
	"weights": func(c *plan.Choice, v string) error {
		c.Weights.Type = v
		return oneOf(v, formatNames)
	},
	"block": func(c *plan.Choice, v string) (err error) { c.Weights.Block, err = fromOne(v); return err },
	"storage": func(c *plan.Choice, v string) error {
		c.Weights.Storage = plan.Storage(v)
		return oneOf(v, storageNames)
	},
	"activations": func(c *plan.Choice, v string) error {
		c.Activations = plan.Mode(v)
		return oneOf(v, modeNames)
	},
}

// parseOverride reads GLOB=float or GLOB=WORD:VALUE,... The glob may have a =.
func parseOverride(text string) (plan.Override, error) {
	at := strings.LastIndex(text, "=")
	if at < 1 || at == len(text)-1 {
		return plan.Override{}, fmt.Errorf("%q is not of the form GLOB=weights:TYPE,block:N,storage:HOW,activations:MODE or GLOB=float", text)
	}
	o := plan.Override{Glob: text[:at]}
	if text[at+1:] == "float" {
		o.Float = true
		return o, nil
	}
	seen := map[string]bool{}
	for word := range strings.SplitSeq(text[at+1:], ",") {
		name, value, _ := strings.Cut(word, ":")
		set := wishes[name]
		if set == nil {
			of := append(slices.Sorted(maps.Keys(wishes)), "float")
			return o, fmt.Errorf("%q: there is no %q%s; there are float alone, and %s, each with a value behind :", text, name, didYouMean(name, of, ""), strings.Join(of[:len(of)-1], ", "))
		}
		if seen[name] {
			return o, fmt.Errorf("%q: %s is there twice", text, name)
		}
		seen[name] = true
		if err := set(&o.Choice, value); err != nil {
			return o, fmt.Errorf("%q: %s: %w", text, name, err)
		}
	}
	if o.Weights != (plan.Form{}) && o.Weights.Type == "" {
		return o, fmt.Errorf("%q: block and storage are of weights: say of which type", text)
	}
	return o, nil
}

// readOverrides reads the wishes for tensors; those for nodes on the command line go before them.
func (j *quantizeJob) readOverrides() error {
	b, err := os.ReadFile(j.overrides)
	if err != nil {
		return missing(j.overrides, err)
	}
	all, err := plan.ReadTensorOverrides(b, j.in.model.Graph)
	if err != nil {
		return fmt.Errorf("%s: %w", j.overrides, err)
	}
	if len(all.Given) > 0 && j.options.Calib == "" {
		return usagef("%s: tensor %q is an activation: fixed parameters are for static integers, which need --calib", j.overrides, slices.Min(slices.Collect(maps.Keys(all.Given))))
	}
	j.options.Overrides, j.options.Given = append(all.Overrides, j.options.Overrides...), all.Given
	return nil
}
