package placement_test

import (
	"testing"

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
			volumes:  []volume{near("A").unknown(), near("B@{1}").stale(), neutral("C"), neutral("D@{}{}")},
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
