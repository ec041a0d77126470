package openstoragesim

import (
	"net"
	"strings"
	"testing"

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
	nodes, err := dial(t, s.Endpoint).nodes.Enumerate(t.Context(), &api.SdkNodeEnumerateRequest{})
	wantCode(t, err, codes.OK)
	if len(nodes.GetNodeIds()) != 1 {
		t.Errorf("nodes %v", nodes.GetNodeIds())
	}
	control := NewControlClient(s.Control)
	defer control.Close()
	if _, err := control.Nodes(t.Context()); err != nil {
		t.Error(err)
	}
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
