package openstoragesim

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestAddNode(t *testing.T) {
	t.Run("a name is enough", func(t *testing.T) {
		n, err := NewCluster(Options{}).AddNode(Node{SchedulerNodeName: "n1"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := uuid.Parse(n.ID); err != nil {
			t.Errorf("id: %v", err)
		}
		n.ID, n.Pools[0].UUID = "", ""
		want := Node{
			SchedulerNodeName: "n1", Hostname: "n1", MgmtIP: "10.0.0.1", DataIP: "10.128.0.1",
			Status: api.Status_STATUS_OK, Pools: []Pool{{Size: 1 << 40}},
		}
		if diff := cmp.Diff(want, n); diff != "" {
			t.Errorf("node (-want +got):\n%s", diff)
		}
	})

	tests := []struct {
		name   string
		first  Node
		second Node
		err    error
	}{
		{name: "two names are two nodes", first: Node{Hostname: "n1"}, second: Node{Hostname: "n2"}},
		{name: "the same name without id is the same node", first: Node{Hostname: "n1"}, second: Node{Hostname: "n1"}, err: ErrExists},
		{name: "the same name with another id is a stale record", first: Node{Hostname: "n1"}, second: Node{Hostname: "n1", ID: "old"}},
		{name: "a node needs a name or an id", first: Node{Hostname: "n1"}, second: Node{MgmtIP: "10.1.1.1"}, err: ErrInvalid},
		{name: "a storageless node has no pools", first: Node{Hostname: "n1"}, second: Node{Hostname: "n2", Storageless: true, Pools: []Pool{{}}}, err: ErrInvalid},
		{name: "a pool is there once", first: Node{Hostname: "n1"}, second: Node{Hostname: "n2", Pools: []Pool{{UUID: "p"}, {UUID: "p"}}}, err: ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := NewCluster(Options{})
			if _, err := c.AddNode(test.first); err != nil {
				t.Fatal(err)
			}
			if _, err := c.AddNode(test.second); !errors.Is(err, test.err) {
				t.Errorf("got %v, want %v", err, test.err)
			}
		})
	}
}

func TestNodesAreFoundByEveryName(t *testing.T) {
	c := NewCluster(Options{})
	n, err := c.AddNode(Node{SchedulerNodeName: "n1", Hostname: "n1.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{n.ID, "n1", "n1.example.com", n.MgmtIP, n.DataIP} {
		if found, err := c.Node(name); err != nil || found.ID != n.ID {
			t.Errorf("%q: found %q, %v", name, found.ID, err)
		}
	}
	if _, err := c.Node(""); !errors.Is(err, ErrNotFound) {
		t.Errorf("the empty name: %v", err)
	}
	if _, err := c.AddNode(Node{SchedulerNodeName: "n1", ID: "stale"}); err != nil {
		t.Fatal(err)
	}
	if err := c.SetNodeState("n1", api.Status_STATUS_OFFLINE); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "stale") {
		t.Errorf("a name of two records: %v, want ErrInvalid that names both ids", err)
	}
	if err := c.SetNodeState("stale", api.Status_STATUS_OFFLINE); err != nil {
		t.Error(err)
	}
	if err := c.RemoveNode("stale"); err != nil {
		t.Error(err)
	}
	if err := c.SetNodeState("n1", api.Status_STATUS_STORAGE_DOWN); err != nil {
		t.Errorf("after the stale record is gone: %v", err)
	}
}

func TestEqualSeedsGiveEqualClusters(t *testing.T) {
	build := func(seed uint64) []*api.Volume {
		c := NewCluster(Options{Seed: seed})
		for i := range 5 {
			if _, err := c.AddNode(Node{SchedulerNodeName: nodeName(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Fill(10, map[string]string{"repl": "2"}); err != nil {
			t.Fatal(err)
		}
		return slices.Collect(c.Volumes())
	}
	if diff := cmp.Diff(build(1), build(1), protocmp.Transform(), protocmp.IgnoreFields(&api.Volume{}, "ctime")); diff != "" {
		t.Errorf("the same seed (-first +second):\n%s", diff)
	}
	if build(1)[0].GetId() == build(2)[0].GetId() {
		t.Error("another seed gives the same ids")
	}
}

func TestVolumeIdentity(t *testing.T) {
	c := newCluster(t, 3)
	v, err := c.CreateVolume(CreateRequest{Name: "pvc-1", Labels: map[string]string{"a": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strconv.ParseUint(v.GetId(), 10, 64); err != nil {
		t.Errorf("the id is no decimal uint64: %v", err)
	}
	for _, key := range []string{v.GetId(), "pvc-1"} {
		if found, err := c.Volume(key); err != nil || found != v {
			t.Errorf("by %q: %v, %v", key, found, err)
		}
	}

	tests := []struct {
		name    string
		request CreateRequest
		err     error
	}{
		{name: "creating it again gives the same volume", request: CreateRequest{Name: "pvc-1"}},
		{name: "whatever else is asked, the volume stays", request: CreateRequest{Name: "pvc-1", Parameters: map[string]string{"repl": "3"}}},
		{name: "another size is refused", request: CreateRequest{Name: "pvc-1", Size: 5 << 30}, err: ErrExists},
		{name: "another shared flag is refused", request: CreateRequest{Name: "pvc-1", Parameters: map[string]string{"shared": "true"}}, err: ErrExists},
		{name: "a volume needs a name", request: CreateRequest{}, err: ErrInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			again, err := c.CreateVolume(test.request)
			if !errors.Is(err, test.err) {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if err == nil && again != v {
				t.Errorf("got %v, want the volume of before", again)
			}
			if len(c.volumes) != 1 {
				t.Errorf("%d volumes", len(c.volumes))
			}
		})
	}

	if err := c.DeleteVolume("pvc-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Volume(v.GetId()); !errors.Is(err, ErrNotFound) {
		t.Errorf("after deletion: %v", err)
	}
	reborn, err := c.CreateVolume(CreateRequest{Name: "pvc-1"})
	if err != nil || reborn.GetId() == v.GetId() {
		t.Errorf("a new volume of the old name has id %s (was %s), %v", reborn.GetId(), v.GetId(), err)
	}
}

func TestReplicaChanges(t *testing.T) {
	// The volume begins on n001 and n002 of 4 nodes; n005 is storageless.
	tests := []struct {
		name   string
		change func(*Cluster) error
		want   [][]string
		level  int64
		err    error
	}{
		{
			name:   "a replica moves in its place",
			change: func(c *Cluster) error { return c.MoveReplica("v", "n001", "n004") },
			want:   [][]string{{"n004", "n002"}}, level: 2,
		},
		{
			name:   "a replica cannot move to a node that has one",
			change: func(c *Cluster) error { return c.MoveReplica("v", "n001", "n002") },
			err:    ErrConflict,
		},
		{
			name:   "a replica cannot move from a node that has none",
			change: func(c *Cluster) error { return c.MoveReplica("v", "n003", "n004") },
			err:    ErrNotFound,
		},
		{
			name:   "a replica cannot move to a storageless node",
			change: func(c *Cluster) error { return c.MoveReplica("v", "n001", "n005") },
			err:    ErrInvalid,
		},
		{
			name:   "an added replica raises ha_level",
			change: func(c *Cluster) error { return c.AddReplica("v", "n003") },
			want:   [][]string{{"n001", "n002", "n003"}}, level: 3,
		},
		{
			name:   "a replica is not added twice",
			change: func(c *Cluster) error { return c.AddReplica("v", "n001") },
			err:    ErrConflict,
		},
		{
			name:   "a removed replica lowers ha_level",
			change: func(c *Cluster) error { return c.RemoveReplica("v", "n001") },
			want:   [][]string{{"n002"}}, level: 1,
		},
		{
			name: "the last replica stays",
			change: func(c *Cluster) error {
				return errors.Join(c.RemoveReplica("v", "n001"), c.RemoveReplica("v", "n002"))
			},
			err: ErrConflict,
		},
		{
			name: "a replica on a node that left can be removed by the node's id",
			change: func(c *Cluster) error {
				n, err := c.Node("n001")
				return errors.Join(err, c.RemoveNode("n001"), c.RemoveReplica("v", n.ID))
			},
			want: [][]string{{"n002"}}, level: 1,
		},
		{
			name: "replica sets can be put anywhere",
			change: func(c *Cluster) error {
				return c.SetReplicaSets("v", []string{"n001", "n003"}, []string{"n001", "n004"})
			},
			want: [][]string{{"n001", "n003"}, {"n001", "n004"}}, level: 2,
		},
		{
			name: "of an aggregated volume every replica on the node moves",
			change: func(c *Cluster) error {
				return errors.Join(
					c.SetReplicaSets("v", []string{"n001", "n003"}, []string{"n001", "n004"}),
					c.MoveReplica("v", "n001", "n002"))
			},
			want: [][]string{{"n002", "n003"}, {"n002", "n004"}}, level: 2,
		},
		{
			name:   "no replica sets are possible",
			change: func(c *Cluster) error { return c.SetReplicaSets("v") },
			want:   nil, level: 2,
		},
		{
			name:   "one set does not name a node twice",
			change: func(c *Cluster) error { return c.SetReplicaSets("v", []string{"n001", "n001"}) },
			err:    ErrInvalid,
		},
		{
			name:   "a volume that does not exist is not changed",
			change: func(c *Cluster) error { return c.MoveReplica("w", "n001", "n003") },
			err:    ErrNotFound,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t, 4)
			if _, err := c.AddNode(Node{SchedulerNodeName: "n005", Storageless: true}); err != nil {
				t.Fatal(err)
			}
			before, err := c.CreateVolume(CreateRequest{Name: "v", Parameters: map[string]string{"repl": "2"}})
			if err != nil {
				t.Fatal(err)
			}
			frozen := proto.CloneOf(before)
			if err := test.change(c); !errors.Is(err, test.err) {
				t.Fatalf("got %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(frozen, before, protocmp.Transform()); diff != "" {
				t.Errorf("the volume that was handed out before changed (-was +is):\n%s", diff)
			}
			checkConsistent(t, c)
			if test.err != nil {
				return
			}
			after, err := c.Volume("v")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, placedOn(t, c, after)); diff != "" {
				t.Errorf("replicas (-want +got):\n%s", diff)
			}
			if after.GetSpec().GetHaLevel() != test.level {
				t.Errorf("ha_level %d, want %d", after.GetSpec().GetHaLevel(), test.level)
			}
		})
	}
}

func TestAttachAndDetach(t *testing.T) {
	c := newCluster(t, 2)
	if _, err := c.CreateVolume(CreateRequest{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	n1, err := c.Node("n001")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Attach("v", "n001"), c.Attach("v", "n001")); err != nil {
		t.Fatalf("attaching twice to the same node: %v", err)
	}
	v, err := c.Volume("v")
	if err != nil {
		t.Fatal(err)
	}
	if v.GetAttachedOn() != n1.ID || v.GetState() != api.VolumeState_VOLUME_STATE_ATTACHED {
		t.Errorf("attached on %q, %s", v.GetAttachedOn(), v.GetState())
	}
	if err := c.Attach("v", "n002"); !errors.Is(err, ErrConflict) {
		t.Errorf("attaching elsewhere: %v", err)
	}
	if err := c.DeleteVolume("v"); !errors.Is(err, ErrConflict) {
		t.Errorf("deleting while attached: %v", err)
	}
	if err := errors.Join(c.Detach("v"), c.Detach("v"), c.DeleteVolume("v")); err != nil {
		t.Errorf("detaching twice and deleting: %v", err)
	}
}

func TestParseStatus(t *testing.T) {
	for text, want := range map[string]api.Status{
		"OFFLINE":             api.Status_STATUS_OFFLINE,
		" offline ":           api.Status_STATUS_OFFLINE,
		"STATUS_STORAGE_DOWN": api.Status_STATUS_STORAGE_DOWN,
		"none":                api.Status_STATUS_NONE,
	} {
		if got, err := ParseStatus(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "MAX", "UP"} {
		if _, err := ParseStatus(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", text, err)
		}
	}
}

func TestAChangeThatFailsChangesNothing(t *testing.T) {
	c := newCluster(t, 1)
	_, err := c.CreateVolume(CreateRequest{Name: "v"})
	must(t, err)
	for _, want := range []error{ErrConflict, nil} {
		if err := c.changeVolume("v", func(v *api.Volume) error {
			v.InTrashcan = true
			return want
		}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		v, err := c.Volume("v")
		must(t, err)
		if v.GetInTrashcan() != (want == nil) {
			t.Errorf("after %v it is %v", want, v)
		}
	}
}

func TestReplicasWithoutPoolsAreCountedAndMoved(t *testing.T) {
	c := newCluster(t, 2)
	v, err := c.CreateVolume(CreateRequest{Name: "v"})
	must(t, err)
	holder := v.GetReplicaSets()[0].GetNodes()
	must(t, c.changeVolume("v", func(v *api.Volume) error {
		v.ReplicaSets = []*api.ReplicaSet{{Nodes: holder}}
		return nil
	}))
	must(t, c.MoveReplica("v", "n001", "n002"))
	v, err = c.Volume("v")
	must(t, err)
	if diff := cmp.Diff([][]string{{"n002"}}, placedOn(t, c, v)); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}
	checkConsistent(t, c)
}

func TestFillMakesProvisionedVolumes(t *testing.T) {
	c := newCluster(t, 3)
	if err := c.Fill(3, map[string]string{"repl": "2"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Fill(3, map[string]string{"repl": "2"}); err != nil {
		t.Fatal(err)
	}
	if len(c.volumes) != 6 {
		t.Fatalf("%d volumes", len(c.volumes))
	}
	specs := map[*api.VolumeSpec]bool{}
	for v := range c.Volumes() {
		specs[v.GetSpec()] = true
		if name := v.GetLocator().GetName(); !strings.HasPrefix(name, "pvc-") || uuid.Validate(name[len("pvc-"):]) != nil {
			t.Errorf("name %q", name)
		}
		labels := slices.Sorted(maps.Keys(v.GetLocator().GetVolumeLabels()))
		if diff := cmp.Diff([]string{LabelNamespace, LabelPVC}, labels); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
	}
	if len(specs) != 1 {
		t.Errorf("equal volumes keep %d specs in memory", len(specs))
	}
	if err := c.Fill(1, map[string]string{"repl": "3", "nodes": "n001"}); !errors.Is(err, ErrExhausted) {
		t.Errorf("what cannot be placed: %v", err)
	}
}
