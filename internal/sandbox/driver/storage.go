package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// connectTimeout bounds the first questions, which tell whether the storage can
// be used at all.
const connectTimeout = 5 * time.Second

// Storage is the driver's side of the OpenStorage SDK.
type Storage struct {
	endpoint  string
	tokenFile string
	conn      *grpc.ClientConn
	volumes   api.OpenStorageVolumeClient
}

// StorageNode is one node of the storage cluster.
type StorageNode struct {
	ID string
	// Names under which the node may be known to Kubernetes.
	Names []string
}

// Connect opens the SDK at the endpoint and returns the nodes that it lists. The
// error is one line that names the endpoint and what is wrong with it. tokenFile
// may be empty; it is read for every call.
func Connect(ctx context.Context, endpoint, tokenFile string) (*Storage, []StorageNode, error) {
	s := &Storage{endpoint: endpoint, tokenFile: tokenFile}
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if tokenFile != "" {
		options = append(options, grpc.WithPerRPCCredentials(fileToken(tokenFile)))
	}
	conn, err := grpc.NewClient(endpoint, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("storage endpoint %q: %w", endpoint, err)
	}
	s.conn, s.volumes = conn, api.NewOpenStorageVolumeClient(conn)

	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nodes, err := s.nodes(ctx)
	if err != nil {
		return nil, nil, errors.Join(s.explain(err), conn.Close())
	}
	return s, nodes, nil
}

// Close ends the connection.
func (s *Storage) Close() error { return s.conn.Close() }

func (s *Storage) nodes(ctx context.Context) ([]StorageNode, error) {
	answer, err := api.NewOpenStorageNodeClient(s.conn).
		EnumerateWithFilters(ctx, &api.SdkNodeEnumerateWithFiltersRequest{})
	if err != nil {
		return nil, err
	}
	var nodes []StorageNode
	for _, n := range answer.GetNodes() {
		nodes = append(nodes, StorageNode{ID: n.GetId(), Names: []string{n.GetSchedulerNodeName(), n.GetHostname()}})
	}
	return nodes, nil
}

// explain says what a person can do about an endpoint that does not answer as it
// should.
func (s *Storage) explain(err error) error {
	reason := status.Convert(err)
	message := strings.Join(strings.Fields(reason.Message()), " ")
	switch reason.Code() {
	case codes.Unavailable:
		// What was tried stands behind several layers of who tried it.
		if _, dialing, found := strings.Cut(message, "Error while dialing: "); found {
			message = strings.TrimSuffix(dialing, `"`)
		}
		return fmt.Errorf("the storage at %s cannot be reached: %s", s.endpoint, message)
	case codes.DeadlineExceeded:
		return fmt.Errorf("the storage at %s does not answer within %v", s.endpoint, connectTimeout)
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("the storage at %s refuses us: %s; give a token of its administrator with --storage-token-file", s.endpoint, message)
	case codes.Unimplemented:
		return fmt.Errorf("what listens at %s does not serve the OpenStorage SDK: %s", s.endpoint, message)
	default:
		return fmt.Errorf("the storage at %s answers %s: %s", s.endpoint, reason.Code(), message)
	}
}

// fileToken sends the content of the file as bearer token, also over connections
// that are not encrypted: the storage of a sandbox is on the same machine.
type fileToken string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (f fileToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(string(f))
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, fmt.Sprintf("reading the token: %v", err))
	}
	return map[string]string{"authorization": "bearer " + strings.TrimSpace(string(token))}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (fileToken) RequireTransportSecurity() bool { return false }

// create makes the volume, or finds the one of that name, and returns it.
func (s *Storage) create(ctx context.Context, request *api.SdkVolumeCreateRequest) (*api.Volume, error) {
	created, err := s.volumes.Create(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("creating volume %s: %w", request.GetName(), err)
	}
	return s.inspect(ctx, created.GetVolumeId())
}

// clone copies a volume or snapshot, or finds the copy of that name, and returns it.
func (s *Storage) clone(ctx context.Context, request *api.SdkVolumeCloneRequest) (*api.Volume, error) {
	created, err := s.volumes.Clone(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("cloning volume %s: %w", request.GetParentId(), err)
	}
	return s.inspect(ctx, created.GetVolumeId())
}

func (s *Storage) inspect(ctx context.Context, id string) (*api.Volume, error) {
	inspected, err := s.volumes.Inspect(ctx, &api.SdkVolumeInspectRequest{VolumeId: id})
	if err != nil {
		return nil, fmt.Errorf("inspecting volume %s: %w", id, err)
	}
	return inspected.GetVolume(), nil
}

// remove deletes the volume; one that is not there is deleted already.
func (s *Storage) remove(ctx context.Context, id string) error {
	_, err := s.volumes.Delete(ctx, &api.SdkVolumeDeleteRequest{VolumeId: id})
	if err != nil && status.Code(err) != codes.NotFound {
		return fmt.Errorf("deleting volume %s: %w", id, err)
	}
	return nil
}

// outcomeUnknown is whether a call may have had its effect although it failed. What failed
// before storage was called had none.
func outcomeUnknown(err error) bool {
	answer, called := status.FromError(err)
	if !called {
		return false
	}
	switch answer.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted, codes.Internal, codes.Unknown:
		return true
	default:
		return false
	}
}
