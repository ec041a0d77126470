package driver

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConnectListsTheStorageNodesWithTheirNames(t *testing.T) {
	server := newServer(t, openstoragesim.ServerOptions{})
	storage, nodes, err := Connect(t.Context(), server.Endpoint(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = storage.Close() }()
	if len(nodes) != 3 || nodes[0].ID == "" || nodes[0].Names[0] != "node-1" {
		t.Errorf("nodes are %+v, want node-1 to node-3 with ids", nodes)
	}
}

func TestStorageThatCannotBeUsedIsNamedInOneLine(t *testing.T) {
	fault := func(f openstoragesim.CallFault) func(*testing.T) string {
		return func(t *testing.T) string {
			server := newServer(t, openstoragesim.ServerOptions{})
			if err := server.SetFaults(openstoragesim.Faults{Calls: map[string]openstoragesim.CallFault{"*": f}}); err != nil {
				t.Fatal(err)
			}
			return server.Endpoint()
		}
	}
	for name, row := range map[string]struct {
		endpoint func(*testing.T) string
		want     []string
	}{
		"nobody listens":         {func(t *testing.T) string { return kit.FreeAddress(t) }, []string{"cannot be reached", "connection refused"}},
		"another server listens": {otherServer, []string{"does not serve the OpenStorage SDK"}},
		"it is down":             {fault(openstoragesim.CallFault{Code: codes.Unavailable}), []string{"cannot be reached"}},
		"it does not know us": {fault(openstoragesim.CallFault{Code: codes.Unauthenticated}),
			[]string{"refuses us", "--storage-token-file"}},
		"it does not let us": {fault(openstoragesim.CallFault{Code: codes.PermissionDenied}),
			[]string{"refuses us", "--storage-token-file"}},
		"it fails": {fault(openstoragesim.CallFault{Code: codes.Internal}), []string{"answers Internal"}},
	} {
		t.Run(name, func(t *testing.T) {
			endpoint := row.endpoint(t)
			_, _, err := Connect(t.Context(), endpoint, "")
			if err == nil {
				t.Fatal("connected")
			}
			for _, want := range append(row.want, endpoint) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error has several lines: %q", err)
			}
		})
	}
}

func TestTheTokenIsReadForEveryCall(t *testing.T) {
	tokens := &openstoragesim.Tokens{}
	admin := openstoragesim.Token{User: "admin", Roles: []string{openstoragesim.RoleAdmin}, Groups: []string{openstoragesim.AdminGroup}}
	tokens.Set("first", admin)
	server := newServer(t, openstoragesim.ServerOptions{Tokens: tokens})

	file := filepath.Join(t.TempDir(), "token")
	if _, _, err := Connect(t.Context(), server.Endpoint(), file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without the file: %v; want an error that names it", err)
	}
	writeToken(t, file, "first\n")
	storage, _, err := Connect(t.Context(), server.Endpoint(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = storage.Close() }()

	tokens.Replace(map[string]openstoragesim.Token{"second": admin})
	if _, err := storage.nodes(t.Context()); err == nil {
		t.Error("a token that was revoked is still good")
	}
	writeToken(t, file, "second\n")
	if _, err := storage.nodes(t.Context()); err != nil {
		t.Errorf("the new token is not used: %v", err)
	}
}

// newServer serves a storage cluster of node-1 to node-3.
func newServer(t *testing.T, options openstoragesim.ServerOptions) *openstoragesim.Server {
	t.Helper()
	cluster := openstoragesim.NewCluster(openstoragesim.Options{})
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		if _, err := cluster.AddNode(openstoragesim.Node{SchedulerNodeName: name}); err != nil {
			t.Fatal(err)
		}
	}
	return serve(t, cluster, options)
}

func serve(t *testing.T, cluster *openstoragesim.Cluster, options openstoragesim.ServerOptions) *openstoragesim.Server {
	t.Helper()
	server := openstoragesim.NewServer(cluster, options)
	if err := server.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// otherServer is the address of a gRPC server without any service.
func otherServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, served := grpc.NewServer(), make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() { server.Stop(); <-served })
	return listener.Addr().String()
}

func writeToken(t *testing.T, path, token string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}
