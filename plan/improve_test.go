package plan

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
	"github.com/zqonnx/zqonnx/target"
)

// narrow is a small product and larger ones; of the first matrix row 0 is multiplied by gain.
func narrow(gain float32) func(b *builder) {
	return func(b *builder) {
		w := b.normal("w1", 0.2, 32, 32)
		for i := range 32 {
			onnx.Data[float32](w.Const())[i] *= gain
		}
		x := b.op("Tanh", "t", in(b.op("MatMul", "first", in(b.input("x", 2, 4, 32), w))))
		for _, name := range []string{"second", "third", "fourth", "fifth", "sixth"} {
			x = b.op("Tanh", "t_"+name, in(b.op("MatMul", name, in(x, b.normal("w_"+name, 0.2, 32, 128)))))
			x = b.op("MatMul", "back_"+name, in(x, b.normal("v_"+name, 0.1, 128, 32)))
		}
		b.output(x)
	}
}

// slowFloat is a target where a product in float takes ten times as long as in integers.
func slowFloat() *target.Target {
	t := *target.Targets[0]
	t.Costs = map[target.Form]target.Cost{target.FloatForm: {Call: 10}, target.TokenForm: {Call: 1}}
	return &t
}

// Where the model stands, what makes most of its noise is taken back, if that is worth what it costs.
func TestGuardImproves(t *testing.T) {
	loud := func(by float32) func(int) float32 {
		return func(k int) float32 {
			if k == 0 {
				return by
			}
			return 1
		}
	}
	for _, c := range []struct {
		name string
		mode Mode
		w    float32
		gain func(int) float32
		set  func(o *Options)
		want string
	}{
		{"an input", ModeToken, 0, loud(30), nil, "MatMul_first weight-only"},
		{"an input, per tensor", ModeDynamic, 0, loud(30), nil, "MatMul_first weight-only"},
		{"weights", ModeFloat, 30, loud(0), nil, "MatMul_first weight-only in float16"},
		{"weights of a product in integers stay", ModeToken, 30, loud(0), nil, ""},
		{"nothing", ModeToken, 1, one, nil, ""},
		{"it is good enough", ModeToken, 0, loud(30), func(o *Options) { o.Guard.Enough = 20 }, ""},
		{"it costs too much", ModeToken, 0, loud(30), func(o *Options) { o.Target = slowFloat() }, ""},
		{"weights cost too much", ModeFloat, 30, loud(0), func(o *Options) { o.Guard.Worth = 1e4 }, ""},
		{"nothing more may become float", ModeToken, 0, loud(30), func(o *Options) { o.Guard.MaxFloat = 0 }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			prep, err := Prepare(build(narrow(c.w)), 0)
			if err != nil {
				t.Fatal(err)
			}
			set := given(t, prep, 8, c.gain)
			_, p := planned(t, build(narrow(c.w)), func(o *Options) {
				o.Activations, o.Calibration, o.Guard, o.Equalize, o.Rounding = c.mode, set, DefaultGuard, EqualizeNone, "rtn"
				o.Guard.Stands = 10
				if c.set != nil {
					c.set(o)
				}
			})
			expect(t, guarded(p), c.want)
		})
	}
}

// Half precision is for weights that it holds.
func TestBearsHalf(t *testing.T) {
	for _, c := range []struct {
		name string
		row  []float32 // one of the channels
		want bool
	}{
		{"normal", []float32{1, -0.1, 1e-3, 0}, true},
		{"the largest", []float32{65504, 1, 1, 1}, true},
		{"too large", []float32{65520, 1, 1, 1}, false},
		{"small ones beside large ones", []float32{1, 1e-9, 1e-12, 1e-30}, true},
		{"small ones only", []float32{1e-7, 2e-7, 3e-7, -1e-7}, false},
		{"nothing", []float32{0, 0, 0, 0}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := make([]float32, 4*100)
			for i := range w {
				w[i] = float32(i%7) - 3
			}
			for k, v := range c.row {
				w[k*100+17] = v
			}
			m := build(func(b *builder) {
				b.output(b.op("MatMul", "y", in(b.input("x", 1, 4), b.g.AddConst("w", onnx.Of(w, 4, 100)))))
			})
			if got := Survey(m)[0].bearsHalf(); got != c.want {
				t.Errorf("%v: %v, want %v", c.row, got, c.want)
			}
		})
	}
}
