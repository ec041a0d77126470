package volumes

import (
	"cmp"
	"slices"
	"sync"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// members finds the nodes of a topology domain. Few pods ask, and many views come
// and go unasked, so the first question sorts them.
type members struct {
	once     sync.Once
	byDomain map[placement.Domain][]*placement.Node
}

// Members returns the nodes of a rack, zone or region in the order of their names.
// The slice must not be changed. It implements placement.Topologies.
func (v *View) Members(d placement.Domain) []*placement.Node {
	v.members.once.Do(func() {
		byDomain := map[placement.Domain][]*placement.Node{}
		for _, n := range v.nodes {
			for _, d := range [...]placement.Domain{n.Topology.Rack, n.Topology.Zone, n.Topology.Region} {
				if d != 0 {
					byDomain[d] = append(byDomain[d], n)
				}
			}
		}
		for _, nodes := range byDomain {
			slices.SortFunc(nodes, func(a, b *placement.Node) int { return cmp.Compare(a.Name, b.Name) })
		}
		v.members.byDomain = byDomain
	})
	return v.members.byDomain[d]
}
