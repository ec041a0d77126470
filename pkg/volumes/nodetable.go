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
}

// kubeNode is one Kubernetes node, reduced to what the view needs. Whatever else
// changes on the node, heartbeats above all, is no reason to build a new view.
type kubeNode struct {
	hostnames     []string // lower case; the node's name is one of them
	internalIPs   []netip.Addr
	place         place
	unschedulable bool
	// problem is what is wrong with the annotation; zero if nothing is.
	problem placement.Problem
}

func (n *kubeNode) equal(o *kubeNode) bool {
	return n.place == o.place && n.unschedulable == o.unschedulable && n.problem == o.problem &&
		slices.Equal(n.hostnames, o.hostnames) && slices.Equal(n.internalIPs, o.internalIPs)
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
	csi     map[string][]string      // Kubernetes node name -> storage node ids in its CSINode
	records map[string]storageRecord // storage node id -> record

	// generation grows with every change that a view would show.
	generation uint64
	domains    domains
}

func newNodeTable() *nodeTable {
	return &nodeTable{
		nodes:   map[string]*kubeNode{},
		csi:     map[string][]string{},
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
		t.nodes[name] = node
	}
	t.generation++
	return true
}

// setCSINode takes the storage node ids of a CSINode; none removes it.
func (t *nodeTable) setCSINode(name string, ids []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.Equal(t.csi[name], ids) {
		return false
	}
	if len(ids) == 0 {
		delete(t.csi, name)
	} else {
		t.csi[name] = ids
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
	for id, record := range fresh {
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
