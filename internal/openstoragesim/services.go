package openstoragesim

import (
	"context"
	"errors"
	"maps"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// nodeService answers for storage nodes.
type nodeService struct {
	api.UnimplementedOpenStorageNodeServer
	server *Server
}

// EnumerateWithFilters has no filters, in the protocol either.
func (s nodeService) EnumerateWithFilters(context.Context, *api.SdkNodeEnumerateWithFiltersRequest) (*api.SdkNodeEnumerateWithFiltersResponse, error) {
	response := &api.SdkNodeEnumerateWithFiltersResponse{}
	share := s.server.faults.Load().HideNodes
	for _, n := range s.server.cluster.Nodes() {
		if !chosen(n.ID, share) {
			response.Nodes = append(response.Nodes, n.storageNode())
		}
	}
	return response, nil
}

// volumeService answers for volumes.
type volumeService struct {
	api.UnimplementedOpenStorageVolumeServer
	server *Server
}

// Create places the replicas as spec and labels ask. Like real servers it
// returns the existing volume of that name, and moves spec labels to the
// locator.
func (s volumeService) Create(ctx context.Context, request *api.SdkVolumeCreateRequest) (*api.SdkVolumeCreateResponse, error) {
	if request.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "must supply a unique name")
	}
	if request.GetSpec() == nil {
		return nil, status.Error(codes.InvalidArgument, "must supply spec object")
	}
	spec := proto.CloneOf(request.GetSpec())
	labels := map[string]string{}
	maps.Copy(labels, request.GetLabels())
	maps.Copy(labels, spec.GetVolumeLabels())
	if err := s.freeFor(ctx, request.GetName()); err != nil {
		return nil, err
	}
	spec.Ownership = api.OwnershipSetUsernameFromContext(ctx, spec.GetOwnership())
	v, err := s.server.cluster.create(request.GetName(), spec, labels)
	if err != nil {
		return nil, statusOf(err)
	}
	return &api.SdkVolumeCreateResponse{VolumeId: v.GetId()}, nil
}

// freeFor refuses the name of somebody else's volume.
func (s volumeService) freeFor(ctx context.Context, name string) error {
	if existing, err := s.server.cluster.Volume(name); err == nil && !existing.IsPermitted(ctx, api.Ownership_Admin) {
		return status.Errorf(codes.PermissionDenied, "volume %s already exists and is owned by another user", name)
	}
	return nil
}

// Clone copies a volume or snapshot; the copy lies where that lies.
func (s volumeService) Clone(ctx context.Context, request *api.SdkVolumeCloneRequest) (*api.SdkVolumeCloneResponse, error) {
	v, err := s.copied(ctx, s.server.cluster.Clone, request.GetName(), request.GetParentId(), request.GetAdditionalLabels())
	return &api.SdkVolumeCloneResponse{VolumeId: v.GetId()}, err
}

// SnapshotCreate makes a snapshot, which is a volume, too.
func (s volumeService) SnapshotCreate(ctx context.Context, request *api.SdkVolumeSnapshotCreateRequest) (*api.SdkVolumeSnapshotCreateResponse, error) {
	v, err := s.copied(ctx, s.server.cluster.Snapshot, request.GetName(), request.GetVolumeId(), request.GetLabels())
	return &api.SdkVolumeSnapshotCreateResponse{SnapshotId: v.GetId()}, err
}

type copying = func(name, parent string, labels map[string]string) (*api.Volume, error)

func (s volumeService) copied(ctx context.Context, made copying, name, parent string, labels map[string]string) (*api.Volume, error) {
	if name == "" {
		return nil, status.Error(codes.InvalidArgument, "must supply a unique name")
	}
	if _, err := s.permitted(ctx, parent, api.Ownership_Read); err != nil {
		return nil, err
	}
	if err := s.freeFor(ctx, name); err != nil {
		return nil, err
	}
	v, err := made(name, parent, labels)
	if err != nil {
		return nil, statusOf(err)
	}
	return v, nil
}

// Delete of a volume that does not exist is a success.
func (s volumeService) Delete(ctx context.Context, request *api.SdkVolumeDeleteRequest) (*api.SdkVolumeDeleteResponse, error) {
	v, err := s.permitted(ctx, request.GetVolumeId(), api.Ownership_Admin)
	if status.Code(err) == codes.NotFound {
		return &api.SdkVolumeDeleteResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.server.cluster.DeleteVolume(v.GetId()); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, statusOf(err)
	}
	return &api.SdkVolumeDeleteResponse{}, nil
}

// Inspect takes an id or a name.
func (s volumeService) Inspect(ctx context.Context, request *api.SdkVolumeInspectRequest) (*api.SdkVolumeInspectResponse, error) {
	v, err := s.permitted(ctx, request.GetVolumeId(), api.Ownership_Read)
	if err != nil {
		return nil, err
	}
	if chosen(v.GetId(), s.server.faults.Load().LoseVolumes) {
		return nil, notFound(request.GetVolumeId())
	}
	return inspected(v), nil
}

// InspectWithFilters answers in one message, however big.
func (s volumeService) InspectWithFilters(ctx context.Context, request *api.SdkVolumeInspectWithFiltersRequest) (*api.SdkVolumeInspectWithFiltersResponse, error) {
	response := &api.SdkVolumeInspectWithFiltersResponse{}
	for _, v := range s.server.visibleVolumes(ctx) {
		if matches(v, request) {
			response.Volumes = append(response.Volumes, inspected(v))
		}
	}
	return response, nil
}

func (s volumeService) Enumerate(ctx context.Context, _ *api.SdkVolumeEnumerateRequest) (*api.SdkVolumeEnumerateResponse, error) {
	response := &api.SdkVolumeEnumerateResponse{}
	for _, v := range s.server.visibleVolumes(ctx) {
		response.VolumeIds = append(response.VolumeIds, v.GetId())
	}
	return response, nil
}

// permitted finds a volume that the caller may access in this way.
func (s volumeService) permitted(ctx context.Context, idOrName string, access api.Ownership_AccessType) (*api.Volume, error) {
	if idOrName == "" {
		return nil, status.Error(codes.InvalidArgument, "must supply volume id")
	}
	v, err := s.server.cluster.Volume(idOrName)
	if err != nil {
		return nil, notFound(idOrName)
	}
	if !v.IsPermitted(ctx, access) {
		return nil, status.Errorf(codes.PermissionDenied, "access denied to volume %s", v.GetId())
	}
	return v, nil
}

func notFound(idOrName string) error {
	return status.Errorf(codes.NotFound, "volume id %s not found", idOrName)
}

// visibleVolumes are those that lists show: the caller's, less what faults hide.
func (s *Server) visibleVolumes(ctx context.Context) []*api.Volume {
	share := s.faults.Load().HideVolumes
	volumes := s.cluster.snapshot()
	visible := volumes[:0]
	for _, v := range volumes {
		if v.IsPermitted(ctx, api.Ownership_Read) && !chosen(v.GetId(), share) {
			visible = append(visible, v)
		}
	}
	return visible
}

// matches ignores the group field of the filter, as real servers do.
func matches(v *api.Volume, filter *api.SdkVolumeInspectWithFiltersRequest) bool {
	if name := filter.GetName(); name != "" && name != v.GetLocator().GetName() {
		return false
	}
	if owner := filter.GetOwnership(); owner != nil {
		if has := v.GetSpec().GetOwnership(); has == nil || !has.IsMatch(owner) {
			return false
		}
	}
	for key, value := range filter.GetLabels() {
		if has, ok := v.GetLocator().GetVolumeLabels()[key]; !ok || has != value {
			return false
		}
	}
	return true
}

func inspected(v *api.Volume) *api.SdkVolumeInspectResponse {
	return &api.SdkVolumeInspectResponse{
		Volume: v,
		Name:   v.GetLocator().GetName(),
		Labels: v.GetLocator().GetVolumeLabels(),
	}
}

// statusOf gives an error of the cluster its gRPC code.
func statusOf(err error) error {
	for kind, code := range map[error]codes.Code{
		ErrNotFound:  codes.NotFound,
		ErrInvalid:   codes.InvalidArgument,
		ErrExhausted: codes.ResourceExhausted,
		ErrExists:    codes.AlreadyExists,
		ErrConflict:  codes.FailedPrecondition,
	} {
		if errors.Is(err, kind) {
			return status.Error(code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}
