package openstorage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const (
	// visibilityGap is the least time between two looks at what the token shows, and
	// the time between them while it does not show all.
	visibilityGap = 30 * time.Second
	// With visibleFew volumes or more, it is a problem when less than visiblePercent
	// of them are shown. Of a few, some may be PVs that were left behind.
	visibleFew     = 50
	visiblePercent = 90
)

// visibilityReasons are the problems that a look at what the token shows finds.
var visibilityReasons = []string{ReasonTokenBlind, ReasonForeignCluster, ReasonShowsTooFew}

// lookSoon has the visibility of the volumes checked.
func (s *Source) lookSoon() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// visibilityLoop checks what the token shows, when there is reason to, and again
// and again while that is not enough: rights may be given without a new token.
func (s *Source) visibilityLoop(ctx context.Context) {
	if !s.waitForIndex(ctx) {
		return
	}
	for ctx.Err() == nil {
		if !s.listRefused.Load() && !slices.ContainsFunc(visibilityReasons, s.problems.has) {
			select {
			case <-ctx.Done():
				return
			case <-s.look:
			}
		}
		s.checkVisibility(ctx)
		sleep(ctx, s.timing.visibilityGap)
	}
}

// checkVisibility finds out whether the token shows the volumes that Kubernetes
// has. Without rights, it gets an empty list and no error.
func (s *Source) checkVisibility(ctx context.Context) {
	handles := s.index.Handles(volumes.Claimed)
	response, err := s.client.volumes.Enumerate(ctx, &api.SdkVolumeEnumerateRequest{}, listOption())
	if ctx.Err() != nil {
		return
	}
	k := s.reached(err)
	s.judgeToken(&s.listRefused, k, err)
	if k != answered {
		return
	}
	shown := sets.New(response.GetVolumeIds()...)
	c := census{followed: handles.Len(), shown: len(shown)}
	for i := range handles.Len() {
		id, known := s.volumeID(handles.At(i))
		if !known {
			continue
		}
		c.checkable++
		if shown.Has(id) {
			c.visible++
		}
	}
	klog.FromContext(ctx).V(2).Info("Compared the volumes of Kubernetes with those of the storage API",
		"kubernetes", c.followed, "checkable", c.checkable, "storage", c.shown, "both", c.visible)

	reason, message := c.problem(s.config.Endpoint)
	if reason != "" {
		s.problems.set(reason, message)
	}
	for _, other := range visibilityReasons {
		if other != reason && s.problems.clear(other) {
			s.rightsGained()
		}
	}
}

// census compares the volumes of Kubernetes with those that storage shows.
type census struct {
	followed  int // that Kubernetes has
	checkable int // whose id is known, among these
	visible   int // that storage shows, among these
	shown     int // that storage shows at all
}

// problem returns what is wrong, and an empty reason if nothing is.
func (c *census) problem(endpoint string) (reason, message string) {
	switch {
	case c.checkable == 0:
		return "", ""
	case c.shown == 0:
		return ReasonTokenBlind, fmt.Sprintf("%s shows no volume at all, but Kubernetes has %d PersistentVolumes of it: "+
			"give the scheduler's token the role system.view and the group *. The last known replicas are used.", endpoint, c.followed)
	case c.visible == 0:
		return ReasonForeignCluster, fmt.Sprintf("%s shows %d volumes, but none of the %d PersistentVolumes that Kubernetes has of it: "+
			"check that the endpoint belongs to this cluster, and that the scheduler's token has the group *. The last known replicas are used.",
			endpoint, c.shown, c.followed)
	case c.checkable >= visibleFew && 100*c.visible < visiblePercent*c.checkable:
		return ReasonShowsTooFew, fmt.Sprintf("%s shows only %d of %d PersistentVolumes that Kubernetes has of it: "+
			"check that the scheduler's token has the group *, and look for PersistentVolumes whose volume is gone. "+
			"The last known replicas of the others are used.", endpoint, c.visible, c.checkable)
	default:
		return "", ""
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
