package openstoragesim

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// watchBuffer is how many events a real server keeps for one watch.
const watchBuffer = 100

var errCut = status.Error(codes.Unavailable, "injected fault: watch cut")

// watchService streams volumes: all of them once, then every one that changes.
// There is no marker between the two, no event type and no resume token, and
// the label filter of the request is ignored, all as on real servers.
type watchService struct {
	api.UnimplementedOpenStorageWatchServer
	server *Server
}

func (s watchService) Watch(request *api.SdkWatchRequest, stream api.OpenStorageWatch_WatchServer) error {
	if request.GetVolumeEvent() == nil {
		return status.Error(codes.InvalidArgument, "only volume events can be watched")
	}
	ctx, cut := context.WithCancelCause(stream.Context())
	defer cut(nil)
	// It begins before the dump, so that nothing that happens meanwhile is missed;
	// what the buffer cannot hold until the dump is out, is.
	w, end := s.server.newWatch(watchBuffer, cut)
	defer end()

	sent := 0
	// send blocks while the client does not read.
	send := func(v *api.Volume) error {
		if ctx.Err() != nil {
			return endOf(ctx)
		}
		if err := stream.Send(&api.SdkWatchResponse{EventType: &api.SdkWatchResponse_VolumeEvent{
			VolumeEvent: &api.SdkVolumeWatchResponse{Volume: v, Name: v.GetLocator().GetName()},
		}}); err != nil {
			return err
		}
		sent++
		if limit := s.server.faults.Load().Watch.CutAfter; limit > 0 && sent >= limit {
			return errCut
		}
		return nil
	}
	for _, v := range s.server.visibleVolumes(ctx) {
		if err := send(v); err != nil {
			return err
		}
	}
	for {
		select {
		case v := <-w.events:
			if !v.IsPermitted(ctx, api.Ownership_Read) {
				continue
			}
			if err := send(v); err != nil {
				return err
			}
		case <-ctx.Done():
			return endOf(ctx)
		case <-s.server.stopping:
			return errStopping
		}
	}
}

// endOf is what the client of a watch hears whose context has ended.
func endOf(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errCut) {
		return errCut
	}
	return status.FromContextError(ctx.Err()).Err()
}

// watch receives every volume that is created, changed or deleted (then with
// VOLUME_STATE_DELETED). It never holds the cluster up: what does not fit into
// its buffer is lost, as on real servers.
//
// WatchFaults happen to it with the cluster locked, so that the faults of the moment
// in which a volume changes decide, and not those of a later moment in which
// somebody reads.
type watch struct {
	server *Server
	cut    context.CancelCauseFunc
	events chan *api.Volume // never closed
	random *rand.Rand
	held   []*api.Volume
}

// newWatch starts a watch, which end ends.
func (s *Server) newWatch(buffer int, cut context.CancelCauseFunc) (w *watch, end func()) {
	w = &watch{
		server: s,
		cut:    cut,
		events: make(chan *api.Volume, buffer),
		random: rand.New(rand.NewPCG(0, s.opened.Add(1))),
	}
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	s.cluster.watches[w] = struct{}{}
	return w, func() {
		s.cluster.mu.Lock()
		defer s.cluster.mu.Unlock()
		delete(s.cluster.watches, w)
	}
}

// Subscribe returns what a watch without faults would receive. What does not fit
// into the buffer is lost.
func (c *Cluster) Subscribe(buffer int) (events <-chan *api.Volume, stop func()) {
	w, stop := NewServer(c, ServerOptions{}).newWatch(buffer, nil)
	return w.events, stop
}

// publish needs c.mu for writing, so that watches see changes in order.
func (c *Cluster) publish(v *api.Volume) {
	for w := range c.watches {
		w.receive(v)
	}
}

func (w *watch) receive(v *api.Volume) {
	faults := w.server.faults.Load().Watch
	// Both numbers are drawn always, so that what one fault chooses does not
	// depend on the other.
	dropped := w.random.Float64() < faults.Drop
	doubled := w.random.Float64() < faults.Duplicate
	if dropped || faults.HideDeletes && v.GetState() == api.VolumeState_VOLUME_STATE_DELETED {
		return
	}
	w.held = append(w.held, v)
	if doubled {
		w.held = append(w.held, v)
	}
	if len(w.held) < faults.Reorder {
		return
	}
	if faults.Reorder > 1 {
		slices.Reverse(w.held)
	}
	w.release()
}

// release hands on what faults hold back.
func (w *watch) release() {
	for _, v := range w.held {
		select {
		case w.events <- v:
		default: // lost
		}
	}
	w.held = nil
}

// OpenWatches returns the number of open watch streams.
func (s *Server) OpenWatches() int { return s.eachWatch(func(*watch) {}) }

// CutWatches ends all open watch streams with Unavailable and returns how many
// there were. A stream whose client does not read ends when it does.
func (s *Server) CutWatches() int { return s.eachWatch(func(w *watch) { w.cut(errCut) }) }

// eachWatch visits the watches of this server with the cluster locked, and counts them.
func (s *Server) eachWatch(visit func(*watch)) (count int) {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	for w := range s.cluster.watches {
		if w.server == s {
			visit(w)
			count++
		}
	}
	return count
}
