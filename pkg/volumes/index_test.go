package volumes

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func observe(id string, nodes ...string) *Observation {
	return &Observation{ID: id, Name: "pvc-" + id, ReplicaSets: [][]string{nodes}}
}

func TestEntryGoesThroughItsStates(t *testing.T) {
	const handle = "1"
	tests := []struct {
		name    string
		happens func(ix *Index, pass func(time.Duration))
		want    Freshness
		known   bool
	}{
		{"a handle that nobody follows is unknown", func(ix *Index, _ func(time.Duration)) { ix.forget(handle) }, Unknown, false},
		{"followed, and nothing said yet", func(*Index, func(time.Duration)) {}, Unknown, false},
		{"an inspect makes it fresh", func(ix *Index, _ func(time.Duration)) { mustResolve(ix, handle, observe("1", "a")) }, Fresh, true},
		{"so does the first message of a watch", func(ix *Index, _ func(time.Duration)) { ix.Notice(observe("1", "a")) }, Fresh, true},
		{"an answer without replicas teaches nothing", func(ix *Index, _ func(time.Duration)) { mustNotResolve(ix, handle, observe("1")) }, Unknown, false},
		{"an answer about another volume teaches nothing", func(ix *Index, _ func(time.Duration)) { mustNotResolve(ix, handle, observe("2", "a")) }, Unknown, false},
		{"an answer without replicas leaves what was known", func(ix *Index, _ func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			mustNotResolve(ix, handle, observe("1"))
		}, Suspect, true},
		{"not found leaves what was known", func(ix *Index, _ func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			ix.MarkMissing(handle)
		}, Suspect, true},
		{"found again after that", func(ix *Index, _ func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			ix.MarkMissing(handle)
			mustResolve(ix, handle, observe("1", "a"))
		}, Fresh, true},
		{"a message that differs only casts doubt", func(ix *Index, _ func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			ix.Notice(observe("1", "b"))
		}, Fresh, true},
		{"a doubt that lasts makes it stale", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			ix.Notice(observe("1", "b"))
			pass(40 * time.Second)
			ix.MarkContact()
			pass(40 * time.Second)
		}, Stale, true},
		{"repeated doubts do not put that off", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			for range 4 {
				ix.Notice(observe("1", "b"))
				pass(20 * time.Second)
			}
		}, Stale, true},
		{"an inspect ends the doubt", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			ix.Notice(observe("1", "b"))
			pass(40 * time.Second)
			mustResolve(ix, handle, observe("1", "b"))
			pass(40 * time.Second)
		}, Fresh, true},
		{"but not a doubt that came up while it was under way", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			ix.BeginInspect(handle)
			ix.Notice(observe("1", "b"))
			resolve(ix, handle, observe("1", "a"))
			pass(40 * time.Second)
			ix.MarkContact()
			pass(40 * time.Second)
		}, Stale, true},
		{"a short outage changes nothing", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			pass(time.Minute)
		}, Fresh, true},
		{"an outage longer than MaxStaleness makes it stale", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			pass(time.Minute + time.Nanosecond)
		}, Stale, true},
		{"the storage API being back does not vouch for it", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			pass(2 * time.Minute)
			ix.MarkContact()
			pass(0)
		}, Stale, true},
		{"a message of the new watch does", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			pass(2 * time.Minute)
			ix.Notice(observe("1", "a"))
			pass(0)
		}, Fresh, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ix, clock := newTestIndex()
			ix.follow(handle, true)
			test.happens(ix, func(d time.Duration) {
				clock.Step(d)
				ix.step()
			})
			entry := ix.Lookup(handle)
			if entry.Freshness != test.want || (entry.Volume != nil) != test.known {
				t.Errorf("is %v, known: %v; want %v, %v", entry.Freshness, entry.Volume != nil, test.want, test.known)
			}
		})
	}
}

func resolve(ix *Index, handle string, o *Observation) {
	if _, err := ix.Resolve(handle, o); err != nil {
		panic(err)
	}
}

func mustResolve(ix *Index, handle string, o *Observation) {
	ix.BeginInspect(handle)
	resolve(ix, handle, o)
}

func mustNotResolve(ix *Index, handle string, o *Observation) {
	ix.BeginInspect(handle)
	if _, err := ix.Resolve(handle, o); err == nil {
		panic("the answer was taken")
	}
}

func TestResolveTellsWhatTheAnswerMeant(t *testing.T) {
	ix, _ := newTestIndex()
	steps := []struct {
		name   string
		before func()
		o      *Observation
		want   Verdict
	}{
		{"nobody follows it", func() {}, observe("1", "a"), Dropped},
		{"it was unknown", func() { ix.follow("1", false) }, observe("1", "a"), Learned},
		{"it is as it was", func() {}, observe("1", "a"), Confirmed},
		{"it changed and nothing said so", func() {}, observe("1", "b"), Diverged},
		{"it changed as a message said", func() { ix.Notice(observe("1", "c")) }, observe("1", "c"), Learned},
		{"it was missing for a while", func() { ix.MarkMissing("1") }, observe("1", "d"), Learned},
	}
	for _, step := range steps {
		step.before()
		ix.BeginInspect("1")
		if got, err := ix.Resolve("1", step.o); got != step.want || err != nil {
			t.Errorf("%s: %v, %v, want %v", step.name, got, err, step.want)
		}
	}
	if _, err := ix.Resolve("1", &Observation{ID: "1"}); !errors.Is(err, ErrNoReplicas) {
		t.Errorf("an answer without replicas: %v, want ErrNoReplicas", err)
	}
}

func TestRevisionChangesWithTheContentOnly(t *testing.T) {
	ix, _ := newTestIndex()
	ix.follow("1", false)
	ix.follow("2", false)
	ix.Notice(observe("1", "a"))
	first := ix.Lookup("1").Volume
	ix.Notice(observe("1", "a"))
	if again := ix.Lookup("1").Volume; again != first {
		t.Errorf("the same content became revision %d after %d", again.Revision, first.Revision)
	}
	ix.Notice(observe("2", "a"))
	mustResolve(ix, "1", observe("1", "b"))
	second, other := ix.Lookup("1").Volume.Revision, ix.Lookup("2").Volume.Revision
	if second <= first.Revision || other == second || other == first.Revision {
		t.Errorf("revisions %d, then %d, and %d of another volume", first.Revision, second, other)
	}
}

func TestVolumeIsFoundByItsNameToo(t *testing.T) {
	ix, _ := newTestIndex()
	ix.follow("pvc-1", false)
	ix.follow("1", false)
	followed, inspect := ix.Notice(observe("1", "a"))
	if !followed || len(inspect) != 0 {
		t.Errorf("followed %v, to inspect %v", followed, inspect)
	}
	for _, handle := range []string{"1", "pvc-1"} {
		if entry := ix.Lookup(handle); entry.Volume == nil || entry.Volume.ID() != "1" {
			t.Errorf("%s is %+v", handle, entry)
		}
	}
	if _, inspect = ix.Notice(observe("1", "b")); !slices.Contains(inspect, "1") || !slices.Contains(inspect, "pvc-1") {
		t.Errorf("to inspect: %v, want both handles", inspect)
	}
	ix.follow("7", false)
	if followed, _ = ix.Notice(&Observation{ID: "8", Name: "7", ReplicaSets: [][]string{{"a"}}}); followed {
		t.Error("a volume whose name is another volume's id was taken for it")
	}
}

func TestHandleIsFollowedAsLongAsKubernetesOrAPodHasIt(t *testing.T) {
	followed := func(ix *Index) bool { return !ix.Lookup("1").FirstSeen.IsZero() }
	ix, clock := newTestIndex()
	ix.follow("1", false)
	ix.follow("1", false)
	ix.forget("1")
	if !followed(ix) {
		t.Fatal("two PVs had the handle, one is left, and it is forgotten")
	}
	ix.forget("1")
	if followed(ix) {
		t.Fatal("no PV has the handle, and it is still followed")
	}
	ix.Want("1")
	clock.Step(time.Hour - time.Second)
	ix.step()
	if !followed(ix) {
		t.Fatal("a pod wanted the handle within the hour, and it is forgotten")
	}
	clock.Step(time.Second)
	ix.step()
	if followed(ix) {
		t.Fatal("a pod wanted the handle an hour ago, and it is still followed")
	}
	ix.Want("1")
	ix.follow("1", false)
	clock.Step(2 * time.Hour)
	ix.step()
	if !followed(ix) {
		t.Fatal("a PV has the handle, and it is forgotten because no pod wants it")
	}
	ix.forget("1")
	if followed(ix) {
		t.Fatal("the last PV is gone, and the handle is still followed")
	}
	ix.forget("1")
	ix.Want("")
	ix.follow("", true)
	ix.forget("")
	if n := ix.Followed(); n.Len() != 0 {
		t.Errorf("%d handles are followed, want none", n.Len())
	}
}

func TestWantedHandlesAreHandedOutOnce(t *testing.T) {
	ix, _ := newTestIndex()
	ix.follow("1", true)  // a new PV
	ix.follow("2", false) // a PV of the initial list
	ix.Want("3")
	ix.Want("1")
	select {
	case <-ix.Wanted():
	default:
		t.Fatal("nobody is told that handles are wanted")
	}
	if diff := cmp.Diff([]string{"1", "3"}, ix.TakeWanted()); diff != "" {
		t.Errorf("wanted handles differ (-want +got):\n%s", diff)
	}
	ix.Want("3")
	if diff := cmp.Diff([]string{"3"}, ix.TakeWanted()); diff != "" {
		t.Errorf("handles wanted again differ (-want +got):\n%s", diff)
	}
}

func TestSubscribersHearOfWhatChangedTheAnswer(t *testing.T) {
	ix, clock := newTestIndex()
	var got []Change
	unsubscribe := ix.Subscribe(func(c Change) {
		if len(ix.View().nodes) == 0 {
			t.Error("a change is told before it can be seen")
		}
		got = append(got, c)
	})
	nodeA, nodeB := testNode("a"), testNode("b")
	steps := []struct {
		name string
		do   func()
		want []Change
	}{
		{"nodes come", func() { ix.feedNodes([]*v1.Node{nodeA, nodeB}, nil) },
			[]Change{{Nodes: []NodeChange{{New: &placement.Node{Name: "a"}}, {New: &placement.Node{Name: "b"}}}}}},
		{"a heartbeat is no change", func() {
			beat := nodeA.DeepCopy()
			beat.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, LastHeartbeatTime: metav1.Now()}}
			ix.nodeHandler().OnUpdate(nodeA, beat)
		}, nil},
		{"storage is reached and knows a volume", func() {
			ix.follow("1", false)
			ix.Notice(observe("1", "s1"))
		}, []Change{{Cluster: true, Volumes: []string{"1"}}}},
		{"storage confirms it", func() { ix.Notice(observe("1", "s1")) }, nil},
		{"its holder is recognised", func() { ix.SetStorageNodes([]StorageNode{{ID: "s1", Hostname: "a", State: placement.Online}}) },
			[]Change{{Volumes: []string{"1"}, Nodes: []NodeChange{{Old: &placement.Node{Name: "a"}, New: &placement.Node{Name: "a", State: placement.Online}}}}}},
		{"its holder changes state", func() { ix.SetStorageNodes([]StorageNode{{ID: "s1", Hostname: "a", State: placement.Offline}}) },
			[]Change{{Nodes: []NodeChange{{Old: &placement.Node{Name: "a", State: placement.Online}, New: &placement.Node{Name: "a", State: placement.Offline}}}}}},
		{"it moves", func() { mustResolve(ix, "1", observe("1", "s2")) }, []Change{{Volumes: []string{"1"}}}},
		{"two changes at once are told together", func() {
			mustResolve(ix, "1", observe("1", "s1"))
			mustResolve(ix, "1", observe("1", "s2"))
		}, []Change{{Volumes: []string{"1"}}}},
		{"it is missing, which changes no answer", func() { ix.MarkMissing("1") }, nil},
		{"an annotation cannot be understood", func() {
			odd := nodeB.DeepCopy()
			odd.Annotations = map[string]string{placement.NodeUnschedulable: "maybe"}
			ix.nodeHandler().OnUpdate(nodeB, odd)
		}, []Change{{Problems: []NodeProblem{{"b", placement.Problem{
			Key: placement.NodeUnschedulable, Value: "maybe", Detail: "is not a boolean, false is used"}}}}}},
		{"it can now, and says yes", func() {
			plain := nodeB.DeepCopy()
			plain.Annotations = map[string]string{placement.NodeUnschedulable: "true"}
			ix.nodeHandler().OnUpdate(nodeB, plain)
		}, []Change{{Nodes: []NodeChange{{Old: &placement.Node{Name: "b"}, New: &placement.Node{Name: "b", Unschedulable: true}}}}}},
		{"storage is away for too long", func() { clock.Step(2 * time.Minute) },
			[]Change{{Cluster: true, Nodes: []NodeChange{{Old: &placement.Node{Name: "a", State: placement.Offline}, New: &placement.Node{Name: "a", State: placement.Online}}}}}},
		{"storage is back", func() { ix.MarkContact() }, []Change{{Cluster: true}}},
		{"it lists its nodes again", func() { ix.SetStorageNodes([]StorageNode{{ID: "s1", Hostname: "a", State: placement.Offline}}) },
			[]Change{{Nodes: []NodeChange{{Old: &placement.Node{Name: "a", State: placement.Online}, New: &placement.Node{Name: "a", State: placement.Offline}}}}}},
		{"the volume is verified again", func() { mustResolve(ix, "1", observe("1", "s2")) }, []Change{{Volumes: []string{"1"}}}},
		{"a node goes", func() { ix.nodeHandler().OnDelete(nodeB) },
			[]Change{{Nodes: []NodeChange{{Old: &placement.Node{Name: "b", Unschedulable: true}}}}}},
		{"nobody listens", func() {
			unsubscribe()
			mustResolve(ix, "1", observe("1", "s1"))
		}, nil},
	}
	for _, step := range steps {
		got = nil
		step.do()
		ix.step()
		for i := range got {
			if got[i].Generation != ix.View().Generation() {
				t.Errorf("%s: the change speaks of view %d, the present one is %d", step.name, got[i].Generation, ix.View().Generation())
			}
			got[i].Generation = 0
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("%s: changes differ (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestDomainsOfTwoViewsCanBeCompared(t *testing.T) {
	ix, _ := newTestIndex()
	place := func(name, zone, rack string) *v1.Node {
		node := testNode(name)
		node.Labels = map[string]string{"region": "", "old-zone": zone, "rack": rack}
		return node
	}
	ix.feedNodes([]*v1.Node{place("a", "z1", "r1"), place("b", "z1", "r1"), place("c", "z2", "r1")}, nil)
	ix.step()
	before := ix.View()
	ix.nodeHandler().OnUpdate(place("a", "z1", "r1"), place("a", "z2", "r1"))
	ix.step()
	after := ix.View()
	if before.Node("a").Topology != before.Node("b").Topology {
		t.Error("one rack of one zone is two")
	}
	if before.Node("a").Topology.Rack == before.Node("c").Topology.Rack {
		t.Error("racks of two zones are one, because they have the same name")
	}
	if after.Node("a").Topology != before.Node("c").Topology {
		t.Error("a rack has another number in the next view")
	}
	if after.Node("b") != before.Node("b") {
		t.Error("a node that did not change is a new one")
	}
	if before.Node("a").Topology.Region != 0 {
		t.Error("an empty label counts as a region")
	}
}
