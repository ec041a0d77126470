package hyperconverge

import (
	"cmp"
	"context"
	"fmt"
	"slices"
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
		pl.notices.warn(pod, EventNonOptimumScheduling, "Binding", "Pod runs on "+nodeName+", which is no replica node of its volumes. "+o.elsewhere)
	}
}

// whyElsewhere says for each replica node why the pod cannot be there. There are
// few of them, so filters and extenders are asked once more.
func (pl *Hyperconverge) whyElsewhere(ctx context.Context, state fwk.CycleState, pod *v1.Pod, d *decision) string {
	// The pod that Reserve gets has its node already, and would fit no other.
	unassigned := *pod
	unassigned.Spec.NodeName = ""
	all := d.plan.ReplicaNodes()
	nodes := all[:min(len(all), nodesExplained)]
	reasons := make(map[string]string, len(nodes)) // node name → why not
	var passed []fwk.NodeInfo
	for _, n := range nodes {
		reason, node := pl.whyNot(ctx, state, &unassigned, d, n)
		if reasons[n.Name] = reason; reason == "" {
			passed = append(passed, node)
		}
	}
	pl.extendersAgainst(&unassigned, passed, reasons)
	lines := make([]string, 0, len(nodes)+1)
	for _, n := range nodes {
		lines = append(lines, n.Name+": "+cmp.Or(reasons[n.Name], "feasible, but another node scored higher"))
	}
	if more := len(all) - len(nodes); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more nodes", more))
	}
	return strings.Join(lines, "; ")
}

// whyNot says what storage or a Filter plugin has against a node. If they have
// nothing, it returns the node as the scheduler sees it.
func (pl *Hyperconverge) whyNot(ctx context.Context, state fwk.CycleState, pod *v1.Pod, d *decision, n *placement.Node) (string, fwk.NodeInfo) {
	switch verdict := d.plan.Verdict(n); verdict {
	case placement.Feasible:
	case placement.RejectedUnschedulable:
		return "closed to pods with volumes by the storage operator", nil
	case placement.RejectedNoDriver, placement.RejectedDegraded, placement.RejectedOffline:
		return "storage " + n.State.String(), nil
	default:
		return verdict.Reason(), nil
	}
	node, err := pl.handle.SnapshotSharedLister().NodeInfos().Get(n.Name)
	if err != nil {
		klog.FromContext(ctx).V(4).Info("A replica node is not in the scheduler's snapshot", "node", n.Name, "err", err)
		return "not known to the scheduler", nil
	}
	if status := pl.handle.RunFilterPluginsWithNominatedPods(ctx, state, pod, node); !status.IsSuccess() {
		return strings.Join(status.Reasons(), ", "), nil
	}
	return "", node
}

// extendersAgainst adds what extenders have against nodes, in one call to each
// extender. One that fails here has answered for the pod's own node just now, or
// is ignorable.
func (pl *Hyperconverge) extendersAgainst(pod *v1.Pod, nodes []fwk.NodeInfo, reasons map[string]string) {
	for _, extender := range pl.handle.Extenders() {
		if len(nodes) == 0 {
			return
		}
		if !extender.IsFilter() || !extender.IsInterested(pod) {
			continue
		}
		passed, failed, unresolvable, err := extender.Filter(pod, nodes)
		if err != nil {
			continue
		}
		for _, node := range nodes {
			if !slices.ContainsFunc(passed, func(p fwk.NodeInfo) bool { return p.Node().Name == node.Node().Name }) {
				name := node.Node().Name
				reasons[name] = cmp.Or(unresolvable[name], failed[name], "turned down by extender "+extender.Name())
			}
		}
		nodes = passed
	}
}
