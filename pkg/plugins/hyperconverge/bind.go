package hyperconverge

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// outcomeKey is where Reserve leaves what PostBind tells.
const outcomeKey fwk.StateKey = Name + "/outcome"

// outcome is how near to its data a pod has come.
type outcome struct {
	relation placement.Relation
	// elsewhere says for each replica node why the pod is not there; empty if it
	// is on one of them, or if there is none.
	elsewhere string
}

// Clone returns the outcome itself: it is immutable.
func (o *outcome) Clone() fwk.StateData { return o }

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
	relation, known := d.plan.Relation(node)
	if !known {
		return nil
	}
	o := &outcome{relation: relation}
	if !d.plan.OnData(node) && !d.plan.Migrating() {
		o.elsewhere = pl.whyElsewhere(ctx, state, pod, d)
	}
	state.Write(outcomeKey, o)
	return nil
}

// Unreserve has nothing to undo: a pod that failed to bind comes through
// PreFilter again.
func (pl *Hyperconverge) Unreserve(context.Context, fwk.CycleState, *v1.Pod, string) {}

// PostBind counts how near the pod has come, and warns once, on the pod, if it
// came on none of the nodes that hold its data.
func (pl *Hyperconverge) PostBind(_ context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) {
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
		pl.notices.warn(pod, EventNonOptimumScheduling, "Binding", "Pod runs on "+nodeName+", which holds no replica of its volumes. "+o.elsewhere)
	}
}

// nodesExplained bounds the work and the length of the event for pods with a
// great many volumes.
const nodesExplained = 10

// whyElsewhere says for each replica node why the pod cannot be there. There are
// few of them, so the filters are asked once more.
func (pl *Hyperconverge) whyElsewhere(ctx context.Context, state fwk.CycleState, pod *v1.Pod, d *decision) string {
	// The pod that Reserve gets has its node already, and would fit no other.
	unassigned := *pod
	unassigned.Spec.NodeName = ""
	nodes := d.plan.ReplicaNodes()
	lines := make([]string, 0, len(nodes))
	for i, n := range nodes {
		if i == nodesExplained {
			lines = append(lines, fmt.Sprintf("and %d more nodes", len(nodes)-i))
			break
		}
		lines = append(lines, n.Name+": "+pl.whyNot(ctx, state, &unassigned, d, n))
	}
	return strings.Join(lines, "; ")
}

func (pl *Hyperconverge) whyNot(ctx context.Context, state fwk.CycleState, pod *v1.Pod, d *decision, n *placement.Node) string {
	switch d.plan.Verdict(n) {
	case placement.Feasible:
	case placement.RejectedUnschedulable:
		return "closed to pods with volumes by the storage operator"
	case placement.RejectedNoDriver, placement.RejectedDegraded, placement.RejectedOffline:
		return "storage " + n.State.String()
	default:
		return d.plan.Verdict(n).Reason()
	}
	nodeInfo, err := pl.handle.SnapshotSharedLister().NodeInfos().Get(n.Name)
	if err != nil {
		klog.FromContext(ctx).V(4).Info("A replica node is not in the scheduler's snapshot", "node", n.Name, "err", err)
		return "not known to the scheduler"
	}
	if status := pl.handle.RunFilterPluginsWithNominatedPods(ctx, state, pod, nodeInfo); !status.IsSuccess() {
		return strings.Join(status.Reasons(), ", ")
	}
	return cmp.Or(pl.extendersAgainst(pod, nodeInfo), "feasible, but another node scored higher")
}

// extendersAgainst says why an extender turns the node down, and nothing if none
// does. An extender that fails here has answered for the pod's own node just now,
// or is ignorable.
func (pl *Hyperconverge) extendersAgainst(pod *v1.Pod, node fwk.NodeInfo) string {
	for _, extender := range pl.handle.Extenders() {
		if !extender.IsFilter() || !extender.IsInterested(pod) {
			continue
		}
		passed, failed, unresolvable, err := extender.Filter(pod, []fwk.NodeInfo{node})
		if err == nil && len(passed) == 0 {
			name := node.Node().Name
			return cmp.Or(unresolvable[name], failed[name], "turned down by extender "+extender.Name())
		}
	}
	return ""
}
