package hyperconverge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

// storageEvents tells what is wrong with the storage API on the Deployment of this
// process, where whoever has installed it looks first. Only the leader does: the others
// would say the same.
//
// Within six minutes client-go takes two events for one that differ in nothing but their
// notes: the second is counted, and what it says is lost. RepeatAfter is longer.
type storageEvents struct {
	recorder events.EventRecorder
	client   kubernetes.Interface
	// pod is that of this process.
	pod        types.NamespacedName
	conditions func() []openstorage.Condition
	// leads is closed when this process leads.
	leads <-chan struct{}

	// The fields below belong to run.

	workload *v1.ObjectReference // nil until it is found
	told     map[string]time.Time
	failed   bool // to find the workload, which is logged once
}

const (
	// storageEventsPoll is how often conditions are looked at. One that is over before is
	// in the log alone.
	storageEventsPoll = 5 * time.Second
	// workloadTimeout is for the calls by which the workload is found.
	workloadTimeout = 10 * time.Second
	// actionOfStorage is the action of all these events.
	actionOfStorage = "ReadingStorage"
)

// run tells from when this process leads until the context ends.
func (e *storageEvents) run(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-e.leads:
	}
	e.told = map[string]time.Time{}
	wait.UntilWithContext(ctx, e.tell, storageEventsPoll)
}

// tell gives the events that are due.
func (e *storageEvents) tell(ctx context.Context) {
	due, over := dueEvents(e.conditions(), e.told, time.Now())
	if len(due)+len(over) == 0 || !e.findWorkload(ctx) {
		return
	}
	for _, condition := range due {
		e.recorder.Eventf(e.workload, nil, v1.EventTypeWarning, condition.Reason, actionOfStorage, "%s", noteOf(condition))
		e.told[condition.Reason] = time.Now()
	}
	if len(over) > 0 {
		e.recorder.Eventf(e.workload, nil, v1.EventTypeNormal, EventStorageRecovered, actionOfStorage, "%s", "Recovered: "+strings.Join(over, ", "))
	}
	for _, reason := range over {
		delete(e.told, reason)
	}
}

// dueEvents compares what is wrong with what has been told, and when: reason → time. It
// returns the conditions to be told, and the reasons of those that were and are over.
func dueEvents(conditions []openstorage.Condition, told map[string]time.Time, now time.Time) (due []openstorage.Condition, over []string) {
	lasts := map[string]bool{}
	for _, condition := range conditions {
		lasts[condition.Reason] = true
		if at, known := told[condition.Reason]; !known || now.Sub(at) >= openstorage.RepeatAfter {
			due = append(due, condition)
		}
	}
	for reason := range told {
		if !lasts[reason] {
			over = append(over, reason)
		}
	}
	slices.Sort(over)
	return due, over
}

// noteOf is what an event says of a condition. What is too long is taken from what storage
// says, and not from what to do about it.
func noteOf(condition openstorage.Condition) string {
	return cutTo(strings.ToValidUTF8(condition.Message, "?"), noteLimit-len(condition.Advice)-1) + " " + condition.Advice
}

// findWorkload reports whether it is known what to tell of. It asks again as long as it is
// not.
func (e *storageEvents) findWorkload(ctx context.Context) bool {
	if e.workload != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, workloadTimeout)
	defer cancel()
	workload, err := workloadOf(ctx, e.client, e.pod)
	if err != nil {
		if !e.failed && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "No events tell of the storage API until the Deployment of this pod is found", "pod", e.pod)
			e.failed = true
		}
		return false
	}
	e.workload = workload
	return true
}

// workloadOf finds what a pod belongs to: the Deployment of its ReplicaSet, else what
// controls the pod, else the pod itself. The account of a scheduler may read pods and
// ReplicaSets, and no Deployments.
func workloadOf(ctx context.Context, client kubernetes.Interface, name types.NamespacedName) (*v1.ObjectReference, error) {
	pod, err := client.CoreV1().Pods(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the scheduler's own pod: %w", err)
	}
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return &v1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}, nil
	}
	if owner.Kind == "ReplicaSet" {
		set, err := client.AppsV1().ReplicaSets(pod.Namespace).Get(ctx, owner.Name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("reading the scheduler's own ReplicaSet: %w", err)
		}
		if above := metav1.GetControllerOf(set); above != nil {
			owner = above
		}
	}
	return &v1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: pod.Namespace, Name: owner.Name, UID: owner.UID}, nil
}
