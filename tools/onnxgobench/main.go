// Command onnxgobench measures the latency of models through onnx-go: on zqonnx's backend, as they are and in a carrier, on
// onnx-go's own backend gorgonnx, and, without onnx-go, on the engine called directly.
//
//	go run . [-threads N] [-rounds N] MODEL.onnx...
//
// All ways are measured in turn in every round, so that a busy machine slows them all. A table of Markdown says the medians over the
// rounds of the fastest run in each. Inputs are random numbers; dimensions that are not fixed are 1.
//
// It is a module of its own, so that zqonnx depends on no gorgonia.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	onnxgo "github.com/owulveryck/onnx-go"
	"github.com/owulveryck/onnx-go/backend"
	"github.com/owulveryck/onnx-go/backend/x/gorgonnx"
	"gorgonia.org/tensor"

	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/onnx"
	zq "github.com/zqonnx/zqonnx/onnxgo"
)

func main() {
	threads := flag.Int("threads", 1, "workers of the engine")
	rounds := flag.Int("rounds", 15, "rounds of measurement")
	flag.Parse()
	fmt.Println("| model | engine | onnxgo | carrier | gorgonnx | onnxgo / engine | carrier / engine | gorgonnx / onnxgo |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, path := range flag.Args() {
		if err := measure(path, *threads, *rounds); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

// A way is one way to run a model: a call is one run.
type way struct {
	name string
	run  func() error
	out  func() ([]float32, error) // elements of the first output
	err  error                     // why it cannot run the model
}

// ways loads a model in every way and runs it once.
func ways(file []byte, threads int) ([]way, error) {
	m, err := onnx.Parse(file)
	if err != nil {
		return nil, err
	}
	feeds, tensors := inputs(m)
	direct, err := direct(m, feeds, threads)
	if err != nil {
		return nil, err
	}
	wrapped, err := zq.Wrap(file)
	if err != nil {
		return nil, err
	}
	ours := func() backend.ComputationBackend {
		b := zq.New()
		b.Options.Threads = threads
		return b
	}
	list := []way{
		direct,
		through("onnxgo", file, ours(), tensors),
		through("carrier", wrapped, ours(), tensors),
		through("gorgonnx", file, gorgonnx.NewGraph(), tensors),
	}
	for i := range list {
		if w := &list[i]; w.err == nil {
			w.err = guarded(w.run)
		}
	}
	return list, nil
}

// inputs returns random inputs, for the engine and for onnx-go.
func inputs(m *onnx.Model) (map[string]*onnx.Tensor, map[string]tensor.Tensor) {
	random := rand.New(rand.NewPCG(1, 2))
	feeds, tensors := map[string]*onnx.Tensor{}, map[string]tensor.Tensor{}
	for _, v := range m.Graph.Feeds() {
		n, dims, shape := 1, []int64{}, []int{}
		for _, d := range v.Type.Shape {
			size := max(d.Size, 1)
			n, dims, shape = n*int(size), append(dims, size), append(shape, int(size))
		}
		x := make([]float32, n)
		for i := range x {
			x[i] = random.Float32()
		}
		feeds[v.Name()] = onnx.Of(x, dims...)
		tensors[v.Name()] = tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x))
	}
	return feeds, tensors
}

func direct(m *onnx.Model, feeds map[string]*onnx.Tensor, threads int) (way, error) {
	p, err := engine.Compile(m, engine.Options{Semantics: engine.Fused, Threads: threads})
	if err != nil {
		return way{}, err
	}
	var out map[string]*onnx.Tensor
	return way{
		name: "engine",
		run: func() (err error) {
			out, err = p.Run(context.Background(), feeds, nil)
			return err
		},
		out: func() ([]float32, error) { return out[p.Outputs()[0]].Float32s() },
	}, nil
}

// through returns the way through onnx-go on a backend.
func through(name string, file []byte, b backend.ComputationBackend, inputs map[string]tensor.Tensor) way {
	m := onnxgo.NewModel(b)
	load := func() error {
		if err := m.UnmarshalBinary(file); err != nil {
			return err
		}
		for name, t := range inputs {
			n, ok := m.GetNodeByName(name)
			if !ok {
				return fmt.Errorf("onnx-go knows no %q", name)
			}
			if err := n.(onnxgo.DataCarrier).SetTensor(t); err != nil {
				return err
			}
		}
		return nil
	}
	var out tensor.Tensor
	return way{
		name: name,
		err:  guarded(load),
		run: func() error {
			if err := b.Run(); err != nil {
				return err
			}
			all, err := m.GetOutputTensors()
			if err == nil {
				out = all[0]
			}
			return err
		},
		out: func() ([]float32, error) {
			v, ok := out.Data().([]float32)
			if !ok {
				return nil, fmt.Errorf("the output holds %T", out.Data())
			}
			return v, nil
		},
	}
}

// guarded makes an error of a panic.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// measure prints the line of one model.
func measure(path string, threads, rounds int) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	list, err := ways(file, threads)
	if err != nil {
		return err
	}
	times := make([][]float64, len(list)) // seconds a run, by way and round
	for range rounds {
		for i, w := range list {
			if w.err != nil {
				times[i] = append(times[i], math.NaN())
				continue
			}
			t, err := latency(w.run)
			if err != nil {
				return err
			}
			times[i] = append(times[i], t)
		}
	}
	fmt.Printf("| %s |", filepath.Base(filepath.Dir(path)))
	for i, w := range list {
		if w.err != nil {
			fmt.Fprintf(os.Stderr, "%s: %s: %v\n", path, w.name, w.err)
			fmt.Print(" - |")
			continue
		}
		fmt.Printf(" %s |", time.Duration(median(times[i])*1e9).Round(100*time.Nanosecond))
	}
	for _, pair := range [][2]int{{1, 0}, {2, 0}, {3, 1}} {
		ratios := make([]float64, rounds)
		for r := range ratios {
			ratios[r] = times[pair[0]][r] / times[pair[1]][r]
		}
		if q := median(ratios); q == q {
			fmt.Printf(" %.3g |", q)
		} else {
			fmt.Print(" - |")
		}
	}
	fmt.Println()
	return nil
}

// latency returns the seconds of the fastest run in 100 ms, after one that is not counted.
func latency(run func() error) (float64, error) {
	if err := run(); err != nil {
		return 0, err
	}
	fastest := math.Inf(1)
	for begin := time.Now(); time.Since(begin) < 100*time.Millisecond; {
		start := time.Now()
		if err := run(); err != nil {
			return 0, err
		}
		fastest = min(fastest, time.Since(start).Seconds())
	}
	return fastest, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
