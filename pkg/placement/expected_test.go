package placement_test

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// site describes a node for strategies: "zone=a disk=ssd" are its labels, "pool:medium=SSD"
// is a pool with a label, "free:10" a pool with as many bytes free, "storageless" a node
// without pools, "unlisted" one of which storage tells nothing, "down" one whose storage is.
func site(i int, words string) *placement.Node {
	n := &placement.Node{Name: fmt.Sprintf("n%d", i), State: placement.Online}
	disks := &placement.Disks{ID: fmt.Sprintf("id-%d", i)}
	labels, storageless, listed := map[string]string{}, false, true
	for _, word := range strings.Fields(words) {
		pool := placement.Pool{UUID: fmt.Sprintf("pool-%d-%d", i, len(disks.Pools)), Free: -1}
		kind, rest, special := strings.Cut(word, ":")
		switch {
		case word == "storageless":
			storageless = true
		case word == "unlisted":
			listed = false
		case word == "down":
			n.State = placement.StorageDown
		case special && kind == "pool":
			key, value, _ := strings.Cut(rest, "=")
			pool.Labels = placement.LabelsOf(map[string]string{key: value})
			disks.Pools = append(disks.Pools, pool)
		case special && kind == "free":
			pool.Free = number(rest)
			disks.Pools = append(disks.Pools, pool)
		default:
			key, value, _ := strings.Cut(word, "=")
			labels[key] = value
		}
	}
	if !storageless && len(disks.Pools) == 0 {
		disks.Pools = []placement.Pool{{UUID: fmt.Sprintf("pool-%d", i), Free: -1}}
	}
	if listed {
		n.Disks = disks
	}
	n.Site = &placement.Site{Labels: placement.LabelsOf(labels), Zone: labels["zone"], Rack: labels["rack"]}
	return n
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func sites(descriptions ...string) []*placement.Node {
	nodes := make([]*placement.Node, len(descriptions))
	for i, words := range descriptions {
		nodes[i] = site(i+1, words)
	}
	return nodes
}

// rule reads "zone In a b; medium Exists", with "preferred 50", "replicas 1" and "by zone"
// before it.
func rule(text string) placement.StrategyRule {
	r := placement.StrategyRule{Weight: 1}
	for _, part := range strings.Split(text, ";") {
		words := strings.Fields(part)
		switch words[0] {
		case "preferred":
			r.Preferred = true
			r.Weight = uint64(number(words[1]))
		case "replicas":
			r.Replicas = int(number(words[1]))
		case "by":
			r.TopologyKey = words[1]
		default:
			r.Match = append(r.Match, placement.Requirement{Key: words[0], Operator: placement.Operator(words[1]), Values: words[2:]})
		}
	}
	return r
}

func rules(texts ...string) (list []placement.StrategyRule) {
	for _, text := range texts {
		list = append(list, rule(text))
	}
	return list
}

func expected(r *placement.StrategyRules, nodes []*placement.Node) placement.Expected {
	r.Replicas = max(r.Replicas, 1)
	return placement.Expected{
		Name: "new", Policy: placement.Policy{Kind: placement.Near, Weight: 1}, Rules: r,
		Candidates: placement.NewCandidates(r, slices.Values(nodes)),
	}
}

func affinity(texts ...string) *placement.StrategyRules {
	return &placement.StrategyRules{Strategy: placement.Strategy{ReplicaAffinity: rules(texts...)}}
}

func antiAffinity(texts ...string) *placement.StrategyRules {
	return &placement.StrategyRules{Strategy: placement.Strategy{ReplicaAntiAffinity: rules(texts...)}}
}

func TestOutlookOfNewVolumes(t *testing.T) {
	three := []string{"zone=a disk=ssd", "zone=b disk=hdd", "zone=c"}
	for _, row := range []struct {
		name  string
		nodes []string
		rules *placement.StrategyRules
		size  int64
		want  string
		// pulls are how much speaks for each node, not checked if empty.
		pulls string
	}{
		{name: "without rules every node with pools may hold a replica", nodes: []string{"", "storageless", "down"},
			rules: &placement.StrategyRules{}, want: "possible unlikely unlikely"},
		{name: "a required affinity excludes the nodes that do not match", nodes: three,
			rules: affinity("disk In ssd nvme"), want: "possible excluded excluded"},
		{name: "NotIn and DoesNotExist match nodes without the label", nodes: three,
			rules: affinity("disk NotIn ssd"), want: "excluded possible possible"},
		{name: "conditions are ANDed", nodes: three, rules: affinity("disk Exists; zone In b"), want: "excluded possible excluded"},
		{name: "two rules must be kept by one pool", nodes: []string{"pool:medium=SSD pool:tier=1", "pool:medium=SSD tier=1"},
			rules: affinity("medium In SSD", "tier In 1"), want: "excluded possible"},
		{name: "labels of pools stand before those of nodes", nodes: []string{"medium=HDD pool:medium=SSD", "medium=SSD pool:medium=HDD"},
			rules: affinity("medium In SSD"), want: "possible excluded"},
		{name: "Gt and Lt compare numbers, and match nothing else", nodes: []string{"speed=9", "speed=10", "speed=fast", ""},
			rules: affinity("speed Gt 9"), want: "excluded possible excluded excluded"},
		{name: "Lt", nodes: []string{"speed=9", "speed=10"}, rules: affinity("speed Lt 10"), want: "possible excluded"},
		{name: "a pool has a label of its own", nodes: three, rules: affinity("portworx.io/pool In pool-2"), want: "excluded possible excluded"},
		{name: "a required anti-affinity excludes nodes of which every pool matches", nodes: []string{"pool:medium=HDD", "pool:medium=HDD pool:medium=SSD", ""},
			rules: antiAffinity("medium In HDD"), want: "excluded possible possible"},
		{name: "spreading excludes no node by itself", nodes: three, rules: antiAffinity("by zone"), want: "possible possible possible"},
		{name: "spreading those that match excludes none of them", nodes: three, rules: antiAffinity("by zone; disk In ssd"), want: "possible possible possible"},
		{name: "replicas in one zone exclude no zone", nodes: three, rules: affinity("by zone"), want: "possible possible possible"},
		{name: "a rule about some replicas makes its nodes preferred", nodes: three,
			rules: &placement.StrategyRules{Replicas: 2, Strategy: placement.Strategy{ReplicaAffinity: rules("replicas 1; disk In ssd")}}, want: "preferred possible possible"},
		{name: "a rule about as many replicas as there are excludes", nodes: three,
			rules: &placement.StrategyRules{Replicas: 2, Strategy: placement.Strategy{ReplicaAffinity: rules("replicas 3; disk In ssd")}}, want: "possible excluded excluded"},
		{name: "preferred rules exclude nothing", nodes: three, rules: affinity("preferred 5; disk In ssd"), want: "preferred possible possible"},
		{name: "preferred anti-affinity prefers the others", nodes: three, rules: antiAffinity("preferred 5; disk In ssd"), want: "possible preferred preferred"},
		{name: "the heaviest wish that is kept counts", nodes: three,
			rules: affinity("preferred 10; disk In ssd", "preferred 100; zone In b", "preferred 60; disk Exists"), want: "preferred preferred possible", pulls: "0.6 1 0"},
		{name: "a wish is kept by a pool that required rules admit", nodes: []string{"pool:medium=SSD pool:medium=HDD", "medium=HDD"},
			rules: affinity("medium In HDD", "preferred 1; medium In SSD"), want: "possible possible"},
		{name: "nodes of the class are ids or names", nodes: three, rules: &placement.StrategyRules{Nodes: []string{"id-1", "n3"}}, want: "possible excluded possible"},
		{name: "zones of the class", nodes: three, rules: &placement.StrategyRules{Zones: []string{"a", "b"}}, want: "possible possible excluded"},
		{name: "racks of the class", nodes: []string{"rack=r1", "rack=r2", ""}, rules: &placement.StrategyRules{Racks: []string{"r1"}}, want: "possible excluded excluded"},
		{name: "zones that are a wish", nodes: three, rules: &placement.StrategyRules{Zones: []string{"a"}, BestEffort: true}, want: "preferred possible possible"},
		{name: "a node without room is a worse guess", nodes: []string{"free:10", "free:10 free:100", ""},
			rules: &placement.StrategyRules{}, size: 11, want: "full possible possible"},
		{name: "what storage has not listed is not known", nodes: []string{"unlisted", "unlisted zone=b", "zone=b"},
			rules: affinity("medium In SSD", "zone NotIn b"), want: "possible excluded excluded"},
		{name: "a storageless node that a rule excludes is excluded", nodes: []string{"storageless disk=hdd", "storageless disk=ssd"},
			rules: affinity("disk In ssd"), want: "excluded unlikely"},
	} {
		t.Run(row.name, func(t *testing.T) {
			nodes := sites(row.nodes...)
			e := expected(row.rules, nodes)
			e.Size = row.size
			var outlooks, pulls []string
			for _, n := range nodes {
				outlook, pull := e.Outlook(n, 0)
				outlooks, pulls = append(outlooks, outlook.String()), append(pulls, fmt.Sprint(pull))
			}
			if diff := cmp.Diff(strings.Fields(row.want), outlooks); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(strings.Fields(row.pulls), pulls); row.pulls != "" && diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOutlookBesideOtherVolumes(t *testing.T) {
	nodes := sites("zone=a", "zone=a", "zone=b", "zone=b pool:x=1 pool:x=2")
	for _, row := range []struct {
		name string
		anti bool
		rule string
		near []*placement.Node
		want string
	}{
		{name: "required affinity: only the nodes of the others", rule: "app In db", near: nodes[:1], want: "possible unlikely unlikely unlikely"},
		{name: "in one zone with them", rule: "by zone; app In db", near: nodes[:1], want: "possible possible unlikely unlikely"},
		{name: "preferred affinity", rule: "preferred 7; app In db", near: nodes[2:3], want: "possible possible preferred possible"},
		{name: "required anti-affinity: any node but theirs", anti: true, rule: "app In db", near: nodes[:1], want: "unlikely possible possible possible"},
		{name: "not in their zone", anti: true, rule: "by zone; app In db", near: nodes[:1], want: "unlikely unlikely possible possible"},
		{name: "another pool of a node will do", anti: true, rule: "by portworx.io/pool; app In db", near: nodes[2:], want: "possible possible unlikely possible"},
		{name: "in the pool of the others is on their node", rule: "by portworx.io/pool; app In db", near: nodes[3:], want: "unlikely unlikely unlikely possible"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := rule(row.rule)
			volumeRules := &placement.StrategyRules{}
			if row.anti {
				volumeRules.VolumeAntiAffinity = []placement.StrategyRule{r}
			} else {
				volumeRules.VolumeAffinity = []placement.StrategyRule{r}
			}
			e := expected(volumeRules, nodes)
			e.Peers = []placement.Peers{{Rule: &r, Anti: row.anti, Nodes: row.near}}
			var got []string
			for _, n := range nodes {
				outlook, _ := e.Outlook(n, 0)
				got = append(got, outlook.String())
			}
			if diff := cmp.Diff(strings.Fields(row.want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// view is what Offer asks.
type view []*placement.Node

func (view) Members(placement.Domain) []*placement.Node { return nil }

func groups(offer iter.Seq[[]*placement.Node]) (list []string) {
	for group := range offer {
		slices.SortFunc(group, func(a, b *placement.Node) int { return strings.Compare(a.Name, b.Name) })
		list = append(list, names(group))
	}
	return list
}

func TestPodsWithNewVolumes(t *testing.T) {
	nodes := sites("disk=ssd", "disk=hdd", "disk=ssd free:5", "storageless", "")
	holds := func(numbers ...int) []placement.ReplicaSet {
		var set placement.ReplicaSet
		for _, i := range numbers {
			set = append(set, placement.Holder{Node: nodes[i-1], State: placement.Online})
		}
		return []placement.ReplicaSet{set}
	}
	bound := func(numbers ...int) placement.Volume {
		return placement.Volume{Name: "bound", Policy: placement.Policy{Kind: placement.Near, Weight: 1}, Sets: holds(numbers...)}
	}
	ssd := func() placement.Expected { e := expected(affinity("disk In ssd"), nodes); e.Size = 10; return e }
	huge := ssd()
	huge.Size = math.MaxInt64
	clone := placement.Expected{Name: "clone", Policy: placement.Policy{Kind: placement.Near, Weight: 1}, Source: &placement.Volume{Sets: holds(2, 5)}}
	for _, row := range []struct {
		name   string
		pod    placement.Pod
		scores string
		offer  []string
		// rejected are the nodes that the filter turns down.
		rejected string
	}{
		{name: "new volumes score between zone and local", pod: placement.Pod{Expected: []placement.Expected{ssd()}},
			scores: "62 0 34 0 0", offer: []string{"n1", "n3"}},
		{name: "what other new volumes will take counts", pod: placement.Pod{Expected: []placement.Expected{func() placement.Expected {
			e := expected(affinity("disk In ssd"), nodes)
			e.Size = 3
			return e
		}()}, Booked: map[string]int64{"n3": 3}}, scores: "62 0 34 0 0", offer: []string{"n1", "n3"}},
		{name: "sizes that no number holds the sum of are larger than any room", pod: placement.Pod{Expected: []placement.Expected{huge, huge}},
			scores: "62 0 34 0 0", offer: []string{"n1", "n3"}},
		{name: "so are they with what is booked", pod: placement.Pod{Expected: []placement.Expected{huge}, Booked: map[string]int64{"n3": math.MaxInt64}},
			scores: "62 0 34 0 0", offer: []string{"n1", "n3"}},
		{name: "a strict pod is turned down where a required rule keeps its new volume off", rejected: "n2 n4 n5",
			pod:    placement.Pod{PodPolicy: placement.PodPolicy{Strict: true}, Expected: []placement.Expected{ssd()}},
			scores: "62 0 34 0 0", offer: []string{"n1", "n3"}},
		{name: "so is one with fastpath", rejected: "n2 n4 n5", pod: placement.Pod{Expected: []placement.Expected{func() placement.Expected {
			e := ssd()
			e.Fast = true
			return e
		}()}}, scores: "62 0 34 0 0", offer: []string{"n1", "n3"}},
		{name: "no guess turns a strict pod down", pod: placement.Pod{PodPolicy: placement.PodPolicy{Strict: true}, Expected: []placement.Expected{clone}},
			scores: "0 81 0 0 81", offer: []string{"n2 n5"}},
		{name: "a clone is expected where its source lies", pod: placement.Pod{Expected: []placement.Expected{clone}},
			scores: "0 81 0 0 81", offer: []string{"n2 n5"}},
		{name: "of equal nodes with bound data, the one that may hold the new volume is first",
			pod:    placement.Pod{Volumes: []placement.Volume{bound(2, 1)}, Expected: []placement.Expected{ssd()}},
			scores: "100 99 0 0 0", offer: []string{"n1", "n2"}},
		{name: "a guess never beats bound data", pod: placement.Pod{Volumes: []placement.Volume{bound(2)}, Expected: []placement.Expected{ssd()}},
			scores: "0 99 0 0 0", offer: []string{"n2"}},
		{name: "where locality is off nothing is expected", pod: placement.Pod{PodPolicy: placement.PodPolicy{Off: true}, Expected: []placement.Expected{ssd()}},
			scores: "0 0 0 0 0"},
		{name: "rules that tell no nodes apart say nothing", pod: placement.Pod{Expected: []placement.Expected{expected(&placement.StrategyRules{}, sites("", ""))}},
			scores: "0 0 0 0 0"},
		{name: "nor does a volume of which nothing can be told", pod: placement.Pod{Expected: []placement.Expected{{Name: "?", Policy: placement.Policy{Kind: placement.Near, Weight: 1}}}},
			scores: "0 0 0 0 0"},
		{name: "nor does one that will be away or neutral", pod: placement.Pod{Expected: []placement.Expected{func() placement.Expected {
			e := ssd()
			e.Kind = placement.Away
			return e
		}()}}, scores: "0 0 0 0 0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			plan, rejection := placement.NewPlan(row.pod, placement.DefaultTiers)
			if rejection != nil {
				t.Fatal(rejection.Message())
			}
			var scores, rejected []string
			for _, n := range nodes {
				scores = append(scores, strconv.FormatInt(plan.Score(n), 10))
				if v := plan.Verdict(n); v == placement.RejectedNoNewReplica {
					rejected = append(rejected, n.Name)
				} else if v != placement.Feasible {
					t.Errorf("%s: %s", n.Name, v.Reason())
				}
			}
			if diff := cmp.Diff(row.scores, strings.Join(scores, " ")); diff != "" {
				t.Errorf("scores: %s", diff)
			}
			if diff := cmp.Diff(row.rejected, strings.Join(rejected, " ")); diff != "" {
				t.Errorf("rejected: %s", diff)
			}
			if diff := cmp.Diff(row.offer, groups(plan.Offer(view(nodes), 7))); diff != "" {
				t.Errorf("offer: %s", diff)
			}
			if plan.Indifferent() != !strings.ContainsAny(row.scores, "123456789") {
				t.Errorf("Indifferent() is %t with scores %s", plan.Indifferent(), row.scores)
			}
		})
	}
}

// TestCandidatesAreBounded: neither memory nor the offer grows with the cluster.
func TestCandidatesAreBounded(t *testing.T) {
	var nodes []*placement.Node
	for i := range 5000 {
		words := "disk=hdd"
		if i%2 == 0 {
			words = "disk=ssd"
		}
		nodes = append(nodes, site(i, words))
	}
	pod := placement.Pod{Expected: []placement.Expected{expected(affinity("preferred 1; disk In ssd"), nodes)}}
	plan, _ := placement.NewPlan(pod, placement.DefaultTiers)
	seen, first := map[string]bool{}, []int{}
	for seed := range uint64(200) {
		for group := range plan.Offer(view(nodes), seed*64) {
			first = append(first, len(group))
			for _, n := range group {
				seen[n.Name] = true
			}
			break
		}
	}
	if slices.Max(first) != placement.OfferLimit || slices.Min(first) != placement.OfferLimit {
		t.Errorf("the best group has %d to %d nodes", slices.Min(first), slices.Max(first))
	}
	if len(seen) < 800 || len(seen) > 1024 {
		t.Errorf("pods are offered %d of 2500 nodes", len(seen))
	}
}
