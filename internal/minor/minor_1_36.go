//go:build kubernetes1.36

package minor

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"
)

// Kubernetes is N of the minor 1.N.
const Kubernetes uint = 36

// EventRecorder is what the handle of a plugin has.
type EventRecorder = events.EventRecorderLogger

// Plugins are those of scheduler-plugins that not all minors have.
func Plugins() runtime.Registry {
	return runtime.Registry{
		coscheduling.Name:    Signing(coscheduling.New, func(p *coscheduling.Coscheduling) fwk.Plugin { return signedGang{p} }),
		"CapacityScheduling": leftOut("CapacityScheduling", "use ResourceQuotas"),
	}
}

// signedGang asks for nothing of nodes, but for who else of the group is there.
type signedGang struct{ *coscheduling.Coscheduling }

// SignPod implements fwk.SignPlugin.
func (signedGang) SignPod(context.Context, *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	return nil, nil
}

// NewInformerFactory makes the informers of a scheduler.
func NewInformerFactory(client kubernetes.Interface) informers.SharedInformerFactory {
	return scheduler.NewInformerFactory(client, 0)
}

// BeforeEach has f called whenever the scheduler is about to take something from its queue.
func BeforeEach(s *scheduler.Scheduler, f func()) {
	next := s.NextPod
	s.NextPod = func(logger klog.Logger) (*framework.QueuedPodInfo, error) {
		f()
		return next(logger)
	}
}

// SchedulePod finds a node for a pod, as a scheduling cycle does.
func SchedulePod(ctx context.Context, s *scheduler.Scheduler, profile framework.Framework, state fwk.CycleState, pod *v1.Pod) (scheduler.ScheduleResult, error) {
	info, err := framework.NewPodInfo(pod)
	if err != nil {
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
