package openstorage

import (
	"github.com/libopenstorage/openstorage/api"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// observationOf converts a volume of the SDK. It returns false for a message that
// describes no volume that is there: none at all, one without an id, one that is
// deleted or in the trash can. The id and name are filled in all the same, where
// there are any.
//
// The observation shares maps and strings with the message.
func observationOf(v *api.Volume, name string) (o volumes.Observation, exists bool) {
	locator, spec := v.GetLocator(), v.GetSpec()
	o = volumes.Observation{
		ID:         v.GetId(),
		Name:       locator.GetName(),
		Attached:   v.GetAttachedOn(),
		Service:    isService(spec),
		Direct:     spec.GetProxySpec().GetProxyProtocol() != api.ProxyProtocol_PROXY_PROTOCOL_INVALID,
		Winshare:   spec.GetWinshare(),
		Labels:     locator.GetVolumeLabels(),
		SpecLabels: spec.GetVolumeLabels(),
	}
	if o.Name == "" {
		o.Name = name
	}
	for _, set := range v.GetReplicaSets() {
		o.ReplicaSets = append(o.ReplicaSets, set.GetNodes())
	}
	return o, o.ID != "" && !v.GetInTrashcan() && v.GetState() != api.VolumeState_VOLUME_STATE_DELETED
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
		})
	}
	return nodes
}

// stateOf maps a node status as behaviour.md §1 says.
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
