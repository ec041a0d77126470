package openstoragesim

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestNodeService(t *testing.T) {
	c := NewCluster(Options{})
	n, err := c.AddNode(Node{
		SchedulerNodeName: "n1", Hostname: "n1.example.com", Status: api.Status_STATUS_STORAGE_DOWN,
		Region: "r", Zone: "a", Rack: "1", Labels: map[string]string{"disk": "nvme"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddNode(Node{SchedulerNodeName: "n2", Storageless: true}); err != nil {
		t.Fatal(err)
	}
	cl := dial(t, start(t, c, ServerOptions{}).Endpoint())

	list, err := cl.nodes.EnumerateWithFilters(t.Context(), &api.SdkNodeEnumerateWithFiltersRequest{})
	wantCode(t, err, codes.OK)
	place := map[string]string{LabelRegion: "r", LabelZone: "a", LabelRack: "1"}
	want := &api.StorageNode{
		Id: n.ID, Status: api.Status_STATUS_STORAGE_DOWN, MgmtIp: n.MgmtIP, DataIp: n.DataIP,
		Hostname: "n1.example.com", SchedulerNodeName: "n1",
		Pools:             []*api.StoragePool{{Uuid: n.Pools[0].UUID, TotalSize: 1 << 40}},
		NodeLabels:        map[string]string{LabelRegion: "r", LabelZone: "a", LabelRack: "1", "disk": "nvme"},
		SchedulerTopology: &api.SchedulerTopology{Labels: place},
	}
	if len(list.GetNodes()) != 2 {
		t.Fatalf("%d nodes", len(list.GetNodes()))
	}
	if diff := cmp.Diff(want, list.GetNodes()[0], protocmp.Transform()); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	if len(list.GetNodes()[1].GetPools()) != 0 {
		t.Error("the storageless node has pools")
	}
}

func TestCreate(t *testing.T) {
	tests := []struct {
		name    string
		request *api.SdkVolumeCreateRequest
		code    codes.Code
	}{
		{name: "a name and a spec are enough", request: &api.SdkVolumeCreateRequest{Name: "a", Spec: &api.VolumeSpec{}}},
		{name: "the same again is the same volume", request: &api.SdkVolumeCreateRequest{Name: "old", Spec: &api.VolumeSpec{Size: 1 << 30}}},
		{name: "the name is taken by another size", request: &api.SdkVolumeCreateRequest{Name: "old", Spec: &api.VolumeSpec{Size: 2 << 30}}, code: codes.AlreadyExists},
		{name: "no name", request: &api.SdkVolumeCreateRequest{Spec: &api.VolumeSpec{}}, code: codes.InvalidArgument},
		{name: "no spec", request: &api.SdkVolumeCreateRequest{Name: "a"}, code: codes.InvalidArgument},
		{name: "more replicas than are possible anywhere", request: &api.SdkVolumeCreateRequest{Name: "a", Spec: &api.VolumeSpec{HaLevel: 9}}, code: codes.InvalidArgument},
		{name: "more stripes than are possible anywhere", request: &api.SdkVolumeCreateRequest{Name: "a", Spec: &api.VolumeSpec{AggregationLevel: 99}}, code: codes.InvalidArgument},
		{name: "more replicas than nodes", request: &api.SdkVolumeCreateRequest{Name: "a", Spec: &api.VolumeSpec{HaLevel: 3}}, code: codes.ResourceExhausted},
		{
			name:    "a node that does not exist",
			request: &api.SdkVolumeCreateRequest{Name: "a", Spec: &api.VolumeSpec{ReplicaSet: &api.ReplicaSet{Nodes: []string{"x"}}}},
			code:    codes.InvalidArgument,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t, 2)
			old, err := c.CreateVolume(CreateRequest{Name: "old"})
			if err != nil {
				t.Fatal(err)
			}
			cl := dial(t, start(t, c, ServerOptions{}).Endpoint())
			response, err := cl.volumes.Create(t.Context(), test.request)
			wantCode(t, err, test.code)
			if err != nil {
				if len(c.volumes) != 1 {
					t.Errorf("the failed creation left %d volumes", len(c.volumes)-1)
				}
				return
			}
			if v, err := c.Volume(response.GetVolumeId()); err != nil || v.GetLocator().GetName() != test.request.GetName() {
				t.Errorf("created %v, %v", v, err)
			}
			if test.request.GetName() == "old" && response.GetVolumeId() != old.GetId() {
				t.Errorf("got volume %s, want %s", response.GetVolumeId(), old.GetId())
			}
		})
	}

	t.Run("what the spec leaves open is filled in", func(t *testing.T) {
		c := newCluster(t, 1)
		cl := dial(t, start(t, c, ServerOptions{}).Endpoint())
		_, err := cl.volumes.Create(t.Context(), &api.SdkVolumeCreateRequest{Name: "v", Spec: &api.VolumeSpec{AggregationLevel: api.AutoAggregation}})
		wantCode(t, err, codes.OK)
		v, err := c.Volume("v")
		must(t, err)
		want := &api.VolumeSpec{Size: defaultVolumeSize, HaLevel: 1, AggregationLevel: 1}
		if diff := cmp.Diff(want, v.GetSpec(), protocmp.Transform()); diff != "" {
			t.Errorf("spec (-want +got):\n%s", diff)
		}
	})

	t.Run("labels of request and spec end up in the locator, and zones of both count", func(t *testing.T) {
		c := newZonedCluster(t, 6)
		cl := dial(t, start(t, c, ServerOptions{}).Endpoint())
		response, err := cl.volumes.Create(t.Context(), &api.SdkVolumeCreateRequest{
			Name:   "v",
			Labels: map[string]string{"pvc": "data", "zones": "a"},
			Spec:   &api.VolumeSpec{HaLevel: 2, VolumeLabels: map[string]string{"zones": "b"}},
		})
		wantCode(t, err, codes.OK)
		v, err := c.Volume(response.GetVolumeId())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"pvc": "data", "zones": "b"}, v.GetLocator().GetVolumeLabels()); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([][]string{{"n002", "n005"}}, placedOn(t, c, v)); diff != "" {
			t.Errorf("replicas (-want +got):\n%s", diff)
		}
	})
}

func TestCopies(t *testing.T) {
	c := newCluster(t, 4)
	parent, err := c.CreateVolume(CreateRequest{Name: "parent", Parameters: map[string]string{"repl": "2"}, Labels: map[string]string{"pvc": "data", "app": "db"}})
	must(t, err)
	cl := dial(t, start(t, c, ServerOptions{}).Endpoint())

	made, err := cl.volumes.SnapshotCreate(t.Context(), &api.SdkVolumeSnapshotCreateRequest{Name: "snapshot", VolumeId: parent.GetId()})
	wantCode(t, err, codes.OK)
	clone, err := cl.volumes.Clone(t.Context(), &api.SdkVolumeCloneRequest{Name: "clone", ParentId: made.GetSnapshotId(), AdditionalLabels: map[string]string{"pvc": "copy"}})
	wantCode(t, err, codes.OK)
	again, err := cl.volumes.Clone(t.Context(), &api.SdkVolumeCloneRequest{Name: "clone", ParentId: made.GetSnapshotId()})
	wantCode(t, err, codes.OK)
	if clone.GetVolumeId() != again.GetVolumeId() {
		t.Errorf("the same clone once more is %s, not %s", again.GetVolumeId(), clone.GetVolumeId())
	}
	snapshot, err := c.Volume("snapshot")
	must(t, err)
	v, err := c.Volume(clone.GetVolumeId())
	must(t, err)
	if diff := cmp.Diff(parent.GetReplicaSets(), v.GetReplicaSets(), protocmp.Transform()); diff != "" {
		t.Errorf("replica sets (-parent +clone):\n%s", diff)
	}
	if snapshot.GetSource().GetParent() != parent.GetId() || v.GetSource().GetParent() != snapshot.GetId() || !snapshot.GetReadonly() || v.GetReadonly() {
		t.Errorf("snapshot %v of %s, clone %v", snapshot, parent.GetId(), v)
	}
	if diff := cmp.Diff(map[string]string{"pvc": "copy", "app": "db"}, v.GetLocator().GetVolumeLabels()); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}

	for name, row := range map[string]struct {
		name, parent string
		code         codes.Code
	}{
		"an unknown parent":                    {"a", "lost", codes.NotFound},
		"no parent":                            {"a", "", codes.InvalidArgument},
		"no name":                              {"", "parent", codes.InvalidArgument},
		"the name of a volume that is no copy": {"parent", "snapshot", codes.AlreadyExists},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cl.volumes.Clone(t.Context(), &api.SdkVolumeCloneRequest{Name: row.name, ParentId: row.parent})
			wantCode(t, err, row.code)
			_, err = cl.volumes.SnapshotCreate(t.Context(), &api.SdkVolumeSnapshotCreateRequest{Name: row.name, VolumeId: row.parent})
			wantCode(t, err, row.code)
		})
	}
}

func TestCreateReadsStrategyAndNodeOfThePod(t *testing.T) {
	c := newCluster(t, 3)
	cl := dial(t, start(t, c, ServerOptions{}).Endpoint())
	spec := &api.VolumeSpec{HaLevel: 2, TopologyRequirement: &api.TopologyRequirement{Labels: map[string]string{LabelHostname: nodeName(2)}}}
	_, err := cl.volumes.Create(t.Context(), &api.SdkVolumeCreateRequest{Name: "v", Spec: spec})
	wantCode(t, err, codes.OK)
	v, err := c.Volume("v")
	must(t, err)
	if got := placedOn(t, c, v)[0][0]; got != nodeName(2) {
		t.Errorf("the first replica is on %s", got)
	}

	spec.PlacementStrategy = &api.VolumePlacementStrategy{ReplicaAffinity: []*api.ReplicaPlacementSpec{{MatchExpressions: conditions(t, "nothing Exists")}}}
	_, err = cl.volumes.Create(t.Context(), &api.SdkVolumeCreateRequest{Name: "w", Spec: spec})
	wantCode(t, err, codes.ResourceExhausted)
	spec.PlacementStrategy = &api.VolumePlacementStrategy{ReplicaAffinity: []*api.ReplicaPlacementSpec{{}}}
	_, err = cl.volumes.Create(t.Context(), &api.SdkVolumeCreateRequest{Name: "w", Spec: spec})
	wantCode(t, err, codes.InvalidArgument)

	must(t, c.SetUsed(nodeName(1), 1<<30))
	list, err := cl.nodes.EnumerateWithFilters(t.Context(), &api.SdkNodeEnumerateWithFiltersRequest{})
	wantCode(t, err, codes.OK)
	for _, n := range list.GetNodes() {
		if used := n.GetPools()[0].GetUsed(); (used == 1<<30) != (n.GetSchedulerNodeName() == nodeName(1)) {
			t.Errorf("of %s %d bytes are used", n.GetSchedulerNodeName(), used)
		}
	}
}

func TestInspectAndDelete(t *testing.T) {
	c := newCluster(t, 2)
	v, err := c.CreateVolume(CreateRequest{Name: "pvc-1", Labels: map[string]string{"pvc": "data"}})
	if err != nil {
		t.Fatal(err)
	}
	cl := dial(t, start(t, c, ServerOptions{}).Endpoint())

	for _, key := range []string{v.GetId(), "pvc-1"} {
		got, err := cl.volumes.Inspect(t.Context(), &api.SdkVolumeInspectRequest{VolumeId: key})
		wantCode(t, err, codes.OK)
		want := &api.SdkVolumeInspectResponse{Volume: v, Name: "pvc-1", Labels: map[string]string{"pvc": "data"}}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("by %q (-want +got):\n%s", key, diff)
		}
	}
	for key, code := range map[string]codes.Code{"": codes.InvalidArgument, "1": codes.NotFound} {
		_, err := cl.volumes.Inspect(t.Context(), &api.SdkVolumeInspectRequest{VolumeId: key})
		wantCode(t, err, code)
	}

	if err := c.Attach("pvc-1", "n001"); err != nil {
		t.Fatal(err)
	}
	_, err = cl.volumes.Delete(t.Context(), &api.SdkVolumeDeleteRequest{VolumeId: v.GetId()})
	wantCode(t, err, codes.FailedPrecondition)
	if err := c.Detach("pvc-1"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to delete, which is fine
		_, err = cl.volumes.Delete(t.Context(), &api.SdkVolumeDeleteRequest{VolumeId: v.GetId()})
		wantCode(t, err, codes.OK)
	}
	if len(c.volumes) != 0 {
		t.Error("the volume is still there")
	}
}

func TestListsAndTheirFilters(t *testing.T) {
	c := newCluster(t, 2)
	for name, labels := range map[string]map[string]string{
		"v1": {"namespace": "shop", "pvc": "data-0"},
		"v2": {"namespace": "shop", "pvc": "data-1"},
		"v3": {"namespace": "blog", "pvc": "data-0"},
	} {
		if _, err := c.CreateVolume(CreateRequest{Name: name, Labels: labels, Parameters: map[string]string{"group": name}}); err != nil {
			t.Fatal(err)
		}
	}
	cl := dial(t, start(t, c, ServerOptions{}).Endpoint())

	tests := []struct {
		name   string
		filter *api.SdkVolumeInspectWithFiltersRequest
		want   []string
	}{
		{name: "no filter gives all", filter: &api.SdkVolumeInspectWithFiltersRequest{}, want: []string{"v1", "v2", "v3"}},
		{name: "a label filters", filter: &api.SdkVolumeInspectWithFiltersRequest{Labels: map[string]string{"namespace": "shop"}}, want: []string{"v1", "v2"}},
		{name: "all labels must match", filter: &api.SdkVolumeInspectWithFiltersRequest{Labels: map[string]string{"namespace": "shop", "pvc": "data-1"}}, want: []string{"v2"}},
		{name: "a label that no volume has gives none", filter: &api.SdkVolumeInspectWithFiltersRequest{Labels: map[string]string{"x": ""}}},
		{name: "the name filters", filter: &api.SdkVolumeInspectWithFiltersRequest{Name: "v3"}, want: []string{"v3"}},
		{name: "the owner filters", filter: &api.SdkVolumeInspectWithFiltersRequest{Ownership: &api.Ownership{Owner: "nobody"}}},
		{name: "the group is ignored", filter: &api.SdkVolumeInspectWithFiltersRequest{Group: &api.Group{Id: "v1"}}, want: []string{"v1", "v2", "v3"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			full, err := cl.volumes.InspectWithFilters(t.Context(), test.filter)
			wantCode(t, err, codes.OK)
			var names []string
			for _, v := range full.GetVolumes() {
				names = append(names, v.GetName())
			}
			slices.Sort(names)
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("InspectWithFilters (-want +got):\n%s", diff)
			}
		})
	}

	all, err := cl.volumes.Enumerate(t.Context(), &api.SdkVolumeEnumerateRequest{})
	wantCode(t, err, codes.OK)
	if len(all.GetVolumeIds()) != 3 {
		t.Errorf("Enumerate gave %v", all.GetVolumeIds())
	}
}

func TestBigListsAreOneMessage(t *testing.T) {
	c := newCluster(t, 3)
	if err := c.Fill(5000, map[string]string{"repl": "3"}); err != nil {
		t.Fatal(err)
	}
	cl := dial(t, start(t, c, ServerOptions{}).Endpoint())
	// The server sends it; it is the client that refuses by default.
	_, err := cl.volumes.InspectWithFilters(t.Context(), &api.SdkVolumeInspectWithFiltersRequest{})
	wantCode(t, err, codes.ResourceExhausted)
	full, err := cl.volumes.InspectWithFilters(t.Context(), &api.SdkVolumeInspectWithFiltersRequest{}, maxReceive)
	wantCode(t, err, codes.OK)
	if len(full.GetVolumes()) != 5000 {
		t.Errorf("%d volumes", len(full.GetVolumes()))
	}
}
