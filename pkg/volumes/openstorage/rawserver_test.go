package openstorage

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// rawCodec leaves messages as they are on the wire.
type rawCodec struct{}

func (rawCodec) Name() string                       { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }

// rawServer answers each method, by its short name, with these bytes, one message
// after the other.
func rawServer(t *testing.T, answers func(method string) ([][]byte, error)) (endpoint string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		messages, err := answers(methodName(method))
		for i := range messages {
			if err := stream.SendMsg(&messages[i]); err != nil {
				return err
			}
		}
		return err
	}))
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // until it is stopped
	}()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return listener.Addr().String()
}

// dialRaw returns a client of a server, and what it was told of invalid text.
func dialRaw(t *testing.T, endpoint string) (c *client, invalid func() []string) {
	t.Helper()
	var told []string
	config := Config{Endpoint: endpoint}.withDefaults()
	c, err := dial(&config, nil, func(where, text string) { told = append(told, where+": "+text) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, func() []string { return told }
}

// wire is a message whose text "BAD" is no UTF-8.
func wire(t *testing.T, message proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(data, []byte("BAD"), []byte("B\xffD"))
}

func TestTextThatIsNotUTF8CostsNothingElse(t *testing.T) {
	bad := &api.Volume{Id: "1", Locator: &api.VolumeLocator{Name: "pvc-1", VolumeLabels: map[string]string{"BAD": "BAD"}},
		ReplicaSets: []*api.ReplicaSet{{Nodes: []string{"s1", "sBAD"}}}}
	event := func(v *api.Volume) []byte {
		return wire(t, &api.SdkWatchResponse{EventType: &api.SdkWatchResponse_VolumeEvent{VolumeEvent: &api.SdkVolumeWatchResponse{Volume: v}}})
	}
	endpoint := rawServer(t, func(method string) ([][]byte, error) {
		switch method {
		case "Node.EnumerateWithFilters":
			return [][]byte{wire(t, &api.SdkNodeEnumerateWithFiltersResponse{Nodes: []*api.StorageNode{
				{Id: "s1", Hostname: "a"}, {Id: "s2", Hostname: "BAD"}, {Id: "s3", Hostname: "c"}}})}, nil
		case "Volume.Inspect":
			return [][]byte{wire(t, &api.SdkVolumeInspectResponse{Volume: bad})}, nil
		default:
			return [][]byte{event(&api.Volume{Id: "7"}), event(bad), event(&api.Volume{Id: "8"})}, status.Error(codes.Unavailable, "over")
		}
	})
	c, invalid := dialRaw(t, endpoint)

	nodes, err := c.listNodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, node := range nodes.GetNodes() {
		names = append(names, node.GetHostname())
	}
	if diff := cmp.Diff([]string{"a", `B\xffD`, "c"}, names); diff != "" {
		t.Errorf("host names differ (-want +got):\n%s", diff)
	}

	s := &Source{client: c}
	o, err := s.ask(t.Context(), "1", routine)
	if err != nil {
		t.Fatal(err)
	}
	want := volumes.Observation{ID: "1", Name: "pvc-1", Labels: map[string]string{`B\xffD`: `B\xffD`}, ReplicaSets: [][]string{{"s1", `sB\xffD`}}}
	if diff := cmp.Diff(want, o); diff != "" {
		t.Errorf("volume differs (-want +got):\n%s", diff)
	}

	stream, err := c.watch.Watch(t.Context(), &api.SdkWatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for {
		message, err := stream.Recv()
		if err != nil {
			if status.Code(err) != codes.Unavailable {
				t.Errorf("the watch ended with %v", err)
			}
			break
		}
		ids = append(ids, message.GetVolumeEvent().GetVolume().GetId())
	}
	if diff := cmp.Diff([]string{"7", "1", "8"}, ids); diff != "" {
		t.Errorf("messages of the watch differ (-want +got):\n%s", diff)
	}
	if got := invalid(); len(got) != 3 || got[0] != `openstorage.api.StorageNode.hostname: B\xffD` {
		t.Errorf("told of invalid text: %q", got)
	}
}

func TestInvalidTextIsAProblemUntilItIsGone(t *testing.T) {
	s := newSource(Config{ResyncInterval: time.Hour}.withDefaults(), volumes.NewIndex(volumes.Options{}))
	s.health.observeInvalidText("api.Volume.id", strings.Repeat("x", 1000))
	s.health.expire()
	if p := s.Conditions(); len(p) != 1 || p[0].Reason != ReasonInvalidText || len(p[0].Message) > 400 {
		t.Errorf("problems are %v", p)
	}
	s.health.invalidText = time.Now().Add(-2 * time.Hour)
	s.health.expire()
	if p := s.Conditions(); len(p) != 0 {
		t.Errorf("%v remains", p)
	}
}

func TestMessageThatIsNoneIsNotTaken(t *testing.T) {
	endpoint := rawServer(t, func(string) ([][]byte, error) { return [][]byte{{0xff, 0xff, 0xff}}, nil })
	c, invalid := dialRaw(t, endpoint)
	if _, err := c.listNodes(t.Context()); kindOf(err) != failed || len(invalid()) > 0 {
		t.Errorf("the answer is %v, told of %q", err, invalid())
	}
}

func TestOnlyListsMayBeLarge(t *testing.T) {
	large := strings.Repeat("x", maxAnswer)
	endpoint := rawServer(t, func(method string) ([][]byte, error) {
		switch method {
		case "Node.EnumerateWithFilters":
			return [][]byte{wire(t, &api.SdkNodeEnumerateWithFiltersResponse{Nodes: []*api.StorageNode{{Id: "s1", Hostname: large}}})}, nil
		case "Volume.Enumerate":
			return [][]byte{wire(t, &api.SdkVolumeEnumerateResponse{VolumeIds: []string{large, large}})}, nil
		default:
			return [][]byte{wire(t, &api.SdkVolumeInspectResponse{Volume: &api.Volume{Id: large}})}, nil
		}
	})
	c, _ := dialRaw(t, endpoint)
	if _, err := c.listNodes(t.Context()); err != nil {
		t.Errorf("a large node list: %v", err)
	}
	s := newSource(Config{}.withDefaults(), volumes.NewIndex(volumes.Options{}))
	s.client = c
	s.checkTokenAccess(t.Context())
	if s.health.has(ReasonTokenRefused) || s.health.breaker.reset() {
		t.Error("a large list of ids is not taken")
	}
	_, err := s.ask(t.Context(), "1", routine)
	if err == nil || s.health.observe(err) != failed || s.health.breaker.reset() {
		t.Errorf("a volume of %d bytes: %v; want an error that is about this volume alone", len(large), err)
	}
}

func TestOutcomesAreAFewLabels(t *testing.T) {
	for code, want := range map[codes.Code]string{codes.OK: "OK", codes.Unauthenticated: "Unauthenticated", 17: "Unknown", 4711: "Unknown"} {
		if got := codeOf(status.Error(code, "x")); got != want {
			t.Errorf("code %d has the label %q, want %q", code, got, want)
		}
	}
}

// TestProxyOfTheEnvironmentIsNotUsed runs itself in another process, since the
// environment is read once.
func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	const endpointKey = "TEST_STORAGE_ENDPOINT"
	if endpoint := os.Getenv(endpointKey); endpoint != "" {
		c, _ := dialRaw(t, endpoint)
		if _, err := c.listNodes(t.Context()); err == nil {
			t.Error("somebody answers for an address that does not exist")
		}
		return
	}
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			_ = conn.Close()
		}
	}()
	// An address for documentation: nobody answers, and no name has to be resolved.
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	command.Env = append(os.Environ(), endpointKey+"=storage.invalid:9020", "NO_PROXY=",
		fmt.Sprintf("HTTPS_PROXY=http://%s", proxy.Addr()), fmt.Sprintf("HTTP_PROXY=http://%s", proxy.Addr()))
	if output, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, output)
	}
	if err := proxy.Close(); err != nil {
		t.Error(err)
	}
	<-served
	if n := calls.Load(); n > 0 {
		t.Errorf("the proxy was called %d times", n)
	}
}
