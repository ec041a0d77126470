package openstorage

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const (
	outcomeForeign   = "foreign"
	outcomeConfirmed = "confirmed"
	outcomeDirty     = "dirty"
)

// watchState is how far the watch has come.
type watchState uint8

const (
	watchClosed  watchState = iota
	watchListing            // sends its initial list
	watchOpen               // sends changes
)

// watchLoop keeps one watch open.
func (s *Source) watchLoop(ctx context.Context) {
	if !s.waitForIndex(ctx) {
		return
	}
	history := watchHistory{backoff: s.config.WatchBackoff, resync: s.config.ResyncInterval}
	for ctx.Err() == nil {
		attempt := time.Now()
		end, err := s.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		metrics.StorageRequests.WithLabelValues("Watch.Watch", codeOf(err)).Inc()
		err = s.client.cause(ctx, s.token.redact(err))
		if ctx.Err() != nil {
			return
		}
		pause, persistent := history.note(end)
		if persistent {
			s.health.set(ReasonNoWatch, fmt.Sprintf("%s keeps no watch open: %s. While there is none, changes are found by polling, every volume once in %v.",
				s.config.Endpoint, status.Convert(err).Message(), s.resyncInterval()), adviceWatch)
		}
		// What the initial list would have shown needs an inspect.
		s.verify.fire()
		klog.FromContext(ctx).V(2).Info("Watch of the storage API ended", "err", err, "advice", adviseOnConnection(err), "opened", end.opened,
			"toOpenAnew", end.reopen, "nextAttemptIn", time.Until(attempt.Add(pause)))
		if s.pauseWatch(ctx, attempt.Add(pause)) {
			pause, _ = history.note(watchEnd{reopen: true})
			sleep(ctx, time.Until(attempt.Add(pause)))
		}
	}
}

// pauseWatch waits until a time. It returns true as soon as a new watch would show
// more than the last one.
func (s *Source) pauseWatch(ctx context.Context, until time.Time) (reopen bool) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-s.reopen:
		return true
	}
	return false
}

// follow opens the stream and follows it to its end.
func (s *Source) follow(ctx context.Context) (end watchEnd, err error) {
	ctx, cancel := context.WithCancel(ctx)
	attempt := time.Now()
	select {
	case <-s.reopen: // this is the new watch
	default:
	}
	var companions sync.WaitGroup
	var opened, reopen bool
	defer func() {
		cancel()
		companions.Wait()
		s.setWatch(watchClosed)
		metrics.StorageWatchOpen.Set(0)
		k := kindOf(err)
		end = watchEnd{kind: k, opened: opened, lasted: time.Since(attempt),
			reopen: reopen, outage: k == unsent || s.health.has(ReasonUnreachable)}
	}()

	stream, err := s.client.watch.Watch(ctx, &api.SdkWatchRequest{
		EventType: &api.SdkWatchRequest_VolumeEvent{VolumeEvent: &api.SdkVolumeWatchRequest{}},
	})
	if err != nil {
		return end, err
	}
	s.setWatch(watchListing)
	initial := newInitialList()
	companions.Go(func() { opened = s.awaitInitialList(ctx, initial, attempt) })
	companions.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.reopen:
			reopen = sleep(ctx, time.Until(attempt.Add(s.config.WatchBackoff)))
			cancel()
		}
	})
	for {
		response, err := stream.Recv()
		if err != nil {
			return end, err
		}
		event := response.GetVolumeEvent()
		s.notice(event)
		initial.note(event.GetVolume().GetId())
	}
}

// awaitInitialList waits for the end of the initial list, and takes the watch for
// open then; and for a good one when it has lasted. It returns false if the stream ends
// before it is open.
func (s *Source) awaitInitialList(ctx context.Context, initial *initialList, attempt time.Time) bool {
	followed := s.index.Handles(volumes.Claimed)
	if !initial.wait(ctx, s.timing.initialListIdle, followed.Len()) {
		return false
	}
	s.setWatch(watchOpen)
	metrics.StorageWatchOpen.Set(1)
	klog.FromContext(ctx).V(2).Info("Watch of the storage API is open", "volumesSent", initial.count())
	s.verify.fire()
	if sleep(ctx, time.Until(attempt.Add(provenAfter*s.config.WatchBackoff))) {
		s.health.clear(ReasonNoWatch)
	}
	return true
}

// notice takes one message. It must be fast: a server drops messages when the
// client does not read.
func (s *Source) notice(event *api.SdkVolumeWatchResponse) {
	o := observationOf(event.GetVolume(), event.GetName())
	followed, inspect := s.index.Notice(&o)
	for _, handle := range inspect {
		s.enqueue(handle, dirty)
	}
	switch {
	case len(inspect) > 0:
		metrics.StorageWatchMessages.WithLabelValues(outcomeDirty).Inc()
	case followed:
		metrics.StorageWatchMessages.WithLabelValues(outcomeConfirmed).Inc()
	default:
		metrics.StorageWatchMessages.WithLabelValues(outcomeForeign).Inc()
	}
}

// sleep returns false when ctx ends before the time is over.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
