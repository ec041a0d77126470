package simulation

import (
	v1 "k8s.io/api/core/v1"

	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// Placement is where the scheduler would put a pod now, and why.
type Placement struct {
	Pod *v1.Pod
	// Profile is the one that has decided. Foreign is set if the pod names a scheduler
	// that is none of the configuration's, and the first profile with our plugin has
	// stood in for it.
	Profile string
	Foreign bool
	// Node is where the pod would go, empty if nowhere. Equals are other nodes that are as
	// good, so that any of them might be taken.
	Node   string
	Equals []string
	// Message is why there is no node, as the pod's condition would say it.
	Message string
	// Explanation is what our plugin thinks of the pod; nil if the profile lacks it.
	Explanation *hyperconverge.Explanation
	// Nodes are all nodes, the feasible ones first, by their total, then by name.
	Nodes []NodePlacement
}

// NodePlacement is one node for one pod.
type NodePlacement struct {
	Name string
	// Feasible nodes pass every Filter plugin.
	Feasible bool
	// Offered nodes are in the node set of the cycle: with LocalFirst only the best
	// group of feasible ones is.
	Offered bool
	// Explanation is what our plugin says of the node; its Score is ours alone.
	Explanation hyperconverge.NodeExplanation
	// Total is the weighted sum over all Score plugins, for nodes that are offered.
	Total int64
	// Scores are its parts by plugin.
	Scores map[string]int64
	// Reasons are what every plugin has against the node, ours included, in the order
	// of the profile; empty for feasible nodes.
	Reasons []Reason
}

// Reason is what one plugin has against a node.
type Reason struct {
	Plugin  string `json:"plugin"`
	Message string `json:"message"`
}

// Destination is where the scheduler would put a pod now.
type Destination struct {
	// Profile and Foreign are those of Placement.
	Profile string
	Foreign bool
	// Nodes are the best, equally good, sorted by name; none if no node takes the pod.
	Nodes []string
	// Message is why there is no node, as the pod's condition would say it.
	Message string
}
