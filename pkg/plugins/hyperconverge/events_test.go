package hyperconverge

import (
	"fmt"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// changed returns a changed copy of an object.
func changed[T interface{ DeepCopy() T }](object T, change func(T)) T {
	copied := object.DeepCopy()
	change(copied)
	return copied
}

// hint is a question of the queue, and the answer: Queue if the queue requeues the pod, or
// if the pod is activated because of the question.
type hint struct {
	name     string
	old, now any
	want     fwk.QueueingHint
}

// resetGaps forgets when pods were activated last.
func (s *scene) resetGaps() {
	s.pl.waiting.mu.Lock()
	defer s.pl.waiting.mu.Unlock()
	for _, p := range s.pl.waiting.pods {
		p.activations, p.notBefore, p.activatedAt = 0, time.Time{}, time.Time{}
	}
}

func runHints(s *scene, ask fwk.QueueingHintFn, pod *v1.Pod, hints []hint) {
	s.Helper()
	for _, h := range hints {
		got, err := ask(klog.Background(), pod, h.old, h.now)
		if err != nil {
			s.Errorf("%s: %v", h.name, err)
		}
		s.pass(time.Second)
		if slices.Contains(s.queue.taken(), pod.Namespace+"/"+pod.Name) {
			got = fwk.Queue
		}
		s.resetGaps()
		same(s, h.name, h.want, got)
	}
	for _, wrong := range []any{&v1.Service{}, "text"} {
		got, err := ask(klog.Background(), pod, nil, wrong)
		if got != fwk.Queue || err == nil {
			s.Errorf("an object of type %T: %v, %v, want Queue and an error", wrong, got, err)
		}
	}
}

func TestHintsOfClaims(t *testing.T) {
	play(t, online(1), func(s *scene) {
		pod := makePod("db", "data").Volume(ephemeral("scratch")).Obj()
		claim := makeClaim("data", "")
		restoring := changed(claim, func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.ClaimRestoreInProgress] = "true" })
		runHints(s, s.pl.isSchedulableAfterPersistentVolumeClaimChange, pod, []hint{
			{name: "F3: a claim of the pod appears", now: claim, want: fwk.Queue},
			{name: "F3: the claim of the pod's ephemeral volume appears", now: makeClaim("db-scratch", ""), want: fwk.Queue},
			{name: "the claim of another pod appears", now: makeClaim("other", "")},
			{name: "a claim of that name appears in another namespace", now: changed(claim, func(c *v1.PersistentVolumeClaim) { c.Namespace = "elsewhere" })},
			{name: "F3: the claim is given a PV", old: claim, now: makeClaim("data", "pv-data"), want: fwk.Queue},
			{name: "F3: the claim becomes Bound", old: claim, want: fwk.Queue,
				now: changed(claim, func(c *v1.PersistentVolumeClaim) { c.Status.Phase = v1.ClaimBound })},
			{name: "F2: the restore is finished", old: restoring, now: claim, want: fwk.Queue},
			{name: "F2: the restore of another pod's claim is finished", now: makeClaim("other", ""), old: changed(makeClaim("other", ""),
				func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.ClaimRestoreInProgress] = "true" })},
			{name: "F3: the claim was made anew while nobody looked", old: claim, want: fwk.Queue,
				now: changed(claim, func(c *v1.PersistentVolumeClaim) { c.UID = "another" })},
			{name: "F3: the claim of an ephemeral volume turns out to be the pod's", want: fwk.Queue, old: makeClaim("db-scratch", ""),
				now: changed(makeClaim("db-scratch", ""), func(c *v1.PersistentVolumeClaim) {
					c.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(pod, v1.SchemeGroupVersion.WithKind("Pod"))}
				})},
			{name: "the claim of an ephemeral volume gets another owner", old: makeClaim("db-scratch", ""),
				now: changed(makeClaim("db-scratch", ""), func(c *v1.PersistentVolumeClaim) {
					c.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(makePod("other").Obj(), v1.SchemeGroupVersion.WithKind("Pod"))}
				})},
			{name: "F7: a wish of the claim is taken back", want: fwk.Queue, now: claim,
				old: changed(claim, func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.VolumePreferRemoteOnly] = "true" })},
			{name: "F7: a wish of the claim is given an empty value", want: fwk.Queue, old: claim,
				now: changed(claim, func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.VolumePreferRemoteOnly] = "" })},
			{name: "an annotation that decides nothing is set", old: claim,
				now: changed(claim, func(c *v1.PersistentVolumeClaim) { c.Annotations["backup.example.com/last"] = "today" })},
			{name: "the claim is labelled, or grows", old: claim, now: changed(claim, func(c *v1.PersistentVolumeClaim) {
				c.Labels = map[string]string{"team": "blue"}
				c.Status.Capacity = v1.ResourceList{}
			})},
		})
	})
}

func TestHintsOfPVs(t *testing.T) {
	play(t, online(1), func(s *scene) {
		s.create(makeClaim("data", "pv-data"), makeClaim("other", "pv-other"))
		pv := makePV("data", "1001")
		runHints(s, s.pl.isSchedulableAfterPersistentVolumeChange, makePod("db", "data").Obj(), []hint{
			{name: "F3: the PV that a claim of the pod names appears", now: pv, want: fwk.Queue},
			{name: "the PV of another pod's claim appears", now: makePV("other", "1002")},
			{name: "a PV that no claim names appears", now: makePV("free", "1003")},
			{name: "F3: the PV is given to the claim", now: pv, want: fwk.Queue,
				old: changed(pv, func(pv *v1.PersistentVolume) { pv.Spec.ClaimRef.UID = "another" })},
			{name: "F3: the PV is given to a claim for the first time", now: pv, want: fwk.Queue,
				old: changed(pv, func(pv *v1.PersistentVolume) { pv.Spec.ClaimRef = nil })},
			{name: "F3: the PV becomes Bound", now: pv, want: fwk.Queue,
				old: changed(pv, func(pv *v1.PersistentVolume) { pv.Status.Phase = v1.VolumeAvailable })},
			{name: "F3: the PV was made anew while nobody looked", now: pv, want: fwk.Queue,
				old: changed(pv, func(pv *v1.PersistentVolume) { pv.UID = "another" })},
			{name: "the PV of another pod's claim becomes Bound", now: makePV("other", "1002"),
				old: changed(makePV("other", "1002"), func(pv *v1.PersistentVolume) { pv.Status.Phase = v1.VolumeAvailable })},
			{name: "the PV is labelled", old: pv, now: changed(pv, func(pv *v1.PersistentVolume) { pv.Labels = map[string]string{"team": "blue"} })},
			{name: "a PV without a claim is labelled",
				old: changed(pv, func(pv *v1.PersistentVolume) { pv.Spec.ClaimRef = nil }),
				now: changed(pv, func(pv *v1.PersistentVolume) { pv.Spec.ClaimRef, pv.Labels = nil, map[string]string{"team": "blue"} })},
		})
	})
}

func TestHintsOfStorageClasses(t *testing.T) {
	play(t, online(1), func(s *scene) {
		class := st.MakeStorageClass().Name("fast").Provisioner(driver).Obj()
		claim := makeClaim("data", "pv-data")
		className("fast")(claim)
		s.create(claim)
		pod := s.pending(makePod("db", "data").Obj())
		runHints(s, s.pl.isSchedulableAfterStorageClassAdd, pod, []hint{
			{name: "another class appears", now: st.MakeStorageClass().Name("slow").Provisioner(driver).Obj()},
		})
		s.create(class)
		runHints(s, s.pl.isSchedulableAfterStorageClassAdd, pod, []hint{
			{name: "F3: the class of a claim without a PV says that it is ours, which tells nothing new", now: class},
		})
		s.attempt(pod)
		runHints(s, s.pl.isSchedulableAfterStorageClassAdd, pod, []hint{
			{name: "a class appears for a pod that lacks none", now: class},
		})
	})
	play(t, online(1), func(s *scene) {
		class := st.MakeStorageClass().Name("fast").Provisioner(driver).Obj()
		class.Parameters = map[string]string{placement.VolumeSkipScoring: "true"}
		s.add(volume{name: "data", sets: on(), silent: true, claim: className("fast")})
		pod := s.pending(strict(makePod("db", "data")))
		s.create(class)
		runHints(s, s.pl.isSchedulableAfterStorageClassAdd, pod, []hint{
			{name: "F6: a class says that a volume whose replicas are not known is neutral", now: class, want: fwk.Queue},
			{name: "a class appears that has helped before", now: class},
		})
	})
}

func TestHintsOfNodes(t *testing.T) {
	play(t, setting{nodes: []string{"", "", "closed", "Offline"}}, func(s *scene) {
		s.data("data", 1)
		s.service("share", map[string]string{placement.VolumePreferRemoteOnly: "true"}, 2)
		s.data("lost", 4)
		s.add(volume{name: "windows", sets: on(4), stored: func(o *volumes.Observation) { o.Winshare = true }})
		soft, local := s.pending(makePod("soft", "data").Obj()), s.pending(strict(makePod("strict", "data")))
		remote, held := s.pending(makePod("remote", "share").Obj()), s.pending(makePod("held", "lost").Obj())
		windows := s.pending(makePod("windows", "windows").Obj())
		stranger, _, _ := makeNode(9, "")
		node := func(n int) *v1.Node {
			node, _, _ := makeNode(n, "")
			return node
		}
		for _, tc := range []struct {
			pod  *v1.Pod
			want [4]fwk.QueueingHint
		}{
			{soft, [4]fwk.QueueingHint{fwk.Queue, fwk.Queue, fwk.QueueSkip, fwk.QueueSkip}},
			{local, [4]fwk.QueueingHint{fwk.Queue, fwk.QueueSkip, fwk.QueueSkip, fwk.QueueSkip}},
			{remote, [4]fwk.QueueingHint{fwk.Queue, fwk.QueueSkip, fwk.QueueSkip, fwk.QueueSkip}},
			{held, [4]fwk.QueueingHint{}},
			{windows, [4]fwk.QueueingHint{fwk.Queue, fwk.Queue, fwk.Queue, fwk.Queue}},
			{makePod("stranger", "data").Obj(), [4]fwk.QueueingHint{fwk.Queue, fwk.Queue, fwk.Queue, fwk.Queue}},
		} {
			hints := []hint{{name: "a node that the index does not have", now: stranger}}
			if tc.pod == windows || tc.pod.Name == "stranger" {
				hints[0].want = fwk.Queue
			}
			for i, want := range tc.want {
				hints = append(hints, hint{name: fmt.Sprintf("pod %s, node %d", tc.pod.Name, i+1), now: node(i + 1), want: want})
			}
			runHints(s, s.pl.isSchedulableAfterNodeAdd, tc.pod, hints)
		}
	})
	t.Run("F6: a node that the index has before the scheduler, or after it", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			s.data("data", 2)
			pod := s.pending(strict(makePod("db", "data")))
			node, csiNode, _ := makeNode(2, "")
			hints := func(want fwk.QueueingHint) {
				runHints(s, s.pl.isSchedulableAfterNodeAdd, pod, []hint{{name: "node 2", now: node, want: want}})
			}
			hints(fwk.QueueSkip)
			s.create(node, csiNode)
			s.nodeState(2, placement.Online)
			same(s, "activated", []string{"shop/db"}, s.queue.taken())
			hints(fwk.Queue)
			s.attempt(pod)
			hints(fwk.Queue)
		})
	})
}

// Each event that the scheduler sends must find a hint, and no more events than
// can help.
func TestEventsToRegister(t *testing.T) {
	play(t, online(1), func(s *scene) {
		registered, err := s.pl.EventsToRegister(s.ctx)
		s.must(err)
		for _, tc := range []struct {
			name  string
			event fwk.ClusterEvent
			want  bool
		}{
			{"a claim is added", fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Add}, true},
			{"a claim is updated", fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Update}, true},
			{"a claim is deleted", fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Delete}, true},
			{"a PV is added", fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Add}, true},
			{"a PV is updated", fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Update}, true},
			{"a PV is deleted", fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Delete}, true},
			{"a class is added", fwk.ClusterEvent{Resource: fwk.StorageClass, ActionType: fwk.Add}, true},
			{"a class is updated", fwk.ClusterEvent{Resource: fwk.StorageClass, ActionType: fwk.Update}, false},
			{"a node is added", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add}, true},
			{"a node is labelled", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.UpdateNodeLabel}, true},
			{"a node is annotated", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.UpdateNodeAnnotation}, false},
			{"a node has more to allocate", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.UpdateNodeAllocatable}, true},
			{"a node sends a heartbeat", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.UpdateNodeCondition}, false},
			{"a CSINode is added", fwk.ClusterEvent{Resource: fwk.CSINode, ActionType: fwk.Add}, false},
			{"a CSINode is updated", fwk.ClusterEvent{Resource: fwk.CSINode, ActionType: fwk.Update}, false},
			{"a pod is deleted", fwk.ClusterEvent{Resource: fwk.Pod, ActionType: fwk.Delete}, false},
		} {
			got := slices.ContainsFunc(registered, func(r fwk.ClusterEventWithHint) bool {
				return framework.MatchClusterEvents(r.Event, tc.event)
			})
			same(s, tc.name, tc.want, got)
		}
		for _, r := range registered {
			if r.QueueingHintFn == nil {
				s.Errorf("%v has no hint, so that it would retry every pod", r.Event)
			}
		}
	})
}
