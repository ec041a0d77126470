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
	// HasVolumes says that pods with volumes of the driver run there, and Listed that storage
	// has ever listed it. With both it counts as a storage node even where no driver is
	// left; the first alone is for tenants to bring about.
	HasVolumes, Listed bool
	// Unreachable says that Kubernetes does not hear of the node.
	Unreachable bool
	// Lost says that no storage node that the last list has as anything but Offline is
	// this node: it was fenced, is gone, or was decommissioned.
	Lost bool
}

// stores reports whether the node is a storage node.
func (n *NodeState) stores() bool {
	return n.State != placement.NoDriver || n.HasVolumes && n.Listed
}

// gone reports whether storage is gone. StorageDown nodes reach their volumes elsewhere.
func (n *NodeState) gone() bool {
	return n.stores() && (n.State == placement.Offline || n.State == placement.NoDriver)
}

// Dead reports whether nothing runs on a node whose storage is gone, as far as can be known.
func (n *NodeState) Dead() bool { return n.Unreachable && n.Lost }

// Losses remembers for how long storage has been gone. It is for one goroutine, and empty
// after a start: what it saw is seen again within minutes.
type Losses struct {
	list  int64
	nodes map[string]loss
	// tried: UID → when a pod was last found not to leave.
	tried map[types.UID]time.Time
}

// triedFor is how long a pod that could not be rescued leaves its place in the batches to
// others.
const triedFor = 5 * time.Minute

type loss struct {
	since time.Time
	lists int
}

// Tried notes that something was done for a pod that may be there all the same: others come
// first for a while.
func (l *Losses) Tried(now time.Time, uid types.UID) {
	if l.tried == nil {
		l.tried = map[types.UID]time.Time{}
	}
	l.tried[uid] = now
}

// Taken notes that a pod was taken off its node. One that a finalizer holds, or whose machine
// does not migrate, is there all the same.
func (l *Losses) Taken(now time.Time, p *RunningPod, deleted bool) {
	if deleted || p.Machine != NoMachine {
		l.Tried(now, p.UID)
	}
}

// Observe takes what the last node list has said. A list that was seen before is no
// further evidence.
func (l *Losses) Observe(s *Storage, nodes []NodeState) {
	if s.List == l.list {
		return
	}
	l.list = s.List
	seen := make(map[string]loss, len(l.nodes))
	for i := range nodes {
		if n := &nodes[i]; n.gone() {
			before, known := l.nodes[n.Name]
			if !known {
				before.since = s.NodeList
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

// Gone are the nodes whose storage is gone for long enough, by their names, none while the
// rescue is held. Blind is that of Salvage.
func (l *Losses) Gone(now time.Time, c *Configuration, s *ClusterState, nodes []NodeState) (lost map[string]*NodeState, blind bool) {
	if !c.Rescue.Enabled || s.Paused || len(s.Storage.Conditions) > 0 || now.Sub(s.Storage.NodeList) > s.Storage.MaxAge {
		return nil, false
	}
	lost = map[string]*NodeState{}
	online, all := 0, 0
	for i := range nodes {
		n := &nodes[i]
		if n.State == placement.Online {
			online++
		}
		if n.stores() {
			all++
		}
		if seen, known := l.nodes[n.Name]; known && n.gone() && seen.lists >= listsOfLoss && now.Sub(seen.since) >= c.Rescue.After.Duration {
			lost[n.Name] = n
		}
	}
	if len(lost) > 0 && 2*online <= all-1 {
		return nil, true
	}
	return lost, false
}

// Salvage decides about the pods of nodes whose storage is gone, of which it sorts the slice. It
// asks the world about those that are ready: they lose what they have.
func (l *Losses) Salvage(now time.Time, c *Configuration, s *ClusterState, j *Journal, w World, nodes []NodeState, pods []Stranded) (result Salvage) {
	lost, blind := l.Gone(now, c, s, nodes)
	result.Blind = blind
	if len(lost) == 0 {
		return result
	}
	for _, n := range lost {
		if c.Rescue.ForceDelete && n.Dead() {
			result.Detach = append(result.Detach, n.Name)
		}
	}
	slices.Sort(result.Detach)
	left := map[types.UID]time.Time{}
	for i := range pods {
		if at, known := l.tried[pods[i].Pod.UID]; known {
			left[pods[i].Pod.UID] = at
		}
	}
	l.tried = left
	slices.SortFunc(pods, func(a, b Stranded) int {
		return cmp.Or(l.tried[a.Pod.UID].Compare(l.tried[b.Pod.UID]), cmp.Compare(b.Pod.Priority, a.Pod.Priority), strings.Compare(a.Pod.Namespace, b.Pod.Namespace), strings.Compare(a.Pod.Name, b.Pod.Name))
	})
	owners, moved := countByOwner(s), map[types.UID]bool{} // owners of which a pod that is ready goes
	asked := 0
	for i := range pods {
		p := pods[i].Pod
		owner, remove := s.Owners[p.Owner], p.Machine == NoMachine && slices.Contains(result.Detach, p.Node)
		ready := !p.ReadySince.IsZero()
		serves := ready && !p.Terminating
		switch {
		case len(result.Evict)+len(result.Delete) == c.Rescue.Batch:
			return result
		case lost[p.Node] == nil, owner == nil, owner.Gone, !c.makesAnew(owner.Kind), p.Mirror, p.Foreign, s.system(p):
			continue
		case p.Machine == Immovable, p.Machine == NoMachine && owner.Kind == kindMachine:
			continue
		// A pod that has come since would come there again.
		case p.Created.After(l.nodes[p.Node].since), now.Sub(l.tried[p.UID]) < triedFor, p.Terminating && !remove:
			continue
		case ready && (!pods[i].Elsewhere || p.LocalData && !c.AllowLocalData):
			continue
		case serves && (moved[p.Owner] || j.underWay(p.Owner) || owners[p.Owner].busy(p, owner)):
			continue
		case serves && asked == simulations:
			continue
		}
		if serves {
			if asked++; asked == 1 {
				landPending(w, s)
			}
			if !lands(w, p, lost) {
				l.Tried(now, p.UID)
				continue
			}
			moved[p.Owner] = true
		}
		if remove {
			result.Delete = append(result.Delete, p)
		} else {
			result.Evict = append(result.Evict, p)
		}
	}
	return result
}

// lands reports whether the successor of a pod finds a node with storage, and has it stand there.
func lands(w World, p *RunningPod, lost map[string]*NodeState) bool {
	landing, err := w.Land(p)
	if err != nil || landing.Node == "" || slices.ContainsFunc(append([]string{landing.Node}, landing.Equals...), func(n string) bool { return lost[n] != nil }) {
		return false
	}
	w.Keep(p, &landing)
	return true
}
