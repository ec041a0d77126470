// Package placement decides where a pod belongs, given what is known about its
// volumes and about the nodes. It is the behaviour contract as pure functions:
// no informer, no clock, no I/O. Rule numbers in comments (F6, S2, ...) are
// those of docs/behaviour.md.
package placement

import (
	"fmt"
	"slices"
)

// StorageState says how the storage system stands on one Kubernetes node.
type StorageState uint8

const (
	// NoDriver means that the node does not run the storage driver.
	NoDriver StorageState = iota
	// Online nodes serve volumes.
	Online
	// StorageDown nodes run the driver and can reach volumes of other nodes, but
	// their own disks do not serve (also pool maintenance).
	StorageDown
	// Degraded nodes are rebalancing, replacing a drive or otherwise impaired.
	Degraded
	// Offline nodes do not answer, or report a status that is not known to us.
	Offline
)

// String returns the name that users read in events and in the debug view.
func (s StorageState) String() string {
	switch s {
	case NoDriver:
		return "NoDriver"
	case Online:
		return "Online"
	case StorageDown:
		return "StorageDown"
	case Degraded:
		return "Degraded"
	default:
		return "Offline"
	}
}

// StorageStateOf is the state that String has named.
func StorageStateOf(name string) (StorageState, error) {
	for s := NoDriver; s <= Offline; s++ {
		if s.String() == name {
			return s, nil
		}
	}
	return NoDriver, fmt.Errorf("%.32q is no state of a storage node", name)
}

// Serves reports whether pods with volumes may run in this state (F5), and
// whether replicas there give tiers to other nodes (S2).
func (s StorageState) Serves() bool { return s == Online || s == StorageDown }

// Domain is an interned topology domain of one level. Two nodes are in the same
// domain of a level exactly when their numbers are equal and not zero. The
// number stands for the node's label values of that level and of all levels
// above it (absent counts as a value there), so equality is the hierarchical
// match of rule S3. Zero means that the node has no label of that level.
// Numbers are comparable only among the nodes of one view.
type Domain uint32

// Topology is where a node stands, from the narrowest level to the widest.
type Topology struct {
	Rack, Zone, Region Domain
}

// Node is one Kubernetes node as storage sees it. It is immutable once it is
// part of a view.
type Node struct {
	// Name is the Kubernetes node's name.
	Name string
	// State is the state of the best storage record of this node.
	State StorageState
	// Unschedulable is the storage operator's wish to keep pods with volumes
	// away from this node (F4).
	Unschedulable bool
	Topology      Topology
	// Site and Disks are what decides where new volumes go (section 12). Site is nil for a
	// node without labels, Disks for one of which storage does not tell them.
	Site  *Site
	Disks *Disks
}

// SameSite reports whether rules of placement strategies read the same of two versions of
// a node.
func (n *Node) SameSite(o *Node) bool {
	if n.Site != o.Site && !n.Site.Equal(o.Site) {
		return false
	}
	return n.Disks == o.Disks || n.Disks != nil && o.Disks != nil && n.Disks.sameLabels(o.Disks)
}

// nodeSet is a list of nodes without repetition. A few nodes are found faster by
// looking at each than in a map; of many, a pod with a great many volumes would
// make that quadratic.
type nodeSet struct {
	list []*Node
	set  map[*Node]struct{} // nil up to fewNodes
}

const fewNodes = 16

func (s *nodeSet) has(n *Node) bool {
	if s.set != nil {
		_, found := s.set[n]
		return found
	}
	return slices.Contains(s.list, n)
}

func (s *nodeSet) add(n *Node) {
	if s.has(n) {
		return
	}
	s.list = append(s.list, n)
	switch {
	case s.set != nil:
		s.set[n] = struct{}{}
	case len(s.list) > fewNodes:
		s.set = make(map[*Node]struct{}, 2*len(s.list))
		for _, n := range s.list {
			s.set[n] = struct{}{}
		}
	}
}

func (s *nodeSet) addAll(nodes []*Node) {
	for _, n := range nodes {
		s.add(n)
	}
}

func (s *nodeSet) hasAll(nodes []*Node) bool {
	for _, n := range nodes {
		if !s.has(n) {
			return false
		}
	}
	return true
}

// keep returns those of the nodes that pass, in their order.
func (s *nodeSet) keep(passes func(*Node) bool) (kept nodeSet) {
	for _, n := range s.list {
		if passes(n) {
			kept.add(n)
		}
	}
	return kept
}
