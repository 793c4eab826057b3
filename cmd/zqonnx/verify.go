package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/verify"
)

const verifyHelp = `
Layers are paired by the names of tensors: files of any tool will do.

      --data PATH          samples: a folder of them or one; else synthetic
      --dim NAME=N         size of a symbolic dimension (repeatable)
      --state OUT=IN       feed an output back as an input (repeatable)
      --value IN=V         a constant for an input the data lack (repeatable)
      --seed N             of the synthetic samples
      --labels NAME        array of the data that holds the true classes
      --fail-if EXPR       gate, e.g. 'sqnr < 20 @layers' (repeatable; exit 5)
      --report FILE        .html, .json, .md or .xml for JUnit (repeatable)
      --semantics KIND     fused as a runtime does, or literal [fused]
      --threads N          [one a core]; results do not depend on it
      --no-color           NO_COLOR does the same
  -q, --quiet              say nothing but errors
`

// labelRules are about labels where there are no calibration data.
var labelRules = []rule{{flag: "labels", needs: "data", why: "they are an array of the data"}}

func verifyCommand(f *pflag.FlagSet) action {
	var (
		feeding   data.Options
		judge     judgement
		semantics engine.Semantics
		threads   int
	)
	path := f.String("data", "", "")
	feedingFlags(f, &feeding)
	judgementFlags(f, &judge)
	runFlags(f, &semantics, &threads)
	f.Bool("no-color", false, "")
	quiet := f.BoolP("quiet", "q", false, "")
	return func(ctx context.Context, e *env, args []string) error {
		if err := checkRules(f, labelRules); err != nil {
			return err
		}
		for _, name := range judge.reports {
			if err := checkFolder(name); err != nil {
				return err
			}
		}
		float, err := e.read(ctx, args[0])
		if err != nil {
			return err
		}
		quant, err := e.read(ctx, args[1])
		if err != nil {
			return err
		}
		set, err := samples(ctx, *path, float, feeding, threads)
		if err != nil {
			return err
		}
		r, err := verify.Run(ctx, float.model, quant.model, verify.LayersByName(float.model, quant.model), set, verify.Options{
			Semantics: semantics, Threads: threads, Gates: judge.gates, Tool: "zqonnx " + zqonnx.Version,
			Histograms: len(judge.reports) > 0,
			Models:     verify.Models{Float: float.file, Quantized: quant.file},
			Progress:   func(done, of int) { e.progress.update("verifying", done, of) },
		})
		if err != nil {
			return err
		}
		e.progress.clear()
		if !*quiet {
			if err := r.WriteText(e.stdout, e.colored(e.stdout), terminalWidth(e.stdout)); err != nil {
				return as(errNotWritten, err)
			}
		}
		return errors.Join(judge.write(r), failed(r))
	}
}

// samples opens the data at path, or makes synthetic samples that the model runs on.
func samples(ctx context.Context, path string, in *input, o data.Options, threads int) (*data.Set, error) {
	if path != "" {
		return data.Open(path, in.model.Graph, o)
	}
	set, err := zqonnx.Probes(ctx, in.model, o, threads)
	if err != nil && !errors.Is(err, data.ErrBadOption) {
		err = fmt.Errorf("%s: %w", in.file.Path, err)
	}
	return set, err
}
