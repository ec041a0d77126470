package hyperconverge

import (
	"context"
	"hash/maphash"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/localfirst"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// PreFilter decides all that can be decided without looking at a node, and
// leaves the decision in the cycle state. Pods without volumes of the driver are
// skipped (F1); strict pods narrow the node set (F6). It answers from memory.
func (pl *Hyperconverge) PreFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, _ []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	began := time.Now()
	found := pl.decider.claimsOf(pod)
	if len(found) == 0 && !placement.IsStoragePod(pod.Name) {
		return nil, skip
	}
	// Read before the index: a change that comes between this and the entry is looked
	// at afterwards.
	since := pl.waiting.received.Load()
	requests := requests{index: pl.decider.index}
	d := pl.decider.decide(pod, found, requests.request, began)
	d.avoided = pl.avoid.nodes(pod.UID, began)
	pl.arranges(pod, d)
	d.began, d.revision = began, since
	d.seed = maphash.String(seed, string(pod.UID))
	pl.waiting.enter(pod, d, since, requests.followed(d.handles))
	pl.notices.tellOf(pod, d)

	if d.Rejection != nil {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, d.Rejection.Message())
	}
	if !d.Concerned {
		return nil, skip
	}
	state.Write(stateKey, d)
	if nodes, confined := d.Plan.Confined(); confined {
		names := make(sets.Set[string], len(nodes))
		for _, n := range nodes {
			names.Insert(n.Name)
		}
		return &fwk.PreFilterResult{NodeNames: names}, nil
	}
	state.Write(localfirst.OfferKey, d)
	return nil, nil
}

var seed = maphash.MakeSeed()

// PreFilterExtensions returns nil: other pods on a node do not change a verdict.
func (pl *Hyperconverge) PreFilterExtensions() fwk.PreFilterExtensions { return nil }
