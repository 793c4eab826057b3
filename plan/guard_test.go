package plan

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/data"
	"github.com/zqonnx/zqonnx/internal/npy"
	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/target"
)

// given writes n samples of the input x and opens them. Element k along the last axis is multiplied by gain(k).
func given(t *testing.T, prep *Prepared, n int, gain func(k int) float32) *data.Set {
	t.Helper()
	folder, r := t.TempDir(), rand.New(rand.NewPCG(3, 4))
	x := prep.Model.Graph.Value("x")
	dims := []int64{}
	for _, d := range x.Type.Shape {
		dims = append(dims, d.Size)
	}
	for i := range n {
		values := make([]float32, onnx.NumElements(dims))
		for k := range values {
			values[k] = float32(r.NormFloat64()) * gain(k%int(dims[len(dims)-1]))
		}
		f, err := os.Create(filepath.Join(folder, fmt.Sprintf("%d.npz", i)))
		if err != nil {
			t.Fatal(err)
		}
		w := npy.NewWriter(f)
		if err := w.Add("x", onnx.Of(values, dims...)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	set, err := data.Open(folder, prep.Model.Graph, data.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// chain is four products with Tanh between; of the first matrix row 0 is multiplied by gain.
func chain(gain float32) func(b *builder) {
	return func(b *builder) {
		w := b.normal("w1", 0.2, 32, 32)
		for i := range 32 {
			onnx.Data[float32](w.Const())[i] *= gain
		}
		x := b.op("MatMul", "first", in(b.input("x", 2, 4, 32), w))
		for i, name := range []string{"second", "third", "fourth"} {
			x = b.op("Tanh", fmt.Sprintf("t%d", i), in(x))
			x = b.op("MatMul", name, in(x, b.normal(fmt.Sprintf("w%d", i+2), 0.2, 32, 32)))
		}
		b.output(x)
	}
}

// One channel of the inputs is 0, or its weights are: what is huge there takes the range from all others, without doing any good.
func without(k int) float32 {
	if k == 0 {
		return 0
	}
	return 1
}

func outlier(k int) float32 {
	if k == 0 {
		return 1e4
	}
	return 1
}

func guarded(p *Plan) string {
	var s []string
	for _, n := range p.Nodes {
		if n.Reason.ID == "guard" {
			word := n.Key + " " + string(n.Scheme)
			if n.Weights != nil && n.Weights.IsHalf() {
				word += " in float16"
			}
			s = append(s, word)
		}
	}
	return strings.Join(s, ", ")
}

// The guard finds the weights, or the activation, that cannot bear 8 bits, and nothing else.
func TestGuardFindsTheCulprit(t *testing.T) {
	for _, c := range []struct {
		name  string
		mode  Mode
		build func(b *builder)
		gain  func(int) float32
		want  string // what the guard changed
		rest  int    // nodes that stay quantized as they were
	}{
		{"weights, token-wise", ModeToken, chain(1e4), without, "MatMul_first weight-only in float16", 3},
		{"weights, per tensor", ModeDynamic, chain(1e4), without, "MatMul_first weight-only in float16", 3},
		{"weights, stored", ModeFloat, chain(1e4), without, "MatMul_first weight-only in float16", 3},
		{"weights, static", ModeStatic, chain(1e4), without, "MatMul_first weight-only in float16", 3},
		{"weights too large for float16", ModeToken, chain(1e7), without, "MatMul_first float", 3},
		{"an activation, token-wise", ModeToken, chain(0), outlier, "MatMul_first weight-only", 3},
		{"an activation, per tensor", ModeDynamic, chain(0), outlier, "MatMul_first weight-only", 3},
		{"an activation, static", ModeStatic, chain(0), outlier, "MatMul_first weight-only", 3},
		{"nothing", ModeToken, chain(1), func(int) float32 { return 1 }, "", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			prep, err := Prepare(build(c.build), 0)
			if err != nil {
				t.Fatal(err)
			}
			set := given(t, prep, 4, c.gain)
			measured := 0
			_, p := planned(t, build(c.build), func(o *Options) {
				o.Activations, o.Calibration, o.Guard = c.mode, set, DefaultGuard
				o.Guard.Enough = o.Guard.Stands
				o.Progress = func(what string, _, _ int) {
					if what == "guarding" {
						measured++
					}
				}
			})
			expect(t, guarded(p), c.want)
			quantized := 0
			for _, n := range p.Nodes {
				if n.Op == "MatMul" && n.Scheme != Float && n.Reason.ID != "guard" {
					quantized++
				}
				if r := n.Reason; r.ID == "guard" && !(r.Numbers["sqnr_db"] < r.Numbers["median_db"]-DefaultGuard.Margin && r.Numbers["whole_db"] < DefaultGuard.Stands) {
					t.Errorf("%s: the numbers %v are no reason", n.Key, r.Numbers)
				}
			}
			if quantized != c.rest {
				t.Errorf("%d products stay quantized, want %d", quantized, c.rest)
			}
			if (measured > 0) != (c.want != "") {
				t.Errorf("%d measurements, though the whole stands or does not", measured)
			}
		})
	}
}

// Every limit of the guard holds it back.
func TestGuardLimits(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(g *Guard)
		want string
	}{
		{"the defaults", func(g *Guard) {}, "MatMul_first weight-only in float16"},
		{"any model stands", func(g *Guard) { g.Stands = -1000 }, ""},
		{"nothing sticks out far enough", func(g *Guard) { g.Margin = 1000 }, ""},
		{"nothing matters", func(g *Guard) { g.Matters = -1000 }, ""},
		{"nothing may become float", func(g *Guard) { g.MaxFloat = 0 }, ""},
		{"a small budget", func(g *Guard) { g.Budget = 1 }, "MatMul_first weight-only in float16"},
		{"one sample", func(g *Guard) { g.Samples = 1 }, "MatMul_first weight-only in float16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			prep, err := Prepare(build(chain(1e4)), 0)
			if err != nil {
				t.Fatal(err)
			}
			set := given(t, prep, 4, without)
			_, p := planned(t, build(chain(1e4)), func(o *Options) {
				o.Activations, o.Calibration, o.Guard = ModeToken, set, DefaultGuard
				c.set(&o.Guard)
			})
			expect(t, guarded(p), c.want)
		})
	}
}

// Where only per-tensor dynamic is faster than float, products take it, the ones that bear it.
func TestEconomise(t *testing.T) {
	dynamicPays := *target.Targets[0]
	dynamicPays.Costs = map[target.Form]target.Cost{target.FloatForm: {Call: 2}, target.TokenForm: {Call: 3}, target.DynamicForm: {Call: 1}}
	for _, c := range []struct {
		name string
		gain func(int) float32
		want string
	}{
		{"an outlier stays out", outlier, "MatMul_first weight-only, MatMul_second dynamic, MatMul_third dynamic, MatMul_fourth dynamic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			prep, err := Prepare(build(chain(0)), 0)
			if err != nil {
				t.Fatal(err)
			}
			set := given(t, prep, 4, c.gain)
			_, p := planned(t, build(chain(0)), func(o *Options) {
				o.Target, o.Probes, o.Calibration = &dynamicPays, set, nil
			})
			expect(t, decisions(p), c.want)
		})
	}
}

// A candidate whose change is another one now is measured anew; the others' figures stand.
func TestGuardMeasuresAnew(t *testing.T) {
	s, _ := studied(t, mixed, ModeStatic, one)
	m := s.m
	m.Guard, m.Progress = DefaultGuard, func(string, int, int) {}
	figures := func() map[string]float64 {
		t.Helper()
		all, err := m.simulation()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.measureEach(all); err != nil {
			t.Fatal(err)
		}
		db := map[string]float64{}
		for _, c := range all {
			db[c.name] = m.alone(c)
		}
		return db
	}
	before, measured := figures(), len(m.sqnr)
	v := m.graph.Value("r")
	a := m.params[v]
	a.Scale *= 4
	m.params[v] = a
	site := m.sites[0]
	m.coding[site].correction = make([]float32, 8)
	m.coding[site].correction[3] = 1
	m.simulateBias(site)
	after := figures()
	if len(m.sqnr) != measured+2 {
		t.Errorf("%d candidates were measured again, want 2", len(m.sqnr)-measured)
	}
	for name, db := range before {
		lost := db - after[name]
		switch name {
		case "tensor r":
			if lost < 10 || lost > 14 {
				t.Errorf("four times the scale costs %s %.1f dB, want 12", name, lost)
			}
		case "weights of Conv_c1":
			if lost < 10 {
				t.Errorf("a bias that is wrong by 1 costs %s %.1f dB", name, lost)
			}
		default:
			if lost != 0 {
				t.Errorf("%s: %.1f dB, then %.1f", name, db, after[name])
			}
		}
	}
}
