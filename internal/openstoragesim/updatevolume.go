package openstoragesim

import (
	"context"
	"slices"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// simulatedUpdates are the fields of VolumeSpecUpdate that Update carries out.
var simulatedUpdates = map[protoreflect.Name]bool{
	"size":                  true,
	"ha_level":              true,
	"replica_set":           true, // where ha_level adds or removes a replica
	"sharedv4":              true,
	"sharedv4_service_spec": true,
	"proxy_spec":            true,
	"winshare":              true,
	"group":                 true,
	"ownership":             true,
}

// Update changes labels and spec. Fields that are not simulated are
// Unimplemented, never silently ignored.
func (s volumeService) Update(ctx context.Context, request *api.SdkVolumeUpdateRequest) (*api.SdkVolumeUpdateResponse, error) {
	v, err := s.permitted(ctx, request.GetVolumeId(), api.Ownership_Write)
	if err != nil {
		return nil, err
	}
	if err := onlySimulated(request.GetSpec()); err != nil {
		return nil, err
	}
	err = s.server.cluster.ChangeVolume(v.GetId(), func(v *api.Volume) error {
		if len(request.GetLabels()) > 0 {
			v.Locator = withLabels(v.GetLocator(), request.GetLabels())
		}
		if request.GetSpec() == nil {
			return nil
		}
		return s.server.cluster.updateSpec(v, request.GetSpec())
	})
	if err != nil {
		return nil, statusOf(err)
	}
	return &api.SdkVolumeUpdateResponse{}, nil
}

func onlySimulated(update *api.VolumeSpecUpdate) error {
	var err error
	update.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !simulatedUpdates[field.Name()] {
			err = status.Errorf(codes.Unimplemented, "update of %s is not simulated", field.Name())
		}
		return err == nil
	})
	return err
}

// updateSpec needs c.mu for writing.
func (c *Cluster) updateSpec(v *api.Volume, update *api.VolumeSpecUpdate) error {
	spec := proto.CloneOf(v.GetSpec())
	if update.GetSizeOpt() != nil {
		spec.Size = update.GetSize()
	}
	if update.GetSharedv4Opt() != nil {
		spec.Sharedv4 = update.GetSharedv4()
	}
	if update.GetSharedv4ServiceSpec() != nil {
		spec.Sharedv4ServiceSpec = update.GetSharedv4ServiceSpec()
	}
	if update.GetProxySpec() != nil {
		spec.ProxySpec = update.GetProxySpec()
	}
	if update.GetWinshareOpt() != nil {
		spec.Winshare = update.GetWinshare()
	}
	if update.GetGroup() != nil {
		spec.Group = update.GetGroup()
	}
	if update.GetOwnership() != nil {
		spec.Ownership = update.GetOwnership()
	}
	if update.GetHaLevelOpt() != nil {
		spec.HaLevel = update.GetHaLevel()
		if update.GetReplicaSet() != nil {
			spec.ReplicaSet = update.GetReplicaSet()
		}
		if err := c.resize(v, spec); err != nil {
			return err
		}
	}
	v.Spec = c.shared(spec)
	return nil
}

// resize brings every replica set to the number of replicas that spec asks for.
// The nodes of spec.ReplicaSet, if it was given, are where replicas are added or
// removed; otherwise placement adds, and the last of a set go first. It needs
// c.mu for writing.
func (c *Cluster) resize(v *api.Volume, spec *api.VolumeSpec) error {
	d, err := newDemand(spec, v.GetLocator().GetVolumeLabels())
	if err != nil {
		return err
	}
	return editSets(v, func(set *api.ReplicaSet) error {
		for len(set.Nodes) > d.replicas {
			i := slices.IndexFunc(set.Nodes, func(id string) bool { return slices.Contains(d.nodes, id) })
			if i < 0 {
				i = len(set.Nodes) - 1
			}
			set.Nodes = slices.Delete(set.Nodes, i, i+1)
			set.PoolUuids = slices.Delete(set.PoolUuids, i, i+1)
		}
		if len(set.Nodes) == d.replicas {
			return nil
		}
		candidates, err := c.candidates(d)
		if err != nil {
			return err
		}
		var members []*node
		for _, id := range set.Nodes {
			if n, ok := c.nodesByID[id]; ok {
				members = append(members, n)
			}
		}
		for len(set.Nodes) < d.replicas {
			n := cheapest(candidates, members, nil)
			if n == nil {
				return c.exhausted(d, len(candidates))
			}
			members = append(members, n)
			set.Nodes = append(set.Nodes, n.ID)
			set.PoolUuids = append(set.PoolUuids, n.emptiestPool())
		}
		return nil
	})
}
