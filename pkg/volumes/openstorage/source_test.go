package openstorage

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

func failingCalls(method string, code codes.Code) sim.Faults {
	return sim.Faults{Calls: map[string]sim.CallFault{method: {Code: code}}}
}

// startKnown starts with volume pvc-1 on node-1 and node-2, whose id it returns, and
// with its PV, and waits until the index knows where the volume is.
func startKnown(t *testing.T, s settings) (r *rig, id string) {
	t.Helper()
	more := s.setUp
	s.setUp = func(r *rig) {
		withVolume(&id)(r)
		if more != nil {
			more(r)
		}
	}
	r = start(t, s)
	r.addPV(pvOf("pv", id))
	r.eventuallyOn(id, "node-1", "node-2")
	return r, id
}

// withVolume makes volume pvc-1 on node-1 and node-2, and its PV.
func withVolume(id *string) func(*rig) {
	return func(r *rig) { *id = r.volume("pvc-1", "node-1", "node-2") }
}

func TestStartUpTakesTheInitialListAndAsksNothing(t *testing.T) {
	var ids []string
	var objects []runtime.Object
	c := sim.NewCluster(sim.Options{}) // has the ids that the rig's cluster will have
	for i := range 4 {
		if _, err := c.AddNode(sim.Node{SchedulerNodeName: "node-" + string(rune('1'+i))}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"pvc-1", "pvc-2", "pvc-3"} {
		v, err := c.CreateVolume(sim.CreateRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, v.GetId())
		objects = append(objects, pvOf(name, v.GetId()))
	}
	r := start(t, settings{kube: objects, setUp: func(r *rig) {
		for _, name := range []string{"pvc-1", "pvc-2", "pvc-3"} {
			r.volume(name, "node-1", "node-2")
		}
		r.volume("foreign", "node-1", "node-2")
	}})
	for _, id := range ids {
		r.eventuallyOn(id, "node-1", "node-2")
	}
	r.watching()
	if n := r.server.Calls(false)["Volume.Inspect"]; n != 0 {
		t.Errorf("%d inspects, want none: the initial list had everything", n)
	}
	if n := r.index.Handles(volumes.Verifiable); n.Len() != 3 {
		t.Errorf("%d volumes are followed, want those of the 3 PVs", n.Len())
	}
}

func TestNewPVIsInspectedAtOnce(t *testing.T) {
	var id string
	r := start(t, settings{faults: failingCalls("Watch.Watch", codes.Unimplemented), setUp: withVolume(&id)})
	r.eventuallyProblem(ReasonNoWatch, true)
	r.addPV(pvOf("pv", id))
	r.eventuallyOn(id, "node-1", "node-2")
}

func TestRequestedVolumeIsInspectedAtOnce(t *testing.T) {
	var id string
	r := start(t, settings{setUp: withVolume(&id)})
	r.watching()
	r.index.Request(id)
	r.eventuallyOn(id, "node-1", "node-2")
	r.index.Request("pvc-1")
	r.eventuallyOn("pvc-1", "node-1", "node-2")
}

func TestVolumeThatAppearsLateIsFound(t *testing.T) {
	r := start(t, settings{faults: failingCalls("Watch.Watch", codes.Unimplemented)})
	r.addPV(inTreePV("pv", "pvc-late"))
	r.eventually("the volume has been asked for", func() bool { return r.server.Calls(false)["Volume.Inspect"] > 0 })
	r.volume("pvc-late", "node-3")
	r.eventuallyOn("pvc-late", "node-3")
}

func TestReplicaMoveIsSeenThroughTheWatch(t *testing.T) {
	var id string
	r := start(t, settings{setUp: withVolume(&id)})
	r.addPV(pvOf("pv", id))
	r.addPV(inTreePV("pv-by-name", "pvc-1"))
	r.watching()
	r.eventuallyOn(id, "node-1", "node-2")
	r.must(r.cluster.MoveReplica(id, "node-2", "node-3"))
	r.eventuallyOn(id, "node-1", "node-3")
	r.eventuallyOn("pvc-1", "node-1", "node-3")
}

func TestChangeThatDoesNotMatterIsNotInspected(t *testing.T) {
	r, id := startKnown(t, settings{})
	r.watching()
	before := r.server.Calls(false)["Volume.Inspect"]
	verified := r.index.Lookup(id).Verified
	r.must(r.cluster.SetLabels(id, map[string]string{"colour": "green"}))
	r.eventually("the message has confirmed what is known", func() bool { return r.index.Lookup(id).Verified.After(verified) })
	if n := r.server.Calls(false)["Volume.Inspect"]; n != before {
		t.Errorf("%d inspects because of a label that decides nothing", n-before)
	}
}

func TestReplicaMoveIsPolledWhereThereIsNoWatch(t *testing.T) {
	r, id := startKnown(t, settings{
		config: Config{ResyncInterval: time.Second},
		faults: failingCalls("Watch.Watch", codes.Unimplemented),
	})
	r.must(r.cluster.MoveReplica(id, "node-2", "node-3"))
	r.eventuallyOn(id, "node-1", "node-3")
	r.eventuallyProblem(ReasonNoWatch, true)
	r.must(r.server.SetFaults(sim.Faults{}))
	r.eventuallyProblem(ReasonNoWatch, false)
	if current, last := r.source.audit.passes(); current.Diverged+last.Diverged > 0 {
		t.Errorf("polling is told as divergence: %+v %+v", current, last)
	}
}

func TestLostChangeIsFoundByTheResyncAndCounted(t *testing.T) {
	r, id := startKnown(t, settings{
		config: Config{ResyncInterval: 200 * time.Millisecond},
		faults: sim.Faults{Watch: sim.WatchFaults{Drop: 1}},
	})
	r.watching()
	r.must(r.cluster.MoveReplica(id, "node-2", "node-3"))
	r.eventuallyOn(id, "node-1", "node-3")
	r.eventually("the divergence is counted", func() bool {
		current, last := r.source.audit.passes()
		return slices.Contains(current.Examples, id) || slices.Contains(last.Examples, id)
	})
}

func TestOutageTakesNothingAwayAndIsMadeUpFor(t *testing.T) {
	r, id := startKnown(t, settings{})
	r.watching()
	r.server.Disconnect()
	r.eventuallyProblem(ReasonUnreachable, true)
	if got := r.holders(id); !slices.Equal(got, []string{"node-1", "node-2"}) {
		t.Errorf("during the outage the volume is on %v", got)
	}
	if entry := r.index.Lookup(id); entry.Freshness != volumes.Fresh {
		t.Errorf("during a short outage the volume is %v", entry.Freshness)
	}
	late := r.volume("pvc-late", "node-2")
	r.addPV(pvOf("pv-late", late))
	r.must(r.cluster.MoveReplica(id, "node-2", "node-3"))
	r.must(r.cluster.SetNodeState("node-4", sim.StatusOffline))
	r.must(r.server.Reconnect())
	r.eventuallyOn(id, "node-1", "node-3")
	r.eventuallyOn(late, "node-2")
	r.eventuallyState("node-4", placement.Offline)
	r.eventuallyProblem(ReasonUnreachable, false)
}

func TestVolumeThatWasRequestedDuringAnOutageStaysUrgent(t *testing.T) {
	r := start(t, settings{faults: failingCalls("Watch.Watch", codes.Unimplemented)})
	r.eventuallyProblem(ReasonNoWatch, true)
	inspects := func() int { return r.server.Calls(false)["Volume.Inspect"] }
	outage := sim.Outage()
	r.must(r.server.SetFaults(outage))
	r.addPV(inTreePV("pv", "pvc-late"))
	r.eventually("storage has been asked in vain", func() bool { return inspects() > 0 })
	asked := inspects()
	r.must(r.server.SetFaults(failingCalls("Watch.Watch", codes.Unimplemented)))
	r.eventually("storage has been asked again", func() bool { return inspects() > asked })
	r.volume("pvc-late", "node-3")
	r.eventuallyOn("pvc-late", "node-3") // by a retry, which only what is requested has
}

func TestLongOutageMakesEverythingStaleUntilItIsVerified(t *testing.T) {
	var id string
	r := start(t, settings{
		options: volumes.Options{MaxStaleness: 300 * time.Millisecond},
		setUp: func(r *rig) {
			withVolume(&id)(r)
			r.must(r.cluster.SetNodeState("node-4", sim.StatusOffline))
		},
	})
	r.addPV(pvOf("pv", id))
	r.eventuallyState("node-4", placement.Offline)
	r.eventuallyOn(id, "node-1", "node-2")
	r.must(r.server.SetFaults(sim.Outage()))
	r.eventuallyIs(id, volumes.Stale)
	r.eventuallyState("node-4", placement.Online) // by its driver
	r.must(r.server.SetFaults(sim.Faults{}))
	r.eventuallyIs(id, volumes.Fresh)
	r.eventuallyState("node-4", placement.Offline)
}

func TestEmptyListsTakeNothingAway(t *testing.T) {
	r, id := startKnown(t, settings{
		config: Config{ResyncInterval: 100 * time.Millisecond},
	})
	r.must(r.cluster.SetNodeState("node-1", sim.StatusStorageDown))
	r.eventuallyState("node-1", placement.StorageDown)
	r.must(r.server.SetFaults(sim.Faults{HideVolumes: 1, HideNodes: 1, LoseVolumes: 1}))
	r.server.CutWatches()
	r.eventuallyIs(id, volumes.Suspect)
	r.eventuallyProblem(ReasonNoNodes, true)
	r.eventuallyProblem(ReasonTokenBlind, true)
	if got := r.holders(id); !slices.Equal(got, []string{"node-1", "node-2"}) {
		t.Errorf("volume is on %v", got)
	}
	if got := r.index.View().Node("node-1").State; got != placement.StorageDown {
		t.Errorf("node is %v", got)
	}
	r.must(r.server.SetFaults(sim.Faults{}))
	r.eventuallyIs(id, volumes.Fresh)
	r.eventuallyProblem(ReasonNoNodes, false)
	r.eventuallyProblem(ReasonTokenBlind, false)
}

func TestWrongClusterIsReported(t *testing.T) {
	r := start(t, settings{setUp: func(r *rig) { r.volume("of-another-cluster", "node-1") },
		kube: []runtime.Object{pvOf("pv", "424242")}})
	r.eventuallyProblem(ReasonForeignCluster, true)
}

func TestDeletedVolumeBecomesSuspect(t *testing.T) {
	for _, test := range []struct {
		name   string
		faults sim.Faults
	}{
		{"when the watch says so", sim.Faults{}},
		{"when the watch forgets to", sim.Faults{Watch: sim.WatchFaults{HideDeletes: true}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var id string
			config := Config{}
			if test.faults.Watch.HideDeletes {
				config.ResyncInterval = 100 * time.Millisecond
			}
			r := start(t, settings{config: config, setUp: withVolume(&id), faults: test.faults})
			r.addPV(pvOf("pv", id))
			r.watching()
			r.eventuallyOn(id, "node-1", "node-2")
			r.must(r.cluster.DeleteVolume(id))
			r.eventuallyIs(id, volumes.Suspect)
			if got := r.holders(id); len(got) != 2 {
				t.Errorf("the last replicas are %v", got)
			}
			r.must(r.kube.CoreV1().PersistentVolumes().Delete(t.Context(), "pv", metav1.DeleteOptions{}))
			r.eventuallyIs(id, volumes.Unknown)
		})
	}
}

func TestVolumeInTheMakingIsAskedForAgain(t *testing.T) {
	r := start(t, settings{faults: failingCalls("Watch.Watch", codes.Unimplemented)})
	id := r.volume("pvc-1", "node-1")
	r.must(r.cluster.SetReplicaSets(id))
	r.addPV(pvOf("pv", id))
	r.eventually("storage has answered without replicas", func() bool {
		return r.logged("nothing of use")
	})
	r.must(r.cluster.SetReplicaSets(id, []string{"node-2"}))
	r.eventuallyOn(id, "node-2")
}

func TestNodeListMayBeLargerThanTheUsualLimit(t *testing.T) {
	r := start(t, settings{setUp: func(r *rig) {
		big := strings.Repeat("x", 64<<10)
		for i := range 80 {
			_, err := r.cluster.AddNode(sim.Node{SchedulerNodeName: "big-" + string(rune('a'+i%26)) + string(rune('a'+i/26)),
				Labels: map[string]string{"big": big}})
			r.must(err)
		}
	}})
	r.must(r.cluster.SetNodeState("node-1", sim.StatusStorageDegraded))
	r.eventuallyState("node-1", placement.Degraded)
}

func TestOnlyOneWatchIsOpen(t *testing.T) {
	r := start(t, settings{})
	for range 3 {
		r.watching()
		r.eventually("one watch is open", func() bool { return r.server.OpenWatches() == 1 })
		opened := r.server.Calls(false)["Watch.Watch"]
		r.server.CutWatches()
		r.eventually("the watch is opened again", func() bool { return r.server.Calls(false)["Watch.Watch"] > opened })
	}
}

func TestWatchIsNotOpenedAgainBeforeTheBackoff(t *testing.T) {
	r := start(t, settings{config: Config{WatchBackoff: time.Hour}})
	r.watching()
	r.server.CutWatches()
	r.eventually("the end of the watch is noticed", func() bool { return !r.source.watchIs(watchOpen) })
	r.eventually("the next attempt is an hour away", func() bool { return r.logged("nextAttemptIn=\"59m") || r.logged("nextAttemptIn=\"1h") })
	if n := r.server.Calls(false)["Watch.Watch"]; n != 1 {
		t.Errorf("%d watches were opened", n)
	}
}

func TestSignalLogsTheState(t *testing.T) {
	r, _ := startKnown(t, settings{kube: []runtime.Object{pvOf("gone", "424242")}})
	r.must(syscall.Kill(syscall.Getpid(), syscall.SIGUSR2))
	r.eventually("the state is logged", func() bool {
		return r.logged("Dump of the volume index") && r.logged("volumes=2 fresh=1") &&
			r.logged("424242") && r.logged(`endpoint="`+r.server.Endpoint())
	})
}
