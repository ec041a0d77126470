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

// breaker keeps the inspects from running against a storage API that is not there.
// It trips for a while when one finds nobody, and is reset as soon as anything is
// answered.
type breaker struct {
	mu    sync.Mutex
	pause time.Duration
	until time.Time
	// early is closed when the breaker is reset before its time.
	early chan struct{}
}

func newBreaker() *breaker { return &breaker{early: make(chan struct{})} }

// wait returns when the breaker has not tripped, or ctx ends.
func (b *breaker) wait(ctx context.Context) error {
	for {
		b.mu.Lock()
		remaining, early := time.Until(b.until), b.early
		b.mu.Unlock()
		if remaining <= 0 {
			return ctx.Err()
		}
		timer := time.NewTimer(remaining)
		select {
		case <-ctx.Done():
		case <-early:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// trip holds calls back, longer with each time. Failures of calls that were on their
// way when it tripped count once.
func (b *breaker) trip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if now.Before(b.until) {
		return
	}
	b.pause = min(max(2*b.pause, firstPause), lastPause)
	b.until = now.Add(b.pause)
}

// reset lets calls through. It reports whether the breaker had tripped.
func (b *breaker) reset() (recovered bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause == 0 {
		return false
	}
	b.pause, b.until = 0, time.Time{}
	close(b.early)
	b.early = make(chan struct{})
	return true
}
