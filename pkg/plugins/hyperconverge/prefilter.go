package hyperconverge

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/localfirst"
)

// PreFilter decides all that can be decided without looking at a node, and
// leaves the decision in the cycle state. Pods without volumes of the driver are
// skipped (F1); strict pods narrow the node set (F6). It answers from memory.
func (pl *Hyperconverge) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	claims := pl.judge.claims.Of(pod)
	if len(claims) == 0 && !isStoragePod(pod) {
		return nil, skip
	}
	// The pod is entered before the index is read, so that no change of the index
	// can fall between the reading and the entry.
	pl.waiting.enter(pod)
	d := pl.judge.decide(pod, claims)
	pl.waiting.settle(pod, d)
	pl.notices.tell(pod, d)

	if d.rejection != nil {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, d.rejection.Message())
	}
	if !d.concerned {
		return nil, skip
	}
	state.Write(stateKey, d)
	if nodes, confined := d.plan.Confined(); confined {
		names := make(sets.Set[string], len(nodes))
		for _, n := range nodes {
			names.Insert(n.Name)
		}
		return &fwk.PreFilterResult{NodeNames: names}, nil
	}
	if pl.localFirst {
		state.Write(localfirst.OfferKey, d)
	}
	return nil, nil
}

// PreFilterExtensions returns nil: other pods on a node do not change a verdict.
func (pl *Hyperconverge) PreFilterExtensions() fwk.PreFilterExtensions { return nil }
