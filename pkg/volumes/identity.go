package volumes

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// identity answers which Kubernetes node a storage node is (docs/behaviour.md, section 3). The
// maps lead to names of Kubernetes nodes; an empty name says that several nodes
// have the key, which is then no evidence for any.
//
// A kubelet writes the CSINode of its node and the addresses of its Node, but the
// name of neither. So names stand above addresses, and decide between nodes whose
// CSINodes name one storage node.
type identity struct {
	nodes      map[string]*kubeNode  // Kubernetes node name -> node
	csi        map[string]csiNode    // Kubernetes node name -> its CSINode
	lacking    map[string]struct{}   // names of nodes that have a CSINode without the driver
	byID       map[string]string     // storage node id -> the existing node whose CSINode names it, any of several
	rivals     map[string]struct{}   // storage node ids that CSINodes of several existing nodes name
	byHostname map[string]string     // lower case -> node name
	byLabel    map[string]string     // first DNS label of a longer hostname -> node name
	byIP       map[netip.Addr]string // InternalIP -> node name
}

func newIdentity(nodes map[string]*kubeNode, csiNodes map[string]csiNode) *identity {
	id := &identity{
		nodes:      nodes,
		csi:        csiNodes,
		lacking:    map[string]struct{}{},
		byID:       make(map[string]string, len(csiNodes)),
		rivals:     map[string]struct{}{},
		byHostname: make(map[string]string, len(nodes)),
		byLabel:    map[string]string{},
		byIP:       make(map[netip.Addr]string, len(nodes)),
	}
	for name, csi := range csiNodes {
		if _, found := nodes[name]; !found {
			continue
		}
		if !csi.registered {
			id.lacking[name] = struct{}{}
		}
		for _, storageID := range csi.ids {
			if other, taken := id.byID[storageID]; taken && other != name {
				id.rivals[storageID] = struct{}{}
			}
			id.byID[storageID] = name
		}
	}
	aliased := map[string]*kubeNode{} // Kubernetes node name -> node with other hostnames
	for name, node := range nodes {
		claim(id.byHostname, node.name(), name)
		if len(node.hostnames) > 1 {
			aliased[name] = node
		}
		for _, hostname := range node.hostnames {
			if label := firstLabel(hostname); label != "" {
				claim(id.byLabel, label, name)
			}
		}
		for _, ip := range node.internalIPs {
			claim(id.byIP, ip, name)
		}
	}
	for name, node := range aliased {
		for _, hostname := range node.hostnames[1:] {
			if _, taken := id.nodeNamed(hostname); !taken {
				claim(id.byHostname, hostname, name)
			}
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

// nodeNamed returns the node of which a hostname is the name, not only an address.
func (i *identity) nodeNamed(hostname string) (name string, found bool) {
	name = i.byHostname[hostname]
	node, found := i.nodes[name]
	return name, found && node.name() == hostname
}

// names reports whether the CSINode of a node names the storage node.
func (i *identity) names(node, id string) bool { return slices.Contains(i.csi[node].ids, id) }

// lacksDriver reports whether a node has a CSINode without the driver. A node that
// has no CSINode does not: nothing is known then.
func (i *identity) lacksDriver(node string) bool {
	_, found := i.lacking[node]
	return found
}

// nodeOf returns the name of the Kubernetes node that the storage node is, or "".
func (i *identity) nodeOf(s *StorageNode) string {
	if name := i.onlyClaimant(s.ID); name != "" {
		return name
	}
	if _, found := i.nodes[s.SchedulerNodeName]; found {
		return s.SchedulerNodeName
	}
	hostname := strings.ToLower(s.Hostname)
	if name, found := i.nodeNamed(hostname); found {
		return name
	}
	return i.weigh(s.ID, i.nodeOfHostname(hostname), i.nodeOfIP(s.MgmtIP), i.nodeOfIP(s.DataIP))
}

// weigh puts what kubelets say of their own nodes together: the CSINodes that name
// the id, if several do, and the nodes that have the record's hostname or addresses,
// "" for none.
func (i *identity) weigh(id string, seenAt ...string) string {
	_, contested := i.rivals[id]
	first, believed := "", ""
	for _, name := range seenAt {
		switch {
		case name == "":
		case contested && i.names(name, id):
			if believed != "" && believed != name {
				return "" // there is as much to be said for one as for the other
			}
			believed = name
		case contested && len(i.csi[name].ids) > 0:
			// That node says that it is another storage node; an address may be an old one.
		case first == "":
			first = name
		}
	}
	return cmp.Or(believed, first)
}

// onlyClaimant returns the one node whose CSINode names the storage node, or "".
func (i *identity) onlyClaimant(id string) string {
	if _, several := i.rivals[id]; several {
		return ""
	}
	return i.byID[id]
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

func (i *identity) nodeOfIP(text string) string {
	ip, ok := nodeIP(text)
	if !ok {
		return ""
	}
	return i.byIP[ip]
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
