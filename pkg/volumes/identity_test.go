package volumes

import (
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

const testDriver = "pxd.portworx.com"

// newTestIndex returns an index whose time stands still, and its clock.
func newTestIndex() (*Index, *clocktesting.FakeClock) {
	clock := clocktesting.NewFakeClock(time.Unix(1700000000, 0))
	return NewIndex(Options{
		Drivers: []string{testDriver, InTreeDriver}, Clock: clock, MaxStaleness: time.Minute,
		TopologyKeys: TopologyKeys{Region: []string{"region"}, Zone: []string{"zone", "old-zone"}, Rack: []string{"rack"}},
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
			if node, state := ix.View().Holder(ix.ids.ref(record.ID)); nameOf(node) != "a" || state != placement.Online {
				t.Errorf("a replica under id %s is on %q in state %v, want a, Online", record.ID, nameOf(node), state)
			}
		}
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
		case nameOf(holder) != "other" || state != placement.Offline:
			t.Errorf("storage node %q is %q in state %v, against its CSINode", id, nameOf(holder), state)
		}
		ix.csiNodeHandler().OnDelete(testCSINode("other", id))
		ix.step()
		if holder, _ = ix.View().Holder(ix.ids.ref(id)); holder != nil && ix.View().Node(holder.Name) != holder {
			t.Errorf("storage node %q is %q, which is not in the view", id, holder.Name)
		}
	})
}
