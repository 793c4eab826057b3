package zqonnx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zqonnx/zqonnx"
	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/engine"
	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/plan"
	"github.com/zqonnx/zqonnx/verify"
)

// FuzzQuantize takes models that edits have spoilt through everything that the tool does with a model. Whatever they are, there
// is a quantized model that stands the verification or an error that says what is wrong with the file, soon.
func FuzzQuantize(f *testing.F) {
	for _, b := range spoiltSeeds(f) {
		f.Add(b, []byte(nil))
		for k := range 3 {
			f.Add(b, bytes.Repeat([]byte{byte(37 * k), 11, byte(91 * k), 5}, 4*k))
		}
	}
	for _, c := range spoiltCases {
		b, err := c.build().Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, []byte(nil))
	}
	f.Fuzz(func(t *testing.T, model, edits []byte) {
		quantizeAnything(t, spoil(model, edits), len(edits)%2 == 1)
	})
}

// A thousand spoilt models, the same ones every time.
func TestSpoiltModels(t *testing.T) {
	seeds := spoiltSeeds(t)
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		edits := make([]byte, r.IntN(40))
		for i := range edits {
			edits[i] = byte(r.Uint32())
		}
		quantizeAnything(t, spoil(seeds[r.IntN(len(seeds))], edits), len(edits)%2 == 1)
	}
}

// Models that once ended in a panic, or in an error that said nothing of the model.
func TestSpoiltCases(t *testing.T) {
	for _, c := range spoiltCases {
		t.Run(c.name, func(t *testing.T) {
			b, err := c.build().Marshal()
			if err != nil {
				t.Fatal(err)
			}
			err = quantizeBytes(t.Context(), b, "")
			if c.kind == nil && err == nil {
				return
			}
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v is not %q with %q", err, c.kind, c.want)
			}
		})
	}
}

// Time grows with the number of nodes, not with its square: with it these took minutes.
func TestManyNodes(t *testing.T) {
	m := newSeed(13, func(s *seed) *onnx.Value {
		x := s.input("x", 1, 8)
		c := s.weights(8)
		y := x
		for range 5000 {
			s.op("Add", list(x, x)) // of which nobody takes the sum
			y = s.op("Add", list(s.op("Relu", list(s.op("Identity", list(y)))), c))
		}
		return s.op("MatMul", list(y, s.weights(8, 128)))
	})()
	begin := time.Now()
	r, err := zqonnx.Quantize(t.Context(), m, zqonnx.Options{Threads: 1, Feeding: data.Options{Limit: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Model.Marshal(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	t.Logf("20001 nodes took %v", took)
	if took > 20*time.Second {
		t.Errorf("20001 nodes took %v", took)
	}
}

// expected are the kinds of error that a bad model may cause.
var expected = []error{
	onnx.ErrBadModel, engine.ErrUnsupported, engine.ErrInput, data.ErrBadData, data.ErrBadOption, zqonnx.ErrNothing,
	context.DeadlineExceeded, verify.ErrUsage,
}

// quantizeAnything quantizes without data and, where it is asked to, also with activations by data.
func quantizeAnything(t *testing.T, b []byte, withData bool) {
	t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	calib := ""
	if withData {
		calib = calibrationFor(ctx, t, b)
	}
	err := quantizeBytes(ctx, b, calib)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err == nil {
		return
	}
	if strings.Contains(err.Error(), "internal error") || !isExpected(err) {
		t.Errorf("%v is of no kind that tells what the user can do", err)
	}
}

func isExpected(err error) bool {
	for _, kind := range expected {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// calibrationFor writes samples with which the model runs; it returns their folder, "" when there are none.
func calibrationFor(ctx context.Context, t *testing.T, b []byte) string {
	m, err := onnx.Parse(b)
	if err != nil {
		return ""
	}
	prep, err := plan.Prepare(m, 0)
	if err != nil {
		return ""
	}
	set, err := zqonnx.Probes(ctx, prep.Model, data.Options{Limit: 2}, 1)
	if err != nil {
		return ""
	}
	dir := t.TempDir()
	for i := range set.Len() {
		for s := range set.Sequence(i) {
			feeds, err := s.Feeds(nil)
			if err != nil {
				return ""
			}
			var file bytes.Buffer
			z := npy.NewWriter(&file)
			for _, name := range slices.Sorted(maps.Keys(feeds)) {
				if err := z.Add(name, feeds[name]); err != nil {
					return ""
				}
			}
			if err := errors.Join(z.Close(), os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.npz", i)), file.Bytes(), 0o666)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func quantizeBytes(ctx context.Context, b []byte, calib string) error {
	m, err := onnx.Parse(b)
	if err != nil {
		return err
	}
	o := zqonnx.Options{Threads: 1, Feeding: data.Options{Limit: 2}, Calib: calib}
	if calib != "" {
		o.Activations = plan.ModeStatic
	}
	r, err := zqonnx.Quantize(ctx, m, o)
	if err != nil {
		return err
	}
	out, err := r.Model.Marshal()
	if err != nil {
		return err
	}
	q, err := onnx.Parse(out)
	if err != nil {
		return errors.New("the quantized model cannot be read: " + err.Error())
	}
	if onnx.Check(m) == nil {
		if err := onnx.Check(q); err != nil {
			return errors.New("the quantized model is not valid: " + err.Error())
		}
	}
	if r.Check == nil {
		return r.NotMeasured
	}
	_, err = verify.Run(ctx, m, q, r.Layers, r.Check, verify.Options{Semantics: engine.Fused, Threads: 1})
	return err
}
