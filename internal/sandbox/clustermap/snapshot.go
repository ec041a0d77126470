// Package clustermap says in a few lines of text which node of a cluster holds
// which replicas and runs which pods.
package clustermap

import "slices"

// Online is the Storage of a node whose storage is well.
const Online = "Online"

// Snapshot is who is where at one moment.
type Snapshot struct {
	Nodes   []Node
	Volumes []Volume
	Pods    []Pod
}

// Node is a Kubernetes node.
type Node struct {
	Name, Region, Zone, Rack string
	// Storage is the state of the storage node there: Online, something worse, or
	// empty if there is none.
	Storage string
}

// Volume is a volume of the storage driver.
type Volume struct {
	// Name is that of the claim.
	Name string
	// Tag is the short name that stands for the volume on the map; without one the
	// volume is not drawn.
	Tag string
	// Replicas are the names of the nodes that hold all of the volume.
	Replicas []string
}

// Pod is a pod on the map.
type Pod struct {
	Name string
	// Node is empty while the pod is pending.
	Node string
	// Volumes are the names of its volumes.
	Volumes []string
	// Running is whether its containers run.
	Running bool
	// Reason is why the pod is pending, in the scheduler's words.
	Reason string
}

// Volume returns the volume of that name; without replicas if there is none.
func (s Snapshot) Volume(name string) Volume {
	for _, v := range s.Volumes {
		if v.Name == name {
			return v
		}
	}
	return Volume{Name: name}
}

// Pod returns the pod of that name; not bound if there is none.
func (s Snapshot) Pod(name string) Pod {
	for _, p := range s.Pods {
		if p.Name == name {
			return p
		}
	}
	return Pod{Name: name}
}

// HasStorage is whether the storage driver runs on the node.
func (s Snapshot) HasStorage(node string) bool {
	return slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Name == node && n.Storage != "" })
}

// DataNodes are the nodes that hold a replica of all volumes of the pod.
func (s Snapshot) DataNodes(p Pod) []string {
	var common []string
	for i, name := range p.Volumes {
		replicas := s.Volume(name).Replicas
		if i == 0 {
			common = slices.Clone(replicas)
			continue
		}
		common = slices.DeleteFunc(common, func(node string) bool { return !slices.Contains(replicas, node) })
	}
	return common
}

// OnData is whether the pod is on a node that holds all of its volumes.
func (s Snapshot) OnData(p Pod) bool {
	return p.Node != "" && slices.Contains(s.DataNodes(p), p.Node)
}

// Tally counts pods by where they are.
type Tally struct {
	// OnData and Away are on nodes where they can run; NoStorage are on nodes where
	// their volumes cannot be mounted.
	OnData, Away, NoStorage, Pending int
}

// Tally counts all pods.
func (s Snapshot) Tally() Tally {
	var t Tally
	for _, p := range s.Pods {
		switch {
		case p.Node == "":
			t.Pending++
		case s.OnData(p):
			t.OnData++
		case s.HasStorage(p.Node):
			t.Away++
		default:
			t.NoStorage++
		}
	}
	return t
}
