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
	v := d.verdict(node.Node().Name)
	if v == placement.Feasible {
		return nil
	}
	// The framework writes the plugin's name into a status that it gets, so that no
	// two nodes can share one.
	return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, reasons[v]...)
}

// reasons are made once: they are what is big in a status.
var reasons = func() (table [placement.VerdictCount][]string) {
	for v := range placement.VerdictCount {
		table[v] = []string{placement.Verdict(v).Reason()}
	}
	return table
}()
