package openstoragesim

import (
	"context"
	"testing"

	"github.com/libopenstorage/openstorage/api"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a connection with all the services that are simulated.
type client struct {
	*grpc.ClientConn
	identity api.OpenStorageIdentityClient
	cluster  api.OpenStorageClusterClient
	nodes    api.OpenStorageNodeClient
	volumes  api.OpenStorageVolumeClient
	watch    api.OpenStorageWatchClient
}

func dial(t testing.TB, endpoint string, options ...grpc.DialOption) client {
	t.Helper()
	if len(options) == 0 {
		options = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	conn, err := grpc.NewClient(endpoint, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return client{
		ClientConn: conn,
		identity:   api.NewOpenStorageIdentityClient(conn),
		cluster:    api.NewOpenStorageClusterClient(conn),
		nodes:      api.NewOpenStorageNodeClient(conn),
		volumes:    api.NewOpenStorageVolumeClient(conn),
		watch:      api.NewOpenStorageWatchClient(conn),
	}
}

// newCluster has nodes n1..nN, online, with one pool each.
func newCluster(t testing.TB, nodes int) *Cluster {
	t.Helper()
	c := NewCluster(Options{Seed: 1})
	for i := range nodes {
		if _, err := c.AddNode(Node{SchedulerNodeName: nodeName(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func nodeName(i int) string {
	return "n" + string(rune('0'+i/100%10)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10))
}

func start(t testing.TB, c *Cluster, options ServerOptions) *Server {
	t.Helper()
	s := NewServer(c, options)
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func wantCode(t testing.TB, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Fatalf("got %s (%v), want %s", got, err, want)
	}
}

func TestSmoke(t *testing.T) {
	c := newCluster(t, 5)
	s := start(t, c, ServerOptions{})
	cl := dial(t, s.Endpoint())
	ctx := t.Context()
	created, err := cl.volumes.Create(ctx, &api.SdkVolumeCreateRequest{Name: "pvc-1", Spec: &api.VolumeSpec{HaLevel: 2}})
	wantCode(t, err, codes.OK)
	w, err := cl.watch.Watch(ctx, &api.SdkWatchRequest{EventType: &api.SdkWatchRequest_VolumeEvent{VolumeEvent: &api.SdkVolumeWatchRequest{}}})
	wantCode(t, err, codes.OK)
	first, err := w.Recv()
	wantCode(t, err, codes.OK)
	if got := first.GetVolumeEvent().GetVolume().GetId(); got != created.GetVolumeId() {
		t.Fatalf("dumped %s", got)
	}
	from := first.GetVolumeEvent().GetVolume().GetReplicaSets()[0].GetNodes()[0]
	if err := c.MoveReplica("pvc-1", from, "n005"); err != nil {
		t.Fatal(err)
	}
	second, err := w.Recv()
	wantCode(t, err, codes.OK)
	t.Log(second)
	_, err = cl.volumes.Inspect(context.Background(), &api.SdkVolumeInspectRequest{VolumeId: "nope"})
	wantCode(t, err, codes.NotFound)
	nodes, err := cl.nodes.EnumerateWithFilters(ctx, &api.SdkNodeEnumerateWithFiltersRequest{})
	wantCode(t, err, codes.OK)
	t.Log(nodes)
}
