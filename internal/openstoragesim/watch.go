package openstoragesim

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// watchService streams volumes: all of them once, then every one that changes.
// There is no marker between the two, no event type and no resume token, and
// the label filter of the request is ignored, all as on real servers.
type watchService struct {
	api.UnimplementedOpenStorageWatchServer
	server *Server
}

var errCut = status.Error(codes.Unavailable, "injected fault: watch cut")

func (s watchService) Watch(request *api.SdkWatchRequest, stream api.OpenStorageWatch_WatchServer) error {
	if request.GetVolumeEvent() == nil {
		return status.Error(codes.InvalidArgument, "only volume events can be watched")
	}
	ctx, number, done := s.server.watches.open(stream.Context())
	defer done()
	// Subscribing comes before the dump, so that nothing that happens meanwhile
	// is missed; what the buffer cannot hold until the dump is out, is.
	events := s.server.cluster.subscribe(s.server.options.WatchBuffer, &disturbance{
		faults: &s.server.faults,
		random: rand.New(rand.NewPCG(s.server.options.Seed, number)),
	})
	defer events.close()

	w := &watch{server: s.server, stream: stream, ctx: ctx}
	for _, v := range s.server.visibleVolumes(ctx) {
		if err := w.send(v); err != nil {
			return err
		}
	}
	for {
		select {
		case v := <-events.events:
			if !v.IsPermitted(ctx, api.Ownership_Read) {
				continue
			}
			if err := w.send(v); err != nil {
				return err
			}
		case <-ctx.Done():
			return w.ended()
		case <-s.server.stopping:
			return errStopping
		}
	}
}

// subscription receives every volume that is created, changed or deleted (then
// with VOLUME_STATE_DELETED). It never holds the cluster up: what does not fit
// into its buffer is lost, as on real servers.
type subscription struct {
	cluster *Cluster
	events  chan *api.Volume // never closed
	faults  *disturbance     // nil lets everything pass
}

// subscribe starts a subscription with a buffer of that many events, at least
// one. It must be closed.
func (c *Cluster) subscribe(buffer int, faults *disturbance) *subscription {
	s := &subscription{cluster: c, events: make(chan *api.Volume, max(buffer, 1)), faults: faults}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers[s] = struct{}{}
	return s
}

// close ends the subscription. Events that are in the buffer stay there.
func (s *subscription) close() {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	delete(s.cluster.watchers, s)
}

func (s *subscription) deliver(volumes ...*api.Volume) {
	for _, v := range volumes {
		select {
		case s.events <- v:
		default: // lost
		}
	}
}

// publish needs c.mu for writing, so that subscribers see changes in order.
func (c *Cluster) publish(v *api.Volume) {
	for s := range c.watchers {
		if s.faults == nil {
			s.deliver(v)
		} else {
			s.deliver(s.faults.pass(v)...)
		}
	}
}

// releaseHeld delivers what faults hold back.
func (c *Cluster) releaseHeld() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.watchers {
		if s.faults != nil {
			s.deliver(s.faults.release()...)
		}
	}
}

// disturbance makes WatchFaults happen to one stream. Its methods are called with
// the cluster locked, so that the faults of the moment in which a volume changes
// decide, and not those of a later moment in which somebody reads.
type disturbance struct {
	faults *atomic.Pointer[Faults]
	random *rand.Rand
	held   []*api.Volume
}

// pass takes a changed volume and returns what the subscriber gets now.
func (d *disturbance) pass(v *api.Volume) []*api.Volume {
	faults := d.faults.Load().Watch
	// Both numbers are drawn always, so that what one fault chooses does not
	// depend on the other.
	dropped := d.random.Float64() < faults.Drop
	doubled := d.random.Float64() < faults.Duplicate
	if dropped || faults.HideDeletes && v.GetState() == api.VolumeState_VOLUME_STATE_DELETED {
		return nil
	}
	d.held = append(d.held, v)
	if doubled {
		d.held = append(d.held, v)
	}
	if len(d.held) < faults.Reorder {
		return nil
	}
	passed := d.release()
	if faults.Reorder > 1 {
		slices.Reverse(passed)
	}
	return passed
}

// release returns what pass held back.
func (d *disturbance) release() []*api.Volume {
	held := d.held
	d.held = nil
	return held
}

// watch is one open stream.
type watch struct {
	server *Server
	stream api.OpenStorageWatch_WatchServer
	ctx    context.Context
	sent   int
}

// send blocks while the client does not read.
func (w *watch) send(v *api.Volume) error {
	if w.ctx.Err() != nil {
		return w.ended()
	}
	err := w.stream.Send(&api.SdkWatchResponse{EventType: &api.SdkWatchResponse_VolumeEvent{
		VolumeEvent: &api.SdkVolumeWatchResponse{Volume: v, Name: v.GetLocator().GetName()},
	}})
	if err != nil {
		return err
	}
	w.sent++
	if limit := w.server.faults.Load().Watch.CutAfter; limit > 0 && w.sent >= limit {
		return errCut
	}
	return nil
}

func (w *watch) ended() error {
	if errors.Is(context.Cause(w.ctx), errCut) {
		return errCut
	}
	return status.FromContextError(w.ctx.Err()).Err()
}

// watchSet knows the open streams.
type watchSet struct {
	mu     sync.Mutex
	opened uint64
	cuts   map[uint64]context.CancelCauseFunc // number of the stream -> its end
}

// open registers a stream. Its number counts all streams ever opened.
func (s *watchSet) open(parent context.Context) (ctx context.Context, number uint64, done func()) {
	ctx, cut := context.WithCancelCause(parent)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cuts == nil {
		s.cuts = map[uint64]context.CancelCauseFunc{}
	}
	s.opened++
	number = s.opened
	s.cuts[number] = cut
	return ctx, number, func() {
		cut(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.cuts, number)
	}
}

func (s *watchSet) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.cuts)
}

func (s *watchSet) cut() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cut := range s.cuts {
		cut(errCut)
	}
	return len(s.cuts)
}
