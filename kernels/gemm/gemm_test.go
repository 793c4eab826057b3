package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/zqonnx/zqonnx/kernels/cpu"
	"github.com/zqonnx/zqonnx/kernels/cpu/cputest"
	"github.com/zqonnx/zqonnx/kernels/mathf"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	for _, r := range cpu.All() {
		if !r.Available() {
			fmt.Printf("rung %v cannot run on this machine: its kernels are not tested\n", r)
		}
	}
	os.Exit(m.Run())
}

// shape of a product and of the memory around its operands.
type shape struct {
	m, n, k             int
	padA, padB, padC    int // elements between rows
	transposed          bool
	accumulate, hasBias bool
	noC                 bool // results go to the epilogue only
	parts               int  // regions computed concurrently
}

func (s shape) String() string {
	return fmt.Sprintf("m%d_n%d_k%d_pad%d.%d.%d_t%v_acc%v_bias%v_noC%v_p%d", s.m, s.n, s.k, s.padA, s.padB, s.padC,
		s.transposed, s.accumulate, s.hasBias, s.noC, s.parts)
}

func (s shape) lda() int { return s.k + s.padA }
func (s shape) ldc() int { return s.n + s.padC }
func (s shape) ldb() int {
	if s.transposed {
		return s.k + s.padB
	}
	return s.n + s.padB
}

func (s shape) lenB() int {
	if s.transposed {
		return matrixLen(s.n, s.k, s.ldb())
	}
	return matrixLen(s.k, s.n, s.ldb())
}

// matrixLen is the least length that holds the matrix: reading behind the last row is then an error.
func matrixLen(rows, columns, ld int) int {
	if rows == 0 || columns == 0 {
		return 0
	}
	return (rows-1)*ld + columns
}

// indexB returns where element (k, n) of B lies.
func (s shape) indexB(k, n int) int {
	if s.transposed {
		return n*s.ldb() + k
	}
	return k*s.ldb() + n
}

// shapes has every edge around every tile, and the odd ones.
func shapes() []shape {
	var list []shape
	variants := []shape{
		{parts: 1},
		{parts: 3, padA: 3, padB: 1, padC: 5, hasBias: true, transposed: true},
		{parts: 1, padC: 1, accumulate: true, hasBias: true},
		{parts: 2, padA: 1, hasBias: true, noC: true},
	}
	i := 0
	add := func(m, n, k int) {
		v := variants[i%len(variants)]
		i++
		v.m, v.n, v.k = m, n, k
		list = append(list, v)
	}
	for m := 1; m <= 17; m++ {
		for _, n := range []int{1, 15, 16, 17, 31, 48, 49, 100} {
			add(m, n, 5+m%4)
		}
	}
	for n := 1; n <= 100; n++ {
		add(3, n, 7)
	}
	for k := 0; k <= 40; k++ {
		add(9, 33, k)
		add(1, 65, k)
	}
	for _, v := range variants {
		for _, d := range [][3]int{{0, 5, 3}, {5, 0, 3}, {0, 0, 0}, {4, 3, 0}, {13, 97, 1024}, {2, 17, 2051}, {70, 3, 2051}, {70, 20, 33}, {1, 1, 1}} {
			v.m, v.n, v.k = d[0], d[1], d[2]
			list = append(list, v)
		}
	}
	return list
}

// guarded returns n elements drawn by fill inside a larger slice of guard values, and a check that the guards still stand.
func guarded[T comparable](n int, guard T, fill func() T) ([]T, func(t rapid.TB, name string)) {
	const width = 80
	all := make([]T, n+2*width)
	for i := range all {
		all[i] = guard
	}
	s := all[width : width+n : width+n]
	for i := range s {
		s[i] = fill()
	}
	return s, func(t rapid.TB, name string) {
		t.Helper()
		for i, v := range all {
			if (i < width || i >= width+n) && v != guard {
				t.Errorf("%s: element %d of %d was overwritten", name, i-width, n)
			}
		}
	}
}

// gather is an epilogue that copies tiles to where C would be and checks that they cover it once.
type gather[T any] struct {
	mu  sync.Mutex
	c   []T
	ldc int
	got map[[2]int]bool
}

func (g *gather[T]) Tile(m0, n0, rows, columns int, c []T, ldc int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range rows {
		for j := range columns {
			at := [2]int{m0 + i, n0 + j}
			if g.got[at] {
				panic(fmt.Sprintf("element %v came twice", at))
			}
			g.got[at] = true
			g.c[at[0]*g.ldc+at[1]] = c[i*ldc+j]
		}
	}
}

// runRegions runs all regions of g concurrently.
func runRegions(g Grid, run func(Region, *Scratch)) {
	var wait sync.WaitGroup
	for i := range g.Len() {
		wait.Go(func() { run(g.Region(i), new(Scratch)) })
	}
	wait.Wait()
}

func drawShape(t *rapid.T) shape {
	dim, pad := rapid.IntRange(0, 60), rapid.IntRange(0, 5)
	s := shape{
		m: dim.Draw(t, "m"), n: rapid.IntRange(0, 150).Draw(t, "n"), k: dim.Draw(t, "k"),
		padA: pad.Draw(t, "padA"), padB: pad.Draw(t, "padB"), padC: pad.Draw(t, "padC"),
		transposed: rapid.Bool().Draw(t, "transposed"), accumulate: rapid.Bool().Draw(t, "accumulate"),
		hasBias: rapid.Bool().Draw(t, "bias"), parts: rapid.IntRange(1, 5).Draw(t, "parts"),
	}
	s.noC = !s.accumulate && rapid.Bool().Draw(t, "noC")
	return s
}

// Memory that served a larger product must not show in the next one.
func TestReuse(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(9, 10))
		f, i, s := new(PanelsF32), new(PanelsInt8), new(Scratch)
		for _, d := range [][3]int{{20, 90, 70}, {3, 5, 7}, {9, 49, 33}, {2, 3, 0}, {1, 17, 2}} {
			m, n, k := d[0], d[1], d[2]
			fa, fb, fc, fwant := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n), make([]float32, m*n)
			ia, ib, ic, iwant := make([]uint8, m*k), make([]int8, k*n), make([]int32, m*n), make([]int32, m*n)
			for x := range fa {
				fa[x], ia[x] = rng.Float32(), uint8(rng.Uint32())
			}
			for x := range fb {
				fb[x], ib[x] = rng.Float32(), int8(rng.Uint32())
			}
			zerosB := []int32{rng.Int32N(5)}
			f.Repack(fb, k, n, n, false)
			if d[0]%2 == 0 {
				i.RepackS8(ib, k, n, n, false, zerosB)
			} else {
				columns := make([]int8, n*k)
				for x := range ib {
					columns[x%n*k+x/n] = ib[x]
				}
				i.RepackS8(columns, k, n, k, true, zerosB)
			}
			all := Region{0, m, 0, n}
			(&F32{M: m, A: fa, LDA: k, B: f, C: fc, LDC: n}).Run(all, s)
			(&Int8{M: m, A: ia, LDA: k, B: i, C: ic, LDC: n, ZeroA: []int32{7}}).Run(all, s)
			for y := range m {
				for x := range n {
					for z := range k {
						fwant[y*n+x] = mathf.FMA(fa[y*k+z], fb[z*n+x], fwant[y*n+x])
						iwant[y*n+x] += (int32(ia[y*k+z]) - 7) * (int32(ib[z*n+x]) - zerosB[0])
					}
				}
			}
			if !slices.Equal(fc, fwant) {
				t.Errorf("%v: float32 product differs", d)
			}
			if !slices.Equal(ic, iwant) {
				t.Errorf("%v: integer product differs", d)
			}
		}
	})
}

// A steady product must not allocate, neither packing nor running.
func TestNoAllocation(t *testing.T) {
	cputest.EachRung(t, func(t *testing.T) {
		const m, n, k = 11, 77, 35
		s := new(Scratch)
		fa, fb, fc := make([]float32, m*k), make([]float32, n*k), make([]float32, m*n)
		ia, ib, ic := make([]uint8, m*k), make([]int8, n*k), make([]int32, m*n)
		zerosA, zerosB := make([]int32, m), []int32{3}
		fp, ip := PackF32(fb, k, n, n, false), PackS8(ib, k, n, n, false, zerosB)
		f := F32{M: m, A: fa, LDA: k, B: fp, C: fc, LDC: n, Bias: fb[:n]}
		i := Int8{M: m, A: ia, LDA: k, Signed: true, ZeroA: zerosA, B: ip, C: ic, LDC: n}
		all := Region{0, m, 0, n}
		run := func() {
			fp.Repack(fb, k, n, n, false)
			ip.RepackS8(ib, k, n, n, false, zerosB)
			f.Run(all, s)
			i.Run(all, s)
		}
		run()
		if n := testing.AllocsPerRun(20, run); n != 0 {
			t.Errorf("%v allocations a run", n)
		}
	})
}

// Regions cover C once, start on tiles, and share the work evenly.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, n := rapid.IntRange(0, 70).Draw(t, "m"), rapid.IntRange(0, 200).Draw(t, "n")
		tileRows, tileColumns := rapid.IntRange(1, 9).Draw(t, "tileRows"), rapid.IntRange(1, 50).Draw(t, "tileColumns")
		parts := rapid.IntRange(0, 9).Draw(t, "parts")
		g := Split(m, n, tileRows, tileColumns, parts)
		if m > 0 && n > 0 && (g.Len() < 1 || g.Len() > max(parts, 1)) {
			t.Fatalf("%d regions for %d parts", g.Len(), parts)
		}
		seen := make([]int, m*n)
		for i := range g.Len() {
			r := g.Region(i)
			if r.M0%tileRows != 0 || r.N0%tileColumns != 0 || r.M0 >= r.M1 || r.N0 >= r.N1 {
				t.Fatalf("region %d is %+v", i, r)
			}
			for y := r.M0; y < r.M1; y++ {
				for x := r.N0; x < r.N1; x++ {
					seen[y*n+x]++
				}
			}
		}
		for i, times := range seen {
			if times != 1 {
				t.Fatalf("C[%d, %d] is in %d regions", i/n, i%n, times)
			}
		}
	})
	if g := Split(1, 4800, 8, 48, 2); g.Len() != 2 || g.Region(0).N1 != 2400 {
		t.Errorf("one row must be split by columns: %+v", g)
	}
	if g := Split(4800, 48, 8, 48, 2); g.Len() != 2 || g.Region(0).M1 != 2400 {
		t.Errorf("one panel must be split by rows: %+v", g)
	}
}

// What does not fit is refused before a kernel could touch foreign memory.
func TestRefusesBadOperands(t *testing.T) {
	b := PackF32(make([]float32, 6), 2, 3, 3, false)
	i := PackS8(make([]int8, 6), 2, 3, 3, false, nil)
	ok := F32{M: 4, A: make([]float32, 8), LDA: 2, B: b, C: make([]float32, 12), LDC: 3}
	all := Region{0, 4, 0, 3}
	cases := map[string]func(){
		"short A":       func() { p := ok; p.A = p.A[:7]; p.Run(all, new(Scratch)) },
		"short C":       func() { p := ok; p.C = p.C[:11]; p.Run(all, new(Scratch)) },
		"narrow C":      func() { p := ok; p.LDC = 2; p.Run(all, new(Scratch)) },
		"no C":          func() { p := ok; p.C = nil; p.Run(all, new(Scratch)) },
		"short bias":    func() { p := ok; p.Bias = make([]float32, 2); p.Run(all, new(Scratch)) },
		"region":        func() { p := ok; p.Run(Region{0, 5, 0, 3}, new(Scratch)) },
		"region start":  func() { p := ok; p.Run(Region{0, 4, 1, 3}, new(Scratch)) },
		"short B":       func() { PackF32(make([]float32, 5), 2, 3, 3, false) },
		"zero points B": func() { PackS8(make([]int8, 6), 2, 3, 3, false, make([]int32, 2)) },
		"zero points A": func() {
			(&Int8{M: 4, A: make([]uint8, 8), LDA: 2, B: i, C: make([]int32, 12), LDC: 3, ZeroA: make([]int32, 3)}).Run(all, new(Scratch))
		},
		"short int8 A": func() {
			(&Int8{M: 4, A: make([]uint8, 7), LDA: 2, B: i, C: make([]int32, 12), LDC: 3}).Run(all, new(Scratch))
		},
		"overflowing ld": func() { p := ok; p.LDA = math.MaxInt / 2; p.Run(all, new(Scratch)) },
	}
	ok.Run(all, new(Scratch))
	for name, f := range cases {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			f()
		}()
	}
}
