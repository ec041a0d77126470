package volumes

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/hyperconverge/scheduler/pkg/claims"
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
			mustMiss(ix, handle)
		}, Suspect, true},
		{"found again after that", func(ix *Index, _ func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			mustMiss(ix, handle)
			mustResolve(ix, handle, observe("1", "a"))
		}, Fresh, true},
		{"a message that differs only makes it dirty", func(ix *Index, _ func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			ix.Notice(observe("1", "b"))
		}, Fresh, true},
		{"being dirty for long makes it stale", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			ix.Notice(observe("1", "b"))
			pass(40 * time.Second)
			ix.markContact(ix.now())
			pass(40 * time.Second)
		}, Stale, true},
		{"becoming dirty again does not put that off", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			for range 4 {
				ix.Notice(observe("1", "b"))
				pass(20 * time.Second)
			}
		}, Stale, true},
		{"an inspect makes it clean", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			ix.Notice(observe("1", "b"))
			pass(40 * time.Second)
			mustResolve(ix, handle, observe("1", "b"))
			pass(40 * time.Second)
		}, Fresh, true},
		{"but not of what came up while it was under way", func(ix *Index, pass func(time.Duration)) {
			mustResolve(ix, handle, observe("1", "a"))
			inspection := begin(ix, handle)
			ix.Notice(observe("1", "b"))
			mustFind(&inspection, observe("1", "a"))
			pass(40 * time.Second)
			ix.markContact(ix.now())
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
			ix.markContact(ix.now())
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

// begin starts an inspect of a handle that is followed.
func begin(ix *Index, handle string) Inspection {
	inspection, ok := ix.Begin(handle)
	if !ok {
		panic("there is nothing to ask")
	}
	return inspection
}

func mustResolve(ix *Index, handle string, o *Observation) {
	inspection := begin(ix, handle)
	mustFind(&inspection, o)
}

func mustFind(inspection *Inspection, o *Observation) {
	if _, err := inspection.Found(o); err != nil {
		panic(err)
	}
}

func mustNotResolve(ix *Index, handle string, o *Observation) {
	inspection := begin(ix, handle)
	if _, err := inspection.Found(o); err == nil {
		panic("the answer was taken")
	}
}

func mustMiss(ix *Index, handle string) {
	inspection := begin(ix, handle)
	inspection.Missing()
}

func TestResolveTellsWhatTheAnswerMeant(t *testing.T) {
	ix, _ := newTestIndex()
	steps := []struct {
		name   string
		before func()
		o      *Observation
		want   Result
	}{
		{"it was unknown", func() { ix.follow("1", false) }, observe("1", "a"), Learned},
		{"it is as it was", func() {}, observe("1", "a"), Confirmed},
		{"it changed and nothing said so", func() {}, observe("1", "b"), Diverged},
		{"it changed as a message said", func() { ix.Notice(observe("1", "c")) }, observe("1", "c"), Learned},
		{"it was missing for a while", func() { mustMiss(ix, "1") }, observe("1", "d"), Learned},
	}
	for _, step := range steps {
		step.before()
		inspection := begin(ix, "1")
		if got, err := inspection.Found(step.o); got != step.want || err != nil {
			t.Errorf("%s: %v, %v, want %v", step.name, got, err, step.want)
		}
	}
	inspection := begin(ix, "1")
	if _, err := inspection.Found(&Observation{ID: "1"}); !errors.Is(err, ErrNoReplicas) {
		t.Errorf("an answer without replicas: %v, want ErrNoReplicas", err)
	}
	ix.forget("1")
	if got, err := inspection.Found(observe("1", "a")); got != Dropped || err != nil {
		t.Errorf("nobody follows it any more: %v, %v, want %v", got, err, Dropped)
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

func followed(ix *Index, handle string) bool { return !ix.Lookup(handle).FirstSeen.IsZero() }

func TestHandleIsFollowedAsLongAsKubernetesOrAPodHasIt(t *testing.T) {
	ix, clock := newTestIndex()
	steps := []struct {
		name              string
		do                func()
		followed, claimed bool
	}{
		{"two PVs have the handle", func() {
			ix.follow("1", false)
			ix.follow("1", false)
		}, true, true},
		{"one PV is left", func() { ix.forget("1") }, true, true},
		{"no PV is left", func() { ix.forget("1") }, false, false},
		{"two pods request it", func() {
			ix.Request("1")
			ix.Request("1")
		}, true, false},
		{"one pod has waited for a day, and the other is gone", func() {
			ix.Release("1")
			clock.Step(24 * time.Hour)
			ix.step()
		}, true, false},
		{"a PV comes up with it", func() { ix.follow("1", true) }, true, true},
		{"the PV goes, and the pod still waits", func() { ix.forget("1") }, true, false},
		{"a PV comes up again", func() { ix.follow("1", true) }, true, true},
		{"the pod goes, and the PV is there", func() { ix.Release("1") }, true, true},
		{"the PV goes, too", func() { ix.forget("1") }, false, false},
		{"more is taken back than was there", func() {
			ix.forget("1")
			ix.Release("1")
		}, false, false},
		{"a pod that comes then", func() { ix.Request("1") }, true, false},
		{"is gone", func() { ix.Release("1") }, false, false},
	}
	for _, step := range steps {
		step.do()
		entry := ix.Lookup("1")
		if got := !entry.FirstSeen.IsZero(); got != step.followed || entry.Claimed != step.claimed {
			t.Errorf("%s: followed %v, claimed %v; want %v, %v", step.name, got, entry.Claimed, step.followed, step.claimed)
		}
	}
	if n := ix.volumes.unclaimed.Load(); n != 0 {
		t.Errorf("%d handles without a PV are counted at the end", n)
	}
	ix.Request("")
	ix.follow("", true)
	ix.forget("")
	if n := ix.Handles(Verifiable); n.Len() != 0 {
		t.Errorf("%d handles are followed, want none", n.Len())
	}
}

// requested returns what the source is told to inspect, sorted.
func requested(ix *Index) []string {
	var handles []string
	defer ix.Subscribe(func(c Change) { handles = append(handles, c.Requested...) })()
	ix.step()
	slices.Sort(handles)
	return handles
}

func TestSourceHearsOfWhatIsToBeInspectedNext(t *testing.T) {
	ix, _ := newTestIndex()
	defer ix.Subscribe(func(Change) {})()
	steps := []struct {
		name string
		do   func()
		want []string
	}{
		{"a new PV", func() { ix.follow("1", true) }, []string{"1"}},
		{"a PV of the initial list", func() { ix.follow("2", false) }, nil},
		{"pods request both, and something that no PV has", func() {
			for range 3 {
				ix.Request("1")
				ix.Request("2")
				ix.Request("made-up")
			}
		}, []string{"1", "2", "made-up"}},
		{"one more pod requests what no PV has and nobody has answered", func() { ix.Request("made-up") }, nil},
		{"one more pod requests what storage is known not to have", func() {
			mustMiss(ix, "made-up")
			ix.Request("made-up")
		}, nil},
		{"a PV comes up with it", func() { ix.follow("made-up", true) }, []string{"made-up"}},
		{"a volume that is known", func() {
			mustResolve(ix, "1", observe("1", "a"))
			ix.Request("1")
		}, nil},
		{"and that is dirty now", func() {
			ix.Notice(observe("1", "b"))
			ix.Request("1")
		}, []string{"1"}},
	}
	for _, step := range steps {
		step.do()
		if diff := cmp.Diff(step.want, requested(ix)); diff != "" {
			t.Errorf("%s: requested handles differ (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestWhatStorageDoesNotHaveAndNoPVNamesIsNotAskedForAgain(t *testing.T) {
	ix, _ := newTestIndex()
	asked := func() []string {
		var handles []string
		for _, which := range []Selection{Verifiable, NeedsInspect} {
			selected := ix.Handles(which)
			for i := range selected.Len() {
				handles = append(handles, selected.At(i))
			}
		}
		slices.Sort(handles)
		return slices.Compact(handles)
	}
	ix.Request("made-up")
	ix.follow("1", false)
	if diff := cmp.Diff([]string{"1", "made-up"}, asked()); diff != "" {
		t.Errorf("at first, what may be asked for differs (-want +got):\n%s", diff)
	}
	mustMiss(ix, "made-up")
	mustMiss(ix, "1")
	if diff := cmp.Diff([]string{"1"}, asked()); diff != "" {
		t.Errorf("after the answers, what may be asked for differs (-want +got):\n%s", diff)
	}
	if _, ok := ix.Begin("made-up"); ok {
		t.Error("an inspect begins of what storage is known not to have")
	}
	if claimed := ix.Handles(Claimed); claimed.Len() != 1 || claimed.At(0) != "1" {
		t.Errorf("handles of PVs are %v", claimed)
	}
	ix.Notice(&Observation{ID: "9", Name: "made-up", ReplicaSets: [][]string{{"a"}}})
	if ix.Lookup("made-up").Freshness != Fresh {
		t.Error("a volume that comes up later is not taken from the watch")
	}
	ix.Release("made-up")
	ix.Request("made-up")
	if diff := cmp.Diff([]string{"1", "made-up"}, asked()); diff != "" {
		t.Errorf("for another pod, what may be asked for differs (-want +got):\n%s", diff)
	}
}

func TestHandlesWithoutAPVAreBounded(t *testing.T) {
	ix, _ := newTestIndex()
	long := strings.Repeat("x", claims.MaxHandle+1)
	if ix.Request(long) != (Entry{}) || followed(ix, long) {
		t.Error("a handle that is too long is followed")
	}
	ix.follow(long, false)
	if ix.Request(long).FirstSeen.IsZero() {
		t.Error("a handle that a PV names is not followed, because it is long")
	}
	ix.Release(long)
	for i := range MaxUnclaimed {
		if ix.Request(fmt.Sprint("made-up-", i)).FirstSeen.IsZero() {
			t.Fatalf("handle %d is not followed", i)
		}
	}
	if ix.Request("one-more") != (Entry{}) || followed(ix, "one-more") {
		t.Error("there is no end to handles that no PV names")
	}
	if ix.Request("made-up-7").FirstSeen.IsZero() {
		t.Error("what is followed is refused to another pod")
	}
	ix.follow("of-a-PV", true)
	if ix.Request("of-a-PV").FirstSeen.IsZero() {
		t.Error("handles that no PV names keep out one that a PV names")
	}
	ix.Release("made-up-5")
	if ix.Request("one-more").FirstSeen.IsZero() {
		t.Error("there is room, and a handle is refused")
	}
}

// full returns an index that follows as many handles as it may that no PV names, and
// a function that returns the handles that are told of since it was called last.
func full(t *testing.T) (ix *Index, clock *clocktesting.FakeClock, told func() []string) {
	t.Helper()
	ix, clock = newTestIndex()
	var handles []string
	t.Cleanup(ix.Subscribe(func(c Change) { handles = append(handles, c.Volumes...) }))
	for i := range MaxUnclaimed {
		ix.Request(fmt.Sprint("made-up-", i))
	}
	ix.step()
	return ix, clock, func() []string {
		ix.step()
		slices.Sort(handles)
		defer func() { handles = nil }()
		return handles
	}
}

func TestHandlesThatWereRefusedAreToldWhenThereIsRoom(t *testing.T) {
	refuse := func(ix *Index, handles ...string) {
		for _, handle := range handles {
			if ix.Request(handle) != (Entry{}) {
				t.Fatalf("%s is not refused", handle)
			}
		}
	}
	tests := []struct {
		name string
		// do makes room, or does not, after three handles were refused.
		do   func(ix *Index)
		want []string
	}{
		{"there is no room", func(*Index) {}, nil},
		{"a pod that waits for a handle with others leaves", func(ix *Index) {
			ix.Request("made-up-1")
			ix.Release("made-up-1")
		}, nil},
		{"the last pod of one handle leaves", func(ix *Index) { ix.Release("made-up-1") }, []string{"late-1"}},
		{"a PV comes up for one handle", func(ix *Index) { ix.follow("made-up-1", false) }, []string{"late-1"}},
		{"the pods of two handles leave", func(ix *Index) {
			ix.Release("made-up-1")
			ix.Release("made-up-2")
		}, []string{"late-1", "late-2"}},
		{"another pod takes the room", func(ix *Index) {
			ix.Release("made-up-1")
			ix.Request("other")
		}, nil},
		{"there is room for more than were refused", func(ix *Index) {
			for i := range 10 {
				ix.Release(fmt.Sprint("made-up-", i))
			}
		}, []string{"late-1", "late-2", "late-3"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ix, _, told := full(t)
			refuse(ix, "late-1", "late-2", "late-1", "late-3")
			refuse(ix, strings.Repeat("x", claims.MaxHandle+1)) // for which there never is room
			told()
			test.do(ix)
			if diff := cmp.Diff(test.want, told()); diff != "" {
				t.Errorf("the handles that are told differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRoomThatNobodyTakesIsOfferedToTheNextAfterAWhile(t *testing.T) {
	ix, clock, told := full(t)
	for _, handle := range []string{"gone", "late"} {
		ix.Request(handle)
	}
	ix.Release("made-up-1")
	if diff := cmp.Diff([]string{"gone"}, told()); diff != "" {
		t.Errorf("at first the handles that are told differ (-want +got):\n%s", diff)
	}
	if again := told(); again != nil {
		t.Errorf("%v are told at once, before the pod of the first can have taken the room", again)
	}
	due := ix.step()
	if want := ix.now() + readmitGap; due != want {
		t.Fatalf("the next step is due at %d, want %d", due, want)
	}
	clock.Step(time.Duration(readmitGap))
	if diff := cmp.Diff([]string{"late"}, told()); diff != "" {
		t.Errorf("later the handles that are told differ (-want +got):\n%s", diff)
	}
	if due := ix.step(); due != 0 {
		t.Errorf("a step is due at %d, though nobody was refused any more", due)
	}
}

func TestOfVeryManyRefusedHandlesTheNewestAreTold(t *testing.T) {
	const more = 10
	ix, _, told := full(t)
	for i := range maxRefused + more {
		ix.Request(fmt.Sprint("late-", i))
	}
	for i := range MaxUnclaimed {
		ix.Release(fmt.Sprint("made-up-", i))
	}
	handles := told()
	if len(handles) != maxRefused {
		t.Errorf("%d handles are told, want %d", len(handles), maxRefused)
	}
	for i := range more {
		if _, found := slices.BinarySearch(handles, fmt.Sprint("late-", i)); found {
			t.Errorf("late-%d is told, though later ones are not", i)
		}
	}
}

func TestRefusedHandlesAreFollowedInTheEndHoweverRoomIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 500
		ctx, cancel := context.WithCancel(t.Context())
		ix := NewIndex(Options{Drivers: []string{testDriver}})
		ix.Subscribe(func(c Change) {
			for _, handle := range c.Volumes {
				ix.Request(handle)
			}
		})
		for i := range MaxUnclaimed {
			ix.Request(fmt.Sprint("made-up-", i))
		}
		var running, pods sync.WaitGroup
		running.Go(func() { ix.Run(ctx) })
		for i := range many {
			pods.Go(func() { ix.Request(fmt.Sprint("late-", i)) })
			pods.Go(func() { ix.Release(fmt.Sprint("made-up-", i)) })
		}
		pods.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := range many {
			if handle := fmt.Sprint("late-", i); !followed(ix, handle) {
				t.Errorf("%s is not followed, though there is room", handle)
			}
		}
		cancel()
		running.Wait()
	})
}

func TestNothingIsLeftOfHandlesOfPodsThatAreGone(t *testing.T) {
	ix, _ := newTestIndex()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	defer ix.Subscribe(func(Change) {})()
	round := func(i int) {
		pod := func(handle string) {
			if entry := ix.Request(handle); !entry.FirstSeen.IsZero() {
				ix.step()
				ix.Release(handle)
			}
		}
		for k := range 100 {
			pod(fmt.Sprint(strings.Repeat("x", claims.MaxHandle-20), i, "-", k))
		}
		pod(strings.Repeat(strconv.Itoa(i%10), 900<<10))
	}
	round(0)
	before := heap()
	for i := range 300 {
		round(i)
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", before, after)
	}
	runtime.KeepAlive(ix)
}

func TestAnswersThatNobodyMeansTeachNothing(t *testing.T) {
	many := func(n int) []string {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprint("made-up-", i)
		}
		return ids
	}
	sets := make([][]string, MaxReplicas+1)
	for i := range sets {
		sets[i] = []string{"a"}
	}
	tests := []struct {
		name string
		o    Observation
		want error
	}{
		{"one stripe of two without a holder", Observation{ID: "1", ReplicaSets: [][]string{{"b"}, {}}}, ErrNoReplicas},
		{"one stripe of three with an empty id", Observation{ID: "1", ReplicaSets: [][]string{{"b"}, {""}, {"b"}}}, ErrNoReplicas},
		{"a replica set of 100 000 nodes", Observation{ID: "1", ReplicaSets: [][]string{many(100_000)}}, ErrTooLarge},
		{"too many replica sets", Observation{ID: "1", ReplicaSets: sets}, ErrTooLarge},
		{"a node with a long id", Observation{ID: "1", ReplicaSets: [][]string{{strings.Repeat("n", MaxID+1)}}}, ErrTooLarge},
		{"attached to a node with a long id", Observation{ID: "1", ReplicaSets: [][]string{{"a"}}, Attached: strings.Repeat("n", MaxID+1)}, ErrTooLarge},
		{"a long id", Observation{ID: strings.Repeat("7", MaxID+1), ReplicaSets: [][]string{{"a"}}}, ErrTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ix, _ := newTestIndex()
			ix.follow("pvc-1", false)
			mustResolve(ix, "pvc-1", observe("1", "a"))
			test.o.Name = "pvc-1"
			inspection := begin(ix, "pvc-1")
			if _, err := inspection.Found(&test.o); !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
			entry := ix.Lookup("pvc-1")
			if entry.Freshness != Suspect || entry.Volume == nil || entry.Volume.NumSets() != 1 {
				t.Errorf("the volume is %v: %+v; want the last good content, suspect", entry.Freshness, entry.Volume)
			}
			if _, inspect := ix.Notice(&test.o); len(inspect) != 1 {
				t.Error("a message of the watch that says the same is believed")
			}
			if ids := len(ix.ids.ids); ids > 10 {
				t.Errorf("%d ids of storage nodes are kept", ids)
			}
		})
	}
}

func TestMadeUpStorageNodesAreBoundedAndDoNotKeepOutRealOnes(t *testing.T) {
	ix, _ := newTestIndex()
	ix.follow("1", false)
	const each = 64
	for i := 0; i <= MaxNodeIDs; i += each {
		set := make([]string, each)
		for k := range set {
			set[k] = fmt.Sprint("made-up-", i+k)
		}
		inspection := begin(ix, "1")
		// Sooner or later it is too much, which is what the test is about.
		_, _ = inspection.Found(observe("1", set...))
	}
	inspection := begin(ix, "1")
	if _, err := inspection.Found(observe("1", "s-new")); !errors.Is(err, ErrTooLarge) || len(ix.ids.ids) > MaxNodeIDs+1 {
		t.Errorf("%d ids are kept, one more is answered with %v", len(ix.ids.ids), err)
	}
	ix.SetStorageNodes([]StorageNode{{ID: "s-new", State: placement.Online}})
	ix.step()
	mustResolve(ix, "1", observe("1", "s-new"))
}

func TestLongReplicaSetsCostLittle(t *testing.T) {
	ids := newNodeIDs()
	set := make([]string, MaxReplicas)
	for i := range set {
		set[i] = fmt.Sprint("s", i/2) // each twice
	}
	o := observe("1", set...)
	v, err := newVolume(o, ids)
	if err != nil || len(v.Set(0)) != MaxReplicas/2 {
		t.Fatalf("%d holders, %v; want %d", len(v.Set(0)), err, MaxReplicas/2)
	}
	again, _ := newVolume(o, ids)
	if !again.sameContent(&v) {
		t.Error("the same observation is taken for another content")
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
		{"it is missing, which changes no answer", func() { mustMiss(ix, "1") }, nil},
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
		{"storage is back", func() { ix.markContact(ix.now()) }, []Change{{Cluster: true}}},
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
