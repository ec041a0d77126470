package openstoragesim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/libopenstorage/openstorage/api"
)

// spot is a pool of a node, as the rules of a strategy speak of it.
type spot struct {
	node   Node
	pool   Pool
	labels map[string]string
}

func (s spot) String() string { return s.node.SchedulerNodeName + "/" + s.pool.UUID }

// domain is the value of a topology key, which belongs to a node; ok is false where the node
// has none.
func (s spot) domain(key string) (value string, ok bool) {
	if key == LabelPool {
		return s.pool.UUID, true
	}
	value, ok = s.node.storageNode().GetNodeLabels()[key]
	return value, ok
}

// naive states the rules word for word, and tries everything.
type naive struct {
	cluster  *Cluster
	strategy *api.VolumePlacementStrategy
	own      map[string]string
	existing []*api.Volume
}

func naiveMatch(expressions []*api.LabelSelectorRequirement, labels map[string]string) bool {
	for _, e := range expressions {
		value, has := labels[e.GetKey()]
		among := has && slices.Contains(e.GetValues(), value)
		number, err := strconv.Atoi(value)
		var kept bool
		switch e.GetOperator().String() {
		case "In":
			kept = among
		case "NotIn":
			kept = !among
		case "Exists":
			kept = has
		case "DoesNotExist":
			kept = !has
		case "Gt", "Lt":
			limit, _ := strconv.Atoi(e.GetValues()[0])
			kept = has && err == nil && (e.GetOperator() == api.LabelSelectorRequirement_Gt && number > limit ||
				e.GetOperator() == api.LabelSelectorRequirement_Lt && number < limit)
		}
		if !kept {
			return false
		}
	}
	return true
}

// someOf reports whether that many of the spots can be chosen so that all holds of them.
func someOf(count int, set []spot, all func([]spot) bool) bool {
	for bits := range 1 << len(set) {
		var chosen []spot
		for i := range set {
			if bits>>i&1 == 1 {
				chosen = append(chosen, set[i])
			}
		}
		if len(chosen) == count && all(chosen) {
			return true
		}
	}
	return false
}

func affected(rule *api.ReplicaPlacementSpec, set []spot) int {
	if rule.GetAffectedReplicas() == 0 {
		return len(set)
	}
	return min(int(rule.GetAffectedReplicas()), len(set))
}

func keepsAffinity(rule *api.ReplicaPlacementSpec, set []spot) bool {
	return someOf(affected(rule, set), set, func(chosen []spot) bool {
		domains := map[string]bool{}
		for _, s := range chosen {
			if !naiveMatch(rule.GetMatchExpressions(), s.labels) {
				return false
			}
			if rule.GetTopologyKey() == "" {
				continue
			}
			domain, ok := s.domain(rule.GetTopologyKey())
			if !ok {
				return false
			}
			domains[domain] = true
		}
		return len(domains) <= 1
	})
}

func keepsAntiAffinity(rule *api.ReplicaPlacementSpec, set []spot) bool {
	return someOf(affected(rule, set), set, func(chosen []spot) bool {
		domains := map[string]bool{}
		for _, s := range chosen {
			matches := naiveMatch(rule.GetMatchExpressions(), s.labels)
			if rule.GetTopologyKey() == "" {
				if matches {
					return false
				}
				continue
			}
			if !matches {
				continue
			}
			domain, ok := s.domain(rule.GetTopologyKey())
			if !ok || domains[domain] {
				return false
			}
			domains[domain] = true
		}
		return true
	})
}

// taken are the domains of volumes that a rule matches.
func (n *naive) taken(rule *api.VolumePlacementSpec) (domains map[string]bool, found bool) {
	domains = map[string]bool{}
	for _, v := range n.existing {
		if !naiveMatch(rule.GetMatchExpressions(), v.GetLocator().GetVolumeLabels()) {
			continue
		}
		found = true
		for _, set := range v.GetReplicaSets() {
			for i, id := range set.GetNodes() {
				node, err := n.cluster.Node(id)
				if err != nil {
					continue
				}
				if domain, ok := volumeDomain(spot{node: node, pool: Pool{UUID: set.GetPoolUuids()[i]}}, rule); ok {
					domains[domain] = true
				}
			}
		}
	}
	return domains, found
}

func volumeDomain(s spot, rule *api.VolumePlacementSpec) (string, bool) {
	if rule.GetTopologyKey() == "" {
		return s.node.ID, true
	}
	return s.domain(rule.GetTopologyKey())
}

func (n *naive) keepsVolumeRule(rule *api.VolumePlacementSpec, set []spot, affinity bool) bool {
	taken, found := n.taken(rule)
	if affinity && !found {
		return rule.GetEnforcement() == api.EnforcementType_required && naiveMatch(rule.GetMatchExpressions(), n.own)
	}
	for _, s := range set {
		domain, ok := volumeDomain(s, rule)
		if (ok && taken[domain]) != affinity {
			return false
		}
	}
	return true
}

// look returns whether a set keeps all required rules, and the weight of the heaviest
// preferred rule that it keeps.
func (n *naive) look(set []spot) (allowed bool, weight int64) {
	allowed = true
	note := func(enforcement api.EnforcementType, heavy int64, kept bool) {
		if enforcement == api.EnforcementType_required {
			allowed = allowed && kept
		} else if kept {
			weight = max(weight, heavy, 1)
		}
	}
	for _, r := range n.strategy.GetReplicaAffinity() {
		note(r.GetEnforcement(), r.GetWeight(), keepsAffinity(r, set))
	}
	for _, r := range n.strategy.GetReplicaAntiAffinity() {
		note(r.GetEnforcement(), r.GetWeight(), keepsAntiAffinity(r, set))
	}
	for _, r := range n.strategy.GetVolumeAffinity() {
		note(r.GetEnforcement(), r.GetWeight(), n.keepsVolumeRule(r, set, true))
	}
	for _, r := range n.strategy.GetVolumeAntiAffinity() {
		note(r.GetEnforcement(), r.GetWeight(), n.keepsVolumeRule(r, set, false))
	}
	return allowed, weight
}

// spots are all pools that may hold replicas.
func (n *naive) spots(zones []string) (all []spot) {
	for _, node := range n.cluster.Nodes() {
		if node.Status != StatusOK || len(zones) > 0 && !slices.Contains(zones, node.Zone) {
			continue
		}
		for _, pool := range node.Pools {
			labels := map[string]string{}
			for _, from := range []map[string]string{node.storageNode().GetNodeLabels(), pool.Labels, {LabelPool: pool.UUID}} {
				for key, value := range from {
					labels[key] = value
				}
			}
			all = append(all, spot{node, pool, labels})
		}
	}
	return all
}

// best looks at every set of that many replicas: whether one is allowed, whether one is
// that has a replica on the selected node, and the best weight of the latter, if there is
// one, or else of all.
func (n *naive) best(count int, zones []string, selected string) (possible, there bool, weight int64) {
	spots := n.spots(zones)
	var extend func(from int, set []spot)
	extend = func(from int, set []spot) {
		if len(set) < count {
			for i := from; i < len(spots); i++ {
				if !slices.ContainsFunc(set, func(s spot) bool { return s.node.ID == spots[i].node.ID }) {
					extend(i+1, append(slices.Clone(set), spots[i]))
				}
			}
			return
		}
		allowed, heavy := n.look(set)
		if !allowed {
			return
		}
		here := slices.ContainsFunc(set, func(s spot) bool { return s.node.SchedulerNodeName == selected })
		if here && !there {
			weight = 0
		}
		if here || !there {
			weight = max(weight, heavy)
		}
		possible, there = true, there || here
	}
	extend(0, nil)
	return possible, there, weight
}

func randomStrategy(r *rand.Rand) *api.VolumePlacementStrategy {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	expressions := func(least int, keys ...string) (list []*api.LabelSelectorRequirement) {
		for range least + r.IntN(2) {
			e := &api.LabelSelectorRequirement{Key: pick(keys...), Operator: api.LabelSelectorRequirement_Operator(r.IntN(6))}
			switch e.GetOperator() {
			case api.LabelSelectorRequirement_In, api.LabelSelectorRequirement_NotIn:
				e.Values = []string{pick("1", "2", "a"), pick("2", "b")}
			case api.LabelSelectorRequirement_Gt, api.LabelSelectorRequirement_Lt:
				e.Values = []string{pick("0", "1", "2")}
			}
			list = append(list, e)
		}
		return list
	}
	strategy := &api.VolumePlacementStrategy{}
	for range 1 + r.IntN(3) {
		enforcement, weight := api.EnforcementType(r.IntN(2)), int64(r.IntN(4))
		key := pick("", LabelZone, "disk", LabelPool)
		if kind := r.IntN(4); kind < 2 {
			rule := &api.ReplicaPlacementSpec{Enforcement: enforcement, Weight: weight, TopologyKey: key, AffectedReplicas: int32(r.IntN(4))}
			rule.MatchExpressions = expressions(0, "disk", "speed", LabelZone)
			if key == "" && len(rule.GetMatchExpressions()) == 0 {
				continue
			}
			if kind == 0 {
				strategy.ReplicaAffinity = append(strategy.ReplicaAffinity, rule)
			} else {
				strategy.ReplicaAntiAffinity = append(strategy.ReplicaAntiAffinity, rule)
			}
		} else {
			rule := &api.VolumePlacementSpec{Enforcement: enforcement, Weight: weight, TopologyKey: key, MatchExpressions: expressions(1, "app", "tier")}
			if kind == 2 {
				strategy.VolumeAffinity = append(strategy.VolumeAffinity, rule)
			} else {
				strategy.VolumeAntiAffinity = append(strategy.VolumeAntiAffinity, rule)
			}
		}
	}
	return strategy
}

func randomLabels(r *rand.Rand, keys ...string) map[string]string {
	labels := map[string]string{}
	for _, key := range keys {
		if value := []string{"", "1", "2", "a"}[r.IntN(4)]; value != "" {
			labels[key] = value
		}
	}
	return labels
}

// randomCluster has up to six nodes, most with storage, and up to three volumes.
func randomCluster(t *testing.T, r *rand.Rand) *Cluster {
	t.Helper()
	c := NewCluster(Options{Seed: r.Uint64()})
	var names []string
	for i := range 1 + r.IntN(6) {
		n := Node{SchedulerNodeName: fmt.Sprintf("n%d", i), Labels: randomLabels(r, "disk", "speed"), Zone: []string{"", "a", "b", "c"}[r.IntN(4)]}
		for k := range 1 + r.IntN(2) {
			n.Pools = append(n.Pools, Pool{UUID: fmt.Sprintf("p%d-%d", i, k), Labels: randomLabels(r, "disk")})
		}
		switch r.IntN(8) {
		case 0:
			n.Status = StatusOffline
		case 1:
			n.Pools, n.Storageless = nil, true
		default:
			names = append(names, n.SchedulerNodeName)
		}
		_, err := c.AddNode(n)
		must(t, err)
	}
	for i := range min(r.IntN(4), 3*len(names)) {
		v, err := c.CreateVolume(CreateRequest{Name: fmt.Sprintf("old-%d", i), Labels: randomLabels(r, "app", "tier")})
		must(t, err)
		must(t, c.SetReplicaSets(v.GetId(), []string{names[r.IntN(len(names))]}))
	}
	return c
}

func TestEveryPlacementIsWhatTheRulesSay(t *testing.T) {
	rounds := uint64(20000)
	if testing.Short() {
		rounds /= 10
	}
	placed, refused := 0, 0
	for seed := range rounds {
		r := rand.New(rand.NewPCG(seed, 1))
		n := naive{cluster: randomCluster(t, r), strategy: randomStrategy(r), own: randomLabels(r, "app", "tier")}
		n.existing = slices.Collect(n.cluster.Volumes())
		count, stripes, selected := 1+r.IntN(3), 1+r.IntN(2), []string{"", "n0", "n1"}[r.IntN(3)]
		parameters := map[string]string{"repl": strconv.Itoa(count), "aggregation_level": strconv.Itoa(stripes)}
		var zones []string
		if r.IntN(4) == 0 {
			zones = []string{"a", "b"}
			parameters["zones"] = strings.Join(zones, ",")
			if r.IntN(2) == 0 {
				parameters[api.SpecBestEffortLocationProvisioning] = "true"
			}
		}

		v, err := n.cluster.CreateVolume(CreateRequest{Name: "new", Parameters: parameters, Labels: n.own, Strategy: n.strategy, SelectedNode: selected})
		possible, there, weight := n.best(count, zones, selected)
		if !possible && parameters[api.SpecBestEffortLocationProvisioning] == "true" {
			possible, there, weight = n.best(count, nil, selected)
		}
		if possible != (err == nil) || err != nil && (!errors.Is(err, ErrExhausted) || strings.Contains(err.Error(), "\n")) {
			t.Fatalf("seed %d: possible is %t, error is %v; strategy %v", seed, possible, err, n.strategy)
		}
		if err != nil {
			refused++
			continue
		}
		placed++
		if len(v.GetReplicaSets()) != stripes {
			t.Fatalf("seed %d: %d replica sets", seed, len(v.GetReplicaSets()))
		}
		for _, set := range v.GetReplicaSets() {
			var members []spot
			for i, id := range set.GetNodes() {
				for _, s := range n.spots(nil) {
					if s.node.ID == id && s.pool.UUID == set.GetPoolUuids()[i] && !slices.ContainsFunc(members, func(m spot) bool { return m.node.ID == id }) {
						members = append(members, s)
					}
				}
			}
			allowed, heavy := n.look(members)
			if len(members) != count || !allowed || heavy != weight || there != (members[0].node.SchedulerNodeName == selected) {
				t.Fatalf("seed %d: replicas in %v, allowed %t, weight %d of %d, selected %q possible: %t; strategy %v",
					seed, members, allowed, heavy, weight, selected, there, n.strategy)
			}
		}
	}
	if least := int(rounds / 10); placed < least || refused < least {
		t.Errorf("%d placed, %d refused: the strategies are not worth much", placed, refused)
	}
}
