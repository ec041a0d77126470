package openstorage

import (
	"context"
	"sync"
	"time"
)

const (
	firstPause = 500 * time.Millisecond
	lastPause  = 5 * time.Second
)

// gate keeps a crowd of inspects from running against a storage API that is not
// there. It closes for a while when one finds nobody, and opens as soon as
// anything is answered.
type gate struct {
	mu     sync.Mutex
	pause  time.Duration
	until  time.Time
	opened chan struct{} // closed when the gate opens early
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

// wait returns when the gate is open or ctx ends.
func (g *gate) wait(ctx context.Context) error {
	for {
		g.mu.Lock()
		remaining, opened := time.Until(g.until), g.opened
		g.mu.Unlock()
		if remaining <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(remaining)
		select {
		case <-ctx.Done():
		case <-opened:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// shut closes the gate, longer with each time. Failures of calls that were on
// their way when it closed count once.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if now.Before(g.until) {
		return
	}
	g.pause = min(max(2*g.pause, firstPause), lastPause)
	g.until = now.Add(g.pause)
}

// open opens the gate. It reports whether there was trouble before.
func (g *gate) open() (recovered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pause == 0 {
		return false
	}
	g.pause, g.until = 0, time.Time{}
	close(g.opened)
	g.opened = make(chan struct{})
	return true
}
