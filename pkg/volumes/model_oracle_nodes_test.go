package volumes

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// oraclePicture spares searching for the same node again and again.
type oraclePicture struct {
	ids     map[string][]string // Kubernetes node name -> storage node ids in its CSINode
	nodes   map[string]string   // storage node id -> Kubernetes node name, if it is one
	states  map[string]placement.StorageState
	holders map[string]oracleHolder
}

type oracleHolder struct {
	node  string
	state placement.StorageState
}

func (o *oracle) draw() {
	p := &oraclePicture{
		ids:     map[string][]string{},
		nodes:   map[string]string{},
		states:  map[string]placement.StorageState{},
		holders: map[string]oracleHolder{},
	}
	o.picture = p
	for name := range o.nodes {
		p.ids[name] = driverIDs(o.csiNodes[name])
	}
	for _, id := range modelIDs {
		if r, found := o.records[id]; found {
			p.nodes[id] = o.nodeOf(&r.StorageNode)
		} else if names := o.csiNodesOf(id); len(names) == 1 {
			p.nodes[id] = names[0]
		}
	}
	for name := range o.nodes {
		p.states[name] = o.nodeState(name)
	}
	for _, id := range append([]string{"gone"}, modelIDs...) {
		p.holders[id] = o.holder(id)
	}
	for _, ip := range modelIPs {
		p.holders[ip] = o.holderByAddress(ip)
	}
}

func (o *oracle) list(nodes []StorageNode) {
	if len(nodes) == 0 {
		return
	}
	o.contact, o.listed = o.now, o.now
	o.picture = nil
	for id, r := range o.records {
		r.listed = false
		o.records[id] = r
	}
	// The best of records with one id counts.
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b StorageNode) int {
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(a.SchedulerNodeName, b.SchedulerNodeName),
			cmp.Compare(a.Hostname, b.Hostname), cmp.Compare(a.MgmtIP, b.MgmtIP), cmp.Compare(a.DataIP, b.DataIP))
	})
	for _, n := range slices.Backward(nodes) {
		o.records[n.ID] = oracleRecord{StorageNode: n, listed: true}
	}
}

func driverIDs(node *storagev1.CSINode) []string {
	var ids []string
	if node != nil {
		for _, driver := range node.Spec.Drivers {
			if slices.Contains(modelDrivers, driver.Name) && driver.NodeID != "" && !slices.Contains(ids, driver.NodeID) {
				ids = append(ids, driver.NodeID)
			}
		}
	}
	return ids
}

// registered reports whether the driver is in a CSINode.
func registered(node *storagev1.CSINode) bool {
	return node != nil && slices.ContainsFunc(node.Spec.Drivers, func(d storagev1.CSINodeDriver) bool {
		return slices.Contains(modelDrivers, d.Name)
	})
}

// lacksDriver reports whether a node has a CSINode that the driver is not in.
func (o *oracle) lacksDriver(name string) bool {
	return o.csiNodes[name] != nil && !registered(o.csiNodes[name])
}

func (o *oracle) setNode(name string, node *v1.Node) {
	delete(o.nodes, name)
	if node != nil {
		o.nodes[name] = node
	}
	o.picture = nil
}

func (o *oracle) setCSINode(name string, node *storagev1.CSINode) {
	delete(o.csiNodes, name)
	if node != nil {
		o.csiNodes[name] = node
	}
	o.picture = nil
}

func (o *oracle) inCSINode(id string) bool {
	for _, node := range o.csiNodes {
		if slices.Contains(driverIDs(node), id) {
			return true
		}
	}
	return false
}

// csiNodesOf returns the existing nodes whose CSINode names the id.
func (o *oracle) csiNodesOf(id string) []string {
	var names []string
	for name := range o.nodes {
		if slices.Contains(o.picture.ids[name], id) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// nodeOf goes through the ways of recognising a node, one after the other.
func (o *oracle) nodeOf(s *StorageNode) string {
	claimants := o.csiNodesOf(s.ID)
	if len(claimants) == 1 {
		return claimants[0]
	}
	if o.nodes[s.SchedulerNodeName] != nil {
		return s.SchedulerNodeName
	}
	host := strings.ToLower(s.Hostname)
	if name := o.only(func(n *v1.Node) bool { return strings.ToLower(n.Name) == host }); name != "" {
		return name
	}
	var seenAt []string
	for _, name := range []string{
		o.nodeOfHostname(host),
		o.only(func(n *v1.Node) bool { return hasIP(n, s.MgmtIP) }),
		o.only(func(n *v1.Node) bool { return hasIP(n, s.DataIP) }),
	} {
		if name != "" && !slices.Contains(seenAt, name) {
			seenAt = append(seenAt, name)
		}
	}
	var both, others []string
	for _, name := range seenAt {
		switch {
		case slices.Contains(claimants, name):
			both = append(both, name)
		case len(claimants) == 0 || len(o.picture.ids[name]) == 0:
			others = append(others, name)
		}
	}
	switch {
	case len(both) == 1:
		return both[0]
	case len(both) > 1:
		return ""
	case len(others) > 0:
		return others[0]
	default:
		return ""
	}
}

func (o *oracle) nodeOfHostname(host string) string {
	if host == "" {
		return ""
	}
	// A node's name beats the same hostname as address of another.
	named := func(host string) string {
		if name := o.only(func(n *v1.Node) bool { return strings.ToLower(n.Name) == host }); name != "" {
			return name
		}
		return o.only(func(n *v1.Node) bool { return slices.Contains(hostnamesOf(n), host) })
	}
	if name := named(host); name != "" {
		return name
	}
	if label, _, dotted := strings.Cut(host, "."); dotted {
		if _, err := netip.ParseAddr(host); err == nil {
			return ""
		}
		return named(label)
	}
	return o.only(func(n *v1.Node) bool {
		return slices.ContainsFunc(hostnamesOf(n), func(hostname string) bool {
			label, _, dotted := strings.Cut(hostname, ".")
			return dotted && label == host
		})
	})
}

// only returns the one node for which the condition holds.
func (o *oracle) only(holds func(*v1.Node) bool) string {
	found := ""
	for name, node := range o.nodes {
		if holds(node) {
			if found != "" {
				return ""
			}
			found = name
		}
	}
	return found
}

func hostnamesOf(n *v1.Node) []string {
	names := []string{strings.ToLower(n.Name)}
	for _, a := range n.Status.Addresses {
		if a.Type == v1.NodeHostName {
			names = append(names, strings.ToLower(a.Address))
		}
	}
	return names
}

func hasIP(n *v1.Node, text string) bool {
	ip, err := netip.ParseAddr(text)
	return err == nil && slices.ContainsFunc(n.Status.Addresses, func(a v1.NodeAddress) bool {
		other, err := netip.ParseAddr(a.Address)
		return err == nil && a.Type == v1.NodeInternalIP && other == ip
	})
}

func (o *oracle) nodeState(name string) placement.StorageState {
	if o.lacksDriver(name) {
		return placement.NoDriver
	}
	ids := o.picture.ids[name]
	mine := slices.DeleteFunc(slices.Clone(modelIDs), func(id string) bool { return o.picture.nodes[id] != name })
	switch {
	case len(mine) > 0:
	case len(ids) > 0:
		mine = ids
	case registered(o.csiNodes[name]):
		return placement.Online
	default:
		return placement.NoDriver
	}
	return o.best(mine)
}

// best is the best state of storage nodes, those without record included.
func (o *oracle) best(ids []string) placement.StorageState {
	best := placement.Offline
	for _, id := range ids {
		best = min(best, o.ownState(id))
	}
	return best
}

func (o *oracle) ownState(id string) placement.StorageState {
	if r, found := o.records[id]; found && o.believed {
		return r.State
	}
	return placement.Online
}

func (o *oracle) holder(id string) oracleHolder {
	_, listed := o.records[id]
	if !listed && len(o.csiNodesOf(id)) == 0 {
		return oracleHolder{}
	}
	name := o.picture.nodes[id]
	return oracleHolder{name, o.ownState(id)}
}

// holderByAddress is the one node whose records have the address.
func (o *oracle) holderByAddress(address string) oracleHolder {
	if _, err := netip.ParseAddr(address); err != nil {
		return oracleHolder{}
	}
	var names []string
	for id, r := range o.records {
		if r.MgmtIP == address || r.DataIP == address {
			names = append(names, o.picture.nodes[id])
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) != 1 || names[0] == "" {
		return oracleHolder{}
	}
	return oracleHolder{names[0], o.picture.states[names[0]]}
}

// sameDomains says on which levels two nodes are in the same domain (S3).
func sameDomains(a, b *v1.Node) (rack, zone, region bool) {
	label := func(n *v1.Node, keys []string) string {
		for _, key := range keys {
			if n.Labels[key] != "" {
				return n.Labels[key]
			}
		}
		return ""
	}
	same := func(keys []string) (equal, present bool) {
		va, vb := label(a, keys), label(b, keys)
		return va == vb, va != "" && vb != ""
	}
	sameRegion, hasRegion := same(modelTopology.Region)
	sameZone, hasZone := same(modelTopology.Zone)
	sameRack, hasRack := same(modelTopology.Rack)
	return sameRegion && sameZone && sameRack && hasRack, sameRegion && sameZone && hasZone, sameRegion && hasRegion
}
