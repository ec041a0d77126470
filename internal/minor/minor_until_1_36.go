//go:build !kubernetes1.37

package minor

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"sigs.k8s.io/scheduler-plugins/pkg/coscheduling"
)

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

// PreQueueingHints reports whether kube-scheduler asks for pods before it asks about each.
func PreQueueingHints() bool { return false }

// PreQueueingHint has an event tell which pods it concerns, where that is asked for.
func PreQueueingHint(*fwk.ClusterEventWithHint, func(logger klog.Logger, old, now any) ([]types.NamespacedName, error)) {
}

// signedGang asks for nothing of nodes, but for who else of the group is there.
type signedGang struct{ *coscheduling.Coscheduling }

// SignPod implements fwk.SignPlugin.
func (signedGang) SignPod(context.Context, *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	return nil, nil
}
