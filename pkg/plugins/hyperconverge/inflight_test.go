//go:build !kubernetes1.37

// The queue of Kubernetes 1.37 has groups of pods in it, and other types.

package hyperconverge

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/features"
	internalqueue "k8s.io/kubernetes/pkg/scheduler/backend/queue"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/queuesort"
)

// A pod that is activated while it is in a scheduling cycle is tried again as soon as
// the scheduling queue has nothing else to try: that is why one activation is enough.
// Without SchedulerPopFromBackoffQ it waits out its backoff.
func TestActivationOfAPodInFlight(t *testing.T) {
	for _, tc := range []struct {
		name   string
		gate   bool
		others int
		want   time.Duration
	}{
		{name: "a pod in flight is tried at once", gate: true},
		{name: "a pod in flight is tried when all others have been tried", gate: true, others: 100},
		{name: "without the feature gate, a pod in flight waits for its backoff", want: time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, features.SchedulerPopFromBackoffQ, tc.gate)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer time.Sleep(2 * time.Second) // for the recorder of the queue, see TestMain
				defer cancel()
				logger := klog.Background()
				q := internalqueue.NewTestQueue(ctx, (&queuesort.PrioritySort{}).Less)
				q.Run(logger)
				defer q.Close()

				add := func(pod *v1.Pod) {
					switch q := any(q).(type) {
					case interface{ Add(klog.Logger, *v1.Pod) }:
						q.Add(logger, pod)
					case interface { // since Kubernetes 1.36
						Add(context.Context, *v1.Pod)
					}:
						q.Add(ctx, pod)
					}
				}
				pod := makePod("db").Obj()
				add(pod)
				tried, err := q.Pop(logger)
				if err != nil {
					t.Fatal(err)
				}
				for i := range tc.others {
					add(makePod(fmt.Sprintf("other-%d", i)).Obj())
				}
				q.Activate(logger, map[string]*v1.Pod{namespace + "/db": pod})
				start := time.Now()
				tried.UnschedulablePlugins = sets.New(Name)
				if err := q.AddUnschedulableIfNotPresent(logger, tried, q.SchedulingCycle()); err != nil {
					t.Fatal(err)
				}
				var again *framework.QueuedPodInfo
				others := -1
				for ; again == nil || again.Pod.Name != "db"; others++ {
					if again, err = q.Pop(logger); err != nil {
						t.Fatal(err)
					}
					q.Done(again.Pod.UID)
				}
				same(t, "others before", tc.others, others)
				if got := time.Since(start); got < tc.want || got > tc.want+time.Second {
					t.Errorf("tried after %v, want about %v", got, tc.want)
				}
				if tc.want == 0 {
					same(t, "time until it is tried", 0, time.Since(start))
				}
			})
		})
	}
}
