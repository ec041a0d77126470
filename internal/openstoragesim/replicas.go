package openstoragesim

import (
	"fmt"
	"math"
	"slices"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// MoveReplica moves every replica that the volume has on one node to another,
// which must have pools but may be in any state: tests want what an operator
// would avoid.
func (c *Cluster) MoveReplica(volume, from, to string) error {
	return c.changeReplicas(volume, func(sets [][]string) error {
		source, err := c.replicaHolder(sets, from)
		if err != nil {
			return err
		}
		target, err := c.replicaTarget(to)
		if err != nil {
			return err
		}
		for _, nodes := range sets {
			i := slices.Index(nodes, source)
			if i < 0 {
				continue
			}
			if slices.Contains(nodes, target) {
				return fmt.Errorf("node %s has a replica of the same set already: %w", to, ErrConflict)
			}
			nodes[i] = target
		}
		return nil
	})
}

// AddReplica puts a replica of every replica set on the node, where it has none
// yet, and adjusts the volume's ha_level.
func (c *Cluster) AddReplica(volume, onto string) error {
	return c.changeReplicas(volume, func(sets [][]string) error {
		target, err := c.replicaTarget(onto)
		if err != nil {
			return err
		}
		if len(sets) == 0 {
			return fmt.Errorf("it has no replica sets: %w", ErrConflict)
		}
		added := false
		for i, nodes := range sets {
			if !slices.Contains(nodes, target) {
				sets[i], added = append(nodes, target), true
			}
		}
		if !added {
			return fmt.Errorf("node %s has its replicas already: %w", onto, ErrConflict)
		}
		return nil
	})
}

// RemoveReplica takes the volume's replicas off a node, which may have left the
// cluster, and adjusts ha_level. The last replica of a set stays.
func (c *Cluster) RemoveReplica(volume, from string) error {
	return c.changeReplicas(volume, func(sets [][]string) error {
		holder, err := c.replicaHolder(sets, from)
		if err != nil {
			return err
		}
		for i, nodes := range sets {
			if sets[i] = slices.DeleteFunc(nodes, func(id string) bool { return id == holder }); len(sets[i]) == 0 {
				return fmt.Errorf("node %s has the last replica of set %d: %w", from, i, ErrConflict)
			}
		}
		return nil
	})
}

// SetReplicaSets puts the replicas exactly there, one list of node ids, names
// or addresses per replica set. No sets at all is possible: it is what a server
// reports of a volume that is just being made.
func (c *Cluster) SetReplicaSets(volume string, nodes ...[]string) error {
	return c.changeVolume(volume, func(v *api.Volume) error {
		sets := make([][]string, len(nodes))
		for i, names := range nodes {
			for _, name := range names {
				target, err := c.replicaTarget(name)
				if err != nil {
					return err
				}
				if slices.Contains(sets[i], target) {
					return fmt.Errorf("node %s is named twice in one set: %w", name, ErrInvalid)
				}
				sets[i] = append(sets[i], target)
			}
		}
		c.putReplicas(v, sets)
		return nil
	})
}

// changeReplicas lets edit change the node ids of the volume's replica sets.
func (c *Cluster) changeReplicas(volume string, edit func(sets [][]string) error) error {
	return c.changeVolume(volume, func(v *api.Volume) error {
		sets := make([][]string, len(v.GetReplicaSets()))
		for i, set := range v.GetReplicaSets() {
			sets[i] = slices.Clone(set.GetNodes())
		}
		if err := edit(sets); err != nil {
			return err
		}
		c.putReplicas(v, sets)
		return nil
	})
}

// putReplicas gives v these replica sets, and the ha_level that every set reaches.
// A replica that stays on its node stays in its pool. It needs c.mu for writing.
func (c *Cluster) putReplicas(v *api.Volume, sets [][]string) {
	before := v.GetReplicaSets()
	v.ReplicaSets = make([]*api.ReplicaSet, len(sets))
	level := math.MaxInt
	for i, nodes := range sets {
		set := &api.ReplicaSet{Id: uint32(i), Nodes: nodes, PoolUuids: make([]string, len(nodes))}
		for j, id := range nodes {
			if i < len(before) && slices.Contains(before[i].GetNodes(), id) {
				set.PoolUuids[j] = poolOf(before[i], slices.Index(before[i].GetNodes(), id))
			} else if n, ok := c.nodesByID[id]; ok {
				set.PoolUuids[j] = n.emptiestPool(v.GetSpec().GetSize())
			}
		}
		v.ReplicaSets[i] = set
		level = min(level, len(nodes))
	}
	if len(sets) > 0 && level > 0 && v.GetSpec().GetHaLevel() != int64(level) {
		spec := shallow(v.GetSpec())
		spec.HaLevel = int64(level)
		v.Spec = c.shared(spec)
	}
}

// Attach attaches the volume to a node. A volume is attached to one node at a
// time, shared ones too: the others use it over the network.
func (c *Cluster) Attach(volume, to string) error {
	return c.changeVolume(volume, func(v *api.Volume) error {
		n, err := c.findNode(to)
		if err != nil {
			return err
		}
		if on := v.GetAttachedOn(); on != "" && on != n.ID {
			return fmt.Errorf("it is attached on %s, detach it first: %w", on, ErrConflict)
		}
		v.AttachedOn = n.ID
		v.AttachedState = api.AttachState_ATTACH_STATE_EXTERNAL
		v.State = api.VolumeState_VOLUME_STATE_ATTACHED
		v.AttachTime = timestamppb.Now()
		return nil
	})
}

// Detach detaches the volume; one that is not attached stays as it is.
func (c *Cluster) Detach(volume string) error {
	return c.changeVolume(volume, func(v *api.Volume) error {
		v.AttachedOn = ""
		v.AttachedState = api.AttachState_ATTACH_STATE_INTERNAL
		v.State = api.VolumeState_VOLUME_STATE_DETACHED
		v.DetachTime = timestamppb.Now()
		return nil
	})
}

// replicaTarget returns the id of a node that can hold replicas. It needs c.mu.
func (c *Cluster) replicaTarget(idOrName string) (string, error) {
	n, err := c.findNode(idOrName)
	if err != nil {
		return "", err
	}
	if len(n.Pools) == 0 {
		return "", fmt.Errorf("storage node %q has no pools: %w", idOrName, ErrInvalid)
	}
	return n.ID, nil
}

// replicaHolder returns the id of a node that has a replica in one of the sets. It
// needs c.mu.
func (c *Cluster) replicaHolder(sets [][]string, idOrName string) (string, error) {
	id := idOrName
	if n, err := c.findNode(idOrName); err == nil {
		id = n.ID
	}
	for _, nodes := range sets {
		if slices.Contains(nodes, id) {
			return id, nil
		}
	}
	return "", fmt.Errorf("no replica on node %q: %w", idOrName, ErrNotFound)
}
