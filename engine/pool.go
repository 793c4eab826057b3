package engine

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// The workers are one for each core, shared by all programs of the process: they never end and hold nothing between jobs.
var (
	startWorkers sync.Once
	jobs         chan *job
)

// job is one parallel loop. Every program has one and reuses it, so that loops allocate nothing.
type job struct {
	threads int
	n       int
	chunk   int
	each    func(i int)
	ranges  func(lo, hi int)
	next    atomic.Int64
	helpers sync.WaitGroup
	failed  atomic.Pointer[any]
}

// Do calls f(0) … f(n-1), on several workers. It makes job the gemm package's parallel loop.
func (j *job) Do(n int, f func(i int)) {
	if j.threads == 1 || n <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	j.each, j.ranges, j.n, j.chunk = f, nil, n, 1
	j.start(n)
}

// doRange calls f on consecutive ranges of at least grain items that cover 0 … n-1, on several workers.
func (j *job) doRange(n, grain int, f func(lo, hi int)) {
	if n == 0 {
		return
	}
	chunk := max(grain, (n+4*j.threads-1)/(4*j.threads))
	if j.threads == 1 || n <= chunk {
		f(0, n)
		return
	}
	j.each, j.ranges, j.n, j.chunk = nil, f, n, chunk
	j.start((n + chunk - 1) / chunk)
}

func (j *job) start(pieces int) {
	startWorkers.Do(func() {
		jobs = make(chan *job, 64)
		for range runtime.NumCPU() {
			go func() {
				debug.SetPanicOnFault(true) // weights may be a mapped file that somebody truncates
				for j := range jobs {
					j.work()
					j.helpers.Done()
				}
			}()
		}
	})
	j.next.Store(0)
	j.failed.Store(nil)
	helpers := min(j.threads, pieces) - 1
	j.helpers.Add(helpers)
	for range helpers {
		jobs <- j
	}
	j.work()
	j.helpers.Wait()
	j.each, j.ranges = nil, nil
	if p := j.failed.Load(); p != nil {
		panic(*p)
	}
}

func (j *job) work() {
	defer func() {
		if p := recover(); p != nil {
			j.failed.Store(&p)
		}
	}()
	for {
		i := int(j.next.Add(1)) - 1
		lo := i * j.chunk
		if lo >= j.n || j.failed.Load() != nil {
			return
		}
		if j.each != nil {
			j.each(i)
		} else {
			j.ranges(lo, min(lo+j.chunk, j.n))
		}
	}
}
