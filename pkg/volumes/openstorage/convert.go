package openstorage

import (
	"math"
	"math/bits"
	"slices"

	"github.com/libopenstorage/openstorage/api"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// observationOf converts a volume of the SDK. Gone is set for a message that
// describes no volume that is there: none at all, one without an id, one that is
// deleted or in the trash can. The id and name are filled in all the same, where
// there are any.
//
// The observation shares maps and strings with the message.
func observationOf(v *api.Volume, name string) volumes.Observation {
	locator, spec := v.GetLocator(), v.GetSpec()
	o := volumes.Observation{
		ID:         v.GetId(),
		Name:       locator.GetName(),
		Attached:   v.GetAttachedOn(),
		Service:    isService(spec),
		Direct:     isDirect(spec, v.GetReplicaSets()),
		Winshare:   spec.GetWinshare(),
		Resyncing:  isResyncing(v),
		Labels:     locator.GetVolumeLabels(),
		SpecLabels: spec.GetVolumeLabels(),
	}
	if o.Name == "" {
		o.Name = name
	}
	for _, set := range v.GetReplicaSets() {
		o.ReplicaSets = append(o.ReplicaSets, set.GetNodes())
	}
	o.Gone = o.ID == "" || v.GetInTrashcan() || v.GetState() == api.VolumeState_VOLUME_STATE_DELETED
	return o
}

// isResyncing reports whether a replica is being synchronized, or missing. What a set is
// doing stands in its runtime state under a name of the driver's.
func isResyncing(v *api.Volume) bool {
	return v.GetStatus() == api.VolumeStatus_VOLUME_STATUS_DEGRADED ||
		slices.ContainsFunc(v.GetRuntimeState(), func(set *api.RuntimeStateMap) bool { return set.GetRuntimeState()["RuntimeState"] == "resync" })
}

// isDirect reports whether a volume has no replicas by design: it is a proxy for
// something outside of the storage system. A protocol that is not known yet says so
// only of a volume that has no replicas indeed.
func isDirect(spec *api.VolumeSpec, sets []*api.ReplicaSet) bool {
	switch spec.GetProxySpec().GetProxyProtocol() {
	case api.ProxyProtocol_PROXY_PROTOCOL_INVALID:
		return false
	case api.ProxyProtocol_PROXY_PROTOCOL_NFS, api.ProxyProtocol_PROXY_PROTOCOL_S3, api.ProxyProtocol_PROXY_PROTOCOL_PXD,
		api.ProxyProtocol_PROXY_PROTOCOL_PURE_BLOCK, api.ProxyProtocol_PROXY_PROTOCOL_PURE_FILE:
		return true
	default:
		return !slices.ContainsFunc(sets, func(set *api.ReplicaSet) bool { return len(set.GetNodes()) > 0 })
	}
}

// isService reports whether a sharedv4 volume is reached through a service. A
// service spec that leaves the type open, or has one that is not known yet,
// counts: only NONE says that there is no service.
func isService(spec *api.VolumeSpec) bool {
	service := spec.GetSharedv4ServiceSpec()
	return spec.GetSharedv4() && service != nil && service.GetType() != api.Sharedv4ServiceSpec_NONE
}

func storageNodesOf(list []*api.StorageNode) []volumes.StorageNode {
	nodes := make([]volumes.StorageNode, 0, len(list))
	for _, n := range list {
		if n.GetId() == "" {
			continue
		}
		nodes = append(nodes, volumes.StorageNode{
			ID:                n.GetId(),
			SchedulerNodeName: n.GetSchedulerNodeName(),
			Hostname:          n.GetHostname(),
			MgmtIP:            n.GetMgmtIp(),
			DataIP:            n.GetDataIp(),
			State:             stateOf(n.GetStatus()),
			Disks:             disksOf(n),
		})
	}
	return nodes
}

// disksOf are the pools of a node. Room is told in steps of an eighth, so that what is
// written every second is no news.
func disksOf(n *api.StorageNode) *placement.Disks {
	disks := &placement.Disks{ID: n.GetId(), Labels: placement.LabelsOf(n.GetNodeLabels())}
	for _, p := range n.GetPools() {
		pool := placement.Pool{UUID: p.GetUuid(), Labels: placement.LabelsOf(p.GetLabels()), Free: -1}
		if total, used := p.GetTotalSize(), p.GetUsed(); total > 0 {
			pool.Free = floorToEighth(total - min(used, total))
		}
		disks.Pools = append(disks.Pools, pool)
	}
	return disks
}

// floorToEighth cuts a number of bytes to its three highest bits.
func floorToEighth(bytes uint64) int64 {
	if low := bits.Len64(bytes) - 3; low > 0 {
		bytes &^= 1<<low - 1
	}
	return int64(min(bytes, math.MaxInt64))
}

// stateOf maps a node status as docs/behaviour.md says in section 1.
func stateOf(s api.Status) placement.StorageState {
	switch s {
	case api.Status_STATUS_OK, api.Status_STATUS_NONE:
		return placement.Online
	case api.Status_STATUS_STORAGE_DOWN, api.Status_STATUS_POOLMAINTENANCE:
		return placement.StorageDown
	case api.Status_STATUS_STORAGE_DEGRADED, api.Status_STATUS_STORAGE_REBALANCE, api.Status_STATUS_STORAGE_DRIVE_REPLACE:
		return placement.Degraded
	default:
		return placement.Offline
	}
}
