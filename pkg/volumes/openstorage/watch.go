package openstorage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/metrics"
)

const (
	outcomeForeign   = "foreign"
	outcomeConfirmed = "confirmed"
	outcomeDoubted   = "doubted"
)

// watchLoop keeps one watch open.
func (s *Source) watchLoop(ctx context.Context) {
	if !s.waitForIndex(ctx) {
		return
	}
	failures := 0
	for ctx.Err() == nil {
		attempt := time.Now()
		opened, err := s.watch(ctx)
		err = s.token.redact(err)
		if ctx.Err() != nil {
			return
		}
		metrics.StorageRequests.WithLabelValues("Watch.Watch", status.Code(err).String()).Inc()
		if opened {
			failures = 0
		}
		k := kindOf(err)
		// One failure is no trouble, and an outage is told of already.
		if failures++; k == unsupported || k == refused || failures > 1 && !s.problems.has(ReasonUnreachable) {
			s.problems.set(ReasonNoWatch, fmt.Sprintf("%s gives no watch: %s. Changes are found by polling, every volume once in %v.",
				s.config.Endpoint, status.Convert(err).Message(), s.resyncInterval()))
		}
		// Whatever the dump would have brought has to be asked for.
		s.settleSoon()
		pause := time.Until(attempt.Add(s.watchPause(k, failures)))
		klog.FromContext(ctx).V(2).Info("Watch of the storage API ended", "err", err, "opened", opened, "nextAttemptIn", pause)
		sleep(ctx, pause)
	}
}

// watchPause is the time from one attempt to the next.
func (s *Source) watchPause(k kind, failures int) time.Duration {
	pause := s.config.WatchBackoff << min(failures-1, 3)
	if k == unsupported {
		pause = max(pause, s.config.ResyncInterval)
	}
	return pause + rand.N(pause/5+1)
}

// watch opens the stream and follows it to its end. It reports whether the dump
// of all volumes came through.
func (s *Source) watch(ctx context.Context) (opened bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.dumping.Store(true)
	defer s.dumping.Store(false)
	stream, err := s.client.watch.Watch(ctx, &api.SdkWatchRequest{
		EventType: &api.SdkWatchRequest_VolumeEvent{VolumeEvent: &api.SdkVolumeWatchRequest{}},
	})
	if err != nil {
		return false, err
	}

	var messages atomic.Int64
	dumped := make(chan bool, 1)
	go func() { dumped <- s.awaitDump(ctx, &messages) }()
	defer func() {
		cancel()
		opened = <-dumped
		s.watching.Store(false)
		metrics.StorageWatchOpen.Set(0)
	}()
	for {
		response, err := stream.Recv()
		if err != nil {
			return false, err
		}
		messages.Add(1)
		s.notice(response.GetVolumeEvent())
	}
}

// awaitDump waits until the stream has fallen silent, and then takes the watch
// for open. It returns false if the stream ends before.
func (s *Source) awaitDump(ctx context.Context, messages *atomic.Int64) bool {
	for before := int64(-1); ; {
		now := messages.Load()
		if now == before {
			break
		}
		before = now
		if !sleep(ctx, s.timing.dumpIdle) {
			return false
		}
	}
	s.dumping.Store(false)
	s.watching.Store(true)
	s.problems.clear(ReasonNoWatch)
	metrics.StorageWatchOpen.Set(1)
	klog.FromContext(ctx).V(2).Info("Watch of the storage API is open", "volumesSent", messages.Load())
	s.settleSoon()
	return true
}

// notice takes one message. It must be fast: a server drops messages when the
// client does not read.
func (s *Source) notice(event *api.SdkVolumeWatchResponse) {
	o, exists := observationOf(event.GetVolume(), event.GetName())
	var followed bool
	var inspect []string
	if exists {
		followed, inspect = s.index.Notice(&o)
	} else {
		inspect = s.index.MarkDirty(o.ID, o.Name)
	}
	for _, handle := range inspect {
		s.queue.add(handle, doubted)
	}
	switch {
	case len(inspect) > 0:
		metrics.StorageWatchMessages.WithLabelValues(outcomeDoubted).Inc()
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
