package hyperconverge

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/localfirst"
	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// outcomeKey is where Reserve leaves what PostBind tells.
const outcomeKey fwk.StateKey = Name + "/outcome"

// outcome is how near to its data a pod has come.
type outcome struct {
	relation placement.Relation
	// lacks says what the node is not.
	lacks string
	// elsewhere says for each replica node why the pod is not there; empty if it
	// is on one of them, or if there is none.
	elsewhere string
}

// Clone returns the outcome itself: it is immutable.
func (o *outcome) Clone() fwk.StateData { return o }

// nodesExplained bounds the work and the length of the event for pods with a
// great many volumes.
const nodesExplained = 10

// Reserve takes the pod off the list of those that wait, and finds out why a pod
// that does not come onto its data could not: later, nobody can tell any more.
// It rejects nothing.
func (pl *Hyperconverge) Reserve(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) *fwk.Status {
	d, err := decisionOf(state)
	if err != nil {
		return nil // none of our pods
	}
	pl.waiting.leave(pod.UID)
	node := d.view.Node(nodeName)
	relation, known := d.Plan.Relation(node)
	if !known {
		return nil
	}
	o := &outcome{relation: relation}
	if !d.Plan.OnData(node) && !d.Plan.Migrating() {
		o.lacks = "is no replica node of its volumes"
		replicaNodes := d.Plan.ReplicaNodes()
		if slices.Contains(replicaNodes, node) {
			o.lacks = "holds replicas that its storage does not serve"
		}
		o.elsewhere = pl.whyElsewhere(ctx, state, pod, d, replicaNodes, nodeName)
	}
	state.Write(outcomeKey, o)
	return nil
}

// Unreserve notes that the pod has failed on a node that had passed every Filter, so
// that it does not go back there for ever (S9).
func (pl *Hyperconverge) Unreserve(_ context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) {
	if _, err := decisionOf(state); err == nil {
		pl.avoid.note(pod, nodeName, time.Now())
	}
}

// PostBind counts how near the pod has come, and warns once, on the pod, if it
// came on none of the nodes that hold its data.
func (pl *Hyperconverge) PostBind(_ context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) {
	pl.avoid.forget(pod.UID)
	data, err := state.Read(outcomeKey)
	if err != nil {
		return
	}
	o, ok := data.(*outcome)
	if !ok {
		return
	}
	metrics.PodsBound.WithLabelValues(pl.handle.ProfileName(), o.relation.String()).Inc()
	if o.elsewhere != "" {
		pl.notices.warn(pod, EventNonOptimumScheduling, "Binding", "Pod runs on "+nodeName+", which "+o.lacks+". "+o.elsewhere)
	}
}

// whyElsewhere says for each replica node why the pod is not there. It asks Filter
// plugins where the cycle has not, there are few of these nodes, but no extender.
func (pl *Hyperconverge) whyElsewhere(ctx context.Context, state fwk.CycleState, pod *v1.Pod, d *decision, all []*placement.Node, taken string) string {
	// The pod that Reserve gets has its node already, and would fit no other.
	unassigned := *pod
	unassigned.Spec.NodeName = ""
	nodes := all[:min(len(all), nodesExplained)]
	otherwise := "feasible, but another node scored higher"
	if pod.Status.NominatedNodeName == taken {
		otherwise = "feasible, but the pod was nominated for " + taken
	}
	lines := make([]string, 0, len(nodes)+1)
	for _, n := range nodes {
		lines = append(lines, n.Name+": "+cmp.Or(pl.whyNot(ctx, state, &unassigned, d, n), otherwise))
	}
	if more := len(all) - len(nodes); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more nodes", more))
	}
	return strings.Join(lines, "; ")
}

// whyNot says what storage, a Filter plugin or an extender has against a node, and
// nothing if they have nothing.
func (pl *Hyperconverge) whyNot(ctx context.Context, state fwk.CycleState, pod *v1.Pod, d *decision, n *placement.Node) string {
	switch verdict := d.Plan.Verdict(n); verdict {
	case placement.Feasible:
	case placement.RejectedUnschedulable:
		return "closed to pods with volumes by the storage operator"
	case placement.RejectedNoDriver, placement.RejectedDegraded, placement.RejectedOffline:
		return "storage " + n.State.String()
	default:
		return verdict.Reason()
	}
	if d.avoided.has(n.Name) {
		return "the pod has failed there several times"
	}
	if reason := localfirst.WhyNot(state, n.Name); reason != "" {
		return reason
	}
	node, err := pl.handle.SnapshotSharedLister().NodeInfos().Get(n.Name)
	if err != nil {
		klog.FromContext(ctx).V(4).Info("A replica node is not in the scheduler's snapshot", "node", n.Name, "err", err)
		return "not known to the scheduler"
	}
	if status := pl.handle.RunFilterPluginsWithNominatedPods(ctx, state, pod, node); !status.IsSuccess() {
		return strings.Join(status.Reasons(), ", ")
	}
	if n.State == placement.StorageDown {
		return "storage " + n.State.String()
	}
	return ""
}
