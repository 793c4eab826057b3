package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
)

func quantizeMain(ctx context.Context, args []string) error {
	var o zqonnx.Options
	f := pflag.NewFlagSet("zqonnx", pflag.ContinueOnError)
	f.StringVar(&o.Calib, "calib", "", "")
	f.IntVar(&o.Feeding.Limit, "calib-limit", 0, "")
	f.StringVar(&o.Range.Method, "range", "minmax", "")
	f.StringSliceVar(&o.Exclude, "exclude", nil, "")
	act := f.String("activations", "auto", "")
	dry := f.Bool("dry-run", false, "")
	f.Int64Var(&o.Opset, "opset", 0, "")
	f.StringToStringVar(&o.Feeding.State, "state", nil, "")
	f.StringToStringVar(&o.Feeding.Values, "value", nil, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	o.Activations = plan.Mode(*act)
	m, err := onnx.Read(f.Arg(0))
	if err != nil {
		return err
	}
	t0 := time.Now()
	r, err := zqonnx.Quantize(ctx, m, o)
	if err != nil {
		return err
	}
	if *dry {
		return r.Plan.Write(os.Stdout)
	}
	counts := map[plan.Scheme]int{}
	for _, n := range r.Plan.Nodes {
		counts[n.Scheme]++
	}
	fmt.Fprintln(os.Stderr, counts, time.Since(t0), r.NotMeasured)
	return r.Model.WriteFile(ctx, f.Arg(1), onnx.WriteOptions{})
}
