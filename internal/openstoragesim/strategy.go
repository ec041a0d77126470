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

// form is how a rule counts the replicas of a set.
type form int

const (
	// each: so many replicas lie where the rule is met.
	each form = iota
	// together: and these in one domain.
	together
	// apart: of so many replicas, those where the rule is met lie in different domains.
	apart
)

// rule is a rule of a strategy, as the allocator weighs it.
type rule struct {
	name     string
	required bool
	form     form
	weight   int64
	// affected is how many replicas of a set the rule is about.
	affected int
	// topology is the key of its domains.
	topology string
	meets    func(*slot) bool
	// met has for each slot whether it meets the rule, and in which domain.
	met []place
}

type place struct {
	met bool
	// domain is empty where the slot is in none.
	domain string
	// lone is whether the domain has one node only. Such domains are alike, because
	// replicas are on distinct nodes anyway.
	lone bool
}

// rulesOf reads the strategy of a volume with these labels. It needs c.mu.
func (c *Cluster) rulesOf(strategy *api.VolumePlacementStrategy, d demand, own map[string]string) ([]*rule, error) {
	var rules []*rule
	for i, r := range strategy.GetReplicaAffinity() {
		rules = append(rules, replicaRule("replicaAffinity", i, r, d, together,
			func(s *slot) bool { return matchAll(r.GetMatchExpressions(), s.labels) }))
	}
	for i, r := range strategy.GetReplicaAntiAffinity() {
		// Replicas keep away from what matches; with a topology, from each other there.
		wanted := r.GetTopologyKey() != ""
		rules = append(rules, replicaRule("replicaAntiAffinity", i, r, d, apart,
			func(s *slot) bool { return matchAll(r.GetMatchExpressions(), s.labels) == wanted }))
	}
	for i, r := range strategy.GetVolumeAffinity() {
		taken, found := c.domainsOf(r)
		if !found {
			if r.GetEnforcement() == api.EnforcementType_required && !matchAll(r.GetMatchExpressions(), own) {
				return nil, fmt.Errorf("%s is required and no volume matches it: %w", ruleName("volumeAffinity", i), ErrExhausted)
			}
			continue
		}
		rules = append(rules, volumeRule("volumeAffinity", i, r, d,
			func(s *slot) bool { return taken[s.volumeDomain(r.GetTopologyKey())] }))
	}
	for i, r := range strategy.GetVolumeAntiAffinity() {
		taken, _ := c.domainsOf(r)
		rules = append(rules, volumeRule("volumeAntiAffinity", i, r, d,
			func(s *slot) bool { return !taken[s.volumeDomain(r.GetTopologyKey())] }))
	}
	return rules, nil
}

func replicaRule(list string, i int, r *api.ReplicaPlacementSpec, d demand, inTopology form, meets func(*slot) bool) *rule {
	read := &rule{
		name: ruleName(list, i), required: r.GetEnforcement() == api.EnforcementType_required, weight: max(r.GetWeight(), 1),
		affected: min(cmp.Or(int(r.GetAffectedReplicas()), d.replicas), d.replicas), topology: r.GetTopologyKey(), meets: meets,
	}
	if read.topology != "" {
		read.form = inTopology
	}
	return read
}

func volumeRule(list string, i int, r *api.VolumePlacementSpec, d demand, meets func(*slot) bool) *rule {
	return &rule{
		name: ruleName(list, i), required: r.GetEnforcement() == api.EnforcementType_required, weight: max(r.GetWeight(), 1),
		affected: d.replicas, meets: meets,
	}
}

// domainsOf are the domains of the volumes that a rule speaks of; found is whether there are
// such volumes. Those without replicas are nowhere and do not count. It needs c.mu.
func (c *Cluster) domainsOf(r *api.VolumePlacementSpec) (domains map[string]bool, found bool) {
	domains = map[string]bool{}
	for _, other := range c.volumes {
		if !matchAll(r.GetMatchExpressions(), other.volume.GetLocator().GetVolumeLabels()) {
			continue
		}
		for _, set := range other.volume.GetReplicaSets() {
			for i, id := range set.GetNodes() {
				found = true
				if n, known := c.nodesByID[id]; known {
					s := slot{node: n, pool: &Pool{UUID: poolOf(set, i)}}
					domains[s.volumeDomain(r.GetTopologyKey())] = true
				}
			}
		}
	}
	delete(domains, "") // what is in no domain shares none
	return domains, found
}

// nodeLabels are the labels of a node and its place.
func (n *Node) nodeLabels() map[string]string {
	labels := n.placeLabels()
	maps.Copy(labels, n.Labels)
	return labels
}

// poolLabels are all labels by which rules see a pool.
func (n *Node) poolLabels(p *Pool) map[string]string {
	labels := n.nodeLabels()
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
	return cmp.Or(
		checkReplicaRules("replicaAffinity", s.GetReplicaAffinity()),
		checkReplicaRules("replicaAntiAffinity", s.GetReplicaAntiAffinity()),
		checkVolumeRules("volumeAffinity", s.GetVolumeAffinity()),
		checkVolumeRules("volumeAntiAffinity", s.GetVolumeAntiAffinity()),
	)
}

func checkReplicaRules(list string, rules []*api.ReplicaPlacementSpec) error {
	for i, r := range rules {
		name := ruleName(list, i)
		if len(r.GetMatchExpressions()) == 0 && r.GetTopologyKey() == "" {
			return fmt.Errorf("%s has neither matchExpressions nor topologyKey: %w", name, ErrInvalid)
		}
		if r.GetAffectedReplicas() < 0 {
			return fmt.Errorf("%s is about %d replicas: %w", name, r.GetAffectedReplicas(), ErrInvalid)
		}
		if err := checkRule(name, r.GetEnforcement(), r.GetMatchExpressions()); err != nil {
			return err
		}
	}
	return nil
}

func checkVolumeRules(list string, rules []*api.VolumePlacementSpec) error {
	for i, r := range rules {
		name := ruleName(list, i)
		if len(r.GetMatchExpressions()) == 0 {
			return fmt.Errorf("%s has no matchExpressions: %w", name, ErrInvalid)
		}
		if err := checkRule(name, r.GetEnforcement(), r.GetMatchExpressions()); err != nil {
			return err
		}
	}
	return nil
}

func checkRule(rule string, enforcement api.EnforcementType, conditions []*api.LabelSelectorRequirement) error {
	if _, known := api.EnforcementType_name[int32(enforcement)]; !known {
		return fmt.Errorf("%s has the unknown enforcement %v: %w", rule, enforcement, ErrInvalid)
	}
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
