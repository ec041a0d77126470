package openstorage

import (
	"context"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// accessCheckGap is the least time between two access checks, and the time between
// them while the token does not show all.
const accessCheckGap = 30 * time.Second

// accessRecheck is the time after which a check that finds something wrong is repeated
// before it is told: a volume that is deleted is gone from storage a moment before its
// PersistentVolume is.
const accessRecheck = 2 * time.Second

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
	c, compared := s.compareAccess(ctx)
	if compared && c.condition("").Reason != "" && !s.health.accessMissing() {
		sleep(ctx, s.timing.accessRecheck)
		c, compared = s.compareAccess(ctx)
	}
	if compared {
		s.health.observeAccess(&c)
	}
}

// compareAccess compares once, and reports whether storage has answered.
func (s *Source) compareAccess(ctx context.Context) (c accessCheck, answer bool) {
	handles := s.index.Handles(volumes.Claimed)
	response, err := s.client.volumes.Enumerate(ctx, &api.SdkVolumeEnumerateRequest{}, listOption())
	if ctx.Err() != nil {
		return c, false
	}
	k := s.health.observe(err)
	s.health.observeVolumes(k, err)
	if k != answered {
		return c, false
	}
	shown := sets.New(response.GetVolumeIds()...)
	c = accessCheck{followed: handles.Len(), shown: len(shown)}
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
	return c, true
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
