package placement

import (
	"slices"
	"strconv"
)

// PoolKey is the topology key, and the label, of a single storage pool.
const PoolKey = "portworx.io/pool"

// Operator says how a label compares with the values of a requirement.
type Operator string

// The operators of placement strategies. A label that is absent matches NotIn and
// DoesNotExist; Gt and Lt compare whole numbers.
const (
	In           Operator = "In"
	NotIn        Operator = "NotIn"
	Exists       Operator = "Exists"
	DoesNotExist Operator = "DoesNotExist"
	Gt           Operator = "Gt"
	Lt           Operator = "Lt"
)

// Requirement is one condition on labels.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// Matches reports whether a label meets the requirement.
func (r *Requirement) Matches(value string, found bool) bool {
	switch r.Operator {
	case In:
		return found && slices.Contains(r.Values, value)
	case NotIn:
		return !found || !slices.Contains(r.Values, value)
	case Exists:
		return found
	case DoesNotExist:
		return !found
	}
	number, err := strconv.ParseInt(value, 10, 64)
	if err != nil || len(r.Values) != 1 {
		return false
	}
	limit, err := strconv.ParseInt(r.Values[0], 10, 64)
	return err == nil && (r.Operator == Gt && number > limit || r.Operator == Lt && number < limit)
}

// StrategyRule is one rule of a placement strategy.
type StrategyRule struct {
	// Preferred rules may be broken; of those that are kept, the one of the greatest
	// weight counts.
	Preferred bool
	// Weight is 1 at least.
	Weight uint64
	// Replicas is how many replicas of each replica set the rule is about; 0 for all.
	// Rules about other volumes are about all.
	Replicas int
	// TopologyKey is a node label, or PoolKey; empty for the node.
	TopologyKey string
	// Match are the conditions, all of which must hold.
	Match []Requirement
}

// Strategy is a VolumePlacementStrategy (portworx.io/v1beta2). It is immutable.
type Strategy struct {
	Name                                 string
	ReplicaAffinity, ReplicaAntiAffinity []StrategyRule
	VolumeAffinity, VolumeAntiAffinity   []StrategyRule
}

// StrategyRules say which nodes may hold replicas of one new volume: its strategy with the
// templates filled in, and the parameters of its class. They are immutable.
type StrategyRules struct {
	Strategy
	// Replicas is how many replicas each replica set will have.
	Replicas int
	// Nodes, Zones and Racks are the only ones that may be used, if there are any. Nodes
	// are ids of storage nodes, or names.
	Nodes, Zones, Racks []string
	// BestEffort makes a wish of Zones and Racks.
	BestEffort bool
}

// answer is what is known of a condition.
type answer uint8

const (
	no answer = iota
	unknown
	yes
)

func answerOf(b bool) answer {
	if b {
		return yes
	}
	return no
}

// matches compares a rule with the labels of a pool: those of the pool itself, of its
// Kubernetes node, and of its storage node. Of a pool that storage has not listed,
// a label that the node does not have is not known.
func (r *StrategyRule) matches(n *Node, p *Pool) answer {
	result := yes
	for i := range r.Match {
		m := &r.Match[i]
		value, found := p.label(n, m.Key)
		a := answerOf(m.Matches(value, found))
		if !found && n.Disks == nil {
			a = unknown
		}
		result = min(result, a)
	}
	return result
}

func (p *Pool) label(n *Node, key string) (value string, found bool) {
	if value, found = p.Labels.Get(key); found {
		return value, true
	}
	if key == PoolKey && p.UUID != "" {
		return p.UUID, true
	}
	if n.Site != nil {
		if value, found = n.Site.Labels.Get(key); found {
			return value, true
		}
	}
	if n.Disks != nil {
		return n.Disks.Labels.Get(key)
	}
	return "", false
}

// affectsAll reports whether no replica is free of a rule about replicas.
func (r *StrategyRules) affectsAll(rule *StrategyRule) bool {
	return rule.Replicas == 0 || rule.Replicas >= r.Replicas
}

// Excludes reports whether required rules keep every replica off the node, for as long
// as neither the rules nor the node change. What depends on other replicas or volumes is
// no part of it.
func (r *StrategyRules) Excludes(n *Node) bool {
	if len(r.Nodes) > 0 && !slices.ContainsFunc(r.Nodes, n.goesBy) || !r.BestEffort && !r.inPlace(n) {
		return true
	}
	return !n.anyPool(func(p *Pool) bool { return r.admits(n, p) })
}

// goesBy reports whether storage or Kubernetes calls the node so. What storage calls one of
// which it does not tell is not known.
func (n *Node) goesBy(name string) bool {
	return n.Name == name || n.Disks == nil || n.Disks.ID == name
}

func (r *StrategyRules) inPlace(n *Node) bool {
	var site Site
	if n.Site != nil {
		site = *n.Site
	}
	return (len(r.Zones) == 0 || slices.Contains(r.Zones, site.Zone)) && (len(r.Racks) == 0 || slices.Contains(r.Racks, site.Rack))
}

// noPool stands for the pools of a node that has none, or none that are known.
var noPool Pool

// anyPool reports whether some pool of the node passes.
func (n *Node) anyPool(passes func(*Pool) bool) bool {
	if n.Disks == nil || len(n.Disks.Pools) == 0 {
		return passes(&noPool)
	}
	for i := range n.Disks.Pools {
		if passes(&n.Disks.Pools[i]) {
			return true
		}
	}
	return false
}

// admits reports whether no required rule about all replicas keeps them off the pool.
func (r *StrategyRules) admits(n *Node, p *Pool) bool {
	for i := range r.ReplicaAffinity {
		rule := &r.ReplicaAffinity[i]
		if !rule.Preferred && r.affectsAll(rule) && rule.matches(n, p) == no {
			return false
		}
	}
	for i := range r.ReplicaAntiAffinity {
		rule := &r.ReplicaAntiAffinity[i]
		if !rule.Preferred && r.affectsAll(rule) && rule.TopologyKey == "" && rule.matches(n, p) == yes {
			return false
		}
	}
	return true
}

// heaviest is the greatest weight of all rules that are wishes: 0 if there are none.
func (r *StrategyRules) heaviest() uint64 {
	var most uint64
	for i, rules := range [...][]StrategyRule{r.ReplicaAffinity, r.ReplicaAntiAffinity, r.VolumeAffinity, r.VolumeAntiAffinity} {
		for k := range rules {
			rule := &rules[k]
			ofReplicas := i < 2 && r.wished(rule, i == 1)
			if ofReplicas || i > 1 && rule.Preferred {
				most = max(most, rule.Weight)
			}
		}
	}
	if most == 0 && r.BestEffort && (len(r.Zones) > 0 || len(r.Racks) > 0) {
		return 1
	}
	return most
}

// wished reports whether a rule about replicas speaks for single nodes: a preferred one, or
// a required one about some replicas only, since the node that keeps it gets one of them
// rather than one of the others. Rules that spread replicas speak for none.
func (r *StrategyRules) wished(rule *StrategyRule, anti bool) bool {
	return len(rule.Match) > 0 && (!anti || rule.TopologyKey == "") && (rule.Preferred || !r.affectsAll(rule))
}

// pull is the greatest weight of the wishes about replicas that the node keeps.
func (r *StrategyRules) pull(n *Node) uint64 {
	var most uint64
	if r.BestEffort && r.inPlace(n) {
		most = 1
	}
	for anti, rules := range [...][]StrategyRule{r.ReplicaAffinity, r.ReplicaAntiAffinity} {
		wanted := yes
		if anti == 1 {
			wanted = no
		}
		for i := range rules {
			rule := &rules[i]
			if rule.Weight <= most || !r.wished(rule, anti == 1) {
				continue
			}
			if n.anyPool(func(p *Pool) bool { return r.admits(n, p) && rule.matches(n, p) == wanted }) {
				most = rule.Weight
			}
		}
	}
	return most
}
