//go:build kubernetes1.36 || kubernetes1.37

package minor

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
)

// The pass of package localfirst keeps to placements by this method.
var _ interface {
	GetNodeInPlacement(name string) (fwk.NodeInfo, error)
} = (*cache.Snapshot)(nil)

// EventRecorder is what the handle of a plugin has.
type EventRecorder = events.EventRecorderLogger

// SchedulePod finds a node for a pod, as a scheduling cycle does.
func SchedulePod(ctx context.Context, s *scheduler.Scheduler, profile framework.Framework, state fwk.CycleState, pod *v1.Pod) (scheduler.ScheduleResult, error) {
	info, err := framework.NewPodInfo(pod)
	if err != nil {
		return scheduler.ScheduleResult{}, err
	}
	// A cycle has done so before it looks for a node.
	if err := s.Cache.UpdateSnapshot(klog.FromContext(ctx), profile.SnapshotSharedLister().(*cache.Snapshot)); err != nil {
		return scheduler.ScheduleResult{}, err
	}
	return s.SchedulePod(ctx, profile, state, &framework.QueuedPodInfo{PodInfo: info})
}

// AfterEach has f called whenever the scheduler has looked for a node, with what has failed.
func AfterEach(s *scheduler.Scheduler, f func(error)) {
	schedulePod := s.SchedulePod
	s.SchedulePod = func(ctx context.Context, profile framework.Framework, state fwk.CycleState, pod *framework.QueuedPodInfo) (scheduler.ScheduleResult, error) {
		result, err := schedulePod(ctx, profile, state, pod)
		f(err)
		return result, err
	}
}
