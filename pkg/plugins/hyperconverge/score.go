package hyperconverge

import (
	"context"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// PreScore skips scoring where all nodes would score the same (S1).
func (pl *Hyperconverge) PreScore(_ context.Context, state fwk.CycleState, _ *v1.Pod, _ []fwk.NodeInfo) *fwk.Status {
	d, err := decisionOf(state)
	if err != nil || d.Plan.Indifferent() {
		return skip
	}
	return nil
}

// Score is 0..100, higher is nearer (S2 to S11).
func (pl *Hyperconverge) Score(_ context.Context, state fwk.CycleState, _ *v1.Pod, node fwk.NodeInfo) (int64, *fwk.Status) {
	d, err := decisionOf(state)
	if err != nil {
		return 0, fwk.AsStatus(err)
	}
	if o := d.offering; o != nil && o.limits.Limited() && o.overload(node) != "" {
		return 0, nil // S11
	}
	return d.score(node.Node().Name), nil
}

// ScoreExtensions returns nil: scores are in the framework's range as they are.
func (pl *Hyperconverge) ScoreExtensions() fwk.ScoreExtensions { return nil }
