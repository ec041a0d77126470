package rebalance

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// listsOfLoss is how many node lists have to say that storage is gone from a node.
const listsOfLoss = 3

// NodeState is a Kubernetes node, as far as it matters to whether its pods are rescued.
type NodeState struct {
	Name  string
	State placement.StorageState
	// HasVolumes says that pods with volumes of the driver run there, so that it counts
	// as a storage node even where no driver is left.
	HasVolumes bool
	// Unreachable says that Kubernetes does not hear of the node.
	Unreachable bool
	// Lost says that no storage node that the last list has as anything but Offline is
	// this node: it was fenced, is gone, or was decommissioned.
	Lost bool
}

// gone reports whether storage is gone. StorageDown nodes reach their volumes elsewhere.
func (n *NodeState) gone() bool {
	return n.State == placement.Offline || n.State == placement.NoDriver && n.HasVolumes
}

// Losses remembers for how long storage has been gone. It is for one goroutine, and empty
// after a start: what it saw is seen again within minutes.
type Losses struct {
	list  time.Time
	nodes map[string]loss
}

type loss struct {
	since time.Time
	lists int
}

// Observe takes what a node list of a time has said. A list that was seen before is no
// further evidence.
func (l *Losses) Observe(list time.Time, nodes []NodeState) {
	if !list.After(l.list) {
		return
	}
	l.list = list
	seen := make(map[string]loss, len(l.nodes))
	for i := range nodes {
		if n := &nodes[i]; n.gone() {
			before, known := l.nodes[n.Name]
			if !known {
				before.since = list
			}
			before.lists++
			seen[n.Name] = before
		}
	}
	l.nodes = seen
}

// Stranded is a pod on a node whose storage is gone.
type Stranded struct {
	Pod *RunningPod
	// Elsewhere says that every replica set of its volumes has an Online replica on another
	// node.
	Elsewhere bool
}

// Salvage is what is done for the pods of nodes whose storage is gone.
type Salvage struct {
	// Evict are the pods that are evicted through the API, the most important first.
	Evict []*RunningPod
	// Delete are those that are deleted without a grace period.
	Delete []*RunningPod
	// Detach are the nodes from which the driver's volumes are detached.
	Detach []string
	// Blind says that storage is gone from so many nodes that it is the observer who does
	// not see.
	Blind bool
}

// Salvage decides about the pods of nodes whose storage is gone.
func (l *Losses) Salvage(now time.Time, c *Configuration, s *ClusterState, j *Journal, nodes []NodeState, pods []Stranded) Salvage {
	if !c.Rescue.Enabled || s.Paused || j.Halt != nil || len(s.Storage.Conditions) > 0 || now.Sub(s.Storage.NodeList) > s.Storage.MaxAge {
		return Salvage{}
	}
	lost := map[string]*NodeState{}
	online, all := 0, 0
	for i := range nodes {
		n := &nodes[i]
		if n.State == placement.Online {
			online++
		}
		if n.State != placement.NoDriver || n.HasVolumes {
			all++
		}
		if seen, known := l.nodes[n.Name]; known && n.gone() && seen.lists >= listsOfLoss && now.Sub(seen.since) >= c.Rescue.After.Duration {
			lost[n.Name] = n
		}
	}
	switch {
	case len(lost) == 0:
		return Salvage{}
	case 2*online <= all-1:
		return Salvage{Blind: true}
	}
	var result Salvage
	for _, n := range lost {
		if c.Rescue.ForceDelete && n.Unreachable && n.Lost {
			result.Detach = append(result.Detach, n.Name)
		}
	}
	slices.Sort(result.Detach)
	slices.SortFunc(pods, func(a, b Stranded) int {
		return cmp.Or(cmp.Compare(b.Pod.Priority, a.Pod.Priority), strings.Compare(a.Pod.Namespace, b.Pod.Namespace), strings.Compare(a.Pod.Name, b.Pod.Name))
	})
	moved := map[types.UID]bool{} // owners of which a pod that is ready is evicted
	for i := range pods {
		p := pods[i].Pod
		owner, ready := s.Owners[p.Owner], !p.ReadySince.IsZero()
		switch {
		case len(result.Evict)+len(result.Delete) == c.Rescue.Batch:
			return result
		case lost[p.Node] == nil, owner == nil, owner.Gone, !c.makesAnew(owner.Kind), p.Mirror, p.Machine == Immovable:
		// A pod that has come since would come there again.
		case p.Foreign, now.Sub(p.Created) < c.Rescue.After.Duration:
		case ready && (!pods[i].Elsewhere || moved[p.Owner]):
		case p.Machine == NoMachine && slices.Contains(result.Detach, p.Node):
			result.Delete = append(result.Delete, p)
		case !p.Terminating:
			moved[p.Owner] = ready || moved[p.Owner]
			result.Evict = append(result.Evict, p)
		}
	}
	return result
}
