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
	// relation is that of the metric: the nearest one to any replica, or partly.
	relation string
	// lacks says what the node is not.
	lacks string
	// elsewhere says of the replica nodes why the pod is not there, and more how many are
	// left out; empty if the node serves all near volumes, or if there is none.
	elsewhere []refusal
	more      int
	// expected names the new volumes of which replicas are expected on the node.
	expected string
}

// refusal is why a pod is not on a node.
type refusal struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// Clone returns the outcome itself: it is immutable.
func (o *outcome) Clone() fwk.StateData { return o }

// nodesExplained and volumesNamed bound the work and the length of the event for pods
// with a great many volumes.
const (
	nodesExplained = 10
	volumesNamed   = 4
)

// Reserve takes the pod off the list of those that wait, and finds out why a pod
// that does not come onto its data could not: later, nobody can tell any more.
// It rejects nothing.
func (pl *Hyperconverge) Reserve(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) *fwk.Status {
	d, err := decisionOf(state)
	if err != nil {
		return nil // none of our pods
	}
	pl.waiting.leave(pod.UID)
	pl.decider.newVolumes.bookings.book(pod, nodeName, d.pod.Expected)
	node := d.view.Node(nodeName)
	relation, known := d.Plan.Relation(node)
	if !known {
		state.Write(outcomeKey, pl.expectations(ctx, state, pod, d, node, nodeName))
		return nil
	}
	locality := placement.LocalityOf(&d.pod, node)
	o := &outcome{relation: relation.String()}
	if locality == placement.LocalityPartly {
		o.relation = locality.String()
	}
	if lacking := d.Plan.Lacking(node); len(lacking) > 0 && !d.Plan.Migrating() {
		replicaNodes := placement.ReplicaNodes(lacking)
		switch {
		case slices.Contains(replicaNodes, node):
			o.lacks = "holds replicas that its storage does not serve"
		case locality == placement.LocalityPartly:
			o.lacks = "is no replica node of " + namesOf(lacking)
		default:
			o.lacks = "is no replica node of its volumes"
		}
		o.elsewhere = pl.whyElsewhere(ctx, state, pod, d, replicaNodes[:min(len(replicaNodes), nodesExplained)], nodeName)
		o.more = len(replicaNodes) - len(o.elsewhere)
	}
	state.Write(outcomeKey, o)
	return nil
}

// Unreserve notes that the pod has failed on a node that had passed every Filter, so
// that it does not go back there for ever (S9).
func (pl *Hyperconverge) Unreserve(_ context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) {
	if _, err := decisionOf(state); err == nil {
		pl.waiting.bound(pod.UID)
		pl.decider.newVolumes.bookings.cancel(pod.UID)
		pl.avoid.note(pod, nodeName, time.Now())
	}
}

// PostBind counts how near the pod has come, and warns once, on the pod, if it
// came on a node that does not hold all of its data.
func (pl *Hyperconverge) PostBind(ctx context.Context, state fwk.CycleState, pod *v1.Pod, nodeName string) {
	pl.avoid.forget(pod.UID)
	d, err := decisionOf(state)
	if err != nil {
		return // none of our pods
	}
	pl.waiting.bound(pod.UID)
	pl.decider.newVolumes.bookings.bound(pod.UID, time.Now())
	o := &outcome{}
	if data, err := state.Read(outcomeKey); err == nil {
		if left, ok := data.(*outcome); ok {
			o = left
		}
	}
	pl.record(ctx, pod, nodeName, d, o)
	if o.relation != "" {
		metrics.PodsBound.WithLabelValues(pl.handle.ProfileName(), o.relation).Inc()
	}
	if o.expected != "" {
		pl.notices.tell(pod, v1.EventTypeNormal, "", EventReplicaExpected, "Binding", "Pod runs on "+nodeName+", where replicas are expected of "+o.expected)
	}
	if len(o.elsewhere) > 0 {
		pl.notices.warn(pod, "", EventNonOptimumScheduling, "Binding", "Pod runs on "+nodeName+", which "+o.lacks+". "+o.explanation())
	}
}

// expectations is the outcome for a pod of which only new volumes have a say: where their
// replicas may come to the node, that is told; where not, why the pod is not on one of the
// nodes where they may.
func (pl *Hyperconverge) expectations(ctx context.Context, state fwk.CycleState, pod *v1.Pod, d *decision, node *placement.Node, nodeName string) *outcome {
	o := &outcome{}
	var likely, not []*placement.Volume
	for _, e := range d.Plan.Expected() {
		volume := &placement.Volume{Name: e.Name}
		if outlook, _ := e.Outlook(node, d.pod.Booked[nodeName]); outlook > placement.Unlikely {
			likely = append(likely, volume)
		} else {
			not = append(not, volume)
		}
	}
	if len(likely) > 0 {
		o.expected = namesOf(likely)
	}
	if len(not) == 0 {
		return o
	}
	for group := range d.Plan.Offer(d.view, d.seed) {
		if !slices.Contains(group, node) {
			o.lacks = "is not expected to hold a replica of " + namesOf(not)
			o.elsewhere = pl.whyElsewhere(ctx, state, pod, d, group[:min(len(group), nodesExplained)], nodeName)
			o.more = len(group) - len(o.elsewhere)
		}
		break // the best ones are what was to be had
	}
	return o
}

// explanation is elsewhere as a text.
func (o *outcome) explanation() string {
	lines := make([]string, 0, len(o.elsewhere)+1)
	for _, r := range o.elsewhere {
		lines = append(lines, r.Node+": "+r.Reason)
	}
	return strings.Join(andMore(lines, o.more, "nodes"), "; ")
}

// andMore ends a list of which some were left out.
func andMore(list []string, more int, what string) []string {
	if more > 0 {
		list = append(list, fmt.Sprintf("and %d more %s", more, what))
	}
	return list
}

// namesOf names volumes, a few of a great many.
func namesOf(volumes []*placement.Volume) string {
	named := volumes[:min(len(volumes), volumesNamed)]
	names := make([]string, 0, len(named)+1)
	for _, v := range named {
		names = append(names, v.Name)
	}
	return strings.Join(andMore(names, len(volumes)-len(named), "volumes"), ", ")
}

// whyElsewhere says for each node why the pod is not there. It asks Filter plugins
// where the cycle has not, but no extender.
func (pl *Hyperconverge) whyElsewhere(ctx context.Context, state fwk.CycleState, pod *v1.Pod, d *decision, nodes []*placement.Node, taken string) []refusal {
	// The pod that Reserve gets has its node already, and would fit no other.
	unassigned := *pod
	unassigned.Spec.NodeName = ""
	otherwise := "feasible, but another node scored higher"
	if pod.Status.NominatedNodeName == taken {
		otherwise = "feasible, but the pod was nominated for " + taken
	}
	refusals := make([]refusal, 0, len(nodes))
	for _, n := range nodes {
		refusals = append(refusals, refusal{n.Name, cmp.Or(pl.whyNot(ctx, state, &unassigned, d, n), otherwise)})
	}
	return refusals
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
	if overload := d.overloadOf(n.Name); overload != "" {
		return overload
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
