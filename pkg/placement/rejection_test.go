package placement_test

import (
	"testing"
	"time"

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
			name:     "F8: each stripe needs an Online holder",
			nodes:    []string{"Offline", "", ""},
			volumes:  []volume{near("A@{1}{2}")},
			rejected: placement.ReasonNoOnlineReplica + ": A",
		},
		{
			name:     "F8: one Online holder of each stripe is enough",
			nodes:    []string{"Offline", "", ""},
			volumes:  []volume{near("A@{1,2}{2,3}{1,3}")},
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

// A node that was rebuilt has an old record, which is Offline, and a new one. What
// lies under the old one is not there.
func TestReplicaCountsByItsOwnRecord(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:     "F8: an Offline record of a node that is Online is no Online holder",
			nodes:    online(2),
			volumes:  []volume{near("A@{1?Offline}")},
			rejected: placement.ReasonNoOnlineReplica + ": A",
		},
		{
			name:     "F6: a strict pod is not confined to a node whose record is an old one",
			nodes:    online(3),
			pod:      strict,
			volumes:  []volume{near("A@{1?Offline,2}")},
			verdicts: "NotLocal ok NotLocal",
		},
		{
			name:     "F7: the node of an old record is not forbidden",
			nodes:    online(3),
			volumes:  []volume{remoteOnly("A@{1?Offline,2}")},
			verdicts: "ok RemoteOnly ok",
			scores:   "100 0 100",
		},
		{
			name:    "S2: an old record gives no tiers",
			nodes:   []string{"rack=a", "rack=b", "rack=a"},
			volumes: []volume{near("A@{1?Offline,2}")},
			scores:  "0 100 0",
		},
		{
			name:    "S2: a record that is StorageDown counts half on a node that is Online",
			nodes:   []string{"", ""},
			volumes: []volume{near("A@{1?StorageDown,?Online}")},
			scores:  "50 0",
		},
	})
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

func TestTooManyVolumes(t *testing.T) {
	decide := func(count int, ours bool) placement.Decision {
		pod := placement.Pod{Claims: make([]placement.PodClaim, count)}
		for i := range pod.Claims {
			pod.Claims[i] = placement.PodClaim{State: placement.ClaimUnbound, Ours: ours}
		}
		return placement.Decide(&pod, &placement.Settings{Tiers: placement.DefaultTiers}, time.Now())
	}
	if d := decide(placement.MaxVolumes, true); d.Rejection != nil {
		t.Errorf("F12: %d volumes are rejected: %s", placement.MaxVolumes, d.Rejection.Message())
	}
	want := &placement.Rejection{Reason: placement.ReasonTooManyVolumes, Blame: "1024 at most"}
	if diff := cmp.Diff(want, decide(placement.MaxVolumes+1, true).Rejection); diff != "" {
		t.Errorf("F12: rejection (-want +got):\n%s", diff)
	}
	if d := decide(2*placement.MaxVolumes, false); d.Concerned || d.Rejection != nil {
		t.Error("F12: volumes of other drivers are counted")
	}
}
