package main

import (
	"fmt"
	"os"
	"time"
)

const (
	progressAfter = 2 * time.Second
	progressEvery = 100 * time.Millisecond
)

// progress is a line on a terminal that tells how far the work is, if it takes long. A nil progress tells nothing.
type progress struct {
	w     *os.File
	width int
	start time.Time
	last  time.Time
	shown bool
}

// newProgress returns nil when w is no terminal.
func newProgress(w *os.File) *progress {
	width := terminalWidth(w)
	if width == 0 {
		return nil
	}
	return &progress{w: w, width: width, start: time.Now()}
}

func (p *progress) update(what string, done, of int) {
	if p == nil {
		return
	}
	now := time.Now()
	if now.Sub(p.start) < progressAfter || now.Sub(p.last) < progressEvery {
		return
	}
	p.last, p.shown = now, true
	line := fmt.Sprintf("%s %d of %d", what, done, of)
	fmt.Fprintf(p.w, "\r\x1b[K%s", line[:min(len(line), p.width-1)])
}

// clear takes the line away before other output.
func (p *progress) clear() {
	if p != nil && p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
