package prepare

import (
	"testing"

	"github.com/zqonnx/zqonnx/onnx"
)

func TestPoolMeans(t *testing.T) {
	axes := func(a ...int64) *onnx.Attribute { return onnx.AttrIs("axes", a...) }
	for _, c := range []struct {
		name  string
		x     []int64
		attrs []*onnx.Attribute
		want  string
	}{
		{"kept", []int64{-1, 3, -1, 5}, []*onnx.Attribute{axes(2, 3)}, "r=GlobalAveragePool(x) y=Relu(r)"},
		{"from the end", []int64{1, 3, 4, 5}, []*onnx.Attribute{axes(-1, -2)}, "r=GlobalAveragePool(x) y=Relu(r)"},
		{
			"dropped",
			[]int64{1, 3, 4, 5},
			[]*onnx.Attribute{axes(2, 3), onnx.AttrI("keepdims", 0)},
			"r_pool=GlobalAveragePool(x) r=Flatten(r_pool) y=Relu(r)",
		},
		{"one axis", []int64{1, 3, 4, 5}, []*onnx.Attribute{axes(3)}, "r=ReduceMean(x) y=Relu(r)"},
		{"tokens", []int64{1, 3, 4}, []*onnx.Attribute{axes(2)}, "r=ReduceMean(x) y=Relu(r)"},
		{"channels too", []int64{1, 3, 4, 5}, []*onnx.Attribute{axes(1, 2, 3)}, "r=ReduceMean(x) y=Relu(r)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := build(t, 13)
			b.g.AddOutput(b.op("Relu", "y", in(b.op("ReduceMean", "r", in(b.input("x", c.x...)), c.attrs...))))
			expect(t, b.run(PoolMeans), c.want)
			if c.name == "dropped" {
				if v := b.g.Value("r_pool"); v.Type.String() != "f32[1,3,1,1]" {
					t.Errorf("r_pool is %v", v.Type)
				}
			}
		})
	}
	t.Run("output, axes as input", func(t *testing.T) {
		b := build(t, 18)
		b.g.AddOutput(b.op("ReduceMean", "r", in(b.input("x", 1, 3, 4, 5), b.ints("axes", 3, 2)), onnx.AttrI("keepdims", 0)))
		expect(t, b.run(PoolMeans), "r_2=GlobalAveragePool(x) r=Flatten(r_2)")
		if v := b.g.Outputs()[0]; v.Name() != "r" || v.Type.String() != "f32[1,3]" {
			t.Errorf("output %s %v", v, v.Type)
		}
	})
	t.Run("a normalization", func(t *testing.T) {
		b := build(t, 13)
		x := b.input("x", 1, 3, 4, 5)
		d := b.op("Sub", "d", in(x, b.op("ReduceMean", "m", in(x), axes(2, 3))))
		b.g.AddOutput(b.op("ReduceMean", "v", in(b.op("Mul", "s", in(d, d))), axes(2, 3)))
		expect(t, b.run(PoolMeans), "m=ReduceMean(x) d=Sub(x,m) s=Mul(d,d) v=ReduceMean(s)")
	})
}
