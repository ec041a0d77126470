package rebalance

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// wreck is a cluster of five nodes, of which n1 has lost its storage for three minutes and
// twenty lists, with one pod of a StatefulSet there.
type wreck struct {
	*scene
	nodes    []NodeState
	stranded []Stranded
	lists    int
	back     bool
	every    time.Duration
}

func newWreck() *wreck {
	w := &wreck{scene: newScene(), lists: 19, every: 10 * time.Second}
	w.c.Rescue.Enabled = true
	for i := range 5 {
		w.nodes = append(w.nodes, NodeState{Name: fmt.Sprintf("n%d", i+1), State: placement.Online, HasVolumes: true})
	}
	w.nodes[0].State = placement.Offline
	w.pod.Node = "n1"
	w.stranded = []Stranded{{Pod: w.pod, Elsewhere: true}}
	return w
}

func (w *wreck) salvage() Salvage {
	l := &Losses{}
	for i := w.lists - 1; i >= 0; i-- {
		l.Observe(noon.Add(-time.Duration(i)*w.every), w.nodes)
	}
	if w.back {
		w.nodes[0].State = placement.Online
	}
	return l.Salvage(noon, w.c, w.s, w.j, w.nodes, w.stranded)
}

func TestWhoIsRescued(t *testing.T) {
	const nothing, evict, remove, blind = "nothing", "evict", "delete", "blind"
	dead := func(w *wreck) {
		w.c.Rescue.ForceDelete, w.nodes[0].Unreachable, w.nodes[0].Lost = true, true, true
	}
	for _, tc := range []struct {
		name string
		do   func(w *wreck)
		want string
	}{
		{"storage is gone, and a replica is elsewhere", func(*wreck) {}, evict},
		{"rescue is off", func(w *wreck) { w.c.Rescue.Enabled = false }, nothing},
		{"the driver is gone", func(w *wreck) { w.nodes[0].State = placement.NoDriver }, evict},
		{"StorageDown nodes are left alone", func(w *wreck) { w.nodes[0].State = placement.StorageDown }, nothing},
		{"Degraded nodes are left alone", func(w *wreck) { w.nodes[0].State = placement.Degraded }, nothing},
		{"not for long enough", func(w *wreck) { w.lists = 12 }, nothing},
		{"for long enough, but by two lists", func(w *wreck) { w.lists, w.every = 2, 5*time.Minute }, nothing},
		{"by three lists", func(w *wreck) { w.lists, w.every = 3, time.Minute }, evict},
		{"most of the others are offline, too", func(w *wreck) {
			for i := range 3 {
				w.nodes[i].State = placement.Offline
			}
		}, blind},
		{"all drivers are gone", func(w *wreck) {
			for i := range w.nodes {
				w.nodes[i].State = placement.NoDriver
			}
		}, blind},
		{"half of the others are degraded", func(w *wreck) { w.nodes[1].State, w.nodes[2].State = placement.Degraded, placement.Degraded }, blind},
		{"it is ready, and nobody else has its data", func(w *wreck) { w.stranded[0].Elsewhere = false }, nothing},
		{"it is not ready", func(w *wreck) { w.stranded[0].Elsewhere, w.pod.ReadySince = false, time.Time{} }, evict},
		{"nobody would make it anew", func(w *wreck) { w.pod.Owner = "" }, nothing},
		{"a DaemonSet would make it there again", func(w *wreck) { w.owner.Kind = "DaemonSet.apps" }, nothing},
		{"a kind that is not known to make it anew", func(w *wreck) { w.owner.Kind = "Job.batch" }, nothing},
		{"another scheduler would place it", func(w *wreck) { w.pod.Foreign = true }, nothing},
		{"it has come since storage is gone", func(w *wreck) { w.pod.Created = noon.Add(-time.Minute) }, nothing},
		{"the node is back, and no list has said so yet", func(w *wreck) { w.back = true }, nothing},
		{"a machine that cannot migrate", func(w *wreck) { w.pod.Machine = Immovable; dead(w) }, nothing},
		{"a machine that can", func(w *wreck) { w.pod.Machine = Migratable; dead(w) }, evict},
		{"it ends already", func(w *wreck) { w.pod.Terminating = true }, nothing},
		{"it ends on a dead node", func(w *wreck) { w.pod.Terminating = true; dead(w) }, remove},
		{"the node is dead", dead, remove},
		{"the node is dead, without the second switch", func(w *wreck) { dead(w); w.c.Rescue.ForceDelete = false }, evict},
		{"Kubernetes reaches the node", func(w *wreck) { dead(w); w.nodes[0].Unreachable = false }, evict},
		{"storage has not lost the node", func(w *wreck) { dead(w); w.nodes[0].Lost = false }, evict},
		{"the controller is paused", func(w *wreck) { w.s.Paused = true }, nothing},
		{"everything halts", func(w *wreck) { w.j.Halt = &Halt{} }, nothing},
		{"the storage API fails", func(w *wreck) { w.s.Storage.Conditions = []string{"StorageUnreachable"} }, nothing},
		{"the node list is old", func(w *wreck) { w.s.Storage.NodeList = noon.Add(-time.Minute) }, nothing},
		{"the window is closed", func(w *wreck) { w.c.Window = window(t, "0 22 * * *", "2h", "") }, evict},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWreck()
			tc.do(w)
			s := w.salvage()
			got := nothing
			switch {
			case s.Blind:
				got = blind
			case len(s.Evict) == 1:
				got = evict
			case len(s.Delete) == 1:
				got = remove
			}
			if got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestANodeThatComesBackBeginsAnew(t *testing.T) {
	w, l := newWreck(), &Losses{}
	for i := range 30 {
		w.nodes[0].State = placement.Offline
		if i%10 == 9 {
			w.nodes[0].State = placement.Online
		}
		l.Observe(noon.Add(time.Duration(i-29)*10*time.Second), w.nodes)
	}
	w.nodes[0].State = placement.Offline
	if s := l.Salvage(noon, w.c, w.s, w.j, w.nodes, w.stranded); len(s.Evict) != 0 {
		t.Error("a node that was Online a moment ago is given up")
	}
}

func TestAListThatIsSeenTwiceIsOne(t *testing.T) {
	w, l := newWreck(), &Losses{}
	for range 10 {
		l.Observe(noon.Add(-5*time.Minute), w.nodes)
	}
	if s := l.Salvage(noon, w.c, w.s, w.j, w.nodes, w.stranded); len(s.Evict) != 0 {
		t.Error("one list is taken for ten")
	}
}

// A set that has lost two pods at once goes on with the others.
func TestOneReadyPodOfAnOwnerIsRescuedAtATime(t *testing.T) {
	w := newWreck()
	second, broken := remotePod("db-1", "set"), remotePod("db-2", "set")
	second.Node, broken.Node, broken.ReadySince = "n1", "n1", time.Time{}
	w.stranded = append(w.stranded, Stranded{Pod: &second, Elsewhere: true}, Stranded{Pod: &broken})
	if s := w.salvage(); len(s.Evict) != 2 || s.Evict[0].Name != "db-0" || s.Evict[1].Name != "db-2" {
		t.Errorf("rescued are %v", s.Evict)
	}
}

func TestTheMostImportantAreRescuedFirst(t *testing.T) {
	w := newWreck()
	w.c.Rescue.Batch = 2
	w.stranded = nil
	for i, priority := range []int32{0, 5, 1} {
		uid := types.UID(fmt.Sprintf("set-%d", i))
		w.s.Owners[uid] = &Owner{UID: uid, Kind: kindStatefulSet}
		p := remotePod(fmt.Sprintf("db-%d", i), uid)
		p.Node, p.Priority = "n1", priority
		w.stranded = append(w.stranded, Stranded{Pod: &p, Elsewhere: true})
	}
	var got []string
	for _, p := range w.salvage().Evict {
		got = append(got, p.Name)
	}
	if diff := cmp.Diff([]string{"db-1", "db-2"}, got); diff != "" {
		t.Error(diff)
	}
}
