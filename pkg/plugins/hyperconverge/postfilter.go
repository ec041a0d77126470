package hyperconverge

import (
	"context"
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// PostFilter says of a strict pod that found no node where its replicas are and what
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
	var volumes []*placement.Volume
	for i := range d.pod.Volumes {
		if v := &d.pod.Volumes[i]; v.Kind == placement.Near {
			volumes = append(volumes, v)
		}
	}
	pl.waiting.hasNoRoom(pod.UID)
	return nil, fwk.NewStatus(fwk.Unschedulable, noRoom(volumes, nodes, statuses))
}

// noRoom names the volumes of a strict pod and says of each node with replicas of all of
// them why the pod cannot have it.
func noRoom(volumes []*placement.Volume, nodes []*placement.Node, statuses fwk.NodeToStatusReader) string {
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
	return fmt.Sprintf("preferLocalNodeOnly: %s %s on %s", namesOf(volumes), has, strings.Join(reasons, ", "))
}
