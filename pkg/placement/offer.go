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
// one is feasible (section 6). A pod without near volumes is offered the nodes on which
// its new volumes are expected (section 12).
//
// Candidates are the nodes that hold replicas and, when they could be better than what
// is left of those, the nodes in the racks, zones and regions of the holders. Nodes that
// the filter rules turn down and nodes whose storage does not serve are left out, and so
// are neighbours that score no more than any node of the cluster does. Which of many
// nodes in a rack are candidates depends on seed.
//
// Confined pods get no offer; nor do virtual machines in
// migration (S8).
func (p *Plan) Offer(members Topologies, seed uint64) iter.Seq[[]*Node] {
	return func(yield func([]*Node) bool) {
		if p.confined || p.machine == MachineMigrating || len(p.near) == 0 && len(p.expected) == 0 {
			return
		}
		o := offer{plan: p, seen: make(map[*Node]struct{})}
		if len(p.near) == 0 {
			p.likely(seed, func(n *Node) { o.add(n, 1) })
			o.sort()
			for len(o.queue) > 0 {
				if !yield(o.next()) {
					return
				}
			}
			return
		}
		for _, n := range p.holders() {
			o.add(n, 0)
		}
		o.sort()
		// Nearly all pods get a replica node, before any neighbour is thought of.
		for len(o.queue) > 0 && o.queue[0].score > p.bestWithoutReplica() {
			if !yield(o.next()) {
				return
			}
		}
		atLeast := p.bound(&Node{State: Online}) + 1
		o.domains = p.neighbourhoods(atLeast)
		for {
			for len(o.domains) > 0 && (len(o.queue) == 0 || o.domains[0].bound >= o.queue[0].score) {
				o.expand(members, seed, atLeast)
			}
			if len(o.queue) == 0 || !yield(o.next()) {
				return
			}
		}
	}
}

// offer collects the candidates of a pod.
type offer struct {
	plan *Plan
	seen map[*Node]struct{}
	// queue are the candidates, best first.
	queue []candidate
	// domains are those whose nodes are no candidates yet, best first.
	domains []neighbourhood
}

// candidate is a node and its rank.
type candidate struct {
	node            *Node
	score, expected int64
}

// neighbourhood is a topology domain of holders.
type neighbourhood struct {
	domain Domain
	// bound is what no node of it exceeds that holds no replica, and most reach.
	bound int64
	// room is how many of its nodes may become candidates.
	room int
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
	if score, expected := o.plan.rank(n); score >= atLeast {
		o.queue = append(o.queue, candidate{n, score, expected})
	}
	return true
}

// next takes the candidates of the highest rank.
func (o *offer) next() []*Node {
	var group []*Node
	best := o.queue[0]
	for len(o.queue) > 0 && o.queue[0].score == best.score && o.queue[0].expected == best.expected {
		group = append(group, o.queue[0].node)
		o.queue = o.queue[1:]
	}
	return group
}

// sort puts the best candidates first.
func (o *offer) sort() {
	slices.SortStableFunc(o.queue, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.expected, a.expected))
	})
}

// expand makes the nodes of the first domain candidates.
func (o *offer) expand(members Topologies, seed uint64, atLeast int64) {
	d := o.domains[0]
	o.domains = o.domains[1:]
	nodes := members.Members(d.domain)
	for i := 0; i < len(nodes) && d.room > 0; i++ {
		if o.add(nodes[(uint64(i)+seed)%uint64(len(nodes))], atLeast) {
			d.room--
		}
	}
	o.sort()
}

// neighbourhoods are the racks, zones and regions in which a replica of a near volume
// serves, best first, without those that are no better than any place of the cluster.
// Of many on one level they are the first. All nodes of one that hold nothing have the
// same relations, so that one that does not exist tells their score. Whatever lies in
// another comes before it: it scores no less.
func (p *Plan) neighbourhoods(atLeast int64) []neighbourhood {
	var all []neighbourhood
	for _, level := range [...]func(Topology) (Domain, Topology){
		func(t Topology) (Domain, Topology) { return t.Rack, t },
		func(t Topology) (Domain, Topology) { return t.Zone, Topology{Zone: t.Zone, Region: t.Region} },
		func(t Topology) (Domain, Topology) { return t.Region, Topology{Region: t.Region} },
	} {
		begin := len(all)
		p.eachServing(func(holder *Node) bool {
			domain, place := level(holder.Topology)
			if domain != 0 && !slices.ContainsFunc(all[begin:], func(n neighbourhood) bool { return n.domain == domain }) {
				all = append(all, neighbourhood{domain: domain, bound: p.bound(&Node{State: Online, Topology: place})})
			}
			return len(all)-begin < OfferLimit
		})
		for i := begin; i < len(all); i++ {
			all[i].room = max(OfferLimit/(len(all)-begin), 1)
		}
	}
	all = slices.DeleteFunc(all, func(n neighbourhood) bool { return n.bound < atLeast })
	slices.SortStableFunc(all, func(a, b neighbourhood) int { return cmp.Compare(b.bound, a.bound) })
	return all
}

// eachServing calls visit for the nodes of the replicas of near volumes that serve, until
// it returns false.
func (p *Plan) eachServing(visit func(*Node) bool) {
	for _, v := range p.near {
		for _, set := range v.Sets {
			for i := range set {
				if h := &set[i]; h.Node != nil && h.State.Serves() && !visit(h.Node) {
					return
				}
			}
		}
	}
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
// in the rack of a replica of every set, or in the zone where that is as good.
func (p *Plan) bestWithoutReplica() int64 {
	tier := p.tiers.Rack
	var near float64
	for _, v := range p.near {
		if near += float64(v.Weight); v.Spread == SpreadZone {
			tier = p.tiers.Local
		}
	}
	if !p.hasAway {
		return tier
	}
	return int64((MaxScore + near*float64(tier)) / (1 + near))
}
