package openstoragesim

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/libopenstorage/openstorage/api"
)

// demand is what a volume asks of its replicas.
type demand struct {
	replicas int      // per replica set
	stripes  int      // replica sets
	nodes    []string // only these, if any: ids, names or addresses
	zones    []string // only these, if any
	racks    []string // only these, if any
	// bestEffort lets zones and racks go when they cannot be had.
	bestEffort bool
	// size is how many bytes each replica takes.
	size uint64
	// selected is the Kubernetes node on which the first replica of each set should lie,
	// if that is possible.
	selected string
}

// newDemand reads spec and labels, which is all that the storage system gets.
func newDemand(spec *api.VolumeSpec, labels map[string]string) (demand, error) {
	d := demand{
		replicas:   max(int(spec.GetHaLevel()), 1),
		stripes:    max(int(spec.GetAggregationLevel()), 1),
		nodes:      spec.GetReplicaSet().GetNodes(),
		zones:      splitList(labels[api.SpecZones]),
		racks:      splitList(labels[api.SpecRacks]),
		bestEffort: labels[api.SpecBestEffortLocationProvisioning] == "true",
		size:       spec.GetSize(),
		selected:   spec.GetTopologyRequirement().GetLabels()[LabelHostname],
	}
	if err := checkStrategy(spec.GetPlacementStrategy()); err != nil {
		return demand{}, err
	}
	if spec.GetAggregationLevel() == api.AutoAggregation {
		d.stripes = 1
	}
	if d.replicas > maxReplicas {
		return demand{}, fmt.Errorf("%d replicas asked for, at most %d are possible: %w", d.replicas, maxReplicas, ErrInvalid)
	}
	if d.stripes > maxStripes {
		return demand{}, fmt.Errorf("aggregation level %d asked for, at most %d is possible: %w", d.stripes, maxStripes, ErrInvalid)
	}
	return d, nil
}

// hasReplicas is false for volumes whose data is not in this cluster: direct
// access and proxy volumes.
func hasReplicas(spec *api.VolumeSpec) bool {
	return spec.GetProxySpec().GetProxyProtocol() == api.ProxyProtocol_PROXY_PROTOCOL_INVALID
}

// LabelHostname is the topology requirement by which the node of the first pod is wished
// for: external provisioners have it from kube-scheduler.
const LabelHostname = "kubernetes.io/hostname"

// place chooses nodes and pools for a volume with these labels. The replicas of a set are
// on distinct nodes, always; the node of the first pod has the first one, if it may; the
// rest is preference, in this order: nodes with room, nodes that no other set of the
// volume uses, zones and then racks with fewest replicas of the set, nodes with
// fewest replicas of any volume, nodes that were added first. A placement strategy
// comes before all preference. It needs c.mu for writing.
func (c *Cluster) place(d demand, strategy *api.VolumePlacementStrategy, labels map[string]string) ([]*api.ReplicaSet, error) {
	sets, err := c.placeThere(d, strategy, labels)
	if d.bestEffort && errors.Is(err, ErrExhausted) {
		d.zones, d.racks = nil, nil
		return c.placeThere(d, strategy, labels)
	}
	return sets, err
}

// placeThere places in the zones and racks that are asked for.
func (c *Cluster) placeThere(d demand, strategy *api.VolumePlacementStrategy, labels map[string]string) ([]*api.ReplicaSet, error) {
	candidates, err := c.candidates(d)
	if err != nil {
		return nil, err
	}
	if len(candidates) < d.replicas {
		return nil, c.exhausted(d, len(candidates))
	}
	if strategy != nil {
		return c.placeByRules(d, candidates, strategy, labels)
	}

	var here []*node
	if d.selected != "" {
		here = slices.DeleteFunc(slices.Clone(candidates), func(n *node) bool { return !d.isSelected(&n.Node) })
	}
	sets := make([]*api.ReplicaSet, d.stripes)
	usedByVolume := map[*node]int{}
	for i := range sets {
		set := &api.ReplicaSet{Id: uint32(i), Nodes: make([]string, 0, d.replicas), PoolUuids: make([]string, 0, d.replicas)}
		var members []*node
		for range d.replicas {
			n := cheapest(candidates, members, usedByVolume, d.size)
			if len(members) == 0 && len(here) > 0 {
				n = cheapest(here, nil, usedByVolume, d.size)
			}
			members = append(members, n)
			set.Nodes = append(set.Nodes, n.ID)
			set.PoolUuids = append(set.PoolUuids, n.emptiestPool(d.size))
		}
		for _, n := range members {
			usedByVolume[n]++
		}
		sets[i] = set
	}
	return sets, nil
}

// isSelected reports whether the node is that of the first pod.
func (d *demand) isSelected(n *Node) bool {
	return d.selected != "" && cmp.Or(n.SchedulerNodeName, n.Hostname) == d.selected
}

// cheapest returns the best candidate that is no member of the set yet, or nil.
func cheapest(candidates, members []*node, usedByVolume map[*node]int, size uint64) *node {
	var best *node
	bestCost := uint64(math.MaxUint64)
	for _, n := range candidates {
		if slices.Contains(members, n) {
			continue
		}
		var zone, rack uint64
		for _, m := range members {
			if m.zone == n.zone {
				zone++
			}
			if m.rack == n.rack {
				rack++
			}
		}
		// Most significant first; members and stripes are few, so no field
		// runs over into the next.
		cost := zone<<48 | rack<<40 | uint64(n.replicas)&(1<<40-1)
		if len(usedByVolume) > 0 {
			cost |= uint64(usedByVolume[n]) << 56
		}
		if !n.hasRoom(size) {
			cost |= 1 << 63
		}
		if cost < bestCost {
			best, bestCost = n, cost
		}
	}
	return best
}

// candidates returns the nodes that may hold a replica. It needs c.mu for
// writing.
func (c *Cluster) candidates(d demand) ([]*node, error) {
	named := c.replicaHolders()
	if len(d.nodes) > 0 {
		named = nil
		for _, name := range d.nodes {
			n, err := c.findNode(name)
			if err != nil {
				// Not ErrNotFound: what the caller asks for is the volume.
				return nil, fmt.Errorf("%w: nodes that the volume asks for: %s", ErrInvalid, err.Error())
			}
			if n.holdsReplicas() && !slices.Contains(named, n) {
				named = append(named, n)
			}
		}
	}
	if len(d.zones) == 0 && len(d.racks) == 0 {
		return named, nil
	}
	return slices.DeleteFunc(slices.Clone(named), func(n *node) bool { return !d.allows(n) }), nil
}

// replicaHolders returns the nodes on which new replicas may be put. It needs
// c.mu for writing.
func (c *Cluster) replicaHolders() []*node {
	if c.holders == nil {
		for _, n := range c.nodes {
			if n.holdsReplicas() {
				c.holders = append(c.holders, n)
			}
		}
	}
	return c.holders
}

// allows reports whether the node stands where the volume wants to be.
func (d demand) allows(n *node) bool {
	return (len(d.zones) == 0 || slices.Contains(d.zones, n.Zone)) &&
		(len(d.racks) == 0 || slices.Contains(d.racks, n.Rack))
}

// exhausted says what was asked for and why so few nodes are left.
func (c *Cluster) exhausted(d demand, fitting int) error {
	var storageless, down, elsewhere int
	for _, n := range c.nodes {
		switch {
		case len(n.Pools) == 0:
			storageless++
		case !n.online():
			down++
		case !d.allows(n):
			elsewhere++
		}
	}
	asked := fmt.Sprintf("%d replicas", d.replicas)
	if len(d.nodes) > 0 {
		asked += " on nodes " + strings.Join(d.nodes, ",")
	}
	if len(d.zones) > 0 {
		asked += " in zones " + strings.Join(d.zones, ",")
	}
	if len(d.racks) > 0 {
		asked += " in racks " + strings.Join(d.racks, ",")
	}
	return fmt.Errorf("%s asked for, %d node(s) qualify (of %d: %d without pools, %d not online, %d elsewhere): %w",
		asked, fitting, len(c.nodes), storageless, down, elsewhere, ErrExhausted)
}

// emptiestPool returns the pool with the fewest replicas among those with room, or else
// among all, the first of equals.
func (n *node) emptiestPool(size uint64) string {
	best := &n.Pools[0]
	for i := range n.Pools[1:] {
		p := &n.Pools[i+1]
		if roomy := p.hasRoom(size); roomy && !best.hasRoom(size) ||
			roomy == best.hasRoom(size) && n.poolReplicas[p.UUID] < n.poolReplicas[best.UUID] {
			best = p
		}
	}
	return best.UUID
}

// placeByRules places as a strategy asks.
func (c *Cluster) placeByRules(d demand, candidates []*node, strategy *api.VolumePlacementStrategy, labels map[string]string) ([]*api.ReplicaSet, error) {
	a, err := c.newAllocator(d, candidates, strategy, labels)
	if err != nil {
		return nil, err
	}
	sets := make([]*api.ReplicaSet, d.stripes)
	for i := range sets {
		members := a.set()
		if members == nil {
			return nil, a.conflict()
		}
		sets[i] = &api.ReplicaSet{Id: uint32(i)}
		for _, m := range members {
			sets[i].Nodes, sets[i].PoolUuids = append(sets[i].Nodes, m.node.ID), append(sets[i].PoolUuids, m.pool.UUID)
		}
	}
	return sets, nil
}

// hasRoom reports whether a replica of that many bytes fits into some pool.
func (n *Node) hasRoom(size uint64) bool {
	return slices.ContainsFunc(n.Pools, func(p Pool) bool { return p.hasRoom(size) })
}

func (p *Pool) hasRoom(size uint64) bool { return p.Used+size <= p.Size }
