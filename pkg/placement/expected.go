package placement

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"time"
)

// Expected is a volume that does not exist yet, with what can be told of where its
// replicas will lie (section 12).
type Expected struct {
	// Name is what messages call it: namespace/claim.
	Name string
	Policy
	// Size is how many bytes the claim asks for.
	Size int64
	// Source is the volume that the new one is a clone or a restore of, nil if none is
	// known. It lies where its source does, whatever its rules say.
	Source *Volume
	// Rules are those of strategy and class; nil if they cannot be told, so that nothing
	// is expected.
	Rules *StrategyRules
	// Candidates are the nodes by the rules, in the view of the pod; nil if only verdicts
	// are asked for.
	Candidates *Candidates
	// Peers are the volumes that rules about other volumes speak of.
	Peers []Peers
	// UnknownSince is when the source was first heard of, if storage has told nothing of it
	// since; else zero.
	UnknownSince time.Time
}

// Peers are the volumes that one rule about other volumes matches. A rule that matches
// none has no say.
type Peers struct {
	Rule *StrategyRule
	// Anti rules keep away from the volumes.
	Anti bool
	// Nodes hold a replica of one of them.
	Nodes []*Node
}

// keeps reports whether a replica on the node would keep the rule.
func (p *Peers) keeps(n *Node) bool {
	return p.near(n) != p.Anti
}

func (p *Peers) near(n *Node) bool {
	switch key := p.Rule.TopologyKey; key {
	case "":
		return slices.Contains(p.Nodes, n)
	case PoolKey:
		// Which of its pools a replica lies in is not known.
		another := p.Anti && n.Disks != nil && len(n.Disks.Pools) > 1
		return slices.Contains(p.Nodes, n) && !another
	default:
		value, found := n.label(key)
		return found && slices.ContainsFunc(p.Nodes, func(peer *Node) bool {
			other, has := peer.label(key)
			return has && other == value
		})
	}
}

func (n *Node) label(key string) (string, bool) { return noPool.label(n, key) }

// Outlook is what may be expected of a node for a new volume.
type Outlook uint8

const (
	// Excluded nodes get no replica as long as a required rule says so.
	Excluded Outlook = iota
	// Unlikely nodes have no storage of their own that serves, or another volume keeps
	// the new one away.
	Unlikely
	// Full nodes have no pool with room for the volume, as far as is known.
	Full
	// Possible nodes may get a replica.
	Possible
	// Preferred nodes are those that wishes speak for, or that hold the source.
	Preferred
)

// String returns the word that messages use.
func (o Outlook) String() string {
	return [...]string{"excluded", "unlikely", "full", "possible", "preferred"}[o]
}

// Outlook tells what may be expected of a node, and how much wishes speak for it, from 0
// to 1. Booked are the bytes on the node that other new volumes will take.
func (e *Expected) Outlook(n *Node, booked int64) (Outlook, float64) {
	if n == nil {
		return Unlikely, 0
	}
	if e.Source != nil {
		if e.Source.servedBy(n) {
			return Preferred, 1
		}
		return Unlikely, 0
	}
	if e.Rules.Excludes(n) {
		return Excluded, 0
	}
	if !n.takesReplicas() {
		return Unlikely, 0
	}
	pull := e.Rules.pull(n)
	for i := range e.Peers {
		p := &e.Peers[i]
		switch kept := p.keeps(n); {
		case kept && p.Rule.Preferred:
			pull = max(pull, p.Rule.Weight)
		case !kept && !p.Rule.Preferred:
			return Unlikely, 0
		}
	}
	heaviest := e.Rules.heaviest()
	if !n.hasRoom(AddBytes(e.Size, booked)) {
		return Full, 0
	}
	switch {
	case heaviest == 0:
		return Possible, 0.5
	case pull == 0:
		return Possible, 0
	default:
		return Preferred, float64(pull) / float64(heaviest)
	}
}

// takesReplicas reports whether new replicas are put on the node today.
func (n *Node) takesReplicas() bool {
	return n.State == Online && (n.Disks == nil || len(n.Disks.Pools) > 0)
}

// AddBytes adds two sizes in bytes, neither of which is negative; math.MaxInt64 is the most
// that comes of it. Whoever makes claims writes sizes as they like.
func AddBytes(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// hasRoom reports whether some pool has as many bytes free, or does not say.
func (n *Node) hasRoom(size int64) bool {
	return n.anyPool(func(p *Pool) bool { return p.Free < 0 || p.Free >= size || n.Disks == nil })
}

// score is S10: between zone and local. What cannot be there is remote.
func (t *Tiers) expected(o Outlook, pull float64) float64 {
	span := float64(t.Local - t.Zone)
	switch o {
	case Full:
		return float64(t.Zone) + span/8
	case Possible, Preferred:
		return float64(t.Zone) + span*(1+2*pull)/4
	default:
		return float64(t.Remote)
	}
}

// expectedScore is S10 for one new volume. A clone is near to what is near to its source.
func (p *Plan) expectedScore(e *Expected, n *Node) float64 {
	outlook, pull := e.Outlook(n, p.booked[n.Name])
	score := p.tiers.expected(outlook, pull)
	if e.Source != nil && outlook != Preferred {
		score = min(p.tierScore(e.Source, n), float64(p.tiers.Zone))
	}
	return halvedIfDown(score, n)
}

// expectations is the mean of S10 over the new volumes, weighted as in S4; negative if
// there are none.
func (p *Plan) expectations(n *Node) float64 {
	var sum, weights float64
	for _, e := range p.expected {
		w := float64(e.Weight)
		sum += w * p.expectedScore(e, n)
		weights += w
	}
	if weights == 0 {
		return -1
	}
	return sum / weights
}

const (
	// MaxExpected is how many new volumes of a pod count: each costs work on every node.
	MaxExpected = 64
	// candidatesKept bounds the nodes of one Candidates, and with them its memory.
	candidatesKept = 1024
)

// Candidates are the nodes of one view on which rules let replicas lie, best first. They
// depend on nothing but rules and nodes, so that they are found once for many pods.
type Candidates struct {
	groups [][]*Node
	// even says that the rules tell no two nodes with the driver apart, and room is how
	// many bytes are free on each of them at least.
	even bool
	room int64
}

// NewCandidates looks at all nodes. Of a great many that are equally good, some are kept,
// evenly spread over the names.
func NewCandidates(r *StrategyRules, nodes iter.Seq[*Node]) *Candidates {
	type graded struct {
		node *Node
		pull uint64
	}
	c := &Candidates{room: -1}
	var list []graded
	apart := false
	for n := range nodes {
		switch {
		case !n.State.Serves():
		case !n.takesReplicas() || r.Excludes(n):
			apart = true
		default:
			list = append(list, graded{n, r.pull(n)})
			if room := n.room(); room >= 0 && (c.room < 0 || room < c.room) {
				c.room = room
			}
		}
	}
	slices.SortFunc(list, func(a, b graded) int {
		return cmp.Or(cmp.Compare(b.pull, a.pull), cmp.Compare(a.node.Name, b.node.Name))
	})
	kept := 0
	for begin, end := 0, 0; begin < len(list) && kept < candidatesKept; begin = end {
		end = begin + 1
		for end < len(list) && list[end].pull == list[begin].pull {
			end++
		}
		stride := (end-begin-1)/(candidatesKept-kept) + 1
		var group []*Node
		for i := begin; i < end; i += stride {
			group = append(group, list[i].node)
		}
		kept += len(group)
		c.groups = append(c.groups, group)
	}
	c.even = !apart && len(c.groups) <= 1
	return c
}

// room is how many bytes the emptiest pool has free, negative if storage does not say.
func (n *Node) room() int64 {
	most := int64(-1)
	if n.Disks != nil {
		for i := range n.Disks.Pools {
			most = max(most, n.Disks.Pools[i].Free)
		}
	}
	return most
}

// even reports whether all nodes are alike for the new volume.
func (e *Expected) even(booked map[string]int64) bool {
	if e.Source != nil || len(e.Peers) > 0 || !e.Candidates.even {
		return false
	}
	var most int64
	for _, bytes := range booked {
		most = max(most, bytes)
	}
	return e.Candidates.room < 0 || AddBytes(e.Size, most) <= e.Candidates.room
}

// likely visits the nodes where the new volumes may lie, best first: those of sources and
// of volumes that rules speak of, and of each group of candidates as many as an offer
// takes, which ones depending on the seed.
func (p *Plan) likely(seed uint64, visit func(*Node)) {
	for _, e := range p.expected {
		if e.Source != nil {
			e.Source.eachHolderNode(visit)
			continue
		}
		for i := range e.Peers {
			if !e.Peers[i].Anti {
				for _, n := range e.Peers[i].Nodes[:min(len(e.Peers[i].Nodes), OfferLimit)] {
					visit(n)
				}
			}
		}
		for _, group := range e.Candidates.groups[:min(len(e.Candidates.groups), 4)] {
			for i := range min(len(group), OfferLimit) {
				visit(group[(uint64(i)+seed)%uint64(len(group))])
			}
		}
	}
}

// expect collects what is known of new volumes. Those that would be drawn alike are one.
func (p *Plan) expect(pod *Pod) {
	p.booked = pod.Booked
	for i := range pod.Expected {
		e := &pod.Expected[i]
		if e.Kind != Near || e.Rules == nil && e.Source == nil {
			continue
		}
		if e.Source == nil && (pod.Strict || e.Fast) && !p.windows && !slices.Contains(p.required, e.Rules) {
			p.required = append(p.required, e.Rules)
		}
		if p.off || p.machine != NoMachine || e.Source == nil && e.Candidates == nil || e.even(p.booked) {
			continue
		}
		if k := slices.IndexFunc(p.expected, e.alike); k >= 0 {
			merged := *p.expected[k]
			merged.Weight += e.Weight
			merged.Size = AddBytes(merged.Size, e.Size)
			p.expected[k] = &merged
		} else if len(p.expected) < MaxExpected {
			p.expected = append(p.expected, e)
		}
	}
}

// alike reports whether two new volumes differ in size and weight only.
func (e *Expected) alike(o *Expected) bool {
	return e.Source == nil && o.Source == nil && e.Rules == o.Rules && len(e.Peers) == 0 && len(o.Peers) == 0
}

// Expected are the new volumes that have a say in the pod's scores.
func (p *Plan) Expected() []*Expected { return p.expected }
