package hyperconverge

import (
	"context"
	"slices"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// SignPod keeps opportunistic batching for the pods that are none of our
// business: nothing of them matters to this plugin, so they sign with nothing.
// Where a pod with volumes belongs depends on its own volumes, so that no two of
// them are alike, and they do not sign. Nor do those with claims that are not bound yet:
// since Kubernetes 1.37 a pod signs once, when it comes into the queue.
func (pl *Hyperconverge) SignPod(_ context.Context, pod *v1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	found := pl.decider.claimsOf(pod)
	if ours(pod, found) || slices.ContainsFunc(found, func(c claims.Claim) bool { return c.State != placement.ClaimBound }) {
		return nil, fwk.NewStatus(fwk.Unschedulable, "pods with volumes of the driver are placed one by one")
	}
	return nil, nil
}
