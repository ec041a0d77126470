package hyperconverge

import (
	"context"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/util"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// EventsToRegister names the changes in Kubernetes that can help a pod which this
// plugin has rejected. Changes in storage are no cluster events; waitingPods
// brings those, and it also brings those of nodes whose news reach the scheduler
// before they reach the index.
func (pl *Hyperconverge) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		// A claim may appear, be bound, be given to the pod, or lose the mark of a
		// restore (F2, F3); an annotation may change what its volume wishes.
		{
			Event:          fwk.ClusterEvent{Resource: fwk.PersistentVolumeClaim, ActionType: fwk.Add | fwk.Update},
			QueueingHintFn: pl.isSchedulableAfterPersistentVolumeClaimChange,
		},
		// A PV may appear behind a claim that names it (F3).
		{
			Event:          fwk.ClusterEvent{Resource: fwk.PersistentVolume, ActionType: fwk.Add | fwk.Update},
			QueueingHintFn: pl.isSchedulableAfterPersistentVolumeChange,
		},
		// A class that was missing may say that a volume is neutral. The parameters
		// of an existing class never change.
		{
			Event:          fwk.ClusterEvent{Resource: fwk.StorageClass, ActionType: fwk.Add},
			QueueingHintFn: pl.isSchedulableAfterStorageClassChange,
		},
		// A replica node may join, get another identity, or be opened by the storage
		// operator (F4, F5, F6).
		{
			Event:          fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeLabel | fwk.UpdateNodeAnnotation},
			QueueingHintFn: pl.isSchedulableAfterNodeChange,
		},
		// The driver may come up on a node (F5, F6).
		{
			Event:          fwk.ClusterEvent{Resource: fwk.CSINode, ActionType: fwk.Add | fwk.Update},
			QueueingHintFn: pl.isSchedulableAfterCSINodeChange,
		},
	}, nil
}

// isSchedulableAfterPersistentVolumeClaimChange says yes to claims of the pod
// whose binding has changed, an annotation that a verdict depends on, or whether
// the claim was made for the pod.
func (pl *Hyperconverge) isSchedulableAfterPersistentVolumeClaimChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	old, now, err := util.As[*v1.PersistentVolumeClaim](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if now.Namespace != pod.Namespace || !claims.Uses(pod, now.Name) && !slices.Contains(pl.decider.machines.disks(pod), now.Name) {
		return fwk.QueueSkip, nil
	}
	if old != nil && old.UID == now.UID && old.Spec.VolumeName == now.Spec.VolumeName &&
		old.Status.Phase == now.Status.Phase && sameWishes(old.Annotations, now.Annotations) &&
		metav1.IsControlledBy(old, pod) == metav1.IsControlledBy(now, pod) {
		return fwk.QueueSkip, nil
	}
	logger.V(5).Info("A claim of the pod has changed", "pod", klog.KObj(pod), "claim", klog.KObj(now))
	return fwk.Queue, nil
}

// wishes are the annotations of a claim that a verdict depends on.
var wishes = append(placement.VolumeLabelKeys[:], placement.ClaimRestoreInProgress)

func sameWishes(a, b map[string]string) bool {
	for _, key := range wishes {
		valueA, inA := a[key]
		valueB, inB := b[key]
		if inA != inB || valueA != valueB {
			return false
		}
	}
	return true
}

// isSchedulableAfterPersistentVolumeChange says yes to PVs that a claim of the
// pod is bound to, if their source or their claim has changed.
func (pl *Hyperconverge) isSchedulableAfterPersistentVolumeChange(logger klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	old, now, err := util.As[*v1.PersistentVolume](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if old != nil && old.Status.Phase == now.Status.Phase && sameClaimRef(old, now) && sameHandle(old, now) {
		return fwk.QueueSkip, nil
	}
	found := pl.decider.claimsOf(pod)
	for i := range found {
		if pvc := found[i].PVC; pvc != nil && pvc.Spec.VolumeName == now.Name {
			logger.V(5).Info("A volume of the pod has changed", "pod", klog.KObj(pod), "volume", klog.KObj(now))
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
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

// isSchedulableAfterStorageClassChange says yes to the class of one of the pod's
// claims.
func (pl *Hyperconverge) isSchedulableAfterStorageClassChange(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	_, now, err := util.As[*storagev1.StorageClass](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	found := pl.decider.claimsOf(pod)
	for i := range found {
		if found[i].Class != nil && found[i].Class.Name == now.Name {
			return fwk.Queue, nil
		}
	}
	return fwk.QueueSkip, nil
}

// isSchedulableAfterNodeChange judges the pod anew for that node. If the index
// has not heard of the change yet, the answer is no, and the index brings it.
func (pl *Hyperconverge) isSchedulableAfterNodeChange(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	old, now, err := util.As[*v1.Node](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	return pl.queueIf(pl.waiting.helps(pod, now.Name, old == nil)), nil
}

// isSchedulableAfterCSINodeChange does the same for the node's driver.
func (pl *Hyperconverge) isSchedulableAfterCSINodeChange(_ klog.Logger, pod *v1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	_, now, err := util.As[*storagev1.CSINode](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	return pl.queueIf(pl.waiting.helps(pod, now.Name, false)), nil
}

func (pl *Hyperconverge) queueIf(helps bool) fwk.QueueingHint {
	if helps {
		return fwk.Queue
	}
	return fwk.QueueSkip
}
