package placement_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// scenario is one pod on one small cluster, in the notation of the behaviour
// contract, and what must come of it.
type scenario struct {
	name string
	// nodes describes n1, n2, ... by words (see nodeOf); no word is an Online
	// node without labels.
	nodes   []string
	pod     placement.PodPolicy
	machine placement.Machine
	// storagePod is a pod of the storage system (F11).
	storagePod bool
	volumes    []volume
	// tiers are DefaultTierScores unless given.
	tiers placement.Tiers

	// rejected is the message of a pod that no node can take.
	rejected string
	// verdicts has one word of verdictWords for each node; empty is not checked.
	verdicts string
	// scores has one number for each node, or is the word "equal" where scoring
	// is skipped; empty is not checked.
	scores string
}

var (
	strict    = placement.PodPolicy{Strict: true}
	off       = placement.PodPolicy{Off: true}
	strictOff = placement.PodPolicy{Strict: true, Off: true}
)

var verdictWords = map[placement.Verdict]string{
	placement.Feasible:              "ok",
	placement.RejectedUnschedulable: "Unschedulable",
	placement.RejectedNoDriver:      "NoDriver",
	placement.RejectedDegraded:      "Degraded",
	placement.RejectedOffline:       "Offline",
	placement.RejectedNotLocal:      "NotLocal",
	placement.RejectedNotFast:       "NotFast",
	placement.RejectedRemoteOnly:    "RemoteOnly",
}

func runScenarios(t *testing.T, scenarios []scenario) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.run(t) })
	}
}

func (s scenario) run(t *testing.T) {
	t.Helper()
	if s.rejected == "" && s.verdicts == "" && s.scores == "" {
		t.Fatal("the scenario expects nothing")
	}
	c := newCluster(t, s.nodes)
	plan, rejection := c.plan(t, s)
	if s.rejected != "" {
		if rejection == nil {
			t.Fatalf("the pod is accepted, want %q", s.rejected)
		}
		if diff := cmp.Diff(s.rejected, rejection.Message()); diff != "" {
			t.Errorf("rejection (-want +got):\n%s", diff)
		}
		if plan != nil {
			t.Error("a rejected pod has a plan")
		}
		return
	}
	if rejection != nil {
		t.Fatalf("the pod is rejected: %s", rejection.Message())
	}
	if s.verdicts != "" {
		var got []string
		for _, n := range c.nodes {
			got = append(got, verdictWords[plan.Verdict(n)])
		}
		if diff := cmp.Diff(strings.Fields(s.verdicts), got); diff != "" {
			t.Errorf("verdicts (-want +got):\n%s", diff)
		}
	}
	if s.scores == "" {
		return
	}
	if equal := s.scores == "equal"; equal != plan.Indifferent() {
		t.Errorf("Indifferent() = %t, want %t", plan.Indifferent(), equal)
	} else if equal {
		return
	}
	var got []string
	for _, n := range c.nodes {
		got = append(got, strconv.FormatInt(plan.Score(n), 10))
	}
	if diff := cmp.Diff(strings.Fields(s.scores), got); diff != "" {
		t.Errorf("scores (-want +got):\n%s", diff)
	}
}

// cluster is the nodes of one view: n1 is nodes[0]. A nil node is one that
// storage knows nothing about.
type cluster struct {
	nodes []*placement.Node
}

func newCluster(t testing.TB, descriptions []string) *cluster {
	t.Helper()
	c, d := &cluster{}, domains{}
	for i, words := range descriptions {
		n, err := nodeOf(fmt.Sprintf("n%d", i+1), words, d)
		if err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, n)
	}
	return c
}

// online describes count Online nodes without labels.
func online(count int) []string { return make([]string, count) }

// nodeOf understands the labels rack=, zone= and region=, the storage states,
// "unschedulable" and, for a node that storage knows nothing about, "absent".
func nodeOf(name, words string, d domains) (*placement.Node, error) {
	n := &placement.Node{Name: name, State: placement.Online}
	labels := map[string]string{}
	for _, word := range strings.Fields(words) {
		if level, value, found := strings.Cut(word, "="); found {
			labels[level] = value
			continue
		}
		if state, found := stateOf[word]; found {
			n.State = state
			continue
		}
		switch word {
		case "unschedulable":
			n.Unschedulable = true
		case "absent":
			return nil, nil
		default:
			return nil, fmt.Errorf("node %s: %q is not understood", name, word)
		}
	}
	n.Topology = d.topology(labels)
	return n, nil
}

var stateOf = map[string]placement.StorageState{
	"NoDriver":    placement.NoDriver,
	"Online":      placement.Online,
	"StorageDown": placement.StorageDown,
	"Degraded":    placement.Degraded,
	"Offline":     placement.Offline,
	"Unheard":     placement.StorageState(200),
}

// domains interns topology labels as the owner of the nodes must: the number of
// a level stands for its value and those of all levels above, absent included.
type domains map[string]placement.Domain

func (d domains) topology(labels map[string]string) placement.Topology {
	return placement.Topology{
		Region: d.intern(labels, "region"),
		Zone:   d.intern(labels, "region", "zone"),
		Rack:   d.intern(labels, "region", "zone", "rack"),
	}
}

func (d domains) intern(labels map[string]string, levels ...string) placement.Domain {
	if labels[levels[len(levels)-1]] == "" {
		return 0
	}
	var key strings.Builder
	for _, level := range levels {
		key.WriteString(level)
		key.WriteByte('=')
		key.WriteString(labels[level])
		key.WriteByte(';')
	}
	if _, found := d[key.String()]; !found {
		d[key.String()] = placement.Domain(len(d) + 1)
	}
	return d[key.String()]
}

// volume is a volume in the notation of the contract: "A@{1,2}" has its replicas
// on n1 and n2, "A@{1,2}{1,3}" has two replica sets, and "A@{1,?Online}" has one
// replica on a storage node that no Kubernetes node is, in the state named;
// "A@{1?Offline}" is under a record of n1 in another state than the node's. "A"
// has no replica sets, and "A@{}" one that nobody holds.
type volume struct {
	notation string
	placement.Volume
	attachedTo int
}

func near(notation string) volume       { return ofKind(placement.Near, notation) }
func away(notation string) volume       { return ofKind(placement.Away, notation) }
func neutral(notation string) volume    { return ofKind(placement.Neutral, notation) }
func fast(notation string) volume       { v := near(notation); v.Fast = true; return v }
func remoteOnly(notation string) volume { v := away(notation); v.RemoteOnly = true; return v }
func windows(notation string) volume    { v := neutral(notation); v.Windows = true; return v }

func ofKind(kind placement.Kind, notation string) volume {
	v := volume{notation: notation}
	v.Policy = placement.Policy{Kind: kind, Weight: 1}
	return v
}

func (v volume) weighing(weight int32) volume { v.Weight = weight; return v }
func (v volume) unknown() volume              { v.Unknown = true; return v }
func (v volume) stale() volume                { v.Unknown, v.Stale = true, true; return v }
func (v volume) attached(node int) volume     { v.attachedTo = node; return v }

func (c *cluster) volume(t testing.TB, v volume) placement.Volume {
	t.Helper()
	name, sets, found := strings.Cut(v.notation, "@")
	v.Name = name
	if found {
		for set := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSuffix(sets, "}"), "{"), "}{") {
			var holders placement.ReplicaSet
			for member := range strings.SplitSeq(set, ",") {
				if member != "" {
					holders = append(holders, c.holder(t, member))
				}
			}
			v.Sets = append(v.Sets, holders)
		}
	}
	if v.attachedTo > 0 {
		v.Attached = c.nodes[v.attachedTo-1]
	}
	return v.Volume
}

func (c *cluster) holder(t testing.TB, member string) placement.Holder {
	t.Helper()
	if state, outside := strings.CutPrefix(member, "?"); outside {
		return placement.Holder{State: stateOf[state]}
	}
	member, state, other := strings.Cut(member, "?")
	number, err := strconv.Atoi(member)
	if err != nil {
		t.Fatalf("replica %q: %v", member, err)
	}
	n := c.nodes[number-1]
	if n == nil {
		return placement.Holder{State: placement.Offline}
	}
	if other {
		return placement.Holder{Node: n, State: stateOf[state]}
	}
	return placement.Holder{Node: n, State: n.State}
}

func (c *cluster) plan(t testing.TB, s scenario) (*placement.Plan, *placement.Rejection) {
	t.Helper()
	pod := placement.Pod{PodPolicy: s.pod, Machine: s.machine, StoragePod: s.storagePod}
	for _, v := range s.volumes {
		pod.Volumes = append(pod.Volumes, c.volume(t, v))
	}
	tiers := s.tiers
	if tiers == (placement.Tiers{}) {
		tiers = placement.DefaultTiers
	}
	return placement.NewPlan(pod, tiers)
}

// mustPlan is plan for scenarios whose pod is accepted.
func (c *cluster) mustPlan(t testing.TB, s scenario) *placement.Plan {
	t.Helper()
	plan, rejection := c.plan(t, s)
	if rejection != nil {
		t.Fatalf("the pod is rejected: %s", rejection.Message())
	}
	return plan
}

// names writes nodes as "n1 n2".
func names(nodes []*placement.Node) string {
	var words []string
	for _, n := range nodes {
		words = append(words, n.Name)
	}
	return strings.Join(words, " ")
}

// Members implements placement.Topologies.
func (c *cluster) Members(d placement.Domain) []*placement.Node {
	var members []*placement.Node
	for _, n := range c.nodes {
		if n != nil && (n.Topology.Rack == d || n.Topology.Zone == d || n.Topology.Region == d) {
			members = append(members, n)
		}
	}
	return members
}
