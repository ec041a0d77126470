package hyperconverge

import (
	"context"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/util"

	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/strategies"
)

// EventsToRegister names the changes in Kubernetes that can help a pod which this
// plugin has rejected, or change what it is told. Changes in storage are no cluster
// events; waitingPods brings those, and those of nodes: what an annotation of the
// operator or the CSINode says of a node is known when the index knows it.
//
// A hint is asked for every pod that this plugin has rejected, under the lock of the
// scheduling queue. So it finds out whether the event is about the pod, and has the pod
// decided about anew elsewhere: pods may share a thousand claims.
func (pl *Hyperconverge) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	events := []fwk.ClusterEventWithHint{
		// A claim may appear, be bound, be given to the pod, lose the mark of a restore,
		// or be gone (F2, F3); an annotation may change what its volume wishes.
		{
			Event:          fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Add | fwk.Update | fwk.Delete},
			QueueingHintFn: pl.isSchedulableAfterPersistentVolumeClaimChange,
		},
		// A PV may appear behind a claim that names it, or be gone (F3).
		{
			Event:          fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Add | fwk.Update | fwk.Delete},
			QueueingHintFn: pl.isSchedulableAfterPersistentVolumeChange,
		},
		// A class that was missing may say that a volume is neutral. The parameters of an
		// existing class never change, but it may be deleted and made anew.
		{
			Event:          fwk.ClusterEvent{Resource: fwk.StorageClass, ActionType: fwk.Add},
			QueueingHintFn: pl.isSchedulableAfterStorageClassAdd,
		},
		// A replica node may join the cluster (F4, F5, F6).
		{
			Event:          fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add},
			QueueingHintFn: pl.isSchedulableAfterNodeAdd,
		},
		// The replica nodes that a pod waits for may become ones that can never take it (F16).
		{
			Event:          fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.UpdateNodeLabel | fwk.UpdateNodeAllocatable},
			QueueingHintFn: pl.isSchedulableAfterNodeUpdate,
		},
	}
	minor.PreQueueingHint(&events[0], func(_ klog.Logger, oldObj, newObj any) ([]types.NamespacedName, error) {
		return podsOfClaim(pl.decider.machines.pods, oldObj, newObj)
	})
	return events, nil
}

// isSchedulableAfterPersistentVolumeClaimChange decides anew for claims of the
// pod whose binding has changed, an annotation that a verdict depends on, or whether
// the claim was made for the pod.
func (pl *Hyperconverge) isSchedulableAfterPersistentVolumeClaimChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	old, now, err := util.As[*v1.PersistentVolumeClaim](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	claim := now
	if claim == nil {
		claim = old
	}
	if claim.Namespace != pod.Namespace || !pl.uses(pod, claim.Name) {
		return fwk.QueueSkip, nil
	}
	if old != nil && now != nil && sameClaim(old, now, pod) {
		if now.Spec.VolumeName == "" && !strategies.SameWishes(old, now) {
			pl.waiting.reconsider(pod.UID) // who is not known has met no rule of a strategy
		}
		return fwk.QueueSkip, nil
	}
	return pl.reconsider(logger, pod, "A claim of the pod has changed", claim), nil
}

func sameClaim(a, b *v1.PersistentVolumeClaim, pod *v1.Pod) bool {
	return a.UID == b.UID && a.Spec.VolumeName == b.Spec.VolumeName && a.Status.Phase == b.Status.Phase &&
		sameWishes(a.Annotations, b.Annotations) && metav1.IsControlledBy(a, pod) == metav1.IsControlledBy(b, pod)
}

func sameWishes(a, b map[string]string) bool {
	for _, key := range placement.ClaimKeys {
		valueA, inA := a[key]
		valueB, inB := b[key]
		if inA != inB || valueA != valueB {
			return false
		}
	}
	return true
}

// isSchedulableAfterPersistentVolumeChange decides anew for PVs whose claim is
// or was the pod's, if their source or their claim has changed.
func (pl *Hyperconverge) isSchedulableAfterPersistentVolumeChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	old, now, err := util.As[*v1.PersistentVolume](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	// A PV without a claim is given to the claim that names it before anybody can use
	// it, which is an event of its own.
	if old != nil && now != nil && old.Status.Phase == now.Status.Phase && sameClaimRef(old, now) && sameHandle(old, now) ||
		!pl.claimed(old, pod) && !pl.claimed(now, pod) {
		return fwk.QueueSkip, nil
	}
	pv := now
	if pv == nil {
		pv = old
	}
	return pl.reconsider(logger, pod, "A volume of the pod has changed", pv), nil
}

func (pl *Hyperconverge) claimed(pv *v1.PersistentVolume, pod *v1.Pod) bool {
	return pv != nil && pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.Namespace == pod.Namespace && pl.uses(pod, pv.Spec.ClaimRef.Name)
}

// uses reports whether a claim is the pod's, or its virtual machine's (S8).
func (pl *Hyperconverge) uses(pod *v1.Pod, claim string) bool {
	return claims.Uses(pod, claim) || slices.Contains(pl.decider.machines.disks(pod), claim)
}

func sameClaimRef(a, b *v1.PersistentVolume) bool {
	if a.Spec.ClaimRef == nil || b.Spec.ClaimRef == nil {
		return a.Spec.ClaimRef == b.Spec.ClaimRef
	}
	return a.Spec.ClaimRef.UID == b.Spec.ClaimRef.UID &&
		a.Spec.ClaimRef.Namespace == b.Spec.ClaimRef.Namespace && a.Spec.ClaimRef.Name == b.Spec.ClaimRef.Name
}

// sameHandle compares the sources of two versions of a PV. They are immutable
// unless the PV was made anew between the two.
func sameHandle(a, b *v1.PersistentVolume) bool { return a.UID == b.UID }

// isSchedulableAfterStorageClassAdd decides anew about all pods: whose claim names the
// class is found out where the lock of the queue is not held.
func (pl *Hyperconverge) isSchedulableAfterStorageClassAdd(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	_, class, err := util.As[*storagev1.StorageClass](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	return pl.reconsider(logger, pod, "A class that claims of the pod may name has appeared", class), nil
}

// isSchedulableAfterNodeAdd says yes if the pod may run on the node. The index may
// have had the node before the scheduler, so that a decision counted on it which the
// scheduler could not follow. The other way round, the index brings the node.
func (pl *Hyperconverge) isSchedulableAfterNodeAdd(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	_, node, err := util.As[*v1.Node](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	b := pl.waiting.baselineOf(pod.UID)
	if b == nil || b.admits(node.Name, pl.decider.index.View().Node(node.Name)) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

// isSchedulableAfterNodeUpdate decides anew for pods that wait for their replica nodes,
// and leaves all others: no other verdict sees what a node has to allocate, and of its
// labels the index tells.
func (pl *Hyperconverge) isSchedulableAfterNodeUpdate(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	_, node, err := util.As[*v1.Node](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if b := pl.waiting.baselineOf(pod.UID); b == nil || b.heldUntil.IsZero() {
		return fwk.QueueSkip, nil
	}
	return pl.reconsider(logger, pod, "A node has changed", node), nil
}

// reconsider has a pod decided about anew because of an object. If the pod fares better it
// is activated, so that the queue need not requeue it; a pod that is not known is tried.
func (pl *Hyperconverge) reconsider(logger klog.Logger, pod *v1.Pod, why string, object klog.KMetadata) fwk.QueueingHint {
	if pl.waiting.reconsider(pod.UID) {
		return fwk.QueueSkip
	}
	logger.V(5).Info(why, "pod", klog.KObj(pod), "object", klog.KObj(object))
	return fwk.Queue
}
