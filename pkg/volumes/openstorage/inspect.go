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
	// inspectRate is the most inspects per second of volumes that have a PV. Servers do
	// about 5000; a burst of replica moves of 1000 per second is followed without
	// falling behind.
	inspectRate  = 1500
	inspectBurst = 50
	// unclaimedRate is the most calls per second, inspects and searches, about handles
	// that only pods name: whoever may create pods can make them up.
	unclaimedRate  = 4
	unclaimedBurst = 4
)

// inspectLoop is one worker.
func (s *Source) inspectLoop(ctx context.Context) {
	for {
		// Wait first and choose then, so that the most urgent comes next.
		if s.health.breaker.wait(ctx) != nil || s.limiter.Wait(ctx) != nil {
			return
		}
		handle, p, ok := s.queue.next()
		if !ok {
			return
		}
		s.inspect(ctx, handle, p)
		s.queue.done(handle)
	}
}

// unclaimedLoop is one worker for handles that no PV names.
func (s *Source) unclaimedLoop(ctx context.Context) {
	for s.health.breaker.wait(ctx) == nil {
		handle, ok := s.queue.nextUnclaimed()
		if !ok {
			return
		}
		s.inspect(ctx, handle, unclaimed)
		s.queue.done(handle)
	}
}

// enqueue queues a volume to be inspected.
func (s *Source) enqueue(handle string, p priority) {
	if !s.claimed(handle) {
		p = unclaimed
	}
	s.queue.add(handle, s.retries.admit(handle, p))
}

// inspect asks storage about one volume, and decides whether to ask again.
func (s *Source) inspect(ctx context.Context, handle string, p priority) {
	inspection, ok := s.index.Begin(handle)
	if !ok {
		s.retries.over(handle) // nobody follows it any more
		return
	}
	if (p == unverified || p == failing) && !inspection.Needed {
		if p == failing {
			s.retries.over(handle) // it was forgotten, and learned anew from the watch
		}
		return
	}
	o, err := s.ask(ctx, handle, p)
	if ctx.Err() != nil {
		return
	}
	logger := klog.FromContext(ctx)
	switch k := s.health.observe(err); {
	case k == answered:
		result, err := inspection.Found(&o)
		s.audit.note(handle, p, result, s.watchIs(watchOpen))
		if err != nil {
			logger.V(4).Info("Storage answered nothing of use about a volume", "volume", handle, "reason", err)
			s.audit.lacks(handle, p, absent)
			s.retries.missed(handle, p)
			return
		}
		s.retries.over(handle)
	case k == absent, k == refused && !s.health.tokenRefused():
		// A token that is good otherwise shows no volumes of others.
		logger.V(4).Info("Storage does not show a volume that Kubernetes has", "volume", handle, "err", err)
		s.audit.lacks(handle, p, k)
		inspection.Missing()
		s.retries.missed(handle, p)
	default:
		logger.V(4).Info("Storage failed to describe a volume", "volume", handle, "err", err)
		s.audit.lacks(handle, p, failed)
		inspection.Failed()
		s.retries.failed(handle, p)
	}
}

// ask finds a volume by its id or name. Servers differ in whether Inspect takes
// a name, so a name that it does not find is searched for.
func (s *Source) ask(ctx context.Context, handle string, p priority) (volumes.Observation, error) {
	if err := s.admit(ctx, p); err != nil {
		return volumes.Observation{}, err
	}
	response, err := s.client.volumes.Inspect(ctx, &api.SdkVolumeInspectRequest{VolumeId: handle})
	if kindOf(err) == absent && !isNumber(handle) {
		if err := s.admit(ctx, p); err != nil {
			return volumes.Observation{}, err
		}
		response, err = s.find(ctx, handle)
	}
	if err != nil {
		return volumes.Observation{}, err
	}
	o := observationOf(response.GetVolume(), response.GetName())
	if o.Gone {
		return o, status.Errorf(codes.NotFound, "volume %q is deleted", handle)
	}
	return o, nil
}

// admit waits until a call about a handle that no PV names may be made.
func (s *Source) admit(ctx context.Context, p priority) error {
	if p != unclaimed {
		return nil
	}
	return s.unclaimedLimiter.Wait(ctx)
}

func (s *Source) find(ctx context.Context, name string) (*api.SdkVolumeInspectResponse, error) {
	list, err := s.client.volumes.InspectWithFilters(ctx, &api.SdkVolumeInspectWithFiltersRequest{Name: name})
	if err != nil {
		return nil, err
	}
	for _, response := range list.GetVolumes() {
		if o := observationOf(response.GetVolume(), response.GetName()); !o.Gone && o.Name == name {
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
