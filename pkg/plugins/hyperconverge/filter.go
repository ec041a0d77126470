package hyperconverge

import (
	"context"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// Filter applies F4 to F7 to one node. It runs in many goroutines, and in the
// dry run of preemption; evicting pods never helps against a storage reason.
func (pl *Hyperconverge) Filter(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) *fwk.Status {
	d, err := decisionOf(state)
	if err != nil {
		return fwk.AsStatus(err)
	}
	return statuses[d.verdict(node.Node().Name)]
}

// statuses are made once: a verdict in a cluster of thousands of nodes must not
// allocate.
var statuses = func() (table [placement.VerdictCount]*fwk.Status) {
	for v := placement.Verdict(1); int(v) < placement.VerdictCount; v++ {
		table[v] = fwk.NewStatus(fwk.UnschedulableAndUnresolvable, v.Reason()).WithPlugin(Name)
	}
	return table
}()
