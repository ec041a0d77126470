package openstorage

import (
	"context"
	"fmt"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const (
	// accessCheckGap is the least time between two access checks, and the time between
	// them while the token does not show all.
	accessCheckGap = 30 * time.Second
	// With visibleFew volumes or more, it is a condition when less than visiblePercent
	// of them are shown. Of a few, some may be PVs that were left behind.
	visibleFew     = 50
	visiblePercent = 90
)

// accessLoop checks what the token shows, when there is reason to, and again and
// again while that is not enough.
func (s *Source) accessLoop(ctx context.Context) {
	if !s.waitForIndex(ctx) {
		return
	}
	for ctx.Err() == nil {
		if s.health.accessMissing() || s.checkAccess.wait(ctx) {
			s.checkTokenAccess(ctx)
		}
		sleep(ctx, s.timing.accessCheckGap)
	}
}

// checkTokenAccess finds out whether the token shows the volumes that Kubernetes has.
// Without rights, it gets an empty list and no error.
func (s *Source) checkTokenAccess(ctx context.Context) {
	handles := s.index.Handles(volumes.Claimed)
	response, err := s.client.volumes.Enumerate(ctx, &api.SdkVolumeEnumerateRequest{}, listOption())
	if ctx.Err() != nil {
		return
	}
	k := s.health.observe(err)
	s.health.observeVolumes(k, err)
	if k != answered {
		return
	}
	shown := sets.New(response.GetVolumeIds()...)
	c := accessCheck{followed: handles.Len(), shown: len(shown)}
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
	s.health.observeAccess(&c)
}

// accessCheck compares the volumes of Kubernetes with those that storage shows.
type accessCheck struct {
	followed  int // that Kubernetes has
	checkable int // whose id is known, among these
	visible   int // that storage shows, among these
	shown     int // that storage shows at all
}

// condition returns what is wrong, and an empty reason if nothing is.
func (c *accessCheck) condition(endpoint string) (reason, message string) {
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
