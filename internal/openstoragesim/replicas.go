package openstoragesim

import (
	"fmt"
	"slices"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// MoveReplica moves every replica that the volume has on one node to another,
// which must have pools but may be in any state: tests want what an operator
// would avoid.
func (c *Cluster) MoveReplica(volume, from, to string) error {
	return c.ChangeVolume(volume, func(v *api.Volume) error {
		source, err := c.replicaHolder(v, from)
		if err != nil {
			return err
		}
		target, err := c.replicaTarget(to)
		if err != nil {
			return err
		}
		return editSets(v, func(set *api.ReplicaSet) error {
			i := slices.Index(set.Nodes, source)
			if i < 0 {
				return nil
			}
			if slices.Contains(set.Nodes, target.ID) {
				return fmt.Errorf("node %s has a replica of the same set already: %w", to, ErrConflict)
			}
			set.Nodes[i], set.PoolUuids[i] = target.ID, target.emptiestPool()
			return nil
		})
	})
}

// AddReplica puts a replica of every replica set on the node, where it has none
// yet, and adjusts the volume's ha_level.
func (c *Cluster) AddReplica(volume, onto string) error {
	return c.ChangeVolume(volume, func(v *api.Volume) error {
		target, err := c.replicaTarget(onto)
		if err != nil {
			return err
		}
		if len(v.GetReplicaSets()) == 0 {
			return fmt.Errorf("it has no replica sets: %w", ErrConflict)
		}
		if holdsAll(v, target.ID) {
			return fmt.Errorf("node %s has its replicas already: %w", onto, ErrConflict)
		}
		err = editSets(v, func(set *api.ReplicaSet) error {
			if !slices.Contains(set.Nodes, target.ID) {
				set.Nodes = append(set.Nodes, target.ID)
				set.PoolUuids = append(set.PoolUuids, target.emptiestPool())
			}
			return nil
		})
		c.adjustLevel(v)
		return err
	})
}

// RemoveReplica takes the volume's replicas off a node, which may have left the
// cluster, and adjusts ha_level. The last replica of a set stays.
func (c *Cluster) RemoveReplica(volume, from string) error {
	return c.ChangeVolume(volume, func(v *api.Volume) error {
		holder, err := c.replicaHolder(v, from)
		if err != nil {
			return err
		}
		err = editSets(v, func(set *api.ReplicaSet) error {
			i := slices.Index(set.Nodes, holder)
			if i < 0 {
				return nil
			}
			if len(set.Nodes) == 1 {
				return fmt.Errorf("node %s has the last replica of set %d: %w", from, set.GetId(), ErrConflict)
			}
			set.Nodes = slices.Delete(set.Nodes, i, i+1)
			set.PoolUuids = slices.Delete(set.PoolUuids, i, i+1)
			return nil
		})
		c.adjustLevel(v)
		return err
	})
}

// SetReplicaSets puts the replicas exactly there, one list of node ids, names
// or addresses per replica set. No sets at all is possible: it is what a server
// reports of a volume that is just being made.
func (c *Cluster) SetReplicaSets(volume string, nodes ...[]string) error {
	return c.ChangeVolume(volume, func(v *api.Volume) error {
		sets := make([]*api.ReplicaSet, len(nodes))
		for i, names := range nodes {
			sets[i] = &api.ReplicaSet{Id: uint32(i)}
			for _, name := range names {
				target, err := c.replicaTarget(name)
				if err != nil {
					return err
				}
				if slices.Contains(sets[i].Nodes, target.ID) {
					return fmt.Errorf("node %s is named twice in one set: %w", name, ErrInvalid)
				}
				sets[i].Nodes = append(sets[i].Nodes, target.ID)
				sets[i].PoolUuids = append(sets[i].PoolUuids, target.emptiestPool())
			}
		}
		v.ReplicaSets = sets
		c.adjustLevel(v)
		return nil
	})
}

// Attach attaches the volume to a node. A volume is attached to one node at a
// time, shared ones too: the others use it over the network.
func (c *Cluster) Attach(volume, to string) error {
	return c.ChangeVolume(volume, func(v *api.Volume) error {
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
		v.AttachTime = timestamppb.New(c.options.Now())
		return nil
	})
}

// Detach detaches the volume; one that is not attached stays as it is.
func (c *Cluster) Detach(volume string) error {
	return c.ChangeVolume(volume, func(v *api.Volume) error {
		v.AttachedOn = ""
		v.AttachedState = api.AttachState_ATTACH_STATE_INTERNAL
		v.State = api.VolumeState_VOLUME_STATE_DETACHED
		v.DetachTime = timestamppb.New(c.options.Now())
		return nil
	})
}

// replicaTarget needs c.mu.
func (c *Cluster) replicaTarget(idOrName string) (*node, error) {
	n, err := c.findNode(idOrName)
	if err != nil {
		return nil, err
	}
	if len(n.Pools) == 0 {
		return nil, fmt.Errorf("storage node %q has no pools: %w", idOrName, ErrInvalid)
	}
	return n, nil
}

// replicaHolder returns the id of a node that has a replica of the volume. It
// needs c.mu.
func (c *Cluster) replicaHolder(v *api.Volume, idOrName string) (string, error) {
	id := idOrName
	if n, err := c.findNode(idOrName); err == nil {
		id = n.ID
	}
	for _, set := range v.GetReplicaSets() {
		if slices.Contains(set.GetNodes(), id) {
			return id, nil
		}
	}
	return "", fmt.Errorf("no replica on node %q: %w", idOrName, ErrNotFound)
}

// adjustLevel makes ha_level say how many replicas every set has. It needs c.mu
// for writing.
func (c *Cluster) adjustLevel(v *api.Volume) {
	level := 0
	for i, set := range v.GetReplicaSets() {
		if n := len(set.GetNodes()); i == 0 || n < level {
			level = n
		}
	}
	if level == 0 || v.GetSpec().GetHaLevel() == int64(level) {
		return
	}
	spec := shallow(v.GetSpec())
	spec.HaLevel = int64(level)
	v.Spec = c.shared(spec)
}

// editSets gives v edited copies of its replica sets.
func editSets(v *api.Volume, edit func(*api.ReplicaSet) error) error {
	sets := make([]*api.ReplicaSet, len(v.GetReplicaSets()))
	for i, set := range v.GetReplicaSets() {
		sets[i] = &api.ReplicaSet{
			Id:        set.GetId(),
			Nodes:     slices.Clone(set.GetNodes()),
			PoolUuids: make([]string, len(set.GetNodes())),
		}
		copy(sets[i].PoolUuids, set.GetPoolUuids())
		if err := edit(sets[i]); err != nil {
			return err
		}
	}
	v.ReplicaSets = sets
	return nil
}

func holdsAll(v *api.Volume, nodeID string) bool {
	for _, set := range v.GetReplicaSets() {
		if !slices.Contains(set.GetNodes(), nodeID) {
			return false
		}
	}
	return true
}
