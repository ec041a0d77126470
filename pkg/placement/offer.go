package placement

import (
	"cmp"
	"iter"
	"slices"
)

// OfferLimit bounds the nodes of an offer on each level: replica nodes, then nodes
// in their racks, in their zones and in their regions.
const OfferLimit = 64

// Topologies knows the nodes of a topology domain, in the order of their names.
type Topologies interface{ Members(Domain) []*Node }

// Offer yields groups of nodes to try before all others, best first: those of one
// group have the same score, and a group is worth trying when no node of an earlier
// one is feasible (section 6).
//
// Candidates are the nodes that hold replicas and, from the point at which they could
// be better than what is left of those, the nodes in the racks, zones and regions of
// the holders. Nodes that the filter rules turn down and nodes whose storage does not
// serve are left out, and so are neighbours that score no more than any node of the
// cluster does. Which of many nodes in a rack are candidates depends on seed.
//
// Strict pods get no offer, they are confined already; nor do virtual machines in
// migration (S8).
func (p *Plan) Offer(racks Topologies, seed uint64) iter.Seq[[]*Node] {
	return func(yield func([]*Node) bool) {
		if p.strict || p.machine == MachineMigrating || len(p.near) == 0 {
			return
		}
		anywhere := p.Score(&Node{State: Online})
		o := offer{plan: p, seen: make(map[*Node]struct{})}
		for _, n := range p.holders() {
			o.add(n, 0)
		}
		expanded := false
		for {
			slices.SortStableFunc(o.queue, func(a, b candidate) int { return cmp.Compare(b.score, a.score) })
			for len(o.queue) > 0 && (expanded || o.queue[0].score > p.bestWithoutReplica()) {
				if !yield(o.next()) {
					return
				}
			}
			if expanded {
				return
			}
			expanded = true
			o.addNeighbours(racks, seed, anywhere+1)
		}
	}
}

// offer collects the candidates of a pod.
type offer struct {
	plan  *Plan
	seen  map[*Node]struct{}
	queue []candidate
}

type candidate struct {
	node  *Node
	score int64
}

// add makes a node a candidate if its score is high enough. It reports whether the
// node is one that could be: not seen before, and feasible for storage.
func (o *offer) add(n *Node, atLeast int64) bool {
	if _, found := o.seen[n]; found {
		return false
	}
	o.seen[n] = struct{}{}
	if !n.State.Serves() || o.plan.Verdict(n) != Feasible {
		return false
	}
	if score := o.plan.Score(n); score >= atLeast {
		o.queue = append(o.queue, candidate{n, score})
	}
	return true
}

// next takes the candidates of the highest score.
func (o *offer) next() []*Node {
	var group []*Node
	score := o.queue[0].score
	for len(o.queue) > 0 && o.queue[0].score == score {
		group = append(group, o.queue[0].node)
		o.queue = o.queue[1:]
	}
	return group
}

// addNeighbours adds nodes in the racks of replicas, then in their zones and regions.
func (o *offer) addNeighbours(racks Topologies, seed uint64, atLeast int64) {
	for _, level := range [...]func(*Topology) Domain{
		func(t *Topology) Domain { return t.Rack },
		func(t *Topology) Domain { return t.Zone },
		func(t *Topology) Domain { return t.Region },
	} {
		domains := o.plan.domains(level)
		for _, d := range domains {
			members := racks.Members(d)
			room := max(OfferLimit/len(domains), 1)
			for i := range members {
				if room == 0 {
					break
				}
				if o.add(members[(uint64(i)+seed)%uint64(len(members))], atLeast) {
					room--
				}
			}
		}
	}
}

// domains are those of one level in which a replica of a near volume serves, of many
// the first.
func (p *Plan) domains(level func(*Topology) Domain) []Domain {
	var domains []Domain
	for _, v := range p.near {
		for _, set := range v.Sets {
			for i := range set {
				h := &set[i]
				if h.Node == nil || !h.State.Serves() {
					continue
				}
				d := level(&h.Node.Topology)
				if d != 0 && !slices.Contains(domains, d) {
					if domains = append(domains, d); len(domains) == OfferLimit {
						return domains
					}
				}
			}
		}
	}
	return domains
}

// holders are the nodes that hold replicas of near volumes: of many those that hold
// the most.
func (p *Plan) holders() []*Node {
	held := map[*Node]float64{}
	var nodes []*Node
	for _, v := range p.near {
		share := float64(v.Weight) / float64(len(v.Sets))
		v.eachHolderNode(func(n *Node) {
			if _, found := held[n]; !found {
				nodes = append(nodes, n)
			}
			held[n] += share
		})
	}
	if len(nodes) > OfferLimit {
		slices.SortStableFunc(nodes, func(a, b *Node) int { return cmp.Compare(held[b], held[a]) })
		nodes = nodes[:OfferLimit]
	}
	return nodes
}

// bestWithoutReplica is a score that no node without any replica exceeds: it stands
// in the rack of a replica of every set.
func (p *Plan) bestWithoutReplica() int64 {
	if !p.hasAway {
		return p.tiers.Rack
	}
	var near float64
	for _, v := range p.near {
		near += float64(v.Weight)
	}
	return int64((MaxScore + near*float64(p.tiers.Rack)) / (1 + near))
}
