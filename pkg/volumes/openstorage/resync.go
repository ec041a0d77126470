package openstorage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// pollFactor is how many times more often than usual every volume is inspected
// while there is no watch.
const pollFactor = 5

func (s *Source) resyncInterval() time.Duration {
	if s.watching.Load() {
		return s.config.ResyncInterval
	}
	return s.config.ResyncInterval / pollFactor
}

// resyncLoop inspects every volume once per interval, in random order and spread
// evenly, whatever the watch says. It is also the self-audit.
func (s *Source) resyncLoop(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.settled:
	}
	for ctx.Err() == nil {
		handles := s.index.Followed()
		handles.Shuffle()
		if handles.Len() == 0 {
			sleep(ctx, s.resyncInterval()/10)
			continue
		}
		s.audit.begin(handles.Len())
		s.checkVisibility(ctx, handles)
		s.resync(ctx, handles)
	}
}

// resync spreads the handles over the interval, which is taken anew for each of
// them because the watch may come and go.
func (s *Source) resync(ctx context.Context, handles volumes.Handles) {
	const leastSleep = 20 * time.Millisecond
	due := time.Now()
	for i := range handles.Len() {
		gap := s.resyncInterval() / time.Duration(handles.Len())
		due = due.Add(gap/2 + rand.N(gap+1))
		if pause := time.Until(due); pause > leastSleep && !sleep(ctx, pause) {
			return
		}
		s.queue.add(handles.At(i), routine)
	}
}

// settleLoop inspects what is unknown, stale or in doubt, when a dump is over, or
// when the storage API or the token is back.
func (s *Source) settleLoop(ctx context.Context) {
	if !s.waitForIndex(ctx) {
		return
	}
	var checked time.Time
	settled := sync.OnceFunc(func() { close(s.settled) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.settle:
		}
		queued, ok := s.queueUnsettled()
		if !ok {
			continue
		}
		settled()
		if queued > 0 && time.Since(checked) >= s.timing.visibilityGap {
			checked = time.Now()
			s.checkVisibility(ctx, s.index.Followed())
		}
	}
}

// queueUnsettled returns how many volumes are to be inspected. It does nothing and
// returns false while a dump comes in, whose end will settle what it leaves.
func (s *Source) queueUnsettled() (queued int, ok bool) {
	if s.dumping.Load() {
		return 0, false
	}
	handles := s.index.Unsettled()
	for i := range handles.Len() {
		s.queue.add(handles.At(i), unsettled)
	}
	return handles.Len(), true
}

// checkVisibility finds out whether the token shows any volume that Kubernetes
// has. Without rights, it gets an empty list and no error.
func (s *Source) checkVisibility(ctx context.Context, handles volumes.Handles) {
	response, err := s.client.volumes.Enumerate(ctx, &api.SdkVolumeEnumerateRequest{})
	if s.reached(err) != answered {
		return
	}
	shown := sets.New(response.GetVolumeIds()...)
	visible, checkable := 0, 0
	for i := range handles.Len() {
		id, known := s.volumeID(handles.At(i))
		if !known {
			continue
		}
		checkable++
		if shown.Has(id) {
			visible++
		}
	}
	klog.FromContext(ctx).V(2).Info("Compared the volumes of Kubernetes with those of the storage API",
		"kubernetes", handles.Len(), "checkable", checkable, "storage", len(shown), "both", visible)

	blind := checkable > 0 && visible == 0
	if !blind || len(shown) > 0 {
		s.problems.clear(ReasonTokenBlind)
	}
	if !blind || len(shown) == 0 {
		s.problems.clear(ReasonForeignCluster)
	}
	switch {
	case !blind:
	case len(shown) == 0:
		s.problems.set(ReasonTokenBlind, fmt.Sprintf("%s shows no volume at all, but Kubernetes has %d PersistentVolumes of it: "+
			"give the scheduler's token the role system.view and the group *. The last known replicas are used.", s.config.Endpoint, handles.Len()))
	default:
		s.problems.set(ReasonForeignCluster, fmt.Sprintf("%s shows %d volumes, but none of the %d PersistentVolumes that Kubernetes has of it: "+
			"check that the endpoint belongs to this cluster, and that the scheduler's token has the group *.", s.config.Endpoint, len(shown), handles.Len()))
	}
}

// volumeID returns the id of a volume that may be followed by name. It is not
// known for a name that storage has not resolved yet.
func (s *Source) volumeID(handle string) (id string, known bool) {
	if isNumber(handle) {
		return handle, true
	}
	if volume := s.index.Lookup(handle).Volume; volume != nil {
		return volume.ID(), true
	}
	return "", false
}
