package volumes

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// StorageNode is one record of the storage system's node list, reduced to what
// placement needs.
type StorageNode struct {
	// ID is the id that replica sets use.
	ID string
	// SchedulerNodeName is the Kubernetes node's name where storage knows it.
	SchedulerNodeName string
	Hostname          string
	MgmtIP, DataIP    string
	// State is how storage stands there. NoDriver counts as Offline: a record is
	// evidence of a driver.
	State placement.StorageState
	// Disks are what new volumes may be put on; nil if storage does not say.
	Disks *placement.Disks
}

// kubeNode is one Kubernetes node, reduced to what the view needs. Whatever else
// changes on the node, heartbeats above all, is no reason to build a new view.
type kubeNode struct {
	hostnames   []string // lower case; the node's name is the first of them
	internalIPs []netip.Addr
	place       place
	// site is shared with the views; one that says the same is the same one. It is nil
	// for a node without labels.
	site          *placement.Site
	unschedulable bool
	// problem is what is wrong with the annotation; zero if nothing is.
	problem placement.Problem
}

// name is the node's name as hostnames are compared.
func (n *kubeNode) name() string { return n.hostnames[0] }

func (n *kubeNode) equal(o *kubeNode) bool {
	return n.place == o.place && n.unschedulable == o.unschedulable && n.problem == o.problem && n.site.Equal(o.site) &&
		slices.Equal(n.hostnames, o.hostnames) && slices.Equal(n.internalIPs, o.internalIPs)
}

// csiNode is one CSINode, reduced to the driver's entries.
type csiNode struct {
	// registered says that the driver is in it. No CSINode is another thing: the
	// table has no entry then.
	registered bool
	ids        []string // the storage node ids that it names, sorted
}

func (n *csiNode) equal(o *csiNode) bool {
	return n.registered == o.registered && slices.Equal(n.ids, o.ids)
}

// storageRecord is a record that storage has listed once.
type storageRecord struct {
	StorageNode
	// listed says that the last list had it. A record that is missing is kept as
	// long as a CSINode names it.
	listed bool
}

// nodeTable is the working copy from which views are built.
type nodeTable struct {
	mu      sync.Mutex
	nodes   map[string]*kubeNode     // Kubernetes node name -> node
	csi     map[string]csiNode       // Kubernetes node name -> its CSINode
	records map[string]storageRecord // storage node id -> record

	// generation grows with every change that a view would show.
	generation uint64
	domains    domains
}

func newNodeTable() *nodeTable {
	return &nodeTable{
		nodes:   map[string]*kubeNode{},
		csi:     map[string]csiNode{},
		records: map[string]storageRecord{},
	}
}

// setNode takes a Kubernetes node; nil removes it. It reports whether that
// changes anything.
func (t *nodeTable) setNode(name string, node *kubeNode) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.nodes[name]
	switch {
	case node == nil && old == nil, node != nil && old != nil && node.equal(old):
		return false
	case node == nil:
		delete(t.nodes, name)
	default:
		if old != nil && node.site.Equal(old.site) {
			node.site = old.site
		}
		t.nodes[name] = node
	}
	t.generation++
	return true
}

// setCSINode takes a CSINode; nil removes it. It reports whether that changes
// anything.
func (t *nodeTable) setCSINode(name string, csi *csiNode) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, found := t.csi[name]
	switch {
	case csi == nil && !found, csi != nil && found && csi.equal(&old):
		return false
	case csi == nil:
		delete(t.csi, name)
	default:
		t.csi[name] = *csi
	}
	t.generation++
	return true
}

// setRecords takes the storage system's node list. Records that it misses stay
// until a view is built and no CSINode names them. A list that names no node at
// all is not believed.
func (t *nodeTable) setRecords(list []StorageNode) (believed, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := make(map[string]storageRecord, len(list))
	for _, s := range list {
		if s.ID == "" {
			continue
		}
		if s.State == placement.NoDriver {
			s.State = placement.Offline
		}
		if twin, found := fresh[s.ID]; found && !better(&s, &twin.StorageNode) {
			continue
		}
		fresh[s.ID] = storageRecord{StorageNode: s, listed: true}
	}
	if len(fresh) == 0 {
		return false, false
	}
	withoutPools := !slices.ContainsFunc(list, func(s StorageNode) bool { return s.Disks != nil && len(s.Disks.Pools) > 0 })
	for id, record := range fresh {
		if withoutPools {
			record.Disks = nil // a storage system that does not tell of its pools has some
		}
		if before := t.records[id].Disks; before.Equal(record.Disks) {
			record.Disks = before
		}
		if t.records[id] != record {
			t.records[id] = record
			changed = true
		}
	}
	for id, record := range t.records {
		if _, found := fresh[id]; !found && record.listed {
			record.listed = false
			t.records[id] = record
			changed = true
		}
	}
	if changed {
		t.generation++
	}
	return true, changed
}

// better orders two records of one id, so that the order of a list that has an
// id twice does not matter.
func better(a, b *StorageNode) bool {
	return cmp.Or(
		cmp.Compare(a.State, b.State),
		cmp.Compare(a.SchedulerNodeName, b.SchedulerNodeName),
		cmp.Compare(a.Hostname, b.Hostname),
		cmp.Compare(a.MgmtIP, b.MgmtIP),
		cmp.Compare(a.DataIP, b.DataIP)) < 0
}
