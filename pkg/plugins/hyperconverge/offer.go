package hyperconverge

import (
	"fmt"
	"iter"
	"slices"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// offering is what decides about an offer beside the scores: how full nodes are, which are
// about to go, and how many pods of the same volume they run.
type offering struct {
	handle fwk.Handle
	pod    *v1.Pod
	// limits are those of S11, and cpu and memory what the pod requests.
	limits      placement.Allocation
	cpu, memory int64
	// shared are the claims whose pods are kept even over the nodes, by namespace/name, and
	// skew is how many more one node may have.
	shared []string
	skew   int
}

// limitsFor are the limits of allocation of a pod (S11).
func (pl *Hyperconverge) limitsFor(p *placement.Pod) placement.Allocation {
	switch {
	case p.Strict:
		return placement.Allocation{}
	case p.MaxAllocation != nil:
		return *p.MaxAllocation
	default:
		return pl.limits
	}
}

// arranges lets the nodes of a decision be offered, and scored by how full they are.
func (pl *Hyperconverge) arranges(pod *v1.Pod, d *decision) {
	d.localFirst, d.plugin, d.object = pl.offersFirst(&d.pod), pl, pod
	if d.Plan != nil && pl.limitsFor(&d.pod).Limited() && !d.Plan.Indifferent() {
		d.offering = newOffering(pl, pod, d)
	}
}

// newOffering gathers what of it concerns a pod.
func newOffering(pl *Hyperconverge, pod *v1.Pod, d *decision) *offering {
	o := &offering{handle: pl.handle, pod: pod, limits: pl.limitsFor(&d.pod), skew: pl.skew}
	if o.limits.Limited() {
		requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
		o.cpu, o.memory = requests.Cpu().MilliValue(), requests.Memory().Value()
	}
	for i := range d.pod.Volumes {
		if v := &d.pod.Volumes[i]; v.Spread == placement.SpreadReplicas && v.Kind == placement.Near {
			o.shared = append(o.shared, v.Name)
		}
	}
	return o
}

// node is a node of the snapshot.
func (o *offering) node(name string) (fwk.NodeInfo, error) {
	return o.handle.SnapshotSharedLister().NodeInfos().Get(name)
}

// overload says which limit the pod would push a node over (S11); empty if none.
func (o *offering) overload(node fwk.NodeInfo) string {
	if !o.limits.Limited() {
		return ""
	}
	requested, allocatable := node.GetRequested(), node.GetAllocatable()
	for _, r := range [...]struct {
		name                      string
		limit, requested, of, own int64
	}{
		{"cpu", o.limits.CPU, requested.GetMilliCPU(), allocatable.GetMilliCPU(), o.cpu},
		{"memory", o.limits.Memory, requested.GetMemory(), allocatable.GetMemory(), o.memory},
		{"pods", o.limits.Pods, int64(len(node.GetPods())), int64(allocatable.GetAllowedPodNumber()), 1},
	} {
		if total := float64(r.requested) + float64(r.own); r.limit > 0 && r.own > 0 && total*100 > float64(r.limit)*float64(r.of) {
			return fmt.Sprintf("its %s would be allocated to %.0f %%, the limit is %d %%", r.name, total*100/max(float64(r.of), 1), r.limit)
		}
	}
	return ""
}

// goingTaints are those of nodes that will be removed: of cluster-autoscaler and Karpenter.
var goingTaints = []string{"ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption"}

// leaving reports whether a node is about to go, or would rather not have the pod.
func (o *offering) leaving(node *v1.Node) bool {
	if node.Spec.Unschedulable {
		return true
	}
	if len(node.Spec.Taints) == 0 {
		return false
	}
	if slices.ContainsFunc(node.Spec.Taints, func(t v1.Taint) bool { return slices.Contains(goingTaints, t.Key) }) {
		return true
	}
	_, untolerated := corev1helpers.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, o.pod.Spec.Tolerations,
		func(t *v1.Taint) bool { return t.Effect == v1.TaintEffectPreferNoSchedule }, false)
	return untolerated
}

// users is how many pods of the shared claims run on a node.
func (o *offering) users(node fwk.NodeInfo) (count int) {
	for _, claim := range o.shared {
		count += node.GetPVCRefCounts()[claim]
	}
	return count
}

// arrange is the order in which groups of nodes are tried: nodes that the pod would
// overload not at all, those with few pods of the same volume before those with more, and
// those that are about to go behind all others.
func (o *offering) arrange(groups iter.Seq[[]string]) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		var last [][]string
		for group := range groups {
			stay := make([]string, 0, len(group))
			var leave []string
			users := map[string]int{}
			for _, name := range group {
				node, err := o.node(name)
				switch {
				case err != nil: // the pass knows what to do with it
					stay = append(stay, name)
				case o.overload(node) != "":
				case o.leaving(node.Node()):
					leave = append(leave, name)
				default:
					if o.shared != nil {
						users[name] = o.users(node)
					}
					stay = append(stay, name)
				}
			}
			if len(leave) > 0 {
				last = append(last, leave)
			}
			for _, part := range o.even(stay, users) {
				if !yield(part) {
					return
				}
			}
		}
		for _, group := range last {
			if !yield(group) {
				return
			}
		}
	}
}

// even takes a group apart so that a node is tried only when none is feasible that has so
// many fewer pods of the volume.
func (o *offering) even(group []string, users map[string]int) [][]string {
	if o.shared == nil || len(group) < 2 {
		return [][]string{group}
	}
	slices.SortStableFunc(group, func(a, b string) int { return users[a] - users[b] })
	var parts [][]string
	for len(group) > 0 {
		fewest, end := users[group[0]], 1
		for end < len(group) && users[group[end]] < fewest+o.skew {
			end++
		}
		parts, group = append(parts, group[:end:end]), group[end:]
	}
	return parts
}
