// Package cpu chooses the instruction set the kernels run on.
//
// The ladder is go → avx2 → avx512vnni. Every rung returns the same bits; a higher one is only faster. The environment
// variable ZQONNX_CPU=go|avx2|avx512vnni forces a rung.
package cpu

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/cpu"
)

// Env is the environment variable that forces a rung.
const Env = "ZQONNX_CPU"

// Rung is a step of the instruction set ladder; a higher rung includes the lower ones.
type Rung int

const (
	Go         Rung = iota // plain Go: defines the results, not fast
	AVX2                   // AVX2 and FMA
	AVX512VNNI             // AVX-512 F, BW, VL, DQ and VNNI
)

// rungs is the ladder, indexed by Rung. x/sys/cpu reports a feature only where the operating system saves its registers.
var rungs = [...]struct {
	name     string
	needs    string
	features []*bool
}{
	Go:   {name: "go"},
	AVX2: {"avx2", "AVX2 and FMA", []*bool{&cpu.X86.HasAVX2, &cpu.X86.HasFMA}},
	AVX512VNNI: {"avx512vnni", "AVX2, FMA and AVX-512 F, BW, VL, DQ, VNNI", []*bool{
		&cpu.X86.HasAVX2, &cpu.X86.HasFMA, &cpu.X86.HasAVX512F, &cpu.X86.HasAVX512BW,
		&cpu.X86.HasAVX512VL, &cpu.X86.HasAVX512DQ, &cpu.X86.HasAVX512VNNI,
	}},
}

// String returns the rung's name as ZQONNX_CPU spells it.
func (r Rung) String() string {
	if r < 0 || int(r) >= len(rungs) {
		return fmt.Sprintf("Rung(%d)", int(r))
	}
	return rungs[r].name
}

// Available reports whether this machine can run r.
func (r Rung) Available() bool {
	if r < 0 || int(r) >= len(rungs) {
		return false
	}
	for _, has := range rungs[r].features {
		if !*has {
			return false
		}
	}
	return true
}

// All returns the whole ladder, lowest rung first, whether or not it can run here.
func All() []Rung { return []Rung{Go, AVX2, AVX512VNNI} }

// Best returns the highest rung this machine can run.
func Best() Rung {
	best := Go
	for _, r := range All() {
		if r.Available() {
			best = r
		}
	}
	return best
}

var (
	current atomic.Int64
	envErr  error
)

func init() {
	r, err := choose(os.Getenv(Env))
	current.Store(int64(r))
	envErr = err
}

// choose returns the rung that the value of ZQONNX_CPU asks for, or the best one and an error.
func choose(name string) (Rung, error) {
	if name == "" {
		return Best(), nil
	}
	var names []string
	for _, r := range All() {
		if r.String() != name {
			names = append(names, r.String())
			continue
		}
		if !r.Available() {
			return Best(), fmt.Errorf("%s=%s: this CPU or operating system lacks %s; use %s or unset %s",
				Env, name, rungs[r].needs, Best(), Env)
		}
		return r, nil
	}
	return Best(), fmt.Errorf("%s=%s: unknown rung; use one of %s or unset %s", Env, name, strings.Join(names, ", "), Env)
}

// Current returns the rung that kernels run on: the one ZQONNX_CPU asks for, else the best.
func Current() Rung { return Rung(current.Load()) }

// Err tells what is wrong with ZQONNX_CPU: an unknown name, or a rung this machine cannot run. Current is then Best.
func Err() error { return envErr }

// Set makes r the current rung and returns what puts the old one back. It is a hook for tests and benchmarks; r must be
// available.
func Set(r Rung) (restore func()) {
	if !r.Available() {
		panic(fmt.Sprintf("cpu.Set: rung %v is not available", r))
	}
	old := current.Swap(int64(r))
	return func() { current.Store(old) }
}
