package openstorage

import (
	"context"
	"math/rand/v2"
	"time"

	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// pollFactor is how many times more often than usual every volume is inspected
// while there is no watch.
const pollFactor = 5

func (s *Source) resyncInterval() time.Duration {
	if s.watchIs(watchOpen) {
		return s.config.ResyncInterval
	}
	return s.config.ResyncInterval / pollFactor
}

// resyncLoop inspects every volume once per interval, in random order and spread
// evenly, whatever the watch says. It is also the self-audit.
func (s *Source) resyncLoop(ctx context.Context) {
	// What the start leaves open comes first, but not for ever.
	limit := time.NewTimer(s.resyncInterval())
	defer limit.Stop()
	select {
	case <-ctx.Done():
	case <-s.verified:
	case <-limit.C:
	}
	for ctx.Err() == nil {
		handles := s.index.Handles(volumes.Verifiable)
		handles.Shuffle()
		if handles.Len() == 0 {
			sleep(ctx, s.resyncInterval()/10)
			continue
		}
		s.audit.begin(handles.Len())
		if s.resync(ctx, handles) {
			pass, _ := s.audit.passes()
			pass.log(klog.FromContext(ctx).V(2), "Resync of the volumes is over")
			s.checkAccess.fire()
		}
	}
}

// resync spreads the handles over the interval, which is taken anew for each of
// them because the watch may come and go. It returns false when ctx ends before.
func (s *Source) resync(ctx context.Context, handles volumes.Handles) bool {
	const leastSleep = 20 * time.Millisecond
	due := time.Now()
	for i := range handles.Len() {
		gap := s.resyncInterval() / time.Duration(handles.Len())
		due = due.Add(gap/2 + rand.N(gap+1))
		if pause := time.Until(due); pause > leastSleep && !sleep(ctx, pause) {
			return false
		}
		handle := handles.At(i)
		if s.retries.pending(handle) {
			s.audit.lacks(handle, routine, failed)
			continue
		}
		s.enqueue(handle, routine)
	}
	return true
}

// verifyLoop inspects what is unknown, stale or dirty, when the initial list of a
// watch is over, or when the storage API or the token is back.
func (s *Source) verifyLoop(ctx context.Context) {
	if !s.waitForIndex(ctx) {
		return
	}
	for s.verify.wait(ctx) {
		if s.queueUnverified() {
			s.verified.fire()
			s.checkAccess.fire()
		}
	}
}

// queueUnverified does nothing and returns false while an initial list comes in: its
// end fires verify again, for what the list has left.
func (s *Source) queueUnverified() bool {
	if s.watchIs(watchListing) {
		return false
	}
	handles := s.index.Handles(volumes.NeedsInspect)
	for i := range handles.Len() {
		s.enqueue(handles.At(i), unverified)
	}
	return true
}
