package openstorage

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/protobuf/proto"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

func TestVolumeOfTheSDKIsUnderstood(t *testing.T) {
	service := func(sharedv4 bool, kind api.Sharedv4ServiceSpec_ServiceType) *api.VolumeSpec {
		return &api.VolumeSpec{Sharedv4: sharedv4, Sharedv4ServiceSpec: &api.Sharedv4ServiceSpec{Type: kind}}
	}
	proxy := func(protocol api.ProxyProtocol) *api.VolumeSpec {
		return &api.VolumeSpec{ProxySpec: &api.ProxySpec{ProxyProtocol: protocol}}
	}
	of := func(o volumes.Observation) volumes.Observation {
		o.ID = "1"
		return o
	}
	tests := []struct {
		name   string
		volume *api.Volume
		want   volumes.Observation
		gone   bool
	}{
		{"no volume", nil, volumes.Observation{}, true},
		{"no id", &api.Volume{Locator: &api.VolumeLocator{Name: "pvc"}}, volumes.Observation{Name: "pvc"}, true},
		{"deleted", &api.Volume{Id: "1", State: api.VolumeState_VOLUME_STATE_DELETED}, of(volumes.Observation{}), true},
		{"in the trash can", &api.Volume{Id: "1", InTrashcan: true}, of(volumes.Observation{}), true},
		{"its name and locator labels", &api.Volume{Id: "1", Locator: &api.VolumeLocator{Name: "pvc", VolumeLabels: map[string]string{"a": "b"}}},
			of(volumes.Observation{Name: "pvc", Labels: map[string]string{"a": "b"}}), false},
		{"its deprecated labels", &api.Volume{Id: "1", Spec: &api.VolumeSpec{VolumeLabels: map[string]string{"a": "b"}}},
			of(volumes.Observation{SpecLabels: map[string]string{"a": "b"}}), false},
		{"its replica sets, a missing one included", &api.Volume{Id: "1", ReplicaSets: []*api.ReplicaSet{{Nodes: []string{"a", "b"}}, nil}},
			of(volumes.Observation{ReplicaSets: [][]string{{"a", "b"}, nil}}), false},
		{"not the replica set that was asked for", &api.Volume{Id: "1", Spec: &api.VolumeSpec{ReplicaSet: &api.ReplicaSet{Nodes: []string{"a"}}}},
			of(volumes.Observation{}), false},
		{"where it is attached", &api.Volume{Id: "1", AttachedOn: "a"}, of(volumes.Observation{Attached: "a"}), false},
		{"a Windows volume", &api.Volume{Id: "1", Spec: &api.VolumeSpec{Winshare: true}}, of(volumes.Observation{Winshare: true}), false},
		{"a volume that lacks a replica", &api.Volume{Id: "1", Status: api.VolumeStatus_VOLUME_STATUS_DEGRADED}, of(volumes.Observation{Resyncing: true}), false},
		{"a volume one of whose sets is synchronized", &api.Volume{Id: "1", Status: api.VolumeStatus_VOLUME_STATUS_UP, RuntimeState: []*api.RuntimeStateMap{
			{RuntimeState: map[string]string{"RuntimeState": "clean"}}, {RuntimeState: map[string]string{"RuntimeState": "resync"}},
		}}, of(volumes.Observation{Resyncing: true}), false},
		{"a volume that is clean", &api.Volume{Id: "1", Status: api.VolumeStatus_VOLUME_STATUS_UP, RuntimeState: []*api.RuntimeStateMap{nil, {RuntimeState: map[string]string{"RuntimeState": "clean"}}}},
			of(volumes.Observation{}), false},
		{"a plain sharedv4 volume", &api.Volume{Id: "1", Spec: &api.VolumeSpec{Sharedv4: true}}, of(volumes.Observation{}), false},
		{"a service volume", &api.Volume{Id: "1", Spec: service(true, api.Sharedv4ServiceSpec_CLUSTERIP)}, of(volumes.Observation{Service: true}), false},
		{"a service of an unspecified type", &api.Volume{Id: "1", Spec: service(true, api.Sharedv4ServiceSpec_UNSPECIFIED)}, of(volumes.Observation{Service: true}), false},
		{"a service of a type to come", &api.Volume{Id: "1", Spec: service(true, 99)}, of(volumes.Observation{Service: true}), false},
		{"expressly no service", &api.Volume{Id: "1", Spec: service(true, api.Sharedv4ServiceSpec_NONE)}, of(volumes.Observation{}), false},
		{"a service spec on a volume that is not shared", &api.Volume{Id: "1", Spec: service(false, api.Sharedv4ServiceSpec_CLUSTERIP)}, of(volumes.Observation{}), false},
		{"direct access to blocks", &api.Volume{Id: "1", Spec: proxy(api.ProxyProtocol_PROXY_PROTOCOL_PURE_BLOCK)}, of(volumes.Observation{Direct: true}), false},
		{"direct access to files", &api.Volume{Id: "1", Spec: proxy(api.ProxyProtocol_PROXY_PROTOCOL_PURE_FILE)}, of(volumes.Observation{Direct: true}), false},
		{"an NFS proxy", &api.Volume{Id: "1", Spec: proxy(api.ProxyProtocol_PROXY_PROTOCOL_NFS)}, of(volumes.Observation{Direct: true}), false},
		{"a proxy of a protocol to come, without replicas", &api.Volume{Id: "1", Spec: proxy(99)}, of(volumes.Observation{Direct: true}), false},
		{"a proxy of a protocol to come, with an empty replica set", &api.Volume{Id: "1", Spec: proxy(99), ReplicaSets: []*api.ReplicaSet{{}}},
			of(volumes.Observation{Direct: true, ReplicaSets: [][]string{nil}}), false},
		{"a proxy of a protocol to come, with replicas", &api.Volume{Id: "1", Spec: proxy(99), ReplicaSets: []*api.ReplicaSet{{Nodes: []string{"a"}}}},
			of(volumes.Observation{ReplicaSets: [][]string{{"a"}}}), false},
		{"a state to come", &api.Volume{Id: "1", State: 99, Status: 99}, of(volumes.Observation{}), false},
		{"a proxy spec without a protocol", &api.Volume{Id: "1", Spec: proxy(api.ProxyProtocol_PROXY_PROTOCOL_INVALID)}, of(volumes.Observation{}), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := observationOf(test.volume, "")
			exists := !got.Gone
			got.Gone = false
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("observation differs (-want +got):\n%s", diff)
			}
			if exists == test.gone {
				t.Errorf("exists is %v", exists)
			}
		})
	}
	if o := observationOf(&api.Volume{Id: "1"}, "pvc"); o.Name != "pvc" {
		t.Errorf("the name beside the volume is not taken: %q", o.Name)
	}
}

func TestNodeStatusBecomesStorageState(t *testing.T) {
	want := map[api.Status]placement.StorageState{
		api.Status_STATUS_NONE:                     placement.Online,
		api.Status_STATUS_OK:                       placement.Online,
		api.Status_STATUS_STORAGE_DOWN:             placement.StorageDown,
		api.Status_STATUS_POOLMAINTENANCE:          placement.StorageDown,
		api.Status_STATUS_STORAGE_DEGRADED:         placement.Degraded,
		api.Status_STATUS_STORAGE_REBALANCE:        placement.Degraded,
		api.Status_STATUS_STORAGE_DRIVE_REPLACE:    placement.Degraded,
		api.Status_STATUS_INIT:                     placement.Offline,
		api.Status_STATUS_OFFLINE:                  placement.Offline,
		api.Status_STATUS_ERROR:                    placement.Offline,
		api.Status_STATUS_NOT_IN_QUORUM:            placement.Offline,
		api.Status_STATUS_DECOMMISSION:             placement.Offline,
		api.Status_STATUS_MAINTENANCE:              placement.Offline,
		api.Status_STATUS_NEEDS_REBOOT:             placement.Offline,
		api.Status_STATUS_NOT_IN_QUORUM_NO_STORAGE: placement.Offline,
		api.Status_STATUS_MAX:                      placement.Offline,
		-1:                                         placement.Offline,
		4711:                                       placement.Offline,
	}
	for number := range api.Status_name {
		if _, listed := want[api.Status(number)]; !listed {
			t.Errorf("status %v is not in the table", api.Status(number))
		}
	}
	for status, state := range want {
		if got := stateOf(status); got != state {
			t.Errorf("%v is %v, want %v", status, got, state)
		}
	}
}

func TestNodesOfTheSDKAreUnderstood(t *testing.T) {
	got := storageNodesOf([]*api.StorageNode{nil, {}, {Hostname: "no-id"}, {Id: "s1", SchedulerNodeName: "n", Hostname: "h",
		MgmtIp: "10.0.0.1", DataIp: "10.0.0.2", Status: api.Status_STATUS_OK, NodeLabels: map[string]string{"zone": "a"},
		Pools: []*api.StoragePool{
			{Uuid: "p1", Labels: map[string]string{"medium": "SSD"}, TotalSize: 1000, Used: 1},
			{Uuid: "p2", TotalSize: 1000, Used: 2000},
			{Uuid: "p3", Used: 5},
			nil,
		}}})
	want := []volumes.StorageNode{{ID: "s1", SchedulerNodeName: "n", Hostname: "h", MgmtIP: "10.0.0.1", DataIP: "10.0.0.2", State: placement.Online,
		Disks: &placement.Disks{ID: "s1", Labels: placement.LabelSet{{Key: "zone", Value: "a"}}, Pools: []placement.Pool{
			{UUID: "p1", Labels: placement.LabelSet{{Key: "medium", Value: "SSD"}}, Free: 896}, {UUID: "p2"}, {UUID: "p3", Free: -1}, {Free: -1},
		}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes differ (-want +got):\n%s", diff)
	}
}

func TestRoomIsToldInSteps(t *testing.T) {
	for bytes, want := range map[uint64]int64{0: 0, 1: 1, 7: 7, 8: 8, 9: 8, 15: 14, 1000: 896, 1<<40 - 1: 7 << 37, 1 << 40: 1 << 40, math.MaxUint64: math.MaxInt64} {
		if got := floorToEighth(bytes); got != want {
			t.Errorf("floorToEighth(%d) = %d, want %d", bytes, got, want)
		}
	}
}

// seeds are messages of all kinds in wire format.
func seeds(f *testing.F) {
	full := &api.Volume{
		Id: "1", Locator: &api.VolumeLocator{Name: "pvc-1", VolumeLabels: map[string]string{placement.VolumePreferRemote: "maybe"}},
		ReplicaSets: []*api.ReplicaSet{{Nodes: []string{"s1", "", "s1", "s2", "s3", "s4"}}, {}},
		AttachedOn:  "s1",
		Spec: &api.VolumeSpec{Sharedv4: true, Sharedv4ServiceSpec: &api.Sharedv4ServiceSpec{Type: -5},
			ProxySpec: &api.ProxySpec{ProxyProtocol: 77}, VolumeLabels: map[string]string{"winshare": ""}},
		State: 1000, Status: -1,
	}
	for _, message := range []proto.Message{
		full, &api.Volume{}, &api.Volume{Id: "pvc-1"},
		&api.SdkVolumeInspectResponse{Volume: full, Name: "pvc-1"},
		&api.SdkWatchResponse{EventType: &api.SdkWatchResponse_VolumeEvent{VolumeEvent: &api.SdkVolumeWatchResponse{Volume: full}}},
		&api.SdkNodeEnumerateWithFiltersResponse{Nodes: []*api.StorageNode{
			{Id: "s1", Status: 4711, Hostname: "a"}, {Id: "s1"}, {MgmtIp: "nonsense"}, {Id: "s2", SchedulerNodeName: "a", DataIp: "::1"}}},
	} {
		bytes, err := proto.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes)
	}
	f.Add([]byte{})
}

// FuzzVolume feeds an index with whatever a server may call a volume, in a watch
// and as an answer.
func FuzzVolume(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, bytes []byte) {
		index := volumes.NewIndex(volumes.Options{})
		for _, handle := range []string{"1", "pvc-1"} {
			index.Request(handle)
		}
		s := newSource(Config{}, index)
		event, answer, volume := &api.SdkWatchResponse{}, &api.SdkVolumeInspectResponse{}, &api.Volume{}
		if proto.Unmarshal(bytes, event) == nil {
			s.notice(event.GetVolumeEvent())
		}
		if proto.Unmarshal(bytes, answer) == nil {
			s.notice(&api.SdkVolumeWatchResponse{Volume: answer.GetVolume(), Name: answer.GetName()})
			take(t, index, answer.GetVolume(), answer.GetName())
		}
		if proto.Unmarshal(bytes, volume) == nil {
			take(t, index, volume, "pvc-1")
		}
	})
}

func take(t *testing.T, index *volumes.Index, v *api.Volume, name string) {
	o := observationOf(v, name)
	if !o.Gone && o.ID == "" {
		t.Error("a volume without an id is taken for one")
	}
	if o.Gone || index.Request(o.ID).FirstSeen.IsZero() {
		return
	}
	inspection, ok := index.Begin(o.ID)
	if !ok {
		t.Fatalf("volume %q is not to be asked for", o.ID)
	}
	if _, err := inspection.Found(&o); err != nil {
		return
	}
	held := index.Lookup(o.ID).Volume
	if held == nil || held.ID() != o.ID {
		t.Fatalf("volume %q became %+v", o.ID, held)
	}
	for i := range held.NumSets() {
		seen := map[volumes.NodeRef]bool{}
		for _, ref := range held.Set(i) {
			if ref == 0 || seen[ref] || index.View().StorageNodeID(ref) == "" {
				t.Errorf("set %d is %v", i, held.Set(i))
			}
			seen[ref] = true
		}
	}
	for _, key := range []string{placement.VolumePreferRemote, placement.VolumeWindows, "other"} {
		held.Label(key)
	}
	if result, err := inspection.Found(&o); err != nil || result == volumes.Diverged {
		t.Errorf("the same answer again: %v, %v", result, err)
	}
}

// FuzzNodes feeds an index with whatever a server may call a node list.
func FuzzNodes(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, bytes []byte) {
		list := &api.SdkNodeEnumerateWithFiltersResponse{}
		if proto.Unmarshal(bytes, list) != nil {
			return
		}
		nodes := storageNodesOf(list.GetNodes())
		for _, n := range nodes {
			if n.ID == "" || n.State == placement.NoDriver {
				t.Errorf("node %+v", n)
			}
		}
		index := volumes.NewIndex(volumes.Options{})
		index.SetStorageNodes(nodes)
		index.SetStorageNodes(nil)
	})
}
