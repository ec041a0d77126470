package placement_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func TestConfined(t *testing.T) {
	tests := []struct {
		scenario
		want     string
		confined bool
	}{
		{
			scenario: scenario{
				name: "F6: a strict pod is confined to the replica nodes of all near volumes", nodes: online(5), pod: strict,
				volumes: []volume{near("A@{3,1,2}"), near("B@{2,3}")},
			},
			want: "n3 n2", confined: true,
		},
		{
			scenario: scenario{
				name: "F6: each node is named once, though listed twice in a set", nodes: online(3), pod: strict,
				volumes: []volume{near("A@{2,1,2}")},
			},
			want: "n2 n1", confined: true,
		},
		{
			scenario: scenario{
				name: "F7: remote-only volumes do not narrow it, so that their nodes are rejected with their reason", nodes: online(3), pod: strict,
				volumes: []volume{near("A@{1,2}"), remoteOnly("B@{1}")},
			},
			want: "n1 n2", confined: true,
		},
		{
			scenario: scenario{name: "F6: a soft pod is not confined", nodes: online(3), volumes: []volume{near("A@{1}")}},
		},
		{
			scenario: scenario{
				name: "F6: a strict pod without near volumes is not confined", nodes: online(3), pod: strict,
				volumes: []volume{away("A@{1}")},
			},
		},
		{
			scenario: scenario{
				name: "F9: a strict pod with a Windows volume is not confined", nodes: online(3), pod: strict,
				volumes: []volume{near("A@{1}"), windows("W@{1}")},
			},
		},
		{
			scenario: scenario{
				name: "F11: a pod of the storage system is not confined", nodes: online(3), pod: strict, storagePod: true,
				volumes: []volume{near("A@{1}")},
			},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, tc.nodes)
			nodes, confined := c.mustPlan(t, tc.scenario).Confined()
			if confined != tc.confined {
				t.Errorf("confined = %t, want %t", confined, tc.confined)
			}
			if diff := cmp.Diff(tc.want, names(nodes)); diff != "" {
				t.Errorf("nodes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOffer(t *testing.T) {
	racks := []string{"rack=r1 zone=a", "rack=r2 zone=a", "rack=r1 zone=a", "zone=b", "rack=r3 zone=b"}
	tests := []struct {
		scenario
		want []string
	}{
		{
			scenario: scenario{name: "the replica nodes of a near volume come first", nodes: online(4), volumes: []volume{near("A@{2,3}")}},
			want:     []string{"n2 n3"},
		},
		{
			scenario: scenario{
				name: "of two volumes, the node that holds both comes before one that holds one", nodes: online(4),
				volumes: []volume{near("A@{2}"), near("B@{2,3}")},
			},
			want: []string{"n2", "n3"},
		},
		{
			scenario: scenario{
				name: "nodes that hold a part of a volume come in the order of their parts, each once", nodes: online(5),
				volumes: []volume{near("A@{1,2}{1,3}{1,2}")},
			},
			want: []string{"n1", "n2", "n3"},
		},
		{
			scenario: scenario{name: "parts alone are one group", nodes: online(3), volumes: []volume{near("A@{1}{2}")}},
			want:     []string{"n1 n2"},
		},
		{
			scenario: scenario{name: "nodes in the rack, then in the zone of a replica follow", nodes: racks, volumes: []volume{near("A@{1}")}},
			want:     []string{"n1", "n3", "n2"},
		},
		{
			scenario: scenario{
				name:  "a StorageDown node of the whole volume comes after nodes in the racks of its other replica",
				nodes: []string{"StorageDown rack=r1", "rack=r2", "rack=r2", "rack=r3"}, volumes: []volume{near("A@{1,2}")},
			},
			want: []string{"n2", "n3", "n1"},
		},
		{
			scenario: scenario{
				name: "a node in the rack of a heavy volume comes before the replica node of a light one", nodes: racks,
				volumes: []volume{near("heavy@{1}").weighing(100), near("light@{5}")},
			},
			want: []string{"n1", "n3", "n2", "n5"},
		},
		{
			scenario: scenario{
				name: "the replica node of a light volume is offered though it scores no better than any node", nodes: online(3),
				volumes: []volume{near("heavy@{1}").weighing(100), near("light@{2}")},
			},
			want: []string{"n1", "n2"},
		},
		{
			scenario: scenario{
				name: "near wins over away: a replica node is offered though other nodes score more", nodes: online(4),
				volumes: []volume{near("A@{1,2}"), away("B@{2}")},
			},
			want: []string{"n1", "n2"},
		},
		{
			scenario: scenario{
				name:    "nodes that F4, F5 and F7 reject are left out",
				nodes:   []string{"unschedulable", "Offline", "Degraded", "NoDriver", "", "StorageDown", ""},
				volumes: []volume{near("A@{1,2,3,4,5,6,7}")},
			},
			want: []string{"n5 n7", "n6"},
		},
		{
			scenario: scenario{
				name: "F9: a pod with a Windows volume prefers no node whose storage does not serve", nodes: []string{"Offline", "Degraded", "", ""},
				volumes: []volume{near("A@{1,2,3}"), windows("B@{4}")},
			},
			want: []string{"n3"},
		},
		{
			scenario: scenario{
				name: "no group is left when all replica nodes are rejected", nodes: []string{"unschedulable", ""},
				volumes: []volume{near("A@{1}")},
			},
		},
		{
			scenario: scenario{name: "storage nodes without a Kubernetes node are left out", nodes: online(2), volumes: []volume{near("A@{?Online,2}")}},
			want:     []string{"n2"},
		},
		{
			scenario: scenario{
				name: "unknown, neutral and away volumes prefer nothing", nodes: online(4),
				volumes: []volume{near("A@{1}").stale(), neutral("B@{2}"), away("C@{3}")},
			},
		},
		{
			scenario: scenario{name: "S1: disableHyperconvergence prefers nothing", nodes: online(2), pod: off, volumes: []volume{near("A@{1}")}},
		},
		{
			scenario: scenario{name: "F6: a strict pod is confined instead", nodes: online(2), pod: strict, volumes: []volume{near("A@{1}")}},
		},
		{
			scenario: scenario{
				name: "S8: a virtual machine that starts is tried first where most of its disks are, shared ones included", nodes: online(4),
				machine: placement.MachineStarting, volumes: []volume{near("A@{2}"), away("B@{2,3}"), remoteOnly("C@{4}")},
			},
			want: []string{"n2", "n3"},
		},
		{
			scenario: scenario{
				name: "S8: a migrating virtual machine is not narrowed", nodes: online(3),
				machine: placement.MachineMigrating, volumes: []volume{near("A@{2}").attached(2)},
			},
		},
		{
			scenario: scenario{name: "F11: a pod of the storage system prefers nothing", nodes: online(2), storagePod: true, volumes: []volume{near("A@{1}")}},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, tc.nodes)
			var got []string
			for group := range c.mustPlan(t, tc.scenario).Offer(c, 0) {
				got = append(got, names(group))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
}

// An offer does not grow with what a tenant can stretch.
func TestOfferIsBounded(t *testing.T) {
	const nodes = 1000
	racks := make([]string, nodes)
	for i := range racks {
		racks[i] = fmt.Sprintf("zone=z%d rack=r%d", i%2, i%10)
	}
	c := newCluster(t, racks)
	var s scenario
	for i := range 500 {
		s.volumes = append(s.volumes, near(fmt.Sprintf("v%d@{%d}", i, i+1)))
	}
	plan := c.mustPlan(t, s)
	offered := func(seed uint64) (all []*placement.Node) {
		for group := range plan.Offer(c, seed) {
			all = append(all, group...)
		}
		return all
	}
	if got := len(offered(0)); got < placement.OfferLimit || got > 4*placement.OfferLimit {
		t.Errorf("%d nodes are offered, want %d at most", got, 4*placement.OfferLimit)
	}
	if slices.Equal(offered(0), offered(7)) {
		t.Error("two pods are offered the same nodes of large racks")
	}
}

func TestReplicaNodes(t *testing.T) {
	tests := []struct {
		scenario
		replicaNodes string
		// onData is given where it differs from replicaNodes.
		onData string
	}{
		{
			scenario:     scenario{name: "the replica nodes of all near volumes, each once", nodes: online(5), volumes: []volume{near("A@{2,1}"), near("B@{1,3}")}},
			replicaNodes: "n2 n1 n3",
		},
		{
			scenario:     scenario{name: "partial replica nodes are none", nodes: online(3), volumes: []volume{near("A@{1,2}{1,3}")}},
			replicaNodes: "n1",
		},
		{
			scenario:     scenario{name: "an Offline replica node is still one, but serves no data", nodes: []string{"Offline", ""}, volumes: []volume{near("A@{1,2}")}},
			replicaNodes: "n1 n2", onData: "n2",
		},
		{
			scenario: scenario{
				name: "away, neutral, unknown volumes and replicas outside of Kubernetes have none", nodes: []string{"", "", "", "absent"},
				volumes: []volume{away("A@{1}"), neutral("B@{2}"), near("C@{3}").stale(), near("D@{?Online}")},
			},
		},
		{
			scenario: scenario{name: "S1: with disableHyperconvergence there are none", nodes: online(2), pod: off, volumes: []volume{near("A@{1}")}},
		},
		{
			scenario: scenario{
				name: "S8: a migrating virtual machine has them, though it avoids them", nodes: online(2),
				machine: placement.MachineMigrating, volumes: []volume{near("A@{1}")},
			},
			replicaNodes: "n1",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, tc.nodes)
			plan := c.mustPlan(t, tc.scenario)
			if diff := cmp.Diff(tc.replicaNodes, names(placement.ReplicaNodes(plan.Lacking(nil)))); diff != "" {
				t.Errorf("ReplicaNodes() (-want +got):\n%s", diff)
			}
			var onData []*placement.Node
			for _, n := range c.nodes {
				if len(plan.Lacking(n)) < len(plan.Lacking(nil)) {
					onData = append(onData, n)
				}
			}
			inNodeOrder := strings.Join(slices.Sorted(slices.Values(strings.Fields(orDefault(tc.onData, tc.replicaNodes)))), " ")
			if diff := cmp.Diff(inNodeOrder, names(onData)); diff != "" {
				t.Errorf("nodes that lack less than all (-want +got):\n%s", diff)
			}
		})
	}
}

func TestForbidden(t *testing.T) {
	c := newCluster(t, online(4))
	volumes := []volume{near("N@{1}"), remoteOnly("A@{3}"), away("B@{1}"), remoteOnly("C@{2,4}{2}")}
	if got := names(c.mustPlan(t, scenario{volumes: volumes}).Forbidden()); got != "n3 n2" {
		t.Errorf("F7 rules out %q, want the replica nodes of A and C, n3 n2", got)
	}
	if got := names(c.mustPlan(t, scenario{volumes: volumes, pod: off}).Forbidden()); got != "" {
		t.Errorf("F7 rules out %q although disableHyperconvergence is on", got)
	}
}

func TestRelation(t *testing.T) {
	nodes := []string{"rack=r1 zone=a region=x", "rack=r1 zone=a region=x", "rack=r2 zone=a region=x", "zone=b region=x", "", "absent",
		"rack=r3 zone=c region=y Offline", "rack=r3 zone=c region=y"}
	tests := []struct {
		name    string
		volumes []volume
		want    string
		known   bool
	}{
		{"the nearest relation to any replica of any near volume", []volume{near("A@{1}"), near("B@{5}{7,4}")},
			"local rack zone local local remote remote remote", true},
		{"without near volumes there is no relation", []volume{away("A@{1}")},
			"remote remote remote remote remote remote remote remote", false},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, nodes)
			plan := c.mustPlan(t, scenario{volumes: tc.volumes})
			var got []string
			for _, n := range c.nodes {
				relation, known := plan.Relation(n)
				if known != tc.known {
					t.Errorf("known = %t, want %t", known, tc.known)
				}
				got = append(got, relation.String())
			}
			if diff := cmp.Diff(strings.Fields(tc.want), got); diff != "" {
				t.Errorf("relations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPodWith64Volumes(t *testing.T) {
	const volumes, nodes = 64, 8
	c := newCluster(t, online(nodes))
	soft := scenario{}
	for i := range volumes {
		soft.volumes = append(soft.volumes, near(fmt.Sprintf("v%d@{%d,%d}", i, i%nodes+1, 1)))
	}
	plan := c.mustPlan(t, soft)
	for i, want := range []int64{100, 12, 12, 12, 12, 12, 12, 12} { // 8 of 64 volumes are on each node, all on n1
		if got := plan.Score(c.nodes[i]); got != want {
			t.Errorf("S4: n%d scores %d, want %d", i+1, got, want)
		}
	}
	hard := soft
	hard.pod = strict
	if confined, _ := c.mustPlan(t, hard).Confined(); names(confined) != "n1" {
		t.Errorf("F6: the pod is confined to %q, want n1", names(confined))
	}
	hard.volumes = append(hard.volumes[:volumes-1:volumes-1], near("last@{2}"))
	_, rejection := c.plan(t, hard)
	want := &placement.Rejection{Reason: placement.ReasonStrictNowhere, Blame: "last"}
	if diff := cmp.Diff(want, rejection); diff != "" {
		t.Errorf("F6: rejection (-want +got):\n%s", diff)
	}
}

// TestConcurrentUse asks one plan from many goroutines, as the scheduler does;
// the race detector judges.
func TestConcurrentUse(t *testing.T) {
	c, pod := benchmarked(t, 3)
	pod.Volumes = append(pod.Volumes, c.volume(t, remoteOnly("away@{6}")))
	plan := planFor(t, pod)
	type answer struct {
		verdict placement.Verdict
		score   int64
	}
	ask := func() (answers []answer) {
		for _, n := range c.nodes {
			answers = append(answers, answer{plan.Verdict(n), plan.Score(n)})
		}
		return answers
	}
	want := ask()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if got := ask(); !slices.Equal(got, want) {
				t.Errorf("answers %v, want %v", got, want)
			}
		})
	}
	group.Wait()
}

func orDefault(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}
