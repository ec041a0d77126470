package openstorage

import (
	"context"

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
)

// inspectLoop is one worker.
func (s *Source) inspectLoop(ctx context.Context) {
	for {
		// Wait first and choose then, so that the most urgent comes next.
		if s.gate.wait(ctx) != nil || s.limiter.Wait(ctx) != nil {
			return
		}
		handle, l, ok := s.queue.next()
		if !ok {
			return
		}
		s.inspect(ctx, handle, l)
		s.queue.done(handle)
	}
}

// enqueue has a volume inspected.
func (s *Source) enqueue(handle string, l level) { s.queue.add(handle, s.retries.admit(handle, l)) }

// inspect asks storage about one volume, and decides whether to ask again.
func (s *Source) inspect(ctx context.Context, handle string, l level) {
	if !s.index.BeginInspect(handle) {
		s.retries.over(handle) // nobody follows it any more
		return
	}
	if (l == unsettled || l == retried) && !s.index.NeedsInspect(handle) {
		if l == retried {
			s.retries.over(handle) // it was forgotten, and learned anew from the watch
		}
		return
	}
	o, err := s.ask(ctx, handle)
	if ctx.Err() != nil {
		return
	}
	logger := klog.FromContext(ctx)
	switch k := s.reached(err); {
	case k == answered:
		verdict, err := s.index.Resolve(handle, &o)
		s.audit.note(handle, l, verdict, s.watching.Load())
		if err != nil {
			logger.V(4).Info("Storage answered nothing of use about a volume", "volume", handle, "reason", err)
			s.audit.lacks(handle, l, absent)
			s.retries.missed(handle, l)
			return
		}
		s.retries.over(handle)
	case k == absent, k == refused && !s.nodesRefused.Load():
		// A token that is good otherwise shows no volumes of others.
		logger.V(4).Info("Storage does not show a volume that Kubernetes has", "volume", handle, "err", err)
		s.audit.lacks(handle, l, k)
		s.index.MarkMissing(handle)
		s.retries.missed(handle, l)
	default:
		logger.V(4).Info("Storage failed to describe a volume", "volume", handle, "err", err)
		s.audit.lacks(handle, l, failed)
		s.index.MarkDirty(handle, "")
		s.retries.failed(handle, l)
	}
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
