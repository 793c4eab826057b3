package plan

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

// outlying is a normalization with outlying channels in front of two products, and a third product behind.
func outlying(b *builder) {
	gain := b.normal("gain", 1, 64)
	for i, x := range onnx.Data[float32](gain.Const()) {
		if i%16 == 3 {
			onnx.Data[float32](gain.Const())[i] = 40 * x
		}
	}
	x := b.op("LayerNormalization", "x", in(b.input("input", 16, 64), gain))
	x.Type = onnx.TensorOf(onnx.Float32, onnx.Fixed(16), onnx.Fixed(64))
	small := b.op("MatMul", "a", in(x, b.normal("w_a", 0.1, 64, 64)))
	b.output(b.op("MatMul", "c", in(b.op("Tanh", "t", in(small)), b.normal("w_c", 0.1, 64, 32))), b.op("MatMul", "b", in(x, b.normal("w_b", 0.1, 64, 32))))
}

// uneven is a Conv of which one channel is much larger than the others, and two behind it.
func uneven(b *builder) {
	image := onnx.TensorOf(onnx.Float32, onnx.Fixed(1), onnx.Fixed(8), onnx.Fixed(12), onnx.Fixed(12))
	x := b.conv("x", b.conv("before", b.input("input", 1, 8, 12, 12)))
	w := onnx.Data[float32](b.g.Value("w_x").Const())
	for i := range 72 {
		w[i] *= 40
	}
	r := b.op("Relu", "r", in(x))
	x.Type, r.Type = image, image
	y := b.conv("y", r)
	behind := onnx.Data[float32](b.g.Value("w_y").Const())
	for i := range behind {
		if i/9%8 == 0 {
			behind[i] /= 40
		}
	}
	b.output(b.conv("z", y))
}

func raised(m *onnx.Model) *onnx.Model {
	m.SetOpset("", 17)
	return m
}

func TestEqualise(t *testing.T) {
	products, convs := raised(build(outlying)), raised(build(uneven))
	for _, c := range []struct {
		name     string
		model    *onnx.Model
		set      func(o *Options)
		tensors  string
		contains string
	}{
		{"token-wise", products, func(o *Options) { o.Activations = ModeToken }, "x", "smooth"},
		{"static", convs, func(o *Options) { o.Activations, o.Equalize = ModeStatic, EqualizeSmooth }, "r", "smooth"},
		{"static, few data", convs, func(o *Options) { o.Activations = ModeStatic }, "r y", "cle"},
		{"stored, without data", convs, func(o *Options) { o.Probes, o.Calibration = o.Calibration, nil }, "r", "cle"},
		{"weights only", products, func(o *Options) { o.Activations, o.Equalize = ModeFloat, EqualizeAWQ }, "x", "awq"},
		{"off", products, func(o *Options) { o.Activations, o.Equalize = ModeToken, EqualizeNone }, "", ""},
		{"another way", products, func(o *Options) { o.Activations, o.Equalize = ModeToken, EqualizeCLE }, "", ""},
		{"a taker is excluded", products, func(o *Options) { o.Activations, o.Exclude = ModeToken, []string{"MatMul_b"} }, "", ""},
		{"the producer is excluded", products, func(o *Options) { o.Activations, o.ExcludeOps = ModeToken, []string{"LayerNormalization"} }, "", ""},
		{"without data", products, func(o *Options) { o.Activations, o.Probes, o.Calibration = ModeToken, o.Calibration, nil }, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			prep, p := planned(t, c.model, func(o *Options) { o.Threads = 2; c.set(o) })
			var names []string
			for _, e := range p.Equalised {
				names = append(names, e.Tensor)
				if !strings.HasPrefix(e.Reason.Text, c.contains) || !(e.Reason.Numbers["after_db"] > e.Reason.Numbers["before_db"]) {
					t.Errorf("%s: %v", e.Reason.Text, e.Reason.Numbers)
				}
			}
			expect(t, strings.Join(names, " "), c.tensors)
			fresh, err := Prepare(c.model, 0)
			if err != nil {
				t.Fatal(err)
			}
			if prep.Model.Text() != fresh.Model.Text() {
				t.Error("the prepared model was changed")
			}
			_, again := planned(t, c.model, c.set)
			var a, b bytes.Buffer
			if err := p.Write(&a); err != nil {
				t.Fatal(err)
			}
			if err := again.Write(&b); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Error("another number of threads makes another plan")
			}
			read, err := Read(a.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if err := read.Write(&b); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes()[:a.Len()], b.Bytes()[a.Len():]) {
				t.Error("the plan changes when it is read")
			}
		})
	}
}

// Equalisation pays: with it the outputs are nearer to the float model's.
func TestEqualiseLowersTheError(t *testing.T) {
	m := raised(build(outlying))
	whole := func(how Equalize) float64 {
		prep, p := planned(t, m, func(o *Options) { o.Activations, o.Equalize = ModeToken, how })
		if _, err := CarryOut(p.Equalised, prep.Model); err != nil {
			t.Fatal(err)
		}
		r, err := newRunner(t.Context(), prep.Model, nil, samplesOf(t, prep, 12), 12, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := &planner{Options: Options{}, keys: prep.Model.Graph.Keys(), weightValues: map[int][]float32{}}
		c := change{}
		for _, site := range Survey(prep.Model) {
			q, err := QuantizeSite(site, 0, p.Node(site.Key).Weights)
			if err != nil {
				t.Fatal(err)
			}
			c.add(s.dynamicChange(site, Token))
			for e, f := range (change{{Node: site.Key, Input: 1}: s.values(q, 1)}) {
				c[e] = f
			}
		}
		db, err := r.measure(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	without, with := whole(EqualizeNone), whole(EqualizeSmooth)
	t.Logf("%.1f dB without, %.1f dB with", without, with)
	if with < without+2 {
		t.Errorf("%.1f dB without, %.1f dB with", without, with)
	}
}

func TestEqualisationsThatDoNotFit(t *testing.T) {
	prep, p := planned(t, raised(build(outlying)), func(o *Options) { o.Activations = ModeToken })
	good := p.Equalised[0]
	for _, c := range []struct {
		name, want string
		spoil      func(e *Equalisation)
	}{
		{"unknown tensor", "does not allow", func(e *Equalisation) { e.Tensor = "nothing" }},
		{"an output", "does not allow", func(e *Equalisation) { e.Tensor = "b" }},
		{"another axis", "does not allow", func(e *Equalisation) { e.Axis = -2 }},
		{"no axis", "does not allow", func(e *Equalisation) { e.Axis = 0 }},
		{"few scales", "3 scales", func(e *Equalisation) { e.Scales = e.Scales[:3] }},
		{"a zero", "by 0 in channel 1", func(e *Equalisation) { e.Scales[1] = 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := good
			e.Scales = slices.Clone(good.Scales)
			c.spoil(&e)
			before := prep.Model.Text()
			if _, err := CarryOut([]Equalisation{e}, prep.Model); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
			if prep.Model.Text() != before {
				t.Error("the model was changed")
			}
		})
	}
}
