package hyperconverge

import (
	"context"
	"fmt"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// PostFilter says of a confined pod that found no node where its replicas are and what
// stands in the way there: the scheduler's own message names neither. It nominates
// nobody and leaves preemption to the plugins that do that, of which one that has
// found a node comes before.
func (pl *Hyperconverge) PostFilter(_ context.Context, state fwk.CycleState, pod *v1.Pod, statuses fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	d, err := decisionOf(state)
	if err != nil {
		return nil, fwk.NewStatus(fwk.Unschedulable) // none of our pods, or turned down by PreFilter
	}
	nodes, confined := d.Plan.Confined()
	if !confined {
		return nil, fwk.NewStatus(fwk.Unschedulable)
	}
	reason := d.Plan.NoRoom()
	pl.waiting.hasNoRoom(pod.UID, reason)
	if !d.WaitsUntil.IsZero() {
		return nil, fwk.NewStatus(fwk.Unschedulable, noRoom(reason, d.Plan.Near(), nodes, statuses)+
			"; the pod takes another node from "+d.WaitsUntil.UTC().Format(time.TimeOnly)+" UTC on")
	}
	return nil, fwk.NewStatus(fwk.Unschedulable, noRoom(reason, d.pod.Insisted(), nodes, statuses))
}

// noRoom names the volumes that confine a pod and says of each node with replicas of all
// of them why the pod cannot have it.
func noRoom(reason string, volumes []*placement.Volume, nodes []*placement.Node, statuses fwk.NodeToStatusReader) string {
	has := "has its replicas"
	if len(volumes) > 1 {
		has = "have their replicas"
	}
	explained := nodes[:min(len(nodes), nodesExplained)]
	reasons := make([]string, 0, len(explained)+1)
	for _, n := range explained {
		reasons = append(reasons, fmt.Sprintf("%s (%s)", n.Name, strings.Join(statuses.Get(n.Name).Reasons(), ", ")))
	}
	reasons = andMore(reasons, len(nodes)-len(explained), "nodes")
	key, _, _ := strings.Cut(reason, ":")
	return fmt.Sprintf("%s: %s %s on %s", key, namesOf(volumes), has, strings.Join(reasons, ", "))
}
