package openstoragesim

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
)

func TestSimulation(t *testing.T) {
	s, err := Start(SimulationOptions{
		Nodes:          []Node{{SchedulerNodeName: "n1"}},
		Address:        "127.0.0.1:0",
		ControlAddress: "127.0.0.1:0",
	})
	must(t, err)
	must(t, dial(t, s.Endpoint).ping(t.Context()))
	state, err := NewControlClient(s.Control).State(t.Context())
	if err != nil || len(state.Nodes) != 1 {
		t.Errorf("nodes %v, %v", state.Nodes, err)
	}
	// Whoever does not hang up keeps nobody from ending.
	idle, err := net.Dial("tcp", s.Control)
	must(t, err)
	defer func() { _ = idle.Close() }()
	must(t, s.Close())
	for _, address := range []string{s.Endpoint, s.Control} {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			t.Errorf("%s still accepts connections", address)
		}
	}
}

func TestSimulationThatCannotStart(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	tests := []struct {
		name    string
		options SimulationOptions
		says    string
	}{
		{name: "a busy SDK port is named", options: SimulationOptions{Address: busy.Addr().String()}, says: busy.Addr().String()},
		{name: "a busy control port is named", options: SimulationOptions{Address: "127.0.0.1:0", ControlAddress: busy.Addr().String()}, says: busy.Addr().String()},
		{name: "control is for loopback addresses", options: SimulationOptions{Address: "127.0.0.1:0", ControlAddress: "0.0.0.0:0"}, says: "loopback"},
		{name: "an address that is none is named", options: SimulationOptions{Address: "nowhere"}, says: "nowhere"},
		{name: "a node that is none is told", options: SimulationOptions{Address: "127.0.0.1:0", Nodes: []Node{{}}}, says: "without id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Start(test.options)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error that says %q", err, test.says)
			}
		})
	}
}

// controlled is a served cluster with nodes n001 to n003 and a client that
// drives it.
func controlled(t *testing.T) (*Server, *ControlClient) {
	t.Helper()
	s := start(t, newCluster(t, 3), ServerOptions{})
	listener, err := listenLoopback("127.0.0.1:0")
	must(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveControl(t.Context(), listener, s)
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-served
	})
	return s, NewControlClient(listener.Addr().String())
}

func TestControlOfNodes(t *testing.T) {
	s, control := controlled(t)
	ctx := t.Context()
	_, err := s.Cluster().AddNode(Node{SchedulerNodeName: "n004", Status: api.Status_STATUS_STORAGE_DOWN, Zone: "a", Labels: map[string]string{"disk": "nvme"}})
	must(t, err)
	must(t, control.SetNodeState(ctx, "n001", api.Status_STATUS_OFFLINE))
	state, err := control.State(ctx)
	must(t, err)
	nodes := state.Nodes
	if diff := cmp.Diff(s.Cluster().Nodes(), nodes); diff != "" {
		t.Errorf("nodes (-cluster +control):\n%s", diff)
	}
	if len(nodes) != 4 || nodes[0].Status != api.Status_STATUS_OFFLINE {
		t.Errorf("nodes %+v", nodes)
	}
}

func TestControlOfVolumes(t *testing.T) {
	s, control := controlled(t)
	c, ctx := s.Cluster(), t.Context()
	made, err := c.CreateVolume(CreateRequest{Name: "v", Size: 5, Parameters: map[string]string{"repl": "2"}, Labels: map[string]string{"a": "1"}})
	must(t, err)
	must(t, control.SetLabels(ctx, "v", map[string]string{"a": "", "b": "2"}))
	must(t, control.MoveReplica(ctx, "v", "n001", "n003"))
	must(t, control.Attach(ctx, "v", "n002"))
	n2, err := c.Node("n002")
	must(t, err)
	state, err := control.State(ctx)
	must(t, err)
	n3, err := c.Node("n003")
	must(t, err)
	want := VolumeSummary{
		ID: made.GetId(), Name: "v", Size: 5, Labels: map[string]string{"b": "2"}, AttachedOn: n2.ID,
		ReplicaSets: [][]Replica{{
			{NodeID: n3.ID, Node: "n003", Pool: n3.Pools[0].UUID},
			{NodeID: n2.ID, Node: "n002", Pool: n2.Pools[0].UUID},
		}},
	}
	if diff := cmp.Diff([]VolumeSummary{want}, state.Volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}

	must(t, control.AddReplica(ctx, "v", "n001"))
	must(t, control.RemoveReplica(ctx, "v", "n002"))
	must(t, control.Attach(ctx, "v", ""))
	v, err := c.Volume("v")
	must(t, err)
	if diff := cmp.Diff([][]string{{"n003", "n001"}}, placedOn(t, c, v)); diff != "" || v.GetAttachedOn() != "" {
		t.Errorf("attached on %q, replicas (-want +got):\n%s", v.GetAttachedOn(), diff)
	}
	must(t, control.SetReplicaSets(ctx, "v", []string{"n001"}, []string{"n002"}))
	v, err = c.Volume("v")
	must(t, err)
	if diff := cmp.Diff([][]string{{"n001"}, {"n002"}}, placedOn(t, c, v)); diff != "" {
		t.Errorf("replicas (-want +got):\n%s", diff)
	}

	must(t, c.Fill(3, map[string]string{"repl": "3"}))
	state, err = control.State(ctx)
	must(t, err)
	if len(state.Volumes) != 4 {
		t.Errorf("%d volumes in the list", len(state.Volumes))
	}
}

func TestControlErrorsAreThoseOfTheCluster(t *testing.T) {
	s, control := controlled(t)
	ctx := t.Context()
	_, err := s.Cluster().CreateVolume(CreateRequest{Name: "v"})
	must(t, err)
	tests := []struct {
		name string
		err  error
		says string
	}{
		{name: "a volume that does not exist", err: control.SetLabels(ctx, "a/b", nil), says: `volume "a/b": not found`},
		{name: "a node that does not exist", err: control.SetNodeState(ctx, "n9", api.Status_STATUS_OK), says: `storage node "n9": not found`},
		{name: "a replica that cannot go", err: control.RemoveReplica(ctx, "v", "n001"), says: `volume "v": node n001 has the last replica of set 0: conflict`},
		{name: "faults that make no sense", err: control.SetFaults(ctx, Faults{HideNodes: 3}), says: "faults: invalid: hideNodes is 3, must be from 0 to 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.err == nil || test.err.Error() != test.says {
				t.Errorf("got %v, want %s", test.err, test.says)
			}
		})
	}
}

func TestControlOfTheServer(t *testing.T) {
	s, control := controlled(t)
	ctx := t.Context()
	cl := dial(t, s.Endpoint())

	faults := Faults{Calls: map[string]CallFault{"Node.*": {Code: codes.Unavailable, Latency: time.Microsecond}}, HideNodes: 1}
	must(t, control.SetFaults(ctx, faults))
	state, err := control.State(ctx)
	must(t, err)
	if diff := cmp.Diff(faults, state.Faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	wantCode(t, cl.ping(ctx), codes.Unavailable)
	must(t, control.SetFaults(ctx, Faults{}))
	must(t, cl.ping(ctx))

	must(t, control.SetConnected(ctx, false))
	wantCode(t, cl.ping(ctx), codes.Unavailable)
	must(t, control.SetConnected(ctx, true))
	must(t, dial(t, s.Endpoint()).ping(ctx))
}

func TestControlClientWithoutAServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	address := strings.TrimPrefix(server.URL, "http://")
	control := NewControlClient(address)
	if _, err := control.State(t.Context()); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("something else that answers: %v, want an error that names %s", err, address)
	}
	server.Close()
	if _, err := control.State(t.Context()); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("nothing that answers: %v, want an error that names %s", err, address)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := control.State(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestControlClientDoesNotWaitBeyondItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := NewControlClient(silent.Addr().String()).State(ctx)
		ended <- err
	}()
	connection, err := silent.Accept()
	must(t, err)
	defer func() { _ = connection.Close() }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v, want %v", err, context.Canceled)
	}
}
