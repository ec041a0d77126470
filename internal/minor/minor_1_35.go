//go:build !kubernetes1.36 && !kubernetes1.37

package minor

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"sigs.k8s.io/scheduler-plugins/pkg/capacityscheduling"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"
)

// Kubernetes is N of the minor 1.N.
const Kubernetes uint = 35

// EventRecorder is what the handle of a plugin has.
type EventRecorder = events.EventRecorder

// Plugins are those of scheduler-plugins that not all minors have.
func Plugins() runtime.Registry {
	return runtime.Registry{
		coscheduling.Name:       Signing(coscheduling.New, func(p *coscheduling.Coscheduling) fwk.Plugin { return signedGang{p} }),
		capacityscheduling.Name: Signing(capacityscheduling.New, func(p *capacityscheduling.CapacityScheduling) fwk.Plugin { return signedCapacity{p} }),
	}
}

// signedCapacity asks for nothing of nodes, but for what the quota has left.
type signedCapacity struct {
	*capacityscheduling.CapacityScheduling
}

// SignPod implements fwk.SignPlugin.
func (signedCapacity) SignPod(context.Context, *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	return nil, nil
}

// SchedulePod finds a node for a pod, as a scheduling cycle does.
func SchedulePod(ctx context.Context, s *scheduler.Scheduler, profile framework.Framework, state fwk.CycleState, pod *v1.Pod) (scheduler.ScheduleResult, error) {
	return s.SchedulePod(ctx, profile, state, pod)
}

// AfterEach has f called whenever the scheduler has looked for a node, with what has failed.
func AfterEach(s *scheduler.Scheduler, f func(error)) {
	schedulePod := s.SchedulePod
	s.SchedulePod = func(ctx context.Context, profile framework.Framework, state fwk.CycleState, pod *v1.Pod) (scheduler.ScheduleResult, error) {
		result, err := schedulePod(ctx, profile, state, pod)
		f(err)
		return result, err
	}
}
