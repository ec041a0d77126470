package openstoragesim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/libopenstorage/openstorage/api"
)

// slot is a pool in which a replica may lie.
type slot struct {
	index  int // in allocator.slots, by which rules know it
	node   *node
	pool   *Pool
	labels map[string]string
	// wish is the weight of the heaviest preferred rule about every replica that one here
	// keeps.
	wish int64
}

// domain is the place of a slot in a topology, empty if it has none: topologies are made of
// labels of nodes, but for that of pools.
func (s *slot) domain(topology string) string {
	if topology == LabelPool {
		return s.pool.UUID
	}
	if value, found := s.node.Labels[topology]; found {
		return value
	}
	return s.node.placeLabels()[topology]
}

// volumeDomain is that of a rule about other volumes, which is the node where it names none.
func (s *slot) volumeDomain(topology string) string {
	if topology == "" {
		return s.node.ID
	}
	return s.domain(topology)
}

// allocator finds slots for the replicas of one new volume by the rules of its placement
// strategy.
type allocator struct {
	demand
	slots []*slot
	// required must be kept; of preferred, heaviest first, the first that can be is.
	required, preferred []*rule
	// used is how many sets of the volume have a replica on a node.
	used map[*node]int
}

// newAllocator fails if some required rule cannot be kept. Own are the labels of the new
// volume. It needs c.mu.
func (c *Cluster) newAllocator(d demand, candidates []*node, strategy *api.VolumePlacementStrategy, own map[string]string) (*allocator, error) {
	rules, err := c.rulesOf(strategy, d, own)
	if err != nil {
		return nil, err
	}
	a := &allocator{demand: d, used: map[*node]int{}}
	for _, n := range candidates {
		for i := range n.Pools {
			a.slots = append(a.slots, &slot{index: len(a.slots), node: n, pool: &n.Pools[i], labels: n.poolLabels(&n.Pools[i])})
		}
	}
	var short []string
	for _, r := range rules {
		r.visit(a.slots)
		for _, s := range a.slots {
			if r.met[s.index].met && !r.required && r.form == each && r.affected == d.replicas {
				s.wish = max(s.wish, r.weight)
			}
		}
		leaves := a.leaves(r)
		switch {
		case r.required && leaves < r.affected:
			short = append(short, fmt.Sprintf("%s is required and %s for %s", r.name, r.leaving(leaves), r.about(d.replicas)))
		case r.required:
			a.required = append(a.required, r)
		case leaves >= r.affected:
			a.preferred = append(a.preferred, r)
		}
	}
	if len(short) > 0 {
		return nil, fmt.Errorf("%s: %w", strings.Join(short, ", "), ErrExhausted)
	}
	slices.SortStableFunc(a.preferred, func(x, y *rule) int { return -cmp.Compare(x.weight, y.weight) })
	return a, nil
}

// visit notes what each slot is to the rule.
func (r *rule) visit(slots []*slot) {
	r.met = make([]place, len(slots))
	on := map[string]*node{} // domain -> its node, nil if it has several
	for i, s := range slots {
		if !r.meets(s) {
			continue
		}
		domain := s.domain(r.topology)
		r.met[i] = place{met: true, domain: domain}
		if n, seen := on[domain]; !seen {
			on[domain] = s.node
		} else if n != s.node {
			on[domain] = nil
		}
	}
	for i := range r.met {
		domain := r.met[i].domain
		r.met[i].lone = domain != "" && on[domain] != nil
	}
}

// leaves is how many replicas of a set a rule has nodes for, by itself.
func (a *allocator) leaves(r *rule) int {
	free, in := map[*node]struct{}{}, map[string]map[*node]struct{}{}
	for _, s := range a.slots {
		at := r.met[s.index]
		switch {
		case !at.met:
			free[s.node] = struct{}{}
		case at.domain == "" && r.form != each:
		case in[at.domain] == nil:
			in[at.domain] = map[*node]struct{}{s.node: {}}
		default:
			in[at.domain][s.node] = struct{}{}
		}
	}
	if r.form != apart {
		most := 0
		for _, nodes := range in {
			most = max(most, len(nodes))
		}
		return most
	}
	for _, nodes := range in {
		maps.DeleteFunc(nodes, func(n *node, _ struct{}) bool { _, is := free[n]; return is })
	}
	maps.DeleteFunc(in, func(_ string, nodes map[*node]struct{}) bool { return len(nodes) == 0 })
	return len(free) + len(in)
}

// leaving says how many nodes are left.
func (r *rule) leaving(nodes int) string {
	text := fmt.Sprintf("leaves %d node(s)", nodes)
	switch r.form {
	case together:
		text += " in one " + r.topology
	case apart:
		text += " apart by " + r.topology
	}
	return text
}

// about says what they are left for.
func (r *rule) about(replicas int) string {
	if r.affected < replicas {
		return fmt.Sprintf("%d of %d replicas", r.affected, replicas)
	}
	return fmt.Sprintf("%d replicas", replicas)
}

// conflict is the error of rules that can be kept one by one.
func (a *allocator) conflict() error {
	parts := make([]string, len(a.required))
	for i, r := range a.required {
		parts[i] = r.name + " " + r.leaving(a.leaves(r))
	}
	return fmt.Errorf("no %d nodes keep all required rules, which they do one by one (%s): %w", a.replicas, strings.Join(parts, ", "), ErrExhausted)
}

// possible reports whether a set with these members and so many more may keep the rule.
// False is certain; with none left, so is true.
func (r *rule) possible(members []*slot, left int) bool {
	met, distinct, most := 0, 0, 0
	for i, m := range members {
		at := r.met[m.index]
		if !at.met {
			continue
		}
		met++
		if at.domain == "" {
			continue
		}
		same := 1
		for _, other := range members[:i] {
			if r.met[other.index] == at {
				same++
			}
		}
		if same == 1 {
			distinct++
		}
		most = max(most, same)
	}
	switch r.form {
	case together:
		return most+left >= r.affected
	case apart:
		return distinct+len(members)-met+left >= r.affected
	default:
		return met+left >= r.affected
	}
}

// set finds the replicas of one set, nil if none keep the required rules. The node that
// the pod has got holds the first one, if these rules let it; then the heaviest preferred
// rule that can be kept is; then wishes of single replicas, room and balance decide.
func (a *allocator) set() []*slot {
	pool := a.reduced()
	here := slices.DeleteFunc(slices.Clone(pool), func(s *slot) bool { return !a.isSelected(&s.node.Node) })
	for _, wish := range append(slices.Clone(a.preferred), nil) {
		if members := a.search(a.with(wish), nil, here, pool); members != nil {
			return a.chosen(members)
		}
	}
	for _, wish := range append(slices.Clone(a.preferred), nil) {
		if members := a.search(a.with(wish), nil, pool, nil); members != nil {
			return a.chosen(members)
		}
	}
	return nil
}

// with are the required rules and a wish, which may be nil.
func (a *allocator) with(wish *rule) []*rule {
	if wish == nil {
		return a.required
	}
	return append(slices.Clone(a.required), wish)
}

func (a *allocator) chosen(members []*slot) []*slot {
	for _, m := range members {
		a.used[m.node]++
	}
	return members
}

// reduced are slots enough to choose from: of those that no rule, rack or pod tells apart,
// the best on as many nodes as a set has replicas. It keeps the search small.
func (a *allocator) reduced() []*slot {
	rules := slices.Concat(a.required, a.preferred)
	kept := map[string]map[*node]struct{}{}
	all := slices.SortedFunc(slices.Values(a.slots), a.order(nil))
	return slices.DeleteFunc(all, func(s *slot) bool {
		key := fmt.Appendf(nil, "%d %t", s.node.rack, a.isSelected(&s.node.Node))
		for _, r := range rules {
			at := r.met[s.index]
			if at.lone {
				at.domain = ""
			}
			key = fmt.Appendf(key, "\x00%t %t %s", at.met, at.lone, at.domain)
		}
		nodes := kept[string(key)]
		if nodes == nil {
			nodes = map[*node]struct{}{}
			kept[string(key)] = nodes
		}
		if _, twice := nodes[s.node]; twice || len(nodes) == a.replicas {
			return true
		}
		nodes[s.node] = struct{}{}
		return false
	})
}

// search adds one of the next slots to the members, then others of rest, and goes back
// where rules are broken. If rest is nil they are those of next that have not been tried.
func (a *allocator) search(rules []*rule, members, next, rest []*slot) []*slot {
	if len(members) == a.replicas {
		return members
	}
	left := a.replicas - len(members) - 1
	var fitting []*slot
	for _, s := range next {
		extended := append(slices.Clip(members), s)
		if !slices.ContainsFunc(members, func(m *slot) bool { return m.node == s.node }) &&
			!slices.ContainsFunc(rules, func(r *rule) bool { return !r.possible(extended, left) }) {
			fitting = append(fitting, s)
		}
	}
	slices.SortFunc(fitting, a.order(members))
	for i, s := range fitting {
		others := rest
		if others == nil {
			others = fitting[i+1:]
		}
		if found := a.search(rules, append(slices.Clip(members), s), others, nil); found != nil {
			return found
		}
	}
	return nil
}

// order puts the slot first that is the best beside these members of the set.
func (a *allocator) order(members []*slot) func(x, y *slot) int {
	zone, rack := map[int]int{}, map[int]int{}
	for _, m := range members {
		zone[m.node.zone]++
		rack[m.node.rack]++
	}
	return func(x, y *slot) int {
		return cmp.Or(
			-cmp.Compare(x.wish, y.wish),
			compareBool(x.pool.hasRoom(a.size), y.pool.hasRoom(a.size)),
			cmp.Compare(a.used[x.node], a.used[y.node]),
			cmp.Compare(zone[x.node.zone], zone[y.node.zone]),
			cmp.Compare(rack[x.node.rack], rack[y.node.rack]),
			cmp.Compare(x.node.replicas, y.node.replicas),
			cmp.Compare(x.node.poolReplicas[x.pool.UUID], y.node.poolReplicas[y.pool.UUID]),
			cmp.Compare(x.index, y.index),
		)
	}
}

// compareBool puts what is true first.
func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case x:
		return -1
	default:
		return 1
	}
}
