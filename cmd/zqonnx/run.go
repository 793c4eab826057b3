package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
)

const runHelp = `
The outputs of each sample go to DIR/SAMPLE.npz, an array each, by name.

  -o, --output DIR         where to; made if it is not there
      --data PATH          samples: a folder of them or one; else synthetic
      --dim NAME=N         size of a symbolic dimension (repeatable)
      --state OUT=IN       feed an output back as an input (repeatable)
      --value IN=V         a constant for an input the data lack (repeatable)
      --seed N             of the synthetic samples
      --labels NAME        array of the data that is no input: passed over
      --semantics KIND     fused as a runtime does, or literal [fused]
      --threads N          [one a core]; results do not depend on it
  -q, --quiet              say nothing but errors
`

func runCommand(f *pflag.FlagSet) action {
	var (
		feeding data.Options
		options engine.Options
	)
	dir := f.StringP("output", "o", "", "")
	path := f.String("data", "", "")
	feedingFlags(f, &feeding)
	runFlags(f, &options.Semantics, &options.Threads)
	quiet := f.BoolP("quiet", "q", false, "")
	return func(ctx context.Context, e *env, args []string) error {
		if err := checkRules(f, labelRules); err != nil {
			return err
		}
		if *dir == "" {
			return usagef("where to? zqonnx run needs -o DIR")
		}
		in, err := e.read(ctx, args[0])
		if err != nil {
			return err
		}
		set, err := samples(ctx, *path, in, feeding, options.Threads)
		if err != nil {
			return err
		}
		program, err := engine.Compile(in.model, options)
		if err != nil {
			return fmt.Errorf("%s: %w", in.file.Path, err)
		}
		j := &runJob{env: e, program: program, set: set, files: outputFiles(*path, *dir)}
		if err := j.run(ctx); err != nil {
			return err
		}
		e.progress.clear()
		if !*quiet {
			fmt.Fprintf(e.stderr, "%s: outputs of %s are in %s\n", in.file.Path, samplesText(set.Samples(), set.Source), *dir)
		}
		return nil
	}
}

// A runJob runs a model over a set and writes what comes out.
type runJob struct {
	env     *env
	program *engine.Program
	set     *data.Set
	files   func(sample string) string
}

func (j *runJob) run(ctx context.Context) error {
	written := map[string]string{}
	done := 0
	for i := range j.set.Len() {
		err := j.set.Run(i, 0, func(s *data.Sample, feeds map[string]*onnx.Tensor) (map[string]*onnx.Tensor, error) {
			name := j.files(s.Name)
			if other, taken := written[name]; taken {
				return nil, fmt.Errorf("%w: %s would be written to %s as well", data.ErrBadData, other, name)
			}
			written[name] = s.Name
			outputs, err := j.program.Run(ctx, feeds, nil)
			if err == nil {
				err = j.write(name, outputs)
			}
			done++
			j.env.progress.update("running", done, j.set.Samples())
			return outputs, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (j *runJob) write(name string, outputs map[string]*onnx.Tensor) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return as(errNotWritten, err)
	}
	return writeFile(name, func(w io.Writer) error {
		z := npy.NewWriter(w)
		for _, o := range j.program.Outputs() {
			if err := z.Add(o, outputs[o]); err != nil {
				return err
			}
		}
		return z.Close()
	})
}

// outputFiles says where the outputs of a sample go: to the place in dir that the sample has in the data.
func outputFiles(root, dir string) func(sample string) string {
	return func(sample string) string {
		name, err := filepath.Rel(root, sample)
		if root == "" || err != nil || name == "." {
			name = filepath.Base(sample)
		}
		if ext := filepath.Ext(name); slices.Contains([]string{".npz", ".npy", ".pb"}, ext) {
			name = strings.TrimSuffix(name, ext)
		}
		return filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".npz")
	}
}
