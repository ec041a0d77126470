package placement_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func TestVolumesWithoutOnlineReplica(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:     "F8: a volume whose holders are all Offline rejects the pod everywhere",
			nodes:    []string{"Offline", "Offline", ""},
			volumes:  []volume{near("A@{3}"), near("B@{1,2}")},
			rejected: placement.ReasonNoOnlineReplica + ": B",
		},
		{
			name:     "F8: StorageDown and Degraded holders are not Online",
			nodes:    []string{"StorageDown", "Degraded", ""},
			volumes:  []volume{near("A@{1,2}")},
			rejected: placement.ReasonNoOnlineReplica + ": A",
		},
		{
			name:     "F8: one Online holder is enough",
			nodes:    []string{"Offline", "StorageDown", ""},
			volumes:  []volume{near("A@{1,2,3}")},
			verdicts: "Offline ok ok",
		},
		{
			name:     "F8: one Online holder of any stripe is enough",
			nodes:    []string{"Offline", "", ""},
			volumes:  []volume{near("A@{1}{2}")},
			verdicts: "Offline ok ok",
		},
		{
			name:     "F8: an Online storage node that no Kubernetes node is counts",
			nodes:    []string{"Offline", ""},
			volumes:  []volume{near("A@{1,?Online}")},
			verdicts: "Offline ok",
		},
		{
			name:     "F8: other storage nodes without a Kubernetes node do not",
			nodes:    []string{"Offline", ""},
			volumes:  []volume{near("A@{1,?StorageDown,?Offline,?Degraded}")},
			rejected: placement.ReasonNoOnlineReplica + ": A",
		},
		{
			name:     "F8: away volumes need an Online holder as well",
			nodes:    []string{"Offline", ""},
			volumes:  []volume{away("A@{1}")},
			rejected: placement.ReasonNoOnlineReplica + ": A",
		},
		{
			name:     "F8: neutral volumes with replicas need an Online holder as well",
			nodes:    []string{"Offline", ""},
			volumes:  []volume{neutral("A@{1}")},
			rejected: placement.ReasonNoOnlineReplica + ": A",
		},
		{
			name:     "F8: disableHyperconvergence does not lift it",
			nodes:    []string{"Offline", ""},
			pod:      off,
			volumes:  []volume{near("A@{1}")},
			rejected: placement.ReasonNoOnlineReplica + ": A",
		},
		{
			name:     "F8: unknown volumes, stale ones and volumes without replicas reject nothing",
			nodes:    []string{"Offline", ""},
			volumes:  []volume{near("A").unknown(), near("B@{1}").stale(), neutral("C")},
			verdicts: "Offline ok",
		},
		{
			name:     "F8: it is told before F6",
			nodes:    []string{"Offline", ""},
			pod:      strict,
			volumes:  []volume{near("A").unknown(), near("B@{1}")},
			rejected: placement.ReasonNoOnlineReplica + ": B",
		},
	})
}

func TestHolderIsJudgedByItsNode(t *testing.T) {
	c := newCluster(t, online(2))
	pod := placement.Pod{Volumes: []placement.Volume{{
		Name:   "A",
		Policy: placement.Policy{Kind: placement.Near, Weight: 1},
		Sets:   []placement.ReplicaSet{{{Node: c.nodes[0], State: placement.Offline}}},
	}}}
	plan, rejection := placement.NewPlan(pod, placement.DefaultTierScores)
	if rejection != nil {
		t.Fatalf("F8: an Offline record beside the node's Online one rejects the pod: %s", rejection.Message())
	}
	if got := plan.Score(c.nodes[0]); got != 100 {
		t.Errorf("S2: the replica node scores %d, want 100", got)
	}
}

func TestStrictAndRemoteOnly(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:     "F10: strict and remote-only on the same nodes leave none",
			nodes:    online(4),
			pod:      strict,
			volumes:  []volume{near("A@{1,2}"), remoteOnly("B@{1,2,3}")},
			rejected: placement.ReasonStrictRemoteOnly + ": B",
		},
		{
			name:     "F10: it does not matter which of the volumes comes first",
			nodes:    online(4),
			pod:      strict,
			volumes:  []volume{remoteOnly("B@{1,2,3}"), near("A@{1,2}")},
			rejected: placement.ReasonStrictRemoteOnly + ": B",
		},
		{
			name:     "F10: several remote-only volumes can leave none together",
			nodes:    online(4),
			pod:      strict,
			volumes:  []volume{near("A@{1,2}"), remoteOnly("B@{1}"), remoteOnly("C@{2}")},
			rejected: placement.ReasonStrictRemoteOnly + ": C",
		},
		{
			name:     "F10: where a replica node is left the pod runs there",
			nodes:    online(4),
			pod:      strict,
			volumes:  []volume{near("A@{1,2}"), remoteOnly("B@{2,3}")},
			verdicts: "ok RemoteOnly NotLocal NotLocal",
		},
		{
			name:     "F10: disableHyperconvergence lifts F7 and F10 with it",
			nodes:    online(3),
			pod:      strictOff,
			volumes:  []volume{near("A@{1,2}"), remoteOnly("B@{1,2}")},
			verdicts: "ok ok NotLocal",
		},
		{
			name:     "F10: partial replica nodes of the remote-only volume are left",
			nodes:    online(3),
			pod:      strict,
			volumes:  []volume{near("A@{1,2}"), remoteOnly("B@{1,2}{1}")},
			verdicts: "RemoteOnly ok NotLocal",
		},
		{
			name:     "F10: an unknown remote-only volume is no contradiction",
			nodes:    online(3),
			pod:      strict,
			volumes:  []volume{near("A@{1}"), remoteOnly("B@{1}").stale()},
			verdicts: "ok NotLocal NotLocal",
		},
		{
			name:     "F10: a pod that is strict without near volumes is only remote",
			nodes:    online(2),
			pod:      strict,
			volumes:  []volume{remoteOnly("B@{1}")},
			verdicts: "RemoteOnly ok",
		},
	})
}

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

func TestPreferred(t *testing.T) {
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
				name: "the replica nodes of all near volumes are one group", nodes: online(4),
				volumes: []volume{near("A@{2}"), near("B@{2,3}")},
			},
			want: []string{"n2 n3"},
		},
		{
			scenario: scenario{
				name: "nodes that hold a part of a volume come after those that hold a whole one, each once", nodes: online(5),
				volumes: []volume{near("A@{1,2}{1,3}{1,2}")},
			},
			want: []string{"n1", "n2 n3"},
		},
		{
			scenario: scenario{
				name: "a part of one volume does not hide the whole of another", nodes: online(3),
				volumes: []volume{near("A@{1}{2}"), near("B@{2}")},
			},
			want: []string{"n2", "n1"},
		},
		{
			scenario: scenario{name: "parts alone are one group", nodes: online(3), volumes: []volume{near("A@{1}{2}")}},
			want:     []string{"n1 n2"},
		},
		{
			scenario: scenario{
				name:    "nodes that F4, F5 and F7 reject are left out",
				nodes:   []string{"unschedulable", "Offline", "Degraded", "NoDriver", "", "StorageDown", ""},
				volumes: []volume{near("A@{1,2,3,4,5,6,7}"), remoteOnly("B@{5}")},
			},
			want: []string{"n6 n7"},
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
				name: "S8: a virtual machine that starts is tried on its replica nodes first", nodes: online(3),
				machine: placement.MachineStarting, volumes: []volume{near("A@{2}")},
			},
			want: []string{"n2"},
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
			for _, group := range c.mustPlan(t, tc.scenario).Preferred() {
				got = append(got, names(group))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReplicaNodes(t *testing.T) {
	tests := []struct {
		scenario
		// replicaNodes and onData are judged alike, except where onData is given.
		replicaNodes string
		onData       string
	}{
		{
			scenario:     scenario{name: "the replica nodes of all near volumes, each once", nodes: online(5), volumes: []volume{near("A@{2,1}"), near("B@{1,3}")}},
			replicaNodes: "n2 n1 n3", onData: "n1 n2 n3",
		},
		{
			scenario:     scenario{name: "partial replica nodes are none", nodes: online(3), volumes: []volume{near("A@{1,2}{1,3}")}},
			replicaNodes: "n1", onData: "n1",
		},
		{
			scenario:     scenario{name: "an Offline replica node is still one", nodes: []string{"Offline", ""}, volumes: []volume{near("A@{1,2}")}},
			replicaNodes: "n1 n2", onData: "n1 n2",
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
				name: "S8: a migrating virtual machine wants none, though it may be on one", nodes: online(2),
				machine: placement.MachineMigrating, volumes: []volume{near("A@{1}")},
			},
			onData: "n1",
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, tc.nodes)
			plan := c.mustPlan(t, tc.scenario)
			if diff := cmp.Diff(tc.replicaNodes, names(plan.ReplicaNodes())); diff != "" {
				t.Errorf("ReplicaNodes() (-want +got):\n%s", diff)
			}
			var onData []*placement.Node
			for _, n := range c.nodes {
				if plan.OnData(n) {
					onData = append(onData, n)
				}
			}
			if diff := cmp.Diff(tc.onData, names(onData)); diff != "" {
				t.Errorf("OnData() (-want +got):\n%s", diff)
			}
		})
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
