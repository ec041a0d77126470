package volumes

import (
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// TestNodesHaveTheDisksOfTheirRecords: what decides where new volumes go is part of the
// view, and what is told again is no change.
func TestNodesHaveTheDisksOfTheirRecords(t *testing.T) {
	ix, _ := newTestIndex()
	node := testNode("a")
	node.Labels = map[string]string{"zone": "z1", "disk": "ssd"}
	ix.nodeHandler().OnAdd(node, true)
	ix.nodeHandler().OnAdd(testNode("b"), true)
	pools := func(free int64) *placement.Disks {
		return &placement.Disks{ID: "s1", Labels: placement.LabelsOf(map[string]string{"px": "1"}), Pools: []placement.Pool{{UUID: "p", Free: free}}}
	}
	list := func(a *placement.Disks) {
		ix.SetStorageNodes([]StorageNode{
			{ID: "s1", Hostname: "a", State: placement.Online, Disks: a}, {ID: "old", Hostname: "a", State: placement.Offline, Disks: &placement.Disks{ID: "old"}},
			{ID: "s2", Hostname: "b", State: placement.Online, Disks: &placement.Disks{ID: "s2"}},
		})
		ix.step()
	}
	list(pools(8))
	first := ix.View().Node("a")
	if first.Site.Zone != "z1" || first.Disks == nil || first.Disks.ID != "s1" {
		t.Fatalf("node a is %+v with %+v and %+v", first, first.Site, first.Disks)
	}
	if d := ix.View().Node("b").Disks; d == nil || len(d.Pools) > 0 {
		t.Errorf("storageless node b has %+v", d)
	}
	generation := ix.View().Generation()
	list(pools(8))
	ix.nodeHandler().OnUpdate(node, node.DeepCopy())
	ix.step()
	if ix.View().Generation() != generation {
		t.Error("what storage and Kubernetes have said before makes a new view")
	}
	list(pools(7))
	if ix.View().Node("a") == first {
		t.Error("less room is no change")
	}
	node = node.DeepCopy()
	node.Labels["disk"] = "hdd"
	ix.nodeHandler().OnUpdate(node, node)
	ix.step()
	if value, _ := ix.View().Node("a").Site.Labels.Get("disk"); value != "hdd" {
		t.Errorf("the label is %q", value)
	}
	list(&placement.Disks{ID: "s1"})
	if d := ix.View().Node("b").Disks; d != nil {
		t.Errorf("storage tells of no pool at all, and node b has %+v", d)
	}
}
