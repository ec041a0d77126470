package openstoragesim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/libopenstorage/openstorage/api"
)

// LabelPool is the label and topology key of a single pool.
const LabelPool = "portworx.io/pool"

// slot is a pool in which a replica may lie.
type slot struct {
	node   *node
	pool   *Pool
	labels map[string]string
	// wish is the weight of the heaviest preferred rule that a replica here keeps.
	wish uint64
}

// allocator finds slots for the replicas of one new volume by the rules of its placement
// strategy.
type allocator struct {
	demand
	strategy *api.VolumePlacementStrategy
	slots    []slot
	// used is how many sets of the volume have a replica on a node.
	used map[*node]int
}

// newAllocator knows the slots that keep every rule which looks at one replica only. Own
// are the labels of the new volume. It needs c.mu.
func (c *Cluster) newAllocator(d demand, candidates []*node, strategy *api.VolumePlacementStrategy, own map[string]string) (*allocator, error) {
	a := &allocator{demand: d, strategy: strategy, used: map[*node]int{}}
	for _, n := range candidates {
		for i := range n.Pools {
			a.slots = append(a.slots, slot{node: n, pool: &n.Pools[i], labels: n.poolLabels(&n.Pools[i])})
		}
	}
	if len(a.slots) == 0 {
		return nil, c.exhausted(d, 0)
	}
	for i, rule := range strategy.GetReplicaAffinity() {
		keeps := func(s *slot) bool {
			return matchAll(rule.GetMatchExpressions(), s.labels) && a.inDomain(s, rule.GetTopologyKey())
		}
		if err := a.apply(ruleName("replicaAffinity", i), rule.GetEnforcement(), rule.GetWeight(), a.all(rule), keeps); err != nil {
			return nil, err
		}
	}
	for i, rule := range strategy.GetReplicaAntiAffinity() {
		keeps := func(s *slot) bool {
			if rule.GetTopologyKey() != "" {
				return len(rule.GetMatchExpressions()) > 0 || a.inDomain(s, rule.GetTopologyKey())
			}
			return !matchAll(rule.GetMatchExpressions(), s.labels)
		}
		if err := a.apply(ruleName("replicaAntiAffinity", i), rule.GetEnforcement(), rule.GetWeight(), a.all(rule), keeps); err != nil {
			return nil, err
		}
	}
	for i, rule := range strategy.GetVolumeAffinity() {
		taken, found := c.domainsOf(rule)
		if !found {
			if rule.GetEnforcement() == api.EnforcementType_required && !matchAll(rule.GetMatchExpressions(), own) {
				return nil, fmt.Errorf("%s is required and no volume matches it: %w", ruleName("volumeAffinity", i), ErrExhausted)
			}
			continue
		}
		if err := a.apply(ruleName("volumeAffinity", i), rule.GetEnforcement(), rule.GetWeight(), true,
			func(s *slot) bool { return taken[s.domain(rule.GetTopologyKey())] }); err != nil {
			return nil, err
		}
	}
	for i, rule := range strategy.GetVolumeAntiAffinity() {
		taken, _ := c.domainsOf(rule)
		if err := a.apply(ruleName("volumeAntiAffinity", i), rule.GetEnforcement(), rule.GetWeight(), true,
			func(s *slot) bool { return !taken[s.domain(rule.GetTopologyKey())] }); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// apply takes the slots away that a required rule about every replica forbids, and notes
// which keep a preferred one.
func (a *allocator) apply(name string, enforcement api.EnforcementType, weight int64, all bool, keeps func(*slot) bool) error {
	if enforcement == api.EnforcementType_preferred {
		for i := range a.slots {
			if keeps(&a.slots[i]) {
				a.slots[i].wish = max(a.slots[i].wish, uint64(max(weight, 1)))
			}
		}
		return nil
	}
	if !all {
		return nil
	}
	a.slots = slices.DeleteFunc(a.slots, func(s slot) bool { return !keeps(&s) })
	nodes := map[*node]struct{}{}
	for i := range a.slots {
		nodes[a.slots[i].node] = struct{}{}
	}
	if len(nodes) < a.replicas {
		return fmt.Errorf("%s is required and leaves %d node(s) for %d replicas: %w", name, len(nodes), a.replicas, ErrExhausted)
	}
	return nil
}

// all reports whether a rule is about every replica of a set.
func (a *allocator) all(rule *api.ReplicaPlacementSpec) bool {
	return rule.GetAffectedReplicas() == 0 || int(rule.GetAffectedReplicas()) >= a.replicas
}

// inDomain reports whether the slot has a place in the topology; every slot has one in none.
func (a *allocator) inDomain(s *slot, key string) bool {
	_, found := s.labels[key]
	return key == "" || found
}

// set finds the replicas of one set, the best in the order of wishes, room and balance that
// keep the required rules; false if there are none.
func (a *allocator) set() (members []slot, found bool) {
	order := make([]*slot, len(a.slots))
	for i := range a.slots {
		order[i] = &a.slots[i]
	}
	slices.SortStableFunc(order, func(x, y *slot) int {
		return cmp.Or(
			-cmp.Compare(x.wish, y.wish),
			compareBool(x.pool.hasRoom(a.size), y.pool.hasRoom(a.size)),
			cmp.Compare(a.used[x.node], a.used[y.node]),
			cmp.Compare(x.node.replicas, y.node.replicas),
		)
	})
	// The node that the pod has got holds the first replica, if the rules let it.
	slices.SortStableFunc(order, func(x, y *slot) int { return compareBool(a.isSelected(x.node), a.isSelected(y.node)) })
	if found = a.search(order, &members); found {
		for i := range members {
			a.used[members[i].node]++
		}
	}
	return members, found
}

func (d *demand) isSelected(n *node) bool {
	return d.selected != "" && n.SchedulerNodeName == d.selected
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

// search adds a replica after the other and goes back where rules are broken. Zones that
// have none yet are tried first, as long as no rule says otherwise.
func (a *allocator) search(order []*slot, members *[]slot) bool {
	if len(*members) == a.replicas {
		return a.complete(*members)
	}
	next := order
	if len(*members) > 0 {
		next = slices.Clone(order)
		slices.SortStableFunc(next, func(x, y *slot) int {
			return cmp.Or(-cmp.Compare(x.wish, y.wish), compareBool(!sharesZone(x.node, *members), !sharesZone(y.node, *members)))
		})
	}
	for _, s := range next {
		if slices.ContainsFunc(*members, func(m slot) bool { return m.node == s.node }) {
			continue
		}
		*members = append(*members, *s)
		if a.promising(*members) && a.search(order, members) {
			return true
		}
		*members = (*members)[:len(*members)-1]
	}
	return false
}

func sharesZone(n *node, members []slot) bool {
	return slices.ContainsFunc(members, func(m slot) bool { return m.node.zone == n.zone })
}

// promising reports whether rules about every replica are kept so far.
func (a *allocator) promising(members []slot) bool {
	last := members[len(members)-1]
	for _, rule := range a.strategy.GetReplicaAffinity() {
		if key := rule.GetTopologyKey(); required(rule) && a.all(rule) && key != "" && last.labels[key] != members[0].labels[key] {
			return false
		}
	}
	for _, rule := range a.strategy.GetReplicaAntiAffinity() {
		if required(rule) && a.all(rule) && rule.GetTopologyKey() != "" && a.distinct(rule, members) < a.counted(rule, members) {
			return false
		}
	}
	return true
}

func required(rule *api.ReplicaPlacementSpec) bool {
	return rule.GetEnforcement() == api.EnforcementType_required
}

// complete reports whether rules about some replicas are kept by a whole set.
func (a *allocator) complete(members []slot) bool {
	for _, rule := range a.strategy.GetReplicaAffinity() {
		if !required(rule) || a.all(rule) {
			continue
		}
		domains := map[string]int{}
		for i := range members {
			if m := &members[i]; matchAll(rule.GetMatchExpressions(), m.labels) && a.inDomain(m, rule.GetTopologyKey()) {
				domains[m.labels[rule.GetTopologyKey()]]++
			}
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(domains)), func(count int) bool { return count >= int(rule.GetAffectedReplicas()) }) {
			return false
		}
	}
	for _, rule := range a.strategy.GetReplicaAntiAffinity() {
		if !required(rule) || a.all(rule) {
			continue
		}
		affected := int(rule.GetAffectedReplicas())
		if rule.GetTopologyKey() != "" {
			if a.distinct(rule, members) < min(affected, a.counted(rule, members)) {
				return false
			}
			continue
		}
		free := 0
		for i := range members {
			if !matchAll(rule.GetMatchExpressions(), members[i].labels) {
				free++
			}
		}
		if free < affected {
			return false
		}
	}
	return true
}

// counted is how many members a rule that spreads replicas is about, and distinct in how
// many domains they are.
func (a *allocator) counted(rule *api.ReplicaPlacementSpec, members []slot) (count int) {
	for i := range members {
		if matchAll(rule.GetMatchExpressions(), members[i].labels) {
			count++
		}
	}
	return count
}

func (a *allocator) distinct(rule *api.ReplicaPlacementSpec, members []slot) int {
	domains := map[string]struct{}{}
	for i := range members {
		if value, found := members[i].labels[rule.GetTopologyKey()]; found && matchAll(rule.GetMatchExpressions(), members[i].labels) {
			domains[value] = struct{}{}
		}
	}
	return len(domains)
}

// domain is that of a slot for a rule about other volumes, which is the node where the rule
// names none. A place that the slot does not have is no volume's.
func (s *slot) domain(key string) string {
	if key == "" {
		return s.node.ID
	}
	if value, found := s.labels[key]; found {
		return value
	}
	return "\x00" + s.pool.UUID
}

// domainsOf are the domains of the volumes that a rule speaks of. It needs c.mu.
func (c *Cluster) domainsOf(rule *api.VolumePlacementSpec) (domains map[string]bool, found bool) {
	domains = map[string]bool{}
	for _, r := range c.volumes {
		if !matchAll(rule.GetMatchExpressions(), r.volume.GetLocator().GetVolumeLabels()) {
			continue
		}
		for _, set := range r.volume.GetReplicaSets() {
			for i, id := range set.GetNodes() {
				n, known := c.nodesByID[id]
				if !known {
					continue
				}
				for k := range n.Pools {
					if p := &n.Pools[k]; p.UUID == poolOf(set, i) {
						domains[(&slot{node: n, pool: p, labels: n.poolLabels(p)}).domain(rule.GetTopologyKey())] = true
						found = true
					}
				}
			}
		}
	}
	return domains, found
}

// poolLabels are all labels by which rules see a pool.
func (n *Node) poolLabels(p *Pool) map[string]string {
	labels := n.placeLabels()
	maps.Copy(labels, n.Labels)
	maps.Copy(labels, p.Labels)
	labels[LabelPool] = p.UUID
	return labels
}

func ruleName(list string, i int) string { return fmt.Sprintf("rule %s[%d]", list, i) }

// matchAll reports whether labels meet all conditions.
func matchAll(conditions []*api.LabelSelectorRequirement, labels map[string]string) bool {
	return !slices.ContainsFunc(conditions, func(c *api.LabelSelectorRequirement) bool { return !matchOne(c, labels) })
}

func matchOne(c *api.LabelSelectorRequirement, labels map[string]string) bool {
	value, found := labels[c.GetKey()]
	switch c.GetOperator() {
	case api.LabelSelectorRequirement_In:
		return found && slices.Contains(c.GetValues(), value)
	case api.LabelSelectorRequirement_NotIn:
		return !slices.Contains(c.GetValues(), value) || !found
	case api.LabelSelectorRequirement_Exists:
		return found
	case api.LabelSelectorRequirement_DoesNotExist:
		return !found
	case api.LabelSelectorRequirement_Gt, api.LabelSelectorRequirement_Lt:
		has, err := strconv.Atoi(value)
		limit, _ := strconv.Atoi(c.GetValues()[0]) // checkStrategy has seen it
		if err != nil {
			return false
		}
		return c.GetOperator() == api.LabelSelectorRequirement_Gt && has > limit || c.GetOperator() == api.LabelSelectorRequirement_Lt && has < limit
	}
	return false
}

// checkStrategy refuses rules that cannot be understood.
func checkStrategy(s *api.VolumePlacementStrategy) error {
	for list, rules := range map[string][]*api.ReplicaPlacementSpec{"replicaAffinity": s.GetReplicaAffinity(), "replicaAntiAffinity": s.GetReplicaAntiAffinity()} {
		for i, rule := range rules {
			if len(rule.GetMatchExpressions()) == 0 && rule.GetTopologyKey() == "" {
				return fmt.Errorf("%s has neither matchExpressions nor topologyKey: %w", ruleName(list, i), ErrInvalid)
			}
			if err := checkConditions(ruleName(list, i), rule.GetMatchExpressions()); err != nil {
				return err
			}
		}
	}
	for list, rules := range map[string][]*api.VolumePlacementSpec{"volumeAffinity": s.GetVolumeAffinity(), "volumeAntiAffinity": s.GetVolumeAntiAffinity()} {
		for i, rule := range rules {
			if len(rule.GetMatchExpressions()) == 0 {
				return fmt.Errorf("%s has no matchExpressions: %w", ruleName(list, i), ErrInvalid)
			}
			if err := checkConditions(ruleName(list, i), rule.GetMatchExpressions()); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkConditions(rule string, conditions []*api.LabelSelectorRequirement) error {
	for _, c := range conditions {
		values := len(c.GetValues())
		switch c.GetOperator() {
		case api.LabelSelectorRequirement_In, api.LabelSelectorRequirement_NotIn:
			if values > 0 {
				continue
			}
		case api.LabelSelectorRequirement_Exists, api.LabelSelectorRequirement_DoesNotExist:
			if values == 0 {
				continue
			}
		case api.LabelSelectorRequirement_Gt, api.LabelSelectorRequirement_Lt:
			if values == 1 {
				if _, err := strconv.Atoi(c.GetValues()[0]); err == nil {
					continue
				}
			}
		}
		return fmt.Errorf("%s: operator %v does not go with values %q: %w", rule, c.GetOperator(), c.GetValues(), ErrInvalid)
	}
	return nil
}
