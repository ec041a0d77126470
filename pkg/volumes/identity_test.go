package volumes

import (
	"fmt"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

const testDriver = "pxd.portworx.com"

// newTestIndex returns an index whose time stands still, and its clock.
func newTestIndex() (*Index, *clocktesting.FakeClock) {
	clock := clocktesting.NewFakeClock(time.Unix(1700000000, 0))
	return NewIndex(Options{
		Drivers: []string{testDriver, claims.InTreeDriver}, Clock: clock, MaxStaleness: time.Minute,
		TopologyKeys: LabelKeys{Region: []string{"region"}, Zone: []string{"zone", "old-zone"}, Rack: []string{"rack"}},
	}), clock
}

func testNode(name string, addresses ...v1.NodeAddress) *v1.Node {
	return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1.NodeStatus{Addresses: addresses}}
}

func internalIP(address string) v1.NodeAddress {
	return v1.NodeAddress{Type: v1.NodeInternalIP, Address: address}
}

func testCSINode(name string, ids ...string) *storagev1.CSINode {
	node := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, id := range ids {
		node.Spec.Drivers = append(node.Spec.Drivers, storagev1.CSINodeDriver{Name: testDriver, NodeID: id})
	}
	return node
}

func (ix *Index) feedNodes(nodes []*v1.Node, csiNodes []*storagev1.CSINode) {
	for _, node := range nodes {
		ix.nodeHandler().OnAdd(node, true)
	}
	for _, node := range csiNodes {
		ix.csiNodeHandler().OnAdd(node, true)
	}
}

func TestStorageNodeIsRecognised(t *testing.T) {
	tests := []struct {
		name     string
		nodes    []*v1.Node
		csiNodes []*storagev1.CSINode
		record   StorageNode // its id is s
		want     string
	}{
		{"by the id in CSINode, against all other evidence", []*v1.Node{testNode("a"), testNode("b", internalIP("10.0.0.1"))},
			[]*storagev1.CSINode{testCSINode("a", "s")}, StorageNode{SchedulerNodeName: "b", Hostname: "b", MgmtIP: "10.0.0.1"}, "a"},
		{"by the scheduler's node name before the hostname", []*v1.Node{testNode("a"), testNode("b")}, nil,
			StorageNode{SchedulerNodeName: "a", Hostname: "b"}, "a"},
		{"by the id in CSINode when it says nothing of itself", []*v1.Node{testNode("a"), testNode("b")},
			[]*storagev1.CSINode{testCSINode("a", "s")}, StorageNode{}, "a"},
		{"by the id in CSINode when it speaks of machines that are no nodes", []*v1.Node{testNode("a"), testNode("b")},
			[]*storagev1.CSINode{testCSINode("a", "s")}, StorageNode{SchedulerNodeName: "x", Hostname: "y", MgmtIP: "10.9.9.9"}, "a"},
		{"by the hostname, whatever the case", []*v1.Node{testNode("a")}, nil, StorageNode{Hostname: "A"}, "a"},
		{"by a hostname that Kubernetes knows as address", []*v1.Node{testNode("a", v1.NodeAddress{Type: v1.NodeHostName, Address: "Host"})}, nil,
			StorageNode{Hostname: "host"}, "a"},
		{"by the first label of storage's hostname", []*v1.Node{testNode("a")}, nil, StorageNode{Hostname: "a.example.com"}, "a"},
		{"by the first label of the node's name", []*v1.Node{testNode("a.example.com")}, nil, StorageNode{Hostname: "a"}, "a.example.com"},
		{"not by two long names with one first label", []*v1.Node{testNode("a.example.com")}, nil, StorageNode{Hostname: "a.example.org"}, ""},
		{"by the exact hostname before the first label", []*v1.Node{testNode("a"), testNode("a.example.com")}, nil,
			StorageNode{Hostname: "a.example.com"}, "a.example.com"},
		{"not by a first label that two nodes have", []*v1.Node{testNode("a.example.com"), testNode("a.example.org", internalIP("10.0.0.1"))}, nil,
			StorageNode{Hostname: "a"}, ""},
		{"by the address when a label is ambiguous", []*v1.Node{testNode("a.example.com"), testNode("a.example.org", internalIP("10.0.0.1"))}, nil,
			StorageNode{Hostname: "a", MgmtIP: "10.0.0.1"}, "a.example.org"},
		{"not by the first number of an address as hostname", []*v1.Node{testNode("10")}, nil, StorageNode{Hostname: "10.0.0.1"}, ""},
		{"by the management address", []*v1.Node{testNode("a", internalIP("10.0.0.1"))}, nil, StorageNode{MgmtIP: "10.0.0.1"}, "a"},
		{"by the data address", []*v1.Node{testNode("a", internalIP("10.0.0.1"))}, nil, StorageNode{MgmtIP: "10.0.0.9", DataIP: "10.0.0.1"}, "a"},
		{"by an IPv6 address in another spelling", []*v1.Node{testNode("a", internalIP("fd00::1"))}, nil, StorageNode{DataIP: "fd00:0:0::1"}, "a"},
		{"by an IPv4 address in IPv6 form", []*v1.Node{testNode("a", internalIP("10.0.0.1"))}, nil, StorageNode{DataIP: "::ffff:10.0.0.1"}, "a"},
		{"not by an address that two nodes have", []*v1.Node{testNode("a", internalIP("10.0.0.1")), testNode("b", internalIP("10.0.0.1"))}, nil,
			StorageNode{MgmtIP: "10.0.0.1"}, ""},
		{"not by the address of every machine", []*v1.Node{testNode("a", internalIP("127.0.0.1"))}, nil, StorageNode{MgmtIP: "127.0.0.1"}, ""},
		{"not by an external address", []*v1.Node{testNode("a", v1.NodeAddress{Type: v1.NodeExternalIP, Address: "192.0.2.1"})}, nil,
			StorageNode{MgmtIP: "192.0.2.1"}, ""},
		{"not when it says nothing about itself", []*v1.Node{testNode("a")}, nil, StorageNode{}, ""},
		{"not by the CSINode of a node that is gone", []*v1.Node{testNode("a")}, []*storagev1.CSINode{testCSINode("gone", "s")}, StorageNode{}, ""},
		{"while a node is renamed, by storage's own word", []*v1.Node{testNode("a"), testNode("b")},
			[]*storagev1.CSINode{testCSINode("a", "s"), testCSINode("b", "s")}, StorageNode{SchedulerNodeName: "b"}, "b"},
		{"by the hostname that is a node's name, before one that is another's address",
			[]*v1.Node{testNode("a", hostnameAddress("b")), testNode("b")}, nil, StorageNode{Hostname: "b"}, "b"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ix, _ := newTestIndex()
			ix.feedNodes(test.nodes, test.csiNodes)
			test.record.ID, test.record.State = "s", placement.Degraded
			ix.SetStorageNodes([]StorageNode{test.record})
			ix.step()

			node, state := ix.View().Holder(ix.ids.ref("s"))
			if nameOf(node) != test.want || state != placement.Degraded {
				t.Errorf("storage node is %q in state %v, want %q, Degraded", nameOf(node), state, test.want)
			}
			if test.want != "" && ix.View().Node(test.want).State != placement.Degraded {
				t.Errorf("node %s is %v, want Degraded", test.want, ix.View().Node(test.want).State)
			}
		})
	}
}

func hostnameAddress(hostname string) v1.NodeAddress {
	return v1.NodeAddress{Type: v1.NodeHostName, Address: hostname}
}

// A kubelet writes its own CSINode and the addresses of its own Node. Neither draws
// the storage node of another node to it.
func TestStorageNodeIsNotDrawnToAnotherNode(t *testing.T) {
	// The node "liar" has a kubelet that writes what it likes; "owner" is where s runs.
	address, otherAddress := internalIP("10.0.0.1"), internalIP("10.0.0.2")
	owner := func(addresses ...v1.NodeAddress) *v1.Node { return testNode("owner", addresses...) }
	liar := func(addresses ...v1.NodeAddress) *v1.Node { return testNode("liar", addresses...) }
	both := []*storagev1.CSINode{testCSINode("owner", "s"), testCSINode("liar", "s")}
	onlyOwner := []*storagev1.CSINode{testCSINode("owner", "s")}
	for _, tc := range []struct {
		name     string
		nodes    []*v1.Node
		csiNodes []*storagev1.CSINode
		record   StorageNode // its id is s
		want     string
		problems []string // the nodes that are told of a CSINode that is not believed
	}{
		{"two CSINodes name it: the scheduler's node name decides", []*v1.Node{owner(), liar(address)}, both,
			StorageNode{SchedulerNodeName: "owner", MgmtIP: "10.0.0.1"}, "owner", []string{"liar"}},
		{"two CSINodes name it: the hostname decides", []*v1.Node{owner(), liar()}, both,
			StorageNode{Hostname: "OWNER"}, "owner", []string{"liar"}},
		{"two CSINodes name it: the first label of the hostname decides", []*v1.Node{owner(), liar()}, both,
			StorageNode{Hostname: "owner.example.com"}, "owner", []string{"liar"}},
		{"two CSINodes name it: the hostname decides that is the node's address", []*v1.Node{owner(hostnameAddress("host")), liar()}, both,
			StorageNode{Hostname: "host"}, "owner", []string{"liar"}},
		{"two CSINodes name it: the management address decides", []*v1.Node{owner(address), liar(otherAddress)}, both,
			StorageNode{MgmtIP: "10.0.0.1"}, "owner", []string{"liar"}},
		{"two CSINodes name it: the data address decides", []*v1.Node{owner(address), liar(otherAddress)}, both,
			StorageNode{MgmtIP: "10.9.9.9", DataIP: "10.0.0.1"}, "owner", []string{"liar"}},
		{"two CSINodes name it, and nothing tells which is right: none is", []*v1.Node{owner(), liar()}, both,
			StorageNode{}, "", []string{"liar", "owner"}},
		{"two CSINodes name it, and the rest speaks of machines that are no nodes: none is", []*v1.Node{owner(address), liar(otherAddress)}, both,
			StorageNode{SchedulerNodeName: "x", Hostname: "y", MgmtIP: "10.9.9.9", DataIP: "nonsense"}, "", []string{"liar", "owner"}},
		{"two CSINodes name it, and the addresses tell of either: none is", []*v1.Node{owner(address), liar(otherAddress)}, both,
			StorageNode{MgmtIP: "10.0.0.1", DataIP: "10.0.0.2"}, "", []string{"liar", "owner"}},
		{"two CSINodes name it, and both nodes have its address: none is", []*v1.Node{owner(address), liar(address)}, both,
			StorageNode{MgmtIP: "10.0.0.1"}, "", []string{"liar", "owner"}},
		{"two CSINodes name it, and the liar takes its address, too: the owner's name decides", []*v1.Node{owner(address), liar(address, hostnameAddress("owner"))}, both,
			StorageNode{Hostname: "owner", MgmtIP: "10.0.0.1"}, "owner", []string{"liar"}},
		{"two CSINodes name it, and the liar alone has its address: the owner's name decides", []*v1.Node{owner(), liar(address)}, both,
			StorageNode{Hostname: "owner", MgmtIP: "10.0.0.1"}, "owner", []string{"liar"}},
		{"two CSINodes name it, and storage says that it is a third node", []*v1.Node{owner(), liar(), testNode("third")}, both,
			StorageNode{Hostname: "third"}, "third", []string{"liar", "owner"}},
		{"three CSINodes name it: the hostname decides", []*v1.Node{owner(), liar(), testNode("a")},
			append([]*storagev1.CSINode{testCSINode("a", "s")}, both...), StorageNode{Hostname: "owner"}, "owner", []string{"a", "liar"}},
		{"the liar takes the address: the owner's CSINode decides", []*v1.Node{owner(address), liar(address)}, onlyOwner,
			StorageNode{MgmtIP: "10.0.0.1"}, "owner", nil},
		{"the liar takes the hostname: the owner's name decides", []*v1.Node{owner(), liar(hostnameAddress("owner"))}, nil,
			StorageNode{Hostname: "owner"}, "owner", nil},
		{"the liar takes an address that the owner has outside of Kubernetes: the owner's CSINode decides if the liar has a storage node of its own",
			[]*v1.Node{owner(), liar(address)}, []*storagev1.CSINode{testCSINode("owner", "s"), testCSINode("liar", "own")},
			StorageNode{MgmtIP: "10.0.0.1"}, "owner", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ix, _ := newTestIndex()
			ix.feedNodes(tc.nodes, tc.csiNodes)
			tc.record.ID, tc.record.State = "s", placement.StorageDown
			ix.SetStorageNodes([]StorageNode{tc.record})
			ix.step()

			view := ix.View()
			if node, state := view.Holder(ix.ids.ref("s")); nameOf(node) != tc.want || state != placement.StorageDown {
				t.Errorf("storage node is %q in state %v, want %q, StorageDown", nameOf(node), state, tc.want)
			}
			var told []string
			for _, problem := range view.Problems() {
				if problem.Value == "s" {
					told = append(told, problem.Node)
				}
			}
			if !slices.Equal(told, tc.problems) {
				t.Errorf("problems are told of nodes %v, want %v", told, tc.problems)
			}
			unmatched := 0
			if tc.want == "" {
				unmatched = 1
			}
			if got := Summarize(ix, 1).UnmatchedNodes; got != unmatched {
				t.Errorf("%d storage nodes are no node, want %d", got, unmatched)
			}
		})
	}
}

// A node whose CSINode names an id in vain still shows that the driver is there.
func TestCSINodeThatIsNotBelievedShowsTheDriver(t *testing.T) {
	list := []StorageNode{{ID: "s", Hostname: "owner", State: placement.StorageDown}, {ID: "own", Hostname: "liar", State: placement.Offline}}
	for _, tc := range []struct {
		name string
		list []StorageNode
		want placement.StorageState
	}{
		{"as storage stands for that id", list[:1], placement.StorageDown},
		{"but not where storage has a record of the node itself", list, placement.Offline},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ix, _ := newTestIndex()
			ix.feedNodes([]*v1.Node{testNode("owner"), testNode("liar")}, []*storagev1.CSINode{testCSINode("owner", "s"), testCSINode("liar", "s")})
			ix.SetStorageNodes(tc.list)
			ix.step()
			if got := ix.View().Node("liar").State; got != tc.want {
				t.Errorf("node is %v, want %v", got, tc.want)
			}
		})
	}
}

func TestCSINodesThatAloneNameAnIDAreBelievedOnlyWhenOneDoes(t *testing.T) {
	ix, _ := newTestIndex()
	ix.feedNodes([]*v1.Node{testNode("a"), testNode("b"), testNode("c")},
		[]*storagev1.CSINode{testCSINode("a", "s"), testCSINode("b", "t"), testCSINode("c", "t")})
	ix.step()
	for id, want := range map[string]string{"s": "a", "t": ""} {
		if node, state := ix.View().Holder(ix.ids.ref(id)); nameOf(node) != want || state != placement.Online {
			t.Errorf("storage node %s is %q in state %v, want %q, Online", id, nameOf(node), state, want)
		}
	}
}

// The driver must be in the CSINode if there is one.
func TestCSINodeWithoutTheDriver(t *testing.T) {
	record := StorageNode{ID: "s", Hostname: "a", State: placement.Online}
	without := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	with := func(drivers ...storagev1.CSINodeDriver) *storagev1.CSINode {
		return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: storagev1.CSINodeSpec{Drivers: drivers}}
	}
	for _, tc := range []struct {
		name   string
		node   *storagev1.CSINode
		listed bool
		want   placement.StorageState
	}{
		{"no CSINode: storage's word counts", nil, true, placement.Online},
		{"no CSINode and no record", nil, false, placement.NoDriver},
		{"a CSINode without any driver, against storage's word", without, true, placement.NoDriver},
		{"a CSINode with another driver, against storage's word", with(storagev1.CSINodeDriver{Name: "other.example.com", NodeID: "s"}), true, placement.NoDriver},
		{"a CSINode with the driver", with(storagev1.CSINodeDriver{Name: testDriver, NodeID: "s"}), true, placement.Online},
		{"a CSINode with the driver beside another", with(storagev1.CSINodeDriver{Name: "other.example.com", NodeID: "x"},
			storagev1.CSINodeDriver{Name: testDriver, NodeID: "s"}), true, placement.Online},
		{"a CSINode with the driver, but another id", with(storagev1.CSINodeDriver{Name: testDriver, NodeID: "new"}), true, placement.Online},
		{"a CSINode with the driver, but no id", with(storagev1.CSINodeDriver{Name: testDriver}), true, placement.Online},
		{"a CSINode with the driver, but neither id nor record", with(storagev1.CSINodeDriver{Name: testDriver}), false, placement.Online},
		{"a CSINode without the driver and no record", without, false, placement.NoDriver},
	} {
		for _, fresh := range []bool{true, false} {
			t.Run(fmt.Sprint(tc.name, ", fresh ", fresh), func(t *testing.T) {
				ix, clock := newTestIndex()
				nodes := []*storagev1.CSINode{}
				if tc.node != nil {
					nodes = append(nodes, tc.node)
				}
				ix.feedNodes([]*v1.Node{testNode("a")}, nodes)
				if tc.listed {
					ix.SetStorageNodes([]StorageNode{record})
				}
				ix.step()
				if !fresh {
					clock.Step(2 * time.Minute)
					ix.step()
				}
				if got := ix.View().Node("a").State; got != tc.want {
					t.Errorf("node is %v, want %v", got, tc.want)
				}
				// Storage serves the replica to other nodes all the same.
				if node, state := ix.View().Holder(ix.ids.ref("s")); tc.listed && (nameOf(node) != "a" || state != placement.Online) {
					t.Errorf("a replica there is on %q in state %v, want a, Online", nameOf(node), state)
				}
			})
		}
	}
}

// Volumes of the in-tree plugin are mounted by the CSI driver that it has migrated to.
func TestInTreeDriverIsRegisteredByItsCSIName(t *testing.T) {
	ix := NewIndex(Options{Drivers: []string{claims.InTreeDriver}})
	ix.feedNodes([]*v1.Node{testNode("a"), testNode("b")}, []*storagev1.CSINode{testCSINode("a", "s"), testCSINode("b")})
	ix.step()
	view := ix.View()
	if a, b := view.Node("a").State, view.Node("b").State; a != placement.Online || b != placement.NoDriver {
		t.Errorf("the node with the CSI driver is %v, the other %v, want Online and NoDriver", a, b)
	}
	if node, _ := view.Holder(ix.ids.ref("s")); nameOf(node) != "a" {
		t.Errorf("storage node s is %q, want a", nameOf(node))
	}
}

func TestDriverComesAndGoesWithTheCSINode(t *testing.T) {
	ix, _ := newTestIndex()
	ix.feedNodes([]*v1.Node{testNode("a")}, []*storagev1.CSINode{testCSINode("a", "s")})
	ix.SetStorageNodes([]StorageNode{{ID: "s", Hostname: "a", State: placement.Online}})
	ix.step()
	var told []placement.StorageState
	ix.Subscribe(func(c Change) {
		for _, n := range c.Nodes {
			told = append(told, n.New.State)
		}
	})
	ix.csiNodeHandler().OnUpdate(testCSINode("a", "s"), testCSINode("a"))
	ix.step()
	ix.csiNodeHandler().OnDelete(testCSINode("a"))
	ix.step()
	ix.csiNodeHandler().OnAdd(testCSINode("a"), false)
	ix.step()
	ix.csiNodeHandler().OnUpdate(testCSINode("a"), testCSINode("a", "s"))
	ix.step()
	want := []placement.StorageState{placement.NoDriver, placement.Online, placement.NoDriver, placement.Online}
	if !slices.Equal(told, want) {
		t.Errorf("subscribers were told %v, want %v", told, want)
	}
}

// A replica counts by the state of its own record, not by that of the node.
func TestReplicaUnderAnOldRecordOfARebuiltNode(t *testing.T) {
	ix, clock := newTestIndex()
	ix.feedNodes([]*v1.Node{testNode("a")}, nil)
	list := func(old placement.StorageState) {
		ix.SetStorageNodes([]StorageNode{{ID: "old", Hostname: "a", State: old}, {ID: "new", Hostname: "a", State: placement.Online}})
		ix.step()
	}
	expect := func(what string, want placement.StorageState) {
		t.Helper()
		node, state := ix.View().Holder(ix.ids.ref("old"))
		if nameOf(node) != "a" || state != want || node.State != placement.Online {
			t.Errorf("%s: the old record is %q in state %v, want a, %v", what, nameOf(node), state, want)
		}
	}
	list(placement.Offline)
	ix.follow("1", false)
	ix.follow("2", false)
	ix.Notice(observe("1", "old"))
	ix.Notice(observe("2", "new"))
	ix.step()
	var told []Change
	ix.Subscribe(func(c Change) { told = append(told, c) })
	expect("offline", placement.Offline)
	list(placement.StorageDown)
	expect("its state changes", placement.StorageDown)
	if len(told) != 1 || !slices.Equal(told[0].Volumes, []string{"1"}) || len(told[0].Nodes) != 0 {
		t.Errorf("subscribers were told %+v, want a change of volume 1 alone", told)
	}
	clock.Step(time.Hour)
	ix.step()
	expect("the list is too old", placement.Online)
}

func TestOnlineRecordWinsOverItsDuplicates(t *testing.T) {
	old := StorageNode{ID: "old", Hostname: "a", State: placement.Offline}
	down := StorageNode{ID: "down", MgmtIP: "10.0.0.1", State: placement.StorageDown}
	now := StorageNode{ID: "now", SchedulerNodeName: "a", State: placement.Online}
	for _, order := range [][]StorageNode{{old, down, now}, {now, down, old}, {down, now, old}} {
		ix, _ := newTestIndex()
		ix.feedNodes([]*v1.Node{testNode("a", internalIP("10.0.0.1"))}, nil)
		ix.SetStorageNodes(order)
		ix.step()
		if state := ix.View().Node("a").State; state != placement.Online {
			t.Errorf("node is %v, want Online", state)
		}
		for _, record := range order {
			if node, state := ix.View().Holder(ix.ids.ref(record.ID)); nameOf(node) != "a" || state != record.State {
				t.Errorf("a replica under id %s is on %q in state %v, want a, %v", record.ID, nameOf(node), state, record.State)
			}
		}
	}
}

// What a volume is attached to is an id, or an address of the storage node.
func TestAddressOfAStorageNodeStandsForIt(t *testing.T) {
	nodes := []*v1.Node{testNode("a"), testNode("b")}
	record := func(id, hostname, mgmtIP, dataIP string) StorageNode {
		return StorageNode{ID: id, Hostname: hostname, MgmtIP: mgmtIP, DataIP: dataIP, State: placement.Online}
	}
	for _, tc := range []struct {
		name    string
		records []StorageNode
		address string
		want    string
	}{
		{"the management address", []StorageNode{record("s1", "a", "10.0.0.1", "10.1.0.1"), record("s2", "b", "10.0.0.2", "10.1.0.2")}, "10.0.0.2", "b"},
		{"the data address", []StorageNode{record("s1", "a", "10.0.0.1", "10.1.0.1"), record("s2", "b", "10.0.0.2", "10.1.0.2")}, "10.1.0.2", "b"},
		{"an address that two nodes have is nobody's", []StorageNode{record("s1", "a", "10.0.0.1", ""), record("s2", "b", "10.0.0.2", "10.0.0.1")}, "10.0.0.1", ""},
		{"nor is one that a node shares with a record of no node", []StorageNode{record("s1", "a", "10.0.0.1", ""), record("s2", "gone", "10.0.0.1", "")}, "10.0.0.1", ""},
		{"an address that two records of one node have is its address", []StorageNode{record("s1", "a", "10.0.0.1", ""), record("s2", "A", "", "10.0.0.1")}, "10.0.0.1", "a"},
		{"an id that looks like an address is an id", []StorageNode{record("10.0.0.1", "a", "", ""), record("s2", "b", "10.0.0.1", "")}, "10.0.0.1", "a"},
		{"the address of every machine is nobody's", []StorageNode{record("s1", "a", "127.0.0.1", "0.0.0.0")}, "127.0.0.1", ""},
		{"an address without a record is nobody's", []StorageNode{record("s1", "a", "10.0.0.1", "")}, "10.0.0.9", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ix, _ := newTestIndex()
			ix.feedNodes(nodes, nil)
			ix.SetStorageNodes(tc.records)
			ix.step()
			ix.follow("1", false)
			o := observe("1", "s1")
			o.Attached = tc.address
			ix.Notice(o)
			ref, _ := ix.Lookup("1").Volume.Attached()
			if node, _ := ix.View().Holder(ref); nameOf(node) != tc.want {
				t.Errorf("%s is node %q, want %q", tc.address, nameOf(node), tc.want)
			}
		})
	}
}

func TestNodeStateSurvivesBadLists(t *testing.T) {
	down := StorageNode{ID: "s1", Hostname: "a", State: placement.StorageDown}
	other := StorageNode{ID: "s2", Hostname: "b", State: placement.Online}
	tests := []struct {
		name  string
		csi   bool // a CSINode names s1
		lists [][]StorageNode
		want  placement.StorageState
	}{
		{"no answer yet, but the driver is there", true, nil, placement.Online},
		{"no answer yet, and no driver", false, nil, placement.NoDriver},
		{"an empty list from the start says nothing", true, [][]StorageNode{{}}, placement.Online},
		{"an empty list takes nothing away", false, [][]StorageNode{{down, other}, {}}, placement.StorageDown},
		{"a list of nonsense takes nothing away", false, [][]StorageNode{{down}, {{Hostname: "a", State: placement.Online}}}, placement.StorageDown},
		{"a short list keeps a node with the driver as it was", true, [][]StorageNode{{down, other}, {other}, {other}}, placement.StorageDown},
		{"a node that neither storage nor CSINode knows has left", false, [][]StorageNode{{down, other}, {other}}, placement.NoDriver},
		{"a node that was never listed is there by its driver", true, [][]StorageNode{{other}}, placement.Online},
		{"a record without a state is Offline", false, [][]StorageNode{{{ID: "s1", Hostname: "a"}}}, placement.Offline},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ix, _ := newTestIndex()
			nodes := []*v1.Node{testNode("a"), testNode("b")}
			var csiNodes []*storagev1.CSINode
			if test.csi {
				csiNodes = append(csiNodes, testCSINode("a", "s1"))
			}
			ix.feedNodes(nodes, csiNodes)
			ix.step()
			for _, list := range test.lists {
				ix.SetStorageNodes(list)
				ix.step()
			}
			if got := ix.View().Node("a").State; got != test.want {
				t.Errorf("node is %v, want %v", got, test.want)
			}
		})
	}
}

// The last node list decides states: whatever else storage answers says
// nothing about them.
func TestNodeStatesGetOldWithTheNodeList(t *testing.T) {
	const maxStaleness = time.Minute
	list := []StorageNode{
		{ID: "s1", Hostname: "a", State: placement.Offline},
		{ID: "s2", Hostname: "b", State: placement.StorageDown},
		{ID: "s3", Hostname: "elsewhere", State: placement.Offline},
	}
	type states struct{ a, b, elsewhere placement.StorageState }
	asListed := states{placement.Offline, placement.StorageDown, placement.Offline}
	byDriver := states{placement.Online, placement.Online, placement.Online}
	tests := []struct {
		name    string
		happens func(ix *Index, pass func(time.Duration))
		want    states
	}{
		{"a list is believed for as long as MaxStaleness", func(ix *Index, pass func(time.Duration)) {
			ix.SetStorageNodes(list)
			pass(maxStaleness)
		}, asListed},
		{"and no longer", func(ix *Index, pass func(time.Duration)) {
			ix.SetStorageNodes(list)
			pass(maxStaleness + time.Nanosecond)
		}, byDriver},
		{"answers about volumes do not vouch for nodes", func(ix *Index, pass func(time.Duration)) {
			ix.SetStorageNodes(list)
			for range 4 {
				pass(maxStaleness / 3)
				ix.Notice(observe("1", "s1"))
				mustResolve(ix, "1", observe("1", "s1"))
				mustMiss(ix, "2")
			}
			pass(0)
		}, byDriver},
		{"nor does an empty list", func(ix *Index, pass func(time.Duration)) {
			ix.SetStorageNodes(list)
			for range 4 {
				pass(maxStaleness / 3)
				ix.SetStorageNodes(nil)
			}
			pass(0)
		}, byDriver},
		{"nor one of nonsense", func(ix *Index, pass func(time.Duration)) {
			ix.SetStorageNodes(list)
			for range 4 {
				pass(maxStaleness / 3)
				ix.SetStorageNodes([]StorageNode{{Hostname: "a", State: placement.Offline}})
			}
			pass(0)
		}, byDriver},
		{"the same list again does", func(ix *Index, pass func(time.Duration)) {
			ix.SetStorageNodes(list)
			for range 4 {
				pass(maxStaleness / 3)
				ix.SetStorageNodes(list)
			}
			pass(0)
		}, asListed},
		{"and is believed again after an outage", func(ix *Index, pass func(time.Duration)) {
			ix.SetStorageNodes(list)
			pass(time.Hour)
			ix.SetStorageNodes(list)
			pass(0)
		}, asListed},
		{"storage that answers before its nodes are listed again vouches for nothing", func(ix *Index, pass func(time.Duration)) {
			ix.SetStorageNodes(list)
			pass(time.Hour)
			ix.Notice(observe("1", "s1"))
			pass(0)
		}, byDriver},
		{"before the first list the driver decides", func(ix *Index, pass func(time.Duration)) {
			ix.Notice(observe("1", "s1"))
			pass(0)
		}, states{placement.Online, placement.NoDriver, placement.NoDriver}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ix, clock := newTestIndex()
			ix.feedNodes([]*v1.Node{testNode("a"), testNode("b")}, []*storagev1.CSINode{testCSINode("a", "s1")})
			ix.follow("1", false)
			ix.follow("2", false)
			test.happens(ix, func(d time.Duration) {
				clock.Step(d)
				ix.step()
			})
			view := ix.View()
			_, elsewhere := view.Holder(ix.ids.ref("s3"))
			got := states{view.Node("a").State, view.Node("b").State, elsewhere}
			if got != test.want {
				t.Errorf("states are %v, want %v", got, test.want)
			}
		})
	}
}

func TestListWithoutNodesIsNoContact(t *testing.T) {
	ix, _ := newTestIndex()
	for _, list := range [][]StorageNode{nil, {{Hostname: "a"}}} {
		ix.SetStorageNodes(list)
		ix.step()
		if s := Summarize(ix, 0); !s.LastContact.IsZero() || !s.LastNodeList.IsZero() || ix.View().Reached() {
			t.Errorf("after %v: contact %v, node list %v, reached %v", list, s.LastContact, s.LastNodeList, ix.View().Reached())
		}
	}
}

func TestRecordIsForgottenOnceTheDriverLeavesToo(t *testing.T) {
	ix, _ := newTestIndex()
	ix.feedNodes([]*v1.Node{testNode("a"), testNode("b")}, []*storagev1.CSINode{testCSINode("a", "s1")})
	ix.SetStorageNodes([]StorageNode{{ID: "s1", Hostname: "a", State: placement.Online}, {ID: "s2", Hostname: "b", State: placement.Online}})
	ix.SetStorageNodes([]StorageNode{{ID: "s2", Hostname: "b", State: placement.Online}})
	ix.step()
	ix.csiNodeHandler().OnUpdate(testCSINode("a", "s1"), testCSINode("a"))
	ix.step()
	if got := ix.View().Node("a").State; got != placement.NoDriver {
		t.Errorf("node is %v, want NoDriver", got)
	}
}

func TestNodeListedTwiceIsTheBetterOfBoth(t *testing.T) {
	offline := StorageNode{ID: "s", Hostname: "a", State: placement.Offline}
	online := StorageNode{ID: "s", Hostname: "a", State: placement.Online}
	for _, list := range [][]StorageNode{{offline, online}, {online, offline}} {
		ix, _ := newTestIndex()
		ix.feedNodes([]*v1.Node{testNode("a")}, nil)
		ix.SetStorageNodes(slices.Clone(list))
		ix.step()
		if got := ix.View().Node("a").State; got != placement.Online {
			t.Errorf("node is %v, want Online", got)
		}
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add("n1", "h1", "10.0.0.1", "s1", "n1", "H1.example.com", "10.0.0.1", "::ffff:10.0.0.1")
	f.Add(".", "..", "fe80::1%eth0", "", "", ".", "fe80::1%eth0", "256.0.0.1")
	f.Add("10.0.0.1", "10.0.0.1", "", "s1", "10", "10", "0.0.0.0", "127.0.0.1")
	f.Fuzz(func(t *testing.T, node, hostname, ip, id, schedulerName, storageHostname, mgmtIP, dataIP string) {
		if node == "" {
			return // no node is without a name
		}
		ix, _ := newTestIndex()
		other := testNode("other")
		ix.feedNodes([]*v1.Node{testNode(node, internalIP(ip), v1.NodeAddress{Type: v1.NodeHostName, Address: hostname}), other},
			[]*storagev1.CSINode{testCSINode("other", id)})
		record := StorageNode{ID: id, SchedulerNodeName: schedulerName, Hostname: storageHostname,
			MgmtIP: mgmtIP, DataIP: dataIP, State: placement.Offline}
		ix.SetStorageNodes([]StorageNode{record, record})
		ix.step()
		holder, state := ix.View().Holder(ix.ids.ref(id))
		switch {
		case id == "":
			if holder != nil {
				t.Errorf("no storage node is %s", holder.Name)
			}
		case holder == nil || state != placement.Offline:
			t.Errorf("storage node %q is %q in state %v, though a CSINode names it", id, nameOf(holder), state)
		case holder.Name != "other":
			t.Errorf("storage node %q is %s, against the only CSINode that names it", id, holder.Name)
		}
		ix.csiNodeHandler().OnDelete(testCSINode("other", id))
		ix.step()
		if holder, _ = ix.View().Holder(ix.ids.ref(id)); holder != nil && ix.View().Node(holder.Name) != holder {
			t.Errorf("storage node %q is %q, which is not in the view", id, holder.Name)
		}
	})
}

func TestNodeWithVeryManyAddressesCostsNoMoreThanTheFirstOfEachType(t *testing.T) {
	const many = 60_000
	hostname := func(i int) string { return fmt.Sprintf("name-%x", i) }
	ip := func(i int) string { return fmt.Sprintf("fd00::%x:%x", 1+i>>16, i&0xffff) }
	var addresses []v1.NodeAddress
	for i := range many {
		addresses = append(addresses, v1.NodeAddress{Type: v1.NodeHostName, Address: hostname(i)})
	}
	for i := range many {
		addresses = append(addresses, internalIP(ip(i)))
	}
	ix, _ := newTestIndex()
	kube := ix.newKubeNode(testNode("n1", addresses...))
	if len(kube.hostnames) > 1+MaxAddresses || len(kube.internalIPs) > MaxAddresses {
		t.Errorf("%d hostnames and %d addresses are kept, want at most %d of each, and the node's name",
			len(kube.hostnames), len(kube.internalIPs), MaxAddresses)
	}
	tests := []struct {
		name   string
		record StorageNode
		node   string
	}{
		{"the first hostname tells of the node", StorageNode{Hostname: hostname(0)}, "n1"},
		{"so does the last that counts", StorageNode{Hostname: hostname(MaxAddresses - 1)}, "n1"},
		{"a later one does not", StorageNode{Hostname: hostname(MaxAddresses)}, ""},
		{"an InternalIP behind all hostnames does", StorageNode{MgmtIP: ip(0)}, "n1"},
		{"so does the last InternalIP that counts", StorageNode{DataIP: ip(MaxAddresses - 1)}, "n1"},
		{"a later InternalIP does not", StorageNode{DataIP: ip(MaxAddresses)}, ""},
	}
	who := newIdentity(map[string]*kubeNode{"n1": kube}, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := who.nodeOf(&test.record); got != test.node {
				t.Errorf("the storage node is %q, want %q", got, test.node)
			}
		})
	}
}
