package fakenodes

import (
	"fmt"
	"net/netip"
)

// MaxNodes is the largest sandbox that Layout lays out. Beyond it the control
// plane on one machine is slower than anybody wants to watch.
const MaxNodes = 1000

// racksPerZone is the same in all zones.
const racksPerZone = 2

// zones are where nodes are put, in equal parts. The first two share a region,
// so that all tiers from rack to remote occur.
var zones = []struct{ region, zone string }{
	{"east", "east-a"},
	{"east", "east-b"},
	{"west", "west-a"},
}

// Node is one Kubernetes node of the sandbox.
type Node struct {
	Name   string
	Region string
	Zone   string
	Rack   string
	// IP is the node's internal address, which its storage node has too.
	IP netip.Addr
	// Storage is whether the storage driver is meant to run on the node.
	Storage bool
	// StorageID is the id of the storage node there; empty if the storage driver
	// does not run on the node.
	StorageID string
}

// Layout spreads n nodes, 1 to MaxNodes, over regions, zones and racks. Names
// count up along racks. The last node of every zone that has at least three is
// left without the storage driver, as clusters have nodes that only compute.
func Layout(n int) ([]Node, error) {
	if n < 1 || n > MaxNodes {
		return nil, fmt.Errorf("a sandbox has 1 to %d nodes, not %d", MaxNodes, n)
	}
	nodes := make([]Node, 0, n)
	for z, place := range zones {
		inZone := share(n, len(zones), z)
		for rack := range racksPerZone {
			for range share(inZone, racksPerZone, rack) {
				number := len(nodes) + 1
				nodes = append(nodes, Node{
					Name:    fmt.Sprintf("node-%d", number),
					Region:  place.region,
					Zone:    place.zone,
					Rack:    fmt.Sprintf("rack-%d", z*racksPerZone+rack+1),
					IP:      netip.AddrFrom4([4]byte{10, 0, byte(number / 250), byte(number%250 + 1)}),
					Storage: true,
				})
			}
		}
		if inZone >= 3 {
			nodes[len(nodes)-1].Storage = false
		}
	}
	return nodes, nil
}

// share is how many of total things the part with this index gets when they are
// dealt out evenly to so many parts, the first parts taking what is left over.
func share(total, parts, index int) int {
	share := total / parts
	if index < total%parts {
		share++
	}
	return share
}
