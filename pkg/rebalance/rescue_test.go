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
		w.nodes = append(w.nodes, NodeState{Name: fmt.Sprintf("n%d", i+1), State: placement.Online, HasVolumes: true, Listed: true})
	}
	w.nodes[0].State = placement.Offline
	w.pod.Node = "n1"
	w.stranded = []Stranded{{Pod: w.pod, Elsewhere: true}}
	w.w.landings = map[string]Landing{}
	for i := range 3 {
		w.w.landings[fmt.Sprintf("db-%d", i)] = Landing{Node: "n2"}
	}
	return w
}

// strand has the other pod of the set stand on n1, too.
func (w *wreck) strand() *RunningPod {
	second := &w.s.Pods[1]
	second.Node, second.Locality = "n1", placement.LocalityRemote
	w.stranded = append(w.stranded, Stranded{Pod: second, Elsewhere: true})
	return second
}

func (w *wreck) salvage() Salvage {
	l := w.losses()
	if w.back {
		w.nodes[0].State = placement.Online
	}
	return l.Salvage(noon, w.c, w.s, w.j, w.w, w.nodes, w.stranded)
}

func (w *wreck) losses() *Losses {
	l := &Losses{}
	for i := w.lists - 1; i >= 0; i-- {
		l.Observe(list(-time.Duration(i)*w.every), w.nodes)
	}
	return l
}

// list is the node list of a time, counted from noon.
func list(at time.Duration) *Storage { return &Storage{NodeList: noon.Add(at), List: int64(at) + 1} }

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
		{"the driver was never there as far as storage knows", func(w *wreck) { w.nodes[0].State, w.nodes[0].Listed = placement.NoDriver, false }, nothing},
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
		{"most nodes have no storage, and tenants have pods with volumes there", func(w *wreck) {
			for i := range 6 {
				w.nodes = append(w.nodes, NodeState{Name: fmt.Sprint("compute-", i), HasVolumes: true})
			}
		}, evict},
		{"half of the others are degraded", func(w *wreck) { w.nodes[1].State, w.nodes[2].State = placement.Degraded, placement.Degraded }, blind},
		{"it is ready, and nobody else has its data", func(w *wreck) { w.stranded[0].Elsewhere = false }, nothing},
		{"it is not ready", func(w *wreck) { w.stranded[0].Elsewhere, w.pod.ReadySince = false, time.Time{} }, evict},
		{"it is ready, and fits nowhere else", func(w *wreck) { w.w.landings["db-0"] = Landing{Message: "0/5 nodes"} }, nothing},
		{"it is ready, and would come there again", func(w *wreck) { w.w.landings["db-0"] = Landing{Node: "n1"} }, nothing},
		{"it is ready, and might come there again", func(w *wreck) { w.w.landings["db-0"] = Landing{Node: "n2", Equals: []string{"n1"}} }, nothing},
		{"it is not ready, and fits nowhere else", func(w *wreck) {
			w.w.landings["db-0"], w.pod.ReadySince = Landing{}, time.Time{}
		}, evict},
		{"it is ready, and a pending pod takes the room", func(w *wreck) {
			w.s.Pending, w.w.room = []Pending{{Name: "web"}}, map[string]int{"n2": 1}
		}, nothing},
		{"it is ready, and would lose an emptyDir", func(w *wreck) { w.pod.LocalData = true }, nothing},
		{"it may lose an emptyDir", func(w *wreck) { w.pod.LocalData, w.c.AllowLocalData = true, true }, evict},
		{"it is not ready, and loses an emptyDir", func(w *wreck) { w.pod.LocalData, w.pod.ReadySince = true, time.Time{} }, evict},
		{"the other pod of its owner has no node", func(w *wreck) { w.s.Pods, w.owner.Unplaced = w.s.Pods[:1], 1 }, nothing},
		{"the other pod of its owner is leaving", func(w *wreck) { w.s.Pods[1].Terminating = true }, nothing},
		{"the other pod of its owner is on its way home", func(w *wreck) { w.j.Evictions = []Eviction{{Owner: "set"}} }, nothing},
		{"its successor would be of another revision", func(w *wreck) { w.pod.Outdated = true }, nothing},
		{"it is of kube-system", func(w *wreck) { w.pod.Namespace = "kube-system" }, nothing},
		{"nobody would make it anew", func(w *wreck) { w.pod.Owner = "" }, nothing},
		{"a DaemonSet would make it there again", func(w *wreck) { w.owner.Kind = "DaemonSet.apps" }, nothing},
		{"a kind that is not known to make it anew", func(w *wreck) { w.owner.Kind = "Job.batch" }, nothing},
		{"another scheduler would place it", func(w *wreck) { w.pod.Foreign = true }, nothing},
		{"it has come since storage is gone", func(w *wreck) { w.pod.Created = noon.Add(-time.Minute) }, nothing},
		{"it has come since, and does not get ready for long", func(w *wreck) {
			w.lists, w.every = 100, time.Minute
			w.pod.Created, w.pod.ReadySince = noon.Add(-10*time.Minute), time.Time{}
		}, nothing},
		{"the node is back, and no list has said so yet", func(w *wreck) { w.back = true }, nothing},
		{"a machine that cannot migrate", func(w *wreck) { w.pod.Machine = Immovable; dead(w) }, nothing},
		{"a machine's pod that nothing is known of", func(w *wreck) { w.owner.Kind = kindMachine }, nothing},
		{"a machine that can", func(w *wreck) { w.pod.Machine, w.s.Pods = Migratable, w.s.Pods[:1]; w.owner.Wanted = 1; dead(w) }, evict},
		{"it ends already", func(w *wreck) { w.pod.Terminating = true }, nothing},
		{"it ends on a dead node", func(w *wreck) { w.pod.Terminating = true; dead(w) }, remove},
		{"the node is dead", dead, remove},
		{"the node is dead, without the second switch", func(w *wreck) { dead(w); w.c.Rescue.ForceDelete = false }, evict},
		{"Kubernetes reaches the node", func(w *wreck) { dead(w); w.nodes[0].Unreachable = false }, evict},
		{"storage has not lost the node", func(w *wreck) { dead(w); w.nodes[0].Lost = false }, evict},
		{"the controller is paused", func(w *wreck) { w.s.Paused = true }, nothing},
		{"a tenant's pod has halted the return", func(w *wreck) { w.j.Halt = &Halt{} }, evict},
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
		l.Observe(list(time.Duration(i-29)*10*time.Second), w.nodes)
	}
	w.nodes[0].State = placement.Offline
	if s := l.Salvage(noon, w.c, w.s, w.j, w.w, w.nodes, w.stranded); len(s.Evict) != 0 {
		t.Error("a node that was Online a moment ago is given up")
	}
}

func TestAListThatIsSeenTwiceIsOne(t *testing.T) {
	w, l := newWreck(), &Losses{}
	for i := range 10 { // of each look the clock says something else
		l.Observe(&Storage{NodeList: noon.Add(-5*time.Minute + time.Duration(i)), List: 1}, w.nodes)
	}
	if s := l.Salvage(noon, w.c, w.s, w.j, w.w, w.nodes, w.stranded); len(s.Evict) != 0 {
		t.Error("one list is taken for ten")
	}
}

// A set that has two ready pods there goes on with the other, be they evicted or deleted.
func TestOneReadyPodOfAnOwnerIsRescuedAtATime(t *testing.T) {
	for _, dead := range []bool{false, true} {
		w := newWreck()
		w.c.Rescue.ForceDelete, w.nodes[0].Unreachable, w.nodes[0].Lost = dead, dead, dead
		w.strand()
		if s := w.salvage(); len(s.Evict)+len(s.Delete) != 1 {
			t.Errorf("rescued are %v and %v", s.Evict, s.Delete)
		}
	}
}

func TestAllPodsOfAnOwnerThatAreNotReadyAreRescuedAtOnce(t *testing.T) {
	w := newWreck()
	w.pod.ReadySince, w.strand().ReadySince = time.Time{}, time.Time{}
	if s := w.salvage(); len(s.Evict) != 2 {
		t.Errorf("rescued are %v", s.Evict)
	}
}

// Of an owner whose pod goes home at this look none is rescued.
func TestTheRescueKnowsWhoHasJustGoneHome(t *testing.T) {
	w := newWreck()
	w.strand()
	w.pod.Node, w.stranded, w.w.landings["db-0"] = "n4", w.stranded[1:], home
	plan := w.decide(Demand{})
	if len(plan.Moves) != 1 || !plan.Moves[0].Now {
		t.Fatal(plan.Kept)
	}
	w.j.Begin(noon, w.c, w.s, &plan.Moves[0])
	w.j.Accept(w.pod.UID)
	if s := w.salvage(); len(s.Evict) != 0 {
		t.Errorf("%s and %s, all pods of one owner, go at one look", plan.Moves[0].Pod.Name, s.Evict[0].Name)
	}
}

// Pods of which a budget lets none go, more than fit into the batches of five minutes.
func TestPodsThatMayNotGoKeepNobodyFromTheRescue(t *testing.T) {
	w := newWreck()
	w.stranded, w.s.Pods = nil, nil
	for i := range 101 {
		p := remotePod(fmt.Sprintf("db-%03d", i), types.UID(fmt.Sprint("set-", i)))
		p.Node, p.Priority, p.ReadySince = "n1", int32(100-i), time.Time{} //nolint:gosec // counts to 101
		w.s.Owners[p.Owner] = &Owner{UID: p.Owner, Kind: kindStatefulSet}
		w.stranded = append(w.stranded, Stranded{Pod: &p})
	}
	l, now, asked := w.losses(), noon, map[string]int{}
	for range 2 * 101 / w.c.Rescue.Batch {
		w.s.Storage.NodeList = now
		for _, p := range l.Salvage(now, w.c, w.s, w.j, w.w, w.nodes, w.stranded).Evict {
			asked[p.Name]++
			l.Tried(now, p.UID)
		}
		now = now.Add(w.c.Interval.Duration)
	}
	if asked["db-100"] == 0 {
		t.Error("nobody asks for the least important one")
	}
	if asked["db-000"] != 2 {
		t.Errorf("the most important one is asked for %d times", asked["db-000"])
	}
}

// Pods with a finalizer on a dead node, and machines that KubeVirt does not migrate.
func TestPodsThatStayAfterTheirRescueKeepNobodyFromIt(t *testing.T) {
	for name, machine := range map[string]Mobility{"their finalizers hold them": NoMachine, "they do not migrate": Migratable} {
		t.Run(name, func(t *testing.T) {
			w := newWreck()
			w.c.Rescue.ForceDelete, w.nodes[0].Unreachable, w.nodes[0].Lost = true, true, true
			w.stranded, w.s.Pods = nil, nil
			for i := range w.c.Rescue.Batch + 1 {
				p := remotePod(fmt.Sprintf("db-%03d", i), types.UID(fmt.Sprint("set-", i)))
				p.Node, p.Priority, p.ReadySince, p.Machine = "n1", 1, time.Time{}, machine
				if i == w.c.Rescue.Batch {
					p.Priority, p.Machine = 0, NoMachine
				}
				w.s.Owners[p.Owner] = &Owner{UID: p.Owner, Kind: kindStatefulSet}
				w.stranded = append(w.stranded, Stranded{Pod: &p})
			}
			l, now, last := w.losses(), noon, w.stranded[w.c.Rescue.Batch].Pod.Name
			for range 2 {
				w.s.Storage.NodeList = now
				s := l.Salvage(now, w.c, w.s, w.j, w.w, w.nodes, w.stranded)
				for _, p := range s.Evict {
					l.Taken(now, p, false)
				}
				for _, p := range s.Delete {
					if p.Name == last {
						return
					}
					l.Taken(now, p, true)
				}
				now = now.Add(w.c.Interval.Duration)
			}
			t.Error("nobody asks for the last one")
		})
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
		p.ReadySince = time.Time{}
		w.stranded = append(w.stranded, Stranded{Pod: &p})
	}
	var got []string
	for _, p := range w.salvage().Evict {
		got = append(got, p.Name)
	}
	if diff := cmp.Diff([]string{"db-1", "db-2"}, got); diff != "" {
		t.Error(diff)
	}
}
