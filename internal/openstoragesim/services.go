package openstoragesim

import (
	"context"
	"fmt"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// identityService answers who the server is.
type identityService struct {
	api.UnimplementedOpenStorageIdentityServer
}

func (identityService) Version(context.Context, *api.SdkIdentityVersionRequest) (*api.SdkIdentityVersionResponse, error) {
	const major, minor, patch = int32(api.SdkVersion_Major), int32(api.SdkVersion_Minor), int32(api.SdkVersion_Patch)
	return &api.SdkIdentityVersionResponse{
		SdkVersion: &api.SdkVersion{
			Major:   major,
			Minor:   minor,
			Patch:   patch,
			Version: fmt.Sprintf("%d.%d.%d", major, minor, patch),
		},
		Version: &api.StorageVersion{Driver: "openstorage-sim", Version: "1.0.0"},
	}, nil
}

// clusterService answers for the storage cluster as a whole.
type clusterService struct {
	api.UnimplementedOpenStorageClusterServer
	server *Server
}

func (s clusterService) InspectCurrent(context.Context, *api.SdkClusterInspectCurrentRequest) (*api.SdkClusterInspectCurrentResponse, error) {
	return &api.SdkClusterInspectCurrentResponse{Cluster: &api.StorageCluster{
		Id:     s.server.cluster.ID(),
		Name:   s.server.cluster.Name(),
		Status: api.Status_STATUS_OK,
	}}, nil
}

// nodeService answers for storage nodes.
type nodeService struct {
	api.UnimplementedOpenStorageNodeServer
	server *Server
}

func (s nodeService) Enumerate(context.Context, *api.SdkNodeEnumerateRequest) (*api.SdkNodeEnumerateResponse, error) {
	response := &api.SdkNodeEnumerateResponse{}
	for _, n := range s.visible() {
		response.NodeIds = append(response.NodeIds, n.ID)
	}
	return response, nil
}

// EnumerateWithFilters has no filters, in the protocol either.
func (s nodeService) EnumerateWithFilters(context.Context, *api.SdkNodeEnumerateWithFiltersRequest) (*api.SdkNodeEnumerateWithFiltersResponse, error) {
	response := &api.SdkNodeEnumerateWithFiltersResponse{}
	for _, n := range s.visible() {
		response.Nodes = append(response.Nodes, n.storageNode())
	}
	return response, nil
}

// Inspect takes the id only.
func (s nodeService) Inspect(_ context.Context, request *api.SdkNodeInspectRequest) (*api.SdkNodeInspectResponse, error) {
	id := request.GetNodeId()
	if id == "" {
		return nil, status.Error(codes.InvalidArgument, "node id must be provided")
	}
	n, err := s.server.cluster.Node(id)
	if err != nil || n.ID != id {
		return nil, status.Errorf(codes.NotFound, "node id %s not found", id)
	}
	return &api.SdkNodeInspectResponse{Node: n.storageNode()}, nil
}

func (s nodeService) visible() []Node {
	share := s.server.faults.Load().HideNodes
	nodes := s.server.cluster.Nodes()
	visible := nodes[:0]
	for _, n := range nodes {
		if !chosen(n.ID, share) {
			visible = append(visible, n)
		}
	}
	return visible
}
