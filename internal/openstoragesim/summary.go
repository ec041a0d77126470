package openstoragesim

import "github.com/libopenstorage/openstorage/api"

// VolumeSummary is a volume as people and tests want to see it.
type VolumeSummary struct {
	ID     string            `json:"id"`
	Name   string            `json:"name"`
	Size   uint64            `json:"size"` // bytes
	Labels map[string]string `json:"labels,omitempty"`
	// ReplicaSets has one list of replicas per set; none for volumes whose data
	// is elsewhere.
	ReplicaSets [][]Replica `json:"replicaSets,omitempty"`
	// AttachedOn is the id of a node, or empty.
	AttachedOn string `json:"attachedOn,omitempty"`
}

// Replica is one copy of a replica set's data.
type Replica struct {
	NodeID string `json:"nodeID"`
	// Node is the node's scheduler name; empty if it has none or left.
	Node string `json:"node,omitempty"`
	Pool string `json:"pool,omitempty"`
}

// Summarize puts the names of nodes to the replicas of a volume.
func (c *Cluster) Summarize(v *api.Volume) VolumeSummary {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := VolumeSummary{
		ID:         v.GetId(),
		Name:       v.GetLocator().GetName(),
		Size:       v.GetSpec().GetSize(),
		Labels:     v.GetLocator().GetVolumeLabels(),
		AttachedOn: v.GetAttachedOn(),
	}
	for _, set := range v.GetReplicaSets() {
		replicas := make([]Replica, len(set.GetNodes()))
		for i, id := range set.GetNodes() {
			replicas[i] = Replica{NodeID: id, Pool: poolOf(set, i)}
			if n, ok := c.nodesByID[id]; ok {
				replicas[i].Node = n.SchedulerNodeName
			}
		}
		s.ReplicaSets = append(s.ReplicaSets, replicas)
	}
	return s
}
