package fakenodes

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTwelveNodesFillThreeZonesOfTwoRacks(t *testing.T) {
	nodes, err := Layout(12)
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		Name, Region, Zone, Rack string
		Storage                  bool
	}
	var got []row
	for _, n := range nodes {
		got = append(got, row{n.Name, n.Region, n.Zone, n.Rack, n.Storage})
	}
	want := []row{
		{"node-1", "east", "east-a", "rack-1", true},
		{"node-2", "east", "east-a", "rack-1", true},
		{"node-3", "east", "east-a", "rack-2", true},
		{"node-4", "east", "east-a", "rack-2", false},
		{"node-5", "east", "east-b", "rack-3", true},
		{"node-6", "east", "east-b", "rack-3", true},
		{"node-7", "east", "east-b", "rack-4", true},
		{"node-8", "east", "east-b", "rack-4", false},
		{"node-9", "west", "west-a", "rack-5", true},
		{"node-10", "west", "west-a", "rack-5", true},
		{"node-11", "west", "west-a", "rack-6", true},
		{"node-12", "west", "west-a", "rack-6", false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Layout(12) differs (-want +got):\n%s", diff)
	}
}

func TestEverySizeHasThatManyDifferentNodesAndStorageAmongThem(t *testing.T) {
	for n := 1; n <= MaxNodes; n += 1 + n/20 { // all of the small ones, some of the large
		nodes, err := Layout(n)
		if err != nil {
			t.Fatal(err)
		}
		names, addresses, storage := map[string]bool{}, map[netip.Addr]bool{}, 0
		for _, node := range nodes {
			names[node.Name], addresses[node.IP] = true, true
			if node.Storage {
				storage++
			}
		}
		if len(nodes) != n || len(names) != n || len(addresses) != n || storage < (n+1)/2 {
			t.Errorf("Layout(%d): %d nodes, %d names, %d addresses, %d with storage",
				n, len(nodes), len(names), len(addresses), storage)
		}
	}
}

func TestSizesThatMakeNoSenseAreRefused(t *testing.T) {
	for _, n := range []int{-1, 0, MaxNodes + 1} {
		if _, err := Layout(n); err == nil {
			t.Errorf("Layout(%d) succeeded", n)
		}
	}
}
