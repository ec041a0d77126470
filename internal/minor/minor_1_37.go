//go:build kubernetes1.37

package minor

import (
	"k8s.io/apimachinery/pkg/types"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// Kubernetes is N of the minor 1.N.
const Kubernetes uint = 37

// Plugins are those of scheduler-plugins that not all minors have.
func Plugins() runtime.Registry {
	return runtime.Registry{
		"Coscheduling":       leftOut("Coscheduling", "use the PodGroups of Kubernetes and the feature gate GenericWorkload"),
		"CapacityScheduling": leftOut("CapacityScheduling", "use ResourceQuotas"),
	}
}

// PreQueueingHints reports whether kube-scheduler asks for pods before it asks about each.
func PreQueueingHints() bool {
	return utilfeature.DefaultFeatureGate.Enabled(features.SchedulerPreQueueingHints)
}

// PreQueueingHint has an event tell which pods it concerns, where that is asked for.
func PreQueueingHint(event *fwk.ClusterEventWithHint, pods func(logger klog.Logger, old, now any) ([]types.NamespacedName, error)) {
	if !PreQueueingHints() {
		return
	}
	event.PreQueueingHintFn = func(logger klog.Logger, old, now any) (fwk.PreQueueingHintResult, error) {
		found, err := pods(logger, old, now)
		return fwk.PreQueueingHintResult{Pods: found}, err
	}
}

// NewInformerFactory makes the informers of a scheduler.
func NewInformerFactory(client kubernetes.Interface) informers.SharedInformerFactory {
	return scheduler.NewInformerFactory(client, 0, nil)
}

// BeforeEach has f called whenever the scheduler is about to take something from its queue.
func BeforeEach(s *scheduler.Scheduler, f func()) {
	next := s.NextEntity
	s.NextEntity = func(logger klog.Logger) (framework.QueuedEntityInfo, error) {
		f()
		return next(logger)
	}
}
