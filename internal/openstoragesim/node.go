package openstoragesim

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/libopenstorage/openstorage/api"
)

// Labels under which a node's place is reported, both as node labels and as
// scheduler topology.
const (
	LabelRegion = "topology.kubernetes.io/region"
	LabelZone   = "topology.kubernetes.io/zone"
	LabelRack   = "px/rack"
)

// Status is the status of a storage node, under a name of this package, so that
// users of the simulator need not import the SDK.
type Status = api.Status

// The node statuses that tests use most; ParseStatus knows all.
const (
	StatusNone            = api.Status_STATUS_NONE
	StatusOK              = api.Status_STATUS_OK
	StatusOffline         = api.Status_STATUS_OFFLINE
	StatusStorageDown     = api.Status_STATUS_STORAGE_DOWN
	StatusStorageDegraded = api.Status_STATUS_STORAGE_DEGRADED
)

// Pool is a storage pool of a node.
type Pool struct {
	// UUID is generated when it is empty.
	UUID string
	// Labels of the pool, as placement strategies match them.
	Labels map[string]string
	// Size and Used are bytes; Size is a tebibyte if it is zero. What volumes take is not
	// accounted for.
	Size, Used uint64
}

// Node is one storage node. Only SchedulerNodeName or Hostname must be given;
// AddNode fills in the rest.
type Node struct {
	// ID is a UUID; by default it is derived from the seed and the name.
	ID string
	// SchedulerNodeName is the name of the Kubernetes node. Real servers leave
	// it empty when they could not ask the scheduler.
	SchedulerNodeName string
	// Hostname defaults to SchedulerNodeName.
	Hostname string
	// MgmtIP and DataIP default to addresses of 10.0.0.0/8, counted up.
	MgmtIP string
	DataIP string
	// Status is OK for nodes that are added with STATUS_NONE.
	Status Status
	// Pools default to one pool, unless the node is Storageless.
	Pools []Pool
	// Storageless nodes have no pools: they use volumes and hold none.
	Storageless bool
	// Labels of the node, besides those of its place.
	Labels map[string]string
	Region string
	Zone   string
	Rack   string
}

// node is a Node and what placement needs to know of it.
type node struct {
	Node
	replicas     int            // replicas on this node
	poolReplicas map[string]int // pool uuid -> replicas in it
	zone, rack   int            // dense numbers of the place, hierarchical
}

// AddNode adds a storage node and returns it as it was completed. Several nodes
// may share a name (a re-installed node leaves its old record behind) as long
// as they are given different ids.
func (c *Cluster) AddNode(n Node) (Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	n.Hostname = cmp.Or(n.Hostname, n.SchedulerNodeName)
	name := cmp.Or(n.SchedulerNodeName, n.Hostname)
	if name == "" && n.ID == "" {
		return Node{}, fmt.Errorf("storage node without id, scheduler node name and hostname: %w", ErrInvalid)
	}
	if n.Storageless && len(n.Pools) > 0 {
		return Node{}, fmt.Errorf("storage node %q is storageless and has pools: %w", name, ErrInvalid)
	}
	n.ID = cmp.Or(n.ID, c.derivedUUID("node", name))
	if _, ok := c.nodesByID[n.ID]; ok {
		return Node{}, fmt.Errorf("storage node %q with id %s: %w", name, n.ID, ErrExists)
	}
	c.nextNodeIP++
	n.MgmtIP = cmp.Or(n.MgmtIP, address(c.nextNodeIP))
	n.DataIP = cmp.Or(n.DataIP, address(dataNet|c.nextNodeIP))
	n.Status = cmp.Or(n.Status, StatusOK)
	if len(n.Pools) == 0 && !n.Storageless {
		n.Pools = []Pool{{}}
	}
	n.Labels = maps.Clone(n.Labels)
	n.Pools = slices.Clone(n.Pools)
	entry := &node{Node: n, poolReplicas: map[string]int{}}
	for i := range n.Pools {
		n.Pools[i].Labels = maps.Clone(n.Pools[i].Labels)
		n.Pools[i].Size = cmp.Or(n.Pools[i].Size, 1<<40)
		n.Pools[i].UUID = cmp.Or(n.Pools[i].UUID, c.derivedUUID("pool", fmt.Sprintf("%s/%d", n.ID, i)))
		if _, twice := entry.poolReplicas[n.Pools[i].UUID]; twice {
			return Node{}, fmt.Errorf("storage node %q has pool %s twice: %w", name, n.Pools[i].UUID, ErrInvalid)
		}
		entry.poolReplicas[n.Pools[i].UUID] = 0
	}
	entry.zone = c.domain(n.Region, n.Zone)
	entry.rack = c.domain(n.Region, n.Zone, n.Rack)
	c.nodes = append(c.nodes, entry)
	c.nodesByID[n.ID] = entry
	c.holders = nil
	// A node that comes back finds the replicas of before.
	for _, r := range c.volumes {
		for _, set := range r.volume.GetReplicaSets() {
			entry.count(set, +1)
		}
	}
	return n, nil
}

// RemoveNode takes a node out of the cluster. Volumes keep naming it in their
// replica sets, as they do after a decommission that went wrong.
func (c *Cluster) RemoveNode(idOrName string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.findNode(idOrName)
	if err != nil {
		return err
	}
	delete(c.nodesByID, n.ID)
	c.holders = nil
	c.nodes = slices.DeleteFunc(c.nodes, func(other *node) bool { return other == n })
	return nil
}

// SetNodeState sets the status that the SDK reports for a node, which is named
// by its id, scheduler node name, hostname or address.
func (c *Cluster) SetNodeState(idOrName string, status Status) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.findNode(idOrName)
	if err != nil {
		return err
	}
	n.Status = status
	c.holders = nil
	return nil
}

// SetUsed says how many bytes of each pool of a node are taken.
func (c *Cluster) SetUsed(idOrName string, used uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.findNode(idOrName)
	if err != nil {
		return err
	}
	n.Pools = slices.Clone(n.Pools) // which callers of Nodes may hold
	for i := range n.Pools {
		n.Pools[i].Used = used
	}
	return nil
}

// Nodes returns all nodes in the order in which they were added.
func (c *Cluster) Nodes() []Node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	nodes := make([]Node, len(c.nodes))
	for i, n := range c.nodes {
		nodes[i] = n.Node
	}
	return nodes
}

// Node returns the node with this id, scheduler node name, hostname or address.
func (c *Cluster) Node(idOrName string) (Node, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n, err := c.findNode(idOrName)
	if err != nil {
		return Node{}, err
	}
	return n.Node, nil
}

// findNode needs c.mu. A name that several records share is refused: which one
// is meant only the caller knows.
func (c *Cluster) findNode(idOrName string) (*node, error) {
	if n, ok := c.nodesByID[idOrName]; ok {
		return n, nil
	}
	var found *node
	for _, n := range c.nodes {
		if idOrName == "" || (n.SchedulerNodeName != idOrName && n.Hostname != idOrName && n.MgmtIP != idOrName && n.DataIP != idOrName) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("storage nodes %s and %s are both called %q, use an id: %w", found.ID, n.ID, idOrName, ErrInvalid)
		}
		found = n
	}
	if found == nil {
		return nil, fmt.Errorf("storage node %q: %w", idOrName, ErrNotFound)
	}
	return found, nil
}

// domain numbers a place. It needs c.mu for writing.
func (c *Cluster) domain(path ...string) int {
	key := strings.Join(path, "\x00")
	number, ok := c.domains[key]
	if !ok {
		number = len(c.domains)
		c.domains[key] = number
	}
	return number
}

// holdsReplicas reports whether new replicas may be put on the node.
func (n *Node) holdsReplicas() bool { return n.online() && len(n.Pools) > 0 }

func (n *Node) online() bool {
	return n.Status == StatusOK || n.Status == StatusNone
}

// placeLabels are the labels of the node's place.
func (n *Node) placeLabels() map[string]string {
	labels := map[string]string{LabelRegion: n.Region, LabelZone: n.Zone, LabelRack: n.Rack}
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	return labels
}

// storageNode is the node as the SDK reports it.
func (n *Node) storageNode() *api.StorageNode {
	place := n.placeLabels()
	labels := maps.Clone(place)
	maps.Copy(labels, n.Labels)
	pools := make([]*api.StoragePool, len(n.Pools))
	for i, p := range n.Pools {
		pools[i] = &api.StoragePool{
			ID:        int32(i),
			Uuid:      p.UUID,
			TotalSize: p.Size,
			Used:      p.Used,
			Labels:    p.Labels,
		}
	}
	return &api.StorageNode{
		Id:                n.ID,
		Status:            n.Status,
		MgmtIp:            n.MgmtIP,
		DataIp:            n.DataIP,
		Hostname:          n.Hostname,
		SchedulerNodeName: n.SchedulerNodeName,
		Pools:             pools,
		NodeLabels:        labels,
		SchedulerTopology: &api.SchedulerTopology{Labels: place},
	}
}

// ParseStatus reads a node status as people write it: OFFLINE, offline and
// STATUS_OFFLINE are the same.
func ParseStatus(text string) (Status, error) {
	name := strings.ToUpper(strings.TrimSpace(text))
	if !strings.HasPrefix(name, "STATUS_") {
		name = "STATUS_" + name
	}
	value, ok := api.Status_value[name]
	if !ok || api.Status(value) == api.Status_STATUS_MAX {
		return 0, fmt.Errorf("node status %q is not one of OK, OFFLINE, STORAGE_DOWN, STORAGE_DEGRADED, ...: %w", text, ErrInvalid)
	}
	return Status(value), nil
}

// dataNet is the bit that tells data addresses (10.128.0.0/9) from management
// addresses (10.0.0.0/9).
const dataNet = 1 << 23

func address(number uint32) string {
	return netip.AddrFrom4([4]byte{10, byte(number >> 16), byte(number >> 8), byte(number)}).String()
}
