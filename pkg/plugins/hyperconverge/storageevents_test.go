package hyperconverge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

func controlledBy(kind, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "system", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID("uid of " + name), Controller: ptr.To(true)},
	}}
}

func ownPod(owner metav1.ObjectMeta) *v1.Pod {
	owner.Name, owner.Namespace, owner.UID = "scheduler-1-a", "system", "uid of scheduler-1-a"
	return &v1.Pod{ObjectMeta: owner}
}

func ownReplicaSet(owner metav1.ObjectMeta) *appsv1.ReplicaSet {
	owner.Name, owner.Namespace = "scheduler-1", "system"
	return &appsv1.ReplicaSet{ObjectMeta: owner}
}

func TestWorkloadOf(t *testing.T) {
	for _, tc := range []struct {
		name    string
		objects []runtime.Object
		want    string // kind, name and UID; empty for an error
	}{
		{"the pod of a Deployment", []runtime.Object{ownPod(controlledBy("ReplicaSet", "scheduler-1")), ownReplicaSet(controlledBy("Deployment", "scheduler"))}, "Deployment scheduler uid of scheduler"},
		{"the pod of a ReplicaSet alone", []runtime.Object{ownPod(controlledBy("ReplicaSet", "scheduler-1")), ownReplicaSet(metav1.ObjectMeta{})}, "ReplicaSet scheduler-1 uid of scheduler-1"},
		{"the pod of a DaemonSet", []runtime.Object{ownPod(controlledBy("DaemonSet", "scheduler"))}, "DaemonSet scheduler uid of scheduler"},
		{"a pod by itself", []runtime.Object{ownPod(metav1.ObjectMeta{})}, "Pod scheduler-1-a uid of scheduler-1-a"},
		{"a pod that does not exist", nil, ""},
		{"a ReplicaSet that does not exist", []runtime.Object{ownPod(controlledBy("ReplicaSet", "scheduler-1"))}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ref, err := workloadOf(t.Context(), fake.NewClientset(tc.objects...), types.NamespacedName{Namespace: "system", Name: "scheduler-1-a"})
			got := ""
			if err == nil {
				got = fmt.Sprint(ref.Kind, " ", ref.Name, " ", ref.UID)
			}
			if got != tc.want || err == nil && ref.Namespace != "system" {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

// TestStorageEventsTellWhileItLasts plays an hour of a scheduler's life.
func TestStorageEventsTellWhileItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu      sync.Mutex
			current []openstorage.Condition
			list    eventList
			running sync.WaitGroup
		)
		leads := make(chan struct{})
		e := &storageEvents{
			recorder: &list, pod: types.NamespacedName{Namespace: "system", Name: "scheduler-1-a"}, leads: leads,
			client: fake.NewClientset(ownPod(controlledBy("ReplicaSet", "scheduler-1")), ownReplicaSet(controlledBy("Deployment", "scheduler"))),
			conditions: func() []openstorage.Condition {
				mu.Lock()
				defer mu.Unlock()
				return slices.Clone(current)
			},
		}
		set := func(conditions ...openstorage.Condition) {
			mu.Lock()
			defer mu.Unlock()
			current = conditions
		}
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := list.taken(); !slices.Equal(got, want) {
				t.Errorf("%s there are %q, want %q", when, got, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		running.Go(func() { e.run(ctx) })

		unreachable := openstorage.Condition{Reason: openstorage.ReasonUnreachable, Message: "nobody", Advice: "look"}
		blind := openstorage.Condition{Reason: openstorage.ReasonTokenBlind, Message: "nothing", Advice: "give"}
		const down, dark = "Deployment scheduler StorageUnreachable: nobody look", "Deployment scheduler StorageShowsNothing: nothing give"
		set(unreachable)
		time.Sleep(time.Hour)
		expect("before it leads")
		close(leads)
		expect("when it leads", down)
		time.Sleep(openstorage.RepeatAfter - storageEventsPoll)
		expect("shortly after")
		time.Sleep(2 * storageEventsPoll)
		expect("when it lasts", down)
		set(blind, unreachable)
		time.Sleep(2 * storageEventsPoll)
		expect("when there is another", dark)
		set(blind)
		time.Sleep(2 * storageEventsPoll)
		expect("when the first is over", "Deployment scheduler StorageRecovered: Recovered: StorageUnreachable")
		set()
		time.Sleep(2 * storageEventsPoll)
		expect("when both are over", "Deployment scheduler StorageRecovered: Recovered: StorageShowsNothing")
		time.Sleep(time.Hour)
		expect("when all is well")
		cancel()
		running.Wait()
	})
}

func TestStorageEventsWaitForTheirWorkload(t *testing.T) {
	var list eventList
	client := fake.NewClientset()
	e := &storageEvents{
		recorder: &list, client: client, pod: types.NamespacedName{Namespace: "system", Name: "scheduler-1-a"}, told: map[string]time.Time{},
		conditions: func() []openstorage.Condition {
			return []openstorage.Condition{{Reason: "R", Message: "m", Advice: "a"}}
		},
	}
	e.tell(t.Context())
	if got := list.taken(); len(got) > 0 {
		t.Errorf("there are %q about nothing", got)
	}
	if err := client.Tracker().Add(ownPod(metav1.ObjectMeta{})); err != nil {
		t.Fatal(err)
	}
	e.tell(t.Context())
	if got := list.taken(); !slices.Equal(got, []string{"Pod scheduler-1-a R: m a"}) {
		t.Errorf("there are %q", got)
	}
}

func TestNoteKeepsTheAdvice(t *testing.T) {
	const advice = "Do this."
	for _, message := range []string{"short", strings.Repeat("ü", noteLimit), strings.Repeat("\xff", noteLimit)} {
		note := noteOf(openstorage.Condition{Message: message, Advice: advice})
		if len(note) > noteLimit || !strings.HasSuffix(note, " "+advice) || note != strings.ToValidUTF8(note, "") {
			t.Errorf("note of %d bytes is %q", len(note), note)
		}
	}
}
