package cpu

import (
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, r := range All() {
		got, err := choose(r.String())
		if !r.Available() {
			t.Logf("rung %v cannot run here", r)
			if err == nil || got != Best() {
				t.Errorf("choose(%v) = %v, %v; want %v and an error", r, got, err, Best())
			}
			continue
		}
		if got != r || err != nil {
			t.Errorf("choose(%v) = %v, %v; want it", r, got, err)
		}
	}
	if got, err := choose(""); got != Best() || err != nil {
		t.Errorf("choose of nothing = %v, %v; want %v", got, err, Best())
	}
	for _, name := range []string{"sse2", "AVX2", " go", "avx512"} {
		got, err := choose(name)
		if got != Best() || err == nil {
			t.Fatalf("choose(%q) = %v, %v; want %v and an error", name, got, err, Best())
		}
		for _, want := range []string{Env + "=" + name, "go", "avx2", "avx512vnni"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("choose(%q): error %q does not mention %q", name, err, want)
			}
		}
	}
}

func TestSet(t *testing.T) {
	before := Current()
	for _, r := range All() {
		if !r.Available() {
			continue
		}
		restore := Set(r)
		if Current() != r {
			t.Errorf("after Set(%v): %v", r, Current())
		}
		restore()
		if Current() != before {
			t.Errorf("after restore: %v, want %v", Current(), before)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Set accepted a rung that does not exist")
		}
	}()
	Set(Rung(len(rungs)))
}
