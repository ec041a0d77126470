package openstorage

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

var historyOperations = flag.Int("history.operations", 1500, "operations of the test that drives the source with random histories")

// TestSourceConvergesAfterAnyHistory has random things happen to a storage cluster
// and to Kubernetes while the storage API fails in all its ways. Nothing that
// Kubernetes has is forgotten meanwhile, and every time the API is well again, the
// index ends up with the truth.
func TestSourceConvergesAfterAnyHistory(t *testing.T) {
	h := &history{
		Rand:  rand.New(rand.NewPCG(1, 2)),
		pvs:   map[string]string{},
		known: map[string]bool{},
		rig: start(t, settings{nodes: 6, config: Config{
			ResyncInterval: 400 * time.Millisecond,
			RequestTimeout: 200 * time.Millisecond,
		}}),
	}
	for i := range *historyOperations {
		h.operate()
		h.nothingIsForgotten()
		if i%150 == 149 {
			h.converge()
		}
	}
}

type history struct {
	*rand.Rand
	*rig
	names []string          // of the volumes in storage
	pvs   map[string]string // PV name -> handle
	known map[string]bool   // handles that the index has known since their PV came
	moves int
}

// node is one of the nodes that come and go; node-6 stays, so that volumes can be
// made.
func (h *history) node() string { return fmt.Sprint("node-", 1+h.IntN(5)) }

// some returns the names of n nodes.
func (h *history) some(n int) []string {
	var names []string
	for _, i := range h.Perm(6)[:n] {
		names = append(names, fmt.Sprint("node-", 1+i))
	}
	return names
}

func (h *history) operate() {
	switch n := h.IntN(100); {
	case n < 15:
		h.create()
	case n < 20:
		h.deleteVolume()
	case n < 60 && len(h.names) > 0:
		name := h.names[h.IntN(len(h.names))]
		sets := [][]string{h.some(1 + h.IntN(3))}
		if h.IntN(6) == 0 {
			sets = append(sets, h.some(2))
		}
		h.must(h.cluster.SetReplicaSets(name, sets...))
	case n < 70:
		states := []sim.Status{sim.StatusOK, sim.StatusOffline, sim.StatusStorageDown, sim.StatusStorageDegraded}
		h.must(h.cluster.SetNodeState(h.node(), states[h.IntN(len(states))]))
	case n < 78:
		h.deletePV()
	case n < 90:
		h.must(h.server.SetFaults(h.faults()))
	case n < 93:
		h.server.CutWatches()
	case n < 95:
		h.server.Disconnect()
		time.Sleep(time.Duration(h.IntN(30)) * time.Millisecond)
		h.must(h.server.Reconnect())
	default:
		time.Sleep(time.Duration(h.IntN(30)) * time.Millisecond)
	}
}

func (h *history) faults() sim.Faults {
	f := sim.Faults{}
	switch h.IntN(8) {
	case 0:
		f = sim.Outage()
	case 1:
		f.HideVolumes, f.HideNodes = h.Float64(), h.Float64()
	case 2:
		f.LoseVolumes = h.Float64()
	case 3:
		f.HideVolumes, f.HideNodes, f.LoseVolumes = 1, 1, 1
	case 4:
		f.Calls = map[string]sim.CallFault{"Volume.Inspect": {Hang: true}}
	case 5:
		f.Calls = map[string]sim.CallFault{"Watch.Watch": {Code: 12}, "Volume.*": {Latency: 20 * time.Millisecond}}
	}
	f.Watch = sim.WatchFaults{Drop: h.Float64() / 2, Duplicate: h.Float64() / 2, Reorder: h.IntN(5), HideDeletes: h.IntN(2) == 0}
	if h.IntN(4) == 0 {
		f.Watch.CutAfter = 1 + h.IntN(30)
	}
	return f
}

// create makes a volume and its PV, by id or by name, sometimes in the other order.
func (h *history) create() {
	h.moves++
	name := fmt.Sprint("pvc-", h.moves)
	pvFirst := h.IntN(4) == 0
	if pvFirst {
		h.addPV(inTreePV(name, name))
		h.pvs[name] = name
	}
	id := h.volume(name, h.some(2)...)
	h.names = append(h.names, name)
	if !pvFirst && h.IntN(5) > 0 {
		h.addPV(pvOf(name, id))
		h.pvs[name] = id
	}
}

func (h *history) deleteVolume() {
	if len(h.names) == 0 {
		return
	}
	i := h.IntN(len(h.names))
	h.must(h.cluster.DeleteVolume(h.names[i]))
	h.names = slices.Delete(h.names, i, i+1)
}

func (h *history) deletePV() {
	for name, handle := range h.pvs {
		h.must(h.kube.CoreV1().PersistentVolumes().Delete(context.Background(), name, metav1.DeleteOptions{}))
		delete(h.pvs, name)
		delete(h.known, handle)
		return
	}
}

func (h *history) nothingIsForgotten() {
	for _, handle := range h.pvs {
		if h.index.Lookup(handle).Volume != nil {
			h.known[handle] = true
		} else if h.known[handle] {
			h.t.Fatalf("volume %s was known and is forgotten, although Kubernetes has it", handle)
		}
	}
}

func (h *history) converge() {
	h.must(h.server.SetFaults(sim.Faults{}))
	var difference string
	deadline := time.Now().Add(30 * time.Second)
	for {
		if difference = h.difference(); difference == "" {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("the index did not become true: %s", difference)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// difference tells what the index has wrong.
func (h *history) difference() string {
	followed := h.index.Handles(volumes.Verifiable)
	handles := map[string]bool{}
	for i := range followed.Len() {
		handles[followed.At(i)] = true
	}
	if want := maps.Collect(func(yield func(string, bool) bool) {
		for _, handle := range h.pvs {
			if !yield(handle, true) {
				return
			}
		}
	}); !maps.Equal(handles, want) {
		return fmt.Sprintf("%d handles are followed, want %d", len(handles), len(want))
	}
	for _, handle := range h.pvs {
		v, err := h.cluster.Volume(handle)
		entry := h.index.Lookup(handle)
		if err != nil {
			if entry.Freshness == volumes.Fresh {
				return fmt.Sprintf("volume %s is gone, and fresh", handle)
			}
			continue
		}
		if entry.Freshness != volumes.Fresh || entry.Volume.ID() != v.GetId() {
			return fmt.Sprintf("volume %s is %v", handle, entry.Freshness)
		}
		var want, got []string
		for _, set := range v.GetReplicaSets() {
			want = append(want, strings.Join(set.GetNodes(), " "))
		}
		for i := range entry.Volume.NumSets() {
			var set []string
			for _, ref := range entry.Volume.Set(i) {
				set = append(set, h.index.View().StorageNodeID(ref))
			}
			got = append(got, strings.Join(set, " "))
		}
		if !slices.Equal(want, got) {
			return fmt.Sprintf("volume %s is on %v, want %v", handle, got, want)
		}
	}
	for _, n := range h.cluster.Nodes() {
		node := h.index.View().Node(n.SchedulerNodeName)
		if want := stateOf(n.Status); node == nil || node.State != want {
			return fmt.Sprintf("node %s is %+v, want %v", n.SchedulerNodeName, node, want)
		}
	}
	return ""
}
