package hyperconverge

import (
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// changed returns a changed copy of an object.
func changed[T interface{ DeepCopy() T }](object T, change func(T)) T {
	copied := object.DeepCopy()
	change(copied)
	return copied
}

// hint is a question of the queue, and the answer.
type hint struct {
	name     string
	old, now any
	want     fwk.QueueingHint
}

func runHints(s *scene, ask fwk.QueueingHintFn, pod *v1.Pod, hints []hint) {
	s.Helper()
	for _, h := range hints {
		got, err := ask(klog.Background(), pod, h.old, h.now)
		if err != nil {
			s.Errorf("%s: %v", h.name, err)
		}
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
		other := st.MakeStorageClass().Name("slow").Provisioner(driver).Obj()
		claim := makeClaim("data", "pv-data")
		className("fast")(claim)
		s.create(class, other, claim)
		runHints(s, s.pl.isSchedulableAfterStorageClassChange, makePod("db", "data").Obj(), []hint{
			{name: "the class of the pod's claim appears", now: class, want: fwk.Queue},
			{name: "another class appears", now: other},
		})
		runHints(s, s.pl.isSchedulableAfterStorageClassChange, makePod("web").Obj(), []hint{
			{name: "a class appears for a pod without claims", now: class},
		})
	})
}

func TestHintsOfNodes(t *testing.T) {
	set := setting{nodes: []string{"closed", "closed", ""}}
	opened := func(s *scene, n int) *v1.Node {
		node, _, _ := makeNode(n, "closed")
		update(s, node, func(n *v1.Node) { n.Annotations = nil })
		return node
	}
	ask := func(s *scene, name string, pod *v1.Pod, node *v1.Node, want fwk.QueueingHint) {
		s.Helper()
		runHints(s, s.pl.isSchedulableAfterNodeChange, pod, []hint{{name: name, old: node, now: node, want: want}})
	}
	t.Run("F4: a node that has been opened helps those who may run there", func(t *testing.T) {
		play(t, set, func(s *scene) {
			s.data("data", 1)
			here, elsewhere := s.pending(strict(makePod("here", "data"))), s.pending(makePod("soft", "data").Obj())
			one, three := opened(s, 1), opened(s, 3)
			ask(s, "strict pod with a replica there", here, one, fwk.Queue)
			ask(s, "soft pod", elsewhere, one, fwk.Queue)
			ask(s, "a node that was open before", elsewhere, three, fwk.QueueSkip)
		})
	})
	t.Run("F6: a node that has been opened does not help a strict pod without a replica there", func(t *testing.T) {
		play(t, set, func(s *scene) {
			s.data("data", 1)
			pod := s.pending(strict(makePod("db", "data")))
			ask(s, "node 2", pod, opened(s, 2), fwk.QueueSkip)
		})
	})
	t.Run("a change that the index has not heard of is left to the index", func(t *testing.T) {
		play(t, set, func(s *scene) {
			s.data("data", 1)
			pod := s.pending(makePod("db", "data").Obj())
			node, _, _ := makeNode(1, "")
			ask(s, "node 1", pod, node, fwk.QueueSkip)
			opened(s, 1)
			same(s, "woken by the index", []string{"shop/db"}, s.queue.taken())
		})
	})
	t.Run("a pod that is not known is queued", func(t *testing.T) {
		play(t, set, func(s *scene) {
			node, _, _ := makeNode(1, "")
			ask(s, "node 1", makePod("stranger", "data").Obj(), node, fwk.Queue)
		})
	})
	t.Run("a pod that is in PreFilter is queued", func(t *testing.T) {
		play(t, set, func(s *scene) {
			pod := makePod("db", "data").Obj()
			s.pl.waiting.enter(pod)
			node, _, _ := makeNode(1, "")
			ask(s, "node 1", pod, node, fwk.Queue)
		})
	})
	t.Run("F8: a new node with a replica helps the pod that had nowhere to go", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			s.data("data", 2)
			pod := s.pending(strict(makePod("db", "data")))
			node, csiNode, _ := makeNode(2, "")
			s.create(node)
			s.nodeState(2, placement.Online)
			s.create(csiNode)
			runHints(s, s.pl.isSchedulableAfterNodeChange, pod, []hint{{name: "node 2", now: node, want: fwk.Queue}})
		})
	})
	t.Run("F6: a new node that the index has had before the scheduler helps a strict pod with a replica there", func(t *testing.T) {
		play(t, online(2), func(s *scene) {
			s.data("data", 1)
			pod := s.pending(strict(makePod("db", "data")))
			one, _, _ := makeNode(1, "")
			two, _, _ := makeNode(2, "")
			runHints(s, s.pl.isSchedulableAfterNodeChange, pod, []hint{
				{name: "a node with a replica", now: one, want: fwk.Queue},
				{name: "a node without", now: two},
			})
		})
	})
}

func TestHintsOfCSINodes(t *testing.T) {
	play(t, setting{nodes: []string{"", "NoDriver", "NoDriver"}}, func(s *scene) {
		s.data("data", 1)
		soft := s.pending(makePod("soft", "data").Obj())
		local := s.pending(strict(makePod("strict", "data")))
		s.create(makeCSINode(2))
		two, three := makeCSINode(2), makeCSINode(3)
		bare := changed(two, func(n *storagev1.CSINode) { n.Spec.Drivers = nil })
		runHints(s, s.pl.isSchedulableAfterCSINodeChange, soft, []hint{
			{name: "F5: the driver comes up on a node", old: bare, now: two, want: fwk.Queue},
			{name: "F5: the CSINode of a node with the driver appears", now: two, want: fwk.Queue},
			{name: "a change that the index has not heard of", now: three},
			{name: "a node that was as feasible before", now: makeCSINode(1)},
		})
		runHints(s, s.pl.isSchedulableAfterCSINodeChange, local, []hint{
			{name: "F6: the driver comes up on a node without a replica", old: bare, now: two},
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
			{"a claim is deleted", fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Delete}, false},
			{"a PV is added", fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Add}, true},
			{"a PV is updated", fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Update}, true},
			{"a class is added", fwk.ClusterEvent{Resource: fwk.StorageClass, ActionType: fwk.Add}, true},
			{"a class is updated", fwk.ClusterEvent{Resource: fwk.StorageClass, ActionType: fwk.Update}, false},
			{"a node is added", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add}, true},
			{"a node is labelled", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.UpdateNodeLabel}, true},
			{"a node is annotated", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.UpdateNodeAnnotation}, true},
			{"a node has more to allocate", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.UpdateNodeAllocatable}, false},
			{"a node sends a heartbeat", fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.UpdateNodeCondition}, false},
			{"a CSINode is added", fwk.ClusterEvent{Resource: fwk.CSINode, ActionType: fwk.Add}, true},
			{"a CSINode is updated", fwk.ClusterEvent{Resource: fwk.CSINode, ActionType: fwk.Update}, true},
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
