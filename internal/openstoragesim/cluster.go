// Package openstoragesim is a simulated storage cluster that serves the
// OpenStorage SDK over gRPC. It keeps nodes, volumes and replicas in memory,
// places replicas as StorageClass parameters ask, and can be made to fail in
// every way that real servers are known to fail.
//
// A Cluster is the state and knows nothing of gRPC. A Server serves one
// Cluster. Faults are switched on a Server at run time. A ControlClient drives
// both from another process.
package openstoragesim

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/libopenstorage/openstorage/api"
)

// owner owns the volumes that are created in-process. Without an owner a
// volume would be public, and a token's rights would not matter.
const owner = "storage-admin"

// Errors of a Cluster wrap exactly one of these.
var (
	// ErrNotFound means that the volume or node does not exist.
	ErrNotFound = errors.New("not found")
	// ErrInvalid means that the request can never be carried out as written.
	ErrInvalid = errors.New("invalid")
	// ErrExhausted means that the cluster has not enough suitable nodes now.
	ErrExhausted = errors.New("not enough storage nodes")
	// ErrExists means that the name or id is taken by something different.
	ErrExists = errors.New("already exists")
	// ErrConflict means that the present state forbids the change.
	ErrConflict = errors.New("conflict")
)

// Options configure a Cluster. The zero value is ready to use.
type Options struct {
	// Seed decides all generated ids. Equal seeds and equal calls in equal
	// order give equal clusters.
	Seed uint64
}

// Cluster is the state of a simulated storage cluster. All methods are safe for
// concurrent use. Volumes that it returns, and labels and pools of nodes, are shared
// and must not be changed: every change to a volume makes a new one.
type Cluster struct {
	options Options

	mu         sync.RWMutex
	random     *rand.Rand
	nodes      []*node                    // in order of addition
	nodesByID  map[string]*node           // node id -> node
	holders    []*node                    // nodes that may get replicas; nil when nodes changed
	domains    map[string]int             // zone or rack path -> dense number, for placement
	volumes    []*record                  // every volume once, in no promised order
	byID       map[string]*record         // volume id -> record
	byName     map[string]*record         // volume name -> record
	specs      map[string]*api.VolumeSpec // wire form -> the one shared copy
	watches    map[*watch]struct{}        // of all servers
	nextNodeIP uint32
}

// record is the place of one volume. Its volume is replaced, never written to.
type record struct {
	volume *api.Volume
	index  int // in Cluster.volumes
}

// NewCluster returns an empty cluster.
func NewCluster(options Options) *Cluster {
	return &Cluster{
		options:   options,
		random:    rand.New(rand.NewPCG(options.Seed, 0x6f70656e73746f72)),
		nodesByID: map[string]*node{},
		domains:   map[string]int{},
		byID:      map[string]*record{},
		byName:    map[string]*record{},
		specs:     map[string]*api.VolumeSpec{},
		watches:   map[*watch]struct{}{},
	}
}

// derivedUUID returns the same UUID for the same seed, kind and name.
func (c *Cluster) derivedUUID(kind, name string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, fmt.Appendf(nil, "%d/%s/%s", c.options.Seed, kind, name)).String()
}

// Volume returns the volume with this id, or else with this name.
func (c *Cluster) Volume(idOrName string) (*api.Volume, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r, err := c.find(idOrName)
	if err != nil {
		return nil, err
	}
	return r.volume, nil
}

// Volumes yields every volume as it is now, in no promised order.
func (c *Cluster) Volumes() iter.Seq[*api.Volume] { return slices.Values(c.snapshot()) }

func (c *Cluster) snapshot() []*api.Volume {
	c.mu.RLock()
	defer c.mu.RUnlock()
	volumes := make([]*api.Volume, len(c.volumes))
	for i, r := range c.volumes {
		volumes[i] = r.volume
	}
	return volumes
}

// find needs c.mu.
func (c *Cluster) find(idOrName string) (*record, error) {
	if r, ok := c.byID[idOrName]; ok {
		return r, nil
	}
	if r, ok := c.byName[idOrName]; ok {
		return r, nil
	}
	return nil, fmt.Errorf("volume %q: %w", idOrName, ErrNotFound)
}

// insert needs c.mu for writing.
func (c *Cluster) insert(v *api.Volume) {
	r := &record{volume: v, index: len(c.volumes)}
	c.volumes = append(c.volumes, r)
	c.byID[v.GetId()] = r
	c.byName[v.GetLocator().GetName()] = r
	c.account(v.GetReplicaSets(), +1)
	c.publish(v)
}

// replace needs c.mu for writing.
func (c *Cluster) replace(r *record, v *api.Volume) {
	c.account(r.volume.GetReplicaSets(), -1)
	c.account(v.GetReplicaSets(), +1)
	r.volume = v
	c.publish(v)
}

// remove needs c.mu for writing.
func (c *Cluster) remove(r *record) {
	last := len(c.volumes) - 1
	c.volumes[r.index] = c.volumes[last]
	c.volumes[r.index].index = r.index
	c.volumes = slices.Delete(c.volumes, last, last+1)
	delete(c.byID, r.volume.GetId())
	delete(c.byName, r.volume.GetLocator().GetName())
	c.account(r.volume.GetReplicaSets(), -1)

	gone := shallow(r.volume)
	gone.State = api.VolumeState_VOLUME_STATE_DELETED
	gone.Status = api.VolumeStatus_VOLUME_STATUS_NOT_PRESENT
	c.publish(gone)
}

// account keeps the number of replicas per node and pool. It needs c.mu for
// writing. Replicas on nodes that left the cluster are not counted.
func (c *Cluster) account(sets []*api.ReplicaSet, delta int) {
	for _, set := range sets {
		for _, id := range set.GetNodes() {
			if n, ok := c.nodesByID[id]; ok {
				n.count(set, delta)
			}
		}
	}
}

// count adds the replica that this node has of the set, if any.
func (n *node) count(set *api.ReplicaSet, delta int) {
	if i := slices.Index(set.GetNodes(), n.ID); i >= 0 {
		n.replicas += delta
		n.poolReplicas[poolOf(set, i)] += delta
	}
}

// poolOf returns the pool of a replica, or "" where the set names none.
func poolOf(set *api.ReplicaSet, replica int) string {
	if pools := set.GetPoolUuids(); replica < len(pools) {
		return pools[replica]
	}
	return ""
}
