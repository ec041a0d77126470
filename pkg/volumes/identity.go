package volumes

import (
	"net/netip"
	"slices"
	"strings"
)

// identity answers which Kubernetes node a storage record belongs to
// (behaviour.md §3). Every map leads to a Kubernetes node name; an empty one
// says that several nodes claim the key, which is then no evidence for any.
type identity struct {
	nodes      map[string]*kubeNode  // Kubernetes node name -> node
	csi        map[string]struct{}   // storage node ids in CSINodes
	byID       map[string][]string   // storage node id in CSINode -> names of existing nodes, sorted
	byHostname map[string]string     // lower case -> node name
	byLabel    map[string]string     // first DNS label of a longer hostname -> node name
	byIP       map[netip.Addr]string // InternalIP -> node name
}

func newIdentity(nodes map[string]*kubeNode, csiNodes map[string][]string) *identity {
	id := &identity{
		nodes:      nodes,
		csi:        make(map[string]struct{}, len(csiNodes)),
		byID:       make(map[string][]string, len(csiNodes)),
		byHostname: make(map[string]string, len(nodes)),
		byLabel:    map[string]string{},
		byIP:       make(map[netip.Addr]string, len(nodes)),
	}
	for name, storageIDs := range csiNodes {
		for _, storageID := range storageIDs {
			id.csi[storageID] = struct{}{}
			if _, found := nodes[name]; found {
				id.byID[storageID] = append(id.byID[storageID], name)
			}
		}
	}
	for _, names := range id.byID {
		slices.Sort(names)
	}
	for name, node := range nodes {
		for _, hostname := range node.hostnames {
			claim(id.byHostname, hostname, name)
			if label := firstLabel(hostname); label != "" {
				claim(id.byLabel, label, name)
			}
		}
		for _, ip := range node.internalIPs {
			claim(id.byIP, ip, name)
		}
	}
	return id
}

func claim[K comparable](m map[K]string, key K, node string) {
	if other, taken := m[key]; taken && other != node {
		node = ""
	}
	m[key] = node
}

// claimed reports whether any CSINode names the storage node.
func (i *identity) claimed(id string) bool {
	_, found := i.csi[id]
	return found
}

// nodeOf returns the name of the Kubernetes node that the storage node is, or "".
// The first hit wins.
func (i *identity) nodeOf(s *StorageNode) string {
	if name := i.nodeOfID(s.ID, s.SchedulerNodeName); name != "" {
		return name
	}
	if _, found := i.nodes[s.SchedulerNodeName]; found {
		return s.SchedulerNodeName
	}
	if name := i.nodeOfHostname(strings.ToLower(s.Hostname)); name != "" {
		return name
	}
	for _, text := range []string{s.MgmtIP, s.DataIP} {
		if ip, ok := nodeIP(text); ok {
			if name := i.byIP[ip]; name != "" {
				return name
			}
		}
	}
	return ""
}

// nodeOfID looks in the CSINodes. While a node is being renamed two of them name
// one storage node; then storage's own word decides, else the first name.
func (i *identity) nodeOfID(id, schedulerNodeName string) string {
	names := i.byID[id]
	for _, name := range names {
		if name == schedulerNodeName {
			return name
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return ""
}

// nodeOfHostname takes an exact match, or one where either name is the first DNS
// label of the other.
func (i *identity) nodeOfHostname(hostname string) string {
	if hostname == "" {
		return ""
	}
	if name := i.byHostname[hostname]; name != "" {
		return name
	}
	if label := firstLabel(hostname); label != "" {
		return i.byHostname[label]
	}
	return i.byLabel[hostname]
}

// firstLabel returns the first DNS label of a name that has more than one, else
// "". Addresses are no names.
func firstLabel(hostname string) string {
	label, _, longer := strings.Cut(hostname, ".")
	if !longer {
		return ""
	}
	if _, err := netip.ParseAddr(hostname); err == nil {
		return ""
	}
	return label
}

// nodeIP parses an address that can identify a node.
func nodeIP(text string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.IsUnspecified() || ip.IsLoopback() {
		return netip.Addr{}, false
	}
	return ip.Unmap(), true
}
