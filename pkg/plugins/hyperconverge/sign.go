package hyperconverge

import (
	"context"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// SignPod keeps opportunistic batching for the pods that are none of our
// business: nothing of them matters to this plugin, so they sign with nothing.
// Where a pod with volumes belongs depends on its own volumes, so that no two of
// them are alike, and they do not sign.
func (pl *Hyperconverge) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if ours(pod, pl.decider.claimsOf(pod)) {
		return nil, fwk.NewStatus(fwk.Unschedulable, "pods with volumes of the driver are placed one by one")
	}
	return nil, nil
}
