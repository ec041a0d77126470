package placement_test

import (
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func TestUnschedulableNodes(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:     "F4: a node that the operator has closed is rejected, although it holds the only replica",
			nodes:    []string{"unschedulable", ""},
			volumes:  []volume{near("A@{1}")},
			verdicts: "Unschedulable ok",
		},
		{
			name:     "F4: it counts for a pod whose volumes are all unbound",
			nodes:    []string{"unschedulable", ""},
			verdicts: "Unschedulable ok",
		},
		{
			name:     "F4: it counts for a pod with a Windows volume",
			nodes:    []string{"unschedulable", ""},
			volumes:  []volume{windows("W@{1}")},
			verdicts: "Unschedulable ok",
		},
		{
			name:     "F4: it counts for a pod with disableHyperconvergence",
			nodes:    []string{"unschedulable", ""},
			pod:      off,
			volumes:  []volume{near("A@{1}")},
			verdicts: "Unschedulable ok",
		},
		{
			name:     "F4: it is told before what storage says of the node",
			nodes:    []string{"unschedulable Offline", "unschedulable NoDriver", ""},
			volumes:  []volume{near("A@{3}")},
			verdicts: "Unschedulable Unschedulable ok",
		},
	})
}

func TestStorageStates(t *testing.T) {
	states := []string{"Online", "StorageDown", "Degraded", "Offline", "NoDriver", "Unheard", "absent"}
	const verdicts = "ok ok Degraded Offline NoDriver Offline NoDriver"
	runScenarios(t, []scenario{
		{
			name:     "F5: Online and StorageDown nodes serve; the others have a reason for each state",
			nodes:    states,
			volumes:  []volume{near("A@{1}")},
			verdicts: verdicts,
		},
		{
			name:     "F5: it counts for a pod whose volumes are all unbound",
			nodes:    states,
			verdicts: verdicts,
		},
		{
			name:     "F5: it counts for a pod with neutral volumes only",
			nodes:    states,
			volumes:  []volume{neutral("A@{1}"), neutral("D")},
			verdicts: verdicts,
		},
		{
			name:     "F5: it counts for a pod with away volumes only",
			nodes:    states,
			volumes:  []volume{away("A@{1}")},
			verdicts: verdicts,
		},
		{
			name:     "F5: it counts for a pod with disableHyperconvergence",
			nodes:    states,
			pod:      off,
			volumes:  []volume{near("A@{1}")},
			verdicts: verdicts,
		},
		{
			name:     "F5: it counts while the replicas of a volume are unknown",
			nodes:    states,
			volumes:  []volume{near("A").unknown()},
			verdicts: verdicts,
		},
		{
			name:     "F5: it is told before F6",
			nodes:    []string{"Online", "Offline", "Degraded", "Online"},
			pod:      strict,
			volumes:  []volume{near("A@{1,2}")},
			verdicts: "ok Offline Degraded NotLocal",
		},
		{
			name:     "F5: it is told before F7",
			nodes:    []string{"Online", "Offline", "Online"},
			volumes:  []volume{remoteOnly("A@{1,2}")},
			verdicts: "RemoteOnly Offline ok",
		},
	})
}

func TestStrictPods(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:     "F6: only replica nodes are feasible",
			nodes:    online(4),
			pod:      strict,
			volumes:  []volume{near("A@{2,4}")},
			verdicts: "NotLocal ok NotLocal ok",
		},
		{
			name:     "F6: a node must be a replica node of all near volumes",
			nodes:    online(5),
			pod:      strict,
			volumes:  []volume{near("A@{1,2,3}"), near("B@{2,3,4}"), near("C@{5,3}")},
			verdicts: "NotLocal NotLocal ok NotLocal NotLocal",
		},
		{
			name:     "F6: a partial replica node of an aggregated volume is no replica node",
			nodes:    online(5),
			pod:      strict,
			volumes:  []volume{near("A@{1,2}{2,3}{4,2}")},
			verdicts: "NotLocal ok NotLocal NotLocal NotLocal",
		},
		{
			name:     "F6: an aggregated volume that no node holds whole leaves no node",
			nodes:    online(3),
			pod:      strict,
			volumes:  []volume{near("A@{1}{2}")},
			rejected: placement.ReasonStrictNowhere + ": A",
		},
		{
			name:     "F6: a StorageDown replica node counts",
			nodes:    []string{"StorageDown", "", ""},
			pod:      strict,
			volumes:  []volume{near("A@{1,2}")},
			verdicts: "ok ok NotLocal",
		},
		{
			name:     "F6: an Offline replica node does not become feasible",
			nodes:    []string{"Offline", "", ""},
			pod:      strict,
			volumes:  []volume{near("A@{1,2}")},
			verdicts: "Offline ok NotLocal",
		},
		{
			name:     "F6: away, neutral, direct and unknown away volumes are exempt",
			nodes:    online(3),
			pod:      strict,
			volumes:  []volume{away("A@{2}"), near("B@{1}"), neutral("C@{3}"), neutral("D"), away("E").unknown(), neutral("F").unknown()},
			verdicts: "ok NotLocal NotLocal",
		},
		{
			name:     "F6: a strict pod without near volumes runs anywhere",
			nodes:    online(3),
			pod:      strict,
			volumes:  []volume{away("A@{2}"), neutral("B@{1}")},
			verdicts: "ok ok ok",
		},
		{
			name:     "F6: a strict pod whose volumes are all unbound runs anywhere",
			nodes:    online(3),
			pod:      strict,
			verdicts: "ok ok ok",
		},
		{
			name:     "F6: the reason names the volume that leaves no node",
			nodes:    online(4),
			pod:      strict,
			volumes:  []volume{near("A@{1,2}"), near("B@{2,3}"), near("C@{3,4}"), near("D@{1}")},
			rejected: placement.ReasonStrictNowhere + ": C",
		},
		{
			name:     "F6: a replica on a storage node without a Kubernetes node is nowhere to run",
			nodes:    online(2),
			pod:      strict,
			volumes:  []volume{near("A@{?Online,2}")},
			verdicts: "NotLocal ok",
		},
		{
			name:     "F6: replicas on storage nodes without Kubernetes nodes alone leave no node",
			nodes:    online(2),
			pod:      strict,
			volumes:  []volume{near("A@{?Online,?Online}")},
			rejected: placement.ReasonStrictNowhere + ": A",
		},
		{
			name:     "F6: replicas of two sets outside of Kubernetes do not make a node that holds both",
			nodes:    online(2),
			pod:      strict,
			volumes:  []volume{near("A@{?Online}{?Online}")},
			rejected: placement.ReasonStrictNowhere + ": A",
		},
		{
			name:     "F6: a node that storage knows nothing about is not local",
			nodes:    []string{"", "absent"},
			pod:      strict,
			volumes:  []volume{near("A@{1,?Online}")},
			verdicts: "ok NoDriver",
		},
		{
			name:     "F6: an unknown near volume holds the pod back",
			nodes:    online(2),
			pod:      strict,
			volumes:  []volume{near("A@{1}"), near("B").unknown()},
			rejected: placement.ReasonStrictUnknown + ": B",
		},
		{
			name:     "F6: a near volume that is known no more holds the pod back with a reason of its own",
			nodes:    online(2),
			pod:      strict,
			volumes:  []volume{near("A@{1}"), near("B@{1}").stale()},
			rejected: placement.ReasonStrictStale + ": B",
		},
		{
			name:     "F6: a soft pod does not wait for unknown volumes",
			nodes:    online(2),
			volumes:  []volume{near("A").unknown(), near("B@{1}").stale()},
			verdicts: "ok ok",
		},
		{
			name:     "F6: disableHyperconvergence does not lift it",
			nodes:    online(3),
			pod:      strictOff,
			volumes:  []volume{near("A@{3}")},
			verdicts: "NotLocal NotLocal ok",
		},
		{
			name:     "F6: disableHyperconvergence does not make unknown volumes known",
			nodes:    online(3),
			pod:      strictOff,
			volumes:  []volume{near("A").unknown()},
			rejected: placement.ReasonStrictUnknown + ": A",
		},
		{
			name:     "F6: a migrating virtual machine stays strict",
			nodes:    online(3),
			pod:      strict,
			machine:  placement.MachineMigrating,
			volumes:  []volume{near("A@{1,2}").attached(1)},
			verdicts: "ok ok NotLocal",
		},
	})
}

func TestRemoteOnlyVolumes(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:     "F7: replica nodes are rejected, StorageDown ones included",
			nodes:    []string{"", "StorageDown", "", "StorageDown"},
			volumes:  []volume{remoteOnly("A@{1,2}")},
			verdicts: "RemoteOnly RemoteOnly ok ok",
		},
		{
			name:     "F7: partial replica nodes are not rejected, they score 0",
			nodes:    online(4),
			volumes:  []volume{remoteOnly("A@{1,2}{1,3}")},
			verdicts: "RemoteOnly ok ok ok",
			scores:   "0 0 0 100",
		},
		{
			name:     "F7: away volumes that only prefer another node reject none",
			nodes:    online(3),
			volumes:  []volume{away("A@{1}"), remoteOnly("B@{2}")},
			verdicts: "ok RemoteOnly ok",
		},
		{
			name:     "F7: several volumes reject the replica nodes of each",
			nodes:    online(4),
			volumes:  []volume{remoteOnly("A@{1,2}"), remoteOnly("B@{2,3}")},
			verdicts: "RemoteOnly RemoteOnly RemoteOnly ok",
		},
		{
			name:     "F7: near volumes of the same pod change nothing",
			nodes:    online(3),
			volumes:  []volume{near("A@{1,2}"), remoteOnly("B@{2}")},
			verdicts: "ok RemoteOnly ok",
		},
		{
			name:     "F7: with disableHyperconvergence it does not apply",
			nodes:    online(3),
			pod:      off,
			volumes:  []volume{remoteOnly("A@{1,2,3}")},
			verdicts: "ok ok ok",
		},
		{
			name:     "F7: a replica outside of Kubernetes rejects no node",
			nodes:    []string{"", "absent"},
			volumes:  []volume{remoteOnly("A@{?Online}")},
			verdicts: "ok NoDriver",
		},
		{
			name:     "F7: an unknown volume rejects no node",
			nodes:    online(2),
			volumes:  []volume{remoteOnly("A").unknown()},
			verdicts: "ok ok",
		},
		{
			name:     "F7: replicas that are known no more reject no node",
			nodes:    online(2),
			volumes:  []volume{remoteOnly("A@{1}").stale()},
			verdicts: "ok ok",
		},
	})
}

func TestFastVolumes(t *testing.T) {
	runScenarios(t, []scenario{
		{
			name:     "F14: a soft pod is confined to the replica nodes of a volume with fastpath, and of no other",
			nodes:    online(4),
			volumes:  []volume{fast("A@{2,4}"), near("B@{1,4}")},
			verdicts: "NotFast ok NotFast ok",
		},
		{
			name:     "F14: disableHyperconvergence does not lift it",
			nodes:    online(2),
			pod:      off,
			volumes:  []volume{fast("A@{2}")},
			verdicts: "NotFast ok",
		},
		{
			name:     "F14: a strict pod is strict about all, and told so",
			nodes:    online(3),
			pod:      strict,
			volumes:  []volume{fast("A@{1,2}"), near("B@{2,3}")},
			verdicts: "NotLocal ok NotLocal",
		},
		{
			name:     "F14: two volumes that no node holds both leave no node",
			nodes:    online(2),
			volumes:  []volume{fast("A@{1}"), fast("B@{2}")},
			rejected: placement.ReasonFastNowhere + ": B",
		},
		{
			name:     "F14: an unknown one holds the pod back, whatever the grace period",
			nodes:    online(2),
			volumes:  []volume{fast("A").unknown()},
			rejected: placement.ReasonFastUnknown + ": A",
		},
		{
			name:     "F14: so does one that is known no more",
			nodes:    online(2),
			volumes:  []volume{fast("A@{1}").stale()},
			rejected: placement.ReasonFastStale + ": A",
		},
		{
			name:     "F14: together with a remote-only volume on the same nodes it leaves none",
			nodes:    online(2),
			volumes:  []volume{fast("A@{1}"), remoteOnly("B@{1}")},
			rejected: placement.ReasonStrictRemoteOnly + ": B",
		},
	})
}

func TestWindowsPods(t *testing.T) {
	states := []string{"Online", "StorageDown", "Degraded", "Offline", "NoDriver", "Unheard", "absent"}
	const everywhere = "ok ok ok ok ok ok ok"
	runScenarios(t, []scenario{
		{
			name:     "F9: F5 does not apply",
			nodes:    states,
			volumes:  []volume{windows("W@{1}")},
			verdicts: everywhere,
		},
		{
			name:     "F9: F6 does not apply, with the Windows volume first",
			nodes:    states,
			pod:      strict,
			volumes:  []volume{windows("W@{1}"), near("A@{1}"), near("B@{2,?Online}")},
			verdicts: everywhere,
		},
		{
			name:     "F9: F6 does not apply, with the Windows volume in the middle",
			nodes:    states,
			pod:      strict,
			volumes:  []volume{near("A@{1}"), windows("W@{1}"), near("B@{2,?Online}")},
			verdicts: everywhere,
		},
		{
			name:     "F9: F6 does not apply, with the Windows volume last",
			nodes:    states,
			pod:      strict,
			volumes:  []volume{near("A@{1}"), near("B@{2,?Online}"), windows("W@{1}")},
			verdicts: everywhere,
		},
		{
			name:     "F9: F6 does not hold the pod back for unknown volumes",
			nodes:    states,
			pod:      strict,
			volumes:  []volume{near("A").unknown(), windows("W").unknown()},
			verdicts: everywhere,
		},
		{
			name:     "F9: F7 and F10 do not apply",
			nodes:    states,
			pod:      strict,
			volumes:  []volume{near("A@{1}"), remoteOnly("B@{1}"), windows("W@{1}")},
			verdicts: everywhere,
		},
		{
			name:     "F9: F8 does not apply to any volume of the pod",
			nodes:    states,
			volumes:  []volume{near("A@{2,3}"), windows("W@{4}")},
			verdicts: everywhere,
		},
		{
			name:     "F9: a Windows volume that is not bound yet counts",
			nodes:    states,
			pod:      strict,
			volumes:  []volume{near("A@{2,3}"), windows("W")},
			verdicts: everywhere,
		},
	})
}

func TestStoragePods(t *testing.T) {
	states := []string{"Online", "StorageDown", "Degraded", "Offline", "NoDriver", "Unheard", "absent", "unschedulable"}
	const everywhere = "ok ok ok ok ok ok ok ok"
	runScenarios(t, []scenario{
		{
			name:       "F11: nothing is rejected; Online is preferred to StorageDown, and that to the rest",
			nodes:      states,
			storagePod: true,
			verdicts:   everywhere,
			scores:     "100 50 0 0 0 0 0 100",
		},
		{
			name:       "F11: volumes of the pod and its annotations change nothing",
			nodes:      states,
			storagePod: true,
			pod:        strictOff,
			volumes:    []volume{near("A@{4}"), near("B").unknown(), remoteOnly("C@{4}")},
			verdicts:   everywhere,
			scores:     "100 50 0 0 0 0 0 100",
		},
	})
}

func TestVerdictReasons(t *testing.T) {
	want := map[placement.Verdict]string{
		placement.Feasible:              "",
		placement.RejectedUnschedulable: placement.ReasonNodeUnschedulable,
		placement.RejectedNoDriver:      placement.ReasonNoDriver,
		placement.RejectedDegraded:      placement.ReasonDegraded,
		placement.RejectedOffline:       placement.ReasonOffline,
		placement.RejectedNotLocal:      placement.ReasonNotLocal,
		placement.RejectedNotFast:       placement.ReasonNotFast,
		placement.RejectedRemoteOnly:    placement.ReasonRemoteOnly,
		placement.RejectedNoNewReplica:  placement.ReasonNoNewReplica,
		placement.RejectedNotLocalYet:   placement.ReasonNotLocalYet,
	}
	if len(want) != placement.VerdictCount {
		t.Errorf("VerdictCount is %d, there are %d verdicts", placement.VerdictCount, len(want))
	}
	seen := map[string]placement.Verdict{}
	for verdict, reason := range want {
		if got := verdict.Reason(); got != reason {
			t.Errorf("Verdict(%d).Reason() = %q, want %q", verdict, got, reason)
		}
		if other, found := seen[reason]; found {
			t.Errorf("verdicts %d and %d have the same reason %q", verdict, other, reason)
		}
		seen[reason] = verdict
	}
}
