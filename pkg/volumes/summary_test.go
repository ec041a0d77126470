package volumes

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// setClock is a clock whose hands can be set without time going by.
type setClock struct {
	clock.WithTicker
	off time.Duration
}

func (c *setClock) Now() time.Time { return c.WithTicker.Now().Add(c.off) }

func TestDatesOfTheSummaryFollowTheWallClock(t *testing.T) {
	wall := &setClock{WithTicker: clocktesting.NewFakeClock(time.Unix(1700000000, 0))}
	ix := NewIndex(Options{Clock: wall})
	ix.follow("1", false)
	ix.SetStorageNodes([]StorageNode{{ID: "s1"}})
	mustResolve(ix, "1", observe("1", "s1"))
	for _, off := range []time.Duration{0, time.Hour, -24 * time.Hour} {
		wall.off = off
		wall.Sleep(10 * time.Second)
		s := Summarize(ix, 0)
		for what, date := range map[string]time.Time{
			"last contact": s.LastContact, "last node list": s.LastNodeList, "oldest": s.OldestVerified} {
			if got := wall.Now().Sub(date); got != 10*time.Second {
				t.Errorf("clock set by %v: %s was %v ago, want 10s", off, what, got)
			}
		}
		mustResolve(ix, "1", observe("1", "s1"))
		ix.SetStorageNodes([]StorageNode{{ID: "s1"}})
	}
}

func TestANodeListHasOneNumber(t *testing.T) {
	ix := NewIndex(Options{})
	last := Summarize(ix, 0).NodeList
	if last != 0 {
		t.Errorf("the number %d before the first list", last)
	}
	for range 3 {
		ix.SetStorageNodes([]StorageNode{{ID: "s1"}})
		first := Summarize(ix, 0).NodeList
		if again := Summarize(ix, 0).NodeList; first == last || again != first {
			t.Errorf("the numbers %d and %d after %d", first, again, last)
		}
		last = first
	}
}

func TestSummaryTellsWhichStorageNodesAreNotInKubernetes(t *testing.T) {
	ix, _ := newTestIndex()
	ix.feedNodes([]*v1.Node{testNode("a"), testNode("b")}, []*storagev1.CSINode{testCSINode("a", "s1"), testCSINode("b", "s2")})
	alien := func(id string) StorageNode { return StorageNode{ID: id, Hostname: "of-" + id, State: placement.Online} }
	ix.SetStorageNodes([]StorageNode{alien("s5"), {ID: "s1"}, alien("s3"), {ID: "s2"}, alien("s4")})
	ix.SetStorageNodes([]StorageNode{alien("s5"), {ID: "s1"}, alien("s3"), alien("s4")}) // s2 is kept, but not listed
	ix.step()
	type matches struct {
		Matched, Unmatched int
		Examples           []StorageNode
	}
	s := Summarize(ix, 2)
	want := matches{1, 3, []StorageNode{alien("s3"), alien("s4")}}
	if diff := cmp.Diff(want, matches{s.MatchedNodes, s.UnmatchedNodes, s.Unmatched}); diff != "" {
		t.Errorf("matches differ (-want +got):\n%s", diff)
	}
	ix.nodeHandler().OnAdd(testNode("of-s3"), false)
	ix.step()
	s = Summarize(ix, 9)
	want = matches{2, 2, []StorageNode{alien("s4"), alien("s5")}}
	if diff := cmp.Diff(want, matches{s.MatchedNodes, s.UnmatchedNodes, s.Unmatched}); diff != "" {
		t.Errorf("once one is: matches differ (-want +got):\n%s", diff)
	}
}

func TestSummaryCountsEverything(t *testing.T) {
	ix, _ := newTestIndex()
	ix.feedNodes([]*v1.Node{testNode("a"), testNode("b")}, []*storagev1.CSINode{testCSINode("a", "s1")})
	for _, handle := range []string{"1", "2", "3", "4"} {
		ix.follow(handle, false)
	}
	ix.Request("5")
	for _, id := range []string{"1", "2", "3"} {
		ix.Notice(observe(id, "s1"))
	}
	mustMiss(ix, "2")
	ix.Notice(observe("3", "s2"))
	ix.step()
	s := Summarize(ix, 1)
	want := Summary{
		Volumes:        [NumFreshness]int{Unknown: 1, Fresh: 2, Suspect: 1},
		Dirty:          1,
		Unclaimed:      1,
		Nodes:          map[placement.StorageState]int{placement.Online: 1, placement.NoDriver: 1},
		LastContact:    s.LastContact,
		LastNodeList:   s.LastNodeList,
		OldestVerified: s.OldestVerified,
		Examples:       s.Examples,
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("summary differs (-want +got):\n%s", diff)
	}
	if s.NumVolumes() != 4 || len(s.Examples[Unknown]) != 1 || !slices.Equal(s.Examples[Suspect], []string{"2"}) {
		t.Errorf("%d volumes, examples %v", s.NumVolumes(), s.Examples)
	}
	if s.LastContact.IsZero() || s.OldestVerified.IsZero() {
		t.Errorf("last contact %v, oldest %v", s.LastContact, s.OldestVerified)
	}
}
