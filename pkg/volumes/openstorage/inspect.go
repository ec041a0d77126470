package openstorage

import (
	"context"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const (
	// inspectRate is the most inspects per second. Servers do about 5000; a burst
	// of replica moves of 1000 per second is followed without falling behind.
	inspectRate  = 1500
	inspectBurst = 50
	// inspectWorkers is how many inspects are under way at most.
	inspectWorkers = 16
	// maxTries is how often an inspect that brings nothing is repeated, after
	// firstRetry, then twice as long each time. Later the resync tries again.
	maxTries   = 6
	firstRetry = 500 * time.Millisecond
)

// inspectLoop is one worker.
func (s *Source) inspectLoop(ctx context.Context) {
	for {
		// Wait first and choose then, so that the most urgent comes next.
		if s.gate.wait(ctx) != nil || s.limiter.Wait(ctx) != nil {
			return
		}
		handle, l, tries, ok := s.queue.next()
		if !ok {
			return
		}
		s.inspect(ctx, handle, l, tries)
		s.queue.done(handle)
	}
}

// inspect asks storage about one volume, and decides whether to ask again.
func (s *Source) inspect(ctx context.Context, handle string, l level, tries int) {
	if l == unsettled && !s.index.NeedsInspect(handle) || !s.index.BeginInspect(handle) {
		return
	}
	o, err := s.ask(ctx, handle)
	if ctx.Err() != nil {
		return
	}
	logger := klog.FromContext(ctx)
	switch s.reached(err) {
	case answered:
		verdict, err := s.index.Resolve(handle, &o)
		s.audit.note(handle, l, verdict, s.watching.Load())
		if err != nil {
			logger.V(2).Info("Storage answered nothing of use about a volume", "volume", handle, "reason", err)
			s.retryLater(handle, l, tries)
		}
	case absent:
		logger.V(2).Info("Storage does not have a volume that Kubernetes has", "volume", handle)
		s.index.MarkMissing(handle)
		s.retryLater(handle, l, tries)
	case unreachable:
		// Its place in the queue is kept for when storage is back.
		s.index.MarkDirty(handle, "")
		s.queue.retry(handle, l, tries)
	default:
		logger.V(2).Info("Storage failed to describe a volume", "volume", handle, "err", err)
		s.index.MarkDirty(handle, "")
		s.retryLater(handle, l, tries)
	}
}

// retryLater repeats an inspect that somebody waits for. What is routine comes
// round again by itself.
func (s *Source) retryLater(handle string, l level, tries int) {
	if l >= unsettled || tries+1 >= maxTries {
		return
	}
	time.AfterFunc(s.timing.firstRetry<<tries, func() { s.queue.retry(handle, l, tries+1) })
}

// ask finds a volume by its id or name. Servers differ in whether Inspect takes
// a name, so a name that it does not find is searched for.
func (s *Source) ask(ctx context.Context, handle string) (volumes.Observation, error) {
	response, err := s.client.volumes.Inspect(ctx, &api.SdkVolumeInspectRequest{VolumeId: handle})
	if kindOf(err) == absent && !isNumber(handle) {
		response, err = s.find(ctx, handle)
	}
	if err != nil {
		return volumes.Observation{}, err
	}
	o, exists := observationOf(response.GetVolume(), response.GetName())
	if !exists {
		return o, status.Errorf(codes.NotFound, "volume %q is deleted", handle)
	}
	return o, nil
}

func (s *Source) find(ctx context.Context, name string) (*api.SdkVolumeInspectResponse, error) {
	list, err := s.client.volumes.InspectWithFilters(ctx, &api.SdkVolumeInspectWithFiltersRequest{Name: name})
	if err != nil {
		return nil, err
	}
	for _, response := range list.GetVolumes() {
		if o, exists := observationOf(response.GetVolume(), response.GetName()); exists && o.Name == name {
			return response, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "volume %q not found", name)
}

func isNumber(handle string) bool {
	for _, r := range handle {
		if r < '0' || r > '9' {
			return false
		}
	}
	return true
}
