package openstoragesim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libopenstorage/openstorage/api"
)

// placedOn returns the node names of a volume's replicas, one list per set.
func placedOn(t testing.TB, c *Cluster, v *api.Volume) [][]string {
	t.Helper()
	var names [][]string
	for _, set := range c.summarize(v).ReplicaSets {
		var members []string
		for _, replica := range set {
			members = append(members, replica.Node)
		}
		names = append(names, members)
	}
	return names
}

// Nodes of the table: n1 to n6 in zones a, a, b, b, c, c and racks 1, 2, 1, 2,
// 1, 2; n7 is storageless and n8 offline, both in zone d.
func placementCluster(t testing.TB) *Cluster {
	t.Helper()
	c := NewCluster(Options{Seed: 1})
	for i, place := range []string{"a1", "a2", "b1", "b2", "c1", "c2", "d1", "d2"} {
		n := Node{
			SchedulerNodeName: fmt.Sprintf("n%d", i+1),
			ID:                fmt.Sprintf("id-%d", i+1),
			Region:            "r",
			Zone:              place[:1],
			Rack:              place[1:],
			Storageless:       i == 6,
		}
		if i == 7 {
			n.Status = api.Status_STATUS_OFFLINE
		}
		if _, err := c.AddNode(n); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestPlacement(t *testing.T) {
	tests := []struct {
		name       string
		parameters map[string]string
		want       [][]string
		err        error
		says       string
	}{
		{
			name:       "replicas are spread over zones first",
			parameters: map[string]string{"repl": "3"},
			want:       [][]string{{"n1", "n3", "n5"}},
		},
		{
			name:       "within one zone they are spread over racks",
			parameters: map[string]string{"repl": "2", "zones": "b"},
			want:       [][]string{{"n3", "n4"}},
		},
		{
			name:       "zones limit the choice",
			parameters: map[string]string{"repl": "3", "zones": "a,c"},
			want:       [][]string{{"n1", "n5", "n2"}},
		},
		{
			name:       "racks limit the choice",
			parameters: map[string]string{"repl": "3", "racks": "2"},
			want:       [][]string{{"n2", "n4", "n6"}},
		},
		{
			name:       "zones and racks together are both kept",
			parameters: map[string]string{"repl": "2", "zones": "a,b", "racks": "2"},
			want:       [][]string{{"n2", "n4"}},
		},
		{
			name:       "nodes limit the choice by id",
			parameters: map[string]string{"repl": "2", "nodes": "id-4;id-2,id-6"},
			want:       [][]string{{"n4", "n2"}},
		},
		{
			name:       "nodes may be given by name or address",
			parameters: map[string]string{"repl": "3", "nodes": "n4,10.0.0.2,10.128.0.6"},
			want:       [][]string{{"n4", "n2", "n6"}},
		},
		{
			name:       "stripes use different nodes while there are enough",
			parameters: map[string]string{"repl": "2", "aggregation_level": "3"},
			want:       [][]string{{"n1", "n3"}, {"n2", "n4"}, {"n5", "n6"}},
		},
		{
			name:       "stripes share nodes when there are not enough",
			parameters: map[string]string{"repl": "2", "aggregation_level": "2", "nodes": "n1,n2,n3"},
			want:       [][]string{{"n1", "n3"}, {"n2", "n3"}},
		},
		{
			name:       "direct access volumes have no replicas",
			parameters: map[string]string{"repl": "2", "backend": "pure_file"},
			want:       nil,
		},
		{
			name:       "too few nodes in the zone is an error that counts them",
			parameters: map[string]string{"repl": "3", "zones": "a"},
			err:        ErrExhausted,
			says:       "3 replicas in zones a asked for, 2 node(s) qualify (of 8: 1 without pools, 1 not online, 4 elsewhere)",
		},
		{
			name:       "best effort goes elsewhere instead",
			parameters: map[string]string{"repl": "3", "zones": "a", "best_effort_location_provisioning": "true"},
			want:       [][]string{{"n1", "n3", "n5"}},
		},
		{
			name:       "fewer nodes than replicas is an error",
			parameters: map[string]string{"repl": "3", "nodes": "n1,n2"},
			err:        ErrExhausted,
			says:       "on nodes n1,n2",
		},
		{
			name:       "a node that is named twice is one node",
			parameters: map[string]string{"repl": "2", "nodes": "n1,id-1"},
			err:        ErrExhausted,
			says:       "1 node(s) qualify",
		},
		{
			name:       "an offline node gets no replica, even when it is named",
			parameters: map[string]string{"nodes": "n8"},
			err:        ErrExhausted,
			says:       "0 node(s) qualify",
		},
		{
			name:       "a storageless node gets no replica, even when it is named",
			parameters: map[string]string{"nodes": "n7"},
			err:        ErrExhausted,
			says:       "0 node(s) qualify",
		},
		{
			name:       "a node that does not exist is an error that names it",
			parameters: map[string]string{"nodes": "n1,n99"},
			err:        ErrInvalid,
			says:       `"n99"`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := placementCluster(t)
			v, err := c.CreateVolume(CreateRequest{Name: "pvc-1", Parameters: test.parameters})
			if !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Fatalf("got error %v, want %v that says %q", err, test.err, test.says)
			}
			if err != nil {
				if v != nil || len(c.volumes) != 0 {
					t.Fatalf("the failed creation left %v", v)
				}
				return
			}
			if diff := cmp.Diff(test.want, placedOn(t, c, v)); diff != "" {
				t.Errorf("replicas (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlacementSpreadsOverRacksWithinAZone(t *testing.T) {
	c := NewCluster(Options{})
	for i, rack := range []string{"1", "1", "2"} {
		_, err := c.AddNode(Node{SchedulerNodeName: nodeName(i + 1), Zone: "a", Rack: rack})
		must(t, err)
	}
	v, err := c.CreateVolume(CreateRequest{Name: "v", Parameters: map[string]string{"repl": "2"}})
	must(t, err)
	if diff := cmp.Diff([][]string{{"n001", "n003"}}, placedOn(t, c, v)); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
}

func TestPlacementFollowsNodeState(t *testing.T) {
	c := newCluster(t, 2)
	place := func(name string) [][]string {
		v, err := c.CreateVolume(CreateRequest{Name: name})
		must(t, err)
		return placedOn(t, c, v)
	}
	got := [][][]string{place("v1")}
	must(t, c.SetNodeState("n002", StatusOffline))
	got = append(got, place("v2"))
	must(t, c.SetNodeState("n002", StatusNone))
	got = append(got, place("v3"))
	must(t, c.RemoveNode("n002"))
	got = append(got, place("v4"))
	_, err := c.AddNode(Node{SchedulerNodeName: "n003"})
	must(t, err)
	got = append(got, place("v5"))
	want := [][][]string{{{"n001"}}, {{"n001"}}, {{"n002"}}, {{"n001"}}, {{"n003"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
}

func TestPlacementLevelsOut(t *testing.T) {
	c := placementCluster(t)
	if err := c.Fill(20, map[string]string{"repl": "3"}); err != nil {
		t.Fatal(err)
	}
	perNode := map[string]int{}
	for v := range c.Volumes() {
		for _, name := range placedOn(t, c, v)[0] {
			perNode[name]++
		}
	}
	want := map[string]int{"n1": 10, "n2": 10, "n3": 10, "n4": 10, "n5": 10, "n6": 10}
	if diff := cmp.Diff(want, perNode); diff != "" {
		t.Errorf("replicas per node (-want +got):\n%s", diff)
	}
}

func TestPlacementUsesPoolsEvenly(t *testing.T) {
	c := NewCluster(Options{})
	if _, err := c.AddNode(Node{SchedulerNodeName: "n1", Pools: []Pool{{UUID: "p1"}, {UUID: "p2"}}}); err != nil {
		t.Fatal(err)
	}
	var pools []string
	for i := range 4 {
		v, err := c.CreateVolume(CreateRequest{Name: fmt.Sprintf("pvc-%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		pools = append(pools, v.GetReplicaSets()[0].GetPoolUuids()...)
	}
	if diff := cmp.Diff([]string{"p1", "p2", "p1", "p2"}, pools); diff != "" {
		t.Errorf("pools (-want +got):\n%s", diff)
	}
}

// FuzzPlacement asks for anything and expects all of it or an error.
func FuzzPlacement(f *testing.F) {
	f.Add(int64(3), uint32(2), "", "", "")
	f.Add(int64(2), uint32(1), "n1,n2", "a", "1;2")
	f.Add(int64(-1), uint32(1<<32-1), "n9", ",", ";")
	f.Fuzz(func(t *testing.T, replicas int64, stripes uint32, nodes, zones, racks string) {
		c := placementCluster(t)
		spec := &api.VolumeSpec{
			HaLevel:          replicas,
			AggregationLevel: stripes,
			ReplicaSet:       &api.ReplicaSet{Nodes: splitList(nodes)},
		}
		v, err := c.create("pvc-1", spec, map[string]string{"zones": zones, "racks": racks})
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrExhausted) {
				t.Fatalf("error without a kind: %v", err)
			}
			return
		}
		wantStripes := max(int(stripes), 1)
		if stripes == api.AutoAggregation {
			wantStripes = 1
		}
		sets := placedOn(t, c, v)
		if len(sets) != wantStripes {
			t.Fatalf("%d sets, want %d", len(sets), wantStripes)
		}
		for _, set := range sets {
			if int64(len(set)) != max(replicas, 1) {
				t.Fatalf("set %v has not %d replicas", set, replicas)
			}
			slices.Sort(set)
			if len(slices.Compact(slices.Clone(set))) != len(set) {
				t.Fatalf("set %v uses a node twice", set)
			}
			if slices.Contains(set, "n7") || slices.Contains(set, "n8") {
				t.Fatalf("set %v uses a node that cannot hold it", set)
			}
		}
	})
}
