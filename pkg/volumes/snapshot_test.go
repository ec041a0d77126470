package volumes

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// teach fills an index with a volume of every kind.
func teach(ix *Index) {
	ix.nodes.setNode("n1", &kubeNode{hostnames: []string{"n1"}, place: place{region: "eu", zone: "a", rack: "r1"}})
	ix.nodes.setNode("n2", &kubeNode{hostnames: []string{"n2"}, unschedulable: true})
	ix.SetStorageNodes([]StorageNode{
		{ID: "s1", Hostname: "n1", MgmtIP: "10.0.0.1", DataIP: "10.1.0.1", State: placement.Online},
		{ID: "s2", Hostname: "n2", State: placement.StorageDown},
		{ID: "s3", Hostname: "elsewhere", State: placement.Offline},
	})
	for _, handle := range []string{"1", "2", "3", "named", "4", "5"} {
		ix.follow(handle, false)
	}
	ix.Request("unclaimed")
	mustResolve(ix, "1", &Observation{ID: "1", Name: "pvc-1", ReplicaSets: [][]string{{"s1", "s3"}}, Attached: "s1", Labels: map[string]string{placement.VolumeWeight: "3"}})
	mustResolve(ix, "2", &Observation{ID: "2", ReplicaSets: [][]string{{"s1", "s2"}, {"s2", "s1", "s3"}}, Service: true, Resyncing: true})
	mustResolve(ix, "3", &Observation{ID: "3", Direct: true})
	mustResolve(ix, "named", &Observation{ID: "77", Name: "named", ReplicaSets: [][]string{{"s2"}}, Winshare: true})
	mustResolve(ix, "4", observe("4", "s1"))
	mustMiss(ix, "4") // suspect
	mustResolve(ix, "unclaimed", &Observation{ID: "88", Name: "unclaimed", ReplicaSets: [][]string{{"s1"}}})
	ix.step()
}

// timeless compares all of a snapshot but the times.
var timeless = cmp.Options{
	cmpopts.IgnoreFields(Snapshot{}, "Time", "LastContact", "LastNodeList"),
	cmpopts.IgnoreFields(VolumeSnapshot{}, "FirstSeen", "Verified"),
}

func TestSnapshotTellsAllThatAnIndexHolds(t *testing.T) {
	ix, _ := newTestIndex()
	teach(ix)
	s := SnapshotOf(ix)
	replica := func(id, node, state string) ReplicaSnapshot {
		return ReplicaSnapshot{StorageNode: id, Node: node, State: state}
	}
	want := []VolumeSnapshot{
		{Handle: "1", ID: "1", Freshness: "fresh", Claimed: true, Attached: "s1", Labels: map[string]string{placement.VolumeWeight: "3"},
			ReplicaSets: [][]ReplicaSnapshot{{replica("s1", "n1", "Online"), replica("s3", "", "Offline")}}},
		{Handle: "2", ID: "2", Freshness: "fresh", Claimed: true, Service: true, Resyncing: true, ReplicaSets: [][]ReplicaSnapshot{
			{replica("s1", "n1", "Online"), replica("s2", "n2", "StorageDown")},
			{replica("s2", "n2", "StorageDown"), replica("s1", "n1", "Online"), replica("s3", "", "Offline")},
		}},
		{Handle: "3", ID: "3", Freshness: "fresh", Claimed: true, Direct: true},
		{Handle: "4", ID: "4", Freshness: "suspect", Claimed: true, ReplicaSets: [][]ReplicaSnapshot{{replica("s1", "n1", "Online")}}},
		{Handle: "5", Freshness: "unknown", Claimed: true},
		{Handle: "named", ID: "77", Freshness: "fresh", Claimed: true, Windows: true, ReplicaSets: [][]ReplicaSnapshot{{replica("s2", "n2", "StorageDown")}}},
		{Handle: "unclaimed", ID: "88", Freshness: "fresh", ReplicaSets: [][]ReplicaSnapshot{{replica("s1", "n1", "Online")}}},
	}
	if diff := cmp.Diff(want, s.Volumes, timeless); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	nodes := []NodeSnapshot{
		{Name: "n1", State: "Online", Region: "eu", Zone: "a", Rack: "r1"},
		{Name: "n2", State: "StorageDown", Unschedulable: true},
	}
	if diff := cmp.Diff(nodes, s.Nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	storage := []StorageNodeSnapshot{
		{ID: "s1", Node: "n1", State: "Online", Hostname: "n1", ManagementIP: "10.0.0.1", DataIP: "10.1.0.1", Listed: true},
		{ID: "s2", Node: "n2", State: "StorageDown", Hostname: "n2", Listed: true},
		{ID: "s3", State: "Offline", Hostname: "elsewhere", Listed: true},
	}
	if diff := cmp.Diff(storage, s.StorageNodes); diff != "" {
		t.Errorf("storage nodes (-want +got):\n%s", diff)
	}
	if s.LastContact.IsZero() || s.LastNodeList.IsZero() || s.Volumes[0].Verified.IsZero() || s.Volumes[0].FirstSeen.IsZero() || !s.Volumes[4].Verified.IsZero() {
		t.Errorf("a time is missing, or too many: %+v", s)
	}
}

// An index that restores what another has told holds the same, whether the informers have
// told it of the PersistentVolumes before or do so afterwards.
func TestRestoredIndexHoldsTheSame(t *testing.T) {
	for name, followFirst := range map[string]bool{"the volumes are followed before": true, "the volumes are followed afterwards": false} {
		t.Run(name, func(t *testing.T) {
			first, clock := newTestIndex()
			teach(first)
			clock.Step(time.Minute / 2)
			first.dirty(first.volumes.shard(keyOf("1")).get(keyOf("1")), first.now())
			told := SnapshotOf(first)
			text, err := json.Marshal(told)
			if err != nil {
				t.Fatal(err)
			}
			var read Snapshot
			if err := json.Unmarshal(text, &read); err != nil {
				t.Fatal(err)
			}

			second, _ := newTestIndex()
			second.nodes.setNode("n1", &kubeNode{hostnames: []string{"n1"}, place: place{region: "eu", zone: "a", rack: "r1"}})
			second.nodes.setNode("n2", &kubeNode{hostnames: []string{"n2"}, unschedulable: true})
			follow := func() {
				for _, handle := range []string{"1", "2", "3", "named", "4", "5"} {
					second.follow(handle, false)
				}
			}
			if followFirst {
				follow()
			}
			if err := second.Restore(&read); err != nil {
				t.Fatal(err)
			}
			if !followFirst {
				follow()
			}
			second.step()
			got := SnapshotOf(second)
			told.Volumes[0].Dirty = false // a restored index asks nobody
			if diff := cmp.Diff(told, got, timeless); diff != "" {
				t.Errorf("restored (-told +got):\n%s", diff)
			}
			for i, v := range got.Volumes {
				before := told.Volumes[i]
				if age := got.Time.Sub(v.FirstSeen); age != told.Time.Sub(before.FirstSeen) {
					t.Errorf("%s was first seen %s ago", v.Handle, age)
				}
				if !before.Verified.IsZero() && got.Time.Sub(v.Verified) != told.Time.Sub(before.Verified) {
					t.Errorf("%s was verified %s ago", v.Handle, got.Time.Sub(v.Verified))
				}
			}
			if got.Time.Sub(got.LastContact) != told.Time.Sub(told.LastContact) || got.Time.Sub(got.LastNodeList) != told.Time.Sub(told.LastNodeList) {
				t.Errorf("the last contact was %s ago, the last list %s", got.Time.Sub(got.LastContact), got.Time.Sub(got.LastNodeList))
			}
		})
	}
}

func TestRestoreOfWhatIsOld(t *testing.T) {
	ix, clock := newTestIndex()
	teach(ix)
	clock.Step(2 * time.Duration(ix.maxStaleness))
	ix.step()
	told := SnapshotOf(ix)
	for _, v := range told.Volumes {
		if v.ID != "" && v.Freshness != "stale" {
			t.Fatalf("%s is %s", v.Handle, v.Freshness)
		}
	}
	second, _ := newTestIndex()
	second.nodes.setNode("n1", &kubeNode{hostnames: []string{"n1"}})
	second.follow("1", false)
	if err := second.Restore(told); err != nil {
		t.Fatal(err)
	}
	second.step()
	if entry := second.Lookup("1"); entry.Freshness != Stale || entry.Volume == nil {
		t.Errorf("the volume is %+v", entry)
	}
	if state := second.View().Node("n1").State; state != placement.Online {
		t.Errorf("the node is %s, want Online by the record of an old list", state)
	}
}

func TestRestoreRefusesWhatNoIndexSays(t *testing.T) {
	ix, _ := newTestIndex()
	for name, s := range map[string]*Snapshot{
		"a state that does not exist":   {LastContact: time.Now(), StorageNodes: []StorageNodeSnapshot{{ID: "s1", State: "Well"}}},
		"a volume without any replicas": {LastContact: time.Now(), Volumes: []VolumeSnapshot{{Handle: "1", ID: "1"}}},
	} {
		if err := ix.Restore(s); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := ix.Restore(&Snapshot{Volumes: []VolumeSnapshot{{Handle: "1", ID: "1"}}}); err != nil || ix.View().Reached() {
		t.Errorf("an index that has learned nothing teaches nothing: %v", err)
	}
}
