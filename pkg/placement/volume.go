package placement

import "time"

// Kind says what a volume wishes of the node that runs its pod.
type Kind uint8

const (
	// Neutral volumes have no say in scores and no replica wishes: direct access
	// and proxy volumes, skipSchedulerScoring, Windows.
	Neutral Kind = iota
	// Near volumes want their pod on a replica node.
	Near
	// Away volumes want their pod off their replica nodes, unless it runs a virtual
	// machine (S8).
	Away
)

// Holder is one member of a replica set.
type Holder struct {
	// Node is the Kubernetes node that holds the replica; nil if no Kubernetes
	// node is that storage node. It belongs to the same view as all other nodes
	// of the plan.
	Node *Node
	// State is the state of the replica's own storage record. A node that was
	// rebuilt has an old record besides the one that it runs under, and what lies
	// under the old one is not there (F6, F8, S2).
	State StorageState
}

// on reports whether this is a replica on the node. One whose own record does not
// serve counts only where the node has no better record.
func (h *Holder) on(n *Node) bool {
	return h.Node == n && n != nil && (h.State.Serves() || !n.State.Serves())
}

// ReplicaSet is one stripe of a volume: the nodes that each hold a copy of it.
type ReplicaSet []Holder

// Volume is one volume of a pod. Volumes that are not bound yet have no replicas
// and change no decision, so they may be left out, except for one: a Windows
// volume counts from the start (F9), as a neutral volume without replica sets.
type Volume struct {
	// Name is what messages call the volume: namespace/claim, or the handle of
	// an in-tree volume that has no claim.
	Name string
	Policy
	// Unknown is a volume whose replicas are not known, or too old to be believed.
	Unknown bool
	// Stale tells of an unknown volume that it was known, but too long ago.
	Stale bool
	// FirstSeen is when the index first heard of the volume; zero if it does not
	// follow it. It matters to unknown volumes only (section 7).
	FirstSeen time.Time
	// Sets are the replica sets; empty for volumes without replicas. A set without
	// holders is one of which storage names none: no node holds the whole volume.
	Sets []ReplicaSet
	// Attached is the node that the volume is attached to, nil if none. Only
	// virtual machines go by it (S8).
	Attached *Node
}

// eachHolderNode calls visit for every Kubernetes node that holds a replica of
// some replica set; a node that holds several is visited several times.
func (v *Volume) eachHolderNode(visit func(*Node)) {
	for _, set := range v.Sets {
		for i := range set {
			if set[i].on(set[i].Node) {
				visit(set[i].Node)
			}
		}
	}
}

// replicaNodes returns the Kubernetes nodes that hold a replica of every replica
// set, in the order of the first set.
func (v *Volume) replicaNodes() (nodes nodeSet) {
	if len(v.Sets) == 0 {
		return nodes
	}
	nodes.list = make([]*Node, 0, len(v.Sets[0]))
	for i := range v.Sets[0] {
		if n := v.Sets[0][i].Node; n != nil && v.HeldBy(n) {
			nodes.add(n)
		}
	}
	return nodes
}

// ReplicaNodes returns the replica nodes of the volumes, each once.
func ReplicaNodes(volumes []*Volume) []*Node {
	var nodes nodeSet
	for _, v := range volumes {
		nodes.addAll(v.replicaNodes().list)
	}
	return nodes.list
}

// HeldBy reports whether the node is a replica node of the volume: it holds a
// replica of every replica set. A nil node holds nothing.
func (v *Volume) HeldBy(n *Node) bool {
	for _, set := range v.Sets {
		if !set.heldBy(n) {
			return false
		}
	}
	return n != nil && len(v.Sets) > 0
}

// servedBy reports whether the node holds a replica of every replica set and its
// storage serves them.
func (v *Volume) servedBy(n *Node) bool {
	for _, set := range v.Sets {
		if set.nearest(n) != Local {
			return false
		}
	}
	return len(v.Sets) > 0
}

// touchedBy reports whether the node holds a replica of some replica set and its
// storage serves it.
func (v *Volume) touchedBy(n *Node) bool {
	for _, set := range v.Sets {
		if set.nearest(n) == Local {
			return true
		}
	}
	return false
}

// spreadsTo reports whether the node is as good for the volume as a replica node, because
// its pods are to spread over the zones of its replicas.
func (v *Volume) spreadsTo(n *Node) bool {
	if v.Spread != SpreadZone {
		return false
	}
	relation, known := v.Relation(n)
	return known && relation <= SameZone
}

// draws reports whether the volume wants the pod near: all disks of a virtual machine
// do (S8).
func (v *Volume) draws(machine Machine) bool {
	return v.Kind == Near || v.Kind == Away && machine != NoMachine
}

func (s ReplicaSet) heldBy(n *Node) bool {
	for i := range s {
		if s[i].on(n) {
			return true
		}
	}
	return false
}

// usable is the opposite of rule F8: the replicas are unknown, there are none by
// design, or each stripe has a holder that is Online.
func (v *Volume) usable() bool {
	if v.Unknown {
		return true
	}
	for _, set := range v.Sets {
		if len(set) > 0 && !set.online() {
			return false
		}
	}
	return true
}

func (s ReplicaSet) online() bool {
	for i := range s {
		if s[i].State == Online {
			return true
		}
	}
	return false
}
