package volumes

import (
	"iter"
	"maps"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// View is an immutable picture of all nodes. A scheduling cycle loads it once
// and sees one state of the cluster to its end.
type View struct {
	nodes   map[string]*placement.Node // Kubernetes node name -> node
	holders []holder                   // NodeRef -> what is known about the storage node
	ids     *nodeIDs
	// problems are sorted by node.
	problems []NodeProblem
	// matched is the number of listed storage nodes that are Kubernetes nodes, and
	// unmatched are those that are none, sorted by id.
	matched   int
	unmatched []StorageNode
	members   members

	generation uint64 // grows with every view
	table      uint64 // generation of the node table that this was built from
	reached    bool
	fresh      bool
	stale      bool // reached once, but not within MaxStaleness
	// nodesFresh says that storage has listed its nodes within MaxStaleness.
	nodesFresh bool
	// verifiedSince is the index time since which an entry must have been
	// verified to count as fresh: the end of the last outage that was longer than
	// MaxStaleness.
	verifiedSince int64
}

// holder is one storage node.
type holder struct {
	node  *placement.Node // nil if no Kubernetes node is this storage node
	state placement.StorageState
}

// CSINodeID is the key of problems with a storage node id in the CSINode of a node.
const CSINodeID = "nodeID of the driver in the CSINode"

// NodeProblem is something that is written on a Kubernetes node, or in its CSINode,
// and cannot be taken as written.
type NodeProblem struct {
	Node string
	placement.Problem
}

// Node returns the Kubernetes node of that name, or nil if Kubernetes has none.
func (v *View) Node(name string) *placement.Node { return v.nodes[name] }

// All visits the Kubernetes nodes, in no order.
func (v *View) All() iter.Seq[*placement.Node] { return maps.Values(v.nodes) }

// Generation grows with every view.
func (v *View) Generation() uint64 { return v.generation }

// NumNodes returns the number of Kubernetes nodes.
func (v *View) NumNodes() int { return len(v.nodes) }

// Holder returns the Kubernetes node that a storage node runs on, nil when no
// Kubernetes node is that storage node, and the state of the storage node's own
// record. A node may have several records; the best of them makes the state of the
// node, but says nothing of what lies under another. The state is Online if the
// node list is too old to be believed, or if only a CSINode names the storage node;
// NoDriver if nothing does, or if the node has a CSINode without the driver. For an
// address it is that of the node.
func (v *View) Holder(ref NodeRef) (*placement.Node, placement.StorageState) {
	if int(ref) >= len(v.holders) {
		return nil, placement.NoDriver
	}
	h := v.holders[ref]
	return h.node, h.state
}

// StorageNodeID returns the storage system's id of a node, for messages.
func (v *View) StorageNodeID(ref NodeRef) string { return v.ids.id(ref) }

// Reached reports whether the storage API has answered since the start.
func (v *View) Reached() bool { return v.reached }

// Fresh reports whether the storage API has answered within MaxStaleness. When
// it has not, no entry is fresh. The last node list alone decides the states of the
// nodes: when that is too old, or was never there, a node is Online if a
// CSINode or a record of an older list is evidence of the driver, else NoDriver.
func (v *View) Fresh() bool { return v.fresh }

// Problems lists what cannot be taken as written on the nodes, sorted by node. The
// slice must not be changed.
func (v *View) Problems() []NodeProblem { return v.problems }
