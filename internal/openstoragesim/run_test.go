package openstoragesim

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
)

func TestRun(t *testing.T) {
	for _, controlAddress := range []string{"", "127.0.0.1:0"} {
		t.Run("control on "+controlAddress, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			type addresses struct{ endpoint, control string }
			started := make(chan addresses, 1)
			ended := make(chan error, 1)
			go func() {
				ended <- Run(ctx, RunOptions{
					Nodes:          []Node{{SchedulerNodeName: "n1"}},
					Address:        "127.0.0.1:0",
					ControlAddress: controlAddress,
					Ready:          func(endpoint, control string) { started <- addresses{endpoint, control} },
				})
			}()
			at := <-started
			nodes, err := dial(t, at.endpoint).nodes.Enumerate(t.Context(), &api.SdkNodeEnumerateRequest{})
			wantCode(t, err, codes.OK)
			if len(nodes.GetNodeIds()) != 1 {
				t.Errorf("nodes %v", nodes.GetNodeIds())
			}
			if controlAddress != "" {
				control := NewControlClient(at.control)
				defer control.Close()
				if _, err := control.Nodes(t.Context()); err != nil {
					t.Error(err)
				}
			} else if at.control != "" {
				t.Errorf("control on %s", at.control)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("ended with %v", err)
			}
			for _, address := range []string{at.endpoint, at.control} {
				if conn, err := net.Dial("tcp", address); err == nil {
					_ = conn.Close()
					t.Errorf("%s still accepts connections", address)
				}
			}
		})
	}
}

func TestRunThatCannotStart(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	tests := []struct {
		name    string
		options RunOptions
		says    string
	}{
		{name: "a busy SDK port is named", options: RunOptions{Address: busy.Addr().String()}, says: busy.Addr().String()},
		{name: "a busy control port is named", options: RunOptions{Address: "127.0.0.1:0", ControlAddress: busy.Addr().String()}, says: busy.Addr().String()},
		{name: "control is for loopback addresses", options: RunOptions{Address: "127.0.0.1:0", ControlAddress: "0.0.0.0:0"}, says: "loopback"},
		{name: "an address that is none is named", options: RunOptions{Address: "nowhere"}, says: "nowhere"},
		{name: "a node that is none is told", options: RunOptions{Address: "127.0.0.1:0", Nodes: []Node{{}}}, says: "without id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.options.Ready = func(endpoint, _ string) { t.Errorf("it is ready on %s", endpoint) }
			err := Run(t.Context(), test.options)
			if err == nil || !strings.Contains(err.Error(), test.says) || errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want an error that says %q", err, test.says)
			}
		})
	}
}
