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
// It trips for a while when one finds nobody, and nobody is there for the others
// either; it is reset as soon as anything is answered.
type breaker struct {
	mu    sync.Mutex
	pause time.Duration // the last one; 0 when something was answered since
	until time.Time     // when calls are let through again; zero for now
	// over is signalled when calls are let through.
	over sync.Cond
}

func newBreaker() *breaker {
	b := &breaker{}
	b.over.L = &b.mu
	return b
}

// wait returns when the breaker has not tripped, or ctx ends.
func (b *breaker) wait(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tripped() {
		defer context.AfterFunc(ctx, b.signal)()
	}
	for b.tripped() && ctx.Err() == nil {
		b.over.Wait()
	}
	return ctx.Err()
}

// tripped reports whether calls are held back. The caller holds the lock.
func (b *breaker) tripped() bool { return time.Now().Before(b.until) }

func (b *breaker) signal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over.Broadcast()
}

// trip holds calls back, longer with each time. Failures of calls that were on their
// way when it tripped count once.
func (b *breaker) trip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tripped() {
		return
	}
	b.pause = min(max(2*b.pause, firstPause), lastPause)
	b.until = time.Now().Add(b.pause)
	time.AfterFunc(b.pause, b.signal)
}

// reset lets calls through. It reports whether the breaker had tripped.
func (b *breaker) reset() (recovered bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pause == 0 {
		return false
	}
	b.pause, b.until = 0, time.Time{}
	b.over.Broadcast()
	return true
}
