package openstoragesim

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// maxReceive lets a client receive lists of any size.
var maxReceive = grpc.MaxCallRecvMsgSize(1 << 30)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerLifecycle(t *testing.T) {
	c := newCluster(t, 1)
	s := NewServer(c, ServerOptions{})
	if s.Endpoint() != "" {
		t.Errorf("endpoint %q before the start", s.Endpoint())
	}
	if err := s.Reconnect(); !errors.Is(err, ErrConflict) {
		t.Errorf("Reconnect before the start: %v", err)
	}
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	endpoint := s.Endpoint()
	if err := s.Start("127.0.0.1:0"); !errors.Is(err, ErrConflict) {
		t.Errorf("second start: %v", err)
	}
	if err := NewServer(c, ServerOptions{}).Start(endpoint); err == nil || !strings.Contains(err.Error(), endpoint) {
		t.Errorf("start on a busy port: %v, want an error that names %s", err, endpoint)
	}

	cl := dial(t, endpoint)
	ping := func(options ...grpc.CallOption) error { return cl.ping(t.Context(), options...) }
	wantCode(t, ping(), codes.OK)
	stream := openWatch(t, cl)
	awaitCall(t, s, "Watch.Watch")
	s.Disconnect()
	s.Disconnect()
	_, err := stream.Recv()
	wantCode(t, err, codes.Unavailable)
	wantCode(t, ping(), codes.Unavailable)
	if s.OpenWatches() != 0 {
		t.Errorf("%d watches are left open", s.OpenWatches())
	}

	if err := errors.Join(s.Reconnect(), s.Reconnect()); err != nil {
		t.Fatal(err)
	}
	if s.Endpoint() != endpoint {
		t.Errorf("endpoint %s after the outage, %s before", s.Endpoint(), endpoint)
	}
	wantCode(t, ping(grpc.WaitForReady(true)), codes.OK)

	s.Stop()
	s.Stop()
	wantCode(t, ping(), codes.Unavailable)
	if err := s.Reconnect(); !errors.Is(err, ErrConflict) {
		t.Errorf("Reconnect after the stop: %v", err)
	}
}

// awaitCall returns once the method was called.
func awaitCall(t *testing.T, s *Server, method string) {
	t.Helper()
	for s.Calls(false)[method] == 0 {
		if t.Context().Err() != nil {
			t.Fatalf("%s is not called", method)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestStopEndsWhatHangs(t *testing.T) {
	c := newCluster(t, 1)
	s := start(t, c, ServerOptions{})
	cl := dial(t, s.Endpoint())
	stream := openWatch(t, cl)
	if err := s.SetFaults(Faults{Calls: map[string]CallFault{"Volume.Enumerate": {Hang: true}}}); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := cl.volumes.Enumerate(t.Context(), &api.SdkVolumeEnumerateRequest{})
		failed <- err
	}()
	for _, method := range []string{"Volume.Enumerate", "Watch.Watch"} {
		awaitCall(t, s, method)
	}
	s.Stop()
	_, err := stream.Recv()
	for _, err := range []error{err, <-failed} {
		// Not just cut off: they are told why.
		if !errors.Is(err, errStopping) {
			t.Errorf("got %v, want %v", err, errStopping)
		}
	}
}

func TestServeOnAListenerOfOnesOwn(t *testing.T) {
	listener := bufconn.Listen(1 << 16)
	s := NewServer(newCluster(t, 1), ServerOptions{})
	if err := s.StartOn(listener); err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	cl := dial(t, "passthrough:///memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, cl.ping(t.Context()))
	s.Disconnect()
	if err := s.Reconnect(); err == nil || !strings.Contains(err.Error(), "bufconn") {
		t.Errorf("Reconnect without an address: %v, want an error that names it", err)
	}
}

func TestTLS(t *testing.T) {
	certificate, roots := selfSigned(t)
	s := start(t, newCluster(t, 1), ServerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}})
	call := func(options ...grpc.DialOption) error {
		return dial(t, s.Endpoint(), options...).ping(t.Context())
	}
	wantCode(t, call(grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))), codes.OK)
	wantCode(t, call(grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}))), codes.Unavailable)
	wantCode(t, call(), codes.Unavailable)
}

// selfSigned makes a certificate for 127.0.0.1.
func selfSigned(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// client is a connection with all the services that are simulated.
type client struct {
	*grpc.ClientConn
	nodes   api.OpenStorageNodeClient
	volumes api.OpenStorageVolumeClient
	watch   api.OpenStorageWatchClient
}

func dial(t testing.TB, endpoint string, options ...grpc.DialOption) client {
	t.Helper()
	if len(options) == 0 {
		options = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	// After an outage the client shall be back at once.
	options = append(options, grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond},
		MinConnectTimeout: 20 * time.Second,
	}))
	conn, err := grpc.NewClient(endpoint, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return client{
		ClientConn: conn,
		nodes:      api.NewOpenStorageNodeClient(conn),
		volumes:    api.NewOpenStorageVolumeClient(conn),
		watch:      api.NewOpenStorageWatchClient(conn),
	}
}

// ping makes the simplest of calls.
func (cl client) ping(ctx context.Context, options ...grpc.CallOption) error {
	_, err := cl.nodes.EnumerateWithFilters(ctx, &api.SdkNodeEnumerateWithFiltersRequest{}, options...)
	return err
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

func nodeName(i int) string { return fmt.Sprintf("n%03d", i) }

func start(t testing.TB, c *Cluster, options ServerOptions) *Server {
	t.Helper()
	s := NewServer(c, options)
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Fatalf("got %s (%v), want %s", got, err, want)
	}
}

// newZonedCluster spreads the nodes over 3 zones of 2 racks each.
func newZonedCluster(t testing.TB, nodes int) *Cluster {
	t.Helper()
	c := NewCluster(Options{Seed: 1})
	for i := range nodes {
		n := Node{
			SchedulerNodeName: nodeName(i + 1),
			Region:            "r",
			Zone:              string(rune('a' + i%3)),
			Rack:              string(rune('1' + i/3%2)),
		}
		if _, err := c.AddNode(n); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func openWatch(t testing.TB, cl client) api.OpenStorageWatch_WatchClient {
	t.Helper()
	stream, err := cl.watch.Watch(t.Context(), &api.SdkWatchRequest{
		EventType: &api.SdkWatchRequest_VolumeEvent{VolumeEvent: &api.SdkVolumeWatchRequest{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return stream
}
